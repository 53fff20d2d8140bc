"""Decoding a video's pictures onto a constant clock with an ffmpeg child process."""

from __future__ import annotations

import math
import re
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from pipeline.media.ffmpeg_command import compile_pipe, open_input
from pipeline.media.ffmpeg_process import Child, NotePipe
from pipeline.records import Probe

MAX_LONG_SIDE_PX = 1920  # larger pictures are scaled down in ffmpeg: it bounds memory, and faces stay large enough
TOLERANCE_US = 2000  # a frame this little after a tick still belongs to it: containers round times to milliseconds
FRAME_MARK = b"FRAME\n"  # before each picture of a YUV4MPEG2 stream
_NOTE = re.compile(r"frame:\d+ +pts:(-?\d+) ")


@dataclass(frozen=True, slots=True)
class Picture:
    """One upright frame as planes, limited range: y (H, W), u and v (H / 2, W / 2), uint8; H and W are even."""

    y: NDArray[np.uint8]
    u: NDArray[np.uint8]
    v: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ClockMap:
    """Which decoded frame each frame of the clock shows; -1 before the first one."""

    source_index: NDArray[np.int32]  # (N,) into Probe.frame_times_s
    end_s: float  # end of the last decoded frame, or of the span
    num_decoded: int
    num_promised: int  # frames that the packets promise for the span


@dataclass(frozen=True, slots=True)
class SeekPoint:
    """Where decoding enters a file, and the time from which on its frames are the same as in the whole."""

    seek_s: float = 0.0  # 0: at the beginning
    exact_s: float = -math.inf


