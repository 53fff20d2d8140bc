"""The records that flow between the stages of preprocessing."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.features import SegmentFeatures as SegmentFeatures
from pipeline.findings import Gap as Gap
from pipeline.findings import SeenFace as SeenFace
from pipeline.rejection import Reason as Reason
from pipeline.rejection import Rejection as Rejection

FRAME_DTYPE = np.dtype(
    [
        ("time_s", "<f8"),  # on the video's clock: the container's own start time is second 0
        ("source_index", "<i4"),  # 0-based index of the original frame shown, -1 where there is none
        ("video_ok", "?"),  # the video shows a frame at this time (not before its start, not after its end)
        ("face_ok", "?"),  # a crop of the chosen person exists
        ("audio_ok", "?"),  # the sound around this time is real, not padding
        ("box", "<f4", (4,)),  # x0, y0, x1, y1 in pixels of the upright picture, NaN where face_ok is False
        ("score", "<f4"),  # of the detector; interpolated frames carry the lower neighbour's, 0 without a face
        ("offset", "<i8"),  # of this frame's JPEG in faces.mjpeg
        ("size", "<i4"),  # of this frame's JPEG in bytes, 0 without a face
    ]
)
ANNOTATION_DTYPE = np.dtype([("frame", "<i4"), ("time_s", "<f8"), ("valence", "<f4"), ("arousal", "<f4")])
LABEL_NAMES = ("valence", "arousal")
NUM_LABEL_BINS = 20  # from -1 to 1, of each label, in a ShardRecord


@dataclass(frozen=True, slots=True)
class Video:
    """One input stream: a media file and the person followed in it."""

    video_id: str  # key-safe: ASCII, no dots, no slashes
    relative_path: str  # below the source, with "/" and extension
    uri: str
    size_bytes: int
    identity: str  # size and sha256 of the first and last MiB
    person: str = ""  # "", "left" or "right"
    group: str = ""  # whoever must not be in two splits
    split: str = ""  # train, val or test
    labels_uri: str = ""  # "" when there are none
    arousal_uri: str = ""  # where arousal is in a file of its own
    labels_identity: str = ""  # size and sha256 of all bytes of the labels
    crops_uri: str = ""  # folder of crops that somebody else has cut; "": faces are looked for in the video
    crops_identity: str = ""  # number of those crops, and sha256 of their names and sizes; "" when there are none

    @property
    def key(self) -> str:
        """Unique name of the stream: the video's id with the person where there is one."""
        return stream_key(self.video_id, self.person)


def stream_key(video_id: str, person: str) -> str:
    """What a stream is called: the video's id, with the person where there is one."""
    return f"{video_id}_{person}" if person else video_id


@dataclass(frozen=True, slots=True)
class Probe:
    """What the container says of itself, and what the packets' timestamps say."""

    container: str
    duration_s: float  # from the timestamps of the packets, not from the header
    video_codec: str
    width_px: int  # of the upright picture
    height_px: int
    rotation_deg: int
    video_stream: int  # index of the stream that is decoded
    audio_stream: int  # -1 when there is no sound
    audio_codec: str
    audio_rate_hz: int
    frame_times_s: NDArray[np.float64]  # sorted presentation times of every original frame, container start = 0
    start_s: float = 0.0  # the container's own start time, already subtracted everywhere
    sound_spans_s: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))  # (M, 2) where packets are
    problem: str = ""  # why the file seems to end early
    keyframe_times_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # none: seeking is not exact
    plain: bool = False  # pictures are 4:2:0 of eight bits in limited range: what decoding gives is what is wanted


@dataclass(frozen=True, slots=True)
class VideoOnClock:
    """One video's pictures on the clock: frame i is what is shown at `i / frame_rate_hz`, up to the last decoded."""

    frames: NDArray[np.void]  # FRAME_DTYPE (N,); offset and size refer to `mjpeg_path`, audio_ok is left False
    mjpeg_path: Path  # concatenated JPEG crops of the chosen person
    duration_s: float  # what the packets of the container promise
    covered_s: float  # what was decoded
    problem: str = ""  # why decoding stopped early, in ffmpeg's words; "" when it did not
    seconds_decode: float = 0.0  # waiting for ffmpeg
    seconds_faces: float = 0.0  # joining, choosing, the contact sheet: what the others leave over
    followed: str = ""  # the rule that chose the person: "longest", ...; with " by anchor" where an anchor did it
    seconds_detect: float = 0.0
    seconds_crop: float = 0.0
    seconds_encode: float = 0.0
    num_cuts: int = 0  # scene cuts, across which nothing is interpolated
    sheet: bytes = b""  # contact sheet, a JPEG file
    faces: tuple[SeenFace, ...] = ()  # everybody who was seen


