"""A file's sound as a log-mel spectrogram on the video's clock."""

from __future__ import annotations

import math
import time
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.child import Child
from pipeline.media.decode import compile_pipe, open_input
from pipeline.records import Probe, Rejection, SoundOnClock

FLOOR_POWER = 1e-10  # -100 dB, what silence is given
CHUNK_HOPS = 1024
_INPUT_GAP_S = 0.01  # gaps and overlaps of the packets beyond this are filled and cut


def read_sound(
    path: Path,
    probe: Probe,
    *,
    ffmpeg: str,
    num_clock_frames: int,
    frame_rate_hz: float,
    sample_rate_hz: int,
    n_fft: int,
    window_s: float,
    hop_s: float,
    num_mels: int,
    timeout_s: float,
) -> SoundOnClock:
    """Decode the first sound stream to mono on the clock and take its log-mel spectrogram.

    Hop i is centred at `i * hop_s`; there are as many as begin within the `num_clock_frames` frames. Sound that
    starts late is padded, gaps are filled by its packets' times, and `hop_ok` is True only where packets are.
    Without a sound stream, or with one that yields nothing, every hop is masked and at the floor.

    Raises:
        Rejection: ("audio", "timeout").
    """
    started_s = time.perf_counter()
    num_hops = math.ceil(num_clock_frames / frame_rate_hz / hop_s - 1e-9)
    mel_db = np.full((num_hops, num_mels), 10 * math.log10(FLOOR_POWER), np.float16)
    if probe.audio_stream < 0:
        return SoundOnClock(mel_db, np.zeros(num_hops, bool))
    mel = LogMel(sample_rate_hz, n_fft=n_fft, window_s=window_s, hop_s=hop_s, num_mels=num_mels)
    with Child(_command(path, probe, ffmpeg, sample_rate_hz), timeout_s=timeout_s) as child:
        num_samples = _fill(mel_db, mel, child)
        code = child.finish() if num_samples < mel.num_samples(num_hops) else 0  # the rest is beyond the picture
    if child.timed_out:  # what was decoded until then depends on the machine: it must not become data
        raise Rejection("audio", "timeout", f"sound not decoded within {timeout_s:g} s")
    times_s = np.arange(num_hops, dtype=np.float64) * hop_s
    hop_ok = _within(times_s, probe.sound_spans_s) & (times_s < num_samples / sample_rate_hz)
    problem = f"sound: ffmpeg ended with {code}: {child.complaints}" if code else ""
    return SoundOnClock(mel_db, hop_ok, problem, time.perf_counter() - started_s)


def _command(path: Path, probe: Probe, ffmpeg: str, sample_rate_hz: int) -> list[str]:
    layout = {"async": 1, "min_hard_comp": _INPUT_GAP_S, "first_pts": 0, "ochl": "mono", "osr": sample_rate_hz}
    sound = (
        open_input(path)[str(probe.audio_stream)]
        .filter("asetpts", f"PTS-({probe.start_s!r})/TB")
        .filter("aresample", **layout)
    )
    return compile_pipe(sound, ffmpeg, format="f32le", acodec="pcm_f32le")


def _fill(mel_db: NDArray[np.float16], mel: LogMel, child: Child) -> int:
    """Fill `mel_db` chunk by chunk from the child's samples; how many samples there were."""
    num_samples, kept = 0, np.zeros(mel.reach, np.float32)  # sound before second 0 is silence
    for first in range(0, len(mel_db), CHUNK_HOPS):
        hops = np.arange(first, min(first + CHUNK_HOPS, len(mel_db)))
        start = mel.centres(hops[0]) - mel.reach  # first sample that these hops see
        fresh = np.zeros(int(mel.centres(hops[-1])) + mel.reach - (start + len(kept)), np.float32)
        num_samples += child.read_into(fresh) // fresh.itemsize
        seen = np.concatenate([kept, fresh])
        mel_db[hops] = mel(seen, mel.centres(hops) - start)
        kept = seen[mel.centres(hops[-1] + 1) - mel.reach - start :]
    return num_samples


class LogMel:
    """Power spectrogram (periodic Hann window, centred hops, silence beyond the ends) to mel bands in dB.

    The mel scale is HTK's, filters are unnormalised triangles from 0 Hz to half the sample rate: the defaults of
    torchaudio's MelSpectrogram followed by AmplitudeToDB("power") without its top_db.
    """

    def __init__(self, sample_rate_hz: int, *, n_fft: int, window_s: float, hop_s: float, num_mels: int) -> None:
        length = round(window_s * sample_rate_hz)
        if not 0 < length <= n_fft:
            raise ValueError(f"a window of {window_s} s has {length} samples; allowed: 1 to n_fft = {n_fft}")
        self.sample_rate_hz, self.n_fft, self.hop_s = sample_rate_hz, n_fft, hop_s
        self.window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)
        self.triangles = [_nonzero(weights) for weights in mel_filters(sample_rate_hz, n_fft, num_mels).T]
        self.reach = length - length // 2 + 1  # samples on either side of a centre that suffice for its window

    def centres(self, hops: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """The sample at the middle of each hop."""
        return np.rint(np.asarray(hops) * (self.hop_s * self.sample_rate_hz)).astype(np.int64)

    def num_samples(self, num_hops: int) -> int:
        """Samples from second 0 on that `num_hops` hops see."""
        return int(self.centres(num_hops - 1)) + self.reach if num_hops else 0

    def __call__(self, samples: NDArray[np.float32], centres: NDArray[np.int64]) -> NDArray[np.float32]:
        """(hops, mels) dB around `centres`, indices into `samples` that stay `reach` away from its ends."""
        # The window is shorter than n_fft; where it lies in the frame changes phases only, so the frame starts with it.
        length = len(self.window)
        frames = np.lib.stride_tricks.sliding_window_view(samples, length)[centres - length // 2] * self.window
        spectrum = np.fft.rfft(frames, self.n_fft)
        power = spectrum.real**2 + spectrum.imag**2
        # Not `power @ filters`: BLAS sums in an order that depends on its number of threads, and the bytes must not.
        mels = np.stack([(power[:, bins] * weights).sum(axis=1) for bins, weights in self.triangles], axis=1)
        return 10 * np.log10(np.maximum(mels, FLOOR_POWER))


def _nonzero(weights: NDArray[np.float32]) -> tuple[slice, NDArray[np.float32]]:
    """The bins that a triangle covers, and its weights there."""
    bins = np.flatnonzero(weights)
    covered = slice(bins[0], bins[-1] + 1) if len(bins) else slice(0)
    return covered, weights[covered]


@cache
def mel_filters(sample_rate_hz: int, n_fft: int, num_mels: int) -> NDArray[np.float32]:
    """(n_fft // 2 + 1, num_mels) triangles, equally spaced on HTK's mel scale 2595 log10(1 + f / 700)."""
    top_mel = 2595 * math.log10(1 + sample_rate_hz / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top_mel, num_mels + 2) / 2595) - 1)
    bins_hz = np.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1)
    rise = (bins_hz[:, None] - corners_hz[None, :-2]) / np.diff(corners_hz)[None, :-1]
    fall = (corners_hz[None, 2:] - bins_hz[:, None]) / np.diff(corners_hz)[None, 1:]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def _within(times_s: NDArray[np.float64], spans_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    span = np.searchsorted(spans_s[:, 0], times_s + 1e-9, side="right") - 1
    if not len(spans_s):
        return np.zeros(len(times_s), bool)
    return (span >= 0) & (times_s < spans_s[span, 1])
