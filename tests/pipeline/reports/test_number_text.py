"""Numbers in sentences: nothing is rounded to nothing, and one video is no "1 videos"."""

import pytest

from pipeline.reports.number_text import count_text, duration_text, names_text, percent_text


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


def test_one_is_not_many():
    assert [count_text(number, "video") for number in (0, 1, 2000)] == ["0 videos", "1 video", "2,000 videos"]


def test_three_names_and_the_number_of_the_others():
    assert [names_text("abcde"[:number]) for number in (1, 3, 5)] == ["a", "a, b, c", "a, b, c and 2 more"]
