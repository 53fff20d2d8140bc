"""Which stretches of which streams go into which shard: pure, and the same for any number of workers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from pipeline.config import Config
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import FRAME_DTYPE, AnchorPoint, ShardPlan, Span, Video
from pipeline.records.serialize import from_json, to_json

MB = 1e6
JPEG_BYTES, JPEG_BYTES_PER_PX = 620, 0.3  # of a face crop at quality 92, measured


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a look at a file before the plan tells; zeros where it cannot be read (its row will say why)."""

    duration_s: float = 0.0
    anchor: tuple[AnchorPoint, ...] = ()  # where the person to be followed is, if the video will be cut
    complete: bool = True  # another look would find the same: False where time was too short for this one


@dataclass(frozen=True, slots=True)
class _Piece:
    """A span and the bytes it is expected to take in a shard."""

    span: Span
    bytes: float


def plan_shards(videos: Sequence[Video], facts: Mapping[str, ScanResult], config: Config) -> list[ShardPlan]:
    """Cut long streams into spans and pack those of each split, in the order of their ids, into shards.

    A shard is full when the next span would take it beyond `shards.target_mb` or when it holds `shards.max_videos`. All
    spans of a file follow one another, whoever is followed in them: a worker need not fetch it twice.

    Args:
        videos: all streams, in any order.
        facts: of each stream by its key.
        config: the experiment.
    """
    plans = []
    for split in SPLITS:
        streams = sorted((v for v in videos if v.split == split), key=lambda v: (v.video_id, v.person))
        pieces = (piece for video in streams for piece in _cut(video, facts[video.key], config))
        plans += [ShardPlan(f"{split}-{n:05d}", split, spans) for n, spans in enumerate(_pack(pieces, config))]
    return plans


def longest_span(config: Config) -> int:
    """Clock frames of the longest span: whole segments, within `shards.span_minutes` and one shard."""
    allowed_s = min(config.shards.span_minutes * 60, config.shards.target_mb * MB / bytes_per_s(config))
    tile = config.segments.num_frames
    return max(1, int(allowed_s * config.media.frame_rate_hz) // tile) * tile


def needs_cutting(duration_s: float, config: Config) -> bool:
    """Whether a video is longer than the longest span; one that is longer than is allowed becomes one row."""
    if duration_s > config.media.max_duration_s:
        return False
    return math.ceil(duration_s * config.media.frame_rate_hz) > longest_span(config)


def _cut(video: Video, facts: ScanResult, config: Config) -> Iterator[_Piece]:
    """Spans of about equal length that begin where segments begin; the last one is open, whatever the file holds."""
    rate, tile = config.media.frame_rate_hz, config.segments.num_frames
    if not needs_cutting(facts.duration_s, config):
        duration_s = facts.duration_s if facts.duration_s <= config.media.max_duration_s else 0.0
        yield _Piece(Span(video), duration_s * bytes_per_s(config))
        return
    total = math.ceil(facts.duration_s * rate)
    parts = math.ceil(total / longest_span(config))
    length = math.ceil(total / parts / tile) * tile
    for start in range(0, total, length):
        stop = min(start + length, total)
        anchor = _anchor_within(facts.anchor, start / rate, stop / rate)
        span = Span(video, start, stop if stop < total else -1, anchor)
        yield _Piece(span, (stop - start) / rate * bytes_per_s(config))


def _anchor_within(anchor: Sequence[AnchorPoint], start_s: float, stop_s: float) -> tuple[AnchorPoint, ...]:
    """The points of a span and their neighbours on both sides."""
    first = sum(point.time_s < start_s for point in anchor)
    last = sum(point.time_s <= stop_s for point in anchor)
    return tuple(anchor[max(0, first - 1) : last + 1])


def _pack(pieces: Iterable[_Piece], config: Config) -> Iterator[tuple[Span, ...]]:
    shard: list[Span] = []
    size = 0.0
    for piece in pieces:
        if shard and (size + piece.bytes > config.shards.target_mb * MB or len(shard) == config.shards.max_videos):
            yield tuple(shard)
            shard, size = [], 0.0
        shard.append(piece.span)
        size += piece.bytes
    if shard:
        yield tuple(shard)


def bytes_per_s(config: Config) -> float:
    """Estimated bytes of a shard per second of video: crops, spectrogram and what is known of each frame."""
    frame = JPEG_BYTES + config.media.crop_px**2 * JPEG_BYTES_PER_PX + FRAME_DTYPE.itemsize
    preroll = config.segments.num_preroll / config.segments.num_frames
    mel = 2 * config.sound.num_mels / config.sound.hop_s
    return (config.media.frame_rate_hz * frame + mel) * (1 + preroll)


def digest(plan: ShardPlan) -> str:
    """What tells two plans of one shard apart: the spans of its streams, wherever these lie."""
    return hashlib.sha256(json.dumps([plan.name, [_identity_of(span) for span in plan.spans]]).encode()).hexdigest()


def _identity_of(span: Span) -> list[object]:
    video = span.video
    stream = [video.key, video.relative_path, video.content_id, video.group, video.split, video.labels_content_id]
    stream += [video.crops_content_id] if video.crops_uri else []
    return [*stream, span.start_frame, span.stop_frame, [asdict(point) for point in span.anchor]]


def plan_to_json(plan: ShardPlan) -> str:
    """The plan as one line of ASCII, the form in which it travels."""
    return to_json(plan)


def plan_from_json(text: str) -> ShardPlan:
    """Inverse of `plan_to_json`."""
    return from_json(ShardPlan, text)
