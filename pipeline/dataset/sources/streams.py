"""The streams of a source: each video with its label file, for a folder whose label files lie like their videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pipeline.config import UsageError
from pipeline.records import UnusedInput, Video


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A label file below `source.labels`."""

    path: str  # relative, with "/"
    uri: str


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of a source, and each label file and name in a list that belongs to none."""

    videos: list[Video]
    unused: list[UnusedInput]


def unused_labels(file: LabelFile, reason: str) -> UnusedInput:
    """A label file that belongs to no stream."""
    return UnusedInput("labels", file.path, f"labels {file.path}: {reason}")


def unused_name(name: str, split: str) -> UnusedInput:
    """A name in a list that no video has."""
    return UnusedInput("list", name, f"list of {split}: no video {name}")


def folder_streams(videos: Sequence[Video], labels: Sequence[LabelFile], listed: Mapping[str, str]) -> Streams:
    """Give each video the label file at the same relative path, without regard to extensions.

    Args:
        videos: one stream for each file.
        labels: all label files.
        listed: split by relative path without extension, from the lists.

    Raises:
        UsageError: two label files are for one video.
    """
    stems = {video.key: str(PurePosixPath(video.relative_path).with_suffix("")) for video in videos}
    known = set(stems.values())
    by_stem: dict[str, LabelFile] = {}
    for file in labels:
        stem = str(PurePosixPath(file.path).with_suffix(""))
        if stem in known and stem in by_stem:
            raise UsageError(f"labels {by_stem[stem].path!r} and {file.path!r} are for one video; remove one of them")
        by_stem[stem] = file
    streams = []
    for video in videos:
        stem = stems[video.key]
        uri = by_stem[stem].uri if stem in by_stem else ""
        streams.append(replace(video, labels_uri=uri, split=listed.get(stem, "")))
    unused = [unused_labels(file, "no such video") for stem, file in by_stem.items() if stem not in known]
    unused += [unused_name(name, split) for name, split in listed.items() if name not in known]
    return Streams(streams, unused)


def videos_by_name(videos: Sequence[Video], corpus: str) -> dict[str, Video]:
    """Index the videos of a corpus by file name without folder and extension.

    Raises:
        UsageError: two videos have one name.
    """
    by_name: dict[str, Video] = {}
    for video in videos:
        name = PurePosixPath(video.relative_path).stem
        if name in by_name:
            paths = f"{by_name[name].relative_path!r} and {video.relative_path!r}"
            raise UsageError(f"videos {paths} have one name; {corpus} labels find videos by name")
        by_name[name] = video
    return by_name
