"""The experiment flow: preprocess videos into a dataset, train a model on it, and evaluate the trained run."""

from __future__ import annotations

from prefect import flow

from flows import stage_order
from flows.prefect_options import FLOW_OPTIONS
from pipeline.config import Config, require_view
from pipeline.runtime.progress import JobResult


@flow(name="experiment", **FLOW_OPTIONS)
def experiment(config: Config) -> list[JobResult]:
    """Preprocess, train and evaluate; every stage whose output is already complete is skipped."""
    require_view(config)
    return stage_order.experiment(config, stage_order.run_flow)
