"""Reading a container: its streams, the size of the upright picture, and the time of every frame by its packets."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.logging
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from pipeline.media.container.unreadable import describe_incomplete, describe_unreadable
from pipeline.media.limits import DEMUXERS, MAX_SIDE_PX, MAX_STREAMS, PROTOCOLS
from pipeline.records import Probe, Rejection

JOINED_GAP_S = 0.05  # sound packets closer than this are one span: coarse time bases round by up to a packet
HEADER_SLACK_S = 0.25  # a header may promise this much, or 1 %, beyond the last packet before it is reported


@dataclass
class _Times:
    """Presentation times and durations of one stream's packets, in seconds on the container's clock."""

    starts_s: array[float] = field(default_factory=lambda: array("d"))
    keys_s: array[float] = field(default_factory=lambda: array("d"))  # starts of keyframes
    lengths_s: array[float] = field(default_factory=lambda: array("d"))

    def sorted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        starts, lengths = np.array(self.starts_s), np.array(self.lengths_s)
        order = np.argsort(starts, kind="stable")
        return starts[order], lengths[order]

    @property
    def end_s(self) -> float:
        """End of the last packet; one without a duration is as long as the median distance between packets."""
        starts, lengths = self.sorted()
        if not len(starts):
            return 0.0
        median_s = float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0
        return float(starts[-1]) + (float(lengths[-1]) or median_s)


def read_container(path: Path, *, max_duration_s: float) -> Probe:
    """Demux `path` once, without decoding, in this very process; `probe` runs it in an expendable one.

    The first video stream that is no attached picture counts, and the first audio stream. Header counts and
    durations are not believed; where a header promises more than the packets hold, `Probe.problem` reports it.

    Raises:
        Rejection: stage "probe"; reason unreadable, no_video, too_long or too_large.
        OSError: the file is not there or may not be read.
    """
    if path.stat().st_size == 0:
        raise Rejection("probe", "unreadable", "the file is empty")
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": PROTOCOLS}
    try:
        with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
            return _probe_container(path, container, max_duration_s)
    except (FileNotFoundError, PermissionError):
        raise
    except MemoryError as error:
        raise Rejection("probe", "too_large", "its description does not fit into the memory that is allowed") from error
    except av.FFmpegError as error:
        raise Rejection("probe", "unreadable", describe_unreadable(path, error.strerror or str(error))) from error


def _probe_container(path: Path, container: InputContainer, max_duration_s: float) -> Probe:
    if len(container.streams) > MAX_STREAMS:
        raise Rejection("probe", "too_large", f"{len(container.streams)} streams; allowed: {MAX_STREAMS}")
    video = next((s for s in container.streams.video if s.codec_context and not _is_attached_picture(s)), None)
    if video is None:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "none"
        missing = f"the container has no video stream; its streams: {kinds}"
        raise Rejection("probe", "no_video", "; ".join(filter(None, [missing, describe_incomplete(path)])))
    sound = next((s for s in container.streams.audio if s.codec_context), None)
    rotation_deg = _rotations_deg(container).get(video.index, 0)
    width_px, height_px = _upright_size(video, rotation_deg)
    start_s = (container.start_time or 0) / av.time_base
    times, problem = _read_packet_times(container, start_s, max_duration_s)
    pictures = times.get(video.index, _Times())
    if not len(pictures.starts_s):
        causes = filter(None, [f"video stream {video.index} has no packets", problem, describe_incomplete(path)])
        raise Rejection("probe", "no_video", "; ".join(causes))
    return Probe(
        container=container.format.name,
        duration_s=pictures.end_s,
        video_codec=video.codec_context.name,
        width_px=width_px,
        height_px=height_px,
        rotation_deg=rotation_deg,
        video_stream=video.index,
        audio_stream=sound.index if sound else -1,
        audio_codec=sound.codec_context.name if sound else "",
        audio_rate_hz=sound.codec_context.sample_rate if sound else 0,
        frame_times_s=pictures.sorted()[0],
        start_s=start_s,
        sound_spans_s=_spans(times.get(sound.index, _Times()) if sound else _Times()),
        keyframe_times_s=_keyframes(container, pictures),
        plain=_is_plain(video),
        problem=problem or _broken_promise(container, times.values()),
    )


def _is_attached_picture(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _is_plain(video: av.VideoStream) -> bool:
    limited = video.codec_context.color_range != av.video.reformatter.ColorRange.JPEG
    return video.codec_context.pix_fmt == "yuv420p" and limited


def _upright_size(video: av.VideoStream, rotation_deg: int) -> tuple[int, int]:
    """Width and height in square pixels after rotation."""
    width, height = video.codec_context.width, video.codec_context.height
    if not width or not height:
        raise Rejection("probe", "unreadable", f"video stream {video.index} does not give the size of its pictures")
    if max(width, height) > MAX_SIDE_PX:
        detail = f"pictures of {width} x {height} pixels; allowed: {MAX_SIDE_PX} x {MAX_SIDE_PX}"
        raise Rejection("probe", "too_large", detail)
    aspect = video.sample_aspect_ratio or 1
    width = max(1, round(width * aspect))
    return (height, width) if rotation_deg % 180 == 90 else (width, height)


def _rotations_deg(container: InputContainer) -> dict[int, int]:
    """Counter-clockwise rotation of each stream that has a display matrix.

    PyAV shows the matrix only on decoded frames, but FFmpeg's own description of the container has it.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # below it the description comes back empty
    try:
        description = container.dumps_format()  # type: ignore[attr-defined]  # its stubs lack it
    finally:
        av.logging.set_level(level)
    rotations, stream = {}, -1
    for line in description.splitlines():
        if match := re.match(r"  Stream #0:(\d+)", line):
            stream = int(match[1])
        elif match := re.match(r"\s+(?:Display Matrix|displaymatrix): rotation of (-?[\d.]+) degrees$", line):
            rotations[stream] = round(float(match[1]))
    return rotations


