"""The input streams, each a file and a person in it, and what the container of a file declares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Video:
    """One input stream: a media file and the person followed in it."""

    video_id: str  # key-safe: ASCII, no dots, no slashes
    relative_path: str  # below the source, with "/" and extension
    uri: str
    size_bytes: int
    content_id: str  # size and sha256 of the first and last MiB; and of all bytes if another file has the same ends
    person: str = ""  # "", "left" or "right"
    group: str = ""  # of people who must not be in two splits
    split: str = ""  # train, val or test
    labels_uri: str = ""  # "" when there are none
    arousal_uri: str = ""  # where arousal is in a file of its own
    labels_content_id: str = ""  # size and sha256 of all bytes of the labels
    crops_uri: str = ""  # folder of crops that another program has cut; "": faces are detected in the video
    crops_content_id: str = ""  # number of those crops, and sha256 of their names and sizes; "" when there are none

    @property
    def key(self) -> str:
        """Unique name of the stream: the video's id with the person where there is one."""
        return stream_key(self.video_id, self.person)


def stream_key(video_id: str, person: str) -> str:
    """The unique name of a stream: the video's id, with the person where there is one."""
    return f"{video_id}_{person}" if person else video_id


UnusedKind = Literal[
    "labels",  # a label file without a video
    "list",  # a name in a list without a video
    "manifest",  # a row of it without a video
    "sound",  # a sound file beside a video of the same name
    "file",  # any other file below the source
]


@dataclass(frozen=True, slots=True)
class UnusedInput:
    """What a source names or holds and nothing uses: a row of unused.parquet."""

    kind: UnusedKind
    name: str  # of the file or the video
    text: str  # the whole message for people


@dataclass(frozen=True, slots=True)
class Probe:
    """What the container of a file declares, and what the timestamps of its packets show."""

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
    keyframe_times_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # empty: seeking is not exact
    plain: bool = False  # pictures are 4:2:0 of eight bits in limited range, and need no conversion
