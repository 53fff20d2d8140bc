"""The content_id of an input file: its size and sha256, of the two ends or of all bytes, cached under the root."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.storage import StoredFile

END_BYTES = 1 << 20
CHUNK_BYTES = 1 << 22  # that each reader holds
NUM_READERS = 16
_CACHE = ("cache", "content_ids.json")


def content_ids(
    entries: Iterable[StoredFile],
    root: str,
    *,
    whole: bool = False,
    write_cache: bool = True,
    on_read: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """The content_id of every entry by its URI; only files whose size or version changed are read again.

    Args:
        entries: the files.
        root: where the cache lies, a folder or s3://bucket/prefix.
        whole: hash all bytes (for small files that may be edited in the middle), not only the two ends.
        write_cache: False for a plan, which must leave nothing under the root.
        on_read: called after each file that was read, with the number of those and of all that have to be.
    """
    names = {_cache_name(entry.uri, whole): entry for entry in entries}
    cache_uri = storage.join(root, *_CACHE)
    cache = _read_cache(cache_uri)
    stale = {name: entry for name, entry in names.items() if cache.get(name, [None])[:-1] != _cache_key(entry, whole)}
    with ThreadPoolExecutor(NUM_READERS) as readers:
        found = readers.map(lambda entry: _read(entry, whole), stale.values())
        for num_read, ((name, entry), content_id) in enumerate(zip(stale.items(), found, strict=True), 1):
            cache[name] = [*_cache_key(entry, whole), content_id]
            if on_read:
                on_read(num_read, len(stale))
    if stale and write_cache:
        _publish_cache(cache, cache_uri)
    return {entry.uri: cache[name][-1] for name, entry in names.items()}


def media_content_ids(
    entries: Iterable[StoredFile],
    root: str,
    *,
    write_cache: bool = True,
    on_read: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """The content_id of every media file by its URI: one for copies of a file, another for every other file.

    Files whose size and two ends are equal are compared as a whole (raw recordings may begin and end in silence and
    blackness). If they are not all equal, the sha256 of all bytes follows in their content_ids.

    Args:
        entries: all media files of a source.
        root: where the cache lies, a folder or s3://bucket/prefix.
        write_cache: False for a plan, which must leave nothing under the root.
        on_read: called after each file that was read, with the number of those and of all that have to be.
    """
    entries = list(entries)
    ids = content_ids(entries, root, write_cache=write_cache, on_read=on_read)
    alike: dict[str, list[StoredFile]] = {}
    for entry in entries:
        if entry.size_bytes > 2 * END_BYTES:  # of smaller files all bytes are in the ends
            alike.setdefault(ids[entry.uri], []).append(entry)
    doubtful = [same for same in alike.values() if len(same) > 1]
    if not doubtful:
        return ids
    whole_ids = content_ids(itertools.chain(*doubtful), root, whole=True, write_cache=write_cache, on_read=on_read)
    for same in doubtful:
        if len({whole_ids[entry.uri] for entry in same}) > 1:
            ids |= {entry.uri: _with_whole(ids[entry.uri], whole_ids[entry.uri]) for entry in same}
    return ids


def delete_cached(uris: Iterable[str], root: str) -> None:
    """Remove files that were withdrawn from the cache, and so their names."""
    cache_uri = storage.join(root, *_CACHE)
    cache = _read_cache(cache_uri)
    withdrawn = cache.keys() & {_cache_name(uri, whole) for uri in uris for whole in (False, True)}
    if withdrawn:
        _publish_cache({uri: values for uri, values in cache.items() if uri not in withdrawn}, cache_uri)


def _read_cache(uri: str) -> dict[str, list[Any]]:
    """By the name of a file's entry: size, version, whether all bytes were hashed, and last the content_id."""
    return json.loads(storage.read_text(uri)) if storage.exists(uri) else {}


def _publish_cache(cache: dict[str, list[Any]], uri: str) -> None:
    storage.publish_bytes(json.dumps(cache, sort_keys=True, indent=0).encode(), uri)


def content_id_of_file(path: Path, *, planned: str = "") -> str:
    """The content_id of a local file, as `content_ids` gives it for the same bytes on any storage.

    Args:
        path: of the file.
        planned: its content_id when it was listed; if that has the sha256 of all bytes, so has the one returned.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(END_BYTES)
        file.seek(max(0, size - END_BYTES))
        content_id = _content_id(size, [first, file.read(END_BYTES)])
        if planned.count("-") < 2:
            return content_id
        file.seek(0)
        return _with_whole(content_id, _content_id(size, iter(lambda: file.read(CHUNK_BYTES), b"")))


def content_id_of_bytes(data: bytes) -> str:
    """The content_id of a whole small file, as `content_ids` gives it with `whole`."""
    return _content_id(len(data), [data])


def _with_whole(content_id: str, whole_id: str) -> str:
    """The content_id of a file that agrees with another one in size and both ends, but not in between."""
    return f"{content_id}-{whole_id.rpartition('-')[2]}"


def _cache_name(uri: str, whole: bool) -> str:
    """The name of an entry in the cache: a file may have one for its ends and one for all of its bytes."""
    return f"whole {uri}" if whole else uri


def _cache_key(entry: StoredFile, whole: bool) -> list[object]:
    return [entry.size_bytes, entry.version, whole]


def _read(entry: StoredFile, whole: bool) -> str:
    size = entry.size_bytes
    if whole:
        return _content_id(size, (storage.read_bytes(entry.uri, at, CHUNK_BYTES) for at in range(0, size, CHUNK_BYTES)))
    first = storage.read_bytes(entry.uri, 0, min(size, END_BYTES)) if size else b""
    last = storage.read_bytes(entry.uri, max(0, size - END_BYTES), min(size, END_BYTES)) if size else b""
    return _content_id(size, [first, last])


def _content_id(size_bytes: int, parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return f"{size_bytes}-{digest.hexdigest()}"
