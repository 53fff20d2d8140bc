"""What values of settings are allowed: checks that name the setting, the value and the bound."""

from __future__ import annotations


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def require_at_least(least: float, section: str, values: object, *names: str) -> None:
    """Raise ValueError unless every named field of the section is `least` or more."""
    for name in names:
        value = getattr(values, name)
        require(value >= least, f"{section}.{name} is {value}; it must be at least {least}")


def require_share(section: str, values: object, *names: str) -> None:
    """Raise ValueError unless every named field of the section lies within 0 and 1."""
    for name in names:
        share = getattr(values, name)
        require(0 <= share <= 1, f"{section}.{name} is {share}; allowed: 0 to 1")


def require_positive(section: str, values: object, *names: str) -> None:
    """Raise ValueError unless every named field of the section is above 0."""
    for name in names:
        value = getattr(values, name)
        require(value > 0, f"{section}.{name} is {value}; it must be above 0")
