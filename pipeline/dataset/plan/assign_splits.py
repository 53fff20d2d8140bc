"""Which split each group goes to where none was named: balanced by duration, or by a hash of its name.

Both are pure and do not depend on the order of the videos. The hash never depends on the other groups; the balanced
assignment does, and a new version of a dataset therefore names the splits of all groups that it has already.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.config.dataset_sections import SplitConfig
from pipeline.dataset.plan.shard_plan import ScanResult
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import Video
from pipeline.records.quantities import count_text, names_text

MIN_HASHED_GROUPS = 200  # with "auto": from here on a hash meets the shares well enough


@dataclass(frozen=True, slots=True)
class _Group:
    """What the assignment needs to know about a group."""

    name: str
    split: str  # the one that was named; "" when it may go anywhere
    duration_s: float
    is_labelled: bool


def assign_splits(videos: Sequence[Video], durations_s: Mapping[str, float], config: SplitConfig) -> list[Video]:
    """Give every stream the split of its group: the named one, else one by `splits.method`.

    Args:
        videos: all streams, in any order; those of one group have the same split or none.
        durations_s: of each stream by its key; 0 for one that cannot be read.
        config: the method, the shares and the seed.
    """
    groups = _groups_of(videos, durations_s)
    assign = balanced_splits if is_balanced(len(groups), config) else _hashed_splits
    splits = assign(groups, config)
    return [replace(video, split=splits[video.group]) for video in videos]


def require_scanned(videos: Sequence[Video], scans: Mapping[str, ScanResult], config: SplitConfig) -> None:
    """Raise RuntimeError where balanced splits depend on the length of a file that could not be scanned now.

    Counted as 0 s, it would give other groups other splits than the same command gives them when the file is there.

    Args:
        videos: all streams, before their splits are assigned.
        scans: by the keys of the streams; those of an earlier dataset need none.
        config: the method.
    """
    unknown = [v.relative_path for v in videos if v.key in scans and not scans[v.key].is_known]
    are_all_named = all(video.split for video in videos)
    if not unknown or are_all_named or not is_balanced(len({video.group for video in videos}), config):
        return
    names = sorted(set(unknown))
    raise RuntimeError(
        f"{count_text(len(names), 'file')} could not be scanned now ({names_text(names)}), and balanced splits depend "
        "on the lengths of all files; run the same command again, or name all splits in a manifest, or choose "
        "--splits.method hash"
    )


def is_balanced(num_groups: int, config: SplitConfig) -> bool:
    """Whether so many groups are balanced by duration; else the hash of the name decides."""
    return config.method == "balanced" or (config.method == "auto" and num_groups < MIN_HASHED_GROUPS)


def hashed_split(group: str, config: SplitConfig) -> str:
    """Choose train, val or test from the group's name alone, so that no other group ever moves it."""
    point = _point(group, config)
    if point < config.test:
        return "test"
    return "val" if point < config.test + config.val else "train"


def balanced_splits(groups: Iterable[_Group], config: SplitConfig) -> dict[str, str]:
    """Choose the splits of all groups so that the durations of val and test come near their shares.

    Labelled groups and the others are divided separately: a split whose videos all lack labels is of no more use than
    an empty one. Groups that cannot be read count for nothing, and their split is a hash of their name.
    """
    groups = sorted(groups, key=lambda group: (_point(group.name, config), group.name))
    readable = [group for group in groups if group.duration_s > 0]
    strata = [[group for group in readable if group.is_labelled == is_labelled] for is_labelled in (True, False)]
    splits = {group.name: group.split or hashed_split(group.name, config) for group in groups}
    for stratum in strata:
        splits |= _filled(stratum, config)
    scored = next((stratum for stratum in strata if stratum), [])
    return splits | _without_empty(scored, splits, config)


def _groups_of(videos: Sequence[Video], durations_s: Mapping[str, float]) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for video in sorted(videos, key=lambda video: video.key):  # sums of floats depend on their order
        group = groups.get(video.group, _Group(video.group, video.split, 0.0, False))
        groups[video.group] = replace(
            group,
            split=group.split or video.split,
            duration_s=group.duration_s + durations_s[video.key],
            is_labelled=group.is_labelled or bool(video.labels_uri),
        )
    return list(groups.values())


def _hashed_splits(groups: Iterable[_Group], config: SplitConfig) -> dict[str, str]:
    return {group.name: group.split or hashed_split(group.name, config) for group in groups}


def _filled(groups: Sequence[_Group], config: SplitConfig) -> dict[str, str]:
    """Take groups in their order into val and test as long as this brings their durations nearer to their shares.

    First those of at most half of a split, so that a split is not one long video where shorter ones would do.
    """
    total_s = sum(group.duration_s for group in groups)
    shares_s = {split: share * total_s for split, share in _shares(config).items() if split != "train"}
    splits = {group.name: group.split for group in groups}
    missing_s = {
        split: share_s - sum(group.duration_s for group in groups if group.split == split)
        for split, share_s in shares_s.items()
    }
    for largest in (0.5, math.inf):  # part of its split that a group may be
        for group in groups:
            neediest = max(missing_s, key=lambda split: missing_s[split])
            is_small = group.duration_s <= largest * shares_s[neediest]
            if not splits[group.name] and is_small and group.duration_s < 2 * missing_s[neediest]:
                splits[group.name] = neediest
                missing_s[neediest] -= group.duration_s
    return {name: split or "train" for name, split in splits.items()}


def _without_empty(groups: Sequence[_Group], splits: Mapping[str, str], config: SplitConfig) -> dict[str, str]:
    """Move groups into splits that are empty but have a share: those whose durations are nearest to that share.

    Where there are too few groups train goes first, then val.
    """
    shares = _shares(config)
    total_s = sum(group.duration_s for group in groups)
    chosen = {group.name: splits[group.name] for group in groups}
    for rank, split in enumerate(SPLITS):
        members = list(chosen.values())
        if shares[split] < 1e-9 or split in members:
            continue
        donors = [name for later, name in enumerate(SPLITS) if members.count(name) > 1 or later > rank]
        movable = [group for group in groups if not group.split and chosen[group.name] in donors]
        if movable:
            nearest = min(movable, key=lambda group: abs(group.duration_s - shares[split] * total_s))
            chosen[nearest.name] = split
    return chosen


def _shares(config: SplitConfig) -> dict[str, float]:
    return {"train": 1 - config.val - config.test, "val": config.val, "test": config.test}


def _point(group: str, config: SplitConfig) -> float:
    """A number from 0 to 1 that depends on the group's name and the seed alone."""
    digest = hashlib.sha256(f"{config.seed}:{group}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
