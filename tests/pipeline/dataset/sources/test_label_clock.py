import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.sources.label_clock import annotations_of, onto_clock
from pipeline.dataset.sources.label_formats import parse

TIMES = np.arange(10) / 25
NUMBER = st.floats(-1, 1, width=32)


def read(text, times=TIMES):
    return annotations_of(parse(text, name="talk.csv"), frame_times_s=times)


def test_rows_by_frame_take_the_frames_own_times():
    times = np.array([0.0, 0.04, 0.5, 0.9])  # a variable frame rate
    rows = read("frame,valence,arousal\n0,0.1,-0.2\n2,0.5,1\n", times).rows
    assert rows["frame"].tolist() == [0, 2]
    assert rows["time_s"].tolist() == [0.0, 0.5]
    assert rows["valence"].tolist() == pytest.approx([0.1, 0.5])
    assert rows["arousal"].tolist() == pytest.approx([-0.2, 1])


def test_rows_by_time_take_the_frame_that_is_shown():
    rows = read("time_s,valence,arousal\n0.0,0,0\n0.05,0.1,0\n0.39,0,0\n").rows
    assert rows["frame"].tolist() == [0, 1, 9]


def test_affwild2_rows_count_frames_from_the_first():
    text = "valence,arousal\n0.1,0.2\n-5,-5\n0.3,-5.0\n0.4,0.5\n"
    assert read(text).rows["frame"].tolist() == [0, 3]
    assert (len(parse(text, name="").positions), parse(text, name="").num_invalid) == (4, 2)


def test_more_rows_than_frames_keep_the_shorter():
    text = "valence,arousal\n" + "0.1,0.2\n" * 14
    assert len(read(text).rows) == 10
    assert len(parse(text, name="").positions) == 14
    assert len(read("time_s,valence,arousal\n-0.5,0,0\n0.2,0,0\n7,0,0\n").rows) == 1


def test_fewer_rows_than_frames_leave_the_rest_unlabelled():
    labels = onto_clock(read("valence,arousal\n0.1,0.2\n0.1,0.2\n"), TIMES)
    assert np.isnan(labels[:, 0]).tolist() == [False, False] + [True] * 8


def test_the_clock_interpolates_between_neighbours_and_keeps_annotated_values():
    annotations = read("time_s,valence,arousal\n0.0,0,1\n0.2,1,0\n0.3,0,-1\n")
    labels = onto_clock(annotations, np.array([0.0, 0.1, 0.2, 0.25, 0.3, 0.31]))
    assert labels[:5] == pytest.approx(np.array([[0, 1], [0.5, 0.5], [1, 0], [0.5, -0.5], [0, -1]]), abs=1e-6)
    assert np.isnan(labels[5]).all()


def test_the_clock_does_not_bridge_gaps():
    frames = [0, 1, 2, 3, 4, 6, 9]  # one missing is joined (2 intervals), two are not (3 intervals)
    annotations = read("frame,valence,arousal\n" + "".join(f"{f},0.5,0.5\n" for f in frames))
    labels = onto_clock(annotations, TIMES)
    assert np.flatnonzero(np.isnan(labels[:, 0])).tolist() == [7, 8]


def test_the_clock_with_no_or_one_annotation():
    assert np.isnan(onto_clock(read("frame,valence,arousal\n"), TIMES)).all()
    labels = onto_clock(read("frame,valence,arousal\n3,0.5,0.25\n"), TIMES)
    assert np.flatnonzero(~np.isnan(labels[:, 0])).tolist() == [3]
    assert labels[3].tolist() == [0.5, 0.25]


@given(st.lists(st.tuples(st.floats(0, 10), NUMBER, NUMBER), min_size=2, max_size=8, unique_by=lambda row: row[0]))
def test_the_clock_stays_within_what_was_annotated(rows):
    text = "time_s,valence,arousal\n" + "".join(f"{t!r},{v!r},{a!r}\n" for t, v, a in rows)
    annotations = read(text, np.arange(300) / 25)
    labels = onto_clock(annotations, np.arange(0, 12, 0.03))
    known = labels[~np.isnan(labels[:, 0])]
    for column, index in (("valence", 0), ("arousal", 1)):
        values = annotations.rows[column]
        assert ((known[:, index] >= values.min() - 1e-5) & (known[:, index] <= values.max() + 1e-5)).all()
    assert labels.dtype == np.float32
    assert not math.isinf(labels[~np.isnan(labels)].sum())
