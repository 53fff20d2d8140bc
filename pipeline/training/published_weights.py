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
from pipeline.config.sections import WeightsConfig

log = logging.getLogger(__name__)
CLASSIFIER = ("fc.weight", "fc.bias")  # of the published networks; nothing would use it
MAX_NAMED = 4  # of the entries that do not match


def start_from(model: EmotionModel, weights: WeightsConfig) -> None:
    """Load `weights.video` and `weights.audio` into the backbones, where they are given.

    Raises:
        UsageError: a file is missing, is not the one of the sha256, or does not match the backbone exactly; or a
            backbone is frozen and has no weights to start from.
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
        num = load(backbone.body, read(uri, sha256, f"weights.{name}"), uri)
        log.info("%s backbone: all %d parameters and statistics from %s", name, num, uri)


def _require_weights_for_frozen(backbone: nn.Module | None, model: EmotionModel, field: str) -> None:
    if isinstance(backbone, Freezable) and model.config.frozen != "none":
        raise UsageError(
            f"model.frozen is {model.config.frozen}, but {field} is empty: what is frozen would stay random; "
            f"give {field} and {field}_sha256, or train all with --model.frozen none"
        )


def read(uri: str, sha256: str, field: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file without any code in it."""
    try:
        data = storage.read_bytes(uri)
    except OSError as error:
        raise UsageError(f"{field} {uri} cannot be read: {error}") from error
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise UsageError(f"{field} {uri} has sha256 {found}, but {field}_sha256 is {sha256 or 'empty'}")
    try:
        if uri.endswith(".safetensors"):
            return safetensors.torch.load(data)
        return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise UsageError(f"{field} {uri} holds no weights that can be read: {error}") from error


def load(body: nn.Module, weights: Mapping[str, Tensor], uri: str) -> int:
    """Load every entry of `body` from `weights`, whose classifier is left aside; gives how many.

    Raises:
        UsageError: entries are missing, left over, or of another shape; each kind is counted and the first are named.
    """
    own = body.state_dict()
    given = {name: tensor for name, tensor in weights.items() if name not in CLASSIFIER}
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # older files have none
    problems = {
        "missing": sorted(own.keys() - given.keys() - counters),
        "unknown": sorted(given.keys() - own.keys()),
        "of another shape": [
            f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
            for name in own
            if name in given and given[name].shape != own[name].shape
        ],
    }
    if any(problems.values()):
        found = "; ".join(f"{len(names)} {what}: {_first(names)}" for what, names in problems.items() if names)
        raise UsageError(f"the weights in {uri} are not this backbone's {len(own)} entries: {found}")
    body.load_state_dict(own | given)
    return len(own)


def _first(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")
