"""The verify command: runs its job without Prefect, because a user at a terminal waits for the answer."""

from __future__ import annotations

from flows.launch import run_job
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


def verify(config: Config) -> JobResult:
    """Check every shard and sample of `config.verify.dataset`."""
    return run_job("verify", config)
