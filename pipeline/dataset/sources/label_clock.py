"""Labels on a video's clock: rows of a label file at the times of its frames, and their values between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.sources.label_formats import LabelRows
from pipeline.records import ANNOTATION_DTYPE, LABEL_NAMES, Annotations

MAX_GAP_INTERVALS = 2.5  # a longer gap between neighbouring annotations is not interpolated
_NEAR_S = 1e-6  # a clock time this close to an annotation is that annotation's


def annotations_of(rows: LabelRows, *, frame_times_s: NDArray[np.float64]) -> Annotations:
    """The valid rows at their frames and times, sorted by time; those before or beyond the frames are left out.

    Args:
        rows: of the label file.
        frame_times_s: (frames,) sorted presentation times of the original frames, seconds.
    """
    if rows.unit == "frame":
        within = rows.positions < len(frame_times_s)
        frames = np.where(within, rows.positions, 0).astype(np.int32)
        times = frame_times_s[frames] if len(frame_times_s) else np.zeros(len(frames))
    else:
        times = rows.positions
        frames = np.searchsorted(frame_times_s, times + _NEAR_S, side="right").astype(np.int32) - 1
        within = (frames >= 0) & (times < _end_s(frame_times_s))
    used = rows.valid & within
    table = np.zeros(int(used.sum()), ANNOTATION_DTYPE)
    table["frame"], table["time_s"] = frames[used], times[used]
    table["valence"], table["arousal"] = rows.values[used].T
    order = np.lexsort((table["frame"], table["time_s"]))
    return Annotations(table[order])


def onto_clock(annotations: Annotations, times_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate valence and arousal at the clock's times, linearly between neighbouring annotations.

    Where two neighbours are further apart than 2.5 times the median interval of the annotations, labels are missing.

    Args:
        annotations: of one stream.
        times_s: (n,) times on the clock, seconds.

    Returns:
        (n, 2) float32, NaN where there is no label.
    """
    known = annotations.rows["time_s"]
    labels = np.full((len(times_s), 2), np.nan, np.float32)
    if len(known) == 0:
        return labels
    intervals = np.diff(known)
    widest = MAX_GAP_INTERVALS * float(np.median(intervals)) if len(intervals) else 0.0
    after = np.searchsorted(known, times_s).clip(1, max(1, len(known) - 1))
    left, right = after - 1, np.minimum(after, len(known) - 1)
    inside = (times_s >= known[left]) & (times_s <= known[right]) & (known[right] - known[left] <= widest)
    nearest = np.where(np.abs(times_s - known[left]) <= np.abs(times_s - known[right]), left, right)
    exact = np.abs(times_s - known[nearest]) <= _NEAR_S
    for column, name in enumerate(LABEL_NAMES):
        value = annotations.rows[name]
        labels[:, column] = np.where(inside, np.interp(times_s, known, value), np.nan)
        labels[exact, column] = value[nearest[exact]]
    return labels


def _end_s(frame_times_s: NDArray[np.float64]) -> float:
    """When the last frame stops being shown, if it is shown as long as most are."""
    usual = float(np.median(np.diff(frame_times_s))) if len(frame_times_s) > 1 else 0.04
    return float(frame_times_s[-1]) + usual if len(frame_times_s) else 0.0
