"""Why a video cannot be used: an outcome with a reason from a fixed vocabulary that travels as an exception."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reason = Literal[
    "missing",  # source: gone since the plan was made
    "changed",  # source: other bytes than the plan was made for
    "unreadable",  # probe: no media container that is allowed
    "no_video",  # probe: no stream of moving pictures
    "too_long",  # probe: longer than is allowed
    "too_large",  # probe: larger pictures or more streams than are allowed
    "undecodable",  # decode: not one frame came out
    "timeout",  # probe, decode, audio: not done in the time that is allowed
    "no_face",  # faces: nobody in any frame, or in too few
    "bad_labels",  # labels: the file is not what it should be
    "worker_crash",  # worker: whoever worked on it died, and died again
]


class Rejection(Exception):  # noqa: N818 - it is an outcome that travels as an exception, not an error of the program
    """A video that cannot be used, with the stage, a reason from a fixed vocabulary and a detail for people."""

    sheet = b""  # contact sheet of what was looked at, where there is one
    frames: NDArray[np.void] | None = None  # FRAME_DTYPE of what was looked at

    def __init__(self, stage: str, reason: Reason, detail: str) -> None:
        super().__init__(f"{stage}: {reason}: {detail}")
        self.stage, self.detail = stage, detail
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[Rejection], tuple[str, Reason, str]]:
        return Rejection, (self.stage, self.reason, self.detail)
