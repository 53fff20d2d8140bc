"""Finding faces in one picture: the Haar cascade that OpenCV ships, or the YuNet network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.faces.crop import shrink
from pipeline.media.picture_stream import Picture

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the picture
DEFAULT_LONG_SIDE_PX = {"haar": 480, "yunet": 320}
HAAR_MIN_SHARE = 1 / 8  # of the picture's shorter side: the cascade's time goes into the smallest faces


@dataclass(frozen=True, slots=True)
class Detection:
    """One face: its box in pixels of the picture, and how sure the detector is, in (0, 1]."""

    box: Box
    score: float
    roll_rad: float = math.nan  # of the line between the eyes, clockwise from level; NaN where the eyes are not known


class Detector(Protocol):
    """Finds faces in pictures. It is called from one thread, and may keep state that does not change its results."""

    def detect(self, picture: Picture) -> list[Detection]:
        """All faces of `picture` whose score is high enough.

        Returns:
            One detection for each face, the largest first, boxes in pixels of `picture`.
        """
        ...


def make_detector(name: str, *, model_path: Path | None, long_side_px: int, min_score: float) -> Detector:
    """Make the detector called `name`.

    Args:
        name: "haar" or "yunet".
        model_path: of YuNet's ONNX file; haar needs none.
        long_side_px: of the picture that the detector sees; 0: its default.
        min_score: detections below it are dropped.

    Raises:
        ValueError: another name, or yunet without a model file that OpenCV can read.
    """
    if name not in DEFAULT_LONG_SIDE_PX:
        allowed = ", ".join(DEFAULT_LONG_SIDE_PX)
        raise ValueError(f"detector {name!r} does not exist; allowed: {allowed} (those in DEFAULT_LONG_SIDE_PX)")
    long_side_px = long_side_px or DEFAULT_LONG_SIDE_PX[name]
    if name == "haar":
        return HaarDetector(long_side_px=long_side_px, min_score=min_score)
    if name == "yunet":
        if model_path is None:
            raise ValueError("detector yunet needs the path of its ONNX file, got none")
        return YuNetDetector(model_path, long_side_px=long_side_px, min_score=min_score)
    raise ValueError(f"detector {name!r} is in DEFAULT_LONG_SIDE_PX, but make_detector does not know how to make it")


class HaarDetector:
    """The cascade haarcascade_frontalface_alt2 on the equalised luma plane.

    A cascade has no probabilities. n overlapping hits score n / (n + 3), 0.625 for 5: a true face has 10 to 40,
    anything else rarely more than 4.
    """

    def __init__(self, *, long_side_px: int, min_score: float) -> None:
        self.long_side_px = long_side_px
        self.min_score = min_score
        folder: str = cv2.data.haarcascades  # type: ignore[attr-defined]  # OpenCV's stubs lack it
        self._cascade = cv2.CascadeClassifier(folder + "haarcascade_frontalface_alt2.xml")

    def detect(self, picture: Picture) -> list[Detection]:
        """See Detector."""
        grey, scale = _limit_long_side(picture.y, self.long_side_px)
        smallest = max(20, round(min(grey.shape) * HAAR_MIN_SHARE))
        boxes, num_hits = self._cascade.detectMultiScale2(
            cv2.equalizeHist(grey), scaleFactor=1.15, minNeighbors=1, minSize=(smallest, smallest)
        )
        detections = (
            Detection((x / scale, y / scale, (x + w) / scale, (y + h) / scale), float(n / (n + 3)))
            for (x, y, w, h), n in zip(boxes, num_hits, strict=True)
        )
        return _largest_first(detections, self.min_score)


class YuNetDetector:
    """YuNet (Wu, Peng and Yu 2023) through cv2.FaceDetectorYN, on a reduced BGR picture."""

    def __init__(self, model_path: Path, *, long_side_px: int, min_score: float) -> None:
        self.long_side_px = long_side_px
        self.min_score = min_score
        try:
            self._network = cv2.FaceDetectorYN.create(str(model_path), "", (320, 320), min_score)
        except cv2.error as error:
            raise ValueError(f"{model_path} is no YuNet model that OpenCV can read: {error.err}") from error

    def detect(self, picture: Picture) -> list[Detection]:
        """See Detector."""
        grey, scale = _limit_long_side(picture.y, self.long_side_px)
        size = grey.shape[1], grey.shape[0]
        chroma = [shrink(plane, *size) for plane in (picture.u, picture.v)]
        self._network.setInputSize(size)
        _, rows = self._network.detect(cv2.cvtColor(cv2.merge([grey, chroma[1], chroma[0]]), cv2.COLOR_YCrCb2BGR))
        detections = (_yunet_face(row.astype(float), scale) for row in (rows if rows is not None else ()))
        return _largest_first(detections, self.min_score)


def _yunet_face(row: NDArray[np.float64], scale: float) -> Detection:
    """A row of YuNet's: x, y, width, height, five points (first the left eye of the picture, then the right), score."""
    x, y, width, height, left_x, left_y, right_x, right_y = (float(value) for value in row[:8])
    box = x / scale, y / scale, (x + width) / scale, (y + height) / scale
    return Detection(box, min(1.0, float(row[14])), math.atan2(right_y - left_y, right_x - left_x))


def _limit_long_side(plane: NDArray[np.uint8], long_side_px: int) -> tuple[NDArray[np.uint8], float]:
    """`plane` reduced to a long side of at most `long_side_px`, and the scale, at most 1."""
    height, width = plane.shape
    scale = min(1.0, long_side_px / max(height, width))
    return shrink(plane, max(1, round(width * scale)), max(1, round(height * scale))), scale


def _largest_first(detections: Iterable[Detection], min_score: float) -> list[Detection]:
    """Those with a score of at least `min_score`."""
    return sorted((d for d in detections if d.score >= min_score), key=lambda d: (-area(d.box), d.box))


def area(box: Box) -> float:
    """Area of `box` in square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])
