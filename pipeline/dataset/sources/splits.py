"""Groups and splits that were named: those of the manifest, and the split of a group for all of its videos."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import PurePosixPath

from pipeline import storage
from pipeline.config import UsageError
from pipeline.dataset.sources.identical import group_of
from pipeline.records import UnusedInput, Video

SPLITS = ("train", "val", "test")
MANIFEST_HEADER = ["video", "group", "split"]


@dataclasses.dataclass(frozen=True, slots=True)
class ManifestRow:
    """One row of the manifest; an empty group or split leaves that of the video as it is."""

    number: int  # of the line, the header is 1
    video: str  # relative path, with or without extension, or video_id
    group: str
    split: str


def read_manifest(uri: str) -> list[ManifestRow]:
    """Read the CSV `video,group,split`.

    Raises:
        UsageError: the file cannot be read, a row is not of the grammar, or two rows differ about one
            video; the message has the row's number.
    """
    try:
        text = storage.read_text(uri)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"source.manifest {uri} cannot be read: {error}") from error
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if header != MANIFEST_HEADER:
            raise UsageError(f"{uri}, row 1: the header is {','.join(header)!r}; it must be 'video,group,split'")
        rows = [_manifest_row(uri, reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise UsageError(f"{uri}, row {reader.line_num}: {error}") from error
    _check_contradictions(uri, rows)
    return rows


def _check_contradictions(uri: str, rows: Sequence[ManifestRow]) -> None:
    first_rows: dict[str, ManifestRow] = {}
    for row in rows:
        first = first_rows.setdefault(row.video, row)
        if (row.group, row.split) != (first.group, first.split):
            raise UsageError(
                f"{uri}, row {row.number}: {row.video} is of group {row.group!r}, split {row.split!r}; "
                f"row {first.number} says group {first.group!r}, split {first.split!r}"
            )


def _manifest_row(uri: str, number: int, cells: list[str]) -> ManifestRow:
    cells = [cell.strip() for cell in cells]
    if len(cells) != len(MANIFEST_HEADER):
        raise UsageError(f"{uri}, row {number}: {len(cells)} cells; it must have 3: video,group,split")
    video, group, split = cells
    if split and split not in SPLITS:
        raise UsageError(f"{uri}, row {number}: split is {split!r}; allowed: train, val, test or empty")
    return ManifestRow(number, video, group, split)


def apply_manifest(videos: Sequence[Video], rows: Sequence[ManifestRow]) -> tuple[list[Video], list[UnusedInput]]:
    """Give the videos the manifest's groups and splits; also each row that names no video."""
    streams: dict[str, list[int]] = {}
    for index, video in enumerate(videos):
        names = {
            video.relative_path,
            str(PurePosixPath(video.relative_path).with_suffix("")),
            video.video_id,
            video.key,
        }
        for name in names:
            streams.setdefault(name, []).append(index)
    updated = list(videos)
    unused = []
    for row in rows:
        if row.video not in streams:
            text = f"manifest row {row.number}: no video {row.video!r} under the source"
            unused.append(UnusedInput("manifest", row.video, text))
        for index in streams.get(row.video, []):
            video = updated[index]
            updated[index] = dataclasses.replace(video, group=row.group or video.group, split=row.split or video.split)
    return updated, unused


def spread_splits(videos: Sequence[Video]) -> list[Video]:
    """Give every video the split that was named for a video of its group; videos of the other groups have none yet.

    Raises:
        UsageError: videos of one group have two splits.
    """
    first_videos: dict[str, Video] = {}
    for video in videos:
        if not video.split:
            continue
        group = group_of(video)
        first = first_videos.setdefault(group, video)
        if first.split != video.split:
            raise UsageError(
                f"group {group!r} is in two splits: {_name(first)} in {first.split}, "
                f"{_name(video)} in {video.split}; all videos of a group must be in one"
            )
    splits = {group: video.split for group, video in first_videos.items()}
    return [dataclasses.replace(video, split=splits.get(group_of(video), "")) for video in videos]


def _name(video: Video) -> str:
    """The path of a stream's file, or where that has several people the key of the stream."""
    return video.key if video.person else video.relative_path
