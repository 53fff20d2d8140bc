"""From plans to a committed dataset of crops and sound."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import Config
from pipeline.dataset.build.attempts import MAX_CRASHES
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.build.merge import merge_spans
from pipeline.dataset.format.dataset_info import DatasetInfo, read_unused, read_videos
from pipeline.dataset.plan.check_splits import built_split_warnings, require_built_trainable
from pipeline.dataset.plan.shard_plan import plan_digest
from pipeline.dataset.report.face_warnings import detector_advice, face_warnings
from pipeline.dataset.sources.source_warnings import label_warnings, sound_warnings, source_warnings
from pipeline.jobs.build_missing import RejectionBudget, ShardTasks, build_missing, check_rejected
from pipeline.jobs.workers.pool import ActorOptions, WorkerPool
from pipeline.jobs.workers.shard_builder import ShardBuilder, load_detector
from pipeline.records import ShardPlan, ShardRecord, UnusedInput, VideoRow


@dataclass(frozen=True, slots=True)
class BuildTarget:
    """A dataset that is to be built."""

    uri: str
    config: Config
    toolchain: dict[str, str]  # of the driver, which that of every worker must equal


def build_dataset(
    target: BuildTarget,
    plans: Sequence[ShardPlan],
    pool: WorkerPool,
    reused: Sequence[ShardRecord] = (),
    provenance: dict[str, Any] | None = None,
    unused: Sequence[UnusedInput] = (),
) -> DatasetInfo:
    """Build what is missing of the plans and commit it, together with the shards that are reused from a parent.

    Raises:
        DatasetError: more videos were rejected than `shards.max_rejected_fraction` allows, or another build committed
            other bytes at the same URI.
    """
    records = [*reused, *build_shards(target, plans, pool, reused)]
    check_rejections(merge_spans(row for record in records for row in record.videos), target.config)
    return commit_dataset(target.uri, target.config, records, target.toolchain, provenance, unused=unused)


def built_warnings(info: DatasetInfo, config: Config, unused: Sequence[UnusedInput] | None = None) -> tuple[str, ...]:
    """What a person should know of a dataset that is built: splits that lack something, and what is to be mended.

    Args:
        info: the dataset.
        config: of the command.
        unused: in the source as it is now; None: as it was when the dataset was built.

    Raises:
        UsageError: `preprocess.require_trainable` is set, and rejections have left a split without labelled videos.
    """
    rows = read_videos(info.uri)
    unused = read_unused(info.uri) if unused is None else unused
    if config.preprocess.require_trainable:
        require_built_trainable(rows, config, info.uri)
    about_faces = [f"{line}; see quality.html" for line in face_warnings(rows)]
    return (
        *built_split_warnings(rows, config),
        *source_warnings(rows, unused),
        *label_warnings(rows),
        *sound_warnings(rows, unused),
        *about_faces,
        *detector_advice(rows, config),
    )


def build_shards(
    target: BuildTarget, plans: Sequence[ShardPlan], pool: WorkerPool, beside: Sequence[ShardRecord] = ()
) -> list[ShardRecord]:
    """Build what is missing of the plans; the records of all their shards.

    Args:
        target: the dataset.
        plans: of the shards.
        pool: builds them.
        beside: other shards of the same dataset: its videos bear the rejections together.
    """
    shard_tasks = ShardTasks(
        worker=ShardBuilder,
        init_args=(target.config, target.uri, target.toolchain, uuid.uuid4().hex),
        actor_options=build_actor_options(plans, target.config),
        tasks={plan.name: plan for plan in plans},
        digests={plan.name: plan_digest(plan) for plan in plans},
        check=functools.partial(load_detector, target.config),
    )
    return build_missing(shard_tasks, target.uri, pool, RejectionBudget([*plans, *beside], target.config))


def build_actor_options(plans: Sequence[ShardPlan], config: Config) -> ActorOptions:
    """What building any of these shards may cost: each of its spans may kill `MAX_CRASHES` workers."""
    max_spans = max((len(plan.spans) for plan in plans), default=0)
    return ActorOptions(MAX_CRASHES * (max_spans + 1), 2 * config.media.timeout_s * max_spans)


def check_rejections(rows: Sequence[VideoRow], config: Config) -> None:
    """Raise DatasetError with the table of rejections when they are more than `shards.max_rejected_fraction`."""
    check_rejected([row for row in rows if row.status == "rejected"], len(rows), config)
