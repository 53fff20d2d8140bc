"""A new version of a dataset: which shards of its parent it reuses byte for byte, and which streams it drops."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from pipeline import storage
from pipeline.config import Config, UsageError, fingerprint
from pipeline.config.uris import uri_settings
from pipeline.dataset.format import shards
from pipeline.dataset.format.dataset_info import DatasetError, DatasetInfo
from pipeline.dataset.format.shard_file import ShardFile
from pipeline.dataset.plan.shard_plan import plan_digest
from pipeline.dataset.sources.identical import KnownGroups
from pipeline.records import SampleRow, ShardPlan, ShardRecord, UnusedInput, Video, VideoRow, stream_key
from pipeline.records.quantities import count_text, names_text
from pipeline.storage.scratch import scratch_folder

NUM_COPIERS = 8
MAX_LISTED_GROUPS = 10  # in one line
SHARED_SECTIONS = (
    "source",
    "media",
    "faces",
    "sound",
    "segments",
)  # of the configuration that all shards of a dataset share


@dataclass(frozen=True, slots=True)
class SourceDifference:
    """How a source differs from the dataset that was built from it earlier; a changed stream is removed and added."""

    added: list[Video]
    removed: set[str]  # keys of streams
    kept: dict[str, Video]  # streams of the dataset that stay, by key
    splits_kept: dict[str, tuple[str, str]] = field(default_factory=dict)  # by group: its split, and the requested one

    def fingerprint(self, parent: DatasetInfo, config: Config, toolchain: dict[str, str]) -> str:
        """What the new version depends on besides the settings it shares with its parent."""
        streams = [[video.key, *_content_of(video), video.split] for video in self.added]
        changes = (sorted(streams), sorted(self.removed), config.splits)
        return fingerprint("extend", parent.name, parent.digest, *changes, toolchain)


def compare_with_source(records: Sequence[ShardRecord], videos: Sequence[Video]) -> SourceDifference:
    """Find what changed between the streams of a dataset and those of the source.

    Args:
        records: of all shards of the dataset.
        videos: all streams of the source; a group that the dataset has keeps its split there.
    """
    before = _streams_of(records)
    splits = {video.group: video.split for video in before.values()}
    requested = {v.group: v.split for v in sorted(videos, key=lambda video: video.group) if v.split}
    splits_kept = {
        group: (splits[group], split) for group, split in requested.items() if splits.get(group, split) != split
    }
    now = {video.key: replace(video, split=splits.get(video.group, video.split)) for video in videos}
    kept = {k: before[k] for k, video in now.items() if k in before and _content_of(video) == _content_of(before[k])}
    added = [video for key, video in now.items() if key not in kept]
    return SourceDifference(added, before.keys() - kept.keys(), kept, splits_kept)


def known_groups(records: Sequence[ShardRecord]) -> KnownGroups:
    """The groups of a dataset, by the streams and the content that they were built from."""
    return {(video.key, video.content_id): video.group for video in _streams_of(records).values()}


def _streams_of(records: Sequence[ShardRecord]) -> dict[str, Video]:
    return {span.video.key: span.video for record in records for span in record.spans}


def splits_kept_warnings(difference: SourceDifference, parent: DatasetInfo) -> tuple[str, ...]:
    """A warning about groups that the source now has in another split; empty when there are none."""
    groups = [f"{group} in {split} (not {requested})" for group, (split, requested) in difference.splits_kept.items()]
    if not groups:
        return ()
    return (
        f"{count_text(len(groups), 'group')} kept in the split of {parent.name}, though the source says "
        f"another: {names_text(groups, max_names=MAX_LISTED_GROUPS)}; to move them, build a dataset anew, without "
        "--extend",
    )


def withdrawn_before(parent: DatasetInfo) -> int:
    """How many streams have left a dataset since its first version."""
    return int(parent.provenance.get("withdrawn", 0))


def unused_to_keep(
    unused: Sequence[UnusedInput], of_parent: Sequence[UnusedInput], gone: Iterable[Video], num_withdrawn: int
) -> list[UnusedInput]:
    """What a new version may list of what its source does not use: no name of anybody who withdrew.

    Labels, lists and manifests often go on naming somebody whose videos are gone. So once any stream has left, only
    what the parent lists is kept, which had no video even then, and of that nothing that bears the name of one that
    leaves now.

    Args:
        unused: what the source does not use as it is now.
        of_parent: what the parent lists.
        gone: the streams that leave with this version.
        num_withdrawn: streams that left with this version or an earlier one.
    """
    if not num_withdrawn:
        return list(unused)
    known = {(each.kind, each.name) for each in of_parent}
    names = {name for video in gone for text in (video.relative_path, video.video_id) for name in _names_in(text)}
    return [each for each in unused if (each.kind, each.name) in known and names.isdisjoint(_names_in(each.name))]


def _names_in(path: str) -> set[str]:
    """What the path of a file may call a video: with and without folder, extension and person."""
    names = {name for text in (path, os.path.basename(path)) for name in (text, os.path.splitext(text)[0])}
    return names | {name.removesuffix("_left").removesuffix("_right") for name in names}


def _content_of(video: Video) -> tuple[str, ...]:
    return video.content_id, video.labels_content_id, video.crops_content_id, video.group


def stream_key_of(row: VideoRow | SampleRow) -> str:
    """The key of the stream that a row belongs to."""
    return stream_key(row.video_id, row.person)


def require_same_settings(config: Config, parent: DatasetInfo) -> None:
    """Raise UsageError when new shards would not fit beside those of the parent."""
    if parent.features:
        raise UsageError(
            f"{parent.uri} holds features; extend the dataset {parent.features.parent} that they were computed "
            f"from, and run iaca extract on its new version"
        )
    parent_settings = _settings(parent.config)
    for name, value in _settings(config).items():
        if value != parent_settings[name]:
            raise UsageError(
                f"{name} is {value}, but {parent.name} was made with {parent_settings[name]}: "
                "a new version needs the settings of its parent"
            )


def _settings(config: Config) -> dict[str, object]:
    """The settings that all shards share, by name; where the inputs and ffmpeg lie is not one of them."""
    settings = {
        f"{section}.{name}": value
        for section in SHARED_SECTIONS
        for name, value in vars(getattr(config, section)).items()
    }
    locations = {*uri_settings(), "source.shared", "media.ffmpeg"}
    return {name: value for name, value in settings.items() if name not in locations}


def read_records(info: DatasetInfo) -> list[ShardRecord]:
    """Read the sidecars of a dataset's shards.

    Raises:
        DatasetError: one is missing or does not belong to its shard.
    """
    with ThreadPoolExecutor(NUM_COPIERS) as readers:
        return list(readers.map(lambda shard: read_record(info, shard.name, shard.sha256), info.shards))


def read_record(info: DatasetInfo, name: str, sha256: str) -> ShardRecord:
    """Read the sidecar of one shard that `dataset.json` lists with this sha256.

    Raises:
        DatasetError: it is missing, damaged, or of another tar.
    """
    uri = shards.shard_uri(info.uri, name, "json")
    try:
        record = shards.record_from_json(storage.read_text(uri))
    except (FileNotFoundError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{uri} cannot be read ({error}); without it there is no record of how {name} was built"
        ) from error
    if record.sha256 != sha256:
        raise DatasetError(f"{uri} is of a tar with sha256 {record.sha256}, dataset.json says {sha256}")
    return record


def reuse_shards(
    records: Sequence[ShardRecord], removed: Collection[str], parent: DatasetInfo, uri: str
) -> list[ShardRecord]:
    """Put the parent's shards at `uri`: those without a removed stream linked or copied, the others without it.

    Nothing is decoded: the samples of a tar are copied one by one, which gives the bytes that a build from the
    source would give. A shard that only holds removed streams is left out.
    """

    def reuse(record: ShardRecord) -> ShardRecord | None:
        return _reuse_shard(record, removed, parent, uri)

    with ThreadPoolExecutor(NUM_COPIERS) as copiers:
        return [record for record in copiers.map(reuse, records) if record]


def _reuse_shard(record: ShardRecord, removed: Collection[str], parent: DatasetInfo, uri: str) -> ShardRecord | None:
    kept = [span for span in record.spans if span.video.key not in removed]
    if not kept:
        return None
    for span in kept:
        sheet = shards.sheet_uri(parent.uri, span, parent.config)
        if storage.exists(sheet):
            storage.copy(sheet, shards.sheet_uri(uri, span, parent.config))
    if len(kept) < len(record.spans):
        return _copy_without(record, removed, parent.uri, uri)
    for extension in ("tar", "json"):  # the sidecar last: it says that the tar is complete
        source = shards.shard_uri(parent.uri, record.name, extension)
        storage.copy(source, shards.shard_uri(uri, record.name, extension))
    return record


def _copy_without(record: ShardRecord, removed: Collection[str], parent_uri: str, uri: str) -> ShardRecord:
    """Write the shard again with the samples and rows of the streams that stay."""
    spans = tuple(span for span in record.spans if span.video.key not in removed)
    digest = plan_digest(ShardPlan(record.name, record.name.rpartition("-")[0], spans))
    if finished := shards.finished_shard(uri, record.name, digest):
        return finished
    source = shards.shard_uri(parent_uri, record.name)
    with scratch_folder() as directory:
        path = directory / f"{record.name}.tar"
        with ShardFile(path) as tar:
            for row in record.samples:
                if stream_key_of(row) not in removed:
                    tar.add_slice(storage.read_bytes(source, row.offset, row.size), row)
        smaller = replace(
            record,
            sha256=shards.sha256_of_file(path),
            size_bytes=path.stat().st_size,
            plan_digest=digest,
            samples=tuple(tar.rows),
            videos=tuple(row for row in record.videos if stream_key_of(row) not in removed),
            spans=spans,
            label_grid=tuple(tar.label_grid.ravel().tolist()),
        )
        return shards.write_shard(path, smaller, uri)


def renumber_after(plans: Sequence[ShardPlan], records: Sequence[ShardRecord]) -> list[ShardPlan]:
    """Rename the plans so that no name is one of the records' names, whose shards may be in use."""
    last: dict[str, int] = {}
    for record in records:
        split, _, number = record.name.rpartition("-")
        last[split] = max(last.get(split, -1), int(number))
    renamed = []
    for plan in plans:
        last[plan.split] = last.get(plan.split, -1) + 1
        renamed.append(replace(plan, name=f"{plan.split}-{last[plan.split]:05d}"))
    return renamed
