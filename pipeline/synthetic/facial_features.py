"""The moving parts of a face, drawn onto the head's texture: eyes, brows and mouth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.appearance import Colour, Identity
from pipeline.synthetic.expression import Expression
from pipeline.synthetic.head import HALF_WIDTH, TOP, UNIT_PX, Picture

SHIFT = 4  # fractional bits of the coordinates given to OpenCV
EYE_Y, BROW_Y, MOUTH_Y = -0.14, -0.44, 0.78  # in half-widths of the head
CAVITY: Colour = (30, 20, 62)
TEETH: Colour = (218, 230, 234)
TONGUE: Colour = (88, 82, 178)
SCLERA: Colour = (222, 228, 230)
_ACROSS = np.linspace(-1.0, 1.0, 17)
_ARCH = 1.0 - _ACROSS**2

Curve = NDArray[np.float64]  # (points, 2) x, y in half-widths of the head


def draw_features(canvas: Picture, person: Identity, face: Expression) -> None:
    """Draw eyes, brows and mouth of one expression onto `canvas`, a copy of the head's texture, in place."""
    for side in (-1.0, 1.0):
        _draw_eye(canvas, person, face, side)
        _draw_brow(canvas, person, face, side)
    _draw_mouth(canvas, person, face)


def _draw_eye(canvas: Picture, person: Identity, face: Expression, side: float) -> None:
    half, centre = 0.235 * person.eye_size, np.array([side * person.eye_spread, EYE_Y])
    droop = 0.02 * side * _ACROSS  # the outer corner lies a little higher
    upper = centre + np.stack([half * _ACROSS, -droop - (0.20 * face.lids * person.eye_size - 0.02) * _ARCH], axis=1)
    lower = centre + np.stack([half * _ACROSS, -droop + (0.035 + 0.045 * face.lids) * _ARCH], axis=1)
    (x0, y0), (x1, y1) = _pixels(centre - 0.30) >> SHIFT, _pixels(centre + np.array([0.30, 0.20])) >> SHIFT
    window = canvas[y0:y1, x0:x1]
    open_eye = window.copy()
    ball = centre + np.array([0.07 * face.gaze, -0.035])
    origin = np.array([x0, y0])
    open_eye[:] = SCLERA
    _disc(open_eye, ball, 0.118 * person.eye_size, person.iris, origin)
    _disc(open_eye, ball, 0.055 * person.eye_size, (14, 12, 12), origin)
    _disc(open_eye, ball + np.array([0.035, -0.045]), 0.024, (250, 250, 250), origin)
    hole = np.zeros(window.shape[:2], np.uint8)
    _fill(hole, np.concatenate([upper, lower[::-1]]), 255, origin)
    hole = hole[..., None].astype(np.uint16)
    window[:] = ((open_eye * hole + window * (255 - hole)) // 255).astype(np.uint8)
    _line(canvas, lower, _scaled(person.skin, 0.55), 1)
    _line(canvas, upper - (0, 0.075 * face.lids + 0.02), _scaled(person.skin, 0.60), 1)  # the crease of the lid
    _line(canvas, upper, _scaled(person.hair, 0.45), 3)


def _draw_brow(canvas: Picture, person: Identity, face: Expression, side: float) -> None:
    along = (_ACROSS + 1) / 2  # 0 at the inner end to 1 at the outer end
    x = side * (person.eye_spread - 0.26 + 0.56 * along)
    slant = 0.13 * face.brow_slant * (0.5 - along)  # up is negative
    y = BROW_Y - 0.11 * face.brow_height - slant - 0.05 * np.sin(np.pi * along**1.3)
    thickness = person.brow_thickness * (1.0 - 0.65 * along**2)
    top, bottom = np.stack([x, y - thickness], axis=1), np.stack([x, y + thickness], axis=1)
    _fill(canvas, np.concatenate([top, bottom[::-1]]), _scaled(person.hair, 0.62))


def _draw_mouth(canvas: Picture, person: Identity, face: Expression) -> None:
    half = person.mouth_width * (1.0 + 0.16 * face.smile - 0.10 * face.opening)
    x = half * _ACROSS
    bend = MOUTH_Y - 0.15 * face.smile * (_ACROSS**2 - 0.45)
    gap = 0.34 * face.opening * _ARCH**0.8
    upper, lower = bend - 0.25 * gap, bend + 0.75 * gap
    bow = 0.085 * person.lip_fullness * _ARCH**0.7 * (1.0 - 0.25 * np.exp(-((_ACROSS / 0.16) ** 2)))
    full = 0.105 * person.lip_fullness * _ARCH**0.7
    blue, green, red_part = (int(0.82 * c * m) for c, m in zip(person.skin, (0.80, 0.70, 0.98), strict=True))
    red = (blue, green, red_part)
    for corner in (0, -1):  # a dimple that shows where the corner is
        _disc(canvas, np.array([x[corner] * 1.05, bend[corner]]), 0.030, _scaled(person.skin, 0.58))
    _fill(canvas, _between(x, upper - bow, upper + 0.01), _scaled(red, 0.88))
    _fill(canvas, _between(x, lower - 0.01, lower + full), red)
    _fill(canvas, _between(x * 0.5, (lower + full * 0.35), (lower + full * 0.55)), _scaled(red, 1.22))
    if face.opening > 0.03:
        _fill(canvas, _between(x * 0.95, upper, lower), CAVITY)
        _fill(canvas, _between(x * 0.62, lower - np.minimum(0.30 * gap, 0.07), lower), TONGUE)
        _fill(canvas, _between(x * 0.82, upper, upper + np.minimum(0.42 * gap, 0.075)), TEETH)
    else:
        _line(canvas, np.stack([x, bend], axis=1), _scaled(red, 0.45), 2)


def _between(x: Curve, top: Curve, bottom: Curve) -> Curve:
    return np.concatenate([np.stack([x, top], axis=1), np.stack([x, bottom], axis=1)[::-1]])


def _pixels(points: Curve) -> NDArray[np.int32]:
    """Texture pixels of points given in half-widths of the head, with SHIFT fractional bits."""
    return np.rint((points - (-HALF_WIDTH, TOP)) * (UNIT_PX * (1 << SHIFT))).astype(np.int32)


def _fill(canvas: NDArray[np.uint8], outline: Curve, colour: Colour | int, origin: Curve | int = 0) -> None:
    cv2.fillPoly(canvas, [_pixels(outline) - np.int32(origin) * (1 << SHIFT)], colour, cv2.LINE_AA, SHIFT)


def _line(canvas: Picture, curve: Curve, colour: Colour, thickness: int) -> None:
    cv2.polylines(canvas, [_pixels(curve)], False, colour, thickness, cv2.LINE_AA, SHIFT)


def _disc(canvas: Picture, centre: Curve, radius: float, colour: Colour, origin: Curve | int = 0) -> None:
    x, y = _pixels(centre) - np.int32(origin) * (1 << SHIFT)
    cv2.circle(canvas, (int(x), int(y)), round(radius * UNIT_PX * (1 << SHIFT)), colour, -1, cv2.LINE_AA, SHIFT)


def _scaled(colour: Colour, factor: float) -> Colour:
    return tuple(min(255, int(c * factor)) for c in colour)  # type: ignore[return-value]
