"""The attention bases: CA, JCA in both its forms, and TCA, each as a cross layer and as a self layer.

Shape letters: B batch, L steps, D_v and D_a feature widths (D: of one modality), J = D_v + D_a, K hidden width.
A cross layer maps a Pair to Attended; a self layer, which IACA needs, is the same operator with both operands the same
modality and its own weights. Inputs are zero where their mask is False; what a layer gives at such a step is for the
caller to zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from iaca_model.config import FusionConfig
from iaca_model.layers import linear, mask_finite


class Pair(NamedTuple):
    """Both modalities' features with their masks, True where the modality is there."""

    video_BLD: Tensor
    audio_BLD: Tensor
    video_ok_BL: Tensor
    audio_ok_BL: Tensor

    def masked(self, video_BLD: Tensor, audio_BLD: Tensor) -> Pair:
        """What a layer made of these, finite, under the same masks: zero where they are False."""
        video_BLD, audio_BLD = mask_finite(video_BLD, self.video_ok_BL), mask_finite(audio_BLD, self.audio_ok_BL)
        return self._replace(video_BLD=video_BLD, audio_BLD=audio_BLD)

    def joined(self) -> Tensor:
        """[video ; audio], (B, L, J)."""
        return torch.cat([self.video_BLD, self.audio_BLD], dim=-1)


class Attended(NamedTuple):
    """What a cross layer gives: attended features, and which steps they were taken from.

    The maps are for people: float, without gradient, row = the step attended for, column = the step looked at. CA and
    TCA: softmax weights (of TCA the mean over heads), rows sum to 1, or are 0 where there is nothing to look at. JCA
    has no weights over time; its maps are those of the linear part under its tanh or ReLU, of either sign.
    """

    video_BLD: Tensor
    audio_BLD: Tensor
    video_map_BLL: Tensor
    audio_map_BLL: Tensor


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

    def forward(self, own_BLD: Tensor, joint_BLJ: Tensor) -> tuple[Tensor, Tensor]:
        """Attended features (B, L, D) and their map over time."""
        # C is by far the largest tensor: the scale goes on the small K instead, and its tanh needs no second copy.
        key_BDL, value_BLD = self.key(own_BLD.mT) / math.sqrt(joint_BLJ.shape[-1]), self.value(own_BLD)
        map_BDJ = self.dropout((key_BDL @ joint_BLJ).tanh_())
        masked_BLJ = torch.relu(torch.tanh(value_BLD @ map_BDJ))
        over_time_BLL = value_BLD.detach() @ key_BDL.detach()  # V K^T J without the tanh: J's weight by step
        return own_BLD + self.dropout(torch.relu(self.out(masked_BLJ))), over_time_BLL


def _both(video: tuple[Tensor, Tensor], audio: tuple[Tensor, Tensor]) -> Attended:
    return Attended(video[0], audio[0], video[1], audio[1])


class JCA(nn.Module):
    """Joint cross-attention, released form (code of 2304.07958 and 2403.19554): J = Linear([video ; audio]). Exact."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        joint_dim = config.video_dim + config.audio_dim
        self.joint = linear(joint_dim, joint_dim)
        self.video = CoAttention(config.video_dim, joint_dim, config.num_steps, config.dropout)
        self.audio = CoAttention(config.audio_dim, joint_dim, config.num_steps, config.dropout)

    def forward(self, pair: Pair) -> Attended:
        """Attended video and audio."""
        joint_BLJ = self.joint(pair.joined())
        return _both(self.video(pair.video_BLD, joint_BLJ), self.audio(pair.audio_BLD, joint_BLJ))


class JCASelf(nn.Module):
    """JCA of one modality with itself, J_m = Linear([X_m ; X_m]). Reconstructed: IACA's equations are not public."""

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.joint = linear(2 * dim, 2 * dim)
        self.own = CoAttention(dim, 2 * dim, config.num_steps, config.dropout)

    def forward(self, own_BLD: Tensor, ok_BL: Tensor) -> Tensor:  # noqa: ARG002 - self layers share a signature
        """Attended features (B, L, D)."""
        first_JD, second_JD = self.joint.weight.chunk(2, dim=-1)
        joint_BLJ = nn.functional.linear(own_BLD, first_JD + second_JD, self.joint.bias)  # W [X ; X] with half the work
        return self.own(own_BLD, joint_BLJ)[0]


