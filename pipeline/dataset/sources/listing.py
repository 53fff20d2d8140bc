"""The input streams under a source: media files, their ids, their labels, groups and splits."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.sources.affwild2 import affwild2_streams
from pipeline.dataset.sources.content_id import content_ids, media_content_ids
from pipeline.dataset.sources.crop_folders import with_crops
from pipeline.dataset.sources.identical import KnownGroups, join_identical
from pipeline.dataset.sources.lists import read_lists
from pipeline.dataset.sources.recola import recola_streams
from pipeline.dataset.sources.splits import apply_manifest, read_manifest, spread_splits
from pipeline.dataset.sources.streams import LabelFile, folder_streams
from pipeline.records import UnusedInput, Video
from pipeline.records.quantities import count_text
from pipeline.storage import StoredFile

VIDEO_EXTENSIONS = {
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".vob", ".webm", ".wmv",
}  # fmt: skip
AUDIO_EXTENSIONS = {".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav", ".wma"}  # they become rejections
LABEL_EXTENSIONS = (".csv", ".txt")
MAX_ID_CHARS = 120
OnRead = Callable[[str, int, int], None]
_STREAMS = {"folder": folder_streams, "affwild2": affwild2_streams, "recola": recola_streams}  # by source.kind


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source holds."""

    videos: list[Video]  # sorted by key; the split is empty where none was named
    unused: list[UnusedInput]  # files, names in lists and rows of the manifest
    content_ids: dict[str, str]  # of every stream and label file, groups and named splits: what the fingerprint covers


@dataclass(frozen=True, slots=True)
class _File:
    """A file below a folder."""

    path: str  # relative, with "/"
    entry: StoredFile


def list_videos(config: Config, known_groups: KnownGroups | None = None, on_read: OnRead = lambda *_: None) -> Listing:
    """List the media files of the source, pair them with labels, and give every stream its group.

    Streams have the split that was named for their group, by the manifest, a list or the layout of a corpus; the split
    of the other ones is still empty.

    Args:
        config: the experiment.
        known_groups: of the dataset that is extended; a video whose group is not named keeps the one it has there.
        on_read: called after each file that was read, with what it is among, the number of these and of all of them.

    Raises:
        UsageError: the source is missing or holds no media file, two files get one id, two label files claim one
            stream, a group is in two splits, copies of one file are in two groups or splits, the manifest is not of
            its grammar, or `source.crops` has no crops of any stream.
    """
    if not config.source.videos:
        raise UsageError("source.videos is empty; give a folder or s3://bucket/prefix with --source.videos")
    files = _files_below(config.source.videos, "source.videos")
    media, beside = _media_files(files)
    if not media:
        hint = "; crops need the videos that they were cut from, for times and sound" if config.source.crops else ""
        raise UsageError(
            f"no video under source.videos {config.source.videos} ({count_text(len(files), 'file')}, none with a media "
            f"extension){hint}"
        )
    manifest = storage.normalise(config.source.manifest) if config.source.manifest else ""
    labels = [file for file in _label_files(config.source.labels) if file.entry.uri != manifest]
    find_streams = _STREAMS[config.source.kind]
    listed = read_lists(config.source.lists) if config.source.lists else {}
    streams = find_streams(_videos(media), [LabelFile(file.path, file.entry.uri) for file in labels], listed)
    videos, unknown = apply_manifest(streams.videos, read_manifest(manifest) if manifest else [])
    videos = sorted(spread_splits(videos), key=lambda video: video.key)
    _require_unique_keys(videos)
    videos = videos[: config.preprocess.limit or None]
    videos = with_crops(videos, config.source.crops) if config.source.crops else videos
    known = {file.entry.uri for file in [*media, *labels]} | {manifest, *(uri for uri, _ in beside)}
    other = [UnusedInput("file", file.path, file.path) for file in files if file.entry.uri not in known]
    unused = [*unknown, *streams.unused, *(sound for _, sound in beside), *other]
    videos = _with_content_ids(videos, [*media, *labels], config, on_read)
    videos = spread_splits(join_identical(videos, known_groups or {}))
    return Listing(videos, unused, _content_ids_of(videos))


