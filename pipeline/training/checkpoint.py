"""Checkpoints of a run: weights, optimizer and training state, complete and verified or not there at all."""

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
class TrainingState:
    """How far a run has come after `step` optimizer steps; the content of state.json."""

    step: int = 0
    epochs_done: int = 0
    batches_done: int = 0  # global ones, of the epoch under way
    loss_sum: float = 0.0  # over those batches
    best_ccc: float | None = None  # the best validation mean CCC so far
    best_step: int = 0
    epochs_since_best: int = 0
    num_unreadable: int = 0  # samples that could not be read

    def after_validation(self, ccc: float) -> TrainingState:
        """The same with a validation mean CCC taken into account: the best one so far, or one more epoch without."""
        if self.best_ccc is None or ccc > self.best_ccc:
            return replace(self, best_ccc=ccc, best_step=self.step, epochs_since_best=0)
        return replace(self, epochs_since_best=self.epochs_since_best + 1)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a run needs to continue."""

    state: TrainingState
    model: dict[str, Tensor]
    optimizer: dict[str, Any]  # plain values and tensors only


def folder(run_uri: str, step: int) -> str:
    """The URI of the checkpoint of `step`."""
    return storage.join(run_uri, "checkpoints", f"{step:08d}")


def save(run_uri: str, checkpoint: Checkpoint) -> str:
    """Publish a checkpoint, its manifest last; returns the sha256 of the weights."""
    uri = folder(run_uri, checkpoint.state.step)
    buffer = io.BytesIO()
    torch.save(checkpoint.optimizer, buffer)
    files = {
        WEIGHTS: safetensors.torch.save({name: tensor.contiguous() for name, tensor in checkpoint.model.items()}),
        OPTIMIZER: buffer.getvalue(),
        STATE: json.dumps(asdict(checkpoint.state), indent=2).encode(),
    }
    storage.delete(storage.join(uri, MANIFEST))  # a step that is repeated must not pass as complete half-way
    for name, data in files.items():
        storage.publish_bytes(data, storage.join(uri, name))
    sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = {"step": checkpoint.state.step, "sha256": sha256}
    storage.publish_bytes(json.dumps(manifest, indent=2).encode(), storage.join(uri, MANIFEST))
    return sha256[WEIGHTS]


def steps(run_uri: str) -> list[int]:
    """Steps whose checkpoints have a manifest, ascending; their content is not checked."""
    names = [entry.uri.split("/")[-2:] for entry in storage.list_files(storage.join(run_uri, "checkpoints"))]
    return sorted(int(step) for step, name in names if name == MANIFEST and step.isdecimal())


def load(run_uri: str, step: int) -> Checkpoint:
    """The checkpoint of `step`, every file checked against its sha256 before it is parsed.

    Raises:
        DamagedCheckpointError: a file is missing, or does not match the manifest.
    """
    data = _read_verified(folder(run_uri, step), (WEIGHTS, OPTIMIZER, STATE))
    try:
        model = safetensors.torch.load(data[WEIGHTS])
    except SafetensorError as error:
        raise DamagedCheckpointError(f"{folder(run_uri, step)}/{WEIGHTS}: {error}") from error
    optimizer = torch.load(io.BytesIO(data[OPTIMIZER]), weights_only=True, map_location="cpu")
    return Checkpoint(TrainingState(**json.loads(data[STATE])), model, optimizer)


def weights_sha256(run_uri: str, step: int) -> str:
    """The sha256 of the weights of `step`, from its manifest."""
    return json.loads(storage.read_bytes(storage.join(folder(run_uri, step), MANIFEST)))["sha256"][WEIGHTS]


def load_weights(run_uri: str, step: int) -> dict[str, Tensor]:
    """Only the weights of `step`, checked like `load`."""
    return safetensors.torch.load(_read_verified(folder(run_uri, step), (WEIGHTS,))[WEIGHTS])


def load_newest(run_uri: str) -> tuple[Checkpoint | None, list[str]]:
    """The newest undamaged checkpoint (None when there is none), and a message for each newer, damaged one."""
    damaged: list[str] = []
    for step in reversed(steps(run_uri)):
        try:
            return load(run_uri, step), damaged
        except DamagedCheckpointError as error:
            log.warning("checkpoint %d is damaged, using the one before it: %s", step, error)
            damaged.append(f"checkpoint {step} is damaged: {error}")
    return None, damaged


def prune(run_uri: str, keep: int, best_step: int) -> None:
    """Remove all but the `keep` newest checkpoints and the best one, each manifest first."""
    for step in steps(run_uri)[:-keep] if keep else steps(run_uri):
        if step != best_step:
            uri = folder(run_uri, step)
            for name in (MANIFEST, STATE, OPTIMIZER, WEIGHTS):
                storage.delete(storage.join(uri, name))


def _read_verified(uri: str, names: tuple[str, ...]) -> dict[str, bytes]:
    """The named files of a checkpoint, each with the sha256 that the manifest has for it."""
    try:
        expected = json.loads(storage.read_bytes(storage.join(uri, MANIFEST)))["sha256"]
        files = {name: storage.read_bytes(storage.join(uri, name)) for name in names}
    except FileNotFoundError as error:
        raise DamagedCheckpointError(f"{uri} lacks a file: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(f"{uri}/{MANIFEST} cannot be understood: {error}") from error
    for name, data in files.items():
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 != expected.get(name):
            raise DamagedCheckpointError(f"{uri}/{name} has sha256 {sha256}, its manifest says {expected.get(name)}")
    return files
