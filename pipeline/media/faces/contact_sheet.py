"""The contact sheet of a video: small pictures over its time with the faces marked, for an audit."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.faces.crop import encode_jpeg, shrink, to_bgr
from pipeline.media.picture_stream import Picture

MAX_PICTURES = 24
COLUMNS = 6
LONG_SIDE_PX = 192
CAPTION_PX = 18
CAPTION_MARGIN_PX = 4
QUALITY = 80
FONT_SCALE = 0.4
WHITE, GREY, GREEN, BLUE, RED = (255, 255, 255), (170, 170, 170), (0, 220, 0), (255, 160, 60), (60, 60, 255)  # BGR


class Thumbnails:
    """Keeps up to 24 small pictures, evenly over the expected number of frames."""

    def __init__(self, num_frames: int) -> None:
        count = min(MAX_PICTURES, max(1, num_frames))
        self._chosen_frames = {int((i + 0.5) * max(1, num_frames) / count) for i in range(count)}
        self.pictures: dict[int, NDArray[np.uint8]] = {}  # frame -> (h, w, 3) BGR

    def is_chosen(self, frame: int) -> bool:
        """Whether `frame` belongs on the sheet."""
        return frame in self._chosen_frames

    def add(self, frame: int, picture: Picture) -> None:
        """Keep `picture`, small and in colour, if its frame is one of the chosen ones."""
        if self.is_chosen(frame):
            planes = [_to_thumbnail(plane, picture.y.shape) for plane in (picture.y, picture.u, picture.v)]
            self.pictures[frame] = to_bgr(planes)

    def add_bgr(self, frame: int, picture: NDArray[np.uint8]) -> None:
        """Keep `picture`, (H, W, 3) BGR, small."""
        self.pictures[frame] = _to_thumbnail(picture, picture.shape[:2])


def _to_thumbnail(plane: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """`plane`, or a BGR picture, in the size that a picture of `shape` has on the sheet."""
    height, width = shape
    scale = LONG_SIDE_PX / max(height, width)
    return shrink(plane, max(1, round(width * scale)), max(1, round(height * scale)))


def contact_sheet(
    thumbnails: Thumbnails,
    frames: NDArray[np.void],
    picture_px: tuple[int, int],
    visible: NDArray[np.void] | None = None,
) -> bytes:
    """Draw the pictures in reading order, each with its time and original frame, and a box around each face.

    The followed face's box is green, every other one is blue; where the followed person is missing, red text says so.

    Args:
        thumbnails: their frames are indices into `frames`.
        frames: FRAME_DTYPE, boxes in pixels of the upright picture.
        picture_px: width and height of the upright picture.
        visible: rows with the fields frame (an index into `frames`) and box, of every visible face.

    Returns:
        A JPEG file; empty without pictures.
    """
    tiles = []
    for index, thumbnail in thumbnails.pictures.items():
        if index < len(frames):
            boxes = np.empty((0, 4), np.float32) if visible is None else visible["box"][visible["frame"] == index]
            tiles.append(_tile(thumbnail, frames[index], picture_px, boxes))
    if not tiles:
        return b""
    empty = np.zeros_like(tiles[0])
    tiles += [empty] * (-len(tiles) % min(COLUMNS, len(tiles)))
    columns = min(COLUMNS, len(tiles))
    rows = [np.hstack(tiles[first : first + columns]) for first in range(0, len(tiles), columns)]
    return encode_jpeg(np.vstack(rows), QUALITY)


def _tile(
    thumbnail: NDArray[np.uint8], frame: np.void, picture_px: tuple[int, int], boxes: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """A thumbnail with its caption below, and with the (n, 4) boxes of its visible faces."""
    height, width = thumbnail.shape[:2]
    tile = np.zeros((height + CAPTION_PX, width, 3), np.uint8)
    tile[:height] = thumbnail
    followed = frame["box"][None] if np.isfinite(frame["box"]).all() else boxes[:0]
    for colour, coloured in ((BLUE, boxes), (GREEN, followed)):
        scaled = np.rint(coloured * np.array([width, height] * 2) / np.array(picture_px * 2)).astype(int)
        for x0, y0, x1, y1 in scaled:
            cv2.rectangle(tile[:height], (int(x0), int(y0)), (int(x1), int(y1)), colour, 1)
    missing = _missing(frame, len(boxes))
    right = missing or f"#{frame['source_index']}"
    _write_caption(tile, clock_text(float(frame["time_s"])), right, RED if missing else GREY)
    return tile


def _missing(frame: np.void, num_faces: int) -> str:
    """Why the followed face is not there; "" where it is."""
    if frame["face_ok"]:
        return ""
    if not frame["video_ok"]:
        return "no picture"
    return "other person" if num_faces else "no face"


def _write_caption(tile: NDArray[np.uint8], time: str, right: str, colour: tuple[int, int, int]) -> None:
    """Write the time at the left of the caption and `right` at its right, smaller where they would overlap."""
    room_px = max(1, tile.shape[1] - 3 * CAPTION_MARGIN_PX)
    scale = FONT_SCALE * min(1.0, room_px / (_width_px(time, FONT_SCALE) + _width_px(right, FONT_SCALE)))
    right_x = tile.shape[1] - CAPTION_MARGIN_PX - _width_px(right, scale)
    for text, x, text_colour in ((time, CAPTION_MARGIN_PX, WHITE), (right, right_x, colour)):
        cv2.putText(tile, text, (x, tile.shape[0] - 5), cv2.FONT_HERSHEY_SIMPLEX, scale, text_colour)


def _width_px(text: str, scale: float) -> int:
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    return int(width)


def clock_text(time_s: float) -> str:
    """For people, e.g. 1:02:03.4."""
    tenths = math.floor(time_s * 10 + 1e-6)
    minutes, hours = tenths // 600, tenths // 36000
    seconds = f"{tenths // 10 % 60:02d}.{tenths % 10}"
    return f"{hours}:{minutes % 60:02d}:{seconds}" if hours else f"{minutes}:{seconds}"
