"""A span of a file's sound gives exactly the rows that the whole file gives there."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import pipeline.media.read_sound as module
from pipeline.media.container.probe import probe
from pipeline.media.read_sound import read_sound
from tests.support.media_files import counter_picture, write_media
from tests.support.media_options import DECODE, MEL

DURATION_S = 14
TIMES_MS = [i * 200 for i in range(DURATION_S * 5)]
PICTURES = [counter_picture(i) for i in range(len(TIMES_MS))]

SOUNDS = {  # file extension, codec, rate, first picture, settings of write_media
    "aac": ("mp4", "aac", 44100, 0, {}),
    "opus": ("webm", "libopus", 48000, 0, {"codec": "libvpx", "video_options": {"deadline": "realtime"}}),
    "mp3": ("mkv", "mp3", 44100, 0, {}),
    "flac, picture late": ("mkv", "flac", 44100, 800, {}),
    "pcm mov, picture late": ("mov", "pcm_s16le", 22050, 2430, {}),
    "transport stream": ("ts", "mp2", 48000, 0, {}),
    "avi": ("avi", "pcm_s16le", 22050, 0, {"codec": "mpeg4", "time_base": Fraction(1, 5)}),
}


class FakeCountingProcess(module.FFmpegProcess):
    commands: list[list[str]] = []  # noqa: RUF012 - shared by all, that is its purpose

    def __init__(self, command, **settings):
        self.commands.append(command)
        super().__init__(command, **settings)


@pytest.fixture
def commands(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_S", 4)
    monkeypatch.setattr(module, "FFmpegProcess", FakeCountingProcess)
    FakeCountingProcess.commands.clear()
    return FakeCountingProcess.commands


def speech_like(rate_hz):
    """Noise that swells and fades, with a beep each second."""
    times_s = np.arange(DURATION_S * rate_hz) / rate_hz
    noise = np.random.default_rng(0).normal(0, 0.05, len(times_s)) * (1 + np.sin(3 * times_s))
    return noise + 0.4 * np.sin(2 * np.pi * 1000 * times_s) * (times_s % 1 < 0.1)


def write(path, codec, rate_hz, picture_ms, settings, sound=None):
    sound = speech_like(rate_hz) if sound is None else sound
    times_ms = [picture_ms + time_ms for time_ms in TIMES_MS]
    audio = {"sound": sound, "sound_rate_hz": rate_hz, "sound_codec": codec}
    return write_media(path, PICTURES, times_ms, **audio, **settings)


def read(path, probed, first_frame, num_clock_frames, frame_rate_hz=25.0):
    decode = replace(DECODE, frame_rate_hz=frame_rate_hz)
    return read_sound(path, probed, decode, MEL, num_clock_frames=num_clock_frames, first_frame=first_frame)


@pytest.mark.parametrize("name", SOUNDS)
def test_a_span_is_a_cut_of_the_whole(name, commands, tmp_path):
    extension, *settings = SOUNDS[name]
    path = write(tmp_path / f"clip.{extension}", *settings)
    probed = probe(path, max_duration_s=100)
    whole = read(path, probed, 0, 25 * DURATION_S)
    assert len(commands) == 4  # one per block: no seek landed too late
    beeping = whole.mel_db.max(axis=1) > 0
    delay_s = probed.frame_times_s[0] - settings[2] / 1000  # an encoder's lead moves the origin
    in_beat_s = (np.arange(len(beeping)) * 0.01 - delay_s) % 1
    assert beeping[(in_beat_s > 0.02) & (in_beat_s < 0.08)][7:-7].all()
    for first, num_frames in [(0, 50), (25, 10), (90, 40), (100, 100), (225, 125)]:
        cut = read(path, probed, first, num_frames)
        hops = slice(first * 4, (first + num_frames) * 4)
        assert np.array_equal(cut.mel_db, whole.mel_db[hops]), first
        assert np.array_equal(cut.hop_ok, whole.hop_ok[hops]), first
    assert sum("-ss" in command for command in commands) == (0 if extension == "avi" else 2 + 3 + 2)


@pytest.mark.parametrize(("extension", "codec", "tolerance_db"), [("mov", "pcm_s16le", 0), ("mkv", "flac", 0.5)])
def test_blocks_join_without_a_seam(extension, codec, tolerance_db, commands, tmp_path, monkeypatch):
    path = write(tmp_path / f"clip.{extension}", codec, 44100, 0, {})
    probed = probe(path, max_duration_s=100)
    blocks = read(path, probed, 0, 25 * DURATION_S)
    monkeypatch.setattr(module, "BLOCK_S", 1200)
    whole = read(path, probed, 0, 25 * DURATION_S)
    assert len(commands) == 5
    assert np.array_equal(blocks.hop_ok, whole.hop_ok)
    assert np.array_equal(blocks.mel_db[:400], whole.mel_db[:400])
    # Matroska rounds times to milliseconds: what is entered in the middle lies up to half of one elsewhere.
    assert np.abs(blocks.mel_db.astype(float) - whole.mel_db.astype(float)).mean() <= tolerance_db


def test_frames_between_hops_take_the_grid_of_the_whole(commands, tmp_path):
    path = write(tmp_path / "clip.mkv", "pcm_s16le", 16000, 0, {})
    probed = probe(path, max_duration_s=100)
    whole = read(path, probed, 0, 420, frame_rate_hz=30.0)
    cut = read(path, probed, 95, 100, frame_rate_hz=30.0)  # 3.1667 s to 6.5 s
    assert np.array_equal(cut.mel_db, whole.mel_db[317:650])


def test_sound_with_a_gap_over_the_seam_keeps_its_time(commands, tmp_path):
    quiet_s, rate_hz = (3.2, 4.9), 16000
    sound = speech_like(rate_hz)
    parts = [(0, sound[: int(quiet_s[0] * rate_hz)]), (quiet_s[1] * 1000, sound[int(quiet_s[1] * rate_hz) :])]
    path = write(tmp_path / "clip.mkv", "pcm_s16le", rate_hz, 0, {}, sound=parts)
    result = read(path, probe(path, max_duration_s=100), 0, 25 * DURATION_S)
    times_s = np.arange(len(result.hop_ok)) * 0.01
    quiet = (times_s >= quiet_s[0]) & (times_s < quiet_s[1])
    assert np.flatnonzero(result.hop_ok == quiet).tolist() in ([], [320], [490])
    assert (result.mel_db[quiet][3:-3] == -100).all()
    beeping = result.mel_db.max(axis=1) > 0
    assert beeping[(times_s % 1 > 0.02) & (times_s % 1 < 0.08) & ~quiet].all()


def test_a_seek_that_lands_too_late_is_made_good(commands, tmp_path):
    path = write(tmp_path / "clip.avi", "pcm_s16le", 22050, 0, {"codec": "mpeg4", "time_base": Fraction(1, 5)})
    probed = probe(path, max_duration_s=100)
    whole = read(path, probed, 0, 25 * DURATION_S)
    late = replace(probed, start_s=-6.0, sound_spans_s=probed.sound_spans_s + 6, keyframe_times_s=np.zeros(1))
    cut = read(path, late, 25 * 8, 50)  # block 2 begins at 8 s, which is 2 s of the file
    assert np.array_equal(cut.hop_ok, whole.hop_ok[200:400])


def test_silence_and_clipping_are_measured(tmp_path):
    rate_hz = 16000
    loud = 1.5 * np.sin(2 * np.pi * 200 * np.arange(4 * rate_hz) / rate_hz)
    sound = np.concatenate([np.clip(loud, -1, 1), np.zeros(4 * rate_hz), 0.3 * loud])
    for layout in ("mono", "stereo"):
        path = write(tmp_path / "clip.mkv", "pcm_s16le", rate_hz, 0, {"layout": layout}, sound=[(1000, sound)])
        result = read(path, probe(path, max_duration_s=100), 0, 25 * DURATION_S)
        assert result.silent_fraction == pytest.approx(4 / 12, abs=0.005)
        assert result.clipped_fraction == pytest.approx(np.mean(np.abs(loud) >= 1) / 3, abs=0.005)
