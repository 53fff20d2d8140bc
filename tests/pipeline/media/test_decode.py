import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pipeline.media.container.probe import probe
from pipeline.media.decode import PictureReader
from pipeline.media.picture_stream import picture_size
from pipeline.records import Rejection
from tests.support.media_files import counter_picture, read_counter, write_media
from tests.support.media_options import DECODE

FIRST_40 = [counter_picture(i) for i in range(40)]
UNEVEN_MS = np.cumsum([0] + [(13, 40, 95, 21, 60)[i % 5] for i in range(39)]).tolist()


def ntsc(num_frames):
    return [Fraction(i * 1001 * 1000, 24000) for i in range(num_frames)]


def decode(path, *, frame_rate_hz=25.0):
    """The numbers shown at each tick, the reader after the last, and the probe."""
    probed = probe(path, max_duration_s=1000)
    with PictureReader(path, probed, replace(DECODE, frame_rate_hz=frame_rate_hz)) as reader:
        numbers = [read_counter(picture.y) for picture in reader]
    return numbers, reader, probed


EVEN_MS = [i * 40 for i in range(40)]
LATE_MS = [852 + time_ms for time_ms in UNEVEN_MS]
MP2_DELAY_MS = -481 / 16  # its encoder begins 481 samples early, and with it the container


def clip(extension, times_ms, *, begin_ms=None, **settings):
    """File extension, times, when the container begins (default: with the first frame), settings of write_media."""
    return extension, times_ms, float(times_ms[0]) if begin_ms is None else begin_ms, settings


SILENCE = {"sound": np.zeros(48000), "begin_ms": 0}
MP2_SILENCE = {"sound": np.zeros(48000), "sound_codec": "mp2", "begin_ms": MP2_DELAY_MS}
QUICK_VP8 = {"codec": "libvpx", "video_options": {"deadline": "realtime"}}
QUIET_HEVC = {"codec": "libx265", "video_options": {"x265-params": "log-level=1"}}
MJPEG = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "time_base": Fraction(1, 25)}
CLOCKED = {
    "constant": clip("mp4", EVEN_MS),
    "60 Hz": clip("mp4", [Fraction(i * 1000, 60) for i in range(40)], time_base=Fraction(1, 15360)),
    "NTSC": clip("mp4", ntsc(40), time_base=Fraction(1, 24000)),
    "NTSC, times rounded to ms": clip("mkv", [round(time_ms) for time_ms in ntsc(40)]),
    "thirds rounded to ms": clip("mkv", [round(i * 1000 / 30) for i in range(40)]),
    "variable": clip("mp4", UNEVEN_MS),
    "variable webm": clip("webm", UNEVEN_MS, **QUICK_VP8),
    "variable hevc": clip("mov", UNEVEN_MS, **QUIET_HEVC),
    "a long pause": clip("mp4", [i * 40 + 1500 * (i > 20) for i in range(40)]),
    "picture late": clip("mkv", LATE_MS, **SILENCE),
    "picture late mov": clip("mov", LATE_MS, **SILENCE),
    "container late": clip("mkv", [5000 + time_ms for time_ms in UNEVEN_MS]),
    "transport stream": clip("ts", UNEVEN_MS, **MP2_SILENCE),
    "transport stream, picture late": clip("ts", LATE_MS, **MP2_SILENCE),
    "mjpeg avi": clip("avi", EVEN_MS, **MJPEG),
    "avi without presentation times": clip("avi", EVEN_MS, codec="mpeg4", time_base=Fraction(1, 25)),
    "h264 avi": clip("avi", EVEN_MS, time_base=Fraction(1, 25), video_options={"bf": "0"}),
    "h264 avi, reordered": clip("avi", EVEN_MS, time_base=Fraction(1, 25), begin_ms=-80),  # two frames held back
    "mpeg4 avi, reordered": clip(
        "avi", EVEN_MS, codec="mpeg4", time_base=Fraction(1, 25), video_options={"bf": "2"}, begin_ms=-40
    ),
    "ten bits": clip("mp4", UNEVEN_MS, pix_fmt="yuv420p10le"),
    "grey": clip("mkv", UNEVEN_MS, codec="ffv1", pix_fmt="gray"),
}


