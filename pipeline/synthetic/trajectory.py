"""The valence/arousal trajectory of a clip, and the smooth noise that it and all cues are drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

CONTRAST = 1.15  # before tanh: how often a trajectory reaches the outer parts of [-1, 1]


def smooth_noise(rng: np.random.Generator, num_points: int, rate_hz: float, period_s: float) -> Floats:
    """Draw Gaussian noise of unit variance whose autocorrelation falls over about `period_s` seconds.

    Returns:
        (num_points,) white noise convolved with a Gaussian of standard deviation period_s / 2.
    """
    sigma = max(0.5 * period_s * rate_hz, 1e-3)
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    white = rng.standard_normal(num_points + 2 * reach)
    return np.convolve(white, kernel / np.linalg.norm(kernel), mode="valid")


def draw_trajectory(rng: np.random.Generator, num_frames: int, frame_rate_hz: float) -> Floats:
    """Draw a clip's valence and arousal: a mood for the whole clip, slow swings of seconds and small quick ones.

    Returns:
        (num_frames, 2) valence and arousal in (-1, 1), independent of each other.
    """
    columns = []
    for _ in ("valence", "arousal"):
        mood = 0.45 * rng.standard_normal()
        swings = 0.65 * smooth_noise(rng, num_frames, frame_rate_hz, period_s=4.0)
        flickers = 0.15 * smooth_noise(rng, num_frames, frame_rate_hz, period_s=1.2)
        columns.append(np.tanh(CONTRAST * (mood + swings + flickers)))
    return np.stack(columns, axis=1)


def resample(values: Floats, rate_hz: float, num_points: int, to_rate_hz: float) -> Floats:
    """Interpolate `values` (n,) or (n, k) at `rate_hz` linearly at `num_points` instants of `to_rate_hz`."""
    new_times_s = np.arange(num_points) / to_rate_hz
    times_s = np.arange(len(values)) / rate_hz
    if values.ndim == 1:
        return np.interp(new_times_s, times_s, values)
    return np.stack([np.interp(new_times_s, times_s, column) for column in values.T], axis=1)
