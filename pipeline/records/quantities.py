"""Quantities as people read them on pages and in the terminal: shares, durations, counts, sizes and lists of names."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

_UNITS = ("kB", "MB", "GB", "TB")
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


def count_text(number: int, noun: str, plural: str = "") -> str:
    """A number with what it counts, e.g. "1 video", "2 videos", "1,200 samples".

    Args:
        number: how many there are.
        noun: what they are, in the singular; only its last word changes.
        plural: of the noun where it is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size_text(num_bytes: float) -> str:
    """A size in bytes with two digits or more and the unit that fits, e.g. "28 MB", "1.4 GB"."""
    size = num_bytes / 1000
    for unit in _UNITS[:-1]:
        if size < 999.5:
            return f"{size:.1f} {unit}" if 0 < size < 9.95 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:,.1f} {_UNITS[-1]}"


def names_text(names: Sequence[str], *, separator: str = ", ", max_names: int = MAX_NAMES) -> str:
    """The first names and the number of the others, e.g. "a, b, c and 9 more"."""
    rest = len(names) - max_names
    return separator.join(names[:max_names]) + (f" and {rest:,} more" if rest > 0 else "")
