"""The gates that weigh unattended, self-attended and cross-attended features: DCA, IACA, GRJCA, HGRJCA, TAGF.

Shape letters: B batch, L steps, D feature width, F fused width, N options, R recursions. Each gate maps the iterates
X^0 ... X^R, that is the features before attention and after each layer of it, to the fused features (B, L, F) and its
weights by name. Iterates are zero where their modality is missing, and so are the features that a gate mixes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from iaca_model.agreement import AGREEMENT_DIM, Agreement
from iaca_model.attention import Pair, self_layer
from iaca_model.config import FusionConfig
from iaca_model.layers import linear, mask_finite

GateOutput = tuple[Tensor, dict[str, Tensor]]  # fused features, and weights by name
TAGF_DROPOUT = 0.1  # as released, whatever the dropout of the attention is


class SoftGate(nn.Module):
    """The weights of all gates but TAGF, softmax(Linear_{D->N}(X) / T): (B, L, D) -> (B, L, N).

    Exact: code of 2403.19554.

    Args:
        num_in: D.
        num_options: N.
        config: has T (`gate_temperature`), the initial weights and whether they are trained.
    """

    def __init__(self, num_in: int, num_options: int, config: FusionConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(num_in, num_options)
        self.temperature = config.gate_temperature
        nn.init.zeros_(self.linear.bias)
        if config.gate_init == "zero":
            nn.init.zeros_(self.linear.weight)
        else:
            nn.init.xavier_uniform_(self.linear.weight)
        self.requires_grad_(config.gate_trainable)

    def logits(self, features_BLD: Tensor) -> Tensor:
        """Linear(X) / T, (B, L, N)."""
        scores: Tensor = self.linear(features_BLD)
        return scores / self.temperature

    def forward(self, features_BLD: Tensor) -> Tensor:
        """Weights (B, L, N), whose rows sum to 1."""
        return self.logits(features_BLD).softmax(-1)


def mix(weights_BLN: Tensor, options: Sequence[Tensor], *, relu: bool) -> Tensor:
    """Sum N options (B, L, D) by their weights (B, L, N), with a ReLU on the sum if `relu`."""
    weighted = [w_BL[..., None] * x_BLD for w_BL, x_BLD in zip(weights_BLN.unbind(-1), options, strict=True)]
    mixed_BLD = sum(weighted[1:], start=weighted[0])
    return torch.relu(mixed_BLD) if relu else mixed_BLD


class Ungated(nn.Module):
    """No gate: the attended features of both modalities, [X^R_v ; X^R_a]."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.output_dim = config.video_dim + config.audio_dim

    def forward(self, iterates: Sequence[Pair]) -> GateOutput:
        """Fused features and no weights."""
        return iterates[-1].joined(), {}


