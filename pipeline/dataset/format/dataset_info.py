"""A committed dataset: what `dataset.json` lists, and the tables that lie beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from pipeline import storage
from pipeline.config import DATASET_MARKER, FORMAT_VERSION, Config, UsageError
from pipeline.dataset.format import tables
from pipeline.dataset.format.shards import shard_uri
from pipeline.records import SampleRow, UnusedInput, VideoOutcome, VideoRow
from pipeline.records.features import FeatureOrigin
from pipeline.records.serialize import from_json, to_json

_Row = TypeVar("_Row", SampleRow, VideoRow, VideoOutcome, UnusedInput)


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
    """A committed dataset as `dataset.json` describes it."""

    name: str
    uri: str
    digest: str  # of the names and sha256 of all shards
    config: Config
    counts: dict[str, float]
    shards: tuple[ShardEntry, ...]
    toolchain: dict[str, str]
    provenance: dict[str, Any] = field(default_factory=dict)  # parent of a new version, and how many videos changed
    features: FeatureOrigin | None = None  # where samples hold features instead of crops and sound
    warnings: tuple[str, ...] = ()  # what a person should know of its videos, so that no command reads them all again


@dataclass(frozen=True, slots=True)
class DatasetMarker:
    """The content of `dataset.json`, key by key: a DatasetInfo without its URI, so that a dataset can be moved."""

    format_version: int
    name: str
    digest: str
    counts: dict[str, int | float]
    toolchain: dict[str, str]
    config: Config
    input_spec: dict[str, Any]  # iaca_model.config.InputSpec, for readers that do not have this program
    shards: tuple[ShardEntry, ...]
    provenance: dict[str, Any]
    features: FeatureOrigin | None
    warnings: tuple[str, ...] = ()


def info_to_json(info: DatasetInfo) -> str:
    """The content of `dataset.json`."""
    marker = DatasetMarker(
        format_version=FORMAT_VERSION,
        name=info.name,
        digest=info.digest,
        counts=info.counts,
        toolchain=info.toolchain,
        config=info.config,
        input_spec=asdict(info.config.input_spec),
        shards=info.shards,
        provenance=info.provenance,
        features=info.features,
        warnings=info.warnings,
    )
    return to_json(marker, indent=1)


def read_dataset(dataset_uri: str) -> DatasetInfo:
    """Read what a committed dataset holds.

    Raises:
        UsageError: there is no committed dataset there, or it is of another format version.
        DatasetError: `dataset.json` is not what this program writes.
        StorageError: the storage cannot be read.
    """
    uri = storage.normalise(dataset_uri)
    try:
        content = storage.read_bytes(storage.join(uri, DATASET_MARKER))
    except FileNotFoundError as error:
        raise UsageError(
            f"{uri} is not a finished dataset: it has no {DATASET_MARKER}; make it with iaca preprocess"
        ) from error
    try:
        return _info_from_json(uri, content.decode())
    except UsageError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{uri}/{DATASET_MARKER} is damaged or of another program: {_in_one_line(error)}") from error


def _info_from_json(uri: str, text: str) -> DatasetInfo:
    version = json.loads(text)["format_version"]  # first: a file of another version may have other keys
    if version != FORMAT_VERSION:
        raise UsageError(
            f"{uri} has format version {version}, this program reads {FORMAT_VERSION}; "
            "make it again with iaca preprocess"
        )
    marker = from_json(DatasetMarker, text)
    return DatasetInfo(
        name=marker.name,
        uri=uri,
        digest=marker.digest,
        config=marker.config,
        counts=marker.counts,
        shards=marker.shards,
        toolchain=marker.toolchain,
        provenance=marker.provenance,
        features=marker.features,
        warnings=marker.warnings,
    )


def require_complete(info: DatasetInfo) -> None:
    """Compare the shards on storage with those that `dataset.json` lists, by name and size.

    Raises:
        DatasetError: a shard is missing or of another size.
    """
    stored = {file.uri: file.size_bytes for file in storage.list_files(storage.join(info.uri, "shards"))}
    for shard in info.shards:
        size = stored.get(shard_uri(info.uri, shard.name))
        if size != shard.size_bytes:
            state = "is missing" if size is None else f"has {size} bytes"
            raise DatasetError(
                f"{info.uri} is committed, but {shard.name}.tar {state}; dataset.json says {shard.size_bytes} bytes: "
                f"iaca verify {info.uri} --repair builds it again"
            )


def read_index(dataset_uri: str) -> list[SampleRow]:
    """Read the rows of `index.parquet`: where every sample lies."""
    return _read_table(storage.join(dataset_uri, "index.parquet"), SampleRow)


def read_videos(dataset_uri: str) -> list[VideoRow]:
    """Read the rows of `videos.parquet`: what became of every input stream."""
    return _read_table(storage.join(dataset_uri, "videos.parquet"), VideoRow)


def read_outcomes(dataset_uri: str) -> list[VideoOutcome]:
    """Read of `videos.parquet` only the columns that tell which videos of a split can be used."""
    return _read_table(storage.join(dataset_uri, "videos.parquet"), VideoOutcome, is_part=True)


def read_unused(dataset_uri: str) -> list[UnusedInput]:
    """Read the rows of `unused.parquet`: what the source named or held without a video for it."""
    return _read_table(storage.join(dataset_uri, "unused.parquet"), UnusedInput)


def _read_table(uri: str, kind: type[_Row], is_part: bool = False) -> list[_Row]:
    data = storage.read_bytes(uri)
    try:
        return tables.from_parquet(data, kind, is_part)
    except ValueError as error:
        raise DatasetError(f"{uri} is damaged or of another program: {error}") from error


def _in_one_line(error: Exception) -> str:
    """The message of an error of reading the marker; only its version is looked up by a key."""
    return "it has no format_version" if isinstance(error, KeyError | TypeError) else " ".join(str(error).split())
