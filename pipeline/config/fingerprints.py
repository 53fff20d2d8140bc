"""Fingerprints: what a dataset, a run and an evaluation depend on, as twelve hex digits for their names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from pydantic import BaseModel

from pipeline.config.experiment import Config
from pipeline.config.uris import uri_settings

FORMAT_VERSION = 3  # of datasets: raise it when the same inputs would give other bytes
EVALUATION_FORMAT = 1  # raise it when a metric changes
# Settings that came after the others, left out of the names of outputs on which they have no effect:
CORRUPTION_SETTINGS = ("corrupt_modality", "corrupt_missing", "corrupt_noisy", "corrupt_swapped")  # of training
EVALUATE_CORRUPTION_SETTINGS = ("corrupt_modality", "corrupt_seed")  # of evaluation


def fingerprint(*parts: Any) -> str:
    """Twelve hex digits of the sha256 of the parts as canonical JSON; dataclasses are read as dicts."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_as_dict)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _as_dict(value: Any) -> dict[str, Any]:
    return value.model_dump() if isinstance(value, BaseModel) else dataclasses.asdict(value)


def dataset_fingerprint(config: Config, content_ids: dict[str, str], toolchain: dict[str, str]) -> str:
    """What the bytes of a dataset depend on: inputs, media settings, detector, format and toolchain; nothing else.

    Args:
        config: the experiment; root, source URIs, cluster, training and evaluation sections are left out, and where
            ffmpeg lies.
        content_ids: for every input stream and label file, its key and its content_id (which covers size and bytes).
        toolchain: versions of ffmpeg and OpenCV.
    """
    parts = (
        _values(config, "media", "ffmpeg"),
        _values(config, "faces"),
        _values(config, "sound"),
        _values(config, "segments"),
        _values(config, "splits"),
        _values(config, "shards", "max_rejected_fraction"),
        _values(config, "source", "shared"),
    )
    return fingerprint(FORMAT_VERSION, *parts, sorted(content_ids.items()), sorted(toolchain.items()))


def run_fingerprint(config: Config, dataset_digest: str) -> str:
    """What a trained run depends on: the dataset's digest, the model's view, the model and the training section.

    Left out of the training section: the device, how often to checkpoint, how many checkpoints to keep and how many
    failures to bear. Of the weights only their sha256 counts, of the model's preset only what it stands for. Settings
    that came later and have no effect are left out, so that a run from before has the name it had: those of corruption
    where nothing is corrupted, and the front where there is none.
    """
    idle_train = () if config.train.corrupt_modality else CORRUPTION_SETTINGS
    idle_model = () if config.model.front != "none" else ("front",)
    left_out = ("use_gpu", "checkpoint_every_steps", "keep_checkpoints", "max_failures", *idle_train)
    train = _values(config, "train", *left_out)
    model = _values(config, "model", "preset", *idle_model)
    return fingerprint(dataset_digest, _values(config, "sequence"), model, train, _values(config, "weights"))


def evaluation_fingerprint(config: Config, weights_sha256: str, dataset_digest: str) -> str:
    """What an evaluation depends on: the run, the dataset, the metrics and the evaluation section.

    Left out of the evaluation section: the number of threads; and where nothing is corrupted, the settings of
    corruption, so that evaluations made before there were any are found.
    """
    left_out = ("num_threads",) if config.evaluate.corrupt_modality else ("num_threads", *EVALUATE_CORRUPTION_SETTINGS)
    return fingerprint(EVALUATION_FORMAT, weights_sha256, dataset_digest, _values(config, "evaluate", *left_out))


def _values(config: Config, section: str, *left_out: str) -> dict[str, Any]:
    """The settings of a section by their names, without its URIs and without those that are left out."""
    values = dataclasses.asdict(getattr(config, section))
    return {
        name: value
        for name, value in values.items()
        if name not in left_out and f"{section}.{name}" not in uri_settings()
    }
