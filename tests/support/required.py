"""What a machine may lack: a test that needs it is skipped with the reason, or fails where IACA_REQUIRE names it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

PARTS = ("s3", "ffmpeg", "chromium")


def require_or_skip(part: str, reason: str) -> NoReturn:
    """End the running test because `part` is missing: fail if IACA_REQUIRE (comma list) names it, skip otherwise."""
    assert part in PARTS, f"{part!r} is none of the parts that can be required: {PARTS}"
    required = os.environ.get("IACA_REQUIRE", "").replace(" ", "").split(",")
    if part in required:
        pytest.fail(f"{reason} (IACA_REQUIRE names {part}, so this is no reason to skip)", pytrace=False)
    pytest.skip(reason)
