"""The attention bases: CA, JCA in both its forms, and TCA, each as a cross layer and as a self layer.

Shape letters: B batch, L steps, D_v and D_a feature widths (D: of one modality), J = D_v + D_a, K hidden width.
A cross layer maps a Pair to the attended video and audio; a self layer, which IACA needs, is the same operator with
both operands the same modality and its own weights. Inputs are zero where their mask is False; what a layer gives at
such a step is for the caller to zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from iaca_model.config import FusionConfig


def hide(features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
    """The features with zeros, and zero gradient, where `ok_BL` is False."""
    return torch.where(ok_BL[..., None], features_BLD, features_BLD.new_zeros(()))


class Pair(NamedTuple):
    """Both modalities' features with their masks, True where the modality is there."""

    video_BLD: Tensor
    audio_BLD: Tensor
    video_ok_BL: Tensor
    audio_ok_BL: Tensor

    def masked(self, video_BLD: Tensor, audio_BLD: Tensor) -> Pair:
        """Other features under the same masks, zero where they are False."""
        return self._replace(video_BLD=hide(video_BLD, self.video_ok_BL), audio_BLD=hide(audio_BLD, self.audio_ok_BL))

    def joined(self) -> Tensor:
        """[video ; audio], (B, L, J)."""
        return torch.cat([self.video_BLD, self.audio_BLD], dim=-1)


def linear(num_in: int, num_out: int) -> nn.Linear:
    """A linear layer with xavier-uniform weights and zero bias, as the released modules start."""
    layer = nn.Linear(num_in, num_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class CoAttention(nn.Module):
    """One modality m attended through a joint representation J: the released JCA (code of 2304.07958, 2403.19554).

    K = Linear_{L->L} over time of m; C = Dropout(tanh(K^T J / sqrt(D))); H = ReLU(tanh(V(m) C));
    m' = m + Dropout(ReLU(Linear_{D->Dm}(H))). Exact.
    """

    def __init__(self, own_dim: int, joint_dim: int, num_steps: int, dropout: float) -> None:
        super().__init__()
        self.key = linear(num_steps, num_steps)
        self.value = linear(own_dim, own_dim)
        self.out = linear(joint_dim, own_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, own_BLD: Tensor, joint_BLJ: Tensor) -> Tensor:
        """Attended features (B, L, D)."""
        key_BDL = self.key(own_BLD.mT)
        map_BDJ = self.dropout(torch.tanh(key_BDL @ joint_BLJ / math.sqrt(joint_BLJ.shape[-1])))
        hidden_BLJ = torch.relu(torch.tanh(self.value(own_BLD) @ map_BDJ))
        return own_BLD + self.dropout(torch.relu(self.out(hidden_BLJ)))


class JCA(nn.Module):
    """Joint cross-attention, released form (code of 2304.07958 and 2403.19554): J = Linear([video ; audio]). Exact."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        joint_dim = config.video_dim + config.audio_dim
        self.joint = linear(joint_dim, joint_dim)
        self.video = CoAttention(config.video_dim, joint_dim, config.num_steps, config.dropout)
        self.audio = CoAttention(config.audio_dim, joint_dim, config.num_steps, config.dropout)

    def forward(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """Attended video and audio."""
        joint_BLJ = self.joint(pair.joined())
        return self.video(pair.video_BLD, joint_BLJ), self.audio(pair.audio_BLD, joint_BLJ)


class JCASelf(nn.Module):
    """JCA of one modality with itself, J_m = Linear([X_m ; X_m]). Reconstructed: IACA's equations are not public."""

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.joint = linear(2 * dim, 2 * dim)
        self.own = CoAttention(dim, 2 * dim, config.num_steps, config.dropout)

    def forward(self, own_BLD: Tensor, ok_BL: Tensor) -> Tensor:  # noqa: ARG002 - self layers share a signature
        """Attended features (B, L, D)."""
        return self.own(own_BLD, self.joint(torch.cat([own_BLD, own_BLD], dim=-1)))


_CROSS = {"jca": JCA}
_SELF = {"jca": JCASelf}


def cross_layer(config: FusionConfig) -> nn.Module:
    """One layer of `config.base`: Pair -> attended (video, audio)."""
    return _CROSS[config.base](config)


def self_layer(config: FusionConfig, dim: int) -> nn.Module:
    """One layer of `config.base` with both operands the same modality: (own, ok) -> self-attended own."""
    return _SELF[config.base](config, dim)
