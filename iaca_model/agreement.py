"""What a step shows of inconsistency: whether the modalities agree, and whether each agrees with its own sequence.

Shape letters: B batch, L steps, D feature width of a modality, K width of the common space, H hidden width.
Ours, beyond the paper (2405.12853): its gates see weighted features, never two modalities multiplied with each other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iaca_model.attention import Pair
from iaca_model.layers import linear, mask_finite

COMMON_DIM, HIDDEN_DIM = 16, 32  # K, H


class Agreement(nn.Module):
    """ReLU(Linear([v ; a ; v*a ; v*mean(v) ; a*mean(a)])) of both modalities in one common space, (B, L, H).

    v, a = tanh(Linear_{D->K}(X_m)) of the features before attention, which must not yet be mixed; the means are over
    the sequence's valid steps, so that somebody else's face or voice stands out even where it looks healthy.
    """

    def __init__(self, video_dim: int, audio_dim: int) -> None:
        super().__init__()
        self.video, self.audio = linear(video_dim, COMMON_DIM), linear(audio_dim, COMMON_DIM)
        self.read = linear(5 * COMMON_DIM, HIDDEN_DIM)

    def forward(self, plain: Pair) -> Tensor:
        """(B, L, H) of the features before attention; zero products where a modality is masked."""
        video_BLK = mask_finite(torch.tanh(self.video(plain.video_BLD)), plain.video_ok_BL)
        audio_BLK = mask_finite(torch.tanh(self.audio(plain.audio_BLD)), plain.audio_ok_BL)
        own_BLK = video_BLK * _mean(video_BLK, plain.video_ok_BL), audio_BLK * _mean(audio_BLK, plain.audio_ok_BL)
        return torch.relu(self.read(torch.cat([video_BLK, audio_BLK, video_BLK * audio_BLK, *own_BLK], dim=-1)))


def _mean(features_BLK: Tensor, ok_BL: Tensor) -> Tensor:
    """Over the valid steps, (B, 1, K); the features are zero elsewhere."""
    return features_BLK.sum(1, keepdim=True) / ok_BL.sum(1).clamp_min(1)[:, None, None]
