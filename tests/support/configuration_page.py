"""The settings as tables: every section of the configuration with its fields, types, defaults, bounds and meaning."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
import tokenize
import typing
from typing import Any

from pydantic import ValidationError

from pipeline.config import Config

LOW, HIGH = -(10**9), 10**15  # beyond every bound
_BOUND = re.compile(r"(?:it must (?:be|lie)|must lie|allowed(?: are)?:|Input should be) ([^;:]*)")
_PLAIN = {"greater than or equal to": "at least", "greater than": "above", "less than or equal to": "at most"}


def settings() -> str:
    """Markdown: a heading and a table for each section, in the order of `Config`."""
    sections = {name: type(getattr(Config(), name)) for name in Config.model_fields if name != "name"}
    return "\n".join(_section(name, kind) for name, kind in sections.items())


def descriptions(section: type) -> dict[str, str]:
    """What the source says of each field: its description, or else the comment behind it."""
    hints = typing.get_type_hints(section, include_extras=True)
    comments = field_comments(section)
    return {
        field.name: _described(hints[field.name], field) or comments.get(field.name, "") for field in _fields(section)
    }


def _fields(section: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(section)  # type: ignore[arg-type]


def _described(hint: Any, field: dataclasses.Field[Any]) -> str:
    for info in (*getattr(hint, "__metadata__", ()), field.default, field.metadata):
        text = getattr(info, "description", None) or getattr(info, "help", None)
        if isinstance(text, str):
            return text
    return field.metadata.get("help", "") or field.metadata.get("description", "")


def field_comments(section: type) -> dict[str, str]:
    """The comment behind each field of a dataclass, whichever of its lines it stands on."""
    source = inspect.getsource(section)
    by_line = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found[node.target.id] = " ".join(by_line[line] for line in lines if line in by_line)
    return found


def _section(name: str, section: type) -> str:
    about = descriptions(section)
    hints = typing.get_type_hints(section)
    rows = [
        f"| `{field.name}` | {_kind(hints[field.name])} | {_default(getattr(section(), field.name))} "
        f"| {_bounds(name, field.name, hints[field.name])} | {_cell(about[field.name])} |"
        for field in _fields(section)
    ]
    opening = (inspect.getdoc(section) or "").partition("\n\n")[0].replace("\n", " ")
    head = ["| setting | type | default | bounds | meaning |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([f"### `[{name}]`", "", opening, "", *head, *rows, ""])


def _kind(hint: Any) -> str:
    """The type, or what may be chosen."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " ".join(f"`{option}`" for option in options)
    if type(None) in options:
        return " ".join(_kind(option) for option in options if option is not type(None)) + " or none"
    return {str: "text", int: "whole number", float: "number", bool: "true, false"}[hint]


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:.7g}`" if isinstance(value, float) else f"`{value}`" if value != "" else ""


def _bounds(section: str, name: str, hint: Any) -> str:
    """What is allowed of a number, in the words of the error that a value beyond it gives."""
    if not {int, float} & {hint, *typing.get_args(hint)}:
        return ""
    found = dict.fromkeys(filter(None, (_refusal(section, name, value) for value in (LOW, HIGH))))
    return ", ".join(found)


def _refusal(section: str, name: str, value: int) -> str:
    try:
        Config.model_validate({section: {name: value}})
    except ValidationError as error:
        first = error.errors()[0]
        bound = _BOUND.search(first["msg"])
        ours = name in first["loc"] or f"{section}.{name}" in first["msg"] or f"{name} is" in first["msg"]
        if not (bound and ours):
            return ""
        text = bound[1].strip()
        for wordy, plain in _PLAIN.items():
            text = text.replace(wordy, plain)
        return text
    return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
