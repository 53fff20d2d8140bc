"""Folders of face crops that were cut by another program: which belong to which stream, and what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline import storage
from pipeline.config import UsageError
from pipeline.media.read_crops import MAX_BYTES, crop_name
from pipeline.records import Rejection, Video


def with_crops(videos: Sequence[Video], folder_uri: str) -> list[Video]:
    """Give every stream its own folder of crops below `folder_uri`.

    The folder is called like the video, without extension and with the person where there is one: at the same relative
    path if it is there, else directly below (as in Aff-Wild2).

    Raises:
        UsageError: `folder_uri` does not exist, or no stream has a folder below it.
    """
    if not storage.exists(folder_uri):
        raise UsageError(f"source.crops {folder_uri} does not exist")
    streams = [_with_folder(video, folder_uri) for video in videos]
    if not any(video.crops_content_id for video in streams):
        expected = ", ".join(video.crops_uri for video in streams[:3])
        raise UsageError(f"no folder of crops below source.crops {folder_uri}; expected {expected}")
    return streams


def crop_reader(video: Video) -> Callable[[int], bytes | None]:
    """A function that reads the crop of an original frame, or returns None where there is none.

    Of a file that is larger than `MAX_BYTES` it reads one byte more than that, by which the caller notices.

    Raises:
        Rejection: ("source", "changed") when the folder is not the one that the plan was made for.
    """
    uris, content_id = _files_in(video.crops_uri)
    if content_id != video.crops_content_id:
        planned = video.crops_content_id or "none"
        raise Rejection(
            "source", "changed", f"{video.crops_uri}: planned with crops {planned}, now it has {content_id}"
        )
    by_name = {PurePosixPath(uri).name: uri for uri in uris}

    def read(source_index: int) -> bytes | None:
        uri = by_name.get(crop_name(source_index))
        return storage.read_bytes(uri, 0, MAX_BYTES + 1) if uri else None

    return read


def _with_folder(video: Video, folder_uri: str) -> Video:
    stem = str(PurePosixPath(video.relative_path).with_suffix(""))
    name = f"{stem}_{video.person}" if video.person else stem
    same_path = storage.join(folder_uri, *PurePosixPath(name).parts)
    for uri in (same_path, storage.join(folder_uri, PurePosixPath(name).name)):
        files, content_id = _files_in(uri)
        if files:
            return replace(video, crops_uri=uri, crops_content_id=content_id)
    return replace(video, crops_uri=same_path)


def _files_in(uri: str) -> tuple[list[str], str]:
    """The JPEG files of a folder, and the sha256 of their names and sizes: no two sets of crops share all sizes."""
    below = storage.normalise(uri).rstrip("/")
    files = [
        file for file in storage.list_files(uri) if file.uri.endswith(".jpg") and file.uri.rpartition("/")[0] == below
    ]
    listing = "\n".join(f"{PurePosixPath(file.uri).name} {file.size_bytes}" for file in files)
    content_id = f"{len(files)}-{hashlib.sha256(listing.encode()).hexdigest()}" if files else ""
    return [file.uri for file in files], content_id
