"""The formats of label files: the text of one as rows.

Three headers are known, whatever the name of the file:

- `frame,valence,arousal`: `frame` is the 0-based index of the original frame in presentation order;
- `time_s,valence,arousal`: seconds on the video's clock (the container's own start time is second 0);
- `valence,arousal` (Aff-Wild2): the row after the header is frame 0, the next one frame 1, ...

`nan`, an empty cell or -5 in either column mark a row as not valid: it is counted and masked. RECOLA's gold standard
has a format of its own, with a file for each label: `parse_gold`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.records import LABEL_NAMES

SENTINEL = -5.0  # of Aff-Wild2: no valid annotation of this frame
MAX_ROWS = 5_000_000  # twelve hours at 100 a second; each takes some 300 bytes while it is read
_COLUMNS = list(LABEL_NAMES)
_HEADERS = (["frame", *_COLUMNS], ["time_s", *_COLUMNS], _COLUMNS)
GOLD_RATE_HZ = 25.0  # of RECOLA's annotations


class LabelError(ValueError):
    """A label file that is not of the grammar; the message names the file, the row and the column."""


@dataclass(frozen=True, slots=True)
class LabelRows:
    """The rows of a label file, before they meet the video's frames."""

    unit: str  # of the positions: "frame" or "time_s"
    positions: NDArray[np.float64]  # (rows,) in the file's order
    values: NDArray[np.float32]  # (rows, 2) valence, arousal; NaN in both where the row is not valid

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(rows,) True where both values are given."""
        return np.isfinite(self.values[:, 0]) & np.isfinite(self.values[:, 1])

    @property
    def num_invalid(self) -> int:
        """Rows that are not valid."""
        return int((~self.valid).sum())


def label_text(data: bytes, *, name: str) -> str:
    """The text of a label file's bytes; LabelError when it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"{name}: not UTF-8 text (byte {error.start})") from error


def parse(text: str, *, name: str) -> LabelRows:
    """Parse the text of a label file; `name` is what errors call it.

    Raises:
        LabelError: wrong header, wrong number of cells, a value that is not a number or not in [-1, 1], a frame
            that is not a whole number from 0, or a position that occurs twice.
    """
    lines = _lines(text, name)
    header = [cell.strip().lower() for cell in next(lines, (1, []))[1]]
    if header not in _HEADERS:
        allowed = " or ".join(repr(",".join(names)) for names in _HEADERS)
        raise LabelError(f"{name}, row 1: the header is {','.join(header)[:80]!r}; it must be {allowed}")
    positions: list[float] = []
    values: list[tuple[float, float]] = []
    rows_by_position: dict[float, int] = {}
    for number, cells in lines:
        where = f"{name}, row {number}"
        if len(cells) != len(header):
            raise LabelError(f"{where}: {len(cells)} cells; the header has {len(header)}")
        position = _position(header[0], cells[0], where) if header != _COLUMNS else float(len(positions))
        if position in rows_by_position:
            first = rows_by_position[position]
            raise LabelError(f"{where}, column {header[0]}: {cells[0].strip()} is in row {first} too")
        rows_by_position[position] = number
        positions.append(position)
        values.append(_values(cells[-2:], where))
    unit = "time_s" if header[0] == "time_s" else "frame"
    return LabelRows(unit, np.array(positions, np.float64), np.array(values, np.float32).reshape(-1, 2))


def parse_gold(texts: Sequence[str], *, names: Sequence[str], delays_s: Sequence[float]) -> LabelRows:
    """Valence and arousal from a file each, as RECOLA's gold standard has them: column 0, a row every 40 ms.

    Annotators react late: the label of time t is what they entered at t + delay. Cells are separated by commas or
    semicolons; a first row that does not begin with a number is a header.

    Args:
        texts: of valence, then arousal.
        names: what errors call the files.
        delays_s: of valence, then arousal; rounded to rows.

    Raises:
        LabelError: a value that is not a number or not in [-1, 1], or files of different lengths.
    """
    columns = [_gold_column(text, name, column) for text, name, column in zip(texts, names, _COLUMNS, strict=True)]
    if len(columns[0]) != len(columns[1]):
        lengths = " and ".join(f"{name} has {len(column)} rows" for name, column in zip(names, columns, strict=True))
        raise LabelError(f"{lengths}; they must have as many")
    shifts = [round(delay_s * GOLD_RATE_HZ) for delay_s in delays_s]
    count = max(0, len(columns[0]) - max(shifts))
    values = np.stack([column[shift : shift + count] for column, shift in zip(columns, shifts, strict=True)], axis=1)
    values[np.isnan(values).any(axis=1)] = np.nan
    return LabelRows("time_s", np.arange(count) / GOLD_RATE_HZ, values.astype(np.float32))


def _gold_column(text: str, name: str, column: str) -> NDArray[np.float64]:
    numbers: list[float] = []
    for number, cells in _lines(text.replace(";", ","), name):
        if not numbers and number == 1 and not _is_number(cells[0]):
            continue
        label = _number(cells[0], column, f"{name}, row {number}")
        if label != SENTINEL and not math.isnan(label) and not -1 <= label <= 1:
            raise LabelError(f"{name}, row {number}, column {column}: {label:g}; allowed: -1 to 1, or nan or -5")
        numbers.append(math.nan if label == SENTINEL else label)
    return np.array(numbers, np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip() or "nan")
    except ValueError:
        return False
    return True


def _lines(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, with their numbers from 1; LabelError when there are more than fit in memory."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        for cells in reader:
            if reader.line_num > MAX_ROWS:
                raise LabelError(f"{name}: more than {MAX_ROWS} rows; give a file of its own to each video")
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise LabelError(f"{name}, row {reader.line_num}: {error}") from error


def _position(column: str, cell: str, where: str) -> float:
    number = _number(cell, column, where)
    if column == "frame" and not (number >= 0 and number.is_integer() and number < 2**31):
        raise LabelError(f"{where}, column frame: {cell.strip()!r} is not a frame index; it must be 0, 1, 2, ...")
    if not math.isfinite(number):
        raise LabelError(f"{where}, column {column}: {cell.strip()!r} is not a time in seconds")
    return number


def _values(cells: list[str], where: str) -> tuple[float, float]:
    pair = [_number(cell or "nan", column, where) for cell, column in zip(cells, _COLUMNS, strict=True)]
    if any(math.isnan(value) or value == SENTINEL for value in pair):
        return math.nan, math.nan
    for value, column in zip(pair, _COLUMNS, strict=True):
        if not -1 <= value <= 1:
            raise LabelError(
                f"{where}, column {column}: {value:g}; allowed: -1 to 1, or nan or -5 where there is no label"
            )
    return pair[0], pair[1]


def _number(cell: str, column: str, where: str) -> float:
    try:
        return float(cell.strip() or "nan")
    except ValueError as error:
        raise LabelError(f"{where}, column {column}: {cell.strip()[:40]!r} is not a number") from error
