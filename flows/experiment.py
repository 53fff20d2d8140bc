"""The whole story: videos become a dataset, a dataset becomes a trained run, a run is evaluated."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from prefect import flow, task

from flows.launch import run_job
from flows.preprocess import preprocess
from flows.tracking import JOB, TRACKED, publish, run_tracked
from pipeline.config import Config, require_view
from pipeline.runtime.progress import JobResult
from pipeline.storage import join


@flow(name="experiment", **TRACKED)
def experiment(config: Config) -> list[JobResult]:
    """From raw videos to an evaluated model; every stage that is already complete is skipped."""
    require_view(config)
    dataset = preprocess(config)
    if config.preprocess.dry_run:
        return [dataset]
    run = train(with_dataset(config, dataset.output_uri))
    report = evaluate(with_run(config, run.output_uri))
    return [dataset, run, report]


@flow(name="train", **TRACKED)
def train(config: Config) -> JobResult:
    """Train on the dataset at `config.train.dataset`, from the newest checkpoint where there is one."""
    run = train_model(config)
    publish("train", run)
    return run


@flow(name="evaluate", **TRACKED)
def evaluate(config: Config) -> JobResult:
    """Measure the run at `config.evaluate.run` on every labelled frame of a split."""
    report = evaluate_run(config)
    publish("evaluate", report)
    return report


@task(name="train", **JOB)
def train_model(config: Config) -> JobResult:
    """Data-parallel training until the validation score stops rising."""
    return run_tracked("train", config)


@task(name="evaluate", **JOB)
def evaluate_run(config: Config) -> JobResult:
    """Predictions, metrics and the report of a run."""
    return run_tracked("evaluate", config)


def with_dataset(config: Config, uri: str) -> Config:
    """The same experiment, trained on the dataset at `uri`."""
    return config.model_copy(update={"train": replace(config.train, dataset=uri)})


def with_run(config: Config, uri: str) -> Config:
    """The same experiment, evaluating the run at `uri`."""
    return config.model_copy(update={"evaluate": replace(config.evaluate, run=uri)})


def demo(config: Config) -> list[JobResult]:
    """Synthetic talkers, the whole story on them, and what each modality is worth: evaluations with one masked."""
    talkers = run_job("synthesize", config)
    config = with_talkers(config, talkers.output_uri)
    results = experiment(config)
    if config.preprocess.dry_run:
        return [talkers, *results]
    run = with_run(config, results[1].output_uri)
    return [talkers, *results, evaluate(masking(run, "audio")), evaluate(masking(run, "video"))]


def with_talkers(config: Config, uri: str) -> Config:
    """The same experiment on the synthetic talkers at `uri`."""
    videos, labels, manifest = (join(uri, name) for name in ("videos", "labels", "manifest.csv"))
    shared = config.storage.shared
    source = replace(config.source, kind="folder", videos=videos, labels=labels, manifest=manifest, shared=shared)
    return config.model_copy(update={"source": source})


def masking(config: Config, modality: Literal["video", "audio"]) -> Config:
    """The same evaluation with one modality masked at every step."""
    return config.model_copy(update={"evaluate": replace(config.evaluate, masked_modality=modality)})
