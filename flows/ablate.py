"""What each part of the model is worth: the ablate flow."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow, task

from flows.extract import extract
from flows.preprocess import preprocess
from flows.tracking import JOB, TRACKED, publish, run_tracked
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


@flow(name="ablate", **TRACKED)
def ablate(config: Config) -> list[JobResult]:
    """Compare the variants of `config.ablate`; with data "source" on features that are made of its videos first.

    Whatever is already complete is kept: the dataset, its features, each trial.
    """
    if not config.ablate.makes_features:
        return [compare(config)]
    dataset = preprocess(config)
    if config.preprocess.dry_run:
        return [dataset]
    features = extract(to_extract(config, dataset.output_uri))
    return [dataset, features, compare(with_features(config, features.output_uri))]


def compare(config: Config) -> JobResult:
    """The table of every variant on every seed, with what Prefect shows of it."""
    comparison = compare_variants(config)
    publish("ablate", comparison)
    return comparison


@task(name="ablate", **JOB)
def compare_variants(config: Config) -> JobResult:
    """Every variant on every seed, as Ray Tune trials."""
    return run_tracked("ablate", config)


def to_extract(config: Config, uri: str) -> Config:
    """The same comparison on features of the dataset at `uri`."""
    return config.model_copy(update={"extract": replace(config.extract, dataset=uri)})


def with_features(config: Config, uri: str) -> Config:
    """The same comparison on the dataset of features at `uri`."""
    return config.model_copy(update={"ablate": replace(config.ablate, dataset=uri)})
