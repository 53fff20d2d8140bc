"""Published weights for the residual backbones: checked against their sha256, taken as a whole or not at all."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from iaca_model.backbones.residual import Freezable
from iaca_model.model import EmotionModel
from pipeline import storage
from pipeline.config import UsageError
from pipeline.config.job_sections import WeightsConfig

log = logging.getLogger(__name__)
CLASSIFIER = ("fc.weight", "fc.bias")  # of the published networks; our backbones have none
MAX_NAMED = 4  # entries of each kind of mismatch in an error message


def load_published_weights(model: EmotionModel, weights: WeightsConfig) -> None:
    """Load the files at `weights.video` and `weights.audio` into the backbones, where they are set.

    Raises:
        UsageError: a file is missing, has another sha256, or does not match the backbone exactly; or a backbone is
            frozen and there are no weights for it.
    """
    backbones = {"video": model.video_backbone, "audio": model.audio_backbone}
    for name, uri, sha256 in (
        ("video", weights.video, weights.video_sha256),
        ("audio", weights.audio, weights.audio_sha256),
    ):
        backbone = backbones[name]
        if not uri:
            _require_weights_for_frozen(backbone, model, f"weights.{name}")
            continue
        if not isinstance(backbone, Freezable):
            raise UsageError(f"weights.{name} is {uri}, but there is no residual {name} backbone to take it")
        num = _load_into(backbone.body, _read_weights(uri, sha256, f"weights.{name}"), uri)
        log.info("%s backbone: all %d parameters and statistics from %s", name, num, uri)


def _require_weights_for_frozen(backbone: nn.Module | None, model: EmotionModel, field: str) -> None:
    if isinstance(backbone, Freezable) and model.config.frozen != "none":
        raise UsageError(
            f"model.frozen is {model.config.frozen}, but {field} is empty: a frozen part would stay random; "
            f"give {field} and {field}_sha256, or train all with --model.frozen none"
        )


def _read_weights(uri: str, sha256: str, field: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file without any code in it."""
    try:
        data = storage.read_bytes(uri)
    except OSError as error:
        raise UsageError(f"{field} {uri} cannot be read: {error}") from error
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise UsageError(f"{field} {uri} has sha256 {actual}, but {field}_sha256 is {sha256 or 'empty'}")
    try:
        if uri.endswith(".safetensors"):
            return safetensors.torch.load(data)
        return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise UsageError(f"{field} {uri} holds no weights that can be read: {error}") from error


def _load_into(body: nn.Module, weights: Mapping[str, Tensor], uri: str) -> int:
    """Load every entry of `body` from `weights` without its classifier; returns how many there are.

    Raises:
        UsageError: entries are missing, left over, or of another shape; each kind is counted and the first are named.
    """
    expected = body.state_dict()
    available = {name: tensor for name, tensor in weights.items() if name not in CLASSIFIER}
    counters = {name for name in expected if name.endswith("num_batches_tracked")}  # older files have none
    mismatches = {
        "missing": sorted(expected.keys() - available.keys() - counters),
        "unknown": sorted(available.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(available[name].shape)} for {tuple(expected[name].shape)}"
            for name in expected
            if name in available and available[name].shape != expected[name].shape
        ],
    }
    if any(mismatches.values()):
        text = "; ".join(f"{len(names)} {kind}: {_first(names)}" for kind, names in mismatches.items() if names)
        raise UsageError(f"the weights in {uri} are not this backbone's {len(expected)} entries: {text}")
    body.load_state_dict(expected | available)
    return len(expected)


def _first(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")
