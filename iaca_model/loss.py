"""The masked concordance loss, exact over all ranks.

CCC = 2 s_xy / (s_x^2 + s_y^2 + (mu_x - mu_y)^2) with population moments, from six sums in float64:
n, sum x, sum y, sum x^2, sum y^2, sum xy, per dimension; x is predicted, y is true.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_TINY = 1e-12  # below it a denominator is rounding of two equal constants
_FLOOR = 1e-6  # of a weight whose logarithm is taken


def moment_sums(values_N2: Tensor, target_N2: Tensor, ok_N: Tensor) -> Tensor:
    """float64 (6, 2): n, sx, sy, sxx, syy, sxy over the valid rows, for valence and arousal.

    Additive: the sums of two sets of rows are the sums of their union. Any leading shape will do in place of N.
    """
    kept = ok_N[..., None]
    x = torch.where(kept, values_N2.double(), 0.0).flatten(0, -2)
    y = torch.where(kept, target_N2.double(), 0.0).flatten(0, -2)
    n = kept.expand(target_N2.shape).double().flatten(0, -2)
    return torch.stack([n, x, y, x * x, y * y, x * y]).sum(1)


def concordance(sums_62: Tensor) -> Tensor:
    """CCC (2,) of the sums; 0 where prediction and label are the same constant. Needs n >= 1."""
    n, sx, sy, sxx, syy, sxy = sums_62
    mean_x, mean_y = sx / n, sy / n
    variances = (sxx / n - mean_x**2).clamp_min(0) + (syy / n - mean_y**2).clamp_min(0)
    covariance = sxy / n - mean_x * mean_y
    return 2 * covariance / (variances + (mean_x - mean_y) ** 2).clamp_min(_TINY)


def identity(sums: Tensor) -> Tensor:
    """The `reduce` of a single process."""
    return sums


def concordance_loss(
    values_BL2: Tensor, target_BL2: Tensor, ok_BL: Tensor, reduce: Callable[[Tensor], Tensor] = identity
) -> Tensor:
    """(1 - CCC_valence) + (1 - CCC_arousal) over the valid steps of the global batch; float64 scalar in [0, 4].

    `reduce` turns this rank's sums (6, 2) into those of all ranks, keeping this rank's gradient:

        others = sums.detach().clone(); dist.all_reduce(others); return sums + (others - sums.detach())

    The gradient of this loss is then this rank's part of the whole gradient. DDP averages over ranks where the parts
    must be added, so the caller multiplies the loss by the world size before backward.
    With fewer than two valid steps in all the loss is 0, still attached to `values_BL2`. What values and targets hold
    where `ok_BL` is False has no influence.
    """
    sums_62 = reduce(moment_sums(values_BL2, target_BL2, ok_BL))
    if sums_62[0, 0] < 2:
        return 0.0 * sums_62.sum()
    return (1 - concordance(sums_62)).sum()


def supervised_gate_loss(weights_BL2: Tensor, corrupted_BL2: Tensor) -> Tensor:
    """Cross-entropy of the modality gate against where augmentation corrupted one modality (ours, beyond 2405.12853).

    Only steps with exactly one corrupted modality count: there the other one deserves the weight. Without any such step
    the loss is 0, still attached to the weights.
    """
    one_BL = corrupted_BL2[..., 0] ^ corrupted_BL2[..., 1]
    deserved_BL = torch.where(corrupted_BL2[..., 0], weights_BL2[..., 1], weights_BL2[..., 0])
    loss_BL = -deserved_BL.clamp_min(_FLOOR).log()
    return (loss_BL * one_BL).sum() / one_BL.sum().clamp_min(1)
