"""Which streams go into which shard: pure, and the same for any number of workers."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from pipeline.config import Config
from pipeline.dataset.splits import SPLITS
from pipeline.records import FRAME_DTYPE, ShardPlan, Video

MB = 1e6
ASSUMED_SOURCE_BYTES_PER_S = 125_000  # 1 Mbit/s: of a talking-face video whose duration nobody has looked at
JPEG_BYTES, JPEG_BYTES_PER_PX = 620, 0.3  # of a face crop at quality 92, measured
CORE_S_PER_VIDEO_S = {"haar": 0.4, "yunet": 0.15}  # decoding and following a face on one core, measured up to 640x360


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a build will take, before it begins."""

    bytes: float  # of the shards
    core_minutes: float
    basis: str  # what the numbers rest on, for people


def plan_shards(videos: Sequence[Video], config: Config) -> list[ShardPlan]:
    """Pack the streams of each split, in the order of their keys, into shards.

    A shard is full when the next stream would take it beyond `shards.target_mb` (estimated from the size of the
    file alone, so that the plan is the same wherever the videos lie) or `shards.max_videos`.
    """
    plans = []
    for split in SPLITS:
        streams = sorted((video for video in videos if video.split == split), key=lambda video: video.key)
        packed = _pack(streams, config)
        plans += [ShardPlan(f"{split}-{n:05d}", split, shard) for n, shard in enumerate(packed)]
    return plans


def _pack(videos: Sequence[Video], config: Config) -> Iterator[tuple[Video, ...]]:
    shard: list[Video] = []
    size = 0.0
    for video in videos:
        more = video.size_bytes / ASSUMED_SOURCE_BYTES_PER_S * bytes_per_s(config)
        if shard and (size + more > config.shards.target_mb * MB or len(shard) == config.shards.max_videos):
            yield tuple(shard)
            shard, size = [], 0.0
        shard.append(video)
        size += more
    if shard:
        yield tuple(shard)


def bytes_per_s(config: Config) -> float:
    """Estimated bytes of a shard per second of video: crops, spectrogram and what is known of each frame."""
    frame = JPEG_BYTES + config.media.crop_px**2 * JPEG_BYTES_PER_PX + FRAME_DTYPE.itemsize
    preroll = config.segments.num_preroll / config.segments.num_frames
    mel = 2 * config.sound.num_mels / config.sound.hop_s
    return (config.media.frame_rate_hz * frame + mel) * (1 + preroll)


def estimate(videos: Sequence[Video], known_durations_s: dict[str, float], config: Config) -> Estimate:
    """Bytes and minutes of a build, from the durations of some of the streams.

    Args:
        videos: all streams.
        known_durations_s: by key, of as many streams as were looked at; the others are scaled from these by size.
        config: the experiment.
    """
    rates = [v.size_bytes / known_durations_s[v.key] for v in videos if known_durations_s.get(v.key)]
    source_bytes_per_s = statistics.median(rates) if rates else ASSUMED_SOURCE_BYTES_PER_S
    total_s = sum(known_durations_s.get(v.key) or v.size_bytes / source_bytes_per_s for v in videos)
    looked_at = f"the durations of {len(rates)} of {len(videos)} videos" if rates else "an assumed 1 Mbit/s of video"
    basis = f"from {looked_at}, {total_s / 3600:.2f} h in all"
    minutes = total_s * CORE_S_PER_VIDEO_S[config.faces.detector] / 60
    return Estimate(total_s * bytes_per_s(config), minutes, basis)


def plan_text(plans: Sequence[ShardPlan], ignored: Sequence[str], expected: Estimate) -> tuple[str, ...]:
    """The plan in sentences, one per line."""
    videos = [video for plan in plans for video in plan.videos]
    lines = [f"{len(videos)} videos, {sum(bool(v.labels_uri) for v in videos)} with labels, in {len(plans)} shards"]
    shards = Counter(plan.split for plan in plans)
    for split in SPLITS:
        own = [video for video in videos if video.split == split]
        groups = len({video.group for video in own})
        lines.append(f"{split:5s} {len(own)} videos of {groups} groups in {shards[split]} shards")
    lines.append(
        f"about {expected.bytes / MB:.0f} MB and {expected.core_minutes:.1f} minutes of one core, {expected.basis}"
    )
    lines += [f"ignored: {name}" for name in ignored[:20]]
    return (*lines, f"ignored: {len(ignored) - 20} more") if len(ignored) > 20 else tuple(lines)


def digest(plan: ShardPlan) -> str:
    """What tells two plans of one shard apart: the streams, wherever they lie."""
    streams = [(v.key, v.relative_path, v.identity, v.group, v.split, bool(v.labels_uri)) for v in plan.videos]
    return hashlib.sha256(json.dumps([plan.name, streams]).encode()).hexdigest()


def plan_to_json(plan: ShardPlan) -> str:
    """The plan as one line of ASCII, the form in which it travels."""
    return json.dumps(asdict(plan))


def plan_from_json(text: str) -> ShardPlan:
    """Inverse of `plan_to_json`."""
    values = json.loads(text)
    return ShardPlan(values["name"], values["split"], tuple(Video(**video) for video in values["videos"]))
