"""The data-quality page: quality.html of a dataset, what is in it and what was lost, for whoever must trust it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.report.audit import Case, Sheets, cases_of, others_share, sheets_of
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import NUM_LABEL_BINS, SampleRow, ShardRecord, VideoRow, stream_key
from pipeline.reports.page import render

TEMPLATE = Path(__file__).with_name("quality.html")
MAX_EXAMPLES = 5  # of one reason
MAX_ROWS = 20  # of a table of videos
MAX_SHEETS = 60
MIN_OTHERS_SHARE = 0.1  # of the time; less is somebody who passes by
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
_REST = "over 1 h"


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage of preprocessing took, over all videos, in seconds of one core."""

    name: str
    about: str
    seconds: float
    share: float  # of all stages
    times_real_time: float  # seconds of video per second; 0 when nothing was measured


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """One row of the table of splits."""

    name: str
    num_videos: int
    num_rejected: int
    num_groups: int
    num_samples: int
    hours: float
    coverage: tuple[tuple[str, float], ...]  # share of all frames with a face, with sound, with labels


@dataclass(frozen=True, slots=True)
class Cause:
    """All videos that were rejected at one stage for one reason."""

    stage: str
    reason: str
    num_videos: int
    examples: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Plane:
    """How the labels of one split lie: shades between 0 and 1, of the plane and of each label alone."""

    name: str
    num_frames: int
    cells: tuple[tuple[int, int, float, int], ...]  # valence bin, arousal bin, shade, frames; empty cells left out
    valence: tuple[float, ...]
    arousal: tuple[float, ...]
    means: tuple[float, float]  # of valence and arousal, to the width of a bin


def page(
    name: str,
    digest: str,
    videos: Sequence[VideoRow],
    samples: Sequence[SampleRow],
    records: Sequence[ShardRecord],
    sheets: Sequence[str] = (),
) -> str:
    """The page as HTML that stands alone, without scripts.

    Args:
        name: of the dataset.
        digest: of its shards.
        videos: a row for every input stream.
        samples: the rows of the index.
        records: of all shards.
        sheets: paths of the contact sheets, relative to the dataset.
    """
    used = [row for row in videos if row.status == "ok"]
    partial = sorted((row for row in used if row.reason), key=lambda row: row.covered_s - row.duration_s)
    doubtful = doubtful_of(used)
    above = {id(row) for row in (*partial[:MAX_ROWS], *doubtful[:MAX_ROWS])}
    crowded = [row for row in crowded_of(used) if id(row) not in above]
    sheets_by_key = sheets_of(sheets, videos)
    return render(
        TEMPLATE,
        name=name,
        digest=digest,
        videos=videos,
        used=used,
        num_samples=len(samples),
        num_shards=len(records),
        bytes=sum(record.size_bytes for record in records),
        hours=sum(row.covered_s for row in used) / 3600,
        num_groups=len({row.group for row in used}),
        labelled=sum(row.labelled_frames for row in used),
        lost_labels=sum(row.labelled_frames for row in videos if row.status != "ok"),
        splits=splits_of(videos, samples),
        planes=planes_of(records),
        bins=NUM_LABEL_BINS,
        stages=stage_costs(videos),
        durations=durations_of(used),
        causes=causes_of(videos, sheets_by_key),
        partial=cases_of(partial[:MAX_ROWS], sheets_by_key),
        num_partial=len(partial),
        doubtful=cases_of(doubtful[:MAX_ROWS], sheets_by_key),
        num_doubtful=len(doubtful),
        crowded=cases_of(crowded[:MAX_ROWS], sheets_by_key),
        num_crowded=len(crowded),
        sheets=sheets[:MAX_SHEETS],
        num_sheets=len(sheets),
    )


def stage_costs(videos: Sequence[VideoRow]) -> list[StageCost]:
    """What each stage took, and last all of them together; [] when nothing was measured."""
    spent = [(name, about, sum(getattr(row, field) for row in videos)) for name, field, about in STAGES]
    spent.append(("all", "a whole video on one core", sum(seconds for _, _, seconds in spent)))
    total_s, video_s = spent[-1][2], sum(row.covered_s for row in videos)
    if not total_s:
        return []
    return [
        StageCost(name, about, seconds, seconds / total_s, video_s / seconds if seconds else 0.0)
        for name, about, seconds in spent
    ]


