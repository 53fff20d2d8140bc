"""Functions that all parts of the network share: masking, precision and linear layers.

Shape letters: B batch, L steps, D feature width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mask(features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
    """Replace the features by zero where `ok_BL` is False, even NaN and infinity; no gradient flows back there."""
    return torch.where(ok_BL[..., None], features_BLD, features_BLD.new_zeros(()))


def mask_finite(features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
    """Multiply the features by their mask: as `mask` for finite features, in a third of its time on a CPU."""
    return features_BLD * ok_BL[..., None]


def at_least_float32(features: Tensor) -> Tensor:
    """Widen features that are narrower than float32, as those computed under autocast are."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def linear(num_in: int, num_out: int) -> nn.Linear:
    """Build a linear layer with xavier-uniform weights and zero bias, the initialisation of the released modules."""
    layer = nn.Linear(num_in, num_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
