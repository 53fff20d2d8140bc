"""Following every face through the pictures of one scene after another, and keeping the crops on disk."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.decode import Picture
from pipeline.media.faces.crop import cut_face, encode_jpeg
from pipeline.media.faces.cuts import CutFinder
from pipeline.media.faces.detect import Detection, Detector
from pipeline.media.faces.track import Tracker, TrackSegment

CROP_DTYPE = np.dtype(
    [("track", "<i4"), ("frame", "<i4"), ("box", "<f4", (4,)), ("score", "<f4"), ("offset", "<i8"), ("size", "<i4")]
)


@dataclass(frozen=True, slots=True)
class CropStyle:
    """How crops are cut and kept."""

    crop_px: int
    margin: float
    jpeg_quality: int
    align: bool = False  # turned so that the eyes are level


class CropStore:
    """Crops of every track in one file, with a fixed-size row for each in another: memory stays flat."""

    def __init__(self, directory: Path, style: CropStyle) -> None:
        self.style = style
        self.seconds_crop = self.seconds_encode = 0.0
        self._jpegs = (directory / "crops.store").open("w+b")
        self._rows = (directory / "crops.rows").open("w+b")

    def add(self, picture: Picture, frame: int, known: TrackSegment, index: int) -> None:
        """Cut box `index` of `known` out of `picture`, which is shown at `frame`, and keep it."""
        style, box = self.style, known.boxes[index]
        roll_rad = self._roll_rad(known, index) if style.align else 0.0
        started_s = time.perf_counter()
        crop = cut_face(picture, box, margin=style.margin, crop_px=style.crop_px, roll_rad=roll_rad)
        cut_s = time.perf_counter()
        jpeg = encode_jpeg(crop, style.jpeg_quality)
        self.seconds_crop += cut_s - started_s
        self.seconds_encode += time.perf_counter() - cut_s
        row = np.array((known.track, frame, box, known.scores[index], self._jpegs.tell(), len(jpeg)), CROP_DTYPE)
        self._jpegs.write(jpeg)
        self._rows.write(row.tobytes())

    def rows(self, num_frames: int) -> NDArray[np.void]:
        """CROP_DTYPE rows of frames below `num_frames`, in the order of the frames."""
        self._rows.seek(0)
        rows = np.frombuffer(self._rows.read(), CROP_DTYPE)
        rows = rows[rows["frame"] < num_frames]
        return rows[np.argsort(rows["frame"], kind="stable")]

    def copy(self, rows: NDArray[np.void], path: Path) -> None:
        """Write the JPEGs of `rows` behind one another."""
        with path.open("wb") as mjpeg:
            for row in rows:
                self._jpegs.seek(row["offset"])
                mjpeg.write(self._jpegs.read(row["size"]))

    def close(self) -> None:
        """Forget everything."""
        for file in (self._jpegs, self._rows):
            file.close()
            Path(file.name).unlink()

    def _roll_rad(self, known: TrackSegment, index: int) -> float:
        roll_rad = float(known.rolls_rad[index])
        if math.isnan(roll_rad):
            raise ValueError("crops cannot be aligned: the detector does not find eyes; set faces.detector to yunet")
        return roll_rad


class FaceFollower:
    """Detects on every k-th frame of the clock, on both sides of a cut, and wherever somebody came or left.

    Only the pictures of the longest gap that is interpolated are held. `cuts` are the frames, counted from the first
    picture, at which another scene begins.
    """

    def __init__(
        self,
        detector: Detector,
        tracker: Tracker,
        store: CropStore,
        detect_every: int,
        min_score: float,
        first_frame: int = 0,
    ) -> None:
        self.detector, self.tracker, self.store = detector, tracker, store
        self.detect_every, self.min_score, self.first_frame = detect_every, min_score, first_frame
        self.cuts: list[int] = []
        self.seconds_detect = 0.0
        self._cut_finder = CutFinder()
        self._held: deque[Picture] = deque(maxlen=tracker.max_gap + detect_every)
        self._num_pictures = 0
        self._looked_at = -1  # the last frame that was searched for faces

    def add(self, picture: Picture) -> None:
        """Take the next picture of the clock."""
        now = self._num_pictures
        cut = self._cut_finder.is_cut(picture)
        if cut:
            self.finish()
            self.tracker.end_scene()
            self.cuts.append(now)
        self._held.append(picture)
        self._num_pictures += 1
        if cut or now == 0 or (self.first_frame + now) % self.detect_every == 0:
            self._look()

    def finish(self) -> None:
        """Search the last picture too, so that the end of a scene is not lost between two looks."""
        if self._looked_at < self._num_pictures - 1:
            self._look()

    def _look(self) -> None:
        now = self._num_pictures - 1
        detections = self._detect(now)
        if not self.tracker.explains(detections, since=self._looked_at):
            for frame in range(self._looked_at + 1, now):
                self._keep(self.tracker.update(frame, self._detect(frame)))
        self._keep(self.tracker.update(now, detections))
        self._looked_at = now

    def _detect(self, frame: int) -> list[Detection]:
        started_s = time.perf_counter()
        detections = self.detector.detect(self._picture(frame))
        self.seconds_detect += time.perf_counter() - started_s
        return [found for found in detections if found.score >= self.min_score]

    def _keep(self, stretches: list[TrackSegment]) -> None:
        for known in stretches:
            for i in range(len(known.boxes)):
                self.store.add(self._picture(known.first + i), known.first + i, known, i)

    def _picture(self, frame: int) -> Picture:
        return self._held[frame - self._num_pictures]
