"""The frames of a clip: a head that moves before a background, in changing light, with the noise of a camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.appearance import Identity
from pipeline.synthetic.damage import FACE_KINDS, Corruption
from pipeline.synthetic.expression import Expression
from pipeline.synthetic.facial_features import draw_features
from pipeline.synthetic.head import HALF_WIDTH, TOP, UNIT_PX, Picture, draw_head
from pipeline.synthetic.trajectory import Floats, smooth_noise

FACE_TOP = -0.92  # of the drawn box, in half-widths of the head: mid-forehead, where detectors put it
HEAD_SHARE = 0.22  # half-width of the head in heights of the picture
SENSOR_NOISE = 2.0  # grey levels
APPROACH_S = 0.4  # how long the covering object takes to arrive and to leave
COVERED_SHARE = 0.15  # of the box, from which a face counts as covered

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """Size and rate of the frames; width and height must be even."""

    width_px: int
    height_px: int
    frame_rate_hz: float


@dataclass(frozen=True, slots=True)
class DrawnFrame:
    """One frame: its picture, where the face was drawn, and whether it is visible."""

    yuv: Picture  # (3 / 2 height, width) planes of yuv420p
    box: Box
    covered: bool  # by an object or by blur


@dataclass(frozen=True, slots=True)
class Pose:
    """Position, tilt and light of the head on one frame."""

    x: float  # of the head's centre, pixels
    y: float
    unit_px: float  # half-width of the head
    tilt_deg: float
    light: float  # 0 from the left to 1 from the right
    gain: float

    @property
    def matrix(self) -> Floats:
        """Affine map from the head's texture to the picture, (2, 3)."""
        turn = np.deg2rad(self.tilt_deg)
        scale = self.unit_px / UNIT_PX
        linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        centre = np.array([HALF_WIDTH, -TOP]) * UNIT_PX
        return np.column_stack([linear, np.array([self.x, self.y]) - linear @ centre])

    def box(self, person: Identity) -> Box:
        """Box of the face, upright, from mid-forehead to chin as detectors place it."""
        turn = np.deg2rad(self.tilt_deg)
        middle, half_height = (FACE_TOP + person.head_height) / 2, (person.head_height - FACE_TOP) / 2
        x = self.x - self.unit_px * middle * np.sin(turn)
        y = self.y + self.unit_px * middle * np.cos(turn)
        half, half_height = 0.97 * self.unit_px, half_height * self.unit_px
        return float(x - half), float(y - half_height), float(x + half), float(y + half_height)


def draw_frames(
    rng: np.random.Generator,
    person: Identity,
    faces: list[Expression],
    spans: tuple[Corruption, ...],
    video_format: VideoFormat,
) -> Iterator[DrawnFrame]:
    """Draw one frame per expression, with the face covered or blurred within its corrupted spans."""
    width_px, height_px = video_format.width_px, video_format.height_px
    left, right, opacity = draw_head(person, rng)
    backdrop = _draw_backdrop(rng, width_px, height_px)
    grain = np.rint(SENSOR_NOISE * rng.standard_normal((height_px + 64, width_px + 64))).astype(np.int16)
    shifts = rng.integers(64, size=(len(faces), 2))
    poses = _draw_poses(rng, len(faces), video_format)
    object_colour = tuple(int(c) for c in rng.integers(40, 200, size=3))
    for index, (face, pose) in enumerate(zip(faces, poses, strict=True)):
        head = cv2.addWeighted(left, 1 - pose.light, right, pose.light, 0)
        draw_features(head, person, face)
        picture = _compose(backdrop, head, opacity, person, pose)
        box = pose.box(person)
        covered = _corrupt_face(picture, pose, box, spans, index / video_format.frame_rate_hz, object_colour)
        picture = cv2.GaussianBlur(cv2.convertScaleAbs(picture, alpha=pose.gain), (3, 3), 0.6)
        yuv = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
        dy, dx = shifts[index]
        luma = yuv[:height_px]
        cv2.add(luma, grain[dy : dy + height_px, dx : dx + width_px], dst=luma, dtype=cv2.CV_8U)
        yield DrawnFrame(yuv, box, covered)


def _draw_poses(rng: np.random.Generator, num_frames: int, video_format: VideoFormat) -> list[Pose]:
    width_px, height_px, frame_rate_hz = video_format.width_px, video_format.height_px, video_format.frame_rate_hz

    def sway(amount: float, period_s: float) -> Floats:
        return np.clip(amount * smooth_noise(rng, num_frames, frame_rate_hz, period_s), -2.2 * amount, 2.2 * amount)

    unit_px = HEAD_SHARE * height_px * rng.uniform(0.92, 1.10)
    columns = (
        width_px * rng.uniform(0.42, 0.58) + sway(0.25 * unit_px, 3.0),
        height_px * rng.uniform(0.45, 0.49) + sway(0.12 * unit_px, 2.0),
        unit_px * (1.0 + sway(0.03, 3.0)),
        rng.uniform(-2, 2) + sway(3.0, 2.0),
        np.clip(rng.uniform(0.2, 0.8) + sway(0.15, 4.0), 0.0, 1.0),
        rng.uniform(0.88, 1.06) * (1.0 + sway(0.04, 3.0)),
    )
    return [Pose(*map(float, row)) for row in zip(*columns, strict=True)]


