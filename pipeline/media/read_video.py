"""Reading one video: its pictures on the clock, one person's face in them, cut out and kept as JPEG."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.decode import ClockMap, PictureReader
from pipeline.media.faces.anchor import nearest_tracks
from pipeline.media.faces.contact_sheet import Thumbnails, contact_sheet
from pipeline.media.faces.detect import Detector
from pipeline.media.faces.follow import CropStore, CropStyle, FaceFollower
from pipeline.media.faces.track import Choice, Tracker, choose_person
from pipeline.media.faces.visible import visible_faces
from pipeline.records import FRAME_DTYPE, AnchorPoint, Probe, Rejection, VideoOnClock, VisibleFace


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
    align: bool = False,
    start_frame: int = 0,
    stop_frame: int = -1,
    anchor: Sequence[AnchorPoint] = (),
    num_context: int = 0,  # frames at the start, of whose faces the span before tells
) -> VideoOnClock:
    """Decode clock frames [start_frame, stop_frame) of `path` and follow one person's face through them.

    With an `anchor` (see `people.scan_people`) the person is whoever is nearest to it, and a stretch where that person
    is not seen is a result like any other; without one `choose` decides. `directory` belongs to this call, which leaves
    only `faces.mjpeg` there. ScanCache grows by some 100 bytes per frame, whatever the pictures.

    Raises:
        Rejection: ("decode", "undecodable") not one frame; ("decode", "timeout"); ("faces", "no_face").
        ValueError: `align` with a detector that does not find eyes.
    """
    started_s = time.perf_counter()
    tracker = Tracker(min_overlap=min_overlap, max_gap=max(detect_every, round(max_gap_s * frame_rate_hz)))
    span = {"start_frame": start_frame, "stop_frame": stop_frame}
    reader = PictureReader(path, probe, ffmpeg=ffmpeg, frame_rate_hz=frame_rate_hz, timeout_s=timeout_s, **span)
    with reader, _crop_store(directory, CropStyle(crop_px, margin, jpeg_quality, align)) as store:
        follower = FaceFollower(detector, tracker, store, detect_every, min_score, start_frame)
        thumbnails = _look_through(reader, follower, timeout_s)
        decoded, problem = reader.clock_map(), reader.problem() or probe.problem
        frames = _frames_without_faces(decoded, reader)
        shown = _rows_shown(store, frames, reader)
        rows, faces = _find_person(shown, frames, follower, choose, anchor, num_context)
        sheet = contact_sheet(thumbnails, frames, (probe.width_px, probe.height_px), shown)
        _require_face(frames, problem, sheet, anchor)
        store.copy(rows, directory / "faces.mjpeg")
    return VideoOnClock(
        frames=frames,
        mjpeg_path=directory / "faces.mjpeg",
        duration_s=probe.duration_s,
        covered_s=decoded.end_s,
        problem=problem,
        followed=f"{choose} by anchor" if anchor else choose,
        num_cuts=len(follower.cuts),
        sheet=sheet,
        faces=faces,
        **_seconds(time.perf_counter() - started_s, reader, follower, store),
    )


def _seconds(all_s: float, reader: PictureReader, follower: FaceFollower, store: CropStore) -> dict[str, float]:
    """What each stage took; finding faces is what the others leave over."""
    known = {
        "seconds_decode": reader.seconds_waiting,
        "seconds_detect": follower.seconds_detect,
        "seconds_crop": store.seconds_crop,
        "seconds_encode": store.seconds_encode,
    }
    return {**known, "seconds_faces": all_s - sum(known.values())}


def _look_through(reader: PictureReader, follower: FaceFollower, timeout_s: float) -> Thumbnails:
    """Show every picture to the follower, some of them to the contact sheet."""
    end = reader.stop_frame if reader.stop_frame >= 0 else math.ceil(reader.probe.duration_s * reader.frame_rate_hz)
    thumbnails = Thumbnails(end - reader.start_frame)
    cv2.setNumThreads(1)  # a worker owns one core
    for frame, picture in enumerate(reader):
        follower.add(picture)
        thumbnails.add(frame, picture)
    follower.finish()
    _check_decoded(reader, timeout_s)
    return thumbnails


@contextmanager
def _crop_store(directory: Path, style: CropStyle) -> Iterator[CropStore]:
    store = CropStore(directory, style)
    try:
        yield store
    finally:
        store.close()


def _check_decoded(reader: PictureReader, timeout_s: float) -> None:
    if reader.child.timed_out:  # what was decoded until then depends on the machine: it must not become data
        raise Rejection("decode", "timeout", f"not decoded within {timeout_s:g} s; raise media.timeout_s if it is fine")
    if not reader.num_pictures:
        raise Rejection("decode", "undecodable", reader.problem())


def _require_face(frames: NDArray[np.void], problem: str, sheet: bytes, anchor: Sequence[AnchorPoint]) -> None:
    """With an anchor the person may well be elsewhere in the video."""
    if not anchor and not frames["face_ok"].any():
        looked = f"no face in {frames['video_ok'].sum()} frames"
        rejection = Rejection("faces", "no_face", f"{looked}; {problem}" if problem else looked)
        rejection.sheet, rejection.frames = sheet, frames
        raise rejection


def _find_person(
    shown: NDArray[np.void],
    frames: NDArray[np.void],
    follower: FaceFollower,
    choose: Choice,
    anchor: Sequence[AnchorPoint],
    num_context: int,
) -> tuple[NDArray[np.void], tuple[VisibleFace, ...]]:
    """The rows that show the person to follow, of which `frames` tell from here on, and everybody who was seen."""
    times_s, tracks = frames["time_s"], follower.tracker.tracks
    if anchor:
        rows = shown[nearest_tracks(shown, anchor, times_s, follower.cuts)]
    else:
        rows = shown[np.isin(shown["track"], [track.number for track in choose_person(tracks, choose)])]
    _fill_in(frames, rows)
    return rows, visible_faces(shown, rows, tracks, choose, anchor, times_s, follower.cuts, num_context)


def _frames_without_faces(decoded: ClockMap, reader: PictureReader) -> NDArray[np.void]:
    """FRAME_DTYPE (N,) of the pictures that were read."""
    frames = np.zeros(len(decoded.source_index), FRAME_DTYPE)
    frames["time_s"] = np.arange(reader.start_frame, reader.start_frame + len(frames)) / reader.frame_rate_hz
    frames["source_index"] = decoded.source_index
    frames["video_ok"] = decoded.source_index >= 0
    frames["box"] = np.nan
    return frames


def _rows_shown(store: CropStore, frames: NDArray[np.void], reader: PictureReader) -> NDArray[np.void]:
    """CROP_DTYPE rows of frames that the video shows; boxes in the upright picture, however it was decoded."""
    rows = store.rows(len(frames))
    rows = rows[frames["video_ok"][rows["frame"]]]
    stretch = reader.probe.width_px / reader.width_px, reader.probe.height_px / reader.height_px
    rows["box"] *= np.array(stretch * 2, np.float32)
    return rows


def _fill_in(frames: NDArray[np.void], rows: NDArray[np.void]) -> None:
    """Tell of the chosen crops' rows, one for each frame at most, whose JPEGs follow one another."""
    at = rows["frame"]
    frames["face_ok"][at] = True
    for name in ("box", "score", "size"):
        frames[name][at] = rows[name]
    frames["offset"][at] = np.cumsum(rows["size"], dtype=np.int64) - rows["size"]
