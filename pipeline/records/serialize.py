"""Records as JSON text and back."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

_Record = TypeVar("_Record")


def to_json(record: object, *, indent: int | None = None) -> str:
    """The record as JSON in ASCII, with the keys in the order of its fields.

    Python's json writes it and not pydantic: the paths of files may hold bytes that are no valid Unicode, which become
    lone surrogates; ASCII escapes carry these through any storage and any pipe.

    Args:
        record: a dataclass whose fields are plain values, tuples of them, or records in turn.
        indent: spaces for each level; one line where it is None.
    """
    adapter: TypeAdapter[Any] = _adapter(type(record))  # type: ignore[arg-type]  # as below
    return json.dumps(adapter.dump_python(record, mode="json"), indent=indent)


def from_json(kind: type[_Record], text: str) -> _Record:
    """Inverse of `to_json`; fields that the text does not name have their defaults.

    Raises:
        ValueError: the text is not JSON, a value does not fit its field, or a key fits no field: another version of
            this program wrote it. In one line.
    """
    adapter: TypeAdapter[_Record] = _adapter(kind)  # type: ignore[arg-type]  # mypy reads the __hash__ of an instance
    try:
        return adapter.validate_python(json.loads(text), extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"not a {kind.__name__}: {name}: {first['msg']}") from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
