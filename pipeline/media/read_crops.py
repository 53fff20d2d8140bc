"""Reading face crops that were cut elsewhere: one JPEG file per original frame, put onto the clock of their video."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.decode import TOLERANCE_US
from pipeline.media.faces.contact_sheet import Thumbnails, contact_sheet
from pipeline.media.faces.crop import encode_jpeg
from pipeline.media.options import WHOLE_VIDEO, ClockSpan, CropOptions
from pipeline.records import FRAME_DTYPE, Probe, Rejection, VideoOnClock
from pipeline.records.quantities import count_text

MAX_BYTES = 4 << 20  # of one file
MAX_SIDE_PX = 2048  # a small file may promise a picture that fills the memory
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG markers before the size


def crop_name(source_index: int) -> str:
    """File name of the crop of original frame `source_index` (from 0 on), e.g. 00001.jpg for frame 0."""
    return f"{source_index + 1:05d}.jpg"


def read_crops(
    read_crop: Callable[[int], bytes | None],
    probe: Probe,
    *,
    directory: Path,
    frame_rate_hz: float,
    crop: CropOptions,
    span: ClockSpan = WHOLE_VIDEO,
) -> VideoOnClock:
    """Put the crops of a video's frames onto its clock; the video itself is not decoded.

    A frame of the clock shows the last original frame whose time has come, as in decoding. Files of `crop_px` a side
    are kept as they are, others are scaled. Where the face was in the picture is not known: boxes are NaN.

    Args:
        read_crop: the file of an original frame by its index; None where there is none, which means no face.
        probe: of the raw video, for the times of its frames.
        directory: of this call alone, which leaves only `faces.mjpeg` there.
        frame_rate_hz: of the clock.
        crop: size and quality; its margin and alignment have no effect.
        span: the frames of the clock to read.

    Raises:
        Rejection: ("faces", "no_face") when not one frame of the whole video has a readable crop.
    """
    started_s = time.perf_counter()
    frames = _frames_on_clock(probe, frame_rate_hz, span)
    thumbnails, unreadable = Thumbnails(len(frames)), set()
    mjpeg_path = directory / "faces.mjpeg"
    last_index, jpeg = -1, b""
    with mjpeg_path.open("wb") as mjpeg:
        for i, source_index in enumerate(frames["source_index"].tolist()):
            if source_index != last_index:
                data = read_crop(source_index) if source_index >= 0 else None
                jpeg, last_index = _resize_jpeg(data or b"", crop), source_index
                if data is not None and not jpeg:
                    unreadable.add(crop_name(source_index))
            frames["offset"][i], frames["size"][i] = mjpeg.tell() if jpeg else 0, len(jpeg)
            mjpeg.write(jpeg)
            if thumbnails.is_chosen(i):
                thumbnails.add_bgr(i, _decode(jpeg) if jpeg else np.zeros((crop.crop_px, crop.crop_px, 3), np.uint8))
    frames["face_ok"] = frames["size"] > 0
    frames["score"] = frames["face_ok"]
    problem = _problem(unreadable)
    is_whole = span.start_frame == 0 and span.stop_frame < 0
    if is_whole and not frames["face_ok"].any():  # in a part of the video the person may be missing
        detail = f"no crop for {count_text(frames['video_ok'].sum(), 'frame')}" + (f"; {problem}" if problem else "")
        raise Rejection("faces", "no_face", detail, frames=frames)
    span_end_s = span.stop_frame / frame_rate_hz if span.stop_frame >= 0 else math.inf
    return VideoOnClock(
        frames=frames,
        mjpeg_path=mjpeg_path,
        duration_s=probe.duration_s,
        covered_s=min(probe.duration_s, span_end_s),
        problem=problem,
        seconds_faces=time.perf_counter() - started_s,
        followed="crops",
        contact_sheet=contact_sheet(thumbnails, frames, (crop.crop_px, crop.crop_px)),
    )


def _frames_on_clock(probe: Probe, frame_rate_hz: float, span: ClockSpan) -> NDArray[np.void]:
    """FRAME_DTYPE of the clock's frames with the original frame that each shows, without faces."""
    end = math.ceil(probe.duration_s * frame_rate_hz - 1e-6)
    stop = end if span.stop_frame < 0 else min(span.stop_frame, end)
    ticks = np.arange(span.start_frame, max(span.start_frame, stop))
    frames = np.zeros(len(ticks), FRAME_DTYPE)
    frames["time_s"] = ticks / frame_rate_hz
    latest = np.searchsorted(probe.frame_times_s, frames["time_s"] + TOLERANCE_US / 1e6, side="right") - 1
    frames["source_index"], frames["video_ok"] = latest, latest >= 0
    frames["box"] = np.nan
    return frames


def _resize_jpeg(data: bytes, crop: CropOptions) -> bytes:
    """A JPEG of `crop_px` a side; empty when `data` is no readable JPEG of a sensible size."""
    has_end = b"\xff\xd9" in data[-64:]  # the end marker; some writers pad behind it
    size = _jpeg_size(data) if has_end and len(data) <= MAX_BYTES else None
    if size is None or not 1 <= min(size) <= max(size) <= MAX_SIDE_PX:
        return b""
    picture = _decode(data)
    if not picture.size:
        return b""
    if picture.shape[:2] == (crop.crop_px, crop.crop_px):
        return data
    scaled = cv2.resize(picture, (crop.crop_px, crop.crop_px), interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(scaled, np.uint8), crop.jpeg_quality)


def _decode(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) BGR; empty where OpenCV cannot read it."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.empty((0, 0, 3), np.uint8) if picture is None else np.asarray(picture, np.uint8)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the frame header, which stands before the first scan; None without one."""
    if data[:2] != b"\xff\xd8":
        return None
    offset = 2
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker, length = data[offset + 1], int.from_bytes(data[offset + 2 : offset + 4])
        if marker in _FRAME_HEADERS:
            return int.from_bytes(data[offset + 7 : offset + 9]), int.from_bytes(data[offset + 5 : offset + 7])
        offset += 2 + length
    return None


def _problem(unreadable: set[str]) -> str:
    if not unreadable:
        return ""
    first = ", ".join(sorted(unreadable)[:3])
    return f"{len(unreadable)} crops are no readable JPEG of at most {MAX_SIDE_PX} px a side: {first}"
