"""Aff-Wild2: its streams, persons and splits, from the names of label files and lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.config import UsageError
from pipeline.dataset.sources.streams import LabelFile, Streams, unused_labels, unused_name, videos_by_name
from pipeline.records import Video

SPLIT_FOLDERS = {"Train_Set": "train", "Validation_Set": "val"}
PERSONS = ("left", "right")


def affwild2_streams(videos: Sequence[Video], labels: Sequence[LabelFile], listed: Mapping[str, str]) -> Streams:
    """Make a stream of each label file in Train_Set and Validation_Set and of each name in a list.

    A name that ends in `_left` or `_right` is of one of two people in a video. A video that has neither a label file
    nor a list is a stream of the test set, whose labels are not public.

    Args:
        videos: one stream for each file.
        labels: all label files.
        listed: split by name, from the lists.

    Raises:
        UsageError: two videos have one name, or a label file and a list disagree about a split.
    """
    by_name = videos_by_name(videos, "Aff-Wild2")
    streams, unused = [], []
    for file in labels:
        folders = PurePosixPath(file.path).parts
        split = next((SPLIT_FOLDERS[folder] for folder in folders if folder in SPLIT_FOLDERS), "")
        stem = PurePosixPath(file.path).stem
        name, person = _split_person(stem, by_name)
        if not split or name not in by_name:
            unused.append(unused_labels(file, "no such video" if split else "not in Train_Set or Validation_Set"))
            continue
        if listed.get(stem, split) != split:
            raise UsageError(
                f"labels {file.path} are for {split}, but a list of source.lists has {stem} in {listed[stem]}"
            )
        streams.append(replace(by_name[name], person=person, split=split, labels_uri=file.uri))
    labelled = {(video.video_id, video.person) for video in streams}
    for stem, split in listed.items():
        name, person = _split_person(stem, by_name)
        if name not in by_name:
            unused.append(unused_name(stem, split))
        elif (by_name[name].video_id, person) not in labelled:
            streams.append(replace(by_name[name], person=person, split=split))
    used = {video.video_id for video in streams}
    streams += [replace(video, split="test") for video in videos if video.video_id not in used]
    return Streams(streams, unused)


def _split_person(stem: str, videos: Mapping[str, Video]) -> tuple[str, str]:
    """The name of a video and the person ("" for the only one) that the name of a label file or in a list means."""
    name, _, suffix = stem.rpartition("_")
    return (name, suffix) if stem not in videos and suffix in PERSONS else (stem, "")
