"""What all parts of the network share: masking, precision, and how linear layers start.

Shape letters: B batch, L steps, D feature width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mask(features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
    """The features with zeros, and zero gradient, where `ok_BL` is False, whatever lies there."""
    return torch.where(ok_BL[..., None], features_BLD, features_BLD.new_zeros(()))


def mask_finite(features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
    """`mask` of features that are finite everywhere: a product, which takes a CPU a third of the time."""
    return features_BLD * ok_BL[..., None]


def at_least_float32(features: Tensor) -> Tensor:
    """The features in float32 at least: what autocast made of them may be narrower."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def linear(num_in: int, num_out: int) -> nn.Linear:
    """A linear layer with xavier-uniform weights and zero bias, as the released modules start."""
    layer = nn.Linear(num_in, num_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
