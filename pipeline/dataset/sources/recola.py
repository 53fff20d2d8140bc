"""RECOLA: its streams and splits, with the gold standard of valence and arousal in a file each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.config import UsageError
from pipeline.dataset.sources.streams import LabelFile, Streams, unused_labels, videos_by_name
from pipeline.records import Video

SPLIT_PREFIXES = {"train": "train", "dev": "val", "test": "test"}  # of the names of videos


def recola_streams(videos: Sequence[Video], labels: Sequence[LabelFile], listed: Mapping[str, str]) -> Streams:
    """Give `train_1`, `dev_1`, ... the gold standard in `valence/<name>.csv` and `arousal/<name>.csv` (AVEC's layout).

    Args:
        videos: one stream for each file.
        labels: all label files.
        listed: split by name, from the lists; it goes before the one that the name of the video gives.

    Raises:
        UsageError: two videos have one name, or a video has the gold standard of one label only.
    """
    by_name = videos_by_name(videos, "RECOLA")
    gold: dict[str, dict[str, LabelFile]] = {}
    streams, unused = [], []
    for file in labels:
        path = PurePosixPath(file.path)
        if path.parent.name in ("valence", "arousal") and path.stem in by_name:
            gold.setdefault(path.stem, {})[path.parent.name] = file
        else:
            unused.append(unused_labels(file, "not <valence|arousal>/<video>.csv"))
    for name, video in by_name.items():
        files = gold.get(name, {})
        if len(files) == 1:
            raise UsageError(
                f"{video.relative_path} has labels in {next(iter(files.values())).path} alone; both are needed"
            )
        split = listed.get(name) or SPLIT_PREFIXES.get(name.rpartition("_")[0], "")
        stream = replace(video, split=split)
        if files:
            stream = replace(stream, labels_uri=files["valence"].uri, arousal_uri=files["arousal"].uri)
        streams.append(stream)
    return Streams(streams, unused)
