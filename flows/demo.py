"""The demo: the whole experiment on synthetic talkers, then an evaluation without sound and one without pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from flows.evaluate import evaluate
from flows.experiment import experiment
from flows.synthesize import synthesize
from pipeline.config import Config
from pipeline.config.uris import with_uris
from pipeline.runtime.progress import JobResult
from pipeline.storage import join


def demo(config: Config) -> list[JobResult]:
    """Synthesize, preprocess, train and evaluate; then evaluate twice more, with one modality masked."""
    talkers = synthesize(config)
    config = with_talkers(config, talkers.output_uri)
    results = experiment(config)
    if config.preprocess.dry_run:
        return [talkers, *results]
    _, run, _ = results
    config = with_uris(config, {"evaluate.run": run.output_uri})
    without_audio = evaluate(with_masked(config, "audio"))
    without_video = evaluate(with_masked(config, "video"))
    return [talkers, *results, without_audio, without_video]


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
    """The same evaluation with one modality masked at every step."""
    return config.model_copy(update={"evaluate": replace(config.evaluate, masked_modality=modality)})
