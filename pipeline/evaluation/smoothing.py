"""Smoothing of predictions: the mean over neighbouring frames of a stream, within a window of given or tuned width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.predictions import OnClock, Stream, carry, joined_columns
from pipeline.evaluation.scores import Values, pooled_ccc
from pipeline.records import LABEL_NAMES

CANDIDATES_S = (0.0, 0.2, 0.4, 2 / 3, 1.0, 4 / 3, 5 / 3, 2.0, 2.5, 3.0, 4.0, 5.0)


@dataclass(frozen=True, slots=True)
class Windows:
    """Over how much time each dimension is averaged; a single frame or less changes nothing."""

    valence_s: float
    arousal_s: float
    tuned_on: str | None = None  # the split that they suit best; None where somebody has set them


def smoothed(stream: Stream, windows: Windows, rate_hz: float) -> Stream:
    """The stream with smoothed predictions beside its raw ones.

    As the released code's filters over 20 and 50 frames, but frames that were not predicted take no part, and no
    window reaches across them, across a gap of the clock, or into another video: there it is narrower. Frames without
    a prediction of their own carry the last smoothed one.
    """
    clock = stream.clock
    counts = [round(width_s * rate_hz) for width_s in (windows.valence_s, windows.arousal_s)]
    values = np.stack([_filtered(clock, i, count, rate_hz) for i, count in enumerate(counts)], 1)
    return replace(stream, clock=replace(clock, smoothed=carry(values, clock.valid)))


def tuned(streams: Sequence[Stream], split: str, rate_hz: float) -> Windows:
    """Those of `CANDIDATES_S` with the best pooled CCC on the streams of a split; the narrowest of equals."""
    by_width = [_ccc(streams, Windows(width_s, width_s), rate_hz) for width_s in CANDIDATES_S]
    best = [int(np.argmax([ccc[name] or 0.0 for ccc in by_width])) for name in LABEL_NAMES]
    return Windows(CANDIDATES_S[best[0]], CANDIDATES_S[best[1]], split)


def _ccc(streams: Sequence[Stream], windows: Windows, rate_hz: float) -> Values:
    return pooled_ccc(joined_columns(smoothed(stream, windows, rate_hz) for stream in streams), "smoothed")


def _filtered(clock: OnClock, column: int, num_frames: int, rate_hz: float) -> NDArray[np.float32]:
    """The mean over `num_frames` frames, of an even number one more before than after; 0 and 1 change nothing."""
    values = clock.values[:, column].copy()
    before = num_frames // 2
    for run in _runs(clock, rate_hz) if num_frames > 1 else []:
        sums = np.concatenate([[0.0], np.cumsum(values[run], dtype=np.float64)])
        first = np.arange(len(sums) - 1) - before
        start, stop = np.maximum(first, 0), np.minimum(first + num_frames, len(sums) - 1)
        values[run] = (sums[stop] - sums[start]) / (stop - start)
    return values


def _runs(clock: OnClock, rate_hz: float) -> list[slice]:
    """The spans of predicted frames that follow one another on the clock."""
    chosen = np.flatnonzero(clock.valid)
    late = np.diff(clock.times_s[chosen]) > 1.5 / rate_hz
    breaks = np.flatnonzero((np.diff(chosen) > 1) | late) + 1
    return [slice(part[0], part[-1] + 1) for part in np.split(chosen, breaks) if len(part)]
