"""A dataset on storage: deterministic tars with their sidecars, then the index, then the marker that commits it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from pipeline import storage
from pipeline.config import FORMAT_VERSION, Config, UsageError
from pipeline.dataset.build import attempts
from pipeline.dataset.build.merge import merge_spans
from pipeline.dataset.format import tables
from pipeline.dataset.report import card, quality
from pipeline.records import SampleRow, ShardRecord, Span, VideoRow
from pipeline.records.features import FeatureOrigin
from pipeline.records.serialize import from_json, to_json

CHUNK_BYTES = 1 << 24
_Row = TypeVar("_Row", SampleRow, VideoRow)


class DatasetError(ValueError):
    """A dataset that is damaged, unfinished, or not the one it should be."""


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard as `dataset.json` lists it."""

    name: str
    sha256: str
    size_bytes: int
    num_samples: int


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What `dataset.json` says of a committed dataset."""

    name: str
    uri: str
    digest: str  # of the names and sha256 of all shards
    config: Config
    counts: dict[str, float]
    shards: tuple[ShardEntry, ...]
    toolchain: dict[str, str]
    provenance: dict[str, Any] = field(
        default_factory=dict
    )  # the parent of a new version, and what changed, in numbers
    features: FeatureOrigin | None = None  # where samples hold features instead of crops and sound


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shard_uri(dataset_uri: str, name: str, extension: str = "tar") -> str:
    """Where a shard, or its sidecar, lies."""
    return storage.join(dataset_uri, "shards", f"{name}.{extension}")


def sheet_uri(dataset_uri: str, span: Span, config: Config) -> str:
    """Where the contact sheet of a span lies."""
    start_ms = round(span.start_frame / config.media.frame_rate_hz * 1000)
    name = f"{span.video.key}_{start_ms:09d}" if start_ms else span.video.key
    return storage.join(dataset_uri, "sheets", f"{name}.jpg")


def write_shard(tar: Path, record: ShardRecord, dataset_uri: str) -> ShardRecord:
    """Publish a finished tar, then the sidecar that says it is complete; the record that lies there.

    What publishing the tar takes is shared out among its videos by their segments.
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
    """Inverse of `record_to_json`."""
    return from_json(ShardRecord, text)


def finished_shard(dataset_uri: str, name: str, plan_digest: str) -> ShardRecord | None:
    """The record of a shard that an earlier build published, or None when it must be built.

    It counts only if it was made by the same plan and the tar's bytes have the sha256 of the record.
    """
    sidecar = shard_uri(dataset_uri, name, "json")
    if not storage.exists(sidecar) or not storage.exists(shard_uri(dataset_uri, name)):
        return None
    record = read_sidecar(sidecar)
    if record is None or record.plan_digest != plan_digest:
        return None
    return record if sha256_at(shard_uri(dataset_uri, name)) == record.sha256 else None


def read_sidecar(uri: str) -> ShardRecord | None:
    """The record in a sidecar; None when another version of this program wrote it."""
    try:
        return record_from_json(storage.read_text(uri))
    except ValueError:
        return None


def sha256_at(uri: str) -> str:
    """Hex digest of a file on any storage, read in chunks."""
    digest, start, size = hashlib.sha256(), 0, CHUNK_BYTES
    while chunk := storage.read_bytes(uri, start, size):
        digest.update(chunk)
        start += len(chunk)
    return digest.hexdigest()


def finish_dataset(
    dataset_uri: str,
    config: Config,
    records: Sequence[ShardRecord],
    toolchain: dict[str, str],
    provenance: dict[str, Any] | None = None,
    features: FeatureOrigin | None = None,
) -> DatasetInfo:
    """Write the index, the rows of all videos, the card and the data-quality page, then commit by `dataset.json`.

    Raises:
        DatasetError: another build committed a dataset of other bytes there.
    """
    records = sorted(records, key=lambda record: record.name)
    rows = [row for record in records for row in record.samples]
    videos = merge_spans(row for record in records for row in record.videos)
    info = _info(dataset_uri, config, records, toolchain, counts_of(videos, records))
    info = replace(info, provenance=provenance or {}, features=features)
    if storage.exists(storage.join(dataset_uri, "dataset.json")):  # then what lies beside it must stay
        info = _same_as_committed(info)
        attempts.delete_marks(dataset_uri)
        return info
    storage.publish_bytes(tables.to_parquet(rows, SampleRow), storage.join(dataset_uri, "index.parquet"))
    storage.publish_bytes(tables.to_parquet(videos, VideoRow), storage.join(dataset_uri, "videos.parquet"))
    text = card.card_text(info.name, info.digest, config, videos, rows, toolchain, provenance, features)
    storage.publish_bytes(text.encode(), storage.join(dataset_uri, "README.md"))
    sheets = [entry.uri.removeprefix(f"{dataset_uri}/") for entry in storage.list_files(f"{dataset_uri}/sheets")]
    html = quality.page(info.name, info.digest, videos, rows, records, sheets)
    storage.publish_bytes(html.encode("utf-8", "backslashreplace"), storage.join(dataset_uri, "quality.html"))
    if not storage.create_if_absent(_info_to_json(info).encode(), storage.join(dataset_uri, "dataset.json")):
        info = _same_as_committed(info)
    attempts.delete_marks(dataset_uri)
    return info


