"""What each part of the model is worth: the ablate flow."""

from __future__ import annotations

from prefect import flow, task

from flows.tracking import JOB, TRACKED, publish, run_tracked
from pipeline.config import Config
from pipeline.progress import JobResult


@task(name="ablate", **JOB)
def compare(config: Config) -> JobResult:
    """Every variant on every seed, as Ray Tune trials."""
    return run_tracked("ablate", config)


@flow(name="ablate", **TRACKED)
def ablate(config: Config) -> JobResult:
    """Compare the variants of `config.ablate`; trials that are already done are kept."""
    comparison = compare(config)
    publish("ablate", comparison)
    return comparison
