"""The gates that weigh unattended, self-attended and cross-attended features: DCA, IACA, GRJCA, HGRJCA.

Shape letters: B batch, L steps, D feature width, F fused width, N options. Each gate reads the iterates X^0 ... X^R
of the cross-attention and gives the fused features (B, L, F) with its weights by name. Iterates are zero where their
modality is missing, and so is what a gate makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from iaca_model.agreement import HIDDEN_DIM, Agreement
from iaca_model.attention import Pair, self_layer
from iaca_model.config import FusionConfig
from iaca_model.layers import mask_finite

Gated = tuple[Tensor, dict[str, Tensor]]


class SoftGate(nn.Module):
    """softmax(Linear(x) / T) over `num_options`: the one gate formula of 2403.19554 (code). Exact."""

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
        """Linear(x) / T, (B, L, N)."""
        scores: Tensor = self.linear(features_BLD)
        return scores / self.temperature

    def forward(self, features_BLD: Tensor) -> Tensor:
        """Weights (B, L, N), rows sum to 1."""
        return self.logits(features_BLD).softmax(-1)


def mix(weights_BLN: Tensor, options: Sequence[Tensor], *, relu: bool) -> Tensor:
    """The weighted sum of N options (B, L, D), with a ReLU on it where asked."""
    first, *others = (w_BL[..., None] * x_BLD for w_BL, x_BLD in zip(weights_BLN.unbind(-1), options, strict=True))
    mixed_BLD = sum(others, start=first)
    return torch.relu(mixed_BLD) if relu else mixed_BLD


class Ungated(nn.Module):
    """[X^R_v ; X^R_a] as it is."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.output_dim = config.video_dim + config.audio_dim

    def forward(self, iterates: Sequence[Pair]) -> Gated:
        """Fused features and no weights."""
        return iterates[-1].joined(), {}


