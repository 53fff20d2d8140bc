"""Numbers as people read them on pages and in the terminal: shares, durations, counts and lists of names."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

MAX_NAMES = 3  # of a list within a sentence


def percent_text(share: float) -> str:
    """A share to the tenth of a percent; what is neither nothing nor all is not rounded to it; a dash for NaN."""
    if isnan(share):
        return "–"
    if 0 < share < 0.001:
        return "< 0.1%"
    if 0.999 < share < 1:
        return "> 99.9%"
    return f"{share:.1%}"


def duration_text(seconds: float) -> str:
    """A duration in the unit that suits it: 12.3 s, 4.5 min or 6.78 h."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def count_text(number: int, noun: str) -> str:
    """A number with its noun, e.g. "1 video" or "1,200 videos"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def names_text(names: Sequence[str]) -> str:
    """The first three names and the number of the others, e.g. "a, b, c and 9 more"."""
    rest = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")
