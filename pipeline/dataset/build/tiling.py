"""A video's clock tiled into segments, each with the context before it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.sources.label_clock import onto_clock
from pipeline.media.log_mel import FLOOR_POWER
from pipeline.records import FRAME_DTYPE, Annotations, Segment, Video

FLOOR_DB = 10 * math.log10(FLOOR_POWER)  # where there is no sound


@dataclass(frozen=True, slots=True)
class Tiling:
    """The grid by which a clock is cut into segments."""

    frame_rate_hz: float
    hop_s: float
    num_frames: int  # of a segment
    num_preroll: int  # context frames before them


@dataclass(frozen=True, slots=True)
class SpanSignals:
    """All signals of one span of a stream, on one clock."""

    frames: NDArray[np.void]  # FRAME_DTYPE (N,)
    mjpeg_path: Path  # JPEGs of the frames with a face, by offset and size
    mel_db: NDArray[np.float16]  # (hops, mels), from the hop nearest to the first frame's time on
    hop_ok: NDArray[np.bool_]  # (hops,)
    annotations: Annotations
    first_frame: int = 0  # of the clock: `frames[0]`
    start_frame: int = 0  # of the clock: the first segment's own first frame; those before it are its context
    followed: str = ""  # how the person was chosen


def tile(video: Video, signals: SpanSignals, tiling: Tiling) -> Iterator[Segment]:
    """Cut the whole span into segments of `num_frames`; the last one may be shorter.

    A segment's frames are the `num_preroll` frames before its start, then its own, so that a window of up to
    num_preroll + 1 frames that ends at any own frame lies within it. Before the video's first frame there is nothing:
    that preroll has negative times, `video_ok`, `face_ok` and `audio_ok` False, and sound at the floor.
    Spans of one video give the segments that the whole video would give.

    Its mel rows begin at the hop nearest to the first preroll frame's time and end at the end of its last frame:
    frame f of the segment (preroll included) begins at row round(f / frame_rate_hz / hop_s).

    Annotations of a segment are those with start <= time < end; none is in two segments.
    """
    missing = tiling.num_preroll - (signals.start_frame - signals.first_frame)
    frames = _with_preroll(signals.frames, missing, tiling.frame_rate_hz)
    frames["audio_ok"] = _at_hops(signals, frames["time_s"], tiling)
    labels = onto_clock(signals.annotations, frames["time_s"])
    labels[:missing] = np.nan
    with signals.mjpeg_path.open("rb") as mjpeg:
        for start in range(0, len(frames) - tiling.num_preroll, tiling.num_frames):
            part = slice(start, min(start + tiling.num_preroll + tiling.num_frames, len(frames)))
            segment_frames, faces_mjpeg = _cut_faces(frames[part], mjpeg)
            yield Segment(
                video_id=video.video_id,
                person=video.person,
                group=video.group,
                split=video.split,
                start_s=(signals.start_frame + start) / tiling.frame_rate_hz,
                num_preroll=tiling.num_preroll,
                frame_rate_hz=tiling.frame_rate_hz,
                hop_s=tiling.hop_s,
                frames=segment_frames,
                faces_mjpeg=faces_mjpeg,
                mel_db=_cut_mel(signals, part, tiling),
                labels=labels[part],
                annotations=_cut_annotations(signals, part, tiling),
                followed=signals.followed,
            )


def num_hops(num_frames: int, frame_rate_hz: float, hop_s: float) -> int:
    """Mel rows from the beginning of a segment's first frame to the beginning of frame `num_frames`."""
    return round(num_frames / frame_rate_hz / hop_s)


def _with_preroll(frames: NDArray[np.void], missing: int, frame_rate_hz: float) -> NDArray[np.void]:
    """The frames with `missing` empty ones in front, from before the video began."""
    before = np.zeros(missing, FRAME_DTYPE)
    before["time_s"] = np.arange(-missing, 0) / frame_rate_hz
    before["source_index"] = -1
    before["box"] = np.nan
    return np.concatenate([before, frames])


def _at_hops(signals: SpanSignals, times_s: NDArray[np.float64], tiling: Tiling) -> NDArray[np.bool_]:
    hops = np.rint(times_s / tiling.hop_s).astype(np.int64) - _hop_at(signals.first_frame, tiling)
    inside = (hops >= 0) & (hops < len(signals.hop_ok))
    ok = np.zeros(len(times_s), bool)
    ok[inside] = signals.hop_ok[hops[inside]]
    return ok


def _hop_at(frame: int, tiling: Tiling) -> int:
    """The hop of the video's grid that is nearest to the time of a clock frame."""
    return round(frame / tiling.frame_rate_hz / tiling.hop_s)


def _cut_faces(frames: NDArray[np.void], mjpeg: BinaryIO) -> tuple[NDArray[np.void], bytes]:
    """The frames with offsets into their own part of the mjpeg, and that part."""
    frames = frames.copy()
    with_face = frames[frames["size"] > 0]
    frames["offset"][frames["size"] == 0] = 0
    if len(with_face) == 0:
        return frames, b""
    first, end = int(with_face["offset"][0]), int(with_face["offset"][-1] + with_face["size"][-1])
    mjpeg.seek(first)
    faces_mjpeg = mjpeg.read(end - first)
    assert len(faces_mjpeg) == end - first, f"mjpeg ends within bytes {first} to {end}"
    frames["offset"][frames["size"] > 0] -= first
    return frames, faces_mjpeg


def _cut_mel(signals: SpanSignals, part: slice, tiling: Tiling) -> NDArray[np.float16]:
    """(hops, mels) of the part's frames; the floor where the spectrogram has no row."""
    first = signals.start_frame - tiling.num_preroll + part.start
    start = _hop_at(first, tiling) - _hop_at(signals.first_frame, tiling)
    count = num_hops(part.stop - part.start, tiling.frame_rate_hz, tiling.hop_s)
    rows = np.arange(start, start + count)
    known = (rows >= 0) & (rows < len(signals.mel_db))
    mel = np.full((count, signals.mel_db.shape[1]), FLOOR_DB, np.float16)
    mel[known] = signals.mel_db[rows[known]]
    return mel


def _cut_annotations(signals: SpanSignals, part: slice, tiling: Tiling) -> NDArray[np.void]:
    frames = signals.start_frame + np.array([part.start, part.stop - tiling.num_preroll])
    rows = signals.annotations.rows
    first, end = np.searchsorted(rows["time_s"], frames / tiling.frame_rate_hz, side="left")
    return rows[first:end]
