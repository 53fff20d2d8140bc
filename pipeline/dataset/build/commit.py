"""The commit of a dataset: its index, tables, card and data-quality page, then the marker that makes it one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from pipeline import storage
from pipeline.config import DATASET_MARKER, Config
from pipeline.dataset.build import attempts
from pipeline.dataset.build.dataset_warnings import dataset_warnings
from pipeline.dataset.build.merge import merge_spans
from pipeline.dataset.format import tables
from pipeline.dataset.format.dataset_info import (
    DatasetError,
    DatasetInfo,
    ShardEntry,
    info_to_json,
    read_dataset,
)
from pipeline.dataset.report.card import card_text
from pipeline.dataset.report.quality import quality_page
from pipeline.dataset.report.source_report import source_report
from pipeline.records import SampleRow, ShardRecord, UnusedInput, VideoRow
from pipeline.records.features import FeatureOrigin


def commit_dataset(
    dataset_uri: str,
    config: Config,
    records: Sequence[ShardRecord],
    toolchain: dict[str, str],
    provenance: dict[str, Any] | None = None,
    features: FeatureOrigin | None = None,
    unused: Sequence[UnusedInput] = (),
) -> DatasetInfo:
    """Write everything that lies beside the shards of a dataset, then `dataset.json`, last.

    Builds that commit at the same time agree on one dataset: the first marker counts, and the others compare theirs.

    Args:
        dataset_uri: folder of the dataset, in its normal spelling; the shards are there.
        config: the experiment.
        records: of all shards, in any order.
        toolchain: versions of the programs that made the shards.
        provenance: of a new version, its parent and what changed.
        features: of a dataset of features, what they were made of.
        unused: what the source names or holds without a video for it.

    Raises:
        DatasetError: another build committed a dataset of other bytes there.
        StorageError: the storage cannot be written.
    """
    records = sorted(records, key=lambda record: record.name)
    samples = [row for record in records for row in record.samples]
    videos = merge_spans(row for record in records for row in record.videos)
    shards = tuple(ShardEntry(record.name, record.sha256, record.size_bytes, len(record.samples)) for record in records)
    info = DatasetInfo(
        name=os.path.basename(dataset_uri),
        uri=dataset_uri,
        digest=_digest(shards),
        config=config,
        counts=_counts(videos, records),
        shards=shards,
        toolchain=toolchain,
        provenance=provenance or {},
        features=features,
        warnings=() if features else dataset_warnings(videos, unused, config),
    )
    marker_uri = storage.join(dataset_uri, DATASET_MARKER)
    if not storage.exists(marker_uri):  # what lies beside a marker must stay
        _publish_tables(info, records, samples, videos, [each for each in unused if each.kind != "file"])
        committed = storage.create_if_absent(info_to_json(info).encode(), marker_uri)
    else:
        committed = False
    if not committed:
        info = _same_as_committed(info)
    attempts.delete_marks(dataset_uri)
    return info


def _publish_tables(
    info: DatasetInfo,
    records: Sequence[ShardRecord],
    samples: Sequence[SampleRow],
    videos: Sequence[VideoRow],
    unused: Sequence[UnusedInput],
) -> None:
    """Publish the index, the rows of all videos, what is not used, the card and the data-quality page."""
    storage.publish_bytes(tables.to_parquet(samples, SampleRow), storage.join(info.uri, "index.parquet"))
    storage.publish_bytes(tables.to_parquet(videos, VideoRow), storage.join(info.uri, "videos.parquet"))
    storage.publish_bytes(tables.to_parquet(unused, UnusedInput), storage.join(info.uri, "unused.parquet"))
    storage.publish_bytes(card_text(info, videos, samples).encode(), storage.join(info.uri, "README.md"))
    sheets = [file.uri.removeprefix(f"{info.uri}/") for file in storage.list_files(f"{info.uri}/sheets")]
    html = quality_page(info, videos, samples, records, sheets, source_report(videos, unused))
    storage.publish_bytes(html.encode("utf-8", "backslashreplace"), storage.join(info.uri, "quality.html"))


def _same_as_committed(info: DatasetInfo) -> DatasetInfo:
    """Return the dataset that another build committed at the same URI, if it has the same bytes."""
    committed = read_dataset(info.uri)
    if committed.digest != info.digest:
        raise DatasetError(
            f"{info.uri} was committed meanwhile with digest {committed.digest[:12]}, this build has "
            f"{info.digest[:12]}: the same inputs gave other bytes; compare the sidecars in shards/"
        )
    return committed


def _digest(shards: Sequence[ShardEntry]) -> str:
    lines = "".join(f"{shard.name} {shard.sha256}\n" for shard in shards)
    return hashlib.sha256(lines.encode()).hexdigest()


def _counts(videos: Sequence[VideoRow], records: Sequence[ShardRecord]) -> dict[str, float]:
    """Count the streams by outcome, the shards, the samples and their megabytes."""
    return {
        "videos": len(videos),
        "ok": sum(row.status == "ok" for row in videos),
        "partial": sum(row.status == "ok" and row.reason == "partial" for row in videos),
        "rejected": sum(row.status == "rejected" for row in videos),
        "shards": len(records),
        "samples": sum(len(record.samples) for record in records),
        "mb": round(sum(record.size_bytes for record in records) / 1e6, 3),
    }
