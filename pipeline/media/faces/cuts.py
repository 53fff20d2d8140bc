"""Scene cuts: where one picture and the next show different scenes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.picture_stream import Picture

THUMB_PX = 64  # long side of what is compared
MIN_CHANGE = 0.4  # of 0 (the same scene) to 1 (nothing in common); a face that fills the picture stays below 0.3
MIN_RISE = 2.5  # times the change one picture earlier: a whip pan changes every picture, a cut only one
MAX_CHANGE = 0.5  # between distant pictures of one scene: people have moved meanwhile
MIN_DIFFERENCE = 5.0  # mean grey levels; less than that is noise on an even picture, whose correlation means nothing


class CutFinder:
    """Compares each picture with the one before it, reduced to 64 px.

    The measure is one minus the correlation of the two reduced luma planes, which brightness and contrast do not
    change: a lamp that is switched on and a fade are no cuts, a moving face on a resting background hardly raises it.
    """

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._change_before = 0.0

    def is_cut(self, picture: Picture) -> bool:
        """Whether a new scene begins with `picture`; the first picture of all is no cut."""
        now, before = _reduce(picture.y), self._before
        self._before = now
        if before is None:
            return False
        change, change_before = difference(before, now), self._change_before
        self._change_before = change
        return change >= MIN_CHANGE and change >= MIN_RISE * change_before


def is_same_scene(first: Picture, second: Picture) -> bool:
    """Whether two pictures, however distant in time, show the same scene."""
    return difference(_reduce(first.y), _reduce(second.y)) < MAX_CHANGE


def difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """One minus the correlation of two reduced pictures of one size, 0 to 1."""
    if cv2.norm(first, second, cv2.NORM_L1) < MIN_DIFFERENCE * first.size:
        return 0.0
    correlation = cv2.matchTemplate(first, second, cv2.TM_CCOEFF_NORMED)  # of equal sizes: a single number
    return min(1.0, 1.0 - float(correlation[0, 0]))


def _reduce(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`plane` at 64 px: samples on a grid, not means, because reading the whole plane would cost more than the rest."""
    step = max(1, max(plane.shape) // THUMB_PX)
    samples = np.ascontiguousarray(plane[step // 2 :: step, step // 2 :: step])
    return cv2.GaussianBlur(samples, (5, 5), 1.0).astype(np.float32)
