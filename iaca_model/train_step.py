"""One step of training: optimiser, learning rate, masking augmentation and update; and one pass of evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from iaca_model.batch import AnyBatch
from iaca_model.config import Precision
from iaca_model.corruption import steps_of_span
from iaca_model.loss import concordance_loss, identity
from iaca_model.metrics import ConcordanceMeter


def build_optimizer(
    model: nn.Module, *, learning_rate: float, weight_decay: float, fused: bool = False
) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters; vectors (biases, norms, scales) are not decayed.

    Args:
        model: whose parameters are trained.
        learning_rate: of every parameter.
        weight_decay: of the parameters with two axes or more.
        fused: update all tensors in one call, which is faster where there are many small ones.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=fused)


def cosine_schedule(step: int, *, num_steps: int, num_warmup: int) -> float:
    """Share of the peak learning rate at `step` (from 0): linear over `num_warmup` steps, then a cosine to 0.

    The peak is reached at step `num_warmup` - 1 (at 0 without warm-up); from `num_steps` on it is 0.
    """
    if step < num_warmup:
        return (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def schedule_learning_rate(
    optimizer: torch.optim.Optimizer, step: int, *, peak: float, num_steps: int, warmup_fraction: float
) -> float:
    """Set every parameter group's learning rate to that of `step` (from 0) in `cosine_schedule`, and return it.

    Args:
        optimizer: whose learning rate is set.
        step: the next one to do.
        peak: the highest learning rate.
        num_steps: of the whole training.
        warmup_fraction: of the whole training, during which the learning rate rises.
    """
    num_warmup = round(warmup_fraction * num_steps)
    learning_rate = peak * cosine_schedule(step, num_steps=num_steps, num_warmup=num_warmup)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    return learning_rate


def train_step(
    model: nn.Module,
    batch: AnyBatch,
    optimizer: torch.optim.Optimizer,
    *,
    clip_norm: float,
    precision: Precision = "float32",
    reduce: Callable[[Tensor], Tensor] = identity,
    world_size: int = 1,
) -> float:
    """Update `model` (in training mode) on `batch` once, and return the loss of the global batch.

    Args:
        model: an EmotionModel or a PrecomputedModel, bare or in DDP.
        batch: this rank's part of the global batch, on the model's device or not.
        optimizer: of the model's parameters.
        clip_norm: see `optimizer_step`.
        precision: of the backbones' arithmetic; weights, everything after the backbones, and loss stay float32.
        reduce: sums of this rank -> sums of all, see `loss.concordance_loss`.
        world_size: number of ranks.

    Raises:
        FloatingPointError: see `optimizer_step`.
    """
    device = device_of(model)
    batch = batch.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        prediction = model(batch)
    ok_BL = batch.target_ok_BL & prediction.valid_BL
    loss = concordance_loss(prediction.values_BL2, batch.target_BL2, ok_BL, reduce)
    optimizer_step(model, optimizer, loss, ok_BL, clip_norm=clip_norm, world_size=world_size)
    return loss.item()


def optimizer_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    ok_BL: Tensor,
    *,
    clip_norm: float,
    world_size: int = 1,
) -> None:
    """Update `model` once: backward, clip the gradient, and step unless loss or gradient is not finite.

    Args:
        model: whose gradient is computed and clipped.
        optimizer: of its parameters.
        loss: of the global batch, a scalar.
        ok_BL: bool, the steps that count in the loss; only the error message needs it.
        clip_norm: a longer gradient is scaled down to this length.
        world_size: number of ranks; undoes DDP's averaging, see `loss.concordance_loss`.

    Raises:
        FloatingPointError: the loss or the gradient is not finite; nothing was updated. With DDP every rank has
            the same loss and gradient, so every rank raises.
    """
    optimizer.zero_grad(set_to_none=True)
    (loss * world_size).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if not (loss.isfinite() and norm.isfinite()):
        raise FloatingPointError(
            f"training became unstable: loss {loss.item()}, gradient norm {norm.item()}, "
            f"{int(ok_BL.sum())} valid steps; lower the learning rate, or look for NaN in the inputs"
        )
    optimizer.step()


def evaluate(model: nn.Module, batches: Iterable[AnyBatch]) -> ConcordanceMeter:
    """Measure CCC over every labelled step with at least one modality; predictions are clipped to [-1, 1].

    The model is put into evaluation mode meanwhile, and back into the mode it was in.
    """
    meter = ConcordanceMeter()
    device = device_of(model)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches:
                prediction = model(batch.to(device))
                ok_BL = batch.target_ok_BL.to(device) & prediction.valid_BL
                meter.update(prediction.values_BL2.clamp(-1, 1), batch.target_BL2.to(device), ok_BL)
    finally:
        model.train(was_training)
    return meter


def device_of(model: nn.Module) -> torch.device:
    """Device of the model's parameters."""
    return next(model.parameters()).device


def mask_spans(batch: AnyBatch, chance: float, generator: torch.Generator) -> AnyBatch:
    """Augment: with `chance` per sequence, mask one modality over a random contiguous span of steps.

    Modality, length (1 to L) and start are uniform. A step that has only one modality keeps it. Ours.

    Args:
        batch: of B sequences.
        chance: 0 to 1.
        generator: on the CPU; the outcome depends on its state alone, and it draws as many numbers for any `chance`.
    """
    num, num_steps = len(batch), batch.num_steps
    chosen_B1, side_B1, offset_B1 = torch.rand(3, num, 1, generator=generator)
    length_B1 = torch.randint(1, num_steps + 1, (num, 1), generator=generator)
    span_BL = (chosen_B1 < chance) & steps_of_span(offset_B1, length_B1, num_steps)
    device = batch.video_ok_BL.device
    mask_video_BL, mask_audio_BL = (span_BL & (side_B1 < 0.5)).to(device), (span_BL & (side_B1 >= 0.5)).to(device)
    return dataclasses.replace(
        batch,
        video_ok_BL=batch.video_ok_BL & ~(mask_video_BL & batch.audio_ok_BL),
        audio_ok_BL=batch.audio_ok_BL & ~(mask_audio_BL & batch.video_ok_BL),
    )
