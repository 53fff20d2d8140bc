"""Streams of one recording, be they of one file or of copies of it: one group, so that none of it is in two splits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.config import UsageError
from pipeline.records import Video, VideoRow

KnownGroups = Mapping[tuple[str, str], str]  # group by the key of a stream and the content_id of its file


def group_of(video: Video) -> str:
    """The group of a stream: the one that was named for it, else a group of its own file."""
    return video.group or video.video_id


def copies_of(streams: Iterable[Video | VideoRow]) -> list[tuple[str, ...]]:
    """The ids of the videos that have the same content, sorted; videos without a copy and empty files are left out."""
    ids: dict[str, set[str]] = {}
    for stream in streams:
        if stream.size_bytes:
            ids.setdefault(stream.content_id, set()).add(stream.video_id)
    return sorted(tuple(sorted(same)) for same in ids.values() if len(same) > 1)


def join_identical(videos: Sequence[Video], known_groups: KnownGroups) -> list[Video]:
    """Give every stream its group; groups that hold copies of one file are joined.

    Two people in one file count like copies of it: each stream has the sound of both, so both belong to one group.

    A joined group has the name that was given to one of its groups, else the one that an earlier dataset has it
    under, else that of its first video. Of the streams that the earlier dataset has, those with the same content decide
    before those whose file was replaced since.

    Args:
        videos: streams in the order of their keys, with content_ids; the group is empty where none was named.
        known_groups: of the earlier dataset that is extended.

    Raises:
        UsageError: two copies, or two people in one file, were put into two groups or splits.
    """
    named = {video.group for video in videos if video.group}
    joined = _join(videos, named)
    names: dict[str, str] = {}
    groups_by_key = {key: group for (key, _), group in known_groups.items()}
    for video in sorted(videos, key=lambda video: (video.key, video.content_id) not in known_groups):
        if known := groups_by_key.get(video.key):
            names.setdefault(_root(joined, group_of(video)), known)
    for video in videos:
        names.setdefault(_root(joined, group_of(video)), video.video_id)
    names |= {_root(joined, group): group for group in named}
    return [replace(video, group=names[_root(joined, group_of(video))]) for video in videos]


def _join(videos: Sequence[Video], named: set[str]) -> dict[str, str]:
    """For each group another one that it is joined to, or itself."""
    joined = {group_of(video): group_of(video) for video in videos}
    by_content: dict[str, list[Video]] = {}
    for video in videos:
        if video.size_bytes:
            by_content.setdefault(video.content_id, []).append(video)
    for first, *others in by_content.values():
        _require_together([first, *others], named)
        for other in others:
            joined[_root(joined, group_of(other))] = _root(joined, group_of(first))
    return joined


def _root(joined: Mapping[str, str], group: str) -> str:
    while joined[group] != group:
        group = joined[group]
    return group


def _require_together(streams: Sequence[Video], named: set[str]) -> None:
    """Raise UsageError when streams of one recording were put into different groups or splits."""
    groups = [(video, group_of(video)) for video in streams if group_of(video) in named]
    splits = [(video, video.split) for video in streams if video.split]
    for what, assigned in (("groups", groups), ("splits", splits)):
        for (first, name), (other, other_name) in itertools.pairwise(assigned):
            if name != other_name:
                raise UsageError(_separated_text(first, other, f"in the {what} {name!r} and {other_name!r}"))


def _separated_text(first: Video, other: Video, where: str) -> str:
    """What is wrong with two streams of one recording that are in different groups or splits, and how to mend it."""
    if first.uri == other.uri:
        return (
            f"{first.key!r} and {other.key!r} are two people in one recording, {first.relative_path!r}, but they are "
            f"{where}; give both the same group and split: the sound and often the picture of one is in both"
        )
    return (
        f"{first.relative_path!r} and {other.relative_path!r} are the same recording (their content is identical), but "
        f"they are {where}; say the same of both, or remove one of the files"
    )
