"""What an audit of one stream needs: where something is missing, and which faces are visible."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of frames of a stream's clock, [start_s, stop_s), in which something is missing."""

    missing: str  # picture, sound, face (of the followed person, in a picture that is shown), or all: the span was lost
    start_s: float
    stop_s: float
    first_frame: int  # original frames that are shown meanwhile, the last one included; -1 where there are none
    last_frame: int


@dataclass(frozen=True, slots=True)
class VisibleFace:
    """One person's face in one span of a video, followed or not."""

    start_s: float
    stop_s: float
    num_frames: int  # of the clock, with a box of this face
    num_followed: int  # of those, where this face is the followed one
    score: float  # of the detector, mean
    x0: float  # mean box, in pixels of the upright picture
    y0: float
    x1: float
    y1: float
    reason: str  # "followed", or why this face was not
