"""The train flow: a dataset to a trained run."""

from __future__ import annotations

from prefect import flow, task

from flows.prefect_options import FLOW_OPTIONS, TASK_OPTIONS, publish_artifact, run_in_task
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


@task(name="train", **TASK_OPTIONS)
def train_model(config: Config) -> JobResult:
    """Train data-parallel until the validation score stops rising."""
    return run_in_task("train", config)


@flow(name="train", **FLOW_OPTIONS)
def train(config: Config) -> JobResult:
    """Train on the dataset at `config.train.dataset`, from the newest checkpoint where there is one."""
    run = train_model(config)
    publish_artifact(run)
    return run
