"""Agreement features: whether the modalities agree at a step, and whether each agrees with its own sequence.

Shape letters: B batch, L steps, D feature width of a modality, K width of the common space, A width of the result.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iaca_model.attention import Pair
from iaca_model.layers import linear, mask_finite

COMMON_DIM, AGREEMENT_DIM = 16, 32  # K, A


class Agreement(nn.Module):
    """Agreement of both modalities, compared in one common space: (B, L, D_v), (B, L, D_a) -> (B, L, A).

    v, a = tanh(Linear_{D->K}(X_m)); agreement = ReLU(Linear_{5K->A}([v ; a ; v*a ; v*mean(v) ; a*mean(a)])).
    It reads the features before attention, which does not mix the modalities yet. The means are over the valid steps
    of the sequence, so that another person's face or voice stands out even where the recording itself is intact.

    Ours, beyond 2405.12853, whose gates read weighted features and never the product of two modalities.

    Args:
        video_dim: D_v.
        audio_dim: D_a.
    """

    def __init__(self, video_dim: int, audio_dim: int) -> None:
        super().__init__()
        self.video, self.audio = linear(video_dim, COMMON_DIM), linear(audio_dim, COMMON_DIM)
        self.read = linear(5 * COMMON_DIM, AGREEMENT_DIM)

    def forward(self, unattended: Pair) -> Tensor:
        """Agreement (B, L, A) of the features before attention; a masked modality counts as zeros."""
        video_BLK = mask_finite(torch.tanh(self.video(unattended.video_BLD)), unattended.video_ok_BL)
        audio_BLK = mask_finite(torch.tanh(self.audio(unattended.audio_BLD)), unattended.audio_ok_BL)
        video_to_mean_BLK = video_BLK * _valid_mean(video_BLK, unattended.video_ok_BL)
        audio_to_mean_BLK = audio_BLK * _valid_mean(audio_BLK, unattended.audio_ok_BL)
        products = [video_BLK * audio_BLK, video_to_mean_BLK, audio_to_mean_BLK]
        return torch.relu(self.read(torch.cat([video_BLK, audio_BLK, *products], dim=-1)))


def _valid_mean(features_BLK: Tensor, ok_BL: Tensor) -> Tensor:
    """Mean over the valid steps, (B, 1, K); the features must be zero at the others."""
    return features_BLK.sum(1, keepdim=True) / ok_BL.sum(1).clamp_min(1)[:, None, None]
