"""Smoothing of predictions: the mean over neighbouring frames of a stream, within a window of set or tuned width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.alignment import align_streams
from pipeline.evaluation.predictions import ClockPredictions, StreamPredictions, fill_invalid_with_last
from pipeline.evaluation.scores import CccValues, pooled_ccc
from pipeline.records import LABEL_NAMES

CANDIDATES_S = (0.0, 0.2, 0.4, 2 / 3, 1.0, 4 / 3, 5 / 3, 2.0, 2.5, 3.0, 4.0, 5.0)


@dataclass(frozen=True, slots=True)
class Windows:
    """Over how much time each dimension is averaged; a single frame or less changes nothing."""

    valence_s: float
    arousal_s: float
    tuned_on: str | None = None  # the split that they were tuned on; None where they are settings


def smooth(stream: StreamPredictions, windows: Windows, rate_hz: float) -> StreamPredictions:
    """The stream with smoothed predictions beside its raw ones.

    As the released code's filters over 20 and 50 frames, but frames that were not predicted take no part, and no
    window reaches across them, across a gap of the clock, or into another video: there it is narrower. Frames without
    a prediction of their own repeat the last smoothed one.
    """
    clock = stream.clock
    num_frames = [round(width_s * rate_hz) for width_s in (windows.valence_s, windows.arousal_s)]
    values = np.stack([_mean_filter(clock, i, num, rate_hz) for i, num in enumerate(num_frames)], 1)
    return replace(stream, clock=replace(clock, smoothed=fill_invalid_with_last(values, clock.valid)))


def tune_windows(streams: Sequence[StreamPredictions], split: str, rate_hz: float) -> Windows:
    """Those of `CANDIDATES_S` with the best pooled CCC on the streams of a split; the narrowest of equals."""
    by_width = [_smoothed_ccc(streams, Windows(width_s, width_s), rate_hz) for width_s in CANDIDATES_S]
    best = [int(np.argmax([ccc[name] or 0.0 for ccc in by_width])) for name in LABEL_NAMES]
    return Windows(CANDIDATES_S[best[0]], CANDIDATES_S[best[1]], split)


def _smoothed_ccc(streams: Sequence[StreamPredictions], windows: Windows, rate_hz: float) -> CccValues:
    return pooled_ccc(align_streams(smooth(stream, windows, rate_hz) for stream in streams), "smoothed")


def _mean_filter(clock: ClockPredictions, column: int, num_frames: int, rate_hz: float) -> NDArray[np.float32]:
    """The mean over `num_frames` frames, of an even number one more before than after; 0 and 1 change nothing."""
    values = clock.values[:, column].copy()
    before = num_frames // 2
    for run in _predicted_runs(clock, rate_hz) if num_frames > 1 else []:
        sums = np.concatenate([[0.0], np.cumsum(values[run], dtype=np.float64)])
        first = np.arange(len(sums) - 1) - before
        start, stop = np.maximum(first, 0), np.minimum(first + num_frames, len(sums) - 1)
        values[run] = (sums[stop] - sums[start]) / (stop - start)
    return values


def _predicted_runs(clock: ClockPredictions, rate_hz: float) -> list[slice]:
    """The runs of predicted frames that follow one another on the clock."""
    predicted = np.flatnonzero(clock.valid)
    is_late = np.diff(clock.times_s[predicted]) > 1.5 / rate_hz
    breaks = np.flatnonzero((np.diff(predicted) > 1) | is_late) + 1
    return [slice(run[0], run[-1] + 1) for run in np.split(predicted, breaks) if len(run)]
