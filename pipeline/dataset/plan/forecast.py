"""The space and time that a build will take, and the text of its plan, before it begins."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline import storage
from pipeline.config import Config
from pipeline.dataset.plan.shard_plan import MB, ScanResult, bytes_per_s
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import ShardPlan, Video

CORE_S_PER_VIDEO_S = {"haar": 0.4, "yunet": 0.15}  # decoding and tracking a face on one core, measured up to 640x360
MAX_IGNORED_LINES = 20


@dataclass(frozen=True, slots=True)
class Forecast:
    """The space and time that a build will take."""

    bytes: float  # of the shards
    core_minutes: float
    duration_s: float  # of all streams that can be read
    num_unreadable: int


def forecast(videos: Sequence[Video], scans: Mapping[str, ScanResult], config: Config) -> Forecast:
    """Estimate bytes and minutes of a build from the durations of its streams."""
    durations = [scans[video.key].duration_s for video in videos]
    total_s = sum(durations)
    minutes = total_s * CORE_S_PER_VIDEO_S[config.faces.detector] / 60
    return Forecast(total_s * bytes_per_s(config), minutes, total_s, durations.count(0.0))


def plan_text(plans: Sequence[ShardPlan], ignored: Sequence[str], expected: Forecast) -> tuple[str, ...]:
    """The plan as lines of text."""
    videos = list({span.video.key: span.video for plan in plans for span in plan.spans}.values())
    num_spans = sum(len(plan.spans) for plan in plans)
    lines = [f"{len(videos)} videos, {sum(bool(v.labels_uri) for v in videos)} with labels, in {len(plans)} shards"]
    if num_spans > len(videos):
        lines.append(f"long videos are cut: {num_spans} spans in all")
    if sizes := [video.size_bytes for video in videos if not storage.is_local(video.uri)]:
        space = f"{max(sizes) / MB:.0f} MB in {tempfile.gettempdir()}"
        lines.append(f"a worker keeps one video at a time on its own disk: up to {space}")
    num_shards = Counter(plan.split for plan in plans)
    for split in SPLITS:
        in_split = [video for video in videos if video.split == split]
        groups = len({video.group for video in in_split})
        lines.append(f"{split:5s} {len(in_split)} videos of {groups} groups in {num_shards[split]} shards")
    size = f"about {expected.bytes / MB:.0f} MB and {expected.core_minutes:.1f} minutes of one core"
    lines.append(f"{size}, from {expected.duration_s / 3600:.2f} h of video")
    if expected.num_unreadable:
        lines.append(f"{expected.num_unreadable} files cannot be read as video; each will be a row with its reason")
    lines += [f"ignored: {name}" for name in ignored[:MAX_IGNORED_LINES]]
    num_unlisted = len(ignored) - MAX_IGNORED_LINES
    return (*lines, f"ignored: {num_unlisted} more") if num_unlisted > 0 else tuple(lines)
