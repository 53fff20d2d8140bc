"""The evaluate flow: a trained run to predictions, metrics and a report."""

from __future__ import annotations

from prefect import flow, task

from flows.prefect_options import FLOW_OPTIONS, TASK_OPTIONS, publish_artifact, run_in_task
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


@task(name="evaluate", **TASK_OPTIONS)
def evaluate_run(config: Config) -> JobResult:
    """Predict every frame of the split, and write metrics and report."""
    return run_in_task("evaluate", config)


@flow(name="evaluate", **FLOW_OPTIONS)
def evaluate(config: Config) -> JobResult:
    """Measure the run at `config.evaluate.run` on every labelled frame of a split."""
    report = evaluate_run(config)
    publish_artifact(report)
    return report
