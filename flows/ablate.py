"""The ablate flow: compare the variants of the fusion, on the benchmark or on features of videos."""

from __future__ import annotations

from prefect import flow, task

from flows.extract import extract
from flows.prefect_options import FLOW_OPTIONS, TASK_OPTIONS, publish_artifact, run_in_task
from flows.preprocess import preprocess
from pipeline.config import Config
from pipeline.config.uris import with_uris
from pipeline.runtime.progress import JobResult


@task(name="ablate", **TASK_OPTIONS)
def compare_variants(config: Config) -> JobResult:
    """Train every variant on every seed, as Ray Tune trials."""
    return run_in_task("ablate", config)


@flow(name="ablate", **FLOW_OPTIONS)
def ablate(config: Config) -> list[JobResult]:
    """Compare the variants of `config.ablate`; with data "source" first compute features of the source's videos.

    What is already complete is kept: the dataset, its features, each trial.
    """
    results = []
    if config.ablate.makes_features:
        dataset = preprocess(config)
        if config.preprocess.dry_run:
            return [dataset]
        features = extract(with_uris(config, {"extract.dataset": dataset.output_uri}))
        config = with_uris(config, {"ablate.dataset": features.output_uri})
        results = [dataset, features]
    comparison = compare_variants(config)
    publish_artifact(comparison)
    return [*results, comparison]
