"""One video as an auditor reads it: what became of it, where something is missing, who was followed and who was not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.media.faces.contact_sheet import clock_text
from pipeline.records import Gap, VideoRow, VisibleFace, stream_key

MAX_GAPS = 4  # of one kind, on the page; the longest are shown
MAX_OTHERS = 3
MAX_SHEETS = 12  # of one video
Sheets = dict[str, list[tuple[str, str]]]  # by a stream's key: start for people, path
_SPAN = re.compile(r"(.+)_(\d{9})")  # name of a later span's sheet: the stream's key and its start in ms
_NONE_OF = {"all": "lost", "picture": "no picture", "face": "no face", "sound": "no sound"}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to know: what kind it is (a colour of the page), in a word, then where."""

    kind: str
    head: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A video on the page, with its contact sheets by the time at which they begin."""

    key: str
    row: VideoRow
    sheets: tuple[tuple[str, str], ...]  # start for people, path
    num_sheets: int
    lines: tuple[Line, ...]


def cases_of(rows: Iterable[VideoRow], sheets: Sheets) -> list[Case]:
    """The rows for people."""
    keyed = ((stream_key(row.video_id, row.person), row) for row in rows)
    found = ((key, row, sheets.get(key, [])) for key, row in keyed)
    return [Case(key, row, tuple(own[:MAX_SHEETS]), len(own), tuple(lines_of(row))) for key, row, own in found]


def sheets_of(paths: Sequence[str], videos: Sequence[VideoRow]) -> Sheets:
    """A stream's key -> (start for people, path) of its contact sheets, in the order of time."""
    keys = {stream_key(row.video_id, row.person) for row in videos}
    found: Sheets = {}
    for path in sorted(paths):
        name = PurePosixPath(path).stem
        span = _SPAN.fullmatch(name)
        if name in keys:
            found.setdefault(name, []).insert(0, (clock_text(0), path))
        elif span and span[1] in keys:
            found.setdefault(span[1], []).append((clock_text(int(span[2]) / 1000), path))
    return found


def lines_of(row: VideoRow) -> list[Line]:
    """Where something is missing, whom the dataset follows, and the others; each only if there is something to say."""
    lines = [_gap_line(kind, [gap for gap in row.gaps if gap.missing == kind]) for kind in _NONE_OF]
    followed = [face for face in row.faces if face.num_followed]
    others = [face for face in row.faces if not face.num_followed]
    lines.append(Line("followed", "followed", _parts(followed, _face)))
    lines.append(Line("other", "not followed", _parts(others, lambda face: f"{_face(face)}: {face.reason}")))
    return [line for line in lines if line.parts]


def others_share(row: VideoRow) -> float:
    """For how much of the video somebody else is seen: the longest of them, 0 to 1."""
    seen_s = max((face.stop_s - face.start_s for face in row.faces if not face.num_followed), default=0.0)
    return min(1.0, seen_s / row.duration_s) if row.duration_s else 0.0


def _gap_line(kind: str, gaps: Sequence[Gap]) -> Line:
    longest = sorted(gaps, key=lambda gap: (gap.start_s - gap.stop_s, gap.start_s))
    shown, left = sorted(longest[:MAX_GAPS], key=lambda gap: gap.start_s), longest[MAX_GAPS:]
    parts = [_gap(gap) for gap in shown]
    if left:
        parts.append(f"and {len(left):,} shorter, {sum(gap.stop_s - gap.start_s for gap in left):.1f} s in all")
    return Line(kind, _NONE_OF[kind], tuple(parts))


def _gap(gap: Gap) -> str:
    until = f" to {_clock(gap.stop_s)}" if gap.stop_s > gap.start_s else " on"
    frames = f", frames {gap.first_frame} to {gap.last_frame}" if gap.first_frame >= 0 else ""
    return f"{_clock(gap.start_s)}{until}{frames}"


def _parts(faces: Sequence[VisibleFace], tell: Callable[[VisibleFace], str]) -> tuple[str, ...]:
    left = [f"and {len(faces) - MAX_OTHERS:,} more"] if len(faces) > MAX_OTHERS else []
    return (*(tell(face) for face in faces[:MAX_OTHERS]), *left)


def _face(face: VisibleFace) -> str:
    box = f"{face.x0:.0f},{face.y0:.0f} to {face.x1:.0f},{face.y1:.0f} px"
    when = f"{_clock(face.start_s)} to {_clock(face.stop_s)}"
    return f"{when}, {face.num_frames:,} clock frames, box {box}, score {face.score:.2f}"


def _clock(time_s: float) -> str:
    """As on the contact sheets, but to the hundredth, e.g. 1:02:03.45."""
    hundredths = round(time_s * 100)
    return f"{clock_text(hundredths // 10 / 10)}{hundredths % 10}"
