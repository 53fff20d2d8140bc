"""Reading one video: its pictures on the clock, one person's face in them, cut out and kept as JPEG."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.crops import cut_face, encode_jpeg
from pipeline.media.decode import ClockMap, Picture, PictureReader
from pipeline.media.faces import Detection, Detector
from pipeline.media.tracks import Choice, Stretch, TrackJoiner, choose_person
from pipeline.records import FRAME_DTYPE, Probe, Rejection, VideoOnClock

_CROP_DTYPE = np.dtype(
    [("track", "<i4"), ("frame", "<i4"), ("box", "<f4", (4,)), ("score", "<f4"), ("offset", "<i8"), ("size", "<i4")]
)


@dataclass(frozen=True, slots=True)
class CropStyle:
    """How crops are cut and kept."""

    crop_px: int
    margin: float
    jpeg_quality: int


class CropSpool:
    """Crops of every track in one file, with a fixed-size row for each in another: memory stays flat."""

    def __init__(self, directory: Path, style: CropStyle) -> None:
        self.style = style
        self._jpegs = (directory / "crops.spool").open("w+b")
        self._rows = (directory / "crops.rows").open("w+b")

    def add(self, picture: Picture, track: int, frame: int, box: NDArray[np.float32], score: float) -> None:
        """Cut `box` out of `picture` and keep it."""
        crop = cut_face(picture, box, margin=self.style.margin, crop_px=self.style.crop_px)
        jpeg = encode_jpeg(crop, self.style.jpeg_quality)
        row = np.array((track, frame, box, score, self._jpegs.tell(), len(jpeg)), _CROP_DTYPE)
        self._jpegs.write(jpeg)
        self._rows.write(row.tobytes())

    def rows(self, tracks: set[int], num_frames: int) -> NDArray[np.void]:
        """_CROP_DTYPE rows of `tracks` below `num_frames`, in frame order."""
        self._rows.seek(0)
        rows = np.frombuffer(self._rows.read(), _CROP_DTYPE)
        rows = rows[np.isin(rows["track"], list(tracks)) & (rows["frame"] < num_frames)]
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


class FaceFollower:
    """Detects on every k-th picture, and on each one in between where somebody came or left; spools the crops.

    Only the pictures of the longest gap that is interpolated are held.
    """

    def __init__(
        self, detector: Detector, joiner: TrackJoiner, spool: CropSpool, *, detect_every: int, min_score: float
    ) -> None:
        self.detector, self.joiner, self.spool = detector, joiner, spool
        self.detect_every, self.min_score = detect_every, min_score
        self.seconds = 0.0
        self._held: deque[Picture] = deque(maxlen=joiner.max_gap + detect_every)
        self._num_pictures = 0
        self._looked_at = -1  # the last frame that was searched for faces

    def add(self, picture: Picture) -> None:
        """Take the next picture of the clock."""
        self._held.append(picture)
        self._num_pictures += 1
        if (self._num_pictures - 1) % self.detect_every == 0:
            self._look()

    def finish(self) -> None:
        """Search the last picture too, so that the end of the video is not lost between two looks."""
        if self._looked_at < self._num_pictures - 1:
            self._look()

    def _look(self) -> None:
        started_s = time.perf_counter()
        now = self._num_pictures - 1
        detections = self._detect(now)
        if not self.joiner.explains(detections, since=self._looked_at):
            for frame in range(self._looked_at + 1, now):
                self._keep(self.joiner.update(frame, self._detect(frame)))
        self._keep(self.joiner.update(now, detections))
        self._looked_at = now
        self.seconds += time.perf_counter() - started_s

    def _detect(self, frame: int) -> list[Detection]:
        return [found for found in self.detector.detect(self._picture(frame)) if found.score >= self.min_score]

    def _keep(self, known: list[Stretch]) -> None:
        for span in known:
            for i, (box, score) in enumerate(zip(span.boxes, span.scores, strict=True)):
                self.spool.add(self._picture(span.first + i), span.track, span.first + i, box, float(score))

    def _picture(self, frame: int) -> Picture:
        return self._held[frame - self._num_pictures]


def read_video(
    path: Path,
    probe: Probe,
    *,
    detector: Detector,
    ffmpeg: str,
    directory: Path,
    frame_rate_hz: float,
    crop_px: int,
    jpeg_quality: int,
    detect_every: int,
    min_score: float,
    min_overlap: float,
    max_gap_s: float,
    margin: float,
    choose: Choice,
    timeout_s: float,
    start_frame: int = 0,
    stop_frame: int = -1,
) -> VideoOnClock:
    """Decode clock frames [start_frame, stop_frame) of `path` and follow one person's face through them.

    Everything on disk goes to `directory`, which belongs to this call; only `faces.mjpeg` stays there. Memory does
    not grow with the picture content of the video, only by some 60 bytes per frame.

    Raises:
        Rejection: ("decode", "undecodable") not one frame; ("decode", "timeout"); ("faces", "no_face").
    """
    started_s = time.perf_counter()
    cv2.setNumThreads(1)  # a worker owns one core
    joiner = TrackJoiner(min_overlap=min_overlap, max_gap=max(detect_every, round(max_gap_s * frame_rate_hz)))
    reader = PictureReader(
        path,
        probe,
        ffmpeg=ffmpeg,
        frame_rate_hz=frame_rate_hz,
        timeout_s=timeout_s,
        start_frame=start_frame,
        stop_frame=stop_frame,
    )
    with reader, _spool(directory, CropStyle(crop_px, margin, jpeg_quality)) as spool:
        follower = FaceFollower(detector, joiner, spool, detect_every=detect_every, min_score=min_score)
        for picture in reader:
            follower.add(picture)
        follower.finish()
        _refuse_unread(reader, timeout_s)
        decoded, problem = reader.clock_map(), reader.problem() or probe.problem
        rows = spool.rows({track.number for track in choose_person(joiner.tracks, choose)}, len(decoded.source_index))
        rows = rows[decoded.source_index[rows["frame"]] >= 0]
        if not len(rows):
            looked = f"no face in {(decoded.source_index >= 0).sum()} frames"
            raise Rejection("faces", "no_face", f"{looked}; {problem}" if problem else looked)
        spool.copy(rows, directory / "faces.mjpeg")
    return VideoOnClock(
        frames=_frames(decoded, rows, probe, reader, frame_rate_hz),
        mjpeg_path=directory / "faces.mjpeg",
        duration_s=probe.duration_s,
        covered_s=decoded.end_s,
        problem=problem,
        seconds_decode=reader.seconds_waiting,
        seconds_faces=time.perf_counter() - started_s - reader.seconds_waiting,
    )


@contextmanager
def _spool(directory: Path, style: CropStyle) -> Iterator[CropSpool]:
    spool = CropSpool(directory, style)
    try:
        yield spool
    finally:
        spool.close()


def _refuse_unread(reader: PictureReader, timeout_s: float) -> None:
    if reader.child.timed_out:  # what was decoded until then depends on the machine: it must not become data
        raise Rejection("decode", "timeout", f"not decoded within {timeout_s:g} s; raise media.timeout_s if it is fine")
    if not reader.num_pictures:
        raise Rejection("decode", "undecodable", reader.problem())


def _frames(
    decoded: ClockMap, rows: NDArray[np.void], probe: Probe, reader: PictureReader, frame_rate_hz: float
) -> NDArray[np.void]:
    """FRAME_DTYPE (N,) with the chosen crops' rows filled in, boxes in pixels of the upright picture."""
    frames = np.zeros(len(decoded.source_index), FRAME_DTYPE)
    frames["time_s"] = np.arange(reader.start_frame, reader.start_frame + len(frames)) / frame_rate_hz
    frames["source_index"] = decoded.source_index
    frames["video_ok"] = decoded.source_index >= 0
    frames["box"] = np.nan
    at = rows["frame"]
    stretch = probe.width_px / reader.width_px, probe.height_px / reader.height_px
    frames["face_ok"][at] = True
    frames["box"][at] = rows["box"] * np.array(stretch * 2, np.float32)
    frames["score"][at] = rows["score"]
    frames["size"][at] = rows["size"]
    frames["offset"][at] = np.cumsum(rows["size"], dtype=np.int64) - rows["size"]
    return frames
