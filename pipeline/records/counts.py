"""Counts and sizes as people write them: with their noun in the singular or the plural, and with their unit."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB")


def count_of(number: int, noun: str, plural: str = "") -> str:
    """A number with what it counts, e.g. "1 video", "2 videos", "1,200 samples".

    Args:
        number: how many there are.
        noun: what they are, in the singular; only its last word changes.
        plural: of the noun where it is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size_of(num_bytes: float) -> str:
    """A size in bytes with two digits or more and the unit that fits, e.g. "28 MB", "1.4 GB"."""
    size = num_bytes / 1000
    for unit in _UNITS[:-1]:
        if size < 999.5:
            return f"{size:.1f} {unit}" if 0 < size < 9.95 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:,.1f} {_UNITS[-1]}"
