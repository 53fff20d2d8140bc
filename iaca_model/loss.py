"""The losses: concordance over the valid steps of all ranks, and supervision of the modality gate.

CCC = 2 s_xy / (s_x^2 + s_y^2 + (mu_x - mu_y)^2) (Lin 1989) with population moments, from six sums in float64:
n, sum x, sum y, sum x^2, sum y^2, sum xy, per dimension; x is predicted, y is true.

Shape letters: B batch, L steps, N rows, 2 = valence, arousal, or video, audio of gates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_MIN_DENOMINATOR = 1e-12  # a smaller one is rounding of two equal constants
_MIN_WEIGHT = 1e-6  # whose logarithm is taken


def moment_sums(values_N2: Tensor, target_N2: Tensor, ok_N: Tensor) -> Tensor:
    """Sum the moments of the valid rows; the sums of two sets of rows add up to those of their union.

    Args:
        values_N2: predicted valence, arousal; any leading shape will do in place of N, here and below.
        target_N2: true valence, arousal.
        ok_N: bool, True at the valid rows; the content of the others has no influence.

    Returns:
        float64 (6, 2): n, sx, sy, sxx, syy, sxy for valence and arousal.
    """
    valid = ok_N[..., None]
    x = torch.where(valid, values_N2.double(), 0.0).flatten(0, -2)
    y = torch.where(valid, target_N2.double(), 0.0).flatten(0, -2)
    n = valid.expand(target_N2.shape).double().flatten(0, -2)
    return torch.stack([n, x, y, x * x, y * y, x * y]).sum(1)


def concordance(sums_62: Tensor) -> Tensor:
    """CCC (2,) of valence and arousal from their sums; 0 where prediction and label are the same constant.

    Args:
        sums_62: as `moment_sums` returns them, with n >= 1.
    """
    n, sx, sy, sxx, syy, sxy = sums_62
    mean_x, mean_y = sx / n, sy / n
    variances = (sxx / n - mean_x**2).clamp_min(0) + (syy / n - mean_y**2).clamp_min(0)
    covariance = sxy / n - mean_x * mean_y
    return 2 * covariance / (variances + (mean_x - mean_y) ** 2).clamp_min(_MIN_DENOMINATOR)


def identity(sums: Tensor) -> Tensor:
    """Return the sums as they are: the `reduce` of a single process."""
    return sums


def concordance_loss(
    values_BL2: Tensor, target_BL2: Tensor, ok_BL: Tensor, reduce: Callable[[Tensor], Tensor] = identity
) -> Tensor:
    """(1 - CCC_valence) + (1 - CCC_arousal) over the valid steps of the global batch.

    The gradient is this rank's part of the whole gradient. DDP averages over ranks where the parts must be added, so
    the caller multiplies the loss by the world size before backward.

    Args:
        values_BL2: predicted valence, arousal.
        target_BL2: true valence, arousal.
        ok_BL: bool, True at the valid steps; the content of the others has no influence.
        reduce: turns this rank's sums (6, 2) into those of all ranks, and keeps this rank's gradient:

            total = sums.detach().clone(); dist.all_reduce(total); return sums + (total - sums.detach())

    Returns:
        float64 scalar in [0, 4]; with fewer than two valid steps in all it is 0, still attached to `values_BL2`.
    """
    sums_62 = reduce(moment_sums(values_BL2, target_BL2, ok_BL))
    if sums_62[0, 0] < 2:
        return 0.0 * sums_62.sum()
    return (1 - concordance(sums_62)).sum()


def supervised_gate_loss(weights_BL2: Tensor, corrupted_BL2: Tensor) -> Tensor:
    """Cross-entropy of the modality gate against the modality that augmentation left intact.

    -log(weight of the intact modality), averaged over the steps with exactly one corrupted modality; the others do not
    say which modality deserves the weight. Ours, beyond 2405.12853.

    Args:
        weights_BL2: the gate's weights of video and audio.
        corrupted_BL2: bool, True where augmentation corrupted video or audio.

    Returns:
        scalar; without any such step it is 0, still attached to the weights.
    """
    exactly_one_BL = corrupted_BL2[..., 0] ^ corrupted_BL2[..., 1]
    intact_weight_BL = torch.where(corrupted_BL2[..., 0], weights_BL2[..., 1], weights_BL2[..., 0])
    loss_BL = -intact_weight_BL.clamp_min(_MIN_WEIGHT).log()
    return (loss_BL * exactly_one_BL).sum() / exactly_one_BL.sum().clamp_min(1)
