"""A span of a video's clock holds exactly what the whole video holds there."""

import hashlib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pipeline.media.container.probe import probe
from pipeline.media.decode import PictureReader, SeekPoint
from pipeline.media.options import ClockSpan
from tests.support.media_files import counter_picture, write_media
from tests.support.media_options import DECODE

NUM_FRAMES = 120
NOISE = np.random.default_rng(0).integers(0, 60, (NUM_FRAMES, 64, 256), np.uint8)
PICTURES = [(counter_picture(i) // 2 + 20 + NOISE[i]).astype(np.uint8) for i in range(NUM_FRAMES)]
EVEN_MS = [i * 40 for i in range(NUM_FRAMES)]
UNEVEN_MS = np.cumsum([0] + [(13, 40, 95, 21, 60)[i % 5] for i in range(NUM_FRAMES - 1)]).tolist()
SILENCE = {"sound": np.zeros(16000 * 6)}
OPEN_GOP = {"video_options": {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0:scenecut=0"}}
HEVC = {
    "codec": "libx265",
    "video_options": {"x265-params": "log-level=1:keyint=12:open-gop=1:bframes=3:rc-lookahead=8"},
}
QUICK_VP9 = {"codec": "libvpx-vp9", "video_options": {"deadline": "realtime", "cpu-used": "8"}}

CLIPS = {  # file extension, times, settings, whether decoding enters at a keyframe
    "constant": ("mp4", EVEN_MS, {}, True),
    "60 Hz": ("mp4", [Fraction(i * 1000, 60) for i in range(NUM_FRAMES)], {"time_base": Fraction(1, 15360)}, True),
    "variable": ("mp4", UNEVEN_MS, {}, True),
    "variable mkv with sound": ("mkv", UNEVEN_MS, SILENCE, True),
    "picture late": ("mkv", [852 + time_ms for time_ms in UNEVEN_MS], SILENCE, True),
    "picture late mov": ("mov", [852 + time_ms for time_ms in UNEVEN_MS], SILENCE, True),
    "container late": ("mkv", [5000 + time_ms for time_ms in UNEVEN_MS], {}, True),
    "open GOP": ("mp4", EVEN_MS, OPEN_GOP, True),
    "open GOP mkv": ("mkv", UNEVEN_MS, OPEN_GOP, True),
    "open GOP hevc": ("mp4", UNEVEN_MS, HEVC, True),
    "vp8": ("webm", UNEVEN_MS, {"codec": "libvpx", "video_options": {"deadline": "realtime"}}, True),
    "vp9": ("webm", UNEVEN_MS, QUICK_VP9, True),
    "no cues": ("mkv", UNEVEN_MS, {"options": {"live": "1"}}, True),
    "fragments": ("mp4", UNEVEN_MS, {"options": {"movflags": "frag_keyframe+empty_moov"}}, True),
    "mpeg2": ("mkv", EVEN_MS, {"codec": "mpeg2video", "time_base": Fraction(1, 25)}, True),
    "transport stream": ("ts", UNEVEN_MS, SILENCE | {"sound_codec": "mp2"}, True),
    "avi": ("avi", EVEN_MS, {"codec": "mpeg4", "time_base": Fraction(1, 25)}, False),
}


def read(path, probed, frame_rate_hz, start_frame=0, stop_frame=-1):
    """A digest of each picture and the source frame it shows, and the reader."""
    decode, span = replace(DECODE, frame_rate_hz=frame_rate_hz), ClockSpan(start_frame, stop_frame)
    with PictureReader(path, probed, decode, span) as reader:
        shown = [hashlib.sha256(p.y.tobytes() + p.u.tobytes() + p.v.tobytes()).hexdigest()[:8] for p in reader]
    return list(zip(shown, reader.clock_map().source_index.tolist(), strict=True)), reader


@pytest.mark.parametrize(
    ("name", "frame_rate_hz"), [*((name, 25.0) for name in CLIPS), ("variable", 30000 / 1001), ("open GOP", 30.0)]
)
def test_a_span_is_a_cut_of_the_whole(name, frame_rate_hz, tmp_path):
    extension, times_ms, settings, seeks = CLIPS[name]
    path = write_media(tmp_path / f"clip.{extension}", PICTURES, times_ms, **settings)
    probed = probe(path, max_duration_s=100)
    whole, reader = read(path, probed, frame_rate_hz)
    assert reader.problem() == ""
    last = len(whole) - 7
    for start, stop in [(0, 10), (1, 30), (48, 59), (61, 75), (last, -1), (last, len(whole))]:
        cut, reader = read(path, probed, frame_rate_hz, start, stop)
        assert cut == whole[start : None if stop < 0 else stop], (start, stop)
        assert reader.problem() == ""
        assert reader.clock_map().end_s == pytest.approx(
            probed.duration_s if stop < 0 else min(probed.duration_s, stop / frame_rate_hz), abs=0.05
        )
    assert (reader.entry != SeekPoint()) == seeks


def test_times_that_go_back_are_decoded_from_the_start(tmp_path):
    parts = [
        write_media(tmp_path / f"{i}.ts", PICTURES[i : i + 60], EVEN_MS[i : i + 60]).read_bytes() for i in (0, 60)
    ]  # reordered frames shift the second one's beginning back, onto the end of the first
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    probed = probe(path, max_duration_s=100)
    whole, _ = read(path, probed, 25.0)
    for start, stop in [(40, 62), (70, 90), (100, -1)]:
        cut, reader = read(path, probed, 25.0, start, stop)
        assert cut == whole[start : None if stop < 0 else stop]
        assert reader.problem() == ""
        assert reader.entry == SeekPoint()


def test_a_seek_that_lands_too_late_is_made_good(tmp_path):
    path = write_media(tmp_path / "clip.mkv", PICTURES, [3000 + time_ms for time_ms in EVEN_MS], **SILENCE)
    probed = probe(path, max_duration_s=100)
    whole, _ = read(path, probed, 25.0)
    lying = replace(probed, keyframe_times_s=np.array([0.0, 0.4, 0.8, 1.2]))  # there is no frame before 3 s
    cut, reader = read(path, lying, 25.0, 100, 120)
    assert cut == whole[100:120]
    assert reader.entry == SeekPoint()
