"""Label files that do not fit their video are told apart by kind."""

import numpy as np
import pytest

from pipeline.dataset.sources.finding_texts import LABEL_TEXTS
from pipeline.dataset.sources.label_fit import label_problem
from pipeline.dataset.sources.label_formats import parse

FRAMES_S = np.arange(250) / 25  # ten seconds


def frames(start, stop, step=1):
    text = "".join(f"{n},0,0\n" for n in range(start, stop, step))
    return parse(f"frame,valence,arousal\n{text}", name="a.csv")


def times(start, stop, step_s):
    text = "".join(f"{n * step_s:.3f},0,0\n" for n in range(int(start / step_s), int(stop / step_s)))
    return parse(f"time_s,valence,arousal\n{text}", name="a.csv")


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (frames(0, 250), ""),
        (frames(0, 230), ""),
        (frames(0, 200), "ends_early"),
        (frames(0, 270), ""),
        (frames(0, 300), "ends_late"),
        (frames(1, 251), "counts_from_1"),
        (frames(1, 250), ""),  # the first frame may have no label
        (frames(0, 251), ""),
        (frames(0, 250, 25), ""),  # a label a second
        (frames(0, 150, 25), "ends_early"),
        (times(0, 10, 0.04), ""),
        (times(0, 8, 0.04), "ends_early"),
        (times(0, 9, 1.0), ""),  # the last label may hold for a second
        (times(0, 8, 1.0), "ends_early"),
        (times(0, 14, 0.04), "ends_late"),
        (frames(0, 0), ""),
    ],
)
def test_the_kinds_of_mistakes(rows, kind):
    assert label_problem(rows, FRAMES_S) == kind
    assert not kind or kind in LABEL_TEXTS


def test_rows_without_a_valid_label_reach_as_far_as_the_others():
    text = "valence,arousal\n" + "0,0\n" * 100 + "-5,-5\n" * 150
    assert label_problem(parse(text, name="a.txt"), FRAMES_S) == ""


def test_labels_that_were_shifted_back_may_end_earlier():
    assert label_problem(times(0, 7.5, 0.04), FRAMES_S, delay_s=2.72) == ""
    assert label_problem(times(0, 5, 0.04), FRAMES_S, delay_s=2.72) == "ends_early"


def test_a_video_without_frames_has_no_problem():
    assert label_problem(frames(0, 9), np.empty(0)) == ""
