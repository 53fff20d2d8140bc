"""The synthesize command: runs its job without Prefect, because it takes only seconds."""

from __future__ import annotations

from flows.launch import run_job
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


def synthesize(config: Config) -> JobResult:
    """Draw labelled synthetic talkers."""
    return run_job("synthesize", config)
