"""The attention bases: CA, JCA in its released and its printed form, and TCA, each as a cross and as a self layer.

Shape letters: B batch, L steps, D feature width of one modality (D_v video, D_a audio), J = D_v + D_a, K hidden width.
A cross layer maps a Pair to Attended. A self layer, which IACA needs, is the same operator with both operands the same
modality and weights of its own. Inputs must be zero where their mask is False; outputs at such a step are undefined,
and the caller masks them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from iaca_model.config import FusionConfig
from iaca_model.layers import linear, mask_finite


class Pair(NamedTuple):
    """Features of both modalities with their masks, True where the modality is present."""

    video_BLD: Tensor
    audio_BLD: Tensor
    video_ok_BL: Tensor
    audio_ok_BL: Tensor

    def masked(self, video_BLD: Tensor, audio_BLD: Tensor) -> Pair:
        """Build a pair of new, finite features under the masks of this one: zero where they are False."""
        video_BLD, audio_BLD = mask_finite(video_BLD, self.video_ok_BL), mask_finite(audio_BLD, self.audio_ok_BL)
        return self._replace(video_BLD=video_BLD, audio_BLD=audio_BLD)

    def weighted(self, weights_BL2: Tensor) -> Pair:
        """Multiply the features of video and audio by their weights."""
        video_BL, audio_BL = weights_BL2.unbind(-1)
        return self._replace(
            video_BLD=video_BL[..., None] * self.video_BLD, audio_BLD=audio_BL[..., None] * self.audio_BLD
        )

    def joined(self) -> Tensor:
        """Concatenate the features, [video ; audio], (B, L, J)."""
        return torch.cat([self.video_BLD, self.audio_BLD], dim=-1)


class Attended(NamedTuple):
    """Output of a cross layer: attended features and attention maps, which say from which steps they were taken.

    The maps are explanations: float, without gradient, row = the step attended for, column = the step attended to. CA
    and TCA: softmax weights (of TCA the mean over heads), whose rows sum to 1, or to 0 where no step is valid. JCA has
    no weights over time; its maps are those of the linear part under its tanh or ReLU, of either sign.
    """

    video_BLD: Tensor
    audio_BLD: Tensor
    video_map_BLL: Tensor
    audio_map_BLL: Tensor


class CoAttention(nn.Module):
    """One modality X attended through a joint representation J: (B, L, D), (B, L, J) -> (B, L, D).

    K = Linear_{L->L}(X^T), over time; C = Dropout(tanh(K J / sqrt(J_dim))); H = ReLU(tanh(Linear_{D->D}(X) C));
    X' = X + Dropout(ReLU(Linear_{J->D}(H))). Exact: released code of JCA (2304.07958, 2403.19554).

    Args:
        dim: D.
        joint_dim: J.
        num_steps: L; sequences of another length do not fit.
        dropout: of C and of the result, before it is added.
    """

    def __init__(self, dim: int, joint_dim: int, num_steps: int, dropout: float) -> None:
        super().__init__()
        self.key = linear(num_steps, num_steps)
        self.value = linear(dim, dim)
        self.out = linear(joint_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BLD: Tensor, joint_BLJ: Tensor) -> tuple[Tensor, Tensor]:
        """Attended features (B, L, D) and their map over time (B, L, L)."""
        # C is by far the largest tensor: the scale goes on the small K instead, and its tanh needs no second copy.
        key_BDL, value_BLD = self.key(features_BLD.mT) / math.sqrt(joint_BLJ.shape[-1]), self.value(features_BLD)
        correlation_BDJ = self.dropout((key_BDL @ joint_BLJ).tanh_())
        attended_BLJ = torch.relu(torch.tanh(value_BLD @ correlation_BDJ))
        map_BLL = value_BLD.detach() @ key_BDL.detach()  # V K J without the tanh: the weight of each step of J
        return features_BLD + self.dropout(torch.relu(self.out(attended_BLJ))), map_BLL


class JCA(nn.Module):
    """Joint cross-attention in its released form: CoAttention of each modality with J = Linear([video ; audio]).

    Exact: code of 2304.07958 and 2403.19554.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        joint_dim = config.video_dim + config.audio_dim
        self.joint = linear(joint_dim, joint_dim)
        self.video = CoAttention(config.video_dim, joint_dim, config.num_steps, config.dropout)
        self.audio = CoAttention(config.audio_dim, joint_dim, config.num_steps, config.dropout)

    def forward(self, pair: Pair) -> Attended:
        """Attended video and audio."""
        joint_BLJ = self.joint(pair.joined())
        video_BLD, video_map_BLL = self.video(pair.video_BLD, joint_BLJ)
        audio_BLD, audio_map_BLL = self.audio(pair.audio_BLD, joint_BLJ)
        return Attended(video_BLD, audio_BLD, video_map_BLL, audio_map_BLL)


