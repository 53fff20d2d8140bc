"""What one step of training and one pass of evaluation are, over any iterable of batches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from iaca_model.batch import AnyBatch
from iaca_model.config import Precision
from iaca_model.loss import concordance_loss, identity
from iaca_model.metrics import ConcordanceMeter


def build_optimizer(
    model: nn.Module, *, learning_rate: float, weight_decay: float, fused: bool = False
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; vectors (biases, norms, scales) are not decayed.

    `fused` updates all tensors in one call: worth it where there are many small ones.
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


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


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
    """One update of `model` (in training mode) on `batch`; gives the loss of the global batch.

    Args:
        model: an EmotionModel, bare or in DDP.
        batch: this rank's part of the global batch, on the model's device or not.
        optimizer: of the model's parameters.
        clip_norm: the gradient is scaled down to this length.
        precision: of the backbones' arithmetic; weights, everything after the backbones, and loss stay float32.
        reduce: sums of this rank -> sums of all, see `loss.concordance_loss`.
        world_size: number of ranks; undoes DDP's averaging.

    Raises:
        FloatingPointError: the loss or the gradient is not finite; nothing was updated. With DDP every rank sees
            the same loss and gradient, so every rank raises.
    """
    device = device_of(model)
    batch = batch.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        prediction = model(batch)
    ok_BL = batch.target_ok_BL & prediction.valid_BL
    loss = concordance_loss(prediction.values_BL2, batch.target_BL2, ok_BL, reduce)
    optimizer.zero_grad(set_to_none=True)
    (loss * world_size).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if not (loss.isfinite() and norm.isfinite()):
        raise FloatingPointError(
            f"training became unstable: loss {loss.item()}, gradient norm {norm.item()}, "
            f"{int(ok_BL.sum())} valid steps; lower the learning rate, or look for NaN in the inputs"
        )
    optimizer.step()
    return loss.item()


def evaluate(model: nn.Module, batches: Iterable[AnyBatch]) -> ConcordanceMeter:
    """CCC over every labelled step where at least one modality was there; predictions are clipped to [-1, 1].

    The model is in evaluation mode meanwhile and left as it was.
    """
    meter, device, was_training = ConcordanceMeter(), device_of(model), model.training
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
    """Where the model's parameters are."""
    return next(model.parameters()).device


def mask_spans(batch: AnyBatch, chance: float, generator: torch.Generator) -> AnyBatch:
    """Augmentation: with `chance` per sequence, mask one modality over a random contiguous span of steps.

    Modality, length (1 to L) and place are uniform. A step that has only one modality keeps it. The outcome is a
    function of the generator's state alone, which is on the CPU and moves on by the same amount for any `chance`.
    """
    num, num_steps = len(batch), batch.num_steps
    chosen, which, where = torch.rand(3, num, 1, generator=generator)
    length = torch.randint(1, num_steps + 1, (num, 1), generator=generator)
    start = (where * (num_steps - length + 1)).long()
    step = torch.arange(num_steps)
    masked_BL = (chosen < chance) & (start <= step) & (step < start + length)
    mask_video, mask_audio = ((masked_BL & side).to(batch.video_ok_BL.device) for side in (which < 0.5, which >= 0.5))
    return dataclasses.replace(
        batch,
        video_ok_BL=batch.video_ok_BL & ~(mask_video & batch.audio_ok_BL),
        audio_ok_BL=batch.audio_ok_BL & ~(mask_audio & batch.video_ok_BL),
    )
