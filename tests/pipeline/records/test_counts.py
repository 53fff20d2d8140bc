"""Counts and sizes: the singular, irregular plurals, and the unit that fits."""

import pytest

from pipeline.records.counts import count_of, size_of


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
    assert count_of(number, *nouns) == text


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
    assert size_of(num_bytes) == text