class CrossGate(nn.Module):
    """A gate of one modality between features U without the other modality and cross-attended ones X_ca.

    X_g = ReLU(G[0] U + G[1] X_ca), the ReLU if `gate_relu`, with G = SoftGate(X_ca), or SoftGate([U ; X_ca]) if
    `gate_input` is both. U is X^0 in DCA and the self-attended features in stage 1 of IACA.
    """

    def __init__(self, dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.reads_both, self.relu = config.gate_input == "both", config.gate_relu
        self.gate = SoftGate(2 * dim if self.reads_both else dim, 2, config)

    def forward(self, unimodal_BLD: Tensor, cross_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed features (B, L, D) and the weights (B, L, 2) = [unimodal, cross-attended]."""
        gate_input = torch.cat([unimodal_BLD, cross_BLD], dim=-1) if self.reads_both else cross_BLD
        weights_BL2 = self.gate(gate_input)
        return mix(weights_BL2, [unimodal_BLD, cross_BLD], relu=self.relu), weights_BL2


class DCA(nn.Module):
    """Dynamic cross-attention: per modality a gate between X^0 and X^R, computed from X^R.

    X_g = ReLU(G[0] X^0 + G[1] X^R) with G = SoftGate(X^R); fused = [X_g,v ; X_g,a]. Exact (code of 2403.19554) with
    base jca, gate_relu True, gate_init xavier, gate_input cross and temperature .1; other settings are ours.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.video = CrossGate(config.video_dim, config)
        self.audio = CrossGate(config.audio_dim, config)
        self.output_dim = config.video_dim + config.audio_dim

    def forward(self, iterates: Sequence[Pair]) -> GateOutput:
        """Fused features, weights `video` and `audio` (B, L, 2) = [unattended, cross-attended]."""
        unattended, cross = iterates[0], iterates[-1]
        video, video_gate = self.video(unattended.video_BLD, cross.video_BLD)
        audio, audio_gate = self.audio(unattended.audio_BLD, cross.audio_BLD)
        return torch.cat([video, audio], dim=-1), {"video": video_gate, "audio": audio_gate}


class IACA(nn.Module):
    """Inconsistency-aware cross-attention: two stages of gates around any base.

    Stage 1, per modality m: X_g,m = CrossGate(X_sa,m, X^R_m), between self-attended and cross-attended features.
    Stage 2, across modalities: G = softmax(Linear([X_g,v ; X_g,a]) / T); fused by `modality_gate`
        concat: [G[0] X_g,v ; G[1] X_g,a];
        sum: G[0] X_g,v + G[1] X_g,a, under the ReLU if `gate_relu`;
        off: [X_g,v ; X_g,a], without G.
    A modality known to be missing gets weight exactly 0 in stage 2, and both missing get equal weights. With
    modality_input agreement, stage 2 reads `iaca_model.agreement` as well (ours).

    Reconstructed: beyond the abstract of 2405.12853 and a restatement the equations are not public; the gate is that
    of 2403.19554, used twice.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        joint_dim = config.video_dim + config.audio_dim
        self.stage2, self.relu = config.modality_gate, config.gate_relu
        self.video_self = nn.ModuleList(self_layer(config, config.video_dim) for _ in range(config.depth))
        self.audio_self = nn.ModuleList(self_layer(config, config.audio_dim) for _ in range(config.depth))
        self.video = CrossGate(config.video_dim, config)
        self.audio = CrossGate(config.audio_dim, config)
        reads_agreement = config.modality_input == "agreement" and self.stage2 != "off"
        self.agreement = Agreement(config.video_dim, config.audio_dim) if reads_agreement else None
        num_in = joint_dim + (AGREEMENT_DIM if reads_agreement else 0)
        self.modality = None if self.stage2 == "off" else SoftGate(num_in, 2, config)
        self.output_dim = config.video_dim if self.stage2 == "sum" else joint_dim

    def forward(self, iterates: Sequence[Pair]) -> GateOutput:
        """Fused features; weights `video`, `audio` = [self, cross] and `modality` = [video, audio], all (B, L, 2)."""
        unattended, cross = iterates[0], iterates[-1]
        self_video_BLD = attend_self(self.video_self, unattended.video_BLD, unattended.video_ok_BL)
        self_audio_BLD = attend_self(self.audio_self, unattended.audio_BLD, unattended.audio_ok_BL)
        video, video_gate = self.video(self_video_BLD, cross.video_BLD)
        audio, audio_gate = self.audio(self_audio_BLD, cross.audio_BLD)
        gates = {"video": video_gate, "audio": audio_gate}
        gated = unattended._replace(video_BLD=video, audio_BLD=audio)
        if self.modality is None:
            return gated.joined(), gates
        gates["modality"] = self._modality_weights(self.modality, unattended, gated)
        if self.stage2 == "sum":
            return mix(gates["modality"], [gated.video_BLD, gated.audio_BLD], relu=self.relu), gates
        return gated.weighted(gates["modality"]).joined(), gates

    def _modality_weights(self, gate: SoftGate, unattended: Pair, gated: Pair) -> Tensor:
        gate_input = gated.joined()
        if self.agreement is not None:
            gate_input = torch.cat([gate_input, self.agreement(unattended)], dim=-1)
        ok_BL2 = torch.stack([gated.video_ok_BL, gated.audio_ok_BL], dim=-1)
        return masked_softmax(gate.logits(gate_input), ok_BL2)


def attend_self(layers: nn.ModuleList, features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
    """Apply the self layers of one modality (B, L, D) one after another, masking the result of each."""
    for layer in layers:
        features_BLD = mask_finite(layer(features_BLD, ok_BL), ok_BL)
    return features_BLD


def masked_softmax(logits: Tensor, ok: Tensor) -> Tensor:
    """Softmax over the last axis with weight exactly 0 where `ok` is False; equal weights where all are False."""
    any_ok = ok.any(-1, keepdim=True)
    masked_logits = logits.masked_fill(~ok, -torch.inf)
    return torch.where(any_ok, masked_logits, logits.new_zeros(())).softmax(-1)


class RecursionGate(nn.Module):
    """A gate over N features of one modality: ReLU(sum_i G[i] X_i), G = SoftGate(driver), the ReLU if `gate_relu`."""

    def __init__(self, dim: int, num_options: int, config: FusionConfig) -> None:
        super().__init__()
        self.gate, self.relu = SoftGate(dim, num_options, config), config.gate_relu

    def forward(self, options: Sequence[Tensor], driver_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed features (B, L, D) and the weights (B, L, N)."""
        weights_BLN = self.gate(driver_BLD)
        return mix(weights_BLN, options, relu=self.relu), weights_BLN


class GRJCA(nn.Module):
    """Gated recursive joint cross-attention: per modality a gate over X^0 ... X^R, computed from X^R.

    X_g = ReLU(sum_r G[r] X^r) with G = SoftGate(X^R); fused = [X_g,v ; X_g,a]. Exact (code of 2503.12261) with base
    jca, R = 2, gate_relu True, gate_init xavier and temperature .1; other settings are ours.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.video = RecursionGate(config.video_dim, config.depth + 1, config)
        self.audio = RecursionGate(config.audio_dim, config.depth + 1, config)
        self.output_dim = config.video_dim + config.audio_dim

    def forward(self, iterates: Sequence[Pair]) -> GateOutput:
        """Fused features, weights `video` and `audio` (B, L, R + 1)."""
        last = iterates[-1]
        video, video_gate = self.video([pair.video_BLD for pair in iterates], last.video_BLD)
        audio, audio_gate = self.audio([pair.audio_BLD for pair in iterates], last.audio_BLD)
        return torch.cat([video, audio], dim=-1), {"video": video_gate, "audio": audio_gate}


class HierarchicalGate(nn.Module):
    """The two levels of HGRJCA for one modality: gates `first` and `second` over its iterates, `last` over both."""

    def __init__(self, dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.first = RecursionGate(dim, 2, config)
        self.second = RecursionGate(dim, 3, config)
        self.last = RecursionGate(dim, 2, config)

    def forward(self, iterates: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The mixed features and the weights of the last (B, L, 2), first (B, L, 2) and second (B, L, 3) gate."""
        first, first_gate = self.first(iterates[:2], iterates[1])
        second, second_gate = self.second(iterates, iterates[2])
        mixed, last_gate = self.last([first, second], iterates[2])
        return mixed, last_gate, first_gate, second_gate


class HGRJCA(nn.Module):
    """Hierarchically gated recursive joint cross-attention, for R = 2.

    Per modality a gate over (X^0, X^1) computed from X^1, one over (X^0, X^1, X^2) computed from X^2, then one over
    the results of these two computed from X^2, a ReLU after each; fused = [X_g,v ; X_g,a]. Exact (code of 2503.12261)
    with the settings for which GRJCA is.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.video = HierarchicalGate(config.video_dim, config)
        self.audio = HierarchicalGate(config.audio_dim, config)
        self.output_dim = config.video_dim + config.audio_dim

    def forward(self, iterates: Sequence[Pair]) -> GateOutput:
        """Fused features; weights of the last gates `video`, `audio` and of the first level `*_first`, `*_second`."""
        video, *video_gates = self.video([pair.video_BLD for pair in iterates])
        audio, *audio_gates = self.audio([pair.audio_BLD for pair in iterates])
        gates = {}
        for modality, weights in (("video", video_gates), ("audio", audio_gates)):
            gates[modality], gates[f"{modality}_first"], gates[f"{modality}_second"] = weights
        return torch.cat([video, audio], dim=-1), gates


class TimeAwareGate(nn.Module):
    """The gate of TAGF for one modality: weights of X^0 ... X^R from a bidirectional LSTM that runs over them.

    At each step by itself, with both directions D wide and from learned initial states:
        Y^0 ... Y^R = Linear_{3D->2D}(Dropout([X^r ; LSTM(X^0 ... X^R)^r])) / norm, G = softmax(mean(Y^r) / T).

    Unit length keeps each mean within 1 / sqrt(2 D), so no weight exceeds another by more than exp(2 / (T sqrt(2 D))).

    With `gate_init` zero the linear layer starts with weights 0 and biases 1, -1, 1, ...: all scores are then 0, and
    unlike a zero vector its result has a direction, hence a gradient. The LSTM starts as torch's in either case.

    Args:
        dim: D.
        config: has T (`gate_temperature`), `gate_relu`, the initial weights and whether they are trained.
    """

    def __init__(self, dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.temperature, self.relu = config.gate_temperature, config.gate_relu
        # Cells, not nn.LSTM, at which torch.compile would break the graph.
        self.first_to_last = nn.LSTMCell(dim, dim)
        self.last_to_first = nn.LSTMCell(dim, dim)
        self.init_hidden = nn.Parameter(nn.init.xavier_uniform_(torch.empty(4, dim)))  # h0 of both, then c0 of both
        self.linear = linear(3 * dim, 2 * dim)
        if config.gate_init == "zero":
            nn.init.zeros_(self.linear.weight)
            nn.init.ones_(self.linear.bias[::2])
            nn.init.constant_(self.linear.bias[1::2], -1.0)
        self.dropout = nn.Dropout(TAGF_DROPOUT)
        self.requires_grad_(config.gate_trainable)

    def forward(self, iterates: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The mixed features (B, L, D) and the weights (B, L, R + 1)."""
        weights_BLN = (self._scores(iterates) / self.temperature).softmax(-1)
        return mix(weights_BLN, iterates, relu=self.relu), weights_BLN

    def _scores(self, iterates: Sequence[Tensor]) -> Tensor:
        batch_and_steps = iterates[0].shape[:2]
        inputs = [features_BLD.flatten(0, 1) for features_BLD in iterates]
        hidden, reverse_hidden, memory, reverse_memory = self.init_hidden.unbind()
        onward = run_cell(self.first_to_last, inputs, hidden, memory)
        back = run_cell(self.last_to_first, inputs[::-1], reverse_hidden, reverse_memory)[::-1]
        joined = torch.cat([torch.stack(parts, dim=1) for parts in (inputs, onward, back)], dim=-1)
        encoded = nn.functional.normalize(self.linear(self.dropout(joined)), dim=-1)
        return encoded.mean(-1).unflatten(0, batch_and_steps)


def run_cell(cell: nn.LSTMCell, inputs: Sequence[Tensor], hidden_H: Tensor, memory_H: Tensor) -> list[Tensor]:
    """Apply an LSTM cell to one input (M, D) after another, all M from the same states; its hidden state after each."""
    state = (hidden_H.expand(len(inputs[0]), -1), memory_H.expand(len(inputs[0]), -1))
    outputs = []
    for input_MD in inputs:
        state = cell(input_MD, state)
        outputs.append(state[0])
    return outputs


class TAGF(nn.Module):
    """Time-aware gated fusion: per modality a gate over X^0 ... X^R, computed from all of them by a BiLSTM.

    X_g = sum_r G[r] X^r with G of TimeAwareGate, under a ReLU if `gate_relu`; fused = [X_g,v ; X_g,a].

    Exact (code of 2507.02080) with base jca, R = 2, gate_relu False, gate_init xavier and temperature .1, as far as its
    attention, which the code imports and we have not seen, is that of RJCA. Other settings are ours. For the paper's
    name: time, here, is the order of the recursions; the gate reads no other step.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.video = TimeAwareGate(config.video_dim, config)
        self.audio = TimeAwareGate(config.audio_dim, config)
        self.output_dim = config.video_dim + config.audio_dim

    def forward(self, iterates: Sequence[Pair]) -> GateOutput:
        """Fused features, weights `video` and `audio` (B, L, R + 1)."""
        video, video_gate = self.video([pair.video_BLD for pair in iterates])
        audio, audio_gate = self.audio([pair.audio_BLD for pair in iterates])
        return torch.cat([video, audio], dim=-1), {"video": video_gate, "audio": audio_gate}


GateModule = Ungated | DCA | IACA | GRJCA | HGRJCA | TAGF
_GATES: dict[str, Callable[[FusionConfig], GateModule]] = {
    "none": Ungated,
    "dca": DCA,
    "iaca": IACA,
    "grjca": GRJCA,
    "hgrjca": HGRJCA,
    "tagf": TAGF,
}


def build_gate(config: FusionConfig) -> GateModule:
    """Build the gate `config.gate`: iterates -> (fused features, weights by name); `output_dim` is its F."""
    return _GATES[config.gate](config)
