"""Quantities in sentences: singulars and plurals, the unit that fits, and nothing that is rounded to nothing."""

import pytest

from pipeline.records.quantities import count_text, duration_text, names_text, percent_text, size_text


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("video",), "0 videos"),
        (1, ("video",), "1 video"),
        (2, ("video",), "2 videos"),
        (1, ("person", "people"), "1 person"),
        (3, ("person", "people"), "3 people"),
        (2304, ("labelled frame",), "2,304 labelled frames"),
    ],
)
def test_a_count_has_its_noun_in_the_right_number(number, nouns, text):
    assert count_text(number, *nouns) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 kB"),
        (512, "0.5 kB"),
        (9_940, "9.9 kB"),
        (9_960, "10 kB"),
        (999_400, "999 kB"),
        (999_600, "1.0 MB"),
        (28_252_000, "28 MB"),
        (1_400_000_000, "1.4 GB"),
        (2_500_000_000_000, "2.5 TB"),
        (2_500_000_000_000_000, "2,500.0 TB"),
    ],
)
def test_a_size_has_the_unit_that_fits(num_bytes, text):
    assert size_text(num_bytes) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0%"),
        (3e-5, "< 0.1%"),
        (0.001, "0.1%"),
        (0.5, "50.0%"),
        (0.99999, "> 99.9%"),
        (1.0, "100.0%"),
        (float("nan"), "–"),
    ],
)
def test_a_share_is_none_or_all_only_where_it_is(share, text):
    assert percent_text(share) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0.0 s"), (9.84, "9.8 s"), (90, "1.5 min"), (4500, "1.25 h")])
def test_a_duration_has_the_unit_that_suits_it(seconds, text):
    assert duration_text(seconds) == text


def test_three_names_and_the_number_of_the_others():
    assert [names_text("abcde"[:number]) for number in (1, 3, 5)] == ["a", "a, b, c", "a, b, c and 2 more"]
    assert names_text("abcde", separator=" = ") == "a = b = c and 2 more"
    assert names_text("abcde", max_names=4) == "a, b, c, d and 1 more"
