"""Decoding a video's pictures onto a constant clock with an ffmpeg process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from pipeline.media.ffmpeg_command import open_input
from pipeline.media.frame_times import FrameTimes
from pipeline.media.options import WHOLE_VIDEO, ClockSpan, DecodeOptions
from pipeline.media.picture_stream import Picture, PictureStream, picture_size
from pipeline.records import Probe

TOLERANCE_US = 2000  # a frame this little after a tick still belongs to it: containers round times to milliseconds


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
    """Pictures of the clock's frames of a span: tick i shows the last frame with time <= i / rate + 2 ms.

    Iterate over it inside a `with` statement; afterwards `clock_map` and `problem` describe what was decoded. Until
    the video's first frame the first picture is repeated; `clock_map` has -1 there, for it was never shown.

    A span gives exactly what the whole video gives there: decoding enters two keyframes before it, where the container
    has them, and begins anew at the start of the file should the seek have landed too late.
    """

    def __init__(self, path: Path, probe: Probe, decode: DecodeOptions, span: ClockSpan = WHOLE_VIDEO) -> None:
        self.path, self.probe, self.decode, self.span = path, probe, decode, span
        self.size_px = picture_size(probe)
        self.num_pictures = 0
        self._has_equal_times = bool((np.diff(probe.frame_times_s) <= 0).any())  # then frames are counted
        self._open(find_entry(probe, span.start_frame / decode.frame_rate_hz))

    @property
    def seconds_waiting(self) -> float:
        """How long the reading has waited for ffmpeg."""
        return self._stream.seconds_waiting

    @property
    def timed_out(self) -> bool:
        """Whether the time was not enough for all pictures."""
        return self._stream.process.timed_out

    def _open(self, entry: SeekPoint) -> None:
        self.entry = entry
        self._frame_times = FrameTimes()
        self._stream = PictureStream(self._filter_graph(), self.probe, self.size_px, self.decode, self._frame_times)

    def _filter_graph(self) -> ffmpeg.nodes.FilterableStream:
        """Pictures on the clock; the time of every decoded frame is reported on the way."""
        seek = {"ss": self.entry.seek_s, "noaccurate_seek": None} if self.entry.seek_s else {}
        start_time = {} if self.entry.seek_s else {"start_time": 0}
        shift_us = round(self.probe.start_s * 1e6) + TOLERANCE_US  # frames come early, so that `fps` may round up
        decoded = (
            open_input(self.path, reinit_filter=0, **seek)[str(self.probe.video_stream)]
            .filter("settb", "AVTB")
            .filter("setpts", f"PTS-{shift_us}")
        )
        reported = self._frame_times.attach(decoded, "video", at_once=bool(self.entry.seek_s))
        rate = str(Fraction(self.decode.frame_rate_hz).limit_denominator(1001))
        clocked = reported.filter("fps", fps=rate, round="up", **start_time)
        ends = {"start_pts": self.span.start_frame} if self.span.start_frame else {}
        if self.span.stop_frame >= 0 and not self._has_equal_times:
            ends["end_pts"] = self.span.stop_frame
        return clocked.filter("trim", **ends) if ends else clocked

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.process.close()

    def __iter__(self) -> Iterator[Picture]:
        picture = self._stream.read()
        if not self._entered_in_time(picture):
            seconds_waiting = self._stream.seconds_waiting
            self._stream.process.close()
            self._open(SeekPoint())
            self._stream.seconds_waiting = seconds_waiting
            picture = self._stream.read()
        while picture:
            if self.span.stop_frame < 0 or self.span.start_frame + self.num_pictures < self.span.stop_frame:
                self.num_pictures += 1
                yield picture
            picture = self._stream.read()
        self._exit_code = self._stream.process.finish()

    def _entered_in_time(self, first: Picture | None) -> bool:
        """Whether decoding began at the keyframe it was sent to or before."""
        if not self.entry.seek_s or self.timed_out:
            return True
        if first is None:
            self._stream.process.finish()  # then all times are there
        else:
            self._frame_times.wait_for_first(self.decode.timeout_s)  # it is sent before the picture
        shown_us = self._frame_times.pts
        return len(shown_us) > 0 and shown_us[0] + TOLERANCE_US <= self.entry.seek_s * 1e6

    def clock_map(self) -> ClockMap:
        """The decoded frame of every tick that was read, from the times ffmpeg decoded them at."""
        first_s, last_s = self._bounds_s()
        times_s = self.probe.frame_times_s
        num_promised = int(((times_s >= first_s - 1e-6) & (times_s <= last_s)).sum())
        shown_us = np.array(self._frame_times.pts, np.int64) + TOLERANCE_US
        frame = self._frame_numbers(shown_us) if len(shown_us) else np.empty(0, np.intp)
        needed = (shown_us >= first_s * 1e6 - TOLERANCE_US) & (shown_us <= last_s * 1e6)
        shown_us, frame = shown_us[needed], frame[needed]
        if not len(shown_us):  # pictures without one are those before the video's first frame
            stop_frame = self.span.start_frame + self.num_pictures if self.num_pictures else 0
            stop_s = stop_frame / self.decode.frame_rate_hz
            return ClockMap(np.full(self.num_pictures, -1, np.int32), stop_s, 0, num_promised)
        ticks = np.arange(self.span.start_frame, self.span.start_frame + self.num_pictures)
        ticks_us = ticks * (1e6 / self.decode.frame_rate_hz) + TOLERANCE_US
        latest = np.searchsorted(np.maximum.accumulate(shown_us), ticks_us, side="right") - 1
        source_index = np.where(latest < 0, -1, frame[latest]).astype(np.int32)
        end_s = float(np.append(times_s, self.probe.duration_s)[frame.max() + 1])
        if self.span.stop_frame >= 0:
            end_s = min(end_s, self.span.stop_frame / self.decode.frame_rate_hz)
        return ClockMap(source_index, end_s, len(shown_us), num_promised)

    def _bounds_s(self) -> tuple[float, float]:
        """Times of the first frame that is sure to be decoded right and of the last one that the span can show."""
        if self.span.stop_frame < 0:
            return self.entry.exact_s, math.inf
        return self.entry.exact_s, (self.span.stop_frame - 1) / self.decode.frame_rate_hz + TOLERANCE_US / 1e6

    def _frame_numbers(self, shown_us: NDArray[np.int64]) -> NDArray[np.intp]:
        """Which of the probe's frames each decoded one is: by time, or by number where several have the same time."""
        times_s = self.probe.frame_times_s
        if self._has_equal_times and len(shown_us) == len(times_s):
            return np.arange(len(times_s))
        return _nearest(times_s, shown_us / 1e6)

    def problem(self) -> str:
        """Why not all of the video was decoded; "" when it was."""
        decoded = self.clock_map()
        promised, errors = decoded.num_promised, self._stream.process.errors
        damaged = self._exit_code != 0 or bool(errors and decoded.num_decoded < promised)
        if not damaged and decoded.num_decoded >= 0.95 * promised:  # some codecs leave a few of their frames out
            return ""
        ending = "" if self._exit_code == 0 else f", ffmpeg ended with {self._exit_code}"
        message = f": {errors}" if errors else ""
        return f"{decoded.num_decoded} of {promised} frames could be decoded{ending}{message}"


def find_entry(probe: Probe, start_s: float) -> SeekPoint:
    """Where to enter for frames from `start_s` on: the second keyframe before it.

    The frames from the first one on are exact, whatever the reordered ones around the second refer to.
    """
    before = probe.keyframe_times_s[probe.keyframe_times_s < start_s - TOLERANCE_US / 1e6]
    if len(before) < 3:  # the first keyframe is the beginning
        return SeekPoint()
    return SeekPoint(float(before[-2]) + 0.001, float(before[-1]))


def _nearest(sorted_values: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each target the index of the nearest value."""
    right = np.clip(np.searchsorted(sorted_values, targets), 1, max(1, len(sorted_values) - 1))
    left = right - 1
    right = np.minimum(right, len(sorted_values) - 1)
    return np.where(targets - sorted_values[left] <= sorted_values[right] - targets, left, right)
