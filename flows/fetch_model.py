"""The fetch-model command: runs its job without Prefect and on this machine, which has the network, if any has."""

from __future__ import annotations

from flows.launch import run_job
from pipeline.config import Config
from pipeline.config.job_sections import ClusterConfig
from pipeline.runtime.progress import JobResult


def fetch_model(config: Config) -> JobResult:
    """Fetch the model `config.fetch_model.name` into models/ below the root."""
    return run_job("fetch_model", config.model_copy(update={"cluster": ClusterConfig()}))
