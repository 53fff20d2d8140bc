"""A repair worker: the tar of a shard built again, and published only with the bytes that it had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline import storage
from pipeline.config import Config
from pipeline.dataset.format import shards
from pipeline.dataset.format.shard_file import ShardFile
from pipeline.jobs.workers.shard_builder import ShardBuilder
from pipeline.records import ShardPlan
from pipeline.storage.scratch import scratch_folder


@dataclass(frozen=True, slots=True)
class RepairTask:
    """A shard whose tar is missing or damaged."""

    plan: ShardPlan  # that gave the tar its bytes
    sha256: str  # of the tar as it was


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What became of a repair."""

    name: str  # of the shard
    problem: str = ""  # why nothing was published, beginning with the name; "" when the tar is as it was


class ShardRepairer:
    """Repairs one shard at a time; made like a `ShardBuilder`."""

    task_type: ClassVar[type] = RepairTask
    result_type: ClassVar[type] = RepairResult

    def __init__(self, config: Config, dataset_uri: str, toolchain: dict[str, str]) -> None:
        self.dataset_uri = dataset_uri
        self.builder = ShardBuilder(config, dataset_uri, toolchain)

    def __call__(self, task: RepairTask) -> RepairResult:
        """Build the tar of a plan again and publish it if it has the sha256 it had."""
        try:
            return RepairResult(task.plan.name, self.repair(task.plan, task.sha256))
        except OSError as error:
            return RepairResult(task.plan.name, f"{task.plan.name}: {error}")

    def repair(self, plan: ShardPlan, sha256: str) -> str:
        """Publish the tar, or return what is wrong with it; "" when nothing is."""
        with scratch_folder() as folder:
            path = folder / f"{plan.name}.tar"
            with ShardFile(path) as tar:
                rows = [self.builder.build_span(span, tar, folder) for span in plan.spans]
            actual = shards.sha256_of_file(path)
            if actual == sha256:
                storage.publish(path, shards.shard_uri(self.dataset_uri, plan.name))
                return ""
        lost = "".join(f"\n  {row.uri}: {row.reason}: {row.detail}" for row in rows if row.status == "rejected")
        digests = f"built again it has sha256 {actual}, dataset.json says {sha256}"
        return f"{plan.name}: {digests}; nothing was replaced{lost}"