class CrossGate(nn.Module):
    """Between features that did not meet the other modality and cross-attended ones: weights [plain, cross]."""

    def __init__(self, dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.see_both, self.relu = config.gate_input == "both", config.gate_relu
        self.gate = SoftGate(2 * dim if self.see_both else dim, 2, config)

    def forward(self, plain_BLD: Tensor, cross_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed features and the weights (B, L, 2)."""
        seen = torch.cat([plain_BLD, cross_BLD], dim=-1) if self.see_both else cross_BLD
        weights_BL2 = self.gate(seen)
        return mix(weights_BL2, [plain_BLD, cross_BLD], relu=self.relu), weights_BL2


class DCA(nn.Module):
    """Dynamic cross-attention (2403.19554, code): per modality a gate between X^0 and X^R, driven by X^R.

    X_g = ReLU(G[0] X^0 + G[1] X^R), then [video ; audio]. Exact with base jca, gate_relu True, gate_init xavier,
    gate_input cross and temperature .1; other settings are ours.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.video = CrossGate(config.video_dim, config)
        self.audio = CrossGate(config.audio_dim, config)
        self.output_dim = config.video_dim + config.audio_dim

    def forward(self, iterates: Sequence[Pair]) -> Gated:
        """Fused features, weights `video` and `audio` (B, L, 2) = [unattended, cross-attended]."""
        plain, cross = iterates[0], iterates[-1]
        video, video_gate = self.video(plain.video_BLD, cross.video_BLD)
        audio, audio_gate = self.audio(plain.audio_BLD, cross.audio_BLD)
        return torch.cat([video, audio], dim=-1), {"video": video_gate, "audio": audio_gate}


class IACA(nn.Module):
    """Inconsistency-aware cross-attention (2405.12853): two gated stages around any base.

    Stage 1, per modality: between self-attended and cross-attended features, driven by the latter.
    Stage 2, across modalities: G = softmax(Linear([X_g,v ; X_g,a]) / T) weighs the two. "concat": [G[0] X_g,v ;
    G[1] X_g,a]; "sum": G[0] X_g,v + G[1] X_g,a, under the ReLU where there is one; "off": [X_g,v ; X_g,a].
    A modality known to be missing gets stage-2 weight exactly 0; both missing, equal weights. With modality_input
    "agreement" stage 2 reads `iaca_model.agreement` besides (ours).

    Reconstructed: beyond the abstract and a restatement the equations are not public; the gate is that of 2403.19554,
    used twice.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        joint_dim = config.video_dim + config.audio_dim
        self.stage2, self.relu = config.modality_gate, config.gate_relu
        self.video_self = nn.ModuleList(self_layer(config, config.video_dim) for _ in range(config.depth))
        self.audio_self = nn.ModuleList(self_layer(config, config.audio_dim) for _ in range(config.depth))
        self.video = CrossGate(config.video_dim, config)
        self.audio = CrossGate(config.audio_dim, config)
        sees_agreement = config.modality_input == "agreement" and self.stage2 != "off"
        self.agreement = Agreement(config.video_dim, config.audio_dim) if sees_agreement else None
        num_seen = joint_dim + (HIDDEN_DIM if sees_agreement else 0)
        self.modality = None if self.stage2 == "off" else SoftGate(num_seen, 2, config)
        self.output_dim = config.video_dim if self.stage2 == "sum" else joint_dim

    def forward(self, iterates: Sequence[Pair]) -> Gated:
        """Fused features; weights `video`, `audio` = [self, cross] and `modality` = [video, audio], all (B, L, 2)."""
        plain, cross = iterates[0], iterates[-1]
        own_video_BLD = attend_self(self.video_self, plain.video_BLD, plain.video_ok_BL)
        own_audio_BLD = attend_self(self.audio_self, plain.audio_BLD, plain.audio_ok_BL)
        video, video_gate = self.video(own_video_BLD, cross.video_BLD)
        audio, audio_gate = self.audio(own_audio_BLD, cross.audio_BLD)
        gates = {"video": video_gate, "audio": audio_gate}
        pair = plain._replace(video_BLD=video, audio_BLD=audio)
        if self.modality is None:
            return pair.joined(), gates
        gates["modality"] = self._weigh(self.modality, plain, pair)
        if self.stage2 == "sum":
            return mix(gates["modality"], [pair.video_BLD, pair.audio_BLD], relu=self.relu), gates
        video_BL, audio_BL = gates["modality"].unbind(-1)
        return torch.cat([video_BL[..., None] * pair.video_BLD, audio_BL[..., None] * pair.audio_BLD], dim=-1), gates

    def _weigh(self, gate: SoftGate, plain: Pair, pair: Pair) -> Tensor:
        seen = pair.joined()
        if self.agreement is not None:
            seen = torch.cat([seen, self.agreement(plain)], dim=-1)
        ok_BL2 = torch.stack([pair.video_ok_BL, pair.audio_ok_BL], dim=-1)
        return masked_softmax(gate.logits(seen), ok_BL2)


def attend_self(layers: nn.ModuleList, own_BLD: Tensor, ok_BL: Tensor) -> Tensor:
    """Self-attended features after all layers, masked steps zeroed after each."""
    for layer in layers:
        own_BLD = mask_finite(layer(own_BLD, ok_BL), ok_BL)
    return own_BLD


def masked_softmax(logits: Tensor, ok: Tensor) -> Tensor:
    """Softmax over the last axis with weight exactly 0 where `ok` is False; equal weights where all are False."""
    any_ok = ok.any(-1, keepdim=True)
    shown = logits.masked_fill(~ok, -torch.inf)
    return torch.where(any_ok, shown, logits.new_zeros(())).softmax(-1)


class RecursionGate(nn.Module):
    """A gate over iterates of one modality, driven by the last of them."""

    def __init__(self, dim: int, num_options: int, config: FusionConfig) -> None:
        super().__init__()
        self.gate, self.relu = SoftGate(dim, num_options, config), config.gate_relu

    def forward(self, options: Sequence[Tensor], driver_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed features (B, L, D) and the weights (B, L, N)."""
        weights_BLN = self.gate(driver_BLD)
        return mix(weights_BLN, options, relu=self.relu), weights_BLN


class GRJCA(nn.Module):
    """Gated recursive joint cross-attention (2503.12261, code): per modality a gate over X^0 ... X^R, driven by X^R.

    Exact with base jca, R = 2, gate_relu True, gate_init xavier and temperature .1.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.video = RecursionGate(config.video_dim, config.depth + 1, config)
        self.audio = RecursionGate(config.audio_dim, config.depth + 1, config)
        self.output_dim = config.video_dim + config.audio_dim

    def forward(self, iterates: Sequence[Pair]) -> Gated:
        """Fused features, weights `video` and `audio` (B, L, R + 1)."""
        last = iterates[-1]
        video, video_gate = self.video([pair.video_BLD for pair in iterates], last.video_BLD)
        audio, audio_gate = self.audio([pair.audio_BLD for pair in iterates], last.audio_BLD)
        return torch.cat([video, audio], dim=-1), {"video": video_gate, "audio": audio_gate}


class Hierarchy(nn.Module):
    """The two levels of HGRJCA for one modality."""

    def __init__(self, dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.first = RecursionGate(dim, 2, config)
        self.second = RecursionGate(dim, 3, config)
        self.last = RecursionGate(dim, 2, config)

    def forward(self, options: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The mixed features and the weights of the last (B, L, 2), first (B, L, 2) and second (B, L, 3) gate."""
        first, first_gate = self.first(options[:2], options[1])
        second, second_gate = self.second(options, options[2])
        mixed, last_gate = self.last([first, second], options[2])
        return mixed, last_gate, first_gate, second_gate


class HGRJCA(nn.Module):
    """Hierarchically gated recursive joint cross-attention (2503.12261, code), for R = 2.

    Per modality a gate over (X^0, X^1) driven by X^1, one over (X^0, X^1, X^2) driven by X^2, then one across these
    two results driven by X^2, a ReLU after each. Exact as GRJCA is.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.video = Hierarchy(config.video_dim, config)
        self.audio = Hierarchy(config.audio_dim, config)
        self.output_dim = config.video_dim + config.audio_dim

    def forward(self, iterates: Sequence[Pair]) -> Gated:
        """Fused features; weights of the last gates `video`, `audio` and of the first level `*_first`, `*_second`."""
        video, *video_gates = self.video([pair.video_BLD for pair in iterates])
        audio, *audio_gates = self.audio([pair.audio_BLD for pair in iterates])
        names = ("", "_first", "_second")
        gates = {f"video{name}": weights for name, weights in zip(names, video_gates, strict=True)}
        gates |= {f"audio{name}": weights for name, weights in zip(names, audio_gates, strict=True)}
        return torch.cat([video, audio], dim=-1), gates


GateModule = Ungated | DCA | IACA | GRJCA | HGRJCA
_GATES: dict[str, Callable[[FusionConfig], GateModule]] = {
    "none": Ungated,
    "dca": DCA,
    "iaca": IACA,
    "grjca": GRJCA,
    "hgrjca": HGRJCA,
}


def build_gate(config: FusionConfig) -> GateModule:
    """The module of `config.gate`: iterates -> (fused, weights by name); it knows its `output_dim`."""
    return _GATES[config.gate](config)
