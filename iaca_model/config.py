"""The sizes of the model's input and of its parts, as frozen dataclasses without torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

Base = Literal["concat", "ca", "jca", "jca_paper", "tca"]
Gate = Literal["none", "dca", "iaca", "grjca", "hgrjca"]
ModalityGate = Literal["concat", "sum", "off"]
Modality = Literal["both", "video", "audio"]
GateInput = Literal["cross", "both"]
GateInit = Literal["zero", "xavier"]
ModalityInput = Literal["gated", "agreement"]
Backbone = Literal["tiny", "residual"]
Temporal = Literal["none", "blstm", "tcn"]
Frozen = Literal["none", "partly", "all"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class InputSpec:
    """What one sequence holds: L steps, each a sub-clip of T face crops and S mel hops.

    Shape letters, used across the package: B batch, L steps, T frames of a sub-clip, H and W crop
    height and width, M mel bands, S hops, D feature width, F fused width.
    """

    num_steps: int = 16  # L
    num_frames: int = 8  # T, after dilation
    crop_px: int = 112  # H = W
    num_mels: int = 64  # M
    num_hops: int = 125  # S

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                msg = f"InputSpec.{name} is {value}; it must be at least 1"
                raise ValueError(msg)


@dataclass(frozen=True)
class FeatureSpec:
    """What one sequence holds where the backbones have run already: L steps of video and of audio features."""

    num_steps: int  # L
    video_dim: int  # D_v
    audio_dim: int  # D_a


@dataclass(frozen=True)
class FusionConfig:
    """One base and one gate; see `iaca_model.fusion` for what each computes.

    Legal pairs: base concat with gate none; every other base with every gate. `num_recursions` None means the
    papers' own: 2 for gated models, 1 for ungated. The defaults of the gates (zero init, no ReLU, stage 2
    "concat") are the measured best; `preset("faithful")` is the literal form.

    Raises:
        ValueError: the base and the gate, or the sizes they need, do not go together.
    """

    video_dim: int = 128  # D_v
    audio_dim: int = 128  # D_a
    num_steps: int = 16  # L
    base: Base = "jca"
    gate: Gate = "iaca"
    num_recursions: int | None = None
    temperature: float | None = None  # of the gates; None: the measured best, 1 for base ca and .1 for the others
    attention_temperature: float = 1.0  # of the CA base's softmax
    dropout: float = 0.6
    modality_gate: ModalityGate = "concat"  # stage 2 of IACA
    gate_input: GateInput = "cross"  # of DCA and stage 1 of IACA: X_ca alone, or [X_sa ; X_ca]
    modality_input: ModalityInput = "gated"  # of stage 2: [X_g,v ; X_g,a], or besides them how they agree
    gate_relu: bool = False
    gate_init: GateInit = "zero"
    gate_trainable: bool = True
    attention_dim: int = 32  # k, the hidden width of jca_paper
    num_heads: int = 4  # of tca

    def __post_init__(self) -> None:
        check_pair(self.base, self.gate, self.num_recursions)
        _positive(self, "video_dim", "audio_dim", "num_steps", "attention_temperature", "num_heads", "gate_temperature")
        _choices(self, modality_gate=ModalityGate, gate_input=GateInput, gate_init=GateInit)
        _choices(self, modality_input=ModalityInput)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; allowed: 0 up to, not including, 1")
        if self.gate == "iaca" and self.modality_gate == "sum" and self.video_dim != self.audio_dim:
            raise ValueError(
                f"modality_gate sum adds video and audio features and needs equal widths; video_dim is "
                f"{self.video_dim}, audio_dim {self.audio_dim}: make them equal, or use concat or off"
            )
        if self.base == "tca" and (self.video_dim % self.num_heads or self.audio_dim % self.num_heads):
            raise ValueError(
                f"base tca splits video_dim {self.video_dim} and audio_dim {self.audio_dim} over num_heads "
                f"{self.num_heads}, which must divide both"
            )

    @property
    def depth(self) -> int:
        """Number of stacked attention layers: `num_recursions`, or the papers' own where it is None."""
        if self.base == "concat":
            return 0
        if self.num_recursions is not None:
            return self.num_recursions
        return 1 if self.gate == "none" else 2

    @property
    def gate_temperature(self) -> float:
        """`temperature`, or the measured best of the base where it is None.

        CA's attended features are the longest, and sharp gates on them commit to one modality before they know which.
        """
        if self.temperature is not None:
            return self.temperature
        return 1.0 if self.base == "ca" else 0.1


