"""What a worker returns about one shard."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.records import ShardRecord


@dataclass(frozen=True, slots=True)
class ShardResult:
    """The record of a shard that is published, or the error that stopped it: a full disk, a store that is silent."""

    record: ShardRecord | None = None
    error: str = ""  # in one line, with the name of the shard
