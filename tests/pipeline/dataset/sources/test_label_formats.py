import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.sources import label_formats
from pipeline.dataset.sources.label_clock import annotations_of
from pipeline.dataset.sources.label_formats import LabelError, label_text, parse, parse_gold

TIMES = np.arange(10) / 25
NUMBER = st.floats(-1, 1, width=32)
NOT_VALID = st.sampled_from(["nan", "-5", "-5.0", "", "NaN"])
GOLD = {"names": ("v.csv", "a.csv"), "delays_s": (0.0, 0.0)}
PAIR = st.one_of(st.tuples(NUMBER, NUMBER), st.tuples(NOT_VALID, NUMBER), st.tuples(NUMBER, NOT_VALID))


def read(text, times=TIMES):
    return annotations_of(parse(text, name="talk.csv"), frame_times_s=times)


def test_byte_order_mark_windows_lines_and_blank_lines():
    data = "\ufeffframe,valence,arousal\r\n\r\n0, 0.5 ,0.25\r\n\r\n1,nan,0.5\r\n\r\n".encode()
    text = label_text(data, name="talk.csv")
    assert read(text).rows[["valence", "arousal"]].tolist() == [(0.5, 0.25)]
    assert (len(parse(text, name="").positions), parse(text, name="").num_invalid) == (2, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["row 1", "header is ''"]),
        ("frame,arousal,valence\n0,0,0\n", ["row 1", "frame,arousal,valence"]),
        ("time,valence,arousal\n0,0,0\n", ["row 1", "'time,valence,arousal'", "time_s,valence,arousal"]),
        ("frame,valence,arousal\n0,0,0\n1,1.5,0\n", ["row 3", "column valence", "1.5", "-1 to 1"]),
        ("frame,valence,arousal\n0,0,-2\n", ["row 2", "column arousal", "-2"]),
        ("frame,valence,arousal\n\n0,0,inf\n", ["row 3", "column arousal", "inf"]),
        ("frame,valence,arousal\n0,happy,0\n", ["row 2", "column valence", "'happy' is not a number"]),
        ("frame,valence,arousal\n0,0,0\n0,0,0\n", ["row 3", "column frame", "row 2 too"]),
        ("time_s,valence,arousal\n0.5,0,0\n0.50,0,0\n", ["row 3", "column time_s", "row 2 too"]),
        ("frame,valence,arousal\n1.5,0,0\n", ["row 2", "column frame", "'1.5'"]),
        ("frame,valence,arousal\n-1,0,0\n", ["row 2", "column frame", "'-1'"]),
        ("frame,valence,arousal\n99999999999,0,0\n", ["row 2", "column frame"]),
        ("frame,valence,arousal\n,0,0\n", ["row 2", "column frame"]),
        ("time_s,valence,arousal\nnan,0,0\n", ["row 2", "column time_s"]),
        ("frame,valence,arousal\n0,0\n", ["row 2", "2 cells", "3"]),
        ("valence,arousal\n0.1,0.2,0.3\n", ["row 2", "3 cells", "2"]),
        ("valence,arousal\n0.1;0.2\n", ["row 2", "1 cells"]),
    ],
)
def test_what_is_not_of_the_grammar_is_rejected_with_its_position(text, words):
    with pytest.raises(LabelError) as caught:
        read(text)
    assert all(word in str(caught.value) for word in ["talk.csv", *words]), str(caught.value)


def test_a_file_that_is_not_text_is_refused():
    with pytest.raises(LabelError, match=r"talk\.csv: not UTF-8"):
        label_text(b"frame,valence,arousal\n0,\xff\xfe,0\n", name="talk.csv")


@given(st.dictionaries(st.integers(0, 9), st.tuples(NUMBER, NUMBER)))
def test_what_is_written_is_read(values):
    text = "frame,valence,arousal\n" + "".join(f"{f},{v!r},{a!r}\n" for f, (v, a) in values.items())
    rows = read(text).rows
    assert rows["frame"].tolist() == sorted(values)
    assert [(float(v), float(a)) for v, a in rows[["valence", "arousal"]]] == [values[f] for f in sorted(values)]


