"""The part of the data-quality page on the source: copies of files, labels that do not fit, and what is not used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.dataset.sources.identical import copies_of
from pipeline.dataset.sources.label_fit import LABEL_PROBLEMS
from pipeline.records import UnusedInput, VideoRow, stream_key

MAX_ENTRIES = 1000  # of one list; the tables of the dataset have all
_UNUSED_TITLES = {
    "labels": "Label files without a video",
    "list": "Names in the lists without a video",
    "manifest": "Rows of the manifest without a video",
    "sound": "Sound files beside a video, not used",
}
_LABEL_TITLES = {
    "ends_early": "Labels that end too early",
    "ends_late": "Labels that end too late",
    "counts_from_1": "Labels that number the frames from 1",
}


@dataclass(frozen=True, slots=True)
class SourceFinding:
    """One kind of thing to mend in the source, with every case of it."""

    title: str
    advice: str
    number: int
    entries: tuple[str, ...]  # at most MAX_ENTRIES


@dataclass(frozen=True, slots=True)
class SourceReport:
    """All that is to be mended or known about a source."""

    findings: tuple[SourceFinding, ...]


NO_REPORT = SourceReport(())
_UNUSED_ADVICE = {
    "labels": "A label file has the path of its video, without regard to extensions.",
    "list": "A list has the path below the source, without the extension.",
    "manifest": "A row names the path below the source, with or without the extension, or the video's id.",
    "sound": "The sound within the video is used.",
}


def source_report(videos: Sequence[VideoRow], unused: Sequence[UnusedInput]) -> SourceReport:
    """Collect what is to be mended in a source, all cases of each kind.

    Args:
        videos: a row for every input stream.
        unused: what the source names or holds without a video for it.
    """
    findings = [
        _finding(
            "Copies of one file",
            "Files of the same content are one recording, and one group in one split.",
            [" = ".join(ids) for ids in copies_of(videos)],
        )
    ]
    for kind, title in _LABEL_TITLES.items():
        advice = f"Each {LABEL_PROBLEMS[kind][0]}."
        findings.append(_finding(title, advice, [_fit_text(row) for row in videos if row.label_problem == kind]))
    for kind, title in _UNUSED_TITLES.items():
        findings.append(_finding(title, _UNUSED_ADVICE[kind], [each.text for each in unused if each.kind == kind]))
    return SourceReport(tuple(finding for finding in findings if finding.number))


def _finding(title: str, advice: str, entries: Sequence[str]) -> SourceFinding:
    return SourceFinding(title, advice, len(entries), tuple(entries[:MAX_ENTRIES]))


def _fit_text(row: VideoRow) -> str:
    key = stream_key(row.video_id, row.person)
    return f"{key}: {row.num_label_rows:,} rows, {row.num_source_frames:,} frames in {row.duration_s:.2f} s"
