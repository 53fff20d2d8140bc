"""The experiment flow: preprocess videos into a dataset, train a model on it, and evaluate the trained run."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow

from flows.evaluate import evaluate
from flows.prefect_options import FLOW_OPTIONS
from flows.preprocess import preprocess
from flows.train import train
from pipeline.config import Config, require_view
from pipeline.config.uris import with_uris
from pipeline.runtime.progress import JobResult


@flow(name="experiment", **FLOW_OPTIONS)
def experiment(config: Config) -> list[JobResult]:
    """Preprocess, train and evaluate; every stage whose output is already complete is skipped."""
    require_view(config)
    dataset = preprocess(with_trainable_required(config))
    if config.preprocess.dry_run:
        return [dataset]
    run = train(with_uris(config, {"train.dataset": dataset.output_uri}))
    report = evaluate(with_uris(config, {"evaluate.run": run.output_uri}))
    return [dataset, run, report]


def with_trainable_required(config: Config) -> Config:
    """The same experiment, which preprocessing refuses where training or evaluation would in the end."""
    return config.model_copy(update={"preprocess": replace(config.preprocess, require_trainable=True)})