@dataclass(frozen=True)
class ModelConfig:
    """Backbones, temporal blocks, fusion and heads of one network.

    `modalities` "video" or "audio" hides the other one from the model by its mask.

    Raises:
        ValueError: the base and the gate do not go together, as for FusionConfig.
    """

    backbone: Backbone = "tiny"
    feature_dim: int = 64  # D_v = D_a of the backbones' output
    temporal: Temporal = "none"
    base: Base = "jca"
    gate: Gate = "iaca"
    num_recursions: int | None = None
    temperature: float | None = None
    fusion_dropout: float = 0.2
    head_dim: int = 64
    head_dropout: float = 0.2
    modality_gate: ModalityGate = "concat"
    modalities: Modality = "both"
    gate_relu: bool = False
    gate_init: GateInit = "zero"
    gate_input: GateInput = "cross"
    modality_input: ModalityInput = "gated"
    gate_trainable: bool = True
    attention_temperature: float = 1.0
    joint_dim: int = 64  # width after the joint temporal block; unused without one
    frozen: Frozen = "none"  # of the residual backbones: what is not trained; "partly": all but the last stage

    def __post_init__(self) -> None:
        _positive(self, "feature_dim", "head_dim", "joint_dim")
        _choices(self, modalities=Modality, temporal=Temporal, backbone=Backbone, frozen=Frozen)
        if self.temporal == "blstm" and (self.feature_dim % 2 or self.joint_dim % 2):
            raise ValueError(
                f"temporal blstm halves feature_dim {self.feature_dim} and joint_dim {self.joint_dim} over its two "
                f"directions; both must be even"
            )
        if self.frozen != "none" and self.backbone != "residual":
            raise ValueError(f"frozen is {self.frozen} but backbone {self.backbone} is always trained; allowed: none")
        self.fusion(num_steps=1)

    def fusion(self, num_steps: int) -> FusionConfig:
        """The fusion of this model for sequences of `num_steps` steps."""
        return FusionConfig(
            video_dim=self.feature_dim,
            audio_dim=self.feature_dim,
            num_steps=num_steps,
            base=self.base,
            gate=self.gate,
            num_recursions=self.num_recursions,
            temperature=self.temperature,
            attention_temperature=self.attention_temperature,
            dropout=self.fusion_dropout,
            modality_gate=self.modality_gate,
            gate_input=self.gate_input,
            modality_input=self.modality_input,
            gate_relu=self.gate_relu,
            gate_init=self.gate_init,
            gate_trainable=self.gate_trainable,
        )


def check_pair(base: str, gate: str, num_recursions: int | None) -> None:
    """Refuse a base, a gate or a number of recursions that do not go together.

    Raises:
        ValueError: with what is allowed.
    """
    bases, gates = get_args(Base), get_args(Gate)
    if base not in bases:
        raise ValueError(f"base is {base!r}; allowed: {', '.join(bases)}")
    if gate not in gates:
        raise ValueError(f"gate is {gate!r}; allowed: {', '.join(gates)}")
    if base == "concat" and gate != "none":
        raise ValueError(
            f"base concat attends to nothing and allows gate none only, not {gate}; "
            f"the bases for it: {', '.join(bases[1:])}"
        )
    if num_recursions is not None and num_recursions < 1:
        raise ValueError(f"num_recursions is {num_recursions}; it must be at least 1")
    if gate == "hgrjca" and num_recursions not in (None, 2):
        raise ValueError(
            f"gate hgrjca is defined over 2 recursions; num_recursions is {num_recursions}: set it to 2 or leave it out"
        )


def _positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be above 0")


def _choices(config: Any, **allowed: Any) -> None:
    for name, choices in allowed.items():
        if getattr(config, name) not in get_args(choices):
            raise ValueError(f"{name} is {getattr(config, name)!r}; allowed: {', '.join(get_args(choices))}")


_LITERAL_GATE: dict[str, Any] = {"gate_relu": True, "gate_init": "xavier", "temperature": 0.1}

PRESETS: dict[str, ModelConfig] = {
    "concat": ModelConfig(base="concat", gate="none"),
    "video_only": ModelConfig(base="concat", gate="none", modalities="video"),
    "audio_only": ModelConfig(base="concat", gate="none", modalities="audio"),
    "ca": ModelConfig(base="ca", gate="none"),
    "jca": ModelConfig(base="jca", gate="none"),
    "tca": ModelConfig(base="tca", gate="none"),
    "rjca": ModelConfig(base="jca", gate="none", temporal="blstm"),
    "dca": ModelConfig(base="jca", gate="dca", temporal="blstm", **_LITERAL_GATE),
    "iaca": ModelConfig(),
    "grjca": ModelConfig(base="jca", gate="grjca", **_LITERAL_GATE),
    "hgrjca": ModelConfig(base="jca", gate="hgrjca", **_LITERAL_GATE),
    "faithful": ModelConfig(base="jca", gate="iaca", temporal="blstm", **_LITERAL_GATE),
}
"""Named models. dca, grjca and hgrjca are gated as released (ReLU, xavier, T = .1); iaca is the measured default
and faithful the literal form of the same gates on RJCA."""


def preset(name: str, **changes: Any) -> ModelConfig:
    """The named model with some fields changed.

    Raises:
        ValueError: no preset has this name; the message lists them.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    return dataclasses.replace(PRESETS[name], **changes)
