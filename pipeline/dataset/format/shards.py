"""Published shards: a tar, and the sidecar that says it is complete."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from pipeline import storage
from pipeline.config import Config
from pipeline.records import ShardRecord, Span
from pipeline.records.serialize import from_json, to_json

CHUNK_BYTES = 1 << 24  # that are held in memory while a file on storage is hashed


def shard_uri(dataset_uri: str, name: str, extension: str = "tar") -> str:
    """The URI of a shard; with the extension "json" that of its sidecar."""
    return storage.join(dataset_uri, "shards", f"{name}.{extension}")


def sheet_uri(dataset_uri: str, span: Span, config: Config) -> str:
    """The URI of a span's contact sheet."""
    start_ms = round(span.start_frame / config.media.frame_rate_hz * 1000)
    name = f"{span.video.key}_{start_ms:09d}" if start_ms else span.video.key
    return storage.join(dataset_uri, "sheets", f"{name}.jpg")


def write_shard(tar: Path, record: ShardRecord, dataset_uri: str) -> ShardRecord:
    """Publish a finished tar, then its sidecar, last.

    The time that publishing the tar takes is divided among its videos by their segments.

    Returns:
        The record as it stands in the sidecar.
    """
    begin = perf_counter()
    storage.publish(tar, shard_uri(dataset_uri, record.name))
    each_s = (perf_counter() - begin) / max(1, sum(row.num_segments for row in record.videos))
    videos = (replace(row, seconds_publish=row.seconds_publish + each_s * row.num_segments) for row in record.videos)
    record = replace(record, videos=tuple(videos))
    storage.publish_bytes(record_to_json(record).encode(), shard_uri(dataset_uri, record.name, "json"))
    return record


def record_to_json(record: ShardRecord) -> str:
    """The content of a shard's sidecar."""
    return to_json(record, indent=1)


def record_from_json(text: str) -> ShardRecord:
    """Inverse of `record_to_json`; ValueError when another version of this program wrote it."""
    return from_json(ShardRecord, text)


def finished_shard(dataset_uri: str, name: str, plan_digest: str) -> ShardRecord | None:
    """The record of a shard that an earlier build published, or None when it must be built.

    It counts only if it was made by the same plan and the tar's bytes have the sha256 of the record.
    """
    sidecar_uri, tar_uri = shard_uri(dataset_uri, name, "json"), shard_uri(dataset_uri, name)
    if not storage.exists(sidecar_uri) or not storage.exists(tar_uri):
        return None
    record = read_sidecar(sidecar_uri)
    if record is None or record.plan_digest != plan_digest:
        return None
    return record if sha256_of_uri(tar_uri) == record.sha256 else None


def read_sidecar(uri: str) -> ShardRecord | None:
    """The record in a sidecar; None when another version of this program wrote it."""
    try:
        return record_from_json(storage.read_text(uri))
    except ValueError:
        return None


def sha256_of_file(path: Path) -> str:
    """Hex digest of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_uri(uri: str) -> str:
    """Hex digest of a file on any storage, read in chunks."""
    digest, start = hashlib.sha256(), 0
    while chunk := storage.read_bytes(uri, start, CHUNK_BYTES):
        digest.update(chunk)
        start += len(chunk)
    return digest.hexdigest()
