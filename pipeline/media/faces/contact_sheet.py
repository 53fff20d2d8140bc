"""The contact sheet of a video: small pictures over its time, with the followed face marked, for people who audit."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.decode import Picture
from pipeline.media.faces.crop import encode_jpeg, shrink, to_bgr

MAX_PICTURES = 24
COLUMNS = 6
LONG_SIDE_PX = 192
CAPTION_PX = 18
QUALITY = 80
FONT_SCALE = 0.4
WHITE, GREY, GREEN, BLUE, RED = (255, 255, 255), (170, 170, 170), (0, 220, 0), (255, 160, 60), (60, 60, 255)  # BGR


class Thumbnails:
    """Takes up to 24 small pictures, evenly over the frames that are to be expected."""

    def __init__(self, num_frames: int) -> None:
        count = min(MAX_PICTURES, max(1, num_frames))
        self._wanted = {int((i + 0.5) * max(1, num_frames) / count) for i in range(count)}
        self.kept: dict[int, NDArray[np.uint8]] = {}

    def wants(self, frame: int) -> bool:
        """Whether `frame` belongs on the sheet."""
        return frame in self._wanted

    def add(self, frame: int, picture: Picture) -> None:
        """Keep `picture`, small and in colour, if it is one of those wanted."""
        if self.wants(frame):
            self.kept[frame] = to_bgr([_shrink(plane, picture.y.shape) for plane in (picture.y, picture.u, picture.v)])

    def keep(self, frame: int, picture: NDArray[np.uint8]) -> None:
        """Keep a BGR picture."""
        self.kept[frame] = _shrink(picture, picture.shape[:2])


def _shrink(plane: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """`plane` in the size that a picture of `shape` has on the sheet."""
    height, width = shape
    scale = LONG_SIDE_PX / max(height, width)
    return shrink(plane, max(1, round(width * scale)), max(1, round(height * scale)))


def contact_sheet(
    thumbnails: Thumbnails,
    frames: NDArray[np.void],
    picture_px: tuple[int, int],
    seen: NDArray[np.void] | None = None,
) -> bytes:
    """A JPEG file: the pictures in reading order, each with its time and original frame, and a box around each face.

    The followed face's box is green, anybody else's is blue; where nobody is followed there is a word in red.

    Args:
        thumbnails: their frames are indices into `frames`.
        frames: FRAME_DTYPE, boxes in pixels of the upright picture.
        picture_px: width and height of the upright picture.
        seen: rows with the fields frame (an index into `frames`) and box, of everybody who was seen.
    """
    kept_tiles = [(at, kept) for at, kept in thumbnails.kept.items() if at < len(frames)]
    tiles = [_tile(kept, frames[at], picture_px, _boxes_at(seen, at)) for at, kept in kept_tiles]
    if not tiles:
        return b""
    empty = np.zeros_like(tiles[0])
    tiles += [empty] * (-len(tiles) % min(COLUMNS, len(tiles)))
    columns = min(COLUMNS, len(tiles))
    rows = [np.hstack(tiles[first : first + columns]) for first in range(0, len(tiles), columns)]
    return encode_jpeg(np.vstack(rows), QUALITY)


def _boxes_at(seen: NDArray[np.void] | None, at: int) -> NDArray[np.float32]:
    """(n, 4) of everybody who was seen at one frame."""
    return np.empty((0, 4), np.float32) if seen is None else seen["box"][seen["frame"] == at]


def _tile(
    kept: NDArray[np.uint8], frame: np.void, picture_px: tuple[int, int], boxes: NDArray[np.float32]
) -> NDArray[np.uint8]:
    height, width = kept.shape[:2]
    tile = np.zeros((height + CAPTION_PX, width, 3), np.uint8)
    tile[:height] = kept
    followed = frame["box"][None] if np.isfinite(frame["box"]).all() else boxes[:0]
    for colour, some in ((BLUE, boxes), (GREEN, followed)):
        for x0, y0, x1, y1 in np.rint(some * np.array([width, height] * 2) / np.array(picture_px * 2)).astype(int):
            cv2.rectangle(tile[:height], (int(x0), int(y0)), (int(x1), int(y1)), colour, 1)
    nobody = "not them" if len(boxes) else "no face"
    note = "" if frame["face_ok"] else nobody if frame["video_ok"] else "not shown"
    _write(tile, clock_text(float(frame["time_s"])), 4, WHITE)
    _write(tile, note or f"#{frame['source_index']}", -4, RED if note else GREY)
    return tile


def _write(tile: NDArray[np.uint8], text: str, x: int, colour: tuple[int, int, int]) -> None:
    """`text` into the caption from `x` pixels on, or up to there from the right if that is negative."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, FONT_SCALE, 1)
    left = x if x >= 0 else tile.shape[1] + x - width
    cv2.putText(tile, text, (left, tile.shape[0] - 5), cv2.FONT_HERSHEY_SIMPLEX, FONT_SCALE, colour)


def clock_text(time_s: float) -> str:
    """For people, e.g. 1:02:03.4."""
    tenths = math.floor(time_s * 10 + 1e-6)
    minutes, hours = tenths // 600, tenths // 36000
    seconds = f"{tenths // 10 % 60:02d}.{tenths % 10}"
    return f"{hours}:{minutes % 60:02d}:{seconds}" if hours else f"{minutes}:{seconds}"
