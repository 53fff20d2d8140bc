"""The verify job, which somebody at a terminal waits for and which runs without Prefect."""

from __future__ import annotations

from flows.launch import run_job
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


def verify(config: Config) -> JobResult:
    """Hash the shards of `config.verify.dataset` again and compare."""
    return run_job("verify", config)
