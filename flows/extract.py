"""What frozen backbones give, computed once for a whole dataset: the extract flow."""

from __future__ import annotations

from prefect import flow, task

from flows.tracking import JOB, TRACKED, publish, run_tracked
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


@task(name="extract", **JOB)
def compute_features(config: Config) -> JobResult:
    """Crops and sound of a dataset through the backbones of a run, or through published ones."""
    return run_tracked("extract", config)


@flow(name="extract", **TRACKED)
def extract(config: Config) -> JobResult:
    """Make a dataset of features from `config.extract.dataset`; shards that are already there are kept."""
    features = compute_features(config)
    publish("extract", features)
    return features
