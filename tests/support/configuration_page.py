"""The settings as tables: every section of the configuration with its fields, values, defaults, bounds and meaning."""

from __future__ import annotations

import inspect
import itertools
from typing import Any, Literal, get_args, get_origin

from pipeline.config import Config
from pipeline.config.fields import Setting
from pipeline.config.settings import all_settings

_TYPES: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
    type(None): "none",
}


def settings() -> str:
    """Markdown: a heading and a table for each section, in the order of `Config`."""
    sections = itertools.groupby(all_settings().values(), key=lambda setting: setting.section)
    return "\n".join(_section(name, list(members)) for name, members in sections if name)


def _section(name: str, members: list[Setting]) -> str:
    section = type(getattr(Config(), name))
    rows = [
        f"| `{setting.field}` | {_values(setting.type)} | {_default(setting.default)} | {setting.bounds} "
        f"| {_cell(setting.description)} |"
        for setting in members
    ]
    opening = (inspect.getdoc(section) or "").partition("\n\n")[0].replace("\n", " ")
    head = ["| setting | values | default | bounds | meaning |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([f"### `[{name}]`", "", opening, "", *head, *rows, ""])


def _values(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    return _TYPES[kind] if kind in _TYPES else " or ".join(_values(member) for member in get_args(kind))


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:.7g}`"
    return "" if value == "" else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
