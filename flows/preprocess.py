"""Raw videos to a dataset of shards: the preprocess flow."""

from __future__ import annotations

from prefect import flow, task

from flows.tracking import JOB, TRACKED, publish, run_tracked
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


@task(name="preprocess", **JOB)
def build_dataset(config: Config) -> JobResult:
    """Videos, sound and labels of the source, as shards."""
    return run_tracked("preprocess", config)


@flow(name="preprocess", **TRACKED)
def preprocess(config: Config) -> JobResult:
    """Turn the videos of `config.source` into a dataset; what is already there is kept.

    Returns:
        The result whose `output_uri` is the dataset's; with `config.preprocess.dry_run` only the plan, as lines.
    """
    dataset = build_dataset(config)
    publish("preprocess", dataset)
    return dataset
