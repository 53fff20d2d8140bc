"""Label files: their grammar, and their values on the clock.

Three headers are read, by whatever the file is called:

- `frame,valence,arousal`: `frame` is the 0-based index of the original frame in presentation order;
- `time_s,valence,arousal`: seconds on the video's clock (the container's own start time is second 0);
- `valence,arousal` (Aff-Wild2): the row after the header is frame 0, the next one frame 1, ...

`nan`, an empty cell or -5 in either column mark a row as not valid: it is counted and masked.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.records import ANNOTATION_DTYPE, LABEL_NAMES, Annotations

SENTINEL = -5.0  # of Aff-Wild2: no valid annotation of this frame
MAX_ROWS = 5_000_000  # twelve hours at 100 a second; each takes some 300 bytes while it is read
MAX_GAP_INTERVALS = 2.5  # a longer gap between neighbouring annotations is not interpolated
_VALUES = list(LABEL_NAMES)
_HEADERS = (["frame", *_VALUES], ["time_s", *_VALUES], _VALUES)
GOLD_RATE_HZ = 25.0  # of RECOLA's annotations
_NEAR_S = 1e-6  # a clock time this close to an annotation is that annotation's


class LabelError(ValueError):
    """A label file that is not of the grammar; the message names the file, the row and the column."""


@dataclass(frozen=True, slots=True)
class LabelRows:
    """The rows of a label file, before they meet the video's frames."""

    by: str  # "frame" or "time_s": what `places` holds
    places: NDArray[np.float64]  # (rows,) in the file's order
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
            that is not a whole number from 0, or a place that occurs twice.
    """
    lines = _lines(text, name)
    header = [cell.strip().lower() for cell in next(lines, (1, []))[1]]
    if header not in _HEADERS:
        allowed = " or ".join(repr(",".join(names)) for names in _HEADERS)
        raise LabelError(f"{name}, row 1: the header is {','.join(header)[:80]!r}; it must be {allowed}")
    places: list[float] = []
    values: list[tuple[float, float]] = []
    seen: dict[float, int] = {}
    for number, cells in lines:
        where = f"{name}, row {number}"
        if len(cells) != len(header):
            raise LabelError(f"{where}: {len(cells)} cells; the header has {len(header)}")
        place = _place(header[0], cells[0], where) if header != _VALUES else float(len(places))
        if place in seen:
            raise LabelError(f"{where}, column {header[0]}: {cells[0].strip()} is in row {seen[place]} too")
        seen[place] = number
        places.append(place)
        values.append(_pair(cells[-2:], where))
    by = "time_s" if header[0] == "time_s" else "frame"
    return LabelRows(by, np.array(places, np.float64), np.array(values, np.float32).reshape(-1, 2))


def parse_gold(texts: Sequence[str], *, names: Sequence[str], delays_s: Sequence[float]) -> LabelRows:
    """Valence and arousal from a file each, as RECOLA's gold standard has them: column 0, a row every 40 ms.

    Annotators react late: the label of time t is what they said at t + delay. Cells are parted by commas or
    semicolons; a first row of words is a header.

    Args:
        texts: of valence, then arousal.
        names: what errors call the files.
        delays_s: of valence, then arousal; rounded to rows.

    Raises:
        LabelError: a value that is not a number or not in [-1, 1], or files of different lengths.
    """
    columns = [_gold_column(text, name, value) for text, name, value in zip(texts, names, _VALUES, strict=True)]
    if len(columns[0]) != len(columns[1]):
        lengths = " and ".join(f"{name} has {len(column)} rows" for name, column in zip(names, columns, strict=True))
        raise LabelError(f"{lengths}; they must have as many")
    shifts = [round(delay_s * GOLD_RATE_HZ) for delay_s in delays_s]
    count = max(0, len(columns[0]) - max(shifts))
    values = np.stack([column[shift : shift + count] for column, shift in zip(columns, shifts, strict=True)], axis=1)
    values[np.isnan(values).any(axis=1)] = np.nan
    return LabelRows("time_s", np.arange(count) / GOLD_RATE_HZ, values.astype(np.float32))


def _gold_column(text: str, name: str, value: str) -> NDArray[np.float64]:
    numbers: list[float] = []
    for number, cells in _lines(text.replace(";", ","), name):
        if not numbers and number == 1 and not _is_number(cells[0]):
            continue
        found = _number(cells[0], value, f"{name}, row {number}")
        if found != SENTINEL and not math.isnan(found) and not -1 <= found <= 1:
            raise LabelError(f"{name}, row {number}, column {value}: {found:g}; allowed: -1 to 1, or nan or -5")
        numbers.append(math.nan if found == SENTINEL else found)
    return np.array(numbers, np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip() or "nan")
    except ValueError:
        return False
    return True


def annotations_of(rows: LabelRows, *, frame_times_s: NDArray[np.float64]) -> Annotations:
    """The valid rows at their frames and times, sorted by time; those before or beyond the frames are left out."""
    if rows.by == "frame":
        within = rows.places < len(frame_times_s)
        frames = np.where(within, rows.places, 0).astype(np.int32)
        times = frame_times_s[frames] if len(frame_times_s) else np.zeros(len(frames))
    else:
        times = rows.places
        frames = np.searchsorted(frame_times_s, times + _NEAR_S, side="right").astype(np.int32) - 1
        within = (frames >= 0) & (times < _end_s(frame_times_s))
    kept = rows.valid & within
    table = np.zeros(int(kept.sum()), ANNOTATION_DTYPE)
    table["frame"], table["time_s"] = frames[kept], times[kept]
    table["valence"], table["arousal"] = rows.values[kept].T
    order = np.lexsort((table["frame"], table["time_s"]))
    return Annotations(table[order])


def onto_clock(annotations: Annotations, times_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """Valence and arousal at the clock's times: linear between neighbouring annotations, NaN where there are none.

    Neighbours further apart than 2.5 times the median interval of the annotations are not joined.

    Args:
        annotations: of one stream.
        times_s: (n,) times on the clock, seconds.

    Returns:
        (n, 2) float32.
    """
    known = annotations.rows["time_s"]
    labels = np.full((len(times_s), 2), np.nan, np.float32)
    if len(known) == 0:
        return labels
    intervals = np.diff(known)
    widest = MAX_GAP_INTERVALS * float(np.median(intervals)) if len(intervals) else 0.0
    after = np.searchsorted(known, times_s).clip(1, max(1, len(known) - 1))
    left, right = after - 1, np.minimum(after, len(known) - 1)
    inside = (times_s >= known[left]) & (times_s <= known[right]) & (known[right] - known[left] <= widest)
    nearest = np.where(np.abs(times_s - known[left]) <= np.abs(times_s - known[right]), left, right)
    exact = np.abs(times_s - known[nearest]) <= _NEAR_S
    for column, name in enumerate(LABEL_NAMES):
        value = annotations.rows[name]
        labels[:, column] = np.where(inside, np.interp(times_s, known, value), np.nan)
        labels[exact, column] = value[nearest[exact]]
    return labels


def _lines(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, with their numbers from 1; LabelError when there are more than memory can take."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        for cells in reader:
            if reader.line_num > MAX_ROWS:
                raise LabelError(f"{name}: more than {MAX_ROWS} rows; give a file of its own to each video")
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise LabelError(f"{name}, row {reader.line_num}: {error}") from error


def _place(column: str, cell: str, where: str) -> float:
    number = _number(cell, column, where)
    if column == "frame" and not (number >= 0 and number.is_integer() and number < 2**31):
        raise LabelError(f"{where}, column frame: {cell.strip()!r} is not a frame index; it must be 0, 1, 2, ...")
    if not math.isfinite(number):
        raise LabelError(f"{where}, column {column}: {cell.strip()!r} is not a time in seconds")
    return number


def _pair(cells: list[str], where: str) -> tuple[float, float]:
    pair = [_number(cell or "nan", column, where) for cell, column in zip(cells, _VALUES, strict=True)]
    if any(math.isnan(value) or value == SENTINEL for value in pair):
        return math.nan, math.nan
    for value, column in zip(pair, _VALUES, strict=True):
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


def _end_s(frame_times_s: NDArray[np.float64]) -> float:
    """When the last frame stops being shown, if it is shown as long as most are."""
    usual = float(np.median(np.diff(frame_times_s))) if len(frame_times_s) > 1 else 0.04
    return float(frame_times_s[-1]) + usual if len(frame_times_s) else 0.0
