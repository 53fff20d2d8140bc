"""Why a video cannot be used: an outcome with a reason from a fixed vocabulary that travels as an exception."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reason = Literal[
    "missing",  # source, labels: gone since the plan was made
    "changed",  # source, labels: other bytes than the plan was made for
    "unreadable",  # probe: no media container that is allowed, an incomplete one, a playlist or another kind of file
    "no_video",  # probe: no stream of moving pictures
    "too_long",  # probe: longer than is allowed
    "too_large",  # probe: larger pictures or more streams than are allowed
    "undecodable",  # decode: not one frame came out
    "timeout",  # probe, decode, audio: not done in the time that is allowed
    "no_face",  # faces: no face in any frame, or in too few
    "bad_labels",  # labels: the file is not what it should be
    "worker_crash",  # worker: the process that worked on it died, and died again
    "error",  # any: an unexpected error of this program or a library, quoted in the detail
]


class Rejection(Exception):  # noqa: N818 - it is an outcome that travels as an exception, not an error of the program
    """A video that cannot be used.

    Args:
        stage: of preprocessing, in which it happened.
        reason: from the fixed vocabulary.
        detail: for people.
        contact_sheet: of the pictures that were searched for faces, a JPEG file; empty where there is none.
        frames: FRAME_DTYPE (N,) of those pictures; None where the video was not decoded.
    """

    def __init__(
        self,
        stage: str,
        reason: Reason,
        detail: str,
        *,
        contact_sheet: bytes = b"",
        frames: NDArray[np.void] | None = None,
    ) -> None:
        super().__init__(f"{stage}: {reason}: {detail}")
        self.stage, self.detail = stage, detail
        self.reason: Reason = reason
        self.contact_sheet, self.frames = contact_sheet, frames

    def __reduce__(self) -> tuple[type[Rejection], tuple[str, Reason, str], dict[str, object]]:
        keywords: dict[str, object] = {"contact_sheet": self.contact_sheet, "frames": self.frames}
        return Rejection, (self.stage, self.reason, self.detail), keywords
