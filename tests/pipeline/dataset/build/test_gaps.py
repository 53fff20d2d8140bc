import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.build.gaps import gaps_of, join_gaps
from pipeline.records import FRAME_DTYPE, Gap

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