class PictureReader:
    """Pictures of clock frames [start_frame, stop_frame): tick i shows the last frame with time <= i / rate + 2 ms.

    Iterate over it inside a `with` statement; afterwards `clock_map` and `problem` tell what it was. Until the
    video's first frame the first picture is repeated; `clock_map` has -1 there, for it was never shown.

    A span gives exactly what the whole video gives there: decoding enters two keyframes before it, where the container
    has them, and begins anew at the start of the file should the seek have landed too late.
    """

    def __init__(
        self,
        path: Path,
        probe: Probe,
        *,
        ffmpeg: str,
        frame_rate_hz: float,
        timeout_s: float,
        start_frame: int = 0,
        stop_frame: int = -1,
    ) -> None:
        self.path, self.probe, self.ffmpeg, self.timeout_s = path, probe, ffmpeg, timeout_s
        self.frame_rate_hz = frame_rate_hz
        self.start_frame, self.stop_frame = start_frame, stop_frame
        self.width_px, self.height_px = picture_size(probe)
        self.seconds_waiting = 0.0
        self.num_pictures = 0
        self._numbered = bool((np.diff(probe.frame_times_s) <= 0).any())  # times do not tell the frames apart
        self._start(find_entry(probe, start_frame / frame_rate_hz))

    def _start(self, entry: SeekPoint) -> None:
        self.entry = entry
        self._shown_us = array("q")
        self._noted = threading.Event()
        notes = NotePipe(self._note_frame)
        # YUV4MPEG2: its writer takes the decoder's own planes, rawvideo's makes a packet of each picture first.
        command = compile_pipe(
            self._pictures(notes.url), self.ffmpeg, format="yuv4mpegpipe", pix_fmt="yuv420p", fps_mode="passthrough"
        )
        self.child = Child(command, timeout_s=self.timeout_s, notes=notes)

    def _pictures(self, notes_url: str) -> ffmpeg.nodes.FilterableStream:
        """Pictures on the clock, with a note of the time of every decoded frame on the way."""
        seek = {"ss": self.entry.seek_s, "noaccurate_seek": None} if self.entry.seek_s else {}
        start_time = {} if self.entry.seek_s else {"start_time": 0}
        shift_us = round(self.probe.start_s * 1e6) + TOLERANCE_US  # frames come early, so that `fps` may round up
        clocked = (
            open_input(self.path, reinit_filter=0, **seek)[str(self.probe.video_stream)]
            .filter("settb", "AVTB")
            .filter("setpts", f"PTS-{shift_us}")
            .filter("metadata", mode="add", key="shown", value=1)  # only frames that have metadata are printed
            .filter("metadata", mode="print", key="shown", file=notes_url, direct=int(bool(self.entry.seek_s)))
            .filter("fps", fps=str(Fraction(self.frame_rate_hz).limit_denominator(1001)), round="up", **start_time)
        )
        span = {"start_pts": self.start_frame} if self.start_frame else {}
        if self.stop_frame >= 0 and not self._numbered:
            span["end_pts"] = self.stop_frame
        clocked = clocked.filter("trim", **span) if span else clocked
        # Asked for a range, `scale` copies even what is in it already.
        limited = {} if self.probe.plain else {"out_range": "tv"}
        return clocked.filter("scale", self.width_px, self.height_px, **limited, flags="bilinear+accurate_rnd+bitexact")

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.child.__exit__(*exception)

    def __iter__(self) -> Iterator[Picture]:
        picture = self._read_first()
        if not self._entered_in_time(picture):
            self.child.__exit__()
            self._start(SeekPoint())
            picture = self._read_first()
        while picture:
            if self.stop_frame < 0 or self.start_frame + self.num_pictures < self.stop_frame:
                self.num_pictures += 1
                yield picture
            picture = self._read()
        self._code = self.child.finish()

    def _read_first(self) -> Picture | None:
        started_s = time.perf_counter()
        self.child.read_line()  # the stream's header; the filters have complete what it says
        self.seconds_waiting += time.perf_counter() - started_s
        return self._read()

    def _read(self) -> Picture | None:
        width, height = self.width_px, self.height_px
        num_y, num_uv = width * height, width * height // 4
        started_s = time.perf_counter()
        data = np.empty(len(FRAME_MARK) + num_y + 2 * num_uv, np.uint8)
        filled = self.child.read_into(data)
        self.seconds_waiting += time.perf_counter() - started_s
        if filled < len(data):
            return None
        mark, data = data[: len(FRAME_MARK)].tobytes(), data[len(FRAME_MARK) :]
        assert mark == FRAME_MARK, f"{self.path}: {mark!r} where a picture of {width} x {height} should begin"
        u, v = data[num_y : num_y + num_uv], data[num_y + num_uv :]
        shape = (height // 2, width // 2)
        return Picture(data[:num_y].reshape(height, width), u.reshape(shape), v.reshape(shape))

    def _entered_in_time(self, first: Picture | None) -> bool:
        """Whether decoding began at the keyframe it was sent to or before."""
        if not self.entry.seek_s or self.child.timed_out:
            return True
        if first is None:
            self.child.finish()  # then all notes are there
        else:
            self._noted.wait(self.timeout_s)  # the note of a frame is written before its picture
        return len(self._shown_us) > 0 and self._shown_us[0] + TOLERANCE_US <= self.entry.seek_s * 1e6

    def clock_map(self) -> ClockMap:
        """The decoded frame of every tick that was read, from the times ffmpeg decoded them at."""
        first_s, last_s = self._bounds_s()
        times_s = self.probe.frame_times_s
        num_promised = int(((times_s >= first_s - 1e-6) & (times_s <= last_s)).sum())
        shown_us = np.array(self._shown_us, np.int64) + TOLERANCE_US
        frame = self._frame_numbers(shown_us) if len(shown_us) else np.empty(0, np.intp)
        needed = (shown_us >= first_s * 1e6 - TOLERANCE_US) & (shown_us <= last_s * 1e6)
        shown_us, frame = shown_us[needed], frame[needed]
        if not len(shown_us):  # pictures without one are those before the video's first frame
            stop_s = (self.start_frame + self.num_pictures) / self.frame_rate_hz if self.num_pictures else 0.0
            return ClockMap(np.full(self.num_pictures, -1, np.int32), stop_s, 0, num_promised)
        ticks = np.arange(self.start_frame, self.start_frame + self.num_pictures)
        ticks_us = ticks * (1e6 / self.frame_rate_hz) + TOLERANCE_US
        latest = np.searchsorted(np.maximum.accumulate(shown_us), ticks_us, side="right") - 1
        source_index = np.where(latest < 0, -1, frame[latest]).astype(np.int32)
        end_s = float(np.append(times_s, self.probe.duration_s)[frame.max() + 1])
        if self.stop_frame >= 0:
            end_s = min(end_s, self.stop_frame / self.frame_rate_hz)
        return ClockMap(source_index, end_s, len(shown_us), num_promised)

    def _bounds_s(self) -> tuple[float, float]:
        """Times of the first frame that is sure to be decoded right and of the last one that the span can show."""
        if self.stop_frame < 0:
            return self.entry.exact_s, math.inf
        return self.entry.exact_s, (self.stop_frame - 1) / self.frame_rate_hz + TOLERANCE_US / 1e6

    def _frame_numbers(self, shown_us: NDArray[np.int64]) -> NDArray[np.intp]:
        """Which of the probe's frames each decoded one is: by time, or by number where several have the same time."""
        times_s = self.probe.frame_times_s
        if self._numbered and len(shown_us) == len(times_s):
            return np.arange(len(times_s))
        return _nearest(times_s, shown_us / 1e6)

    def problem(self) -> str:
        """Why not all of the video was decoded; "" when it was."""
        decoded = self.clock_map()
        promised = decoded.num_promised
        complaints = self.child.complaints
        damaged = self._code != 0 or bool(complaints and decoded.num_decoded < promised)
        if not damaged and decoded.num_decoded >= 0.95 * promised:  # some codecs hide a few of their frames
            return ""
        words = f": {complaints}" if complaints else ""
        ending = "" if self._code == 0 else f", ffmpeg ended with {self._code}"
        return f"{decoded.num_decoded} of {promised} frames could be decoded{ending}{words}"

    def _note_frame(self, line: str) -> None:
        if match := _NOTE.match(line):
            self._shown_us.append(int(match[1]))
            self._noted.set()


def picture_size(probe: Probe) -> tuple[int, int]:
    """Width and height of the decoded pictures: upright, even, at most `MAX_LONG_SIDE_PX` long."""
    shrink = min(1.0, MAX_LONG_SIDE_PX / max(probe.width_px, probe.height_px))
    return max(2, int(probe.width_px * shrink) // 2 * 2), max(2, int(probe.height_px * shrink) // 2 * 2)


def find_entry(probe: Probe, start_s: float) -> SeekPoint:
    """Where to enter for frames from `start_s` on: the second keyframe before it.

    The frames from the first one on are exact, whatever the reordered ones around the second refer to.
    """
    before = probe.keyframe_times_s[probe.keyframe_times_s < start_s - TOLERANCE_US / 1e6]
    if len(before) < 3:  # the first keyframe is the beginning
        return SeekPoint()
    return SeekPoint(float(before[-2]) + 0.001, float(before[-1]))


def _nearest(sorted_values: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.intp]:
    right = np.clip(np.searchsorted(sorted_values, wanted), 1, max(1, len(sorted_values) - 1))
    left = right - 1
    right = np.minimum(right, len(sorted_values) - 1)
    return np.where(wanted - sorted_values[left] <= sorted_values[right] - wanted, left, right)
