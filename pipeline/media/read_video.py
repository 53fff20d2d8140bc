"""Reading one video: its pictures on the clock, one person's face in them, cut out and kept as JPEG."""

from __future__ import annotations

import math
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.decode import ClockMap, PictureReader
from pipeline.media.faces.anchor_distance import nearest_tracks
from pipeline.media.faces.contact_sheet import Thumbnails, contact_sheet
from pipeline.media.faces.crop_store import CropStore
from pipeline.media.faces.detect import Detector
from pipeline.media.faces.follow import FaceFollower
from pipeline.media.faces.track import Tracker, choose_person
from pipeline.media.faces.visible import visible_faces
from pipeline.media.options import WHOLE_VIDEO, ClockSpan, PersonRule, VideoOptions
from pipeline.records import FRAME_DTYPE, Probe, Rejection, VideoOnClock
from pipeline.records.quantities import count_text


def read_video(
    path: Path,
    probe: Probe,
    options: VideoOptions,
    *,
    detector: Detector,
    directory: Path,
    rule: PersonRule,
    span: ClockSpan = WHOLE_VIDEO,
) -> VideoOnClock:
    """Decode the clock's frames of a span and follow one person's face through them.

    With an anchor, frames that do not show its person are a result like any other; without one they are a rejection if
    no frame has a face. Memory grows by some 100 bytes per frame, whatever the pictures.

    Args:
        path, probe: of the media file.
        options: of decoding, tracking and cropping.
        detector: of faces.
        directory: of this call alone, which leaves only `faces.mjpeg` there.
        rule: which person is followed.
        span: the frames to read.

    Raises:
        Rejection: ("decode", "undecodable") not one frame; ("decode", "timeout"); ("faces", "no_face").
        ValueError: crops shall be aligned, but the detector does not find eyes.
    """
    started_s = time.perf_counter()
    tracking, rate_hz = options.tracking, options.decode.frame_rate_hz
    tracker = Tracker(min_overlap=tracking.min_overlap, max_gap=tracking.max_gap_frames(rate_hz))
    with PictureReader(path, probe, options.decode, span) as reader, CropStore(directory, options.crop) as store:
        follower = FaceFollower(detector, tracker, store, tracking, span.start_frame)
        thumbnails = _follow_faces(reader, follower)
        decoded, problem = reader.clock_map(), reader.problem() or probe.problem
        frames = _frames_without_faces(decoded, reader)
        rows = _rows_of_visible_faces(store, frames, reader)
        followed = _rows_of_person(rows, frames, follower, rule)
        _set_faces(frames, followed)
        sheet = contact_sheet(thumbnails, frames, (probe.width_px, probe.height_px), rows)
        if not rule.anchor:  # an anchor's person may be elsewhere in the video
            _require_face(frames, problem, sheet)
        faces = visible_faces(rows, followed, tracker.tracks, rule, frames["time_s"], follower.cuts, span.num_context)
        store.copy(followed, directory / "faces.mjpeg")
    counted_s = reader.seconds_waiting + follower.seconds_detect + store.seconds_crop + store.seconds_encode
    return VideoOnClock(
        frames=frames,
        mjpeg_path=directory / "faces.mjpeg",
        duration_s=probe.duration_s,
        covered_s=decoded.end_s,
        problem=problem,
        followed=rule.description,
        num_cuts=len(follower.cuts),
        contact_sheet=sheet,
        faces=faces,
        seconds_decode=reader.seconds_waiting,
        seconds_detect=follower.seconds_detect,
        seconds_crop=store.seconds_crop,
        seconds_encode=store.seconds_encode,
        seconds_faces=time.perf_counter() - started_s - counted_s,
    )


def _require_face(frames: NDArray[np.void], problem: str, sheet: bytes) -> None:
    if not frames["face_ok"].any():
        detail = f"no face in {count_text(frames['video_ok'].sum(), 'frame')}" + (f"; {problem}" if problem else "")
        raise Rejection("faces", "no_face", detail, contact_sheet=sheet, frames=frames)


def _follow_faces(reader: PictureReader, follower: FaceFollower) -> Thumbnails:
    """Decode all pictures, follow the faces in them, and keep some for the contact sheet."""
    span, decode = reader.span, reader.decode
    end = span.stop_frame if span.stop_frame >= 0 else math.ceil(reader.probe.duration_s * decode.frame_rate_hz)
    thumbnails = Thumbnails(end - span.start_frame)
    cv2.setNumThreads(1)  # a worker owns one core
    for frame, picture in enumerate(reader):
        follower.add(picture)
        thumbnails.add(frame, picture)
    follower.finish()
    if reader.timed_out:  # what was decoded until then depends on the machine: it must not become data
        detail = f"not decoded within {decode.timeout_s:g} s; raise media.timeout_s if the video is fine"
        raise Rejection("decode", "timeout", detail)
    if not reader.num_pictures:
        raise Rejection("decode", "undecodable", reader.problem())
    return thumbnails


def _frames_without_faces(decoded: ClockMap, reader: PictureReader) -> NDArray[np.void]:
    """FRAME_DTYPE (N,) of the pictures that were read."""
    frames = np.zeros(len(decoded.source_index), FRAME_DTYPE)
    start_frame = reader.span.start_frame
    frames["time_s"] = np.arange(start_frame, start_frame + len(frames)) / reader.decode.frame_rate_hz
    frames["source_index"] = decoded.source_index
    frames["video_ok"] = decoded.source_index >= 0
    frames["box"] = np.nan
    return frames


def _rows_of_visible_faces(store: CropStore, frames: NDArray[np.void], reader: PictureReader) -> NDArray[np.void]:
    """CROP_DTYPE rows of the frames that the video shows; boxes in the upright picture, in its original size."""
    rows = store.rows(len(frames))
    rows = rows[frames["video_ok"][rows["frame"]]]
    scale = reader.probe.width_px / reader.size_px[0], reader.probe.height_px / reader.size_px[1]
    rows["box"] *= np.array(scale * 2, np.float32)
    return rows


def _rows_of_person(
    visible: NDArray[np.void], frames: NDArray[np.void], follower: FaceFollower, rule: PersonRule
) -> NDArray[np.void]:
    """The rows of `visible` that show the person to follow, at most one for each frame."""
    if rule.anchor:
        return visible[nearest_tracks(visible, rule.anchor, frames["time_s"], follower.cuts)]
    person = choose_person(follower.tracker.tracks, rule.choose)
    return visible[np.isin(visible["track"], [track.number for track in person])]


def _set_faces(frames: NDArray[np.void], followed: NDArray[np.void]) -> None:
    """Enter the followed person's crops into `frames`; their JPEGs follow one another."""
    index = followed["frame"]
    frames["face_ok"][index] = True
    for name in ("box", "score", "size"):
        frames[name][index] = followed[name]
    frames["offset"][index] = np.cumsum(followed["size"], dtype=np.int64) - followed["size"]