class PaperCoAttention(nn.Module):
    """One modality X attended through J in the paper's form of JCA (2203.14779, 2209.09068). Exact.

    C = tanh(X^T W_j J / sqrt(D)); H = ReLU(W X + W_c C^T); X' = W_h H + X. W_j, W and W_h act over time. No biases,
    no dropout.
    """

    def __init__(self, joint_dim: int, num_steps: int, hidden_dim: int) -> None:
        super().__init__()
        self.joint = _matrix(num_steps, num_steps)
        self.own = _matrix(hidden_dim, num_steps)
        self.map = _matrix(hidden_dim, joint_dim)
        self.out = _matrix(num_steps, hidden_dim)

    def forward(self, own_BLD: Tensor, joint_BLJ: Tensor) -> tuple[Tensor, Tensor]:
        """Attended features (B, L, D) and their map over time."""
        map_BDJ = torch.tanh(own_BLD.mT @ self.joint @ joint_BLJ / math.sqrt(joint_BLJ.shape[-1]))
        hidden_BKD = torch.relu(self.own @ own_BLD + self.map @ map_BDJ.mT)
        over_time_BLL = (self.out @ self.own).detach().expand(len(own_BLD), -1, -1)
        return self.out @ hidden_BKD + own_BLD, over_time_BLL


def _matrix(num_rows: int, num_columns: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_rows, num_columns)))


class PaperJCA(nn.Module):
    """Joint cross-attention as printed (2203.14779, 2209.09068): J = [audio ; video] itself. Exact."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        sizes = (config.video_dim + config.audio_dim, config.num_steps, config.attention_dim)
        self.video, self.audio = PaperCoAttention(*sizes), PaperCoAttention(*sizes)

    def forward(self, pair: Pair) -> Attended:
        """Attended video and audio."""
        joint_BLJ = torch.cat([pair.audio_BLD, pair.video_BLD], dim=-1)
        return _both(self.video(pair.video_BLD, joint_BLJ), self.audio(pair.audio_BLD, joint_BLJ))


class PaperJCASelf(nn.Module):
    """The printed JCA of one modality with itself, J_m = [X_m ; X_m]. Reconstructed, as JCASelf."""

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.own = PaperCoAttention(2 * dim, config.num_steps, config.attention_dim)

    def forward(self, own_BLD: Tensor, ok_BL: Tensor) -> Tensor:  # noqa: ARG002 - self layers share a signature
        """Attended features (B, L, D)."""
        return self.own(own_BLD, torch.cat([own_BLD, own_BLD], dim=-1))[0]


def attend(scores_BQL: Tensor, values_BLD: Tensor, ok_BL: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(scores) over the valid steps, times the values; and these weights, detached. 0 where none is valid."""
    shown_BQL = scores_BQL.masked_fill(~ok_BL[:, None], torch.finfo(scores_BQL.dtype).min)
    weights_BQL = shown_BQL.softmax(-1) * ok_BL.any(-1)[:, None, None]
    return weights_BQL @ values_BLD, weights_BQL.detach()


