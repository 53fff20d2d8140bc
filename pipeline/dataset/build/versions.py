"""A new version of a dataset: what it keeps of its parent, byte for byte, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from pipeline import storage
from pipeline.config import Config, UsageError, fingerprint
from pipeline.config.uris import uri_settings
from pipeline.dataset.format import shards
from pipeline.dataset.format.shard_file import ShardFile
from pipeline.dataset.format.shards import DatasetError, DatasetInfo
from pipeline.dataset.plan.shard_plan import digest
from pipeline.records import SampleRow, ShardPlan, ShardRecord, Video, VideoRow, stream_key
from pipeline.storage.scratch import scratch_folder

NUM_COPIERS = 8
MAX_NAMED = 10  # groups in one line
SETTINGS = ("source", "media", "faces", "sound", "segments")  # that all shards of a dataset share


@dataclass(frozen=True, slots=True)
class Difference:
    """How a source differs from the dataset that was made of it earlier; a changed stream is removed and added."""

    added: list[Video]
    removed: set[str]  # keys
    kept: set[str]
    splits_kept: dict[str, tuple[str, str]] = field(default_factory=dict)  # by group: its split, and what was asked for

    def fingerprint(self, parent: DatasetInfo, toolchain: dict[str, str]) -> str:
        """What the new version depends on besides the settings it shares with its parent."""
        streams = [[v.key, *_content(v), v.split] for v in self.added]
        return fingerprint("extend", parent.name, parent.digest, sorted(streams), sorted(self.removed), toolchain)


def compare(records: Sequence[ShardRecord], videos: Sequence[Video]) -> Difference:
    """What changed between the streams of a dataset and those of the source; groups keep the split they had."""
    before = {span.video.key: span.video for record in records for span in record.spans}
    splits = {video.group: video.split for video in before.values()}
    asked = {v.group: v.split for v in sorted(videos, key=lambda v: v.group)}
    moved = {group: (splits[group], split) for group, split in asked.items() if splits.get(group, split) != split}
    now = {v.key: replace(v, split=splits.get(v.group, v.split)) for v in videos}
    kept = {key for key, v in now.items() if key in before and _content(v) == _content(before[key])}
    return Difference([v for key, v in now.items() if key not in kept], before.keys() - kept, kept, moved)


def splits_kept_lines(difference: Difference, parent: DatasetInfo) -> tuple[str, ...]:
    """A warning about groups that the source now has in another split; none when there are none."""
    stays = [f"{group} in {split} (not {asked})" for group, (split, asked) in difference.splits_kept.items()]
    if not stays:
        return ()
    more = f", and {len(stays) - MAX_NAMED} more" if len(stays) > MAX_NAMED else ""
    return (
        f"WARNING: {len(stays)} groups stay in the split that {parent.name} has them in, though the source says "
        f"another: {', '.join(stays[:MAX_NAMED])}{more}; to move them, build a dataset anew, without --extend",
    )


def _content(video: Video) -> tuple[str, ...]:
    return video.content_id, video.labels_content_id, video.crops_content_id, video.group


def key_of(row: VideoRow | SampleRow) -> str:
    """The key of the stream that a row is of."""
    return stream_key(row.video_id, row.person)


def require_same_settings(config: Config, parent: DatasetInfo) -> None:
    """Raise UsageError when new shards would not fit beside those of the parent."""
    if parent.features:
        raise UsageError(
            f"{parent.uri} holds features; extend the dataset {parent.features.parent} that they are of, and run iaca "
            f"extract on its new version"
        )
    ours, theirs = (_settings(c) for c in (config, parent.config))
    for name, value in ours.items():
        if value != theirs[name]:
            raise UsageError(
                f"{name} is {value}, but {parent.name} was made with {theirs[name]}: "
                "a new version needs the settings of its parent"
            )


def _settings(config: Config) -> dict[str, object]:
    sections = {f"{s}.{name}": value for s in SETTINGS for name, value in vars(getattr(config, s)).items()}
    where = {*uri_settings(), "source.shared"}
    return {name: value for name, value in sections.items() if name not in where}


def read_records(info: DatasetInfo) -> list[ShardRecord]:
    """The sidecars of a dataset's shards.

    Raises:
        DatasetError: one is missing or does not belong to its shard.
    """
    with ThreadPoolExecutor(NUM_COPIERS) as readers:
        return list(readers.map(lambda shard: read_record(info, shard.name, shard.sha256), info.shards))


def read_record(info: DatasetInfo, name: str, sha256: str) -> ShardRecord:
    """The sidecar of one shard that `dataset.json` lists with this sha256."""
    uri = shards.shard_uri(info.uri, name, "json")
    try:
        record = shards.record_from_json(storage.read_text(uri))
    except (FileNotFoundError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{uri} cannot be read ({error}); without it nobody knows how {name} was made") from error
    if record.sha256 != sha256:
        raise DatasetError(f"{uri} is of a tar with sha256 {record.sha256}, dataset.json says {sha256}")
    return record


def reuse_shards(
    records: Sequence[ShardRecord], removed: Collection[str], parent: DatasetInfo, uri: str
) -> list[ShardRecord]:
    """The parent's shards at `uri`: those without a removed stream linked or copied, the others made without it.

    Nothing is decoded: the samples of a tar are copied one by one, which gives the bytes that a build from the
    source would give. A shard that nothing is left of is left out.
    """

    def carry(record: ShardRecord) -> ShardRecord | None:
        kept = [span for span in record.spans if span.video.key not in removed]
        if not kept:
            return None
        for span in kept:
            _copy_if_there(*(shards.sheet_uri(place, span, parent.config) for place in (parent.uri, uri)))
        if len(kept) < len(record.spans):
            return _without(record, removed, parent.uri, uri)
        for extension in ("tar", "json"):  # the sidecar last: it says that the tar is complete
            there = (shards.shard_uri(place, record.name, extension) for place in (parent.uri, uri))
            _copy_if_there(*there, needed=True)
        return record

    with ThreadPoolExecutor(NUM_COPIERS) as copiers:
        return [record for record in copiers.map(carry, records) if record]


def _copy_if_there(source: str, target: str, *, needed: bool = False) -> None:
    if needed or storage.exists(source):
        storage.copy(source, target)


def _without(record: ShardRecord, removed: Collection[str], parent_uri: str, uri: str) -> ShardRecord:
    """The shard again, with the samples and rows of the streams that stay."""
    spans = tuple(span for span in record.spans if span.video.key not in removed)
    plan_digest = digest(ShardPlan(record.name, record.name.rpartition("-")[0], spans))
    if found := shards.finished_shard(uri, record.name, plan_digest):
        return found
    source = shards.shard_uri(parent_uri, record.name)
    with scratch_folder() as directory:
        path = directory / f"{record.name}.tar"
        with ShardFile(path) as tar:
            for row in record.samples:
                if key_of(row) not in removed:
                    tar.add_slice(storage.read_bytes(source, row.offset, row.size), row)
        made = replace(
            record,
            sha256=shards.sha256_of(path),
            size_bytes=path.stat().st_size,
            plan_digest=plan_digest,
            samples=tuple(tar.rows),
            videos=tuple(row for row in record.videos if key_of(row) not in removed),
            spans=spans,
            label_grid=tuple(tar.label_grid.ravel().tolist()),
        )
        return shards.write_shard(path, made, uri)


def numbered_after(plans: Sequence[ShardPlan], records: Sequence[ShardRecord]) -> list[ShardPlan]:
    """The plans with names that none of the records has ever had."""
    last: dict[str, int] = {}
    for record in records:
        split, _, number = record.name.rpartition("-")
        last[split] = max(last.get(split, -1), int(number))
    renamed = []
    for plan in plans:
        last[plan.split] = last.get(plan.split, -1) + 1
        renamed.append(replace(plan, name=f"{plan.split}-{last[plan.split]:05d}"))
    return renamed
