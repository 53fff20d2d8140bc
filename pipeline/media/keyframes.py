"""Reading a video's keyframes as small pictures with their times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from pipeline.media.ffmpeg_command import open_input
from pipeline.media.frame_times import FrameTimes
from pipeline.media.options import DecodeOptions
from pipeline.media.picture_stream import Picture, PictureStream, limit_size, picture_size
from pipeline.records import Probe, Rejection

LONG_SIDE_PX = 640  # of the pictures
MIN_STEP_S = 0.5  # between two of them, also where every frame is a keyframe


class KeyframeReader:
    """Keyframes of a video as upright pictures, in the order of time.

    Iterate over it inside a `with` statement; afterwards `times_s` holds the times of the pictures.

    Raises:
        Rejection: ("decode", "timeout"), from the iteration.
    """

    def __init__(self, path: Path, probe: Probe, decode: DecodeOptions) -> None:
        self.size_px = limit_size(picture_size(probe), LONG_SIDE_PX)
        self.times_s: NDArray[np.float64] = np.empty(0)  # (n,)
        self.decode = decode
        frame_times = FrameTimes()
        graph = frame_times.attach(_keyframes(path, probe), "video")
        self._stream = PictureStream(graph, probe, self.size_px, decode, frame_times)

    def __enter__(self) -> KeyframeReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.process.close()

    def __iter__(self) -> Iterator[Picture]:
        num_pictures = 0
        while picture := self._stream.read():
            num_pictures += 1
            yield picture
        self._stream.process.finish()
        if self._stream.process.timed_out:
            raise Rejection("decode", "timeout", f"keyframes were not decoded within {self.decode.timeout_s:g} s")
        self.times_s = np.array(self._stream.frame_times.pts[:num_pictures], np.float64) / 1e6


def _keyframes(path: Path, probe: Probe) -> ffmpeg.nodes.FilterableStream:
    """Keyframes at their own times, in microseconds."""
    return (
        open_input(path, reinit_filter=0, skip_frame="nokey")[str(probe.video_stream)]
        .filter("settb", "AVTB")
        .filter("setpts", f"PTS-{round(probe.start_s * 1e6)}")
        .filter("select", f"isnan(prev_selected_t)+gte(t-prev_selected_t,{MIN_STEP_S})")
    )