class JCASelf(nn.Module):
    """JCA of one modality with itself, J = Linear([X ; X]): (B, L, D) -> (B, L, D).

    Reconstructed: the equations of IACA (2405.12853) are not public.
    """

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.joint = linear(2 * dim, 2 * dim)
        self.own = CoAttention(dim, 2 * dim, config.num_steps, config.dropout)

    def forward(self, features_BLD: Tensor, ok_BL: Tensor) -> Tensor:  # noqa: ARG002 - self layers share a signature
        """Self-attended features (B, L, D)."""
        first_JD, second_JD = self.joint.weight.chunk(2, dim=-1)
        # W [X ; X] = (W_1 + W_2) X, with half the work
        joint_BLJ = nn.functional.linear(features_BLD, first_JD + second_JD, self.joint.bias)
        return self.own(features_BLD, joint_BLJ)[0]


class PaperCoAttention(nn.Module):
    """One modality X attended through J as printed in the JCA papers: (B, L, D), (B, L, J) -> (B, L, D).

    C = tanh(X^T W_j J / sqrt(J_dim)); H = ReLU(W X + W_c C^T); X' = W_h H + X. W_j, W and W_h act over time; there are
    no biases and no dropout. Exact: 2203.14779, 2209.09068.

    Args:
        joint_dim: J.
        num_steps: L; sequences of another length do not fit.
        hidden_dim: K, the rows of H.
    """

    def __init__(self, joint_dim: int, num_steps: int, hidden_dim: int) -> None:
        super().__init__()
        self.joint = _matrix(num_steps, num_steps)
        self.own = _matrix(hidden_dim, num_steps)
        self.map = _matrix(hidden_dim, joint_dim)
        self.out = _matrix(num_steps, hidden_dim)

    def forward(self, features_BLD: Tensor, joint_BLJ: Tensor) -> tuple[Tensor, Tensor]:
        """Attended features (B, L, D) and their map over time (B, L, L)."""
        correlation_BDJ = torch.tanh(features_BLD.mT @ self.joint @ joint_BLJ / math.sqrt(joint_BLJ.shape[-1]))
        attended_BKD = torch.relu(self.own @ features_BLD + self.map @ correlation_BDJ.mT)
        map_BLL = (self.out @ self.own).detach().expand(len(features_BLD), -1, -1)
        return self.out @ attended_BKD + features_BLD, map_BLL


def _matrix(num_rows: int, num_columns: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_rows, num_columns)))


class PaperJCA(nn.Module):
    """Joint cross-attention as printed: PaperCoAttention of each modality with J = [audio ; video] itself.

    Exact: 2203.14779, 2209.09068.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        sizes = (config.video_dim + config.audio_dim, config.num_steps, config.attention_dim)
        self.video, self.audio = PaperCoAttention(*sizes), PaperCoAttention(*sizes)

    def forward(self, pair: Pair) -> Attended:
        """Attended video and audio."""
        joint_BLJ = torch.cat([pair.audio_BLD, pair.video_BLD], dim=-1)
        video_BLD, video_map_BLL = self.video(pair.video_BLD, joint_BLJ)
        audio_BLD, audio_map_BLL = self.audio(pair.audio_BLD, joint_BLJ)
        return Attended(video_BLD, audio_BLD, video_map_BLL, audio_map_BLL)


class PaperJCASelf(nn.Module):
    """The printed JCA of one modality with itself, J = [X ; X]: (B, L, D) -> (B, L, D). Reconstructed, as JCASelf."""

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.own = PaperCoAttention(2 * dim, config.num_steps, config.attention_dim)

    def forward(self, features_BLD: Tensor, ok_BL: Tensor) -> Tensor:  # noqa: ARG002 - self layers share a signature
        """Self-attended features (B, L, D)."""
        return self.own(features_BLD, torch.cat([features_BLD, features_BLD], dim=-1))[0]


def attend(scores_BQL: Tensor, values_BLD: Tensor, ok_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Average the values with softmax(scores) over the valid steps as weights; 0 where no step is valid.

    Args:
        scores_BQL: (B, Q, L), of each of Q queries with each of L steps.
        values_BLD: (B, L, D).
        ok_BL: True at the valid steps.

    Returns:
        the averages (B, Q, D) and the weights (B, Q, L), without gradient.
    """
    masked_scores_BQL = scores_BQL.masked_fill(~ok_BL[:, None], torch.finfo(scores_BQL.dtype).min)
    weights_BQL = masked_scores_BQL.softmax(-1) * ok_BL.any(-1)[:, None, None]
    return weights_BQL @ values_BLD, weights_BQL.detach()


