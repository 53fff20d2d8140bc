"""One video as the data-quality page shows it: its outcome, its gaps, and who was followed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.dataset.report.face_warnings import person_warnings
from pipeline.media.faces.contact_sheet import clock_text
from pipeline.records import Gap, VideoRow, VisibleFace, stream_key
from pipeline.records.quantities import count_text

MAX_GAPS = 4  # of one kind, on the page; the longest are shown
MAX_FACES = 3  # that were followed, and as many that were not
MAX_SHEETS = 12  # of one video
SheetLinks = dict[str, list[tuple[str, str]]]  # stream key -> (start as a clock time, path) of its contact sheets
_SPAN = re.compile(r"(.+)_(\d{9})")  # name of a later span's sheet: the stream's key and its start in ms
_GAP_TITLES = {"all": "lost", "picture": "no picture", "face": "no face", "sound": "no sound"}


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One line below a video: its kind (a colour of the page), a title, then one entry for each place in time."""

    kind: str
    title: str
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VideoReport:
    """A video on the page, with its contact sheets by the time at which they begin."""

    key: str
    row: VideoRow
    sheets: tuple[tuple[str, str], ...]  # start as a clock time, path
    num_sheets: int
    lines: tuple[ReportLine, ...]
    warnings: tuple[str, ...]  # about who is followed


def video_reports(rows: Iterable[VideoRow], sheets: SheetLinks) -> tuple[VideoReport, ...]:
    """Describe each video, in the order of the rows."""
    reports = []
    for row in rows:
        key = stream_key(row.video_id, row.person)
        links = sheets.get(key, [])
        lines, warnings = tuple(report_lines(row)), person_warnings(row)
        reports.append(VideoReport(key, row, tuple(links[:MAX_SHEETS]), len(links), lines, warnings))
    return tuple(reports)


def sheet_links(paths: Sequence[str], videos: Sequence[VideoRow]) -> SheetLinks:
    """Find the contact sheets of each stream by their names, in the order of time.

    Args:
        paths: of all sheets, relative to the dataset.
        videos: a row for every stream.
    """
    keys = {stream_key(row.video_id, row.person) for row in videos}
    links: SheetLinks = {}
    for path in sorted(paths):
        name = PurePosixPath(path).stem
        span = _SPAN.fullmatch(name)
        if name in keys:
            links.setdefault(name, []).insert(0, (clock_text(0), path))
        elif span and span[1] in keys:
            links.setdefault(span[1], []).append((clock_text(int(span[2]) / 1000), path))
    return links


def report_lines(row: VideoRow) -> list[ReportLine]:
    """Describe the gaps of a video, the followed person and the other faces; lines without an entry are left out."""
    lines = [_gap_line(kind, [gap for gap in row.gaps if gap.missing == kind]) for kind in _GAP_TITLES]
    followed = [_face_text(face) for face in row.faces if face.num_followed]
    others = [f"{_face_text(face)}: {face.reason}" for face in row.faces if not face.num_followed]
    lines.append(ReportLine("followed", "followed", _shortened(followed)))
    lines.append(ReportLine("other", "not followed", _shortened(others)))
    return [line for line in lines if line.entries]


def _gap_line(kind: str, gaps: Sequence[Gap]) -> ReportLine:
    longest = sorted(gaps, key=lambda gap: (gap.start_s - gap.stop_s, gap.start_s))
    shown, rest = sorted(longest[:MAX_GAPS], key=lambda gap: gap.start_s), longest[MAX_GAPS:]
    entries = [_gap_text(gap) for gap in shown]
    if rest:
        entries.append(f"and {len(rest):,} shorter, {sum(gap.stop_s - gap.start_s for gap in rest):.1f} s in all")
    return ReportLine(kind, _GAP_TITLES[kind], tuple(entries))


def _gap_text(gap: Gap) -> str:
    until = f" to {_clock_text(gap.stop_s)}" if gap.stop_s > gap.start_s else " on"
    frames = f", frames {gap.first_frame} to {gap.last_frame}" if gap.first_frame >= 0 else ""
    return f"{_clock_text(gap.start_s)}{until}{frames}"


def _face_text(face: VisibleFace) -> str:
    box = f"{face.x0:.0f},{face.y0:.0f} to {face.x1:.0f},{face.y1:.0f} px"
    when = f"{_clock_text(face.start_s)} to {_clock_text(face.stop_s)}"
    frames = count_text(face.num_frames, "clock frame")
    if 0 < face.num_followed < face.num_frames:
        frames = f"{face.num_followed:,} of {frames}"
    return f"{when}, {frames}, box {box}, score {face.score:.2f}"


def _shortened(faces: Sequence[str]) -> tuple[str, ...]:
    rest = [f"and {len(faces) - MAX_FACES:,} more"] if len(faces) > MAX_FACES else []
    return (*faces[:MAX_FACES], *rest)


def _clock_text(time_s: float) -> str:
    """A time as on the contact sheets, but to the hundredth, e.g. 1:02:03.45."""
    hundredths = round(time_s * 100)
    return f"{clock_text(hundredths // 10 / 10)}{hundredths % 10}"
