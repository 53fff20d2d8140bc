"""Scene cuts: where one picture and the next show different scenes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.picture_stream import Picture

MIN_LONG_SIDE_PX = 64  # of what is compared, whose long side is 64 to 127 px
CUT_DISSIMILARITY = 0.4  # 1 - NCC of 0 (equal) to 1 (uncorrelated); a face that fills the picture stays below 0.3
CUT_RATIO_TO_PREVIOUS = 2.5  # to the dissimilarity one picture earlier: a whip pan changes every picture, a cut one
SAME_SCENE_DISSIMILARITY = 0.5  # below it distant pictures show one scene: people have moved meanwhile
MIN_DIFFERENCE = 5.0  # mean grey levels; less than that is noise on an even picture, whose correlation means nothing


class CutFinder:
    """Compares each picture with the one before it, both reduced.

    The measure is 1 - NCC, one minus the normalised cross-correlation of the two reduced luma planes, which brightness
    and contrast do not change: a lamp that is switched on and a fade are no cuts, a moving face on a resting background
    hardly raises it.
    """

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._previous_dissimilarity = 0.0

    def is_cut(self, picture: Picture) -> bool:
        """Whether a new scene begins with `picture`; the first picture of all is no cut."""
        now, before = _reduce(picture.y), self._before
        self._before = now
        if before is None:
            return False
        current, previous = dissimilarity(before, now), self._previous_dissimilarity
        self._previous_dissimilarity = current
        return current >= CUT_DISSIMILARITY and current >= CUT_RATIO_TO_PREVIOUS * previous


def is_same_scene(first: Picture, second: Picture) -> bool:
    """Whether two pictures, however distant in time, show the same scene, by their 1 - NCC."""
    return dissimilarity(_reduce(first.y), _reduce(second.y)) < SAME_SCENE_DISSIMILARITY


def dissimilarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """1 - NCC (normalised cross-correlation) of two reduced pictures of one size, 0 to 1."""
    if cv2.norm(first, second, cv2.NORM_L1) < MIN_DIFFERENCE * first.size:
        return 0.0
    correlation = cv2.matchTemplate(first, second, cv2.TM_CCOEFF_NORMED)  # of equal sizes: a single number
    return min(1.0, 1.0 - float(correlation[0, 0]))


def _reduce(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`plane` at a long side of 64 to 127 px, sampled on a grid: means would have to read the whole plane."""
    step = max(1, max(plane.shape) // MIN_LONG_SIDE_PX)
    samples = np.ascontiguousarray(plane[step // 2 :: step, step // 2 :: step])
    return cv2.GaussianBlur(samples, (5, 5), 1.0).astype(np.float32)
