"""The log-mel spectrogram of a mono signal."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.media.options import MelOptions

FLOOR_POWER = 1e-10  # -100 dB, which silence is given


class LogMel:
    """Power spectrogram (periodic Hann window, centred hops, zeros beyond the ends) to mel bands in dB.

    The mel scale is HTK's, filters are unnormalised triangles from 0 Hz to half the sample rate: the defaults of
    torchaudio's MelSpectrogram followed by AmplitudeToDB("power") without its top_db.

    Raises:
        ValueError: the window is empty or longer than the transform.
    """

    def __init__(self, options: MelOptions) -> None:
        length = round(options.window_s * options.sample_rate_hz)
        if not 0 < length <= options.n_fft:
            raise ValueError(
                f"a window of {options.window_s} s has {length} samples; allowed: 1 to n_fft = {options.n_fft}"
            )
        self.options = options
        self.window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)
        filters = mel_filters(options.sample_rate_hz, options.n_fft, options.num_mels)
        self.triangles = [_nonzero(weights) for weights in filters.T]
        self.reach = length - length // 2 + 1  # samples on either side of a centre that suffice for its window

    def centres(self, hops: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """The sample at the middle of each hop."""
        return np.rint(np.asarray(hops) * (self.options.hop_s * self.options.sample_rate_hz)).astype(np.int64)

    def sample_range(self, hops: NDArray[np.int64]) -> tuple[int, int]:
        """The first sample that the windows of successive `hops` cover, and the one after the last."""
        return int(self.centres(hops[0])) - self.reach, int(self.centres(hops[-1])) + self.reach

    def __call__(self, samples: NDArray[np.float32], centres: NDArray[np.int64]) -> NDArray[np.float32]:
        """(hops, mels) dB around `centres`, indices into `samples` at least `reach` away from its ends."""
        # The window is shorter than n_fft; where it lies in the frame changes phases only, so the frame starts with it.
        length = len(self.window)
        frames = np.lib.stride_tricks.sliding_window_view(samples, length)[centres - length // 2] * self.window
        spectrum = np.fft.rfft(frames, self.options.n_fft)
        power = spectrum.real**2 + spectrum.imag**2
        # Not `power @ filters`: BLAS sums in an order that depends on its number of threads, and the bytes must not.
        mels = np.stack([(power[:, bins] * weights).sum(axis=1) for bins, weights in self.triangles], axis=1)
        return 10 * np.log10(np.maximum(mels, FLOOR_POWER))


@cache
def mel_filters(sample_rate_hz: int, n_fft: int, num_mels: int) -> NDArray[np.float32]:
    """(n_fft // 2 + 1, num_mels) triangles, equally spaced on HTK's mel scale 2595 log10(1 + f / 700)."""
    top_mel = 2595 * math.log10(1 + sample_rate_hz / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top_mel, num_mels + 2) / 2595) - 1)
    bins_hz = np.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1)
    rise = (bins_hz[:, None] - corners_hz[None, :-2]) / np.diff(corners_hz)[None, :-1]
    fall = (corners_hz[None, 2:] - bins_hz[:, None]) / np.diff(corners_hz)[None, 1:]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def _nonzero(weights: NDArray[np.float32]) -> tuple[slice, NDArray[np.float32]]:
    """The bins that a triangle covers, and its weights there."""
    bins = np.flatnonzero(weights)
    covered = slice(bins[0], bins[-1] + 1) if len(bins) else slice(0)
    return covered, weights[covered]