def _draw_backdrop(rng: np.random.Generator, width_px: int, height_px: int) -> Picture:
    """Draw a wall with a few objects out of focus."""
    top, bottom = rng.uniform(100, 190, size=(2, 1)) + rng.uniform(-25, 25, size=(2, 3))
    ramp = np.linspace(0, 1, height_px)[:, None, None]
    wall = np.broadcast_to(top * (1 - ramp) + bottom * ramp, (height_px, width_px, 3)).astype(np.uint8).copy()
    for _ in range(rng.integers(3, 7)):
        colour = tuple(int(c) for c in rng.integers(60, 190) + rng.integers(-30, 31, size=3))
        x, y = int(rng.integers(width_px)), int(rng.integers(height_px))
        w, h = (int(size) for size in rng.integers(height_px // 12, height_px // 3, size=2))
        cv2.rectangle(wall, (x, y), (x + w, y + h), colour, -1)
    return cv2.GaussianBlur(wall, (0, 0), height_px / 24)


def _compose(backdrop: Picture, head: Picture, opacity: NDArray[np.float32], person: Identity, pose: Pose) -> Picture:
    picture = backdrop.copy()
    for size, shade in ((1.0, 0.72), (0.95, 0.88), (0.84, 1.0)):  # rounded shoulders
        axes = round(2.15 * size * pose.unit_px), round(1.22 * size * pose.unit_px)
        centre = round(pose.x), round(pose.y + 2.75 * pose.unit_px)
        colour = tuple(int(c * shade) for c in person.cloth)
        cv2.ellipse(picture, centre, axes, 0, 180, 360, colour, -1, cv2.LINE_AA)
        cv2.rectangle(picture, (centre[0] - axes[0], centre[1]), (centre[0] + axes[0], picture.shape[0]), colour, -1)
    size_px = picture.shape[1], picture.shape[0]
    above = cv2.warpAffine(head, pose.matrix, size_px, flags=cv2.INTER_LINEAR)
    weight = cv2.warpAffine(opacity, pose.matrix, size_px, flags=cv2.INTER_LINEAR)
    return cv2.blendLinear(above, picture, weight, 1 - weight)


def _corrupt_face(
    picture: Picture, pose: Pose, box: Box, spans: tuple[Corruption, ...], time_s: float, colour: tuple[int, ...]
) -> bool:
    """Cover or blur the face in place if `time_s` lies in such a span; True where the face is not visible."""
    covered = False
    for span in spans:
        if span.kind in FACE_KINDS and span.start_s <= time_s < span.end_s:
            if span.kind == "face_blurred":
                _blur(picture, pose, box)
                covered = True
            else:
                to_edge_s = min(time_s - span.start_s, span.end_s - time_s)
                covered |= _cover(picture, pose, box, to_edge_s, colour)
    return covered


def _blur(picture: Picture, pose: Pose, box: Box) -> None:
    reach = 0.5 * pose.unit_px
    x0, y0, x1, y1 = (max(0, round(v)) for v in (box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach))
    picture[y0:y1, x0:x1] = cv2.GaussianBlur(picture[y0:y1, x0:x1], (0, 0), 0.45 * pose.unit_px)


def _cover(picture: Picture, pose: Pose, box: Box, to_edge_s: float, colour: tuple[int, ...]) -> bool:
    """Draw a sheet that rises from below the picture, stays before the face and sinks again.

    Args:
        picture: changed in place.
        pose: of the head.
        box: of the face.
        to_edge_s: from the start of the span or to its end, whichever is nearer.
        colour: of the sheet.

    Returns:
        whether the sheet covers so much of the face that it counts as covered.
    """
    risen = np.clip(to_edge_s / APPROACH_S, 0, 1)
    risen = risen * risen * (3 - 2 * risen)
    half_width, half_height = 1.35 * pose.unit_px, 1.25 * pose.unit_px
    rest, below = (box[1] + box[3]) / 2, picture.shape[0] + half_height
    y = below + (rest - below) * risen
    (x0, y0), (x1, y1) = (
        (round(pose.x + sx * half_width), round(y + sy * half_height)) for sx, sy in ((-1, -1), (1, 1))
    )
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, -1)
    for line in range(y0 + 8, y1 - 4, 9):
        cv2.line(picture, (x0 + 8, line), (x1 - 8, line), tuple(int(0.75 * c) for c in colour), 1)
    return bool((box[3] - max(box[1], y0)) / (box[3] - box[1]) > COVERED_SHARE)