@pytest.mark.parametrize("name", CLOCKED)
@pytest.mark.parametrize("frame_rate_hz", [25.0, 30.0])
def test_each_tick_shows_the_last_frame_that_has_begun(name, frame_rate_hz, tmp_path):
    extension, times_ms, begin_ms, settings = CLOCKED[name]
    path = write_media(tmp_path / f"clip.{extension}", FIRST_40, times_ms, **settings)
    numbers, reader, probed = decode(path, frame_rate_hz=frame_rate_hz)

    times_s = (np.array(times_ms, float) - begin_ms) / 1000
    ticks_s = np.arange(len(numbers)) / frame_rate_hz
    expected = np.searchsorted(times_s, ticks_s + 0.002, side="right") - 1
    shown = reader.clock_map().source_index
    assert probed.frame_times_s == pytest.approx(times_s, abs=0.0006)
    assert shown.tolist() == expected.tolist()
    assert [n for n, index in zip(numbers, shown, strict=True) if index >= 0] == shown[shown >= 0].tolist()
    assert reader.problem() == ""


@pytest.mark.parametrize("name", ["constant", "variable", "picture late", "transport stream", "mjpeg avi"])
def test_the_clock_ends_with_the_last_frame(name, tmp_path):
    extension, times_ms, _, settings = CLOCKED[name]
    path = write_media(tmp_path / f"clip.{extension}", FIRST_40, times_ms, **settings)
    numbers, reader, probed = decode(path)
    end_s = reader.clock_map().end_s
    assert end_s == pytest.approx(probed.duration_s, abs=0.01)
    assert (len(numbers) - 1) / 25 < end_s <= len(numbers) / 25 + 0.003


def test_full_range_and_limited_range_come_out_alike(tmp_path):
    grey = [np.full((64, 64), 160, np.uint8)] * 10
    times_ms = [i * 40 for i in range(10)]
    levels = []
    for path in (
        write_media(tmp_path / "limited.mp4", grey, times_ms),
        write_media(tmp_path / "full.avi", grey, times_ms, **MJPEG),
    ):
        probed = probe(path, max_duration_s=10)
        with PictureReader(path, probed, DECODE) as reader:
            levels.append(np.mean([picture.y.mean() for picture in reader]))
    assert levels == pytest.approx([16 + 160 * 219 / 255] * 2, abs=1.5)


@pytest.mark.parametrize(("rotation_deg", "bright"), [(90, "bottom"), (-90, "top"), (180, "right"), (0, "left")])
def test_pictures_are_upright(rotation_deg, bright, tmp_path):
    picture = np.full((64, 128), 30, np.uint8)
    picture[:, :40] = 220
    clip = write_media(tmp_path / "turned.mp4", [picture] * 5, range(0, 200, 40), rotation_deg=rotation_deg)
    probed = probe(clip, max_duration_s=10)
    with PictureReader(clip, probed, DECODE) as reader:
        y = next(iter(reader)).y
    assert probed.rotation_deg % 360 == rotation_deg % 360
    assert y.shape == (probed.height_px, probed.width_px) == ((128, 64) if rotation_deg in (90, -90) else (64, 128))
    edges = {"left": y[:, :8], "right": y[:, -8:], "top": y[:8], "bottom": y[-8:]}
    assert max(edges, key=lambda name: edges[name].mean()) == bright


