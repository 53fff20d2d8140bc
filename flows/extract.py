"""The extract flow: a dataset to the features that frozen backbones compute of it, once."""

from __future__ import annotations

from prefect import flow, task

from flows.prefect_options import FLOW_OPTIONS, TASK_OPTIONS, publish_artifact, run_in_task
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


@task(name="extract", **TASK_OPTIONS)
def compute_features(config: Config) -> JobResult:
    """Run crops and sound through the backbones of a run, or through published ones."""
    return run_in_task("extract", config)


@flow(name="extract", **FLOW_OPTIONS)
def extract(config: Config) -> JobResult:
    """Compute a dataset of features from `config.extract.dataset`; shards that are already there are kept."""
    features = compute_features(config)
    publish_artifact(features)
    return features