@given(st.lists(PAIR, max_size=10))
def test_every_row_is_kept_or_counted(pairs):
    text = "frame,valence,arousal\n" + "".join(f"{i},{v},{a}\n" for i, (v, a) in enumerate(pairs))
    rows = parse(text, name="")
    assert len(read(text).rows) + rows.num_invalid == len(rows.positions) == len(pairs)


def outcome(text):
    """The values that were read, or the refusal."""
    try:
        return parse(text, name="talk.csv").values, "talk.csv, row 0"
    except LabelError as error:
        return np.zeros((0, 2)), str(error)


@given(st.one_of(st.text(max_size=80), st.text(alphabet="0123456789.,-+einaf \n\r\"'", max_size=80)))
def test_any_text_is_read_or_refused_with_a_row(text):
    for header in ("", "frame,valence,arousal\n", "valence,arousal\n"):
        values, refusal = outcome(header + text)
        assert ((np.abs(values) <= 1) | np.isnan(values)).all()
        assert "talk.csv, row " in refusal


def test_an_endless_cell_is_refused():
    assert "talk.csv, row 2: field larger than" in outcome('valence,arousal\n"' + "1" * 200_000)[1]


def test_gold_is_column_0_at_25_hz_whatever_parts_the_cells():
    rows = parse_gold(["gold,FM1\n0.5,9\n-0.25,9\n", "0.1;9\r\n0.2;9\r\n"], **GOLD)
    assert rows.unit == "time_s"
    np.testing.assert_allclose(rows.positions, [0, 0.04])
    np.testing.assert_allclose(rows.values, [[0.5, 0.1], [-0.25, 0.2]], atol=1e-6)


def test_annotators_are_late_by_their_delay():
    behaviour = np.sin(np.arange(300) / 20)
    late = [np.concatenate([np.zeros(shift), behaviour]) for shift in (58, 68)]
    texts = ["\n".join(f"{value:.6f}" for value in column[:300]) for column in late]
    rows = parse_gold(texts, names=GOLD["names"], delays_s=(58 / 25, 68 / 25))
    assert len(rows.positions) == 300 - 68
    np.testing.assert_allclose(rows.values, np.stack([behaviour[:232]] * 2, axis=1), atol=1e-5)


def test_gold_that_is_shorter_than_the_delay_labels_nothing():
    assert len(parse_gold(["0.1\n", "0.1\n"], names=GOLD["names"], delays_s=(2.32, 2.72)).positions) == 0


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["0\n7\n", "0\n0\n"], "v.csv, row 2, column valence: 7"),
        (["0\n0\n", "0\nx\n"], "a.csv, row 2, column arousal: 'x' is not a number"),
        (["0\n", "0\n0\n"], "v.csv has 1 rows and a.csv has 2 rows"),
    ],
)
def test_gold_that_is_not_of_the_grammar_is_rejected_with_its_position(texts, words):
    with pytest.raises(LabelError, match=words):
        parse_gold(texts, **GOLD)


def test_gold_without_a_value_masks_both():
    rows = parse_gold(["-5\n0.5\n", "0.5\nnan\n"], **GOLD)
    assert not rows.valid.any()


def test_more_rows_than_any_video_has_frames_are_refused(monkeypatch):
    monkeypatch.setattr(label_formats, "MAX_ROWS", 4)
    text = "valence,arousal\n" + "0.1,0.2\n" * 3
    assert len(parse(text, name="a.txt").positions) == 3
    with pytest.raises(LabelError, match=r"a\.txt: more than 4 rows"):
        parse(text + "0.1,0.2\n", name="a.txt")
    with pytest.raises(LabelError, match=r"b\.csv: more than 4 rows"):
        parse_gold(["0.1\n" * 4, "0.1\n" * 5], names=["a.csv", "b.csv"], delays_s=[0, 0])
