"""The crops of every face of a video, kept on disk until the person to follow is chosen."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.faces.crop import cut_face, encode_jpeg
from pipeline.media.faces.track import TrackSegment
from pipeline.media.options import CropOptions
from pipeline.media.picture_stream import Picture

CROP_DTYPE = np.dtype(
    [
        ("track", "<i4"),  # its number
        ("frame", "<i4"),  # counted from the first picture
        ("box", "<f4", (4,)),  # x0, y0, x1, y1 in pixels of the decoded picture
        ("score", "<f4"),
        ("offset", "<i8"),  # of the JPEG in the store
        ("size", "<i4"),  # of the JPEG in bytes
    ]
)


class CropStore:
    """Crops of every track in one file, with a fixed-size row for each in another: memory stays flat.

    To be used in a `with` statement, at the end of which both files are deleted.
    """

    def __init__(self, directory: Path, options: CropOptions) -> None:
        self.options = options
        self.seconds_crop = self.seconds_encode = 0.0
        self._jpegs = (directory / "crops.store").open("w+b")
        self._rows = (directory / "crops.rows").open("w+b")

    def add(self, picture: Picture, segment: TrackSegment, index: int) -> None:
        """Cut box `index` of `segment` out of `picture` and keep it.

        Raises:
            ValueError: crops shall be aligned, but the detector does not find eyes.
        """
        options, box = self.options, segment.boxes[index]
        roll_rad = _roll_rad(segment, index) if options.align else 0.0
        started_s = time.perf_counter()
        crop = cut_face(picture, box, margin=options.margin, crop_px=options.crop_px, roll_rad=roll_rad)
        cut_s = time.perf_counter()
        jpeg = encode_jpeg(crop, options.jpeg_quality)
        self.seconds_crop += cut_s - started_s
        self.seconds_encode += time.perf_counter() - cut_s
        frame, offset = segment.first_frame + index, self._jpegs.tell()
        row = np.array((segment.track, frame, box, segment.scores[index], offset, len(jpeg)), CROP_DTYPE)
        self._jpegs.write(jpeg)
        self._rows.write(row.tobytes())

    def rows(self, num_frames: int) -> NDArray[np.void]:
        """CROP_DTYPE (n,) of frames below `num_frames`, in the order of the frames."""
        self._rows.seek(0)
        rows = np.frombuffer(self._rows.read(), CROP_DTYPE)
        rows = rows[rows["frame"] < num_frames]
        return rows[np.argsort(rows["frame"], kind="stable")]

    def copy(self, rows: NDArray[np.void], path: Path) -> None:
        """Write the JPEGs of `rows` behind one another into the file `path`."""
        with path.open("wb") as mjpeg:
            for row in rows:
                self._jpegs.seek(row["offset"])
                mjpeg.write(self._jpegs.read(row["size"]))

    def __enter__(self) -> CropStore:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in (self._jpegs, self._rows):
            file.close()
            Path(file.name).unlink()


def _roll_rad(segment: TrackSegment, index: int) -> float:
    roll_rad = float(segment.rolls_rad[index])
    if math.isnan(roll_rad):
        raise ValueError("crops cannot be aligned: the detector does not find eyes; set faces.detector to yunet")
    return roll_rad
