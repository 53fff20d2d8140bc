"""The options of the readers of media: small frozen records with units in their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.records import AnchorPoint

Choice = Literal["largest", "longest", "left", "right"]


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a file is decoded onto the clock."""

    ffmpeg: str  # path of the executable
    frame_rate_hz: float  # of the clock
    timeout_s: float  # wall clock, for each call


@dataclass(frozen=True, slots=True)
class ClockSpan:
    """Frames [start_frame, stop_frame) of a video's clock."""

    start_frame: int = 0
    stop_frame: int = -1  # -1: to the end of the video
    num_context: int = 0  # frames at the start that belong to the span before: read, but not reported as visible faces


WHOLE_VIDEO = ClockSpan()


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """How faces are detected and joined into tracks."""

    detect_every: int  # frames of the clock
    min_score: float  # of a detection, in (0, 1]
    min_overlap: float  # intersection over union of two detections that are one track
    max_gap_s: float  # a longer time without a detection ends a track

    def max_gap_frames(self, frame_rate_hz: float) -> int:
        """The longest gap in frames of the clock, never below the distance of two detections."""
        return max(self.detect_every, round(self.max_gap_s * frame_rate_hz))


@dataclass(frozen=True, slots=True)
class CropOptions:
    """How faces are cut out of pictures and kept."""

    crop_px: int  # side of the square crop
    jpeg_quality: int  # 1 to 100
    margin: float = 0.0  # of the box's side, added on each side
    align: bool = False  # crops are turned until the eyes are level


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """All that reading the followed face of a video depends on."""

    decode: DecodeOptions
    tracking: TrackingOptions
    crop: CropOptions


@dataclass(frozen=True, slots=True)
class PersonRule:
    """Which person is followed: the one nearest to `anchor`; without an anchor the one that `choose` names."""

    choose: Choice
    anchor: tuple[AnchorPoint, ...] = ()  # in the order of time, see `pipeline.media.faces.anchor`

    @property
    def description(self) -> str:
        """For the `followed` of records, e.g. "longest" or "longest by anchor"."""
        return f"{self.choose} by anchor" if self.anchor else self.choose


@dataclass(frozen=True, slots=True)
class MelOptions:
    """The log-mel spectrogram of a mono signal."""

    sample_rate_hz: int
    n_fft: int  # samples of the transform; the window is padded with zeros to it
    window_s: float
    hop_s: float
    num_mels: int