@dataclass(frozen=True, slots=True)
class SoundOnClock:
    """One video's sound on the clock: hop i is centred at `i * hop_s`."""

    mel_db: NDArray[np.float16]  # (hops, mels) unclipped dB
    hop_ok: NDArray[np.bool_]  # (hops,) True where the sound is real, not padding
    problem: str = ""  # why decoding stopped early, in ffmpeg's words; "" when it did not
    seconds_audio: float = 0.0
    silent_fraction: float = 0.0  # share of the real sound's hops without a sample above -60 dBFS
    clipped_fraction: float = 0.0  # share of the real sound's samples at full scale


@dataclass(frozen=True, slots=True)
class Annotations:
    """Every valid label of one stream at its own original times."""

    rows: NDArray[np.void]  # ANNOTATION_DTYPE, sorted by time


@dataclass(frozen=True, slots=True)
class Segment:
    """One WebDataset sample: a tile of a video's clock with the context before it.

    Frames are `num_preroll` context frames, then the tile's own; mel hops start at the first preroll frame.
    """

    video_id: str
    person: str
    group: str
    split: str
    start_s: float  # time of the first own frame
    num_preroll: int
    frame_rate_hz: float
    hop_s: float
    frames: NDArray[np.void]  # FRAME_DTYPE (num_preroll + n,)
    faces_mjpeg: bytes
    mel_db: NDArray[np.float16]  # (hops, mels) unclipped dB
    labels: NDArray[np.float32]  # (num_preroll + n, 2) valence, arousal; NaN where there is no label
    annotations: NDArray[np.void]  # ANNOTATION_DTYPE, those within the tile
    followed: str = ""  # how the person was chosen: "longest", ...; with " by anchor" where an anchor told
    features: SegmentFeatures | None = None  # then crops and sound are empty, whatever the frames say of their places

    @property
    def key(self) -> str:
        """WebDataset key, without dots: `{video_id}[_{person}]_{start in ms, nine digits}`."""
        return f"{stream_key(self.video_id, self.person)}_{round(self.start_s * 1000):09d}"

    @property
    def num_frames(self) -> int:
        """The tile's own frames, without the preroll."""
        return len(self.frames) - self.num_preroll


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
    """A row of videos.parquet: what became of one input stream."""

    video_id: str
    person: str
    uri: str
    group: str
    split: str
    status: str  # "ok" or "rejected"
    stage: str  # where it failed; "" when all is well
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
    identity: str = ""
    labels_identity: str = ""
    num_spans: int = 1  # stretches that were processed by themselves
    attempts: int = 1  # how often a worker began with it
    followed: str = ""  # the rule that chose the person, with " by anchor" where an anchor did it
    num_faces: int = 0  # people who were told apart by place and size
    faces: tuple[SeenFace, ...] = ()  # those of them who were seen longest
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


STAGE_SECONDS = tuple(each.name for each in fields(VideoRow) if each.name.startswith("seconds_"))


@dataclass(frozen=True, slots=True)
class AnchorPoint:
    """Where the chosen person's face is at one time, in pixels of the upright picture."""

    time_s: float
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one stream that is processed as a whole: clock frames [start_frame, stop_frame)."""

    video: Video
    start_frame: int = 0  # a multiple of the segment's length
    stop_frame: int = -1  # -1: to the end of the video
    anchor: tuple[AnchorPoint, ...] = ()  # so that every span of a video follows the same person


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One Ray Data row: a shard's name and the spans of streams that go into it, in order."""

    name: str  # "<split>-<n>", five digits
    split: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """The sidecar of one published tar: enough to resume a build and to write the index."""

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
