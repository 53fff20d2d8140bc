import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pipeline.media.container.probe import probe
from pipeline.media.log_mel import LogMel, mel_filters
from pipeline.media.options import MelOptions
from pipeline.media.read_sound import read_sound
from pipeline.records import Rejection
from tests.support.media_files import counter_picture, tone, write_media
from tests.support.media_options import DECODE, MEL

PICTURES, TIMES_MS = [counter_picture(0)] * 10, [i * 200 for i in range(10)]


def read(path, num_clock_frames=50, decode=DECODE):
    return read_sound(path, probe(path, max_duration_s=100), decode, MEL, num_clock_frames=num_clock_frames)


def plain_log_mel(samples, rate_hz, n_fft, window_s, hop_s, num_mels, num_hops):
    """The definition, word by word: one hop, one frequency, one filter at a time."""
    length = round(window_s * rate_hz)
    to_mel = lambda hz: 2595 * math.log10(1 + hz / 700)  # noqa: E731
    to_hz = lambda mel: 700 * (10 ** (mel / 2595) - 1)  # noqa: E731
    corners = [to_hz(to_mel(rate_hz / 2) * i / (num_mels + 1)) for i in range(num_mels + 2)]
    result = np.zeros((num_hops, num_mels))
    n = np.arange(n_fft)
    for hop in range(num_hops):
        centre = round(hop * hop_s * rate_hz)
        frame = np.zeros(n_fft)
        for k in range(length):
            at = centre - length // 2 + k
            if 0 <= at < len(samples):
                frame[n_fft // 2 - length // 2 + k] = samples[at] * math.sin(math.pi * k / length) ** 2
        power = [abs((frame * np.exp(-2j * np.pi * bin_ * n / n_fft)).sum()) ** 2 for bin_ in range(n_fft // 2 + 1)]
        for band in range(num_mels):
            low, middle, high = corners[band : band + 3]
            total = 0.0
            for bin_, energy in enumerate(power):
                hz = bin_ * rate_hz / n_fft
                if low < hz < high:
                    total += energy * ((hz - low) / (middle - low) if hz <= middle else (high - hz) / (high - middle))
            result[hop, band] = 10 * math.log10(max(total, 1e-10))
    return result


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_the_spectrogram_equals_its_definition(rate_hz):
    samples = np.random.default_rng(0).normal(0, 0.2, rate_hz // 10).astype(np.float32)
    settings = {"n_fft": 1024, "window_s": 0.02, "hop_s": 0.01, "num_mels": 64}
    mel = LogMel(MelOptions(rate_hz, **settings))
    hops = np.arange(11)
    padded = np.pad(samples, mel.reach)
    got = mel(padded, mel.centres(hops) + mel.reach)
    expected = plain_log_mel(samples, rate_hz, num_hops=11, **settings)
    assert got == pytest.approx(expected, abs=2e-3)


def test_every_frequency_between_the_ends_is_in_two_filters():
    filters = mel_filters(16000, 1024, 64)
    covered = filters.sum(1)
    first, last = np.flatnonzero(covered > 0.9999)[[0, -1]]
    assert covered[first : last + 1] == pytest.approx(1.0, abs=1e-4)
    assert (first, last) < (5, 490)
    assert last > 470


def test_a_window_longer_than_the_transform_is_refused():
    with pytest.raises(ValueError, match="320 samples; allowed: 1 to n_fft = 256"):
        LogMel(replace(MEL, n_fft=256, num_mels=8))


BEEPS_S = (0.31, 0.9, 1.505)


def beeps(duration_s, rate_hz, start_s=0.0):
    times_s = start_s + np.arange(round(duration_s * rate_hz)) / rate_hz
    loud = np.any([(times_s >= beep_s) & (times_s < beep_s + 0.1) for beep_s in BEEPS_S], axis=0)
    return 0.5 * np.sin(2 * np.pi * 1000 * times_s) * loud


@pytest.mark.parametrize(
    ("extension", "codec", "rate_hz", "start_ms", "picture_ms"),
    [
        ("mkv", "pcm_s16le", 16000, 0, 0),
        ("mkv", "pcm_s16le", 44100, 250, 0),
        ("mov", "pcm_s16le", 22050, 250, 0),
        ("mkv", "flac", 48000, 0, 800),
        ("mp4", "aac", 48000, 0, 0),
        ("mp4", "aac", 44100, 250, 0),
        ("webm", "libopus", 48000, 0, 0),
        ("ts", "aac", 48000, 200, 0),
        ("avi", "pcm_s16le", 22050, 0, 0),
    ],
)
def test_beeps_are_heard_at_their_timestamps(extension, codec, rate_hz, start_ms, picture_ms, tmp_path):
    times_ms = [picture_ms + time_ms for time_ms in TIMES_MS]
    sound = beeps(2.0 - start_ms / 1000, rate_hz, start_ms / 1000)
    settings = {"sound": sound, "sound_at_ms": start_ms, "sound_rate_hz": rate_hz, "sound_codec": codec}
    video = {"webm": {"codec": "libvpx"}, "avi": {"time_base": Fraction(1, 5)}}.get(extension, {})
    video |= {} if extension == "webm" else {"video_options": {"bf": "0"}}
    path = write_media(tmp_path / f"clip.{extension}", PICTURES, times_ms, **settings, **video)
    result = read(path)

    loud = result.mel_db.max(axis=1) > 0
    begins_s = np.flatnonzero(np.diff(loud.astype(int)) == 1) * 0.01
    delay_s = probe(path, max_duration_s=10).frame_times_s[0] - picture_ms / 1000  # an encoder's lead moves the origin
    assert begins_s == pytest.approx(np.array(BEEPS_S) + delay_s, abs=0.015)
    real_s = np.flatnonzero(result.hop_ok) * 0.01
    assert real_s[0] == pytest.approx(start_ms / 1000, abs=0.07)  # lossy codecs lead in by up to 65 ms
    assert real_s[-1] == pytest.approx(2.0, abs=0.07)


def test_gaps_and_ends_are_masked_and_quiet(tmp_path):
    sound = [(300, tone(0.4)), (1100, tone(0.5))]
    result = read(write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS, sound=sound))
    times_s = np.arange(len(result.hop_ok)) * 0.01
    expected = ((times_s >= 0.3) & (times_s < 0.7)) | ((times_s >= 1.1) & (times_s < 1.6))
    assert len(times_s) == 200
    assert np.flatnonzero(result.hop_ok != expected).tolist() in ([], [70], [160])
    loud = result.mel_db.max(axis=1) > 0
    assert np.abs(np.flatnonzero(np.diff(loud.astype(int))) * 0.01 - [0.3, 0.7, 1.1, 1.6]).max() <= 0.02
    assert result.mel_db[(times_s > 0.72) & (times_s < 1.08)].max() == -100


def test_silence_is_sound(tmp_path):
    result = read(write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS, sound=np.zeros(32000)))
    assert result.hop_ok.all()
    assert result.mel_db.max() == -100
    assert result.mel_db.dtype == np.float16


def test_no_sound_is_masked(tmp_path):
    result = read(write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS))
    assert result.mel_db.shape == (200, 64)
    assert not result.hop_ok.any()
    assert (result.mel_db == -100).all()


def test_sound_beyond_the_picture_is_left_out(tmp_path):
    path = write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS, sound=tone(20.0))
    result = read(path)
    assert result.mel_db.shape == (200, 64)
    assert result.hop_ok.all()
    assert result.problem == ""


def test_six_channels_become_one(tmp_path):
    settings = {"sound": tone(2.0), "layout": "5.1", "sound_codec": "flac"}
    result = read(write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS, **settings))
    assert result.hop_ok.all()
    assert (result.mel_db[5:195].max(axis=1) > 10).all()


def test_long_sound_is_the_same_in_chunks(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 16000 * 25)
    path = write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS, sound=noise)
    result = read(path, num_clock_frames=625)
    samples = (noise * 32768).round() / 32768  # sixteen bits, as in the file
    mel = LogMel(MEL)
    whole = mel(np.pad(samples, mel.reach).astype(np.float32), mel.centres(np.arange(2500)) + mel.reach)
    assert result.mel_db.shape == (2500, 64)
    assert result.mel_db.astype(np.float32) == pytest.approx(whole, abs=0.1)


def test_too_slow_is_a_rejection_not_half_a_sound(tmp_path):
    path = write_media(tmp_path / "clip.mkv", PICTURES, TIMES_MS, sound=tone(60.0))
    with pytest.raises(Rejection, match=r"audio: timeout: sound not decoded within 0\.001 s"):
        read(path, num_clock_frames=1500, decode=replace(DECODE, timeout_s=0.001))
