"""The reliability front: it judges each modality at every step before any attention, and scales the features by that.

Shape letters: B batch, L steps, D feature width of a modality, K width of the common space, H hidden width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iaca_model.attention import Pair, attend
from iaca_model.layers import linear, mask_finite

COMMON_DIM, HIDDEN_DIM = 16, 16  # K, H
EPSILON = 1e-6  # added to the mean square of features
MIN_MEAN_SQUARE = 1e-4  # below it the scale is not divided out; features of unit length are above it up to D = 10,000
MAX_LENGTH = 1e18  # of features, whose square is finite in float32
HEALTHY_LOGIT = 2.0  # of "nothing is wrong": both reliabilities start at 1 - 1 / (e^2 + 2) = .893


class SequencePool(nn.Module):
    """Average of a modality over the valid steps of its sequence: (B, L, K) -> (B, 1, K).

    c = sum_t softmax_t(q . u(t)) u(t); q starts at zero, so that c starts as the mean. 0 where no step is valid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(COMMON_DIM))

    def forward(self, features_BLK: Tensor, ok_BL: Tensor) -> Tensor:
        """Averages (B, 1, K)."""
        scores_B1L = (features_BLK @ self.query)[:, None]
        return attend(scores_B1L, features_BLK, ok_BL)[0]


class Comparison(nn.Module):
    """What speaks for and against each modality at a step: (B, L, D_v), (B, L, D_a) -> (B, L, H).

    u_m = tanh(Linear_{D->K}(X_m / rms(X_m))); c_m = SequencePool(u_m);
    h = ReLU(Linear_{5K->H}([u_v ; u_a ; u_v * u_a ; (u_v - c_v)^2 ; (u_a - c_a)^2])). A masked modality counts as zeros
    in all five parts. The last two measure how far a step is from its own sequence: another person's face or voice
    stands out there, because who somebody is does not change within a sequence. Without the division by the root mean
    square over D, features of unit length, as FeatureModel gives them, would move the tanh less the wider they are.

    Ours: see `ReliabilityFront`.

    Args:
        video_dim: D_v.
        audio_dim: D_a.
    """

    def __init__(self, video_dim: int, audio_dim: int) -> None:
        super().__init__()
        self.video, self.audio = linear(video_dim, COMMON_DIM), linear(audio_dim, COMMON_DIM)
        self.video_pool, self.audio_pool = SequencePool(), SequencePool()
        self.read = linear(5 * COMMON_DIM, HIDDEN_DIM)

    def forward(self, pair: Pair) -> Tensor:
        """Hidden features (B, L, H)."""
        video_BLK = mask_finite(torch.tanh(_of_unit_rms(self.video, pair.video_BLD)), pair.video_ok_BL)
        audio_BLK = mask_finite(torch.tanh(_of_unit_rms(self.audio, pair.audio_BLD)), pair.audio_ok_BL)
        video_deviation_BLK = (video_BLK - self.video_pool(video_BLK, pair.video_ok_BL)).square()
        audio_deviation_BLK = (audio_BLK - self.audio_pool(audio_BLK, pair.audio_ok_BL)).square()
        deviations = [
            mask_finite(video_deviation_BLK, pair.video_ok_BL),
            mask_finite(audio_deviation_BLK, pair.audio_ok_BL),
        ]
        return torch.relu(self.read(torch.cat([video_BLK, audio_BLK, video_BLK * audio_BLK, *deviations], dim=-1)))


def _of_unit_rms(layer: nn.Linear, features_BLD: Tensor) -> Tensor:
    """The linear layer of the features divided by their root mean square over D, (B, L, K)."""
    # A longer step would have an infinite square, whose gradient is NaN.
    length_BL1 = torch.linalg.vector_norm(features_BLD, dim=-1, keepdim=True).clamp_max(MAX_LENGTH)
    # The scale is at most 100, and so is what a step of zeros multiplies the gradient of its features by.
    mean_square_BL1 = (length_BL1.square() / layer.in_features).clamp_min(MIN_MEAN_SQUARE)
    # W (X / rms) = (W X) / rms: K numbers of a step are divided instead of D.
    scale_BL1 = torch.rsqrt(mean_square_BL1 + EPSILON)
    return nn.functional.linear(features_BLD, layer.weight) * scale_BL1 + layer.bias


class ReliabilityFront(nn.Module):
    """Judge first, attend second: X_m -> r_m X_m, with the reliability r_m in [0, 1] of modality m at each step.

    h = Comparison(X_v, X_a); z = Linear_{H->2}(h); p = softmax([2 ; -z_v ; -z_a]) over (nothing is wrong, the video is,
    the sound is); r_v = 1 - p_1, r_a = 1 - p_2, and exactly 0 where the modality is masked. For reports the verdict is
    w_v = r_v / (r_v + r_a), w_a = 1 - w_v, and one half each where both are masked. The task's loss alone trains it.

    The linear layer of z starts at zero, so that both reliabilities start at .893 and no modality is dropped before
    something was learned, but its gradient does not vanish: h starts xavier-initialised.

    Ours, in no paper. It needs corruption in training: on healthy data alone it does not learn what to detect, and its
    weighting is of no reliable use where something is corrupted later. More on it: docs/reliability-front.md.

    Args:
        video_dim: D_v.
        audio_dim: D_a.
    """

    def __init__(self, video_dim: int, audio_dim: int) -> None:
        super().__init__()
        self.compare = Comparison(video_dim, audio_dim)
        self.judge = nn.Linear(HIDDEN_DIM, 2)
        nn.init.zeros_(self.judge.weight)
        nn.init.zeros_(self.judge.bias)

    def forward(self, pair: Pair) -> tuple[Pair, dict[str, Tensor]]:
        """The features scaled by their reliability, and the verdict `reliability` (B, L, 2) = [video, audio].

        Args:
            pair: features that are zero where their masks are False.
        """
        suspicion_BL2: Tensor = -self.judge(self.compare(pair))
        logits_BL3 = nn.functional.pad(suspicion_BL2, (1, 0), value=HEALTHY_LOGIT)
        ok_BL2 = torch.stack([pair.video_ok_BL, pair.audio_ok_BL], dim=-1)
        reliability_BL2 = (1 - logits_BL3.softmax(-1)[..., 1:]) * ok_BL2
        return pair.weighted(reliability_BL2), {"reliability": _verdict(reliability_BL2)}


def _verdict(reliability_BL2: Tensor) -> Tensor:
    """Reliabilities as shares of their sum; one half each where both are zero."""
    total_BL1 = reliability_BL2.sum(-1, keepdim=True)
    nothing_BL1 = total_BL1 == 0
    shares_BL2 = reliability_BL2 / torch.where(nothing_BL1, 1.0, total_BL1)
    return torch.where(nothing_BL1, 0.5, shares_BL2)
