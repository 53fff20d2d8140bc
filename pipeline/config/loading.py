"""Loading a configuration: defaults < model preset < run file < command line, and errors that name the setting."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.experiment import Config
from pipeline.config.run_files import RUN_FILES, run_file, run_file_names
from pipeline.config.settings import all_settings
from pipeline.config.suggestions import did_you_mean, question, reason_for_none, settings_meant_by
from pipeline.config.usage_error import UsageError

# Of pydantic's error types:
OUT_OF_BOUNDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
OF_ANOTHER_TYPE = {
    *("int_parsing", "int_parsing_size", "int_type", "int_from_float", "float_parsing", "float_type", "finite_number"),
    *("bool_parsing", "bool_type", "string_type", "literal_error"),
}


def load(path: str | Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """Read a run file and apply overrides: defaults < `model.preset` < TOML < overrides.

    Args:
        path: a TOML file that says what differs from the defaults, or the name of one that comes with the program
            ("demo"), or None.
        overrides: nested dict in the form of the TOML file; values may be text.

    Raises:
        UsageError: the file is missing or not TOML, a key is unknown, or a value is not allowed.
    """
    values = _read_toml(run_file(path)) if path else {}
    merged = _merge(values, overrides or {})
    sources = [str(path)] * bool(path) + ["the command line"] * bool(overrides)
    origin = " and ".join(sources) or "the defaults"
    _check_keys(merged, origin)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise UsageError(f"{origin}: {_message(error.errors(include_url=False)[0])}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        names = run_file_names()
        close = did_you_mean(path.stem, names)
        hint = f"did you mean {close}? " if close else ""
        raise UsageError(
            f"configuration file {_as_written(path)} does not exist; {hint}by name alone there are {', '.join(names)}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration file {path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"configuration file {path} cannot be read: {error.strerror}") from error


def _as_written(path: Path) -> str:
    """A name without a folder is one of those that come with the program, whose folder says nothing to the user."""
    return path.name if path.parent == RUN_FILES else str(path)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_tables else value
    return merged


def _check_keys(values: dict[str, Any], origin: str) -> None:
    """Raise UsageError for a key that no section has; pydantic would do so too, but without a suggestion."""
    for key, value in values.items():
        _check_key(key, Config.model_fields, origin, prefix="")
        section = Config.model_fields[key].default
        if dataclasses.is_dataclass(section) and isinstance(value, dict):
            fields = [field.name for field in dataclasses.fields(section)]
            for field in value:
                _check_key(field, fields, origin, prefix=f"{key}.")


def _check_key(key: str, known: Iterable[str], origin: str, prefix: str) -> None:
    if key not in known:
        close = did_you_mean(key, known)
        meant = [f"{prefix}{close}"] if close else settings_meant_by(f"{prefix}{key}")
        hint = question(meant) if meant else reason_for_none(key) or f"allowed here: {', '.join(sorted(known))}"
        raise UsageError(f"{origin}: unknown key {prefix}{key}; {hint}")


def _message(problem: ErrorDetails) -> str:
    """A validation error in one line: the setting, its value and what is allowed."""
    name, value = ".".join(str(part) for part in problem["loc"]), problem["input"]
    setting = all_settings().get(name)
    if setting and problem["type"] in OUT_OF_BOUNDS:
        return f"{name} is {value}; allowed: {setting.bounds}"
    if setting and problem["type"] in OF_ANOTHER_TYPE:
        return f"{name} is {value!r}; allowed: {setting.allowed}"
    if problem["type"] == "dataclass_type":
        return f"{name} is {value!r}, but it is a section: [{name}] in a run file, --{name}.SETTING as an option"
    message = problem["msg"].removeprefix("Value error, ")
    if f"{name}.{message.partition(' ')[0]}" in all_settings():
        return f"{name}.{message}"
    return f"{name}: {message}" if name not in message else message
