"""Whether every split has videos with labels: known before any video is decoded, and again once all are built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.config import Config, UsageError
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import Video, VideoRow

MIN_GROUPS = 3  # one for each split


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
    return _warnings(_planned(videos, lengths_s), config)


def built_split_warnings(rows: Sequence[VideoRow], config: Config) -> tuple[str, ...]:
    """The same for a dataset that is built, by its rows: there rejected videos do not count."""
    return _warnings(_built(rows), config)


def require_trainable(videos: Sequence[Video], lengths_s: Mapping[str, float], config: Config) -> None:
    """Raise UsageError when there would be nothing to train on, to choose a checkpoint by, or to evaluate."""
    _require(_planned(videos, lengths_s), config, "")


def require_built_trainable(rows: Sequence[VideoRow], config: Config, dataset_uri: str) -> None:
    """Raise UsageError when the videos that could be used are not enough for training and evaluation."""
    _require(_built(rows), config, f"{dataset_uri} is built, but ")


def _planned(videos: Iterable[Video], lengths_s: Mapping[str, float]) -> list[_Stream]:
    return [_Stream(v.split, v.group, lengths_s[v.key] > 0, bool(v.labels_uri)) for v in videos]


def _built(rows: Iterable[VideoRow]) -> list[_Stream]:
    return [_Stream(row.split, row.group, row.status == "ok", row.labelled_frames > 0) for row in rows]


def _warnings(streams: Sequence[_Stream], config: Config) -> tuple[str, ...]:
    needs_labels = any(stream.is_labelled for stream in streams)  # without any, nobody means to train on them
    if problems := _problems(streams, SPLITS, needs_labels):
        return (f"{'; '.join(problems)}, which training or evaluation needs; {_ways_out(streams, config)}",)
    return ()


def _require(streams: Sequence[_Stream], config: Config, prefix: str) -> None:
    if not any(stream.is_labelled and stream.is_usable for stream in streams):
        raise UsageError(
            f"{prefix}no video that can be used has labels, which training needs; --source.labels is "
            f"{config.source.labels or 'empty'}: it should be a folder that mirrors the videos (x/a.mp4 has its labels "
            "in x/a.csv); iaca preprocess works without labels"
        )
    needed = [split for split in SPLITS if split in ("train", "val", config.evaluate.split)]
    if problems := _problems(streams, needed, needs_labels=True):
        raise UsageError(f"{prefix}{'; '.join(problems)}; {_ways_out(streams, config)}")


def _problems(streams: Sequence[_Stream], splits: Iterable[str], needs_labels: bool) -> list[str]:
    problems = []
    for split in splits:
        of_split = [stream for stream in streams if stream.split == split]
        usable = [stream for stream in of_split if stream.is_usable]
        if not of_split:
            problems.append(f"the {split} split is empty")
        elif not usable:
            problems.append(f"the {split} split has no video that can be used ({len(of_split)} cannot)")
        elif needs_labels and not any(stream.is_labelled for stream in usable):
            problems.append(f"the {split} split has no labels")
    return problems


def _ways_out(streams: Sequence[_Stream], config: Config) -> str:
    num_groups = len({stream.group for stream in streams if stream.is_usable})
    groups = "there is one group" if num_groups == 1 else f"there are {num_groups} groups"
    few = f"{groups} for {MIN_GROUPS} splits: add videos, or " if num_groups < MIN_GROUPS else ""
    shares = f"--splits.val (now {config.splits.val:g}) and --splits.test (now {config.splits.test:g})"
    return (
        f"{few}name the splits in a manifest (--source.manifest FILE.csv: video,group,split), change the shares "
        f"{shares}, or try another --splits.seed (now {config.splits.seed})"
    )
