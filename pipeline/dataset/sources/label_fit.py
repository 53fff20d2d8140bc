"""Whether the rows of a label file fit the frames of its video: the usual mistakes, by kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.sources.label_formats import LabelRows
from pipeline.records import LabelProblem

TOLERANCE_S = 1.0  # by which the last row may miss the end of the video, besides the usual distance of two rows


def label_problem(rows: LabelRows, frame_times_s: NDArray[np.float64], delay_s: float = 0.0) -> LabelProblem:
    """The kind of mistake that a label file shows; "" where it fits or has no rows.

    Args:
        rows: all rows of the file, those without a valid label too.
        frame_times_s: (frames,) sorted presentation times of the original frames, seconds.
        delay_s: how much of the end is missing because labels were shifted back by the annotators' reaction delay.
    """
    if not len(rows.positions) or not len(frame_times_s):
        return ""
    first, last = rows.positions.min(), rows.positions.max()
    frame_s = _usual_step(frame_times_s)
    if rows.unit == "frame":
        if first == 1 and last == len(frame_times_s):
            return "counts_from_1"
        beyond = last - (len(frame_times_s) - 1)
        last_s = frame_times_s[-1] + beyond * frame_s if beyond > 0 else frame_times_s[int(last)]
    else:
        last_s = last
    tolerance_s = TOLERANCE_S + max(frame_s, _row_step_s(rows, frame_s)) + delay_s
    if last_s < frame_times_s[-1] - tolerance_s:
        return "ends_early"
    return "ends_late" if last_s > frame_times_s[-1] + tolerance_s else ""


def _row_step_s(rows: LabelRows, frame_s: float) -> float:
    step = _usual_step(np.sort(rows.positions))
    return step * frame_s if rows.unit == "frame" else step


def _usual_step(positions: Sequence[float] | NDArray[np.float64]) -> float:
    return float(np.median(np.diff(positions))) if len(positions) > 1 else 0.0
