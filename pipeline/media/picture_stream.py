"""Pictures as planes, and the stream of them that an ffmpeg process writes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from pipeline.media.ffmpeg_command import compile_pipe
from pipeline.media.ffmpeg_process import FFmpegProcess
from pipeline.media.frame_times import FrameTimes
from pipeline.media.options import DecodeOptions
from pipeline.records import Probe

MAX_LONG_SIDE_PX = 1920  # larger pictures are scaled down in ffmpeg: it bounds memory, and faces stay large enough
FRAME_MARK = b"FRAME\n"  # before each picture of a YUV4MPEG2 stream


@dataclass(frozen=True, slots=True)
class Picture:
    """One upright frame as planes, limited range: y (H, W), u and v (H / 2, W / 2), uint8; H and W are even."""

    y: NDArray[np.uint8]
    u: NDArray[np.uint8]
    v: NDArray[np.uint8]


def picture_size(probe: Probe) -> tuple[int, int]:
    """Width and height of the decoded pictures: upright, even, at most `MAX_LONG_SIDE_PX` long."""
    return limit_size((probe.width_px, probe.height_px), MAX_LONG_SIDE_PX)


def limit_size(size_px: tuple[int, int], long_side_px: int) -> tuple[int, int]:
    """Width and height of the same shape, even, at most `long_side_px` long."""
    width_px, height_px = size_px
    scale = min(1.0, long_side_px / max(width_px, height_px))
    return max(2, int(width_px * scale) // 2 * 2), max(2, int(height_px * scale) // 2 * 2)


class PictureStream:
    """A running ffmpeg process that writes pictures of one size; `read` gives one after another.

    Args:
        graph: the filter graph that ends with the pictures, in any size.
        probe: of the file that the graph reads.
        size_px: width and height of the pictures that are read, even.
        decode: the executable and its timeout.
        frame_times: attached to the graph.
    """

    def __init__(
        self,
        graph: ffmpeg.nodes.FilterableStream,
        probe: Probe,
        size_px: tuple[int, int],
        decode: DecodeOptions,
        frame_times: FrameTimes,
    ) -> None:
        self.size_px, self.frame_times = size_px, frame_times
        self.seconds_waiting = 0.0
        # Asked for a range, `scale` copies even what is in it already.
        to_limited = {} if probe.plain else {"out_range": "tv"}
        scaled = graph.filter("scale", *size_px, **to_limited, flags="bilinear+accurate_rnd+bitexact")
        # YUV4MPEG2: its writer takes the decoder's own planes, rawvideo's makes a packet of each picture first.
        command = compile_pipe(scaled, decode.ffmpeg, format="yuv4mpegpipe", pix_fmt="yuv420p", fps_mode="passthrough")
        self.process = FFmpegProcess(command, timeout_s=decode.timeout_s, messages=frame_times.pipe)
        self._header_is_read = False

    def read(self) -> Picture | None:
        """The next picture; None at the end of the stream."""
        width, height = self.size_px
        num_y, num_uv = width * height, width * height // 4
        started_s = time.perf_counter()
        if not self._header_is_read:
            self.process.read_line()  # it holds the size, which the last filter has set
            self._header_is_read = True
        data = np.empty(len(FRAME_MARK) + num_y + 2 * num_uv, np.uint8)
        num_bytes = self.process.read_into(data)
        self.seconds_waiting += time.perf_counter() - started_s
        if num_bytes < len(data):
            return None
        mark, planes = data[: len(FRAME_MARK)].tobytes(), data[len(FRAME_MARK) :]
        assert mark == FRAME_MARK, f"{mark!r} where a picture of {width} x {height} should begin"
        u, v = planes[num_y:].reshape(2, height // 2, width // 2)
        return Picture(planes[:num_y].reshape(height, width), u, v)
