"""Whether every split has videos with labels: known before any video is decoded, and again once all are built."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.config import Config, UsageError
from pipeline.dataset.plan.assign_splits import assign_splits
from pipeline.dataset.sources.source_warnings import source_warnings
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import UnusedInput, Video, VideoOutcome, VideoRow
from pipeline.records.quantities import count_text

MANIFEST = "--source.manifest FILE.csv: video,group,split"


@dataclass(frozen=True, slots=True)
class _Stream:
    """What a split needs to know about one of its streams."""

    split: str
    group: str
    is_usable: bool  # it can be read, as far as is known
    is_labelled: bool


def split_warnings(videos: Sequence[Video], lengths_s: Mapping[str, float], config: Config) -> tuple[str, ...]:
    """A line with the splits that are empty, or have no labels though others have some, and the ways out; else none.

    Args:
        videos: all streams with their splits.
        lengths_s: by the key of each stream; 0 for one that cannot be read.
        config: the experiment.
    """
    unlabelled = not any(video.labels_uri for video in videos)
    if unlabelled and (config.source.labels or config.preprocess.require_trainable):
        return (f"no video has labels, which training needs; {_labels_remedy(config)}",)
    return _warnings(_planned(videos, lengths_s), config)


def built_split_warnings(rows: Sequence[VideoRow], config: Config) -> tuple[str, ...]:
    """The same for a dataset that is built, by its rows: there rejected videos do not count."""
    return _warnings(_built(rows), config)


def require_trainable(videos: Sequence[Video], lengths_s: Mapping[str, float], config: Config) -> None:
    """Raise UsageError when there would be nothing to train on, to choose a checkpoint by, or to evaluate."""
    _require(_planned(videos, lengths_s), config, "")


def require_trainable_if_readable(
    videos: Sequence[Video], unused: Sequence[UnusedInput], config: Config, rejected: Collection[str] = ()
) -> None:
    """Raise UsageError when the splits would lack something even if every file could be read; nothing is opened.

    Args:
        videos: all streams; those that have no split yet are given one.
        unused: what the source names or holds without a video for it; the message tells of it.
        config: the experiment.
        rejected: keys of streams that are known to be unusable.
    """
    lengths_s = {video.key: 0.0 if video.key in rejected else 1.0 for video in videos}
    assigned = assign_splits(videos, lengths_s, config.splits)
    try:
        require_trainable(assigned, lengths_s, config)
    except UsageError as error:
        raise UsageError("; ".join([str(error), *source_warnings(assigned, unused)])) from error


def require_built_trainable(rows: Sequence[VideoOutcome | VideoRow], config: Config, dataset_uri: str) -> None:
    """Raise UsageError when the videos that could be used are not enough for training and evaluation."""
    _require(_built(rows), config, f"{dataset_uri} is built, but ")


def _labels_remedy(config: Config) -> str:
    return (
        f"--source.labels is {config.source.labels or 'empty'}: it should be a folder that mirrors the videos (x/a.mp4 "
        "has its labels in x/a.csv)"
    )


def _planned(videos: Iterable[Video], lengths_s: Mapping[str, float]) -> list[_Stream]:
    return [_Stream(v.split, v.group, lengths_s[v.key] > 0, bool(v.labels_uri)) for v in videos]


def _built(rows: Iterable[VideoOutcome | VideoRow]) -> list[_Stream]:
    return [_Stream(row.split, row.group, row.status == "ok", row.labelled_frames > 0) for row in rows]


def _warnings(streams: Sequence[_Stream], config: Config) -> tuple[str, ...]:
    needs_labels = any(stream.is_labelled for stream in streams)  # without any, nobody means to train on them
    if problems := _problems(streams, SPLITS, needs_labels):
        ways_out = _ways_out(streams, SPLITS, problems, config)
        return (f"{'; '.join(problems.values())}, which training or evaluation needs; {ways_out}",)
    return ()


def _require(streams: Sequence[_Stream], config: Config, prefix: str) -> None:
    if not any(stream.is_labelled and stream.is_usable for stream in streams):
        raise UsageError(
            f"{prefix}no video that can be used has labels, which training needs; {_labels_remedy(config)}; iaca "
            "preprocess works without labels"
        )
    evaluated = "" if config.evaluate.dataset else config.evaluate.split  # of this dataset
    needed = [split for split in SPLITS if split in ("train", "val", evaluated)]
    if problems := _problems(streams, needed, needs_labels=True):
        ways_out = _ways_out(streams, needed, problems, config)
        raise UsageError(f"{prefix}{'; '.join(problems.values())}; {ways_out}")
    if config.evaluate.corrupt_modality and evaluated:
        corrupted = {evaluated, "val"} if config.evaluate.smooth == "tuned" else {evaluated}
        _require_groups_to_swap(streams, sorted(corrupted), prefix)


def _require_groups_to_swap(streams: Sequence[_Stream], splits: Sequence[str], prefix: str) -> None:
    for split in splits:
        groups = {stream.group for stream in streams if stream.split == split and stream.is_usable}
        if len(groups) < 2:
            raise UsageError(
                f"{prefix}the {split} split has videos of one group only ({', '.join(groups)}), but "
                f"evaluate.corrupt_modality swaps spans between groups; give that split more groups"
            )


def _problems(streams: Sequence[_Stream], splits: Iterable[str], needs_labels: bool) -> dict[str, str]:
    """What is wrong with each split that cannot be used as it is."""
    problems = {}
    for split in splits:
        of_split = [stream for stream in streams if stream.split == split]
        usable = [stream for stream in of_split if stream.is_usable]
        if not of_split:
            problems[split] = f"the {split} split is empty"
        elif not usable:
            problems[split] = f"the {split} split has no video that can be used ({len(of_split)} cannot)"
        elif needs_labels and not any(stream.is_labelled for stream in usable):
            problems[split] = f"the {split} split has no labels"
    return problems


def _ways_out(streams: Sequence[_Stream], needed: Sequence[str], lacking: Collection[str], config: Config) -> str:
    """What can be done about the splits that lack something: only what can change it."""
    needs_labels = any(stream.is_labelled for stream in streams)
    relevant = [stream for stream in streams if stream.is_labelled or not needs_labels]
    groups = {stream.group for stream in relevant if stream.is_usable}
    if len(groups) < len(needed):
        are_lost = len(groups) < len({stream.group for stream in relevant})
        few = _few_groups_text(len(groups), len(needed), needs_labels, are_lost)
        return few + (_without_test(lacking, config) if len(groups) == 2 else "")
    if parent := config.preprocess.extend:
        return (
            f"the groups of {parent} keep their splits: add videos of other groups, or build a dataset anew, without "
            "--extend"
        )
    val, test = config.splits.val, config.splits.test
    ways = [f"change the shares --splits.val (now {val:g}) and --splits.test (now {test:g})"]
    has_share = {"train": val + test < 1, "val": val > 0, "test": test > 0}
    if all(has_share[split] for split in lacking):  # a split without a share stays empty, whatever the seed
        ways.append(f"try another --splits.seed (now {config.splits.seed})")
    if config.source.manifest:
        return f"name the splits in {config.source.manifest}, or, for groups that it leaves open, {' or '.join(ways)}"
    *others, last = [f"name the splits in a manifest ({MANIFEST})", *ways]
    return f"{', '.join(others)}, or {last}"


def _few_groups_text(num_groups: int, num_splits: int, needs_labels: bool, are_lost: bool) -> str:
    groups = count_text(num_groups, "group") + (" that can be used" if are_lost else "")
    if needs_labels:
        verb = "has" if num_groups == 1 else "have"
        return f"only {groups} {verb} labels, for {num_splits} splits: label more videos"
    verb = "is" if num_groups == 1 else "are"
    return f"there {verb} only {groups}, for {num_splits} splits: add videos"


def _without_test(lacking: Collection[str], config: Config) -> str:
    """How two groups are enough: train and val are needed, and val can be evaluated."""
    if set(lacking) == {"test"}:
        return ", or do without a test split: --evaluate.split val"
    if config.preprocess.extend:  # there a manifest moves no group
        return ""
    return (
        f", or do without a test split: name train and val in a manifest ({MANIFEST}) and evaluate with "
        "--evaluate.split val"
    )
