"""Lists of videos: text files whose names say which split the videos in them belong to."""

from __future__ import annotations

from pathlib import PurePosixPath

from pipeline import storage
from pipeline.config import UsageError

_SPLIT_OF_WORD = {"train": "train", "val": "val", "dev": "val", "test": "test"}  # in the name of a list


def read_lists(uri: str) -> dict[str, str]:
    """Read the split of each video from the lists in a folder.

    A list has one name per line; the name of its file says train, val or test.

    Raises:
        UsageError: the folder is not there, the name of a file gives no split, or a name is in lists of two splits.
    """
    if not storage.exists(uri):
        raise UsageError(f"source.lists {uri} does not exist")
    splits: dict[str, str] = {}
    first_rows: dict[str, str] = {}
    for file in storage.list_files(uri):
        path = PurePosixPath(file.uri)
        if path.suffix.lower() not in (".txt", ".csv"):
            continue
        split = _split_of_list(path)
        text = storage.read_bytes(file.uri).decode("utf-8-sig", "replace")
        for number, line in enumerate(text.splitlines(), start=1):
            name = _name_in(line)
            if not name:
                continue
            row = f"{path.name}, row {number}"
            if splits.setdefault(name, split) != split:
                raise UsageError(f"{name} is in two splits: {first_rows[name]} ({splits[name]}) and {row} ({split})")
            first_rows.setdefault(name, row)
    return splits


def _split_of_list(path: PurePosixPath) -> str:
    splits = {split for word, split in _SPLIT_OF_WORD.items() if word in path.stem.lower()}
    if len(splits) != 1:
        raise UsageError(f"{path}: the name of a list must say which split it is: train, val or test")
    return splits.pop()


def _name_in(line: str) -> str:
    """The name of a video in the first cell of a line, without the extension of a video or a label file."""
    name = line.strip().split(",")[0].strip()
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in (".mp4", ".avi", ".txt", ".csv") else name
