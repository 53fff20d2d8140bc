from fractions import Fraction

import numpy as np
import pytest

from pipeline.media.container.probe import probe
from pipeline.records import Rejection
from tests.support.media_files import counter_picture, tone, write_media

PICTURES = [counter_picture(i) for i in range(25)]
TIMES_MS = [i * 40 for i in range(25)]


def reason(path, **settings):
    with pytest.raises(Rejection) as caught:
        probe(path, **({"max_duration_s": 100} | settings))
    assert caught.value.stage == "probe"
    assert 5 < len(caught.value.detail) < 200
    return caught.value.reason


def test_an_ordinary_file(tmp_path):
    path = write_media(tmp_path / "clip.mp4", PICTURES, TIMES_MS, sound=tone(1.0), sound_codec="aac")
    probed = probe(path, max_duration_s=100)
    assert "mp4" in probed.container
    assert (probed.video_codec, probed.width_px, probed.height_px, probed.rotation_deg) == ("h264", 256, 64, 0)
    assert (probed.video_stream, probed.audio_stream) == (0, 1)
    assert (probed.audio_codec, probed.audio_rate_hz) == ("aac", 16000)
    assert probed.duration_s == pytest.approx(1.0, abs=0.01)
    assert probed.problem == ""


def test_a_file_without_sound(tmp_path):
    probed = probe(write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS), max_duration_s=100)
    assert (probed.audio_stream, probed.audio_codec, probed.audio_rate_hz) == (-1, "", 0)
    assert probed.sound_spans_s.shape == (0, 2)


def test_sound_with_a_gap_is_two_spans(tmp_path):
    sound = [(300, tone(0.4)), (1500, tone(0.5))]
    probed = probe(write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS, sound=sound), max_duration_s=100)
    assert probed.sound_spans_s == pytest.approx(np.array([[0.3, 0.7], [1.5, 2.0]]), abs=0.002)


@pytest.mark.parametrize("codec", ["aac", "libopus", "mp3", "flac"])
def test_unbroken_sound_is_one_span(codec, tmp_path):
    sound = {"sound": tone(3.0, 48000), "sound_rate_hz": 48000, "sound_codec": codec}
    path = write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS, **sound)
    spans = probe(path, max_duration_s=100).sound_spans_s
    assert len(spans) == 1
    assert spans[0] == pytest.approx([0.0, 3.0], abs=0.1)


def test_unusable_files_have_a_reason(tmp_path):
    def file(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    assert reason(file("empty.mp4", b"")) == "unreadable"
    assert reason(file("text.mp4", b"this is no film\n" * 100)) == "unreadable"
    assert reason(file("noise.mkv", np.random.default_rng(0).bytes(50_000))) == "unreadable"
    assert reason(write_media(tmp_path / "sound.m4a", sound=tone(1.0), sound_codec="aac")) == "no_video"
    assert reason(write_media(tmp_path / "long.mp4", PICTURES, TIMES_MS), max_duration_s=0.5) == "too_long"
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "nothing.mp4", max_duration_s=100)


def test_a_jump_of_the_clock_is_too_long(tmp_path):
    times_ms = [*TIMES_MS[:-1], 3_600_000 * 10]
    assert reason(write_media(tmp_path / "jump.mkv", PICTURES, times_ms)) == "too_long"


def test_a_cover_picture_is_no_video(tmp_path):
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for packet in cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64), np.uint8), "gray")):
            container.mux(packet)
        frame = av.AudioFrame.from_ndarray(tone(0.064).astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        for packet in [*audio.encode(frame), *audio.encode(None)]:
            container.mux(packet)
    assert reason(path) == "no_video"


def test_the_first_of_two_videos_counts(tmp_path):
    import av

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream, side_px in zip(streams, (32, 96), strict=True):
            stream.width, stream.height, stream.pix_fmt = side_px, side_px, "gray"
        for stream in streams:
            for number in range(5):
                picture = np.zeros((stream.height, stream.width), np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, "gray")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                for packet in stream.encode(frame):
                    container.mux(packet)
    assert probe(path, max_duration_s=10).width_px == 32
