"""The content_id of an input file: its size and the sha256 of its two ends, cached under the root."""

from __future__ import annotations

import hashlib
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
    entries = list(entries)
    cache_uri = storage.join(root, *_CACHE)
    cache = _read_cache(cache_uri)
    stale = [entry for entry in entries if cache.get(entry.uri, [None])[:-1] != _cache_key(entry, whole)]
    with ThreadPoolExecutor(NUM_READERS) as readers:
        found = readers.map(lambda entry: _read(entry, whole), stale)
        for num_read, (entry, content_id) in enumerate(zip(stale, found, strict=True), 1):
            cache[entry.uri] = [*_cache_key(entry, whole), content_id]
            if on_read:
                on_read(num_read, len(stale))
    if stale and write_cache:
        _publish_cache(cache, cache_uri)
    return {entry.uri: cache[entry.uri][-1] for entry in entries}


def delete_cached(uris: Iterable[str], root: str) -> None:
    """Remove files that were withdrawn from the cache, and so their names."""
    cache_uri = storage.join(root, *_CACHE)
    cache = _read_cache(cache_uri)
    withdrawn = cache.keys() & set(uris)
    if withdrawn:
        _publish_cache({uri: values for uri, values in cache.items() if uri not in withdrawn}, cache_uri)


def _read_cache(uri: str) -> dict[str, list[Any]]:
    """By the URI of a file: size, version, whether all bytes were hashed, and last the content_id."""
    return json.loads(storage.read_text(uri)) if storage.exists(uri) else {}


def _publish_cache(cache: dict[str, list[Any]], uri: str) -> None:
    storage.publish_bytes(json.dumps(cache, sort_keys=True, indent=0).encode(), uri)


def content_id_of_file(path: Path) -> str:
    """The content_id of a local file, as `content_ids` gives it for the same bytes on any storage."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(END_BYTES)
        file.seek(max(0, size - END_BYTES))
        return _content_id(size, [first, file.read(END_BYTES)])


def content_id_of_bytes(data: bytes) -> str:
    """The content_id of a whole small file, as `content_ids` gives it with `whole`."""
    return _content_id(len(data), [data])


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