def key_safe(relative_path: str) -> str:
    """An id for a path: ASCII, `/` as `__`, no dots, at most 120 characters.

    A hash of the path is its tail where the path is too long or not ASCII, since such names would collide.
    """
    stem = unicodedata.normalize("NFC", str(PurePosixPath(relative_path).with_suffix("")))
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", plain.replace("/", "__"))
    if stem.isascii() and len(safe) <= MAX_ID_CHARS:
        return safe
    tail = "-" + hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return safe[: MAX_ID_CHARS - len(tail)] + tail


def _files_below(uri: str, option: str) -> list[_File]:
    if not storage.exists(uri):
        raise UsageError(f"{option} {uri} does not exist")
    top = storage.normalise(uri)
    entries = storage.list_files(uri)
    return [_File(entry.uri.removeprefix(top).lstrip("/") or PurePosixPath(top).name, entry) for entry in entries]


def _media_files(files: Sequence[_File]) -> tuple[list[_File], list[tuple[str, UnusedInput]]]:
    """The files that become streams, and the URI of each sound file that is not one, since a video has its name."""
    extensions = {file.path: PurePosixPath(file.path).suffix.lower() for file in files}
    videos = {
        str(PurePosixPath(file.path).with_suffix("")): file.path
        for file in files
        if extensions[file.path] in VIDEO_EXTENSIONS
    }
    media, beside = [], []
    for file in files:
        video = videos.get(str(PurePosixPath(file.path).with_suffix("")))
        if extensions[file.path] in AUDIO_EXTENSIONS and video:
            text = f"{file.path}: sound beside {video}; only the sound inside the video is used"
            beside.append((file.entry.uri, UnusedInput("sound", file.path, text)))
        elif extensions[file.path] in VIDEO_EXTENSIONS | AUDIO_EXTENSIONS:
            media.append(file)
    return media, beside


def _label_files(uri: str) -> list[_File]:
    files = _files_below(uri, "source.labels") if uri else []
    if uri and [file.entry.uri for file in files] == [storage.normalise(uri)]:
        raise UsageError(f"source.labels {uri} is a file; give the folder that holds the label files")
    return [file for file in files if PurePosixPath(file.path).suffix.lower() in LABEL_EXTENSIONS]


def _videos(media: Sequence[_File]) -> list[Video]:
    """A stream for each media file."""
    videos: dict[str, Video] = {}
    for file in media:
        video_id = key_safe(file.path)
        if video_id in videos:
            first = videos[video_id].relative_path
            raise UsageError(f"{first!r} and {file.path!r} would both be called {video_id!r}; rename one of them")
        videos[video_id] = Video(video_id, file.path, file.entry.uri, file.entry.size_bytes, content_id="")
    return list(videos.values())


def _require_unique_keys(videos: Sequence[Video]) -> None:
    for first, second in itertools.pairwise(videos):
        if first.key == second.key:
            raise UsageError(
                f"{first.relative_path!r} (labels {first.labels_uri!r}) and {second.relative_path!r} (labels "
                f"{second.labels_uri!r}) would both be called {first.key!r}; rename one of them"
            )


def _with_content_ids(videos: Sequence[Video], files: Sequence[_File], config: Config, on_read: OnRead) -> list[Video]:
    """The streams with the content_ids of their media and label files, which are all among `files`."""
    entries = {file.entry.uri: file.entry for file in files}
    root, write_cache = config.storage.root, not config.preprocess.dry_run
    media = [entries[uri] for uri in dict.fromkeys(video.uri for video in videos)]
    of_media = media_content_ids(media, root, write_cache=write_cache, on_read=partial(on_read, "new videos"))
    label_uris = dict.fromkeys(uri for video in videos for uri in (video.labels_uri, video.arousal_uri) if uri)
    labels, on_label = [entries[uri] for uri in label_uris], partial(on_read, "new label files")
    of_labels = content_ids(labels, root, whole=True, write_cache=write_cache, on_read=on_label)
    return [
        replace(
            video,
            content_id=of_media[video.uri],
            labels_content_id="+".join(of_labels[uri] for uri in (video.labels_uri, video.arousal_uri) if uri),
        )
        for video in videos
    ]


def _content_ids_of(videos: Sequence[Video]) -> dict[str, str]:
    """What the fingerprint of a dataset covers of every stream, its labels and its crops."""
    covered = {f"stream {v.key}": f"{v.content_id} {v.group} {v.split}" for v in videos}
    covered |= {f"labels {v.key}": v.labels_content_id for v in videos if v.labels_uri}
    covered |= {f"crops {v.key}": v.crops_content_id for v in videos if v.crops_uri}
    return covered
