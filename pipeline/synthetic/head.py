"""The still parts of a head as shaded textures: skin, ears, nose, hair and neck, lit from either side."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.appearance import Identity

UNIT_PX = 72  # texture pixels per half-width of the head
HALF_WIDTH, TOP, BOTTOM = 1.5, -1.75, 2.05  # extent of the texture in half-widths; the head's centre is 0, 0
FEATHER = 1.0 / UNIT_PX

Plane = NDArray[np.floating[Any]]  # (height, width)
Picture = NDArray[np.uint8]  # (height, width, 3) BGR


def grid() -> tuple[Plane, Plane]:
    """x and y of every texture pixel, in half-widths of the head."""
    xs = np.arange(-HALF_WIDTH, HALF_WIDTH, 1 / UNIT_PX, dtype=np.float32)
    ys = np.arange(TOP, BOTTOM, 1 / UNIT_PX, dtype=np.float32)
    return np.meshgrid(xs, ys)


def draw_head(person: Identity, rng: np.random.Generator) -> tuple[Picture, Picture, Plane]:
    """Draw a head without eyes, brows and mouth.

    Returns:
        the picture lit from the left, the same lit from the right, and its opacity (0 to 1).
    """
    x, y = grid()
    seeds: Any = rng.bit_generator.seed_seq  # the same strands in both lights
    lit = [_paint(person, x, y, np.random.default_rng(seeds), side) for side in (-1.0, 1.0)]
    (left, opacity), (right, _) = lit
    return left, right, opacity


def _paint(person: Identity, x: Plane, y: Plane, rng: np.random.Generator, side: float) -> tuple[Picture, Plane]:
    skin = np.array(person.skin, np.float32)
    radius = _head_radius(person, x, y)
    strands = _strands(x, y, rng)
    hair = np.array(person.hair, np.float32) * (0.8 + 0.5 * strands + 0.2 * np.exp(-((y + 1.2) ** 2) / 0.05))[..., None]
    canvas = np.broadcast_to(hair, (*x.shape, 3)).copy()

    neck = _edge(
        (np.abs(x) / (0.52 + 0.10 * np.clip(y - 1.4, 0, 1))) ** 2 + (np.clip(y - 1.2, 0, None) / 0.80) ** 4 - 1
    )
    neck *= y > 0.2
    ears = _edge(((np.abs(x) - 1.0) / 0.16) ** 2 + ((y - 0.08) / 0.27) ** 2 - 1)
    face = _edge(radius - 1)
    behind = _back_hair(person, x, y)

    under_chin = 0.50 + 0.30 * np.clip((y - 1.25) / 0.6, 0, 1)
    canvas = _over(canvas, skin * under_chin[..., None], neck)
    if person.long_hair:  # it falls in front of the neck's sides
        canvas = _over(canvas, hair * 0.8, behind * _edge(0.50 - np.abs(x)))
    canvas = _over(canvas, skin * (0.66 + 0.1 * np.abs(x))[..., None], ears * (0.0 if person.long_hair else 1.0))
    canvas = _over(canvas, _skin(person, skin, x, y, radius, side), face)
    fringe = np.maximum(face, behind) * _front_hair(person, x, y)
    canvas = _over(canvas, hair * (1.0 - 0.10 * side * np.sign(x) * np.abs(x))[..., None], fringe)

    opacity = np.maximum.reduce([neck, ears * (0.0 if person.long_hair else 1.0), face, behind])
    return np.clip(canvas, 0, 255).astype(np.uint8), opacity.astype(np.float32)


def _skin(person: Identity, skin: NDArray[np.floating[Any]], x: Plane, y: Plane, radius: Plane, side: float) -> Plane:
    """Skin with the light of a rounded head, sockets, nose, cheeks and shadows."""
    depth = np.sqrt(np.clip(1.08 - radius, 0.05, None))
    light = 0.62 + 0.34 * depth + 0.16 * side * x - 0.06 * y
    tip = person.nose_length
    width = person.nose_width
    for eye in (-person.eye_spread, person.eye_spread):
        light -= 0.22 * _blob(x - eye, y + 0.16, 0.27, 0.15)  # the socket
        light += 0.05 * _blob(x - eye * 1.12, y - 0.30, 0.22, 0.16)  # the cheekbone
        light -= 0.26 * _blob(x - np.sign(eye) * width * 0.55, y - tip - 0.02, 0.045, 0.03)  # the nostril
        light -= 0.10 * _blob(x - np.sign(eye) * width * 1.1, y - tip + 0.04, 0.05, 0.08)  # its wing
    light += 0.13 * _blob(x, y - 0.1, 0.07, 0.24) + 0.08 * _blob(x, y - tip + 0.06, 0.09, 0.07)  # ridge and tip
    light -= 0.10 * _blob(x + side * 0.12, y - 0.14, 0.06, 0.24)  # the shaded side of the nose
    light -= 0.12 * _blob(x, y - tip - 0.07, 0.16, 0.04) + 0.10 * _blob(x, y - 0.99, 0.20, 0.05)  # under nose and lip
    light += 0.05 * _blob(x, y - 1.12, 0.18, 0.10) + 0.05 * _blob(x, y + 0.62, 0.45, 0.18)  # chin and forehead
    light -= 0.12 * person.stubble * np.clip((y - 0.45) / 0.3, 0, 1) * np.clip((radius - 0.12) * 2.2, 0, 1)
    painted = skin * light[..., None]
    blush = _blob(x + 0.58, y - 0.36, 0.22, 0.18) + _blob(x - 0.58, y - 0.36, 0.22, 0.18)
    painted[..., :2] *= (1 - 0.07 * blush)[..., None]
    return painted


def _head_radius(person: Identity, x: Plane, y: Plane) -> Plane:
    """Squared distance from the centre, 1 on the outline: an ellipse that narrows towards the jaw."""
    down = np.clip(y / person.head_height, 0, 1)
    half = 1.0 - person.jaw * down**1.6
    return (x / half) ** 2 + (y / np.where(y > 0, person.head_height, 1.36)) ** 2


def _front_hair(person: Identity, x: Plane, y: Plane) -> Plane:
    """Opacity of the hair on the forehead: an arch whose height changes at the parting."""
    from_parting = x - person.parting
    line = person.hairline + 0.62 * np.abs(x) ** 3 + 0.10 * np.abs(from_parting) - 0.05 * np.sin(9 * from_parting)
    if person.long_hair:
        line = line + 1.6 * np.clip(np.abs(x) - 0.80, 0, None) * 3
    return _below(line - y, 0.018)


def _back_hair(person: Identity, x: Plane, y: Plane) -> Plane:
    """Opacity of the hair around the head."""
    width = 1.16 if person.long_hair else 1.09
    crown = (x / width) ** 2 + ((y + 0.12) / 1.38) ** 2 - 1
    if not person.long_hair:
        return _edge(crown) * _below(-0.10 - y, 0.05)
    curtain = (np.abs(x) / (1.16 + 0.10 * np.clip(y, 0, 1))) ** 4 + (np.clip(y, 0, None) / 1.62) ** 6 - 1
    return np.maximum(_edge(crown), _edge(curtain) * (y > -0.12))


def _strands(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Streaks that run outwards from the crown, about -0.5 to 0.5."""
    angle = np.arctan2(x, y + 2.2)
    table = cv2.GaussianBlur(rng.standard_normal((1, 512)).astype(np.float32), (0, 0), 1.2)
    position = (angle / np.pi + 1) * 256
    return cv2.remap(
        table, position.astype(np.float32), np.zeros_like(position), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )


def _blob(x: Plane, y: Plane, width: float, height: float) -> Plane:
    return np.exp(-0.5 * ((x / width) ** 2 + (y / height) ** 2))


def _below(height: Plane, softness: float) -> Plane:
    """1 where `height` is positive, 0 where negative, with a soft edge."""
    return 0.5 + 0.5 * np.tanh(height / (2 * softness))


def _edge(outside: Plane) -> Plane:
    """1 where `outside` is negative, 0 where positive, with an edge of about a pixel."""
    return np.clip(0.5 - outside / (3 * FEATHER), 0, 1)


def _over(below: Plane, above: Plane, opacity: Plane) -> Plane:
    return below + (above - below) * opacity[..., None]