def splits_of(videos: Sequence[VideoRow], samples: Sequence[SampleRow]) -> list[SplitFacts]:
    """Every split, the empty ones too."""
    facts = []
    for split in SPLITS:
        own = [row for row in videos if row.split == split]
        used = [row for row in own if row.status == "ok"]
        tiles = [row for row in samples if row.split == split]
        coverage = tuple((label, frame_share(tiles, ratio)) for label, ratio in COVERAGE)
        hours = sum(row.covered_s for row in used) / 3600
        groups = len({row.group for row in own})
        facts.append(SplitFacts(split, len(own), len(own) - len(used), groups, len(tiles), hours, coverage))
    return facts


def frame_share(samples: Sequence[SampleRow], ratio: str) -> float:
    """Of all frames of the samples, the share for which the ratio holds; NaN without samples."""
    frames = sum(row.num_frames for row in samples)
    return sum(getattr(row, ratio) * row.num_frames for row in samples) / frames if frames else float("nan")


def planes_of(records: Sequence[ShardRecord]) -> list[Plane]:
    """The labels of every split that has some, from the counts that the shards carry."""
    planes = []
    for split in SPLITS:
        own = [record.label_grid for record in records if record.label_grid and record.name.startswith(f"{split}-")]
        grid = np.array(own, np.int64).reshape(-1, NUM_LABEL_BINS, NUM_LABEL_BINS).sum(axis=0)
        if grid.any():
            planes.append(_plane(split, grid))
    return planes


def _plane(split: str, grid: NDArray[np.int64]) -> Plane:
    centres = (np.arange(NUM_LABEL_BINS) + 0.5) * 2 / NUM_LABEL_BINS - 1
    valence, arousal = grid.sum(axis=1), grid.sum(axis=0)
    shades = np.sqrt(grid / grid.max())  # rare places must be seen beside frequent ones
    cells = tuple((int(v), int(a), float(shades[v, a]), int(grid[v, a])) for v, a in np.argwhere(grid))
    return Plane(
        name=split,
        num_frames=int(grid.sum()),
        cells=cells,
        valence=tuple((valence / valence.max()).tolist()),
        arousal=tuple((arousal / arousal.max()).tolist()),
        means=(float(valence @ centres / grid.sum()), float(arousal @ centres / grid.sum())),
    )


def durations_of(videos: Sequence[VideoRow]) -> dict[str, object]:
    """How long the videos are: shortest, median, longest in seconds, and how many are in each class."""
    lengths = [row.duration_s for row in videos]
    if not lengths:
        return {}
    classes = [next((name for name, end_s in DURATIONS if length < end_s), _REST) for length in lengths]
    counts = [(name, classes.count(name)) for name in (*(name for name, _ in DURATIONS), _REST)]
    return {
        "shortest_s": min(lengths),
        "median_s": statistics.median(lengths),
        "longest_s": max(lengths),
        "counts": counts,
    }


def causes_of(videos: Sequence[VideoRow], sheets: Sheets) -> list[Cause]:
    """Why videos were rejected, the most frequent cause first, with a few of its videos each."""
    causes: dict[tuple[str, str], list[VideoRow]] = {}
    for row in videos:
        if row.status != "ok":
            causes.setdefault((row.stage, row.reason), []).append(row)
    found = [Cause(*cause, len(rows), tuple(cases_of(rows[:MAX_EXAMPLES], sheets))) for cause, rows in causes.items()]
    return sorted(found, key=lambda cause: (-cause.num_videos, cause.stage, cause.reason))


def doubtful_of(videos: Sequence[VideoRow]) -> list[VideoRow]:
    """Videos that lack some face or sound: first the smallest share of frames with the face, or of sound if any."""

    def worst(row: VideoRow) -> float:
        return min(row.face_fraction, row.audio_fraction if row.audio_codec else 1.0)

    doubtful = (row for row in videos if worst(row) < 0.995)
    return sorted(doubtful, key=lambda row: (worst(row), stream_key(row.video_id, row.person)))


def crowded_of(videos: Sequence[VideoRow]) -> list[VideoRow]:
    """Videos in which somebody else is seen for a while: first those where it is for the largest share of the time."""
    crowded = (row for row in videos if others_share(row) >= MIN_OTHERS_SHARE)
    return sorted(crowded, key=lambda row: (-others_share(row), stream_key(row.video_id, row.person)))
