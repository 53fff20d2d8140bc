"""IACA_REQUIRE turns skips of required parts into failures."""

from __future__ import annotations

import pytest

from tests.support.required import require_or_skip


@pytest.mark.parametrize(
    ("required", "outcome"),
    [
        (None, pytest.skip.Exception),
        ("", pytest.skip.Exception),
        ("ffmpeg,chromium", pytest.skip.Exception),
        ("s3", pytest.fail.Exception),
        ("ffmpeg, s3", pytest.fail.Exception),
    ],
)
def test_a_required_part_fails_where_another_skips(required, outcome, monkeypatch):
    if required is None:
        monkeypatch.delenv("IACA_REQUIRE", raising=False)
    else:
        monkeypatch.setenv("IACA_REQUIRE", required)
    with pytest.raises(outcome, match="no server here"):
        require_or_skip("s3", "no server here")


def test_a_misspelt_part_is_noticed():
    with pytest.raises(AssertionError, match="ffpmeg"):
        require_or_skip("ffpmeg", "not installed")
