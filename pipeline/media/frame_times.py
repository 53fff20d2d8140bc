"""The times at which ffmpeg shows the frames of a stream, reported by its filters while it decodes."""

from __future__ import annotations

import math
import re
import threading
from array import array
from typing import Literal

import ffmpeg

from pipeline.media.ffmpeg_process import MessagePipe

_FRAME = re.compile(r"frame:\d+ +pts:(-?\d+) +pts_time:(\S+)")


class FrameTimes:
    """Times of all frames that pass one point of a filter graph.

    They arrive over a pipe of their own while the process runs, and are complete once it has finished.
    """

    def __init__(self) -> None:
        self.pipe = MessagePipe(self._add)
        self.pts = array("q")  # in the time base of the stream
        self.first_s = math.inf  # of the first frame, in seconds; infinite without any
        self._first_is_known = threading.Event()

    def attach(
        self, stream: ffmpeg.nodes.FilterableStream, kind: Literal["video", "audio"], *, at_once: bool = False
    ) -> ffmpeg.nodes.FilterableStream:
        """`stream` with the filters that report its frames.

        Args:
            stream: of pictures or sound.
            kind: which of these it is.
            at_once: each time is sent before its frame goes on; otherwise ffmpeg collects some and sends them together.
        """
        name = "metadata" if kind == "video" else "ametadata"
        marked = stream.filter(name, mode="add", key="shown", value=1)  # only frames that have metadata are printed
        return marked.filter(name, mode="print", key="shown", file=self.pipe.url, direct=int(at_once))

    def wait_for_first(self, timeout_s: float) -> None:
        """Wait until the time of the first frame has arrived, at most `timeout_s`."""
        self._first_is_known.wait(timeout_s)

    def _add(self, line: str) -> None:
        if match := _FRAME.match(line):
            self.pts.append(int(match[1]))
            if len(self.pts) == 1:
                self.first_s = float(match[2])
                self._first_is_known.set()
