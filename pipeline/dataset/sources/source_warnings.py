"""What a person should know about a source, in lines: copies of a file, what is not used, labels that do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.dataset.sources.finding_texts import FindingText, label_findings, unused_findings
from pipeline.dataset.sources.identical import copies_of
from pipeline.records import UnusedInput, Video, VideoRow, stream_key
from pipeline.records.quantities import names_text


def source_warnings(streams: Sequence[Video | VideoRow], unused: Iterable[UnusedInput]) -> tuple[str, ...]:
    """A line for the copies of files, and one for each kind of file, name or row that is not used, with three names."""
    lines = []
    if copies := copies_of(streams):
        number = sum(len(ids) - 1 for ids in copies)
        verb = "video is a copy" if number == 1 else "videos are copies"
        named = names_text([names_text(ids, separator=" = ") for ids in copies])
        lines.append(f"{number} {verb} of another and in the same group: {named}")
    lines += [_line(text, [each.name for each in found]) for text, found in unused_findings(unused)]
    return tuple(lines)


def label_warnings(rows: Sequence[VideoRow]) -> tuple[str, ...]:
    """A line for each kind of label file that does not fit its video, with three names."""
    return tuple(
        _line(text, [stream_key(row.video_id, row.person) for row in found]) for text, found in label_findings(rows)
    )


def _line(text: FindingText, names: Sequence[str]) -> str:
    return f"{len(names)} {text.of_one if len(names) == 1 else text.of_several}: {names_text(names)}"
