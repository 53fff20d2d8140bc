"""Corpora whose folders speak for themselves: which streams, persons and splits Aff-Wild2 and RECOLA hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pipeline import storage
from pipeline.config import UsageError
from pipeline.records import Video

AFFWILD2_SPLITS = {"Train_Set": "train", "Validation_Set": "val"}
RECOLA_SPLITS = {"train": "train", "dev": "val", "test": "test"}
PERSONS = ("left", "right")
_LIST_WORDS = {"train": "train", "val": "val", "dev": "val", "test": "test"}  # in the name of a list


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A label file below `source.labels`."""

    path: str  # relative, with "/"
    uri: str


Streams = tuple[list[Video], list[str]]  # and what is not used, in words


def pair_affwild2(videos: Sequence[Video], labels: Sequence[LabelFile], listed: Mapping[str, str]) -> Streams:
    """A stream per label file of Train_Set and Validation_Set and per name in a list; `_left`, `_right` say who it is.

    A video that has neither is a stream of the test set, whose labels are not public.
    """
    by_name = _by_name(videos, "Aff-Wild2")
    paired, notes = [], []
    for file in labels:
        split = next((AFFWILD2_SPLITS[part] for part in PurePosixPath(file.path).parts if part in AFFWILD2_SPLITS), "")
        stem = PurePosixPath(file.path).stem
        name, person = _person_of(stem, by_name)
        if not split or name not in by_name:
            notes.append(f"labels {file.path}: {'no such video' if split else 'not in Train_Set or Validation_Set'}")
            continue
        if listed.get(stem, split) != split:
            raise UsageError(
                f"labels {file.path} are for {split}, but a list of source.lists has {stem} in {listed[stem]}"
            )
        paired.append(replace(by_name[name], person=person, split=split, labels_uri=file.uri))
    known = {(video.video_id, video.person) for video in paired}
    for stem, split in listed.items():
        name, person = _person_of(stem, by_name)
        if name not in by_name:
            notes.append(f"list of {split}: no video {stem}")
        elif (by_name[name].video_id, person) not in known:
            paired.append(replace(by_name[name], person=person, split=split))
    used = {video.video_id for video in paired}
    return paired + [replace(video, split="test") for video in videos if video.video_id not in used], notes


def pair_recola(videos: Sequence[Video], labels: Sequence[LabelFile], listed: Mapping[str, str]) -> Streams:
    """`train_1`, `dev_1`, ... with the gold standard in `valence/<name>.csv` and `arousal/<name>.csv` (AVEC's layout).

    Raises:
        UsageError: a video has the gold standard of one dimension only.
    """
    by_name = _by_name(videos, "RECOLA")
    gold: dict[str, dict[str, LabelFile]] = {}
    notes = []
    for file in labels:
        path = PurePosixPath(file.path)
        if path.parent.name in ("valence", "arousal") and path.stem in by_name:
            gold.setdefault(path.stem, {})[path.parent.name] = file
        else:
            notes.append(f"labels {file.path}: not <valence|arousal>/<video>.csv")
    paired = []
    for name, video in by_name.items():
        files = gold.get(name, {})
        if len(files) == 1:
            raise UsageError(
                f"{video.relative_path} has labels in {next(iter(files.values())).path} alone; both are needed"
            )
        split = listed.get(name) or RECOLA_SPLITS.get(name.rpartition("_")[0], "")
        video = replace(video, split=split)
        if files:
            video = replace(video, labels_uri=files["valence"].uri, arousal_uri=files["arousal"].uri)
        paired.append(video)
    return paired, notes


def read_lists(uri: str) -> dict[str, str]:
    """Split by video from the list files in a folder: one name per line, the file's name says train, val or test.

    Raises:
        UsageError: the folder is not there, a file's name says nothing, or a name is in lists of two splits.
    """
    if not storage.exists(uri):
        raise UsageError(f"source.lists {uri} does not exist")
    splits: dict[str, str] = {}
    where: dict[str, str] = {}
    for entry in storage.list_files(uri):
        path = PurePosixPath(entry.uri)
        if path.suffix.lower() not in (".txt", ".csv"):
            continue
        split = _split_of_list(path)
        text = storage.read_bytes(entry.uri).decode("utf-8-sig", "replace")
        for number, line in enumerate(text.splitlines(), start=1):
            name = _name_in(line)
            if not name:
                continue
            place = f"{path.name}, row {number}"
            if splits.setdefault(name, split) != split:
                raise UsageError(f"{name} is in two splits: {where[name]} ({splits[name]}) and {place} ({split})")
            where.setdefault(name, place)
    return splits


def _split_of_list(path: PurePosixPath) -> str:
    found = {split for word, split in _LIST_WORDS.items() if word in path.stem.lower()}
    if len(found) != 1:
        raise UsageError(f"{path}: the name of a list must say which split it is: train, val or test")
    return found.pop()


def _name_in(line: str) -> str:
    name = line.strip().split(",")[0].strip()
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in (".mp4", ".avi", ".txt", ".csv") else name


def _by_name(videos: Sequence[Video], corpus: str) -> dict[str, Video]:
    found: dict[str, Video] = {}
    for video in videos:
        name = PurePosixPath(video.relative_path).stem
        if name in found:
            paths = f"{found[name].relative_path!r} and {video.relative_path!r}"
            raise UsageError(f"videos {paths} have one name; {corpus} labels find videos by name")
        found[name] = video
    return found


def _person_of(name: str, videos: Mapping[str, Video]) -> tuple[str, str]:
    raw, _, suffix = name.rpartition("_")
    return (raw, suffix) if name not in videos and suffix in PERSONS else (name, "")
