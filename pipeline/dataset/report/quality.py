"""The data-quality page of a dataset, quality.html: what it holds, what was lost, and which videos to check first."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.format.dataset_info import DatasetInfo
from pipeline.dataset.report.face_warnings import (
    MIN_OTHERS_SHARE,
    detector_advice,
    face_warnings,
    other_faces_share,
    person_warnings,
)
from pipeline.dataset.report.source_report import NO_REPORT, SourceReport
from pipeline.dataset.report.video_report import (
    SheetLinks,
    VideoReport,
    sheet_links,
    video_reports,
)
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import NUM_LABEL_BINS, SampleRow, ShardRecord, VideoRow, stream_key
from pipeline.records.quantities import count_text, duration_text, percent_text
from pipeline.reports.page import render

TEMPLATE = Path(__file__).with_name("quality.html")
MAX_EXAMPLES = 5  # of one reason
MAX_ROWS = 20  # of a table of videos
MAX_LISTED = 200  # of those behind the first ones, a line each; all others are in videos.parquet alone
MAX_SUMMARY_CHARS = 100  # of such a line
MAX_SHEETS = 60
MIN_COVERAGE = 0.95  # of the frames, with a face or with sound; less puts a video on the page
MIN_SILENT_FRACTION = 0.5  # of the sound, below -60 dBFS; less is pauses in speech, more is counted as missing
STAGES = (
    ("fetch", "seconds_fetch", "the video and its labels onto the worker"),
    ("probe", "seconds_probe", "container and packet timestamps"),
    ("decode", "seconds_decode", "pictures onto the clock"),
    ("detect", "seconds_detect", "faces on every few frames"),
    ("crop", "seconds_crop", "cutting faces out"),
    ("encode", "seconds_encode", "crops to JPEG"),
    ("faces", "seconds_faces", "following, choosing, the contact sheet"),
    ("audio", "seconds_audio", "sound and its log-mel spectrogram"),
    ("write", "seconds_write", "segments into the tar"),
    ("publish", "seconds_publish", "tars and sheets onto the storage"),
)
COVERAGE = (("face", "face_ratio"), ("sound", "audio_ratio"), ("labels", "label_ratio"))
DURATIONS = (("under 10 s", 10.0), ("10 s to 1 min", 60.0), ("1 to 10 min", 600.0), ("10 min to 1 h", 3600.0))
_LONGEST = "over 1 h"


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage of preprocessing took, over all videos, in seconds of one core."""

    name: str
    description: str
    seconds: float
    share: float  # of all stages
    times_real_time: float  # seconds of video per second; 0 when nothing was measured


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One row of the table of splits."""

    name: str
    num_videos: int
    num_rejected: int
    num_groups: int
    num_samples: int
    duration_s: float  # of the used videos, as far as they were decoded
    coverage: tuple[tuple[str, float], ...]  # share of all frames with a face, with sound, with labels


@dataclass(frozen=True, slots=True)
class VideoLine:
    """A video in one line, in the list behind the first videos of a table."""

    key: str
    summary: str


@dataclass(frozen=True, slots=True)
class RejectionCause:
    """All videos that were rejected at one stage for one reason."""

    stage: str
    reason: str
    num_videos: int
    examples: tuple[VideoReport, ...]
    others: tuple[VideoLine, ...]  # behind the examples, up to MAX_LISTED


@dataclass(frozen=True, slots=True)
class LabelDistribution:
    """How the labels of one split are distributed: shades between 0 and 1, of the plane and of each label alone."""

    split: str
    num_frames: int
    cells: tuple[tuple[int, int, float, int], ...]  # valence bin, arousal bin, shade, frames; empty cells left out
    valence: tuple[float, ...]
    arousal: tuple[float, ...]
    means: tuple[float, float]  # of valence and arousal, to the width of a bin


@dataclass(frozen=True, slots=True)
class DurationSummary:
    """How long the used videos are."""

    shortest_s: float
    median_s: float
    longest_s: float
    counts: tuple[tuple[str, int], ...]  # class of duration, number of videos


@dataclass(frozen=True, slots=True)
class VideoTable:
    """The first videos of a list, and how long the list is."""

    reports: tuple[VideoReport, ...]
    num_videos: int
    others: tuple[VideoLine, ...]  # behind the first, up to MAX_LISTED


@dataclass(frozen=True, slots=True)
class QualityPage:
    """Everything that the template quality.html shows."""

    name: str
    digest: str
    num_inputs: int
    num_used: int
    num_groups: int  # of the used videos
    num_samples: int
    num_shards: int
    size_bytes: int
    duration_s: float  # of the used videos, as far as they were decoded
    warnings: tuple[str, ...]  # about who is followed, and what helps
    labelled_frames: int  # of the used videos
    lost_labelled_frames: int  # of the rejected ones
    splits: tuple[SplitSummary, ...]
    labels: tuple[LabelDistribution, ...]  # of the splits that have labels
    num_label_bins: int
    durations: DurationSummary | None  # None without a used video
    causes: tuple[RejectionCause, ...]
    partial: VideoTable
    low_coverage: VideoTable
    other_faces: VideoTable
    stages: tuple[StageCost, ...]  # empty when nothing was measured
    sheets: tuple[str, ...]
    num_sheets: int


def quality_page(
    info: DatasetInfo,
    videos: Sequence[VideoRow],
    samples: Sequence[SampleRow],
    records: Sequence[ShardRecord],
    sheets: Sequence[str] = (),
    source: SourceReport = NO_REPORT,
) -> str:
    """Render the page as HTML that stands alone, without scripts.

    Args:
        info: the dataset.
        videos: a row for every input stream.
        samples: the rows of the index.
        records: of all shards.
        sheets: paths of the contact sheets, relative to the dataset.
        source: what is to be mended in the source.
    """
    used = [row for row in videos if row.status == "ok"]
    partial = sorted((row for row in used if row.reason), key=lambda row: row.covered_s - row.duration_s)
    low_coverage = low_coverage_videos(used)
    shown = {id(row) for row in (*partial[:MAX_ROWS], *low_coverage[:MAX_ROWS])}
    other_faces = [row for row in videos_with_other_faces(used) if id(row) not in shown]
    links = sheet_links(sheets, videos)
    page = QualityPage(
        name=info.name,
        digest=info.digest,
        num_inputs=len(videos),
        num_used=len(used),
        num_groups=len({row.group for row in used}),
        num_samples=len(samples),
        num_shards=len(records),
        size_bytes=sum(record.size_bytes for record in records),
        duration_s=sum(row.covered_s for row in used),
        warnings=(*face_warnings(videos), *detector_advice(videos, info.config)),
        labelled_frames=sum(row.labelled_frames for row in used),
        lost_labelled_frames=sum(row.labelled_frames for row in videos if row.status != "ok"),
        splits=split_summaries(videos, samples),
        labels=label_distributions(records),
        num_label_bins=NUM_LABEL_BINS,
        durations=duration_summary(used),
        causes=rejection_causes(videos, links),
        partial=_table(partial, links),
        low_coverage=_table(low_coverage, links),
        other_faces=_table(other_faces, links),
        stages=stage_costs(videos),
        sheets=tuple(sheets[:MAX_SHEETS]),
        num_sheets=len(sheets),
    )
    filters: dict[str, Callable[..., str]] = {
        "percent": percent_text,
        "duration": duration_text,
        "number_of": count_text,
    }
    return render(
        TEMPLATE, filters, page=page, source=source, min_coverage=MIN_COVERAGE, min_silent=MIN_SILENT_FRACTION
    )


def _table(videos: Sequence[VideoRow], links: SheetLinks) -> VideoTable:
    return VideoTable(video_reports(videos[:MAX_ROWS], links), len(videos), _video_lines(videos[MAX_ROWS:]))


def _video_lines(videos: Sequence[VideoRow]) -> tuple[VideoLine, ...]:
    """The first of these videos, a line each: what was lost of it and why."""
    return tuple(VideoLine(stream_key(row.video_id, row.person), _summary(row)) for row in videos[:MAX_LISTED])


def _summary(row: VideoRow) -> str:
    if row.status != "ok":
        return row.detail[:MAX_SUMMARY_CHARS]
    shares = f"face {percent_text(row.face_fraction)}, sound {percent_text(sound_share(row))}"
    return f"{shares}; {row.detail}"[:MAX_SUMMARY_CHARS] if row.detail else shares


def stage_costs(videos: Sequence[VideoRow]) -> tuple[StageCost, ...]:
    """Add up what each stage took, and last all of them together; empty when nothing was measured."""
    spent = [(name, about, sum(getattr(row, column) for row in videos)) for name, column, about in STAGES]
    spent.append(("all", "a whole video on one core", sum(seconds for _, _, seconds in spent)))
    total_s, video_s = spent[-1][2], sum(row.covered_s for row in videos)
    if not total_s:
        return ()
    return tuple(
        StageCost(name, about, seconds, seconds / total_s, video_s / seconds if seconds else 0.0)
        for name, about, seconds in spent
    )


def split_summaries(videos: Sequence[VideoRow], samples: Sequence[SampleRow]) -> tuple[SplitSummary, ...]:
    """Summarise every split, the empty ones too."""
    summaries = []
    for split in SPLITS:
        split_videos = [row for row in videos if row.split == split]
        split_samples = [row for row in samples if row.split == split]
        used = [row for row in split_videos if row.status == "ok"]
        summary = SplitSummary(
            name=split,
            num_videos=len(split_videos),
            num_rejected=len(split_videos) - len(used),
            num_groups=len({row.group for row in split_videos}),
            num_samples=len(split_samples),
            duration_s=sum(row.covered_s for row in used),
            coverage=tuple((label, frame_share(split_samples, ratio)) for label, ratio in COVERAGE),
        )
        summaries.append(summary)
    return tuple(summaries)


def frame_share(samples: Sequence[SampleRow], ratio: str) -> float:
    """Average a ratio of the samples, such as `face_ratio`, over all their frames; NaN without samples."""
    frames = sum(row.num_frames for row in samples)
    return sum(getattr(row, ratio) * row.num_frames for row in samples) / frames if frames else float("nan")


def label_distributions(records: Sequence[ShardRecord]) -> tuple[LabelDistribution, ...]:
    """Add up the labels of every split that has any, from the counts that the shards carry."""
    distributions = []
    for split in SPLITS:
        grids = [record.label_grid for record in records if record.label_grid and record.name.startswith(f"{split}-")]
        grid = np.array(grids, np.int64).reshape(-1, NUM_LABEL_BINS, NUM_LABEL_BINS).sum(axis=0)
        if grid.any():
            distributions.append(_distribution(split, grid))
    return tuple(distributions)


def _distribution(split: str, grid: NDArray[np.int64]) -> LabelDistribution:
    centres = (np.arange(NUM_LABEL_BINS) + 0.5) * 2 / NUM_LABEL_BINS - 1
    valence, arousal = grid.sum(axis=1), grid.sum(axis=0)
    shades = np.sqrt(grid / grid.max())  # the root, so that rare cells are visible beside frequent ones
    cells = tuple((int(v), int(a), float(shades[v, a]), int(grid[v, a])) for v, a in np.argwhere(grid))
    return LabelDistribution(
        split=split,
        num_frames=int(grid.sum()),
        cells=cells,
        valence=tuple((valence / valence.max()).tolist()),
        arousal=tuple((arousal / arousal.max()).tolist()),
        means=(float(valence @ centres / grid.sum()), float(arousal @ centres / grid.sum())),
    )


def duration_summary(videos: Sequence[VideoRow]) -> DurationSummary | None:
    """Summarise how long the videos are, and count those of each class; None without videos."""
    lengths = [row.duration_s for row in videos]
    if not lengths:
        return None
    classes = [next((name for name, end_s in DURATIONS if length < end_s), _LONGEST) for length in lengths]
    counts = tuple((name, classes.count(name)) for name in (*(name for name, _ in DURATIONS), _LONGEST))
    return DurationSummary(min(lengths), statistics.median(lengths), max(lengths), counts)


def rejection_causes(videos: Sequence[VideoRow], sheets: SheetLinks) -> tuple[RejectionCause, ...]:
    """Group the rejected videos by stage and reason, the most frequent first, with a few examples each."""
    groups: dict[tuple[str, str], list[VideoRow]] = {}
    for row in videos:
        if row.status != "ok":
            groups.setdefault((row.stage, row.reason), []).append(row)
    causes = [
        RejectionCause(
            stage, reason, len(rows), video_reports(rows[:MAX_EXAMPLES], sheets), _video_lines(rows[MAX_EXAMPLES:])
        )
        for (stage, reason), rows in groups.items()
    ]
    return tuple(sorted(causes, key=lambda cause: (-cause.num_videos, cause.stage, cause.reason)))


def sound_share(row: VideoRow) -> float:
    """Share of a video that has sound: none without a sound stream, and what is mostly silence counts as missing."""
    if not row.audio_codec:
        return 0.0
    silent = row.silent_fraction if row.silent_fraction >= MIN_SILENT_FRACTION else 0.0
    return row.audio_fraction * (1.0 - silent)


def low_coverage_videos(videos: Sequence[VideoRow]) -> list[VideoRow]:
    """The videos of which more than a little lacks the face or sound; those that lack most come first."""

    def coverage(row: VideoRow) -> float:
        return min(row.face_fraction, sound_share(row))

    low = (row for row in videos if coverage(row) < MIN_COVERAGE)
    return sorted(low, key=lambda row: (coverage(row), stream_key(row.video_id, row.person)))


def videos_with_other_faces(videos: Sequence[VideoRow]) -> list[VideoRow]:
    """The videos in which a face that is not followed stays for a while.

    Those in which it is larger or longer visible come first, then those with the longest shares of time.
    """
    shared = (row for row in videos if other_faces_share(row) >= MIN_OTHERS_SHARE)
    return sorted(
        shared,
        key=lambda row: (not person_warnings(row), -other_faces_share(row), stream_key(row.video_id, row.person)),
    )