@pytest.mark.parametrize(
    ("shape", "settings", "expected"),
    [
        ((65, 129), {"codec": "ffv1", "pix_fmt": "gray"}, (128, 64)),
        ((1, 3), {"codec": "ffv1", "pix_fmt": "gray"}, (2, 2)),
        ((1080, 3840), {"codec": "ffv1", "pix_fmt": "gray"}, (1920, 540)),
        ((64, 96), {"aspect": Fraction(4, 3)}, (128, 64)),
    ],
)
def test_pictures_have_even_sides_square_pixels_and_a_limit(shape, settings, expected, tmp_path):
    path = write_media(tmp_path / "odd.mkv", [np.full(shape, 128, np.uint8)] * 3, [0, 40, 80], **settings)
    probed = probe(path, max_duration_s=10)
    with PictureReader(path, probed, DECODE) as reader:
        shapes = [picture.y.shape for picture in reader]
    assert picture_size(probed) == expected
    assert shapes == [expected[::-1]] * 3


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_change_of_size_in_the_middle_does_not_move_the_clock(overlapping, tmp_path):
    # Reordered frames shift the second stream's beginning back: its first times repeat the last ones of the first.
    options = {"video_options": {} if overlapping else {"bf": "0"}}
    large = [np.kron(counter_picture(i), np.ones((2, 2), np.uint8)) for i in range(20, 40)]
    first = write_media(tmp_path / "1.ts", FIRST_40[:20], EVEN_MS[:20], **options)
    second = write_media(tmp_path / "2.ts", large, EVEN_MS[20:], **options)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    numbers, reader, _ = decode(path)
    assert numbers == reader.clock_map().source_index.tolist()
    assert numbers[-1] == 39


@pytest.mark.parametrize("extension", ["mkv", "mp4", "ts", "avi"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.97])
def test_a_cut_file_gives_its_beginning_or_a_reason(extension, share, tmp_path):
    noise = np.random.default_rng(0).integers(0, 40, (80, 64, 256))
    pictures = [(counter_picture(i) // 2 + 50 + noise[i]).astype(np.uint8) for i in range(80)]
    fragments = {"movflags": "frag_keyframe+empty_moov"} if extension == "mp4" else {}
    codec = MJPEG if extension == "avi" else {}
    whole = write_media(tmp_path / f"whole.{extension}", pictures, range(0, 3200, 40), options=fragments, **codec)
    cut = tmp_path / f"cut.{extension}"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    try:
        _, reader, probed = decode(cut)
    except Rejection as rejection:
        assert (rejection.reason in ("unreadable", "no_video"), share < 0.3) == (True, True)  # noqa: PT017
        return
    shown = reader.clock_map().source_index
    promised = extension in ("mkv", "avi") and reader.clock_map().end_s < 2.9
    assert probed.problem or reader.problem() or not promised
    assert 80 * share - 20 <= len(shown) <= 80
    assert (np.diff(shown) >= 0).all()


def test_damage_in_the_middle_is_reported(tmp_path):
    path = write_media(
        tmp_path / "clip.mp4",
        [np.random.default_rng(i).integers(0, 256, (64, 64), np.uint8) for i in range(50)],
        range(0, 2000, 40),
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 4] = bytes(len(data) // 4)
    path.write_bytes(data)
    _, reader, _ = decode(path)
    assert "frames could be decoded" in reader.problem()


def test_a_deadline_ends_the_reading(tmp_path):
    path = write_media(tmp_path / "clip.mp4", FIRST_40 * 5, range(0, 8000, 40))  # more than a pipe holds
    probed = probe(path, max_duration_s=10)
    with PictureReader(path, probed, replace(DECODE, timeout_s=0.4)) as reader:
        pictures = iter(reader)
        next(pictures)
        time.sleep(0.6)
        assert len(list(pictures)) < 199
    assert reader.timed_out


@pytest.mark.parametrize(
    "name", ["-i clip.mp4", "a b\nc.mp4", "žluťoučký 视频 🎬.mp4", "%03d.mp4", "x" * 240 + ".mp4", "http:clip.mp4"]
)
def test_any_file_name_can_be_read(name, tmp_path, monkeypatch):
    write_media(tmp_path / "plain.mp4", FIRST_40, range(0, 1600, 40)).rename(tmp_path / name)
    numbers, _, _ = decode(tmp_path / name)
    assert numbers == list(range(40))