class CA(nn.Module):
    """Cross-attention (2111.05222): Z = X_a W X_v^T scores audio steps against video steps, one W for both ways.

    X'_v = X_v + softmax(Z / T) X_v: the query is the other modality's step, keys and values are one's own; X'_a alike
    with Z^T. Restated: the residual is a third party's description, the released module has none; T is not published.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.weight = _matrix(config.audio_dim, config.video_dim)
        self.temperature = config.attention_temperature

    def forward(self, pair: Pair) -> Attended:
        """Attended video and audio."""
        video_BLD, audio_BLD, video_ok_BL, audio_ok_BL = pair
        scores_BLL = audio_BLD @ self.weight @ video_BLD.mT / self.temperature  # audio step, video step
        video, video_map_BLL = attend(scores_BLL, video_BLD, video_ok_BL)
        audio, audio_map_BLL = attend(scores_BLL.mT, audio_BLD, audio_ok_BL)
        return Attended(video_BLD + video, audio_BLD + audio, video_map_BLL, audio_map_BLL)


class CASelf(nn.Module):
    """CA of one modality with itself, Z_m = X_m W_m X_m^T. Reconstructed, as JCASelf."""

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.weight = _matrix(dim, dim)
        self.temperature = config.attention_temperature

    def forward(self, own_BLD: Tensor, ok_BL: Tensor) -> Tensor:
        """Attended features (B, L, D)."""
        return own_BLD + attend(own_BLD @ self.weight @ own_BLD.mT / self.temperature, own_BLD, ok_BL)[0]


class TransformerLayer(nn.Module):
    """x = LN(q + MHA(q, k = v = other)); x = LN(x + FFN(x)), with a FFN four times as wide."""

    def __init__(self, own_dim: int, other_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = linear(own_dim, own_dim)
        self.key, self.value = linear(other_dim, own_dim), linear(other_dim, own_dim)
        self.out = linear(own_dim, own_dim)
        self.dropout = nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(own_dim), nn.LayerNorm(own_dim)
        self.widen, self.narrow = linear(own_dim, 4 * own_dim), linear(4 * own_dim, own_dim)

    def forward(self, own_BLD: Tensor, other_BLE: Tensor, other_ok_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Attended features (B, L, D) and their map; nothing is attended to where `other` has no valid step."""
        query, key, value = (self._split(x) for x in (self.query(own_BLD), self.key(other_BLE), self.value(other_BLE)))
        num_heads, width = self.num_heads, query.shape[-1]
        ok_NL = other_ok_BL.repeat_interleave(num_heads, dim=0)
        heads_NLW, weights_NLL = attend(query @ key.mT / math.sqrt(width), value, ok_NL)
        context_BLD = self.out(heads_NLW.unflatten(0, (-1, num_heads)).transpose(1, 2).flatten(2))
        seen_B11 = other_ok_BL.any(-1)[:, None, None]
        attended_BLD = self.norm1(own_BLD + self.dropout(context_BLD * seen_B11))
        masked_BLK = self.dropout(torch.relu(self.widen(attended_BLD)))
        map_BLL = weights_NLL.unflatten(0, (-1, num_heads)).mean(1)
        return self.norm2(attended_BLD + self.dropout(self.narrow(masked_BLK))), map_BLL

    def _split(self, features_BLD: Tensor) -> Tensor:
        return features_BLD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2).flatten(0, 1)  # (B heads, L, width)


class TCA(nn.Module):
    """Transformer cross-attention: queries of one modality, keys and values of the other.

    Inferred: the papers name it without equations; this is the standard post-norm layer (1706.03762).
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.video = TransformerLayer(config.video_dim, config.audio_dim, config.num_heads, config.dropout)
        self.audio = TransformerLayer(config.audio_dim, config.video_dim, config.num_heads, config.dropout)

    def forward(self, pair: Pair) -> Attended:
        """Attended video and audio."""
        video_BLD, audio_BLD, video_ok_BL, audio_ok_BL = pair
        return _both(self.video(video_BLD, audio_BLD, audio_ok_BL), self.audio(audio_BLD, video_BLD, video_ok_BL))


class TCASelf(nn.Module):
    """The transformer layer with queries, keys and values of one modality. Reconstructed, as JCASelf."""

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.own = TransformerLayer(dim, dim, config.num_heads, config.dropout)

    def forward(self, own_BLD: Tensor, ok_BL: Tensor) -> Tensor:
        """Attended features (B, L, D)."""
        return self.own(own_BLD, own_BLD, ok_BL)[0]


_CROSS = {"ca": CA, "jca": JCA, "jca_paper": PaperJCA, "tca": TCA}
_SELF = {"ca": CASelf, "jca": JCASelf, "jca_paper": PaperJCASelf, "tca": TCASelf}


def cross_layer(config: FusionConfig) -> nn.Module:
    """One layer of `config.base`: Pair -> Attended."""
    return _CROSS[config.base](config)


def self_layer(config: FusionConfig, dim: int) -> nn.Module:
    """One layer of `config.base` with both operands the same modality: (own, ok) -> self-attended own."""
    return _SELF[config.base](config, dim)
