"""Pictures, sound and labels of a stream on one clock, and the segments that are cut from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.records.features import SegmentFeatures
from pipeline.records.findings import VisibleFace
from pipeline.records.videos import stream_key

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


@dataclass(frozen=True, slots=True)
class VideoOnClock:
    """One video's pictures on the clock: frame i is what is shown at `i / frame_rate_hz`, up to the last decoded."""

    frames: NDArray[np.void]  # FRAME_DTYPE (N,); offset and size refer to `mjpeg_path`, audio_ok is left False
    mjpeg_path: Path  # concatenated JPEG crops of the chosen person
    duration_s: float  # what the packets of the container promise
    covered_s: float  # what was decoded
    problem: str = ""  # why decoding stopped early, as ffmpeg reports it; "" when it did not
    seconds_decode: float = 0.0  # waiting for ffmpeg
    seconds_faces: float = 0.0  # tracking, choosing, the contact sheet: all that the other stages do not count
    followed: str = ""  # the rule that chose the person: "longest", ...; with " by anchor" where an anchor chose
    seconds_detect: float = 0.0
    seconds_crop: float = 0.0
    seconds_encode: float = 0.0
    num_cuts: int = 0  # scene cuts, across which nothing is interpolated
    contact_sheet: bytes = b""  # a JPEG file
    faces: tuple[VisibleFace, ...] = ()  # every visible face, followed or not


@dataclass(frozen=True, slots=True)
class SoundOnClock:
    """One video's sound on the clock: hop i is centred at `i * hop_s`."""

    mel_db: NDArray[np.float16]  # (hops, mels) unclipped dB
    hop_ok: NDArray[np.bool_]  # (hops,) True where the sound is real, not padding
    problem: str = ""  # why decoding stopped early, as ffmpeg reports it; "" when it did not
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
    followed: str = ""  # how the person was chosen: "longest", ...; with " by anchor" where an anchor chose
    features: SegmentFeatures | None = None  # then crops and sound are empty, whatever the frames say of their places

    @property
    def key(self) -> str:
        """WebDataset key, without dots: `{video_id}[_{person}]_{start in ms, nine digits}`."""
        return f"{stream_key(self.video_id, self.person)}_{round(self.start_s * 1000):09d}"

    @property
    def num_frames(self) -> int:
        """The tile's own frames, without the preroll."""
        return len(self.frames) - self.num_preroll
