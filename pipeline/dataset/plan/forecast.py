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
from pipeline.records import ShardPlan, UnusedInput, Video
from pipeline.records.quantities import count_text, duration_text

CORE_S_PER_VIDEO_S = {"haar": 0.4, "yunet": 0.15}  # decoding and tracking a face on one core, measured up to 640x360
MAX_IGNORED_LINES = 20


@dataclass(frozen=True, slots=True)
class Forecast:
    """The space and time that a build will take."""

    bytes: float  # of the shards
    core_minutes: float
    duration_s: float  # of all streams that can be read
    split_durations_s: Mapping[str, float]  # of these, by split
    num_unreadable: int


def forecast(videos: Sequence[Video], scans: Mapping[str, ScanResult], config: Config) -> Forecast:
    """Estimate bytes and minutes of a build from the durations of its streams."""
    durations = [scans[video.key].duration_s for video in videos]
    total_s = sum(durations)
    minutes = total_s * CORE_S_PER_VIDEO_S[config.faces.detector] / 60
    of_splits = dict.fromkeys(SPLITS, 0.0)
    for video, duration_s in zip(videos, durations, strict=True):
        of_splits[video.split] += duration_s
    return Forecast(total_s * bytes_per_s(config), minutes, total_s, of_splits, durations.count(0.0))


def plan_text(plans: Sequence[ShardPlan], unused: Sequence[UnusedInput], expected: Forecast) -> tuple[str, ...]:
    """The plan as lines of text, the last of which name what is ignored."""
    videos = list({span.video.key: span.video for plan in plans for span in plan.spans}.values())
    num_spans = sum(len(plan.spans) for plan in plans)
    num_labelled = sum(bool(video.labels_uri) for video in videos)
    lines = [f"{count_text(len(videos), 'video')}, {num_labelled} with labels, in {count_text(len(plans), 'shard')}"]
    if num_spans > len(videos):
        lines.append(f"long videos are cut: {num_spans} spans in all")
    if sizes := [video.size_bytes for video in videos if not storage.is_local(video.uri)]:
        space = f"{max(sizes) / MB:.0f} MB in {tempfile.gettempdir()}"
        lines.append(f"a worker keeps one video at a time on its own disk: up to {space}")
    num_shards = Counter(plan.split for plan in plans)
    for split in SPLITS:
        in_split = [video for video in videos if video.split == split]
        groups = count_text(len({video.group for video in in_split}), "group")
        shards = count_text(num_shards[split], "shard")
        duration = duration_text(expected.split_durations_s[split])
        lines.append(f"{split:5s} {count_text(len(in_split), 'video')} of {groups} in {shards}, {duration}")
    work = duration_text(expected.core_minutes * 60)
    size = f"about {expected.bytes / MB:.{0 if expected.bytes >= 10 * MB else 1}f} MB and {work} of one core"
    lines.append(f"{size}, from {duration_text(expected.duration_s)} of video")
    if expected.num_unreadable:
        rows = "will be a row with its reason" if expected.num_unreadable == 1 else "will be rows with their reasons"
        lines.append(f"{count_text(expected.num_unreadable, 'file')} cannot be read as video and {rows}")
    lines += [f"ignored: {each.text}" for each in unused[:MAX_IGNORED_LINES]]
    num_unlisted = len(unused) - MAX_IGNORED_LINES
    return (*lines, f"ignored: {num_unlisted} more") if num_unlisted > 0 else tuple(lines)
