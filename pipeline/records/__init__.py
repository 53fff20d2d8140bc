"""The records that flow between the stages of the pipeline: frozen and slotted dataclasses."""

from pipeline.records.features import FeatureOrigin, SegmentFeatures
from pipeline.records.findings import Gap, VisibleFace
from pipeline.records.rejection import Reason, Rejection
from pipeline.records.rows import STAGE_SECONDS, LabelProblem, SampleRow, VideoOutcome, VideoRow
from pipeline.records.shard_record import NUM_LABEL_BINS, AnchorPoint, ShardPlan, ShardRecord, Span
from pipeline.records.signals import (
    ANNOTATION_DTYPE,
    FRAME_DTYPE,
    LABEL_NAMES,
    Annotations,
    Segment,
    SoundOnClock,
    VideoOnClock,
)
from pipeline.records.videos import Probe, UnusedInput, UnusedKind, Video, stream_key

__all__ = [
    "ANNOTATION_DTYPE",
    "FRAME_DTYPE",
    "LABEL_NAMES",
    "NUM_LABEL_BINS",
    "STAGE_SECONDS",
    "AnchorPoint",
    "Annotations",
    "FeatureOrigin",
    "Gap",
    "LabelProblem",
    "Probe",
    "Reason",
    "Rejection",
    "SampleRow",
    "Segment",
    "SegmentFeatures",
    "ShardPlan",
    "ShardRecord",
    "SoundOnClock",
    "Span",
    "UnusedInput",
    "UnusedKind",
    "Video",
    "VideoOnClock",
    "VideoOutcome",
    "VideoRow",
    "VisibleFace",
    "stream_key",
]