def _same_as_committed(info: DatasetInfo) -> DatasetInfo:
    """The dataset that somebody else committed at the same place, if it has the same bytes."""
    other = read_dataset(info.uri)
    if other.digest != info.digest:
        raise DatasetError(
            f"{info.uri} was committed meanwhile with digest {other.digest[:12]}, this build has "
            f"{info.digest[:12]}: the same inputs gave other bytes; compare the sidecars in shards/"
        )
    return other


def require_complete(info: DatasetInfo) -> None:
    """Compare the shards that are there with those that `dataset.json` lists, by name and size.

    Raises:
        DatasetError: one is missing or of another size.
    """
    there = {entry.uri: entry.size_bytes for entry in storage.list_files(storage.join(info.uri, "shards"))}
    for shard in info.shards:
        size = there.get(shard_uri(info.uri, shard.name))
        if size != shard.size_bytes:
            found = "is missing" if size is None else f"has {size} bytes"
            raise DatasetError(
                f"{info.uri} is committed, but {shard.name}.tar {found}; dataset.json says {shard.size_bytes} bytes: "
                f"iaca verify {info.uri} --repair builds it again"
            )


def counts_of(videos: Sequence[VideoRow], records: Sequence[ShardRecord]) -> dict[str, float]:
    """Streams by outcome, and how much there is of everything."""
    return {
        "videos": len(videos),
        "ok": sum(row.status == "ok" for row in videos),
        "partial": sum(row.status == "ok" and row.reason == "partial" for row in videos),
        "rejected": sum(row.status == "rejected" for row in videos),
        "shards": len(records),
        "samples": sum(len(record.samples) for record in records),
        "mb": round(sum(record.size_bytes for record in records) / 1e6, 3),
    }


def _info(
    uri: str, config: Config, records: Sequence[ShardRecord], toolchain: dict[str, str], counts: dict[str, float]
) -> DatasetInfo:
    shards = tuple(ShardEntry(r.name, r.sha256, r.size_bytes, len(r.samples)) for r in records)
    lines = "".join(f"{shard.name} {shard.sha256}\n" for shard in shards)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return DatasetInfo(os.path.basename(uri), uri, digest, config, counts, shards, toolchain)


def _info_to_json(info: DatasetInfo) -> str:
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": info.name,
        "digest": info.digest,
        "counts": info.counts,
        "toolchain": info.toolchain,
        "config": info.config.model_dump(mode="json"),
        "input_spec": asdict(info.config.input_spec),
        "shards": [asdict(shard) for shard in info.shards],
        "provenance": info.provenance,
    }
    if info.features:
        values["features"] = asdict(info.features)
    return json.dumps(values, indent=1)


def read_dataset(dataset_uri: str) -> DatasetInfo:
    """What a committed dataset holds.

    Raises:
        UsageError: there is no committed dataset there, or it is of another format version.
        DatasetError: `dataset.json` is not what this program writes.
    """
    uri = storage.normalise(dataset_uri)
    try:
        content = storage.read_bytes(storage.join(uri, "dataset.json"))
    except FileNotFoundError as error:
        raise UsageError(
            f"{uri} is not a finished dataset: it has no dataset.json; make it with iaca preprocess"
        ) from error
    try:
        return _info_from(uri, json.loads(content))
    except UsageError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{uri}/dataset.json is damaged or of another program: {_in_one_line(error)}") from error


def _info_from(uri: str, values: dict[str, Any]) -> DatasetInfo:
    if values["format_version"] != FORMAT_VERSION:
        raise UsageError(f"{uri} has format version {values['format_version']}, this program reads {FORMAT_VERSION}")
    shards = tuple(ShardEntry(**shard) for shard in values["shards"])
    config = Config.model_validate(values["config"])
    counts, tools, provenance = values["counts"], values["toolchain"], values.get("provenance", {})
    features = FeatureOrigin(**values["features"]) if "features" in values else None
    return DatasetInfo(values["name"], uri, values["digest"], config, counts, shards, tools, provenance, features)


def read_index(dataset_uri: str) -> list[SampleRow]:
    """The rows of `index.parquet`: where every sample lies."""
    return _read_table(storage.join(dataset_uri, "index.parquet"), SampleRow)


def read_videos(dataset_uri: str) -> list[VideoRow]:
    """The rows of `videos.parquet`: what became of every input stream."""
    return _read_table(storage.join(dataset_uri, "videos.parquet"), VideoRow)


def _read_table(uri: str, kind: type[_Row]) -> list[_Row]:
    data = storage.read_bytes(uri)
    try:
        return tables.from_parquet(data, kind)
    except ValueError as error:
        raise DatasetError(f"{uri} is damaged or of another program: {error}") from error


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
