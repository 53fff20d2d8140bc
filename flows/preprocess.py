"""The preprocess flow: raw videos to a dataset of shards."""

from __future__ import annotations

from prefect import flow, task

from flows.prefect_options import FLOW_OPTIONS, TASK_OPTIONS, publish_artifact, run_in_task
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


@task(name="preprocess", **TASK_OPTIONS)
def build_dataset(config: Config) -> JobResult:
    """Build shards from the videos, sound and labels of the source."""
    return run_in_task("preprocess", config)


@flow(name="preprocess", **FLOW_OPTIONS)
def preprocess(config: Config) -> JobResult:
    """Turn the videos of `config.source` into a dataset; shards that are already there are kept.

    Returns:
        The result whose `output_uri` is the dataset's; with `config.preprocess.dry_run` only the plan, as lines.
    """
    dataset = build_dataset(config)
    publish_artifact(dataset)
    return dataset
