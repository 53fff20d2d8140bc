"""Cutting a face out of a picture's planes: a square with a margin, reduced, and only then converted to colour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.picture_stream import Picture

# Limited-range YCbCr of ITU-R BT.601 to BGR, as rows over (y, u, v, 1).
_Y, _RV, _GU, _GV, _BU = 255 / 219, 1.402 * 255 / 224, 0.344136 * 255 / 224, 0.714136 * 255 / 224, 1.772 * 255 / 224
_TO_BGR = np.array(
    [
        [_Y, _BU, 0.0, -16 * _Y - 128 * _BU],
        [_Y, -_GU, -_GV, -16 * _Y + 128 * (_GU + _GV)],
        [_Y, 0.0, _RV, -16 * _Y - 128 * _RV],
    ]
)


def cut_face(
    picture: Picture, box: NDArray[np.float32], *, margin: float, crop_px: int, roll_rad: float = 0.0
) -> NDArray[np.uint8]:
    """Cut out the square around a face, `1 + 2 * margin` times as large as the longer side of its box.

    What lies outside the picture repeats its border. Positions are sub-pixel, so a slow face does not jitter.

    Args:
        picture: its planes.
        box: (4,) x0, y0, x1, y1 in pixels of the picture.
        margin: of the box's longer side, added on each side.
        crop_px: side of the crop.
        roll_rad: by which the square is turned clockwise, so that a line of that slope is level in the crop.

    Returns:
        (crop_px, crop_px, 3) BGR.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    x, y, side = (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0, 2.0) * (1 + 2 * margin)
    planes = [_sample(picture.y, x, y, side, crop_px, roll_rad)]
    planes += [_sample(plane, x / 2, y / 2, side / 2, crop_px, roll_rad) for plane in (picture.u, picture.v)]
    return to_bgr(planes)


def to_bgr(planes: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Planes y, u and v of one size (H, W) as (H, W, 3) BGR."""
    return np.asarray(cv2.transform(cv2.merge(planes), _TO_BGR), np.uint8)


def encode_jpeg(crop: NDArray[np.uint8], quality: int) -> bytes:
    """`crop`, BGR, as a JPEG file."""
    _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def shrink(picture: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """A plane or a BGR picture in a smaller size: halved while it is at least twice too large, then linear.

    That is as good as averaging areas, and several times as fast.
    """
    while picture.shape[0] >= 2 * height_px and picture.shape[1] >= 2 * width_px:
        picture = _halve(picture)
    if picture.shape[:2] == (height_px, width_px):
        return picture
    return np.asarray(cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_LINEAR), np.uint8)


def _halve(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
    return np.asarray(cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def _sample(
    plane: NDArray[np.uint8], x: float, y: float, side: float, crop_px: int, roll_rad: float
) -> NDArray[np.uint8]:
    """The square of `plane` around `x`, `y`: halved while it is at least twice too large, then linear."""
    cos, sin = math.cos(roll_rad), math.sin(roll_rad)
    half_extent = side * (abs(cos) + abs(sin)) / 2  # of the upright square around the turned one
    rows = _covered_pixels(y - half_extent, 2 * half_extent, plane.shape[0])
    columns = _covered_pixels(x - half_extent, 2 * half_extent, plane.shape[1])
    part = plane[rows, columns]
    x, y = x - columns.start, y - rows.start
    while side >= 2 * crop_px and min(part.shape) >= 2:
        part = _halve(part)
        x, y, side = x / 2, y / 2, side / 2
    scale_cos, scale_sin, centre = side / crop_px * cos, side / crop_px * sin, (crop_px - 1) / 2  # pixel centres
    to_part = np.array(
        [
            [scale_cos, -scale_sin, x - 0.5 - (scale_cos - scale_sin) * centre],
            [scale_sin, scale_cos, y - 0.5 - (scale_sin + scale_cos) * centre],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(part, to_part, (crop_px, crop_px), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8)


def _covered_pixels(start: float, length: float, limit: int) -> slice:
    """The pixels that an interval covers, and one more on each side, within a plane; never empty."""
    first = min(max(0, int(np.floor(start)) - 1), limit - 1)
    return slice(first, min(max(first + 1, int(np.ceil(start + length)) + 1), limit))