class CA(nn.Module):
    """Cross-attention: Z = X_a W X_v^T / T scores audio steps against video steps, with one W for both directions.

    X'_v = X_v + softmax(Z) X_v: the query is a step of the other modality, keys and values are the modality's own;
    X'_a alike with Z^T. Reconstructed: 2111.05222 as others restate it; its released module has no residual, and T is
    not published.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.weight = _matrix(config.audio_dim, config.video_dim)
        self.temperature = config.attention_temperature

    def forward(self, pair: Pair) -> Attended:
        """Attended video and audio."""
        video_BLD, audio_BLD, video_ok_BL, audio_ok_BL = pair
        scores_BLL = audio_BLD @ self.weight @ video_BLD.mT / self.temperature  # audio step, video step
        context_video_BLD, video_map_BLL = attend(scores_BLL, video_BLD, video_ok_BL)
        context_audio_BLD, audio_map_BLL = attend(scores_BLL.mT, audio_BLD, audio_ok_BL)
        return Attended(video_BLD + context_video_BLD, audio_BLD + context_audio_BLD, video_map_BLL, audio_map_BLL)


class CASelf(nn.Module):
    """CA of one modality with itself, Z = X W X^T / T: (B, L, D) -> (B, L, D). Reconstructed, as JCASelf."""

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.weight = _matrix(dim, dim)
        self.temperature = config.attention_temperature

    def forward(self, features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
        """Self-attended features (B, L, D)."""
        scores_BLL = features_BLD @ self.weight @ features_BLD.mT / self.temperature
        return features_BLD + attend(scores_BLL, features_BLD, ok_BL)[0]


class TransformerLayer(nn.Module):
    """A post-norm transformer layer whose keys and values may be another modality's: (B, L, D), (B, L, E) -> (B, L, D).

    X = LN(X + Dropout(MHA(X, S, S))); X = LN(X + Dropout(FFN(X))), with an FFN four times as wide (1706.03762).

    Args:
        dim: D, width of the queries X and of the result.
        source_dim: E, width of the source S of keys and values.
        num_heads: must divide `dim`.
        dropout: of both sublayers, and within the FFN.
    """

    def __init__(self, dim: int, source_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = linear(dim, dim)
        self.key, self.value = linear(source_dim, dim), linear(source_dim, dim)
        self.out = linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.widen, self.narrow = linear(dim, 4 * dim), linear(4 * dim, dim)

    def forward(self, features_BLD: Tensor, source_BLE: Tensor, source_ok_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Attended features (B, L, D) and their map (B, L, L); nothing is attended to where no step is valid."""
        query_NLW = self._split_heads(self.query(features_BLD))
        key_NLW, value_NLW = self._split_heads(self.key(source_BLE)), self._split_heads(self.value(source_BLE))
        ok_NL = source_ok_BL.repeat_interleave(self.num_heads, dim=0)
        scores_NLL = query_NLW @ key_NLW.mT / math.sqrt(query_NLW.shape[-1])
        heads_NLW, weights_NLL = attend(scores_NLL, value_NLW, ok_NL)
        context_BLD = self.out(heads_NLW.unflatten(0, (-1, self.num_heads)).transpose(1, 2).flatten(2))
        any_ok_B11 = source_ok_BL.any(-1)[:, None, None]  # the bias of `out` is no attention
        attended_BLD = self.norm1(features_BLD + self.dropout(context_BLD * any_ok_B11))
        widened_BLK = self.dropout(torch.relu(self.widen(attended_BLD)))
        map_BLL = weights_NLL.unflatten(0, (-1, self.num_heads)).mean(1)
        return self.norm2(attended_BLD + self.dropout(self.narrow(widened_BLK))), map_BLL

    def _split_heads(self, features_BLD: Tensor) -> Tensor:
        """(B, L, D) -> (B * heads, L, W), W = D / heads."""
        return features_BLD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2).flatten(0, 1)


class TCA(nn.Module):
    """Transformer cross-attention: a TransformerLayer per modality, keys and values from the other.

    Reconstructed: the papers name it without equations; this is the standard layer.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.video = TransformerLayer(config.video_dim, config.audio_dim, config.num_heads, config.dropout)
        self.audio = TransformerLayer(config.audio_dim, config.video_dim, config.num_heads, config.dropout)

    def forward(self, pair: Pair) -> Attended:
        """Attended video and audio."""
        video_BLD, video_map_BLL = self.video(pair.video_BLD, pair.audio_BLD, pair.audio_ok_BL)
        audio_BLD, audio_map_BLL = self.audio(pair.audio_BLD, pair.video_BLD, pair.video_ok_BL)
        return Attended(video_BLD, audio_BLD, video_map_BLL, audio_map_BLL)


class TCASelf(nn.Module):
    """A TransformerLayer with queries, keys and values of one modality: (B, L, D) -> (B, L, D).

    Reconstructed, as JCASelf.
    """

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.own = TransformerLayer(dim, dim, config.num_heads, config.dropout)

    def forward(self, features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
        """Self-attended features (B, L, D)."""
        return self.own(features_BLD, features_BLD, ok_BL)[0]


_CROSS = {"ca": CA, "jca": JCA, "jca_paper": PaperJCA, "tca": TCA}
_SELF = {"ca": CASelf, "jca": JCASelf, "jca_paper": PaperJCASelf, "tca": TCASelf}


def cross_layer(config: FusionConfig) -> nn.Module:
    """Build a cross layer of `config.base`: Pair -> Attended."""
    return _CROSS[config.base](config)


def self_layer(config: FusionConfig, dim: int) -> nn.Module:
    """Build a self layer of `config.base` for a modality of width `dim`: (features, mask) -> self-attended features."""
    return _SELF[config.base](config, dim)
