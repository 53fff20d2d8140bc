"""The plan of a shard, and the record of it once it is published."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.records.rows import SampleRow, VideoRow
from pipeline.records.videos import Video

NUM_LABEL_BINS = 20  # from -1 to 1, of each label, in a ShardRecord


@dataclass(frozen=True, slots=True)
class AnchorPoint:
    """The box of the followed person's face at one time, in pixels of the upright picture."""

    time_s: float
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Span:
    """A part of one stream that is processed as a whole: clock frames [start_frame, stop_frame)."""

    video: Video
    start_frame: int = 0  # a multiple of the segment's length
    stop_frame: int = -1  # -1: to the end of the video
    anchor: tuple[AnchorPoint, ...] = ()  # so that every span of a video follows the same person


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A shard to be built: its name and the spans of streams that go into it, in order."""

    name: str  # "<split>-<n>", five digits
    split: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """The sidecar of one published tar: all that is needed to resume a build and to write the index."""

    name: str
    sha256: str
    size_bytes: int
    plan_digest: str  # of the ShardPlan that made it
    samples: tuple[SampleRow, ...]
    videos: tuple[VideoRow, ...]  # one per span
    toolchain: dict[str, str] = field(default_factory=dict)
    attempts: int = 1  # how often the shard was begun
    label_grid: tuple[int, ...] = ()  # own labelled frames by [valence bin, arousal bin], row by row
    spans: tuple[Span, ...] = ()  # of the plan, from which the shard can be built again