def _read_packet_times(
    container: InputContainer, start_s: float, max_duration_s: float
) -> tuple[dict[int, _Times], str]:
    """Times of every packet of picture and sound that is shown, and what stopped the reading early."""
    times = {s.index: _Times() for s in container.streams if s.type in ("video", "audio")}
    bases = {index: float(container.streams[index].time_base or 0) for index in times}
    delays = {s.index: s.codec_context.reorder_depth for s in container.streams.video if s.codec_context}
    unstamped = container.format.name == "avi"  # it stores no presentation times, and the guessed ones are wrong
    try:
        for packet in container.demux():
            stamp = packet.dts if packet.pts is None or unstamped else packet.pts
            if packet.stream_index not in times or stamp is None or packet.is_discard or not packet.size:
                continue
            base = bases[packet.stream_index]
            shown_s = stamp * base - start_s
            if unstamped:  # what a decoder that reorders frames holds back comes out that much later
                shown_s += delays.get(packet.stream_index, 0) * (packet.duration or 0) * base
            if shown_s > max_duration_s:
                raise Rejection("probe", "too_long", f"a packet at {shown_s:.1f} s; allowed: {max_duration_s:.1f} s")
            times[packet.stream_index].starts_s.append(shown_s)
            if packet.is_keyframe:
                times[packet.stream_index].keys_s.append(shown_s)
            times[packet.stream_index].lengths_s.append((packet.duration or 0) * base)
    except av.FFmpegError as error:
        return times, f"the container cannot be read to its end: {error.strerror}"
    return times, ""


def _keyframes(container: InputContainer, pictures: _Times) -> NDArray[np.float64]:
    """Times that one can seek to; none where times go back, or where they are guessed, as in AVI."""
    keys = np.array(pictures.keys_s)
    starts = pictures.sorted()[0]
    reliable = container.format.name != "avi" and (np.diff(keys) > 0).all() and (np.diff(starts) > 0).all()
    return keys if reliable else np.empty(0)


def _broken_promise(container: InputContainer, times: Iterable[_Times]) -> str:
    """A message where the header promises much more than the packets hold; "" where it does not."""
    promised_s = (container.duration or 0) / av.time_base
    end_s = max(stream.end_s for stream in times)
    if promised_s <= end_s + max(HEADER_SLACK_S, 0.01 * promised_s):
        return ""
    return f"the file ends at {end_s:.2f} s, its header promises {promised_s:.2f} s"


def _spans(times: _Times) -> NDArray[np.float64]:
    """(M, 2) start and end of each run of packets without a gap."""
    starts, lengths = times.sorted()
    if not len(starts):
        return np.empty((0, 2))
    ends = np.maximum.accumulate(starts + lengths)
    breaks = np.flatnonzero(starts[1:] > ends[:-1] + JOINED_GAP_S)
    return np.stack([starts[np.r_[0, breaks + 1]], ends[np.r_[breaks, len(ends) - 1]]], axis=1)
