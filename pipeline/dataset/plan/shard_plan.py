"""Which spans of which streams go into which shard: pure, and the same for any number of workers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from pipeline.config import Config
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import FRAME_DTYPE, AnchorPoint, ShardPlan, Span, Video

MB = 1e6
JPEG_BYTES, JPEG_BYTES_PER_PX = 620, 0.3  # of a face crop at quality 92, measured


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What the plan needs to know about a stream; zero where its file cannot be read (its build gives the reason)."""

    duration_s: float = 0.0
    anchor: tuple[AnchorPoint, ...] = ()  # where the person to be followed is, if the video will be cut
    complete: bool = True  # False: the scan was cut short, and another one may give more

    @property
    def is_known(self) -> bool:
        """Whether the length is known, be it 0; that of a file that could not be scanned now is not."""
        return self.complete or self.duration_s > 0


@dataclass(frozen=True, slots=True)
class _SizedSpan:
    """A span and the bytes it is expected to take in a shard."""

    span: Span
    expected_bytes: float


def plan_shards(videos: Sequence[Video], scans: Mapping[str, ScanResult], config: Config) -> list[ShardPlan]:
    """Cut long streams into spans and pack those of each split, in the order of their ids, into shards.

    A shard is full when the next span would take it beyond `shards.target_mb` or its part of a split of
    `shards.min_shards` shards, or when it holds `shards.max_videos`. All spans of a file follow one another, also those
    of different persons: a worker need not fetch the file twice.

    Args:
        videos: all streams with their splits, in any order.
        scans: of each stream by its key.
        config: the experiment.
    """
    unknown = {video.split for video in videos} - set(SPLITS)
    assert not unknown, f"streams of splits {sorted(unknown)} would be in no shard"
    plans = []
    for split in SPLITS:
        streams = sorted((v for v in videos if v.split == split), key=lambda v: (v.video_id, v.person))
        spans = [span for video in streams for span in _cut(video, scans[video.key], config)]
        plans += [ShardPlan(f"{split}-{n:05d}", split, packed) for n, packed in enumerate(_pack(spans, config))]
    return plans


def max_span_frames(config: Config) -> int:
    """Clock frames of the longest span: whole segments, within `shards.span_minutes` and one shard."""
    allowed_s = min(config.shards.span_minutes * 60, config.shards.target_mb * MB / bytes_per_s(config))
    segment_frames = config.segments.num_frames
    return max(1, int(allowed_s * config.media.frame_rate_hz) // segment_frames) * segment_frames


def usable_s(scan: ScanResult, config: Config) -> float:
    """How long a stream is for the plan: 0 where its file cannot be read or is longer than is allowed."""
    return scan.duration_s if scan.duration_s <= config.media.max_duration_s else 0.0


def needs_cutting(duration_s: float, config: Config) -> bool:
    """Whether a video is longer than the longest span; one that is longer than is allowed becomes one row."""
    if duration_s > config.media.max_duration_s:
        return False
    return math.ceil(duration_s * config.media.frame_rate_hz) > max_span_frames(config)


def _cut(video: Video, scan: ScanResult, config: Config) -> Iterator[_SizedSpan]:
    """Spans of about equal length that begin where segments begin; the last one ends where the video ends."""
    rate_hz, segment_frames = config.media.frame_rate_hz, config.segments.num_frames
    if not needs_cutting(scan.duration_s, config):
        yield _SizedSpan(Span(video), usable_s(scan, config) * bytes_per_s(config))
        return
    num_frames = math.ceil(scan.duration_s * rate_hz)
    num_spans = math.ceil(num_frames / max_span_frames(config))
    span_frames = math.ceil(num_frames / num_spans / segment_frames) * segment_frames
    for start in range(0, num_frames, span_frames):
        stop = min(start + span_frames, num_frames)
        anchor = _anchor_within(scan.anchor, start / rate_hz, stop / rate_hz)
        span = Span(video, start, stop if stop < num_frames else -1, anchor)
        yield _SizedSpan(span, (stop - start) / rate_hz * bytes_per_s(config))


def _anchor_within(anchor: Sequence[AnchorPoint], start_s: float, stop_s: float) -> tuple[AnchorPoint, ...]:
    """The points of a span and their neighbours on both sides."""
    first = sum(point.time_s < start_s for point in anchor)
    last = sum(point.time_s <= stop_s for point in anchor)
    return tuple(anchor[max(0, first - 1) : last + 1])


def _pack(spans: Sequence[_SizedSpan], config: Config) -> Iterator[tuple[Span, ...]]:
    shard: list[Span] = []
    shard_bytes, num_shards = 0.0, 0
    min_shards = min(len(spans), config.shards.min_shards)
    part_bytes = sum(sized.expected_bytes for sized in spans) / max(1, min_shards)
    target_bytes = min(config.shards.target_mb * MB, part_bytes * (1 + 1e-9))  # more than the error of the sum
    for index, sized in enumerate(spans):
        is_full = shard_bytes + sized.expected_bytes > target_bytes or len(shard) == config.shards.max_videos
        rest_is_needed = len(spans) - index < min_shards - num_shards  # a span for each of the other shards
        if shard and (is_full or rest_is_needed):
            yield tuple(shard)
            num_shards += 1
            shard, shard_bytes = [], 0.0
        shard.append(sized.span)
        shard_bytes += sized.expected_bytes
    if shard:
        yield tuple(shard)


def bytes_per_s(config: Config) -> float:
    """Estimated bytes of a shard per second of video: crops, spectrogram and the table of frames."""
    frame = JPEG_BYTES + config.media.crop_px**2 * JPEG_BYTES_PER_PX + FRAME_DTYPE.itemsize
    preroll = config.segments.num_preroll / config.segments.num_frames
    mel = 2 * config.sound.num_mels / config.sound.hop_s
    return (config.media.frame_rate_hz * frame + mel) * (1 + preroll)


def plan_digest(plan: ShardPlan) -> str:
    """The sha256 of what the bytes of a shard depend on in its plan: its name and the content of its spans.

    Where the files lie is not part of it: a source that was moved gives the same shards.
    """
    return hashlib.sha256(json.dumps([plan.name, [_content_of(span) for span in plan.spans]]).encode()).hexdigest()


def _content_of(span: Span) -> list[object]:
    video = span.video
    stream = [video.key, video.relative_path, video.content_id, video.group, video.split, video.labels_content_id]
    stream += [video.crops_content_id] if video.crops_uri else []
    return [*stream, span.start_frame, span.stop_frame, [asdict(point) for point in span.anchor]]
