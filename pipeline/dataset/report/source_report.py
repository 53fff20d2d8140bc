"""The part of the data-quality page on the source: copies of files, labels that do not fit, and what is not used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.dataset.sources.finding_texts import label_findings, unused_findings
from pipeline.dataset.sources.identical import copies_of
from pipeline.dataset.sources.source_warnings import JOIN_OPTIONS, soundless_videos
from pipeline.records import UnusedInput, VideoRow, stream_key

MAX_ENTRIES = 1000  # of one list; the tables of the dataset have all
SOUND_ADVICE = f"Put the sound into the video: ffmpeg -i VIDEO -i SOUND {JOIN_OPTIONS} NEW.mkv"


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
    findings += [_finding(text.title, text.advice, map(_fit_text, found)) for text, found in label_findings(videos)]
    for text, found in unused_findings(unused):
        findings.append(_finding(text.title, text.advice, [each.text for each in found]))
    soundless = [f"{video}, beside it {sound}" for video, sound in soundless_videos(videos, unused)]
    findings.append(_finding("Videos without sound, with a sound file beside them", SOUND_ADVICE, soundless))
    return SourceReport(tuple(finding for finding in findings if finding.number))


def _finding(title: str, advice: str, entries: Iterable[str]) -> SourceFinding:
    entries = tuple(entries)
    return SourceFinding(title, advice, len(entries), entries[:MAX_ENTRIES])


def _fit_text(row: VideoRow) -> str:
    key = stream_key(row.video_id, row.person)
    return f"{key}: {row.num_label_rows:,} rows, {row.num_source_frames:,} frames in {row.duration_s:.2f} s"
