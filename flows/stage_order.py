"""The order of the stages where a command has several, for its flow and for what needs no flow."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from flows.cli.commands import COMMANDS
from pipeline.config import Config
from pipeline.config.uris import with_uris
from pipeline.runtime.progress import JobResult
from pipeline.storage import join

Run = Callable[[str, Config], list[JobResult]]  # does a command, given by its name, and returns its results


def experiment(config: Config, run: Run) -> list[JobResult]:
    """Preprocess, train and evaluate."""
    [dataset] = run("preprocess", with_trainable_required(config))
    if config.preprocess.dry_run:
        return [dataset]
    [trained] = run("train", with_uris(config, {"train.dataset": dataset.output_uri}))
    [report] = run("evaluate", with_uris(config, {"evaluate.run": trained.output_uri}))
    return [dataset, trained, report]


def demo(config: Config, run: Run) -> list[JobResult]:
    """Synthesize, preprocess, train and evaluate; then evaluate twice more, with one modality masked."""
    [talkers] = run("synthesize", config)
    config = with_talkers(config, talkers.output_uri)
    results = run("experiment", config)
    if config.preprocess.dry_run:
        return [talkers, *results]
    _, trained, _ = results
    config = with_uris(config, {"evaluate.run": trained.output_uri})
    without_audio = run("evaluate", with_masked(config, "audio"))
    without_video = run("evaluate", with_masked(config, "video"))
    return [talkers, *results, *without_audio, *without_video]


def with_trainable_required(config: Config) -> Config:
    """The same experiment, which preprocessing refuses where training or evaluation would in the end."""
    return config.model_copy(update={"preprocess": replace(config.preprocess, require_trainable=True)})


def with_talkers(config: Config, uri: str) -> Config:
    """The same experiment on the synthetic talkers at `uri`."""
    source = replace(
        config.source,
        kind="folder",
        videos=join(uri, "videos"),
        labels=join(uri, "labels"),
        manifest=join(uri, "manifest.csv"),
        shared=config.storage.shared,
    )
    return config.model_copy(update={"source": source})


def with_masked(config: Config, modality: Literal["video", "audio"]) -> Config:
    """The same evaluation with one modality masked at every step, and nothing corrupted."""
    settings = replace(config.evaluate, masked_modality=modality, corrupt_modality=0.0)
    return config.model_copy(update={"evaluate": settings})


ORDERS = {"experiment": experiment, "demo": demo}


def run_flow(name: str, config: Config) -> list[JobResult]:
    """Call the flow of a command; imported only now, because Prefect takes a second."""
    results = pkgutil.resolve_name(COMMANDS[name].flow)(config)
    return results if isinstance(results, list) else [results]
