"""Records as the rows of a Parquet file, and back; a tuple of records in a record is a list of structures there."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Row = TypeVar("Row")


def to_parquet(rows: Sequence[Row], kind: type[Row]) -> bytes:
    """The file of all rows, a column for each field of `kind`: text, numbers, or tuples of records."""
    import pyarrow as pa

    schema = pa.schema(_fields(kind))
    columns = {name: [_storable(getattr(row, name)) for row in rows] for name in schema.names}
    return _write(pa.table(columns, schema))


def columns_to_parquet(columns: Mapping[str, NDArray | Sequence[Any]]) -> bytes:
    """The file of plain columns of one length, by name; their types are those of the arrays."""
    import pyarrow as pa

    return _write(pa.table(columns))


def from_parquet(data: bytes, kind: type[Row], is_part: bool = False) -> list[Row]:
    """Inverse of `to_parquet`; columns that an older program did not know have their defaults.

    Args:
        data: the file.
        kind: of the rows.
        is_part: whether the file has columns besides those of `kind`, which are then not read.

    Raises:
        ValueError: the bytes are no such table, in one line.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(get_type_hints(kind)) if is_part else None
    try:
        # Not read_table, nor a Python file: Arrow's own threads would hold it for a moment after the table is there.
        # A process that ends in that moment (a job that refuses a dataset) is ended by SIGABRT instead, as the thread
        # waits for an interpreter that is gone.
        table = pq.ParquetFile(pa.BufferReader(data)).read(columns, use_threads=False)
        return [from_dict(kind, values) for values in table.to_pylist()]
    except (pa.ArrowException, OSError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    except TypeError as error:
        raise ValueError(f"its columns are {', '.join(table.column_names)}") from error


def from_dict(kind: type[Row], values: dict[str, Any]) -> Row:
    """A record from its fields, those within it that are records from theirs."""
    if fields := _nested(kind):  # type: ignore[arg-type]
        nested = {name: tuple(inner(**one) for one in values[name]) for name, inner in fields if name in values}
        return kind(**{**values, **nested})
    return kind(**values)


@cache
def _nested(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The fields of `kind` that are tuples of records, with the kind of those."""
    hints = ((name, get_args(hint)) for name, hint in get_type_hints(kind).items())
    return tuple((name, kinds[0]) for name, kinds in hints if kinds and is_dataclass(kinds[0]))


def _fields(kind: type) -> list[tuple[str, Any]]:
    import pyarrow as pa

    types: dict[Any, Any] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    types |= {name: pa.list_(pa.struct(_fields(inner))) for name, inner in _nested(kind)}
    hints = {name: str if get_origin(hint) is Literal else hint for name, hint in get_type_hints(kind).items()}
    return [(name, types[name] if name in types else types[hint]) for name, hint in hints.items()]


def _write(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _storable(value: Any) -> Any:
    """Replace the bytes of a file name that are not UTF-8 by escapes such as `\\udcff`: Parquet strings are UTF-8."""
    if isinstance(value, tuple):
        return [asdict(one) for one in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
