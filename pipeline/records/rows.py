"""The rows of index.parquet and videos.parquet."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from pipeline.records.findings import Gap, VisibleFace

LabelProblem = Literal["", "ends_early", "ends_late", "counts_from_1"]  # "" where the labels fit


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A row of index.parquet: where one sample lies and what it holds."""

    key: str
    shard: str  # file name: "<split>-<n>.tar"
    offset: int  # of the sample's first tar header in the shard
    size: int  # of all its tar blocks
    video_id: str
    person: str
    group: str
    split: str
    start_s: float
    num_preroll: int
    num_frames: int
    video_ratio: float  # share of own frames with video_ok
    face_ratio: float
    audio_ratio: float
    label_ratio: float


@dataclass(frozen=True, slots=True)
class VideoRow:
    """A row of videos.parquet: the outcome of one input stream."""

    video_id: str
    person: str
    uri: str
    group: str
    split: str
    status: str  # "ok" or "rejected"
    stage: str  # where it failed; "" when nothing did
    reason: str  # "" | "partial" | no_video, unreadable, no_face, ...
    detail: str
    duration_s: float = 0.0
    covered_s: float = 0.0
    face_fraction: float = 0.0
    audio_fraction: float = 0.0
    silent_fraction: float = 0.0  # of the real sound
    clipped_fraction: float = 0.0
    num_segments: int = 0
    num_cuts: int = 0  # scenes that end before the video does; in the context of a span it counts for both spans
    num_label_rows: int = 0  # of the label file; fewer frames are labelled where rows are invalid or beyond the frames
    num_invalid_labels: int = 0  # rows with a sentinel or NaN
    label_problem: LabelProblem = ""  # how the rows do not fit the frames
    labelled_frames: int = 0
    valence_sum: float = 0.0  # over the labelled frames, so that an evaluation can count those that were lost
    valence_squares: float = 0.0
    arousal_sum: float = 0.0
    arousal_squares: float = 0.0
    container: str = ""
    video_codec: str = ""
    audio_codec: str = ""
    width_px: int = 0
    height_px: int = 0
    num_source_frames: int = 0
    size_bytes: int = 0
    content_id: str = ""
    labels_content_id: str = ""
    num_spans: int = 1  # into which it was cut, each processed by itself
    attempts: int = 1  # how often a worker began to process it
    followed: str = ""  # the rule that chose the person, with " by anchor" where an anchor did it
    num_faces: int = 0  # people, as far as the position and size of their faces distinguish them
    faces: tuple[VisibleFace, ...] = ()  # of the people who are visible longest
    gaps: tuple[Gap, ...] = ()  # where picture, face or sound is missing
    seconds_fetch: float = 0.0  # one field for each stage of preprocessing, in this order
    seconds_probe: float = 0.0
    seconds_decode: float = 0.0
    seconds_detect: float = 0.0
    seconds_crop: float = 0.0
    seconds_encode: float = 0.0
    seconds_faces: float = 0.0
    seconds_audio: float = 0.0
    seconds_write: float = 0.0
    seconds_publish: float = 0.0


@dataclass(frozen=True, slots=True)
class VideoOutcome:
    """The columns of a VideoRow that tell whether its split has it to train on or to evaluate."""

    group: str
    split: str
    status: str
    labelled_frames: int


STAGE_SECONDS = tuple(each.name for each in fields(VideoRow) if each.name.startswith("seconds_"))
