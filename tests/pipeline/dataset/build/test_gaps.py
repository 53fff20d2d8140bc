import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.build.gaps import face_fraction, gaps_of, join_gaps
from pipeline.records import FRAME_DTYPE, Gap, Probe, VideoOnClock

RATE_HZ = 10.0


def frames_of(video, face, audio, first=0):
    frames = np.zeros(len(video), FRAME_DTYPE)
    frames["time_s"] = (first + np.arange(len(video))) / RATE_HZ
    frames["video_ok"], frames["face_ok"], frames["audio_ok"] = video, face, audio
    frames["source_index"] = np.where(frames["video_ok"], 3 * (first + np.arange(len(video))), -1)
    return frames


def test_gaps_hold_time_and_original_frames():
    frames = frames_of([0, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1])
    assert gaps_of(frames, RATE_HZ) == (
        Gap("picture", 0.0, 0.1, -1, -1),
        Gap("face", 0.2, 0.4, 6, 9),
        Gap("face", 0.5, 0.6, 15, 15),
    )


def test_only_requested_gaps_are_reported():
    frames = frames_of([1, 1], [1, 0], [0, 0])
    assert [gap.missing for gap in gaps_of(frames, RATE_HZ, ("picture", "face"))] == ["face"]
    assert [gap.missing for gap in gaps_of(frames, RATE_HZ)] == ["sound", "face"]
    assert gaps_of(frames[:0], RATE_HZ) == ()


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1), st.data())
def test_spans_report_the_gaps_of_the_whole(masks, data):
    cut = data.draw(st.integers(0, len(masks)))
    parts = [np.array(part, bool).reshape(-1, 3).T for part in (masks, masks[:cut], masks[cut:])]
    whole, before, after = (gaps_of(frames_of(*p, first), RATE_HZ) for p, first in zip(parts, (0, 0, cut), strict=True))
    assert join_gaps([*before, *after]) == whole


def on_clock(shown, with_face):
    """A video whose clock shows the original frames `shown` (-1: none), of which those `with_face` show the face."""
    frames = frames_of([number >= 0 for number in shown], [number in with_face for number in shown], [0] * len(shown))
    frames["source_index"] = shown
    return VideoOnClock(frames, Path(), duration_s=100.0, covered_s=100.0)


def container(*frame_times_s):
    names = {field.name: 0 for field in dataclasses.fields(Probe) if field.default is field.default_factory}
    return Probe(**{**names, "frame_times_s": np.array(frame_times_s)})


@pytest.mark.parametrize("with_face", [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_the_face_is_counted_in_the_original_frames_that_show_it(with_face):
    """The clock's frame that begins before an original frame shows the one before it: it must not stand for it."""
    slow = on_clock([-1, 0, 0, 0, 1, 1, 1, 2, 2], with_face)
    assert face_fraction(slow, container(0.06, 0.33, 0.66)) == pytest.approx(len(with_face) / 3)


def test_an_original_frame_that_the_clock_leaves_out_is_like_the_one_before_it():
    assert face_fraction(on_clock([0, 2, 4], [2]), container(0.0, 0.05, 0.1, 0.15, 0.2, 0.25)) == pytest.approx(2 / 6)


def test_frames_before_the_span_and_after_the_last_decoded_one_are_not_counted():
    video = dataclasses.replace(on_clock([0, 1, 2, 3], [0, 2]), covered_s=0.3)
    assert face_fraction(video, container(0.0, 0.1, 0.2, 0.3), start_s=0.1) == 0.5
    assert face_fraction(video, container(), start_s=0.1) == 0.0
