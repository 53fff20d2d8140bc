"""Checkpoints of a run: weights, optimizer and progress, complete and verified or not there at all."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline import storage

log = logging.getLogger(__name__)
WEIGHTS, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.pt", "state.json", "manifest.json"


class DamagedCheckpointError(ValueError):
    """A checkpoint whose files are not those that its manifest lists."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after `step` optimizer steps."""

    step: int = 0
    epoch: int = 0  # the one that is under way
    batch: int = 0  # global batches of it that are done
    loss_sum: float = 0.0  # over those
    best_ccc: float | None = None  # validation mean CCC
    best_step: int = 0
    epochs_since_best: int = 0
    num_bad: int = 0  # samples that could not be read


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run needs to go on."""

    progress: Progress
    model: dict[str, Tensor]
    optimizer: dict[str, Any]  # plain values and tensors only


def folder(run_uri: str, step: int) -> str:
    """Where the checkpoint of `step` lies."""
    return storage.join(run_uri, "checkpoints", f"{step:08d}")


def save(run_uri: str, checkpoint: Checkpoint) -> str:
    """Publish a checkpoint, its manifest last; returns the sha256 of the weights."""
    uri = folder(run_uri, checkpoint.progress.step)
    buffer = io.BytesIO()
    torch.save(checkpoint.optimizer, buffer)
    files = {
        WEIGHTS: safetensors.torch.save({name: tensor.contiguous() for name, tensor in checkpoint.model.items()}),
        OPTIMIZER: buffer.getvalue(),
        STATE: json.dumps(asdict(checkpoint.progress), indent=2).encode(),
    }
    storage.delete(storage.join(uri, MANIFEST))  # a step that is done again must not pass as complete half-way
    for name, data in files.items():
        storage.publish_bytes(data, storage.join(uri, name))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = {"step": checkpoint.progress.step, "sha256": digests}
    storage.publish_bytes(json.dumps(manifest, indent=2).encode(), storage.join(uri, MANIFEST))
    return digests[WEIGHTS]


def steps(run_uri: str) -> list[int]:
    """Steps that have a manifest, ascending; only a look at the names."""
    names = [entry.uri.split("/")[-2:] for entry in storage.list_files(storage.join(run_uri, "checkpoints"))]
    return sorted(int(step) for step, name in names if name == MANIFEST and step.isdecimal())


def load(run_uri: str, step: int) -> Checkpoint:
    """The checkpoint of `step`, every file checked against its sha256 before it is parsed.

    Raises:
        DamagedCheckpointError: a file is missing, or is not what the manifest says.
    """
    data = _verified(folder(run_uri, step), (WEIGHTS, OPTIMIZER, STATE))
    try:
        model = safetensors.torch.load(data[WEIGHTS])
    except SafetensorError as error:
        raise DamagedCheckpointError(f"{folder(run_uri, step)}/{WEIGHTS}: {error}") from error
    optimizer = torch.load(io.BytesIO(data[OPTIMIZER]), weights_only=True, map_location="cpu")
    return Checkpoint(Progress(**json.loads(data[STATE])), model, optimizer)


def weights_sha256(run_uri: str, step: int) -> str:
    """The sha256 of the weights of `step`, as its manifest has it."""
    return json.loads(storage.read_bytes(storage.join(folder(run_uri, step), MANIFEST)))["sha256"][WEIGHTS]


def load_weights(run_uri: str, step: int) -> dict[str, Tensor]:
    """Only the weights of `step`, checked like `load`."""
    return safetensors.torch.load(_verified(folder(run_uri, step), (WEIGHTS,))[WEIGHTS])


def load_newest(run_uri: str) -> tuple[Checkpoint | None, list[str]]:
    """The newest undamaged checkpoint (None when there is none), and what is wrong with those passed over."""
    passed_over: list[str] = []
    for step in reversed(steps(run_uri)):
        try:
            return load(run_uri, step), passed_over
        except DamagedCheckpointError as error:
            log.warning("checkpoint %d is damaged, going back to the one before: %s", step, error)
            passed_over.append(f"checkpoint {step} is damaged: {error}")
    return None, passed_over


def prune(run_uri: str, keep: int, best_step: int) -> None:
    """Remove all but the `keep` newest checkpoints and the best one, each manifest first."""
    for step in steps(run_uri)[:-keep] if keep else steps(run_uri):
        if step != best_step:
            uri = folder(run_uri, step)
            for name in (MANIFEST, STATE, OPTIMIZER, WEIGHTS):
                storage.delete(storage.join(uri, name))


def with_best(progress: Progress, ccc: float) -> Progress:
    """`progress` after a validation that gave `ccc`."""
    if progress.best_ccc is None or ccc > progress.best_ccc:
        return replace(progress, best_ccc=ccc, best_step=progress.step, epochs_since_best=0)
    return replace(progress, epochs_since_best=progress.epochs_since_best + 1)


def _verified(uri: str, names: tuple[str, ...]) -> dict[str, bytes]:
    try:
        digests = json.loads(storage.read_bytes(storage.join(uri, MANIFEST)))["sha256"]
        data = {name: storage.read_bytes(storage.join(uri, name)) for name in names}
    except FileNotFoundError as error:
        raise DamagedCheckpointError(f"{uri} lacks a file: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(f"{uri}/{MANIFEST} cannot be understood: {error}") from error
    for name, content in data.items():
        found = hashlib.sha256(content).hexdigest()
        if found != digests.get(name):
            raise DamagedCheckpointError(f"{uri}/{name} has sha256 {found}, its manifest says {digests.get(name)}")
    return data
