"""The model's configuration: input sizes, fusion, whole network and named presets, as dataclasses without torch."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

Base = Literal["concat", "ca", "jca", "jca_paper", "tca"]
Front = Literal["none", "reliability"]
FrontOutput = Literal["scaled", "appended"]
Gate = Literal["none", "dca", "iaca", "grjca", "hgrjca", "tagf"]
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
    """Sizes of one input sequence: L steps, each a sub-clip of T face crops and S mel hops.

    Shape letters, used across the package: B batch, L steps, T frames of a sub-clip, H and W crop height and width,
    M mel bands, S hops, D feature width, F fused width.

    Raises:
        ValueError: a size is below 1.
    """

    num_steps: int = 16  # L
    num_frames: int = 8  # T, after dilation
    crop_px: int = 112  # H = W
    num_mels: int = 64  # M
    num_hops: int = 125  # S

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"InputSpec.{name} is {value}; it must be at least 1")


@dataclass(frozen=True)
class FeatureSpec:
    """Sizes of one input sequence of precomputed backbone features: L steps of video and of audio features."""

    num_steps: int  # L
    video_dim: int  # D_v
    audio_dim: int  # D_a


@dataclass(frozen=True)
class FusionConfig:
    """Configuration of `iaca_model.fusion.Fusion`: a front or none, one attention base and one gate.

    `iaca_model.front` defines the front, `iaca_model.attention` the bases, `iaca_model.gates` the gates. Base concat
    allows gate none only; every other base goes with every gate, and the front with all. The defaults of the gates
    (zero init, no ReLU, stage 2 "concat") are the measured best; the literal form of the papers is in
    `PRESETS["faithful"]`.

    Raises:
        ValueError: a value is not allowed, or base, gate and sizes do not go together.
    """

    video_dim: int = 128  # D_v
    audio_dim: int = 128  # D_a
    num_steps: int = 16  # L
    front: Front = "none"  # what judges the modalities before attention
    base: Base = "jca"
    gate: Gate = "iaca"
    num_recursions: int | None = None  # R; None: as in the papers, 2 with a gate and 1 without
    temperature: float | None = None  # of the gates; None: the measured best, 1 for base ca and .1 for the others
    attention_temperature: float = 1.0  # of the CA base's softmax
    dropout: float = 0.6
    modality_gate: ModalityGate = "concat"  # how stage 2 of IACA weighs the modalities; off: not at all
    gate_input: GateInput = "cross"  # of DCA and stage 1 of IACA: X_ca alone, or both [X_sa ; X_ca]
    modality_input: ModalityInput = "gated"  # of stage 2: [X_g,v ; X_g,a], or these and `iaca_model.agreement`
    gate_relu: bool = False  # on the weighted sum
    gate_init: GateInit = "zero"
    gate_trainable: bool = True
    # Of the front: the features scaled by their reliability; or, as a control, no reliability, and the features from
    # which it would be judged appended to the fused ones.
    front_output: FrontOutput = "scaled"
    attention_dim: int = 32  # k, the hidden width of jca_paper
    num_heads: int = 4  # of tca

    def __post_init__(self) -> None:
        check_pair(self.base, self.gate, self.num_recursions)
        _require_positive(self, "video_dim", "audio_dim", "num_steps", "num_heads")
        _require_positive(self, "attention_temperature", "gate_temperature")
        _require_choice(self, modality_gate=ModalityGate, gate_input=GateInput, gate_init=GateInit)
        _require_choice(self, modality_input=ModalityInput, front=Front, front_output=FrontOutput)
        if self.front == "none" and self.front_output != "scaled":
            raise ValueError(
                f"front_output is {self.front_output}, but front is none and has no output: set front to reliability "
                f"or leave front_output out"
            )
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
        """R, the number of stacked attention layers: `num_recursions`, or that of the papers where it is None."""
        if self.base == "concat":
            return 0
        if self.num_recursions is not None:
            return self.num_recursions
        return 1 if self.gate == "none" else 2

    @property
    def gate_temperature(self) -> float:
        """T of the gates: `temperature`, or the measured best of the base where it is None.

        CA's attended features have the largest norm: at T = 0.1 its gates commit to one modality too early in training.
        """
        if self.temperature is not None:
            return self.temperature
        return 1.0 if self.base == "ca" else 0.1


@dataclass(frozen=True)
class ModelConfig:
    """Configuration of `iaca_model.model.EmotionModel`: backbones, temporal blocks, fusion and heads.

    With `modalities` "video" or "audio" the other modality has no backbone and is masked at every step.

    Raises:
        ValueError: a value is not allowed, no preset has the name, there is a front but one modality only, or base,
            gate and sizes do not go together.
    """

    preset: Annotated[str, "name of the preset from which the other fields take their values; empty: none"] = ""
    backbone: Annotated[Backbone, "kind of the backbones, one for each modality"] = "tiny"
    feature_dim: Annotated[int, "width of the backbones' features (D_v = D_a)"] = 64
    temporal: Annotated[Temporal, "temporal block over the steps, before the fusion and after it"] = "none"
    front: Annotated[
        Front, "what judges the modalities before attention; reliability: needs train.corrupt_modality"
    ] = "none"
    base: Annotated[Base, "attention between the modalities"] = "jca"
    gate: Annotated[Gate, "gate that weighs unattended, self-attended and cross-attended features"] = "iaca"
    num_recursions: Annotated[int | None, "number of stacked attention layers; none: 2 with a gate, 1 without"] = None
    temperature: Annotated[
        float | None, "temperature of the gates; none: the measured best, 1 for base ca and .1 for the others"
    ] = None
    fusion_dropout: Annotated[float, "dropout rate of the attention and of the temporal blocks"] = 0.2
    head_dim: Annotated[int, "hidden width of the two heads"] = 64
    head_dropout: Annotated[float, "dropout rate in the heads"] = 0.2
    modality_gate: Annotated[
        ModalityGate, "way in which stage 2 of IACA joins the weighed modalities; off: no stage 2"
    ] = "concat"
    modalities: Annotated[Modality, "modalities that the model uses; another one has no backbone"] = "both"
    gate_relu: Annotated[bool, "whether a ReLU follows the weighted sum of a gate, as published"] = False
    gate_init: Annotated[GateInit, "initial weights of the gates"] = "zero"
    gate_input: Annotated[
        GateInput, "input of DCA and of IACA's stage 1; cross: X_ca alone, both: the gate's two options"
    ] = "cross"
    modality_input: Annotated[ModalityInput, "input of IACA's stage 2; agreement: also how the modalities agree"] = (
        "gated"
    )
    gate_trainable: Annotated[bool, "whether the gates are trained; otherwise they stay as initialised"] = True
    attention_temperature: Annotated[float, "temperature of the softmax of base ca"] = 1.0
    joint_dim: Annotated[int, "width after the joint temporal block; unused without one"] = 64
    frozen: Annotated[Frozen, "part of the residual backbones that is not trained; partly: all but the last stage"] = (
        "none"
    )

    def __post_init__(self) -> None:
        if self.preset:
            _require_preset(self.preset)
        _require_positive(self, "feature_dim", "head_dim", "joint_dim")
        _require_choice(self, modalities=Modality, temporal=Temporal, backbone=Backbone, frozen=Frozen)
        if self.temporal == "blstm" and (self.feature_dim % 2 or self.joint_dim % 2):
            raise ValueError(
                f"temporal blstm halves feature_dim {self.feature_dim} and joint_dim {self.joint_dim} over its two "
                f"directions; both must be even"
            )
        if self.frozen != "none" and self.backbone != "residual":
            raise ValueError(f"frozen is {self.frozen} but backbone {self.backbone} is always trained; allowed: none")
        if self.front != "none" and self.modalities != "both":
            raise ValueError(
                f"front {self.front} compares video with audio, but modalities is {self.modalities}: set front to none "
                f"or modalities to both"
            )
        self.fusion(num_steps=1)  # FusionConfig checks the fields that it takes over

    def fusion(self, num_steps: int) -> FusionConfig:
        """Configuration of this model's fusion, for sequences of `num_steps` steps."""
        return FusionConfig(
            video_dim=self.feature_dim,
            audio_dim=self.feature_dim,
            num_steps=num_steps,
            front=self.front,
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
    """Check that base, gate and number of recursions exist and go together.

    Raises:
        ValueError: they do not; the message lists what is allowed.
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


def _require_positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be above 0")


def _require_choice(config: Any, **allowed: Any) -> None:
    for name, choices in allowed.items():
        if getattr(config, name) not in get_args(choices):
            raise ValueError(f"{name} is {getattr(config, name)!r}; allowed: {', '.join(get_args(choices))}")


LITERAL_GATE: dict[str, Any] = {"gate_relu": True, "gate_init": "xavier", "temperature": 0.1}
"""Fields of a gate as in the released modules (code of 2403.19554 and 2503.12261)."""
LITERAL_TAGF: dict[str, Any] = LITERAL_GATE | {"gate_relu": False}
"""Fields of TAGF as released (code of 2507.02080), whose weighted sum has no ReLU."""

PRESETS: dict[str, ModelConfig] = {
    "concat": ModelConfig(base="concat", gate="none"),
    "video_only": ModelConfig(base="concat", gate="none", modalities="video"),
    "audio_only": ModelConfig(base="concat", gate="none", modalities="audio"),
    "ca": ModelConfig(base="ca", gate="none"),
    "jca": ModelConfig(base="jca", gate="none"),
    "tca": ModelConfig(base="tca", gate="none"),
    "rjca": ModelConfig(base="jca", gate="none", temporal="blstm"),
    "dca": ModelConfig(base="jca", gate="dca", temporal="blstm", **LITERAL_GATE),
    "iaca": ModelConfig(),
    "grjca": ModelConfig(base="jca", gate="grjca", **LITERAL_GATE),
    "hgrjca": ModelConfig(base="jca", gate="hgrjca", **LITERAL_GATE),
    "tagf": ModelConfig(base="jca", gate="tagf", **LITERAL_TAGF),
    "faithful": ModelConfig(base="jca", gate="iaca", temporal="blstm", **LITERAL_GATE),
    "iaca+": ModelConfig(front="reliability"),
    "jca+": ModelConfig(base="jca", gate="none", front="reliability", num_recursions=2),
    "ca+": ModelConfig(base="ca", gate="none", front="reliability", num_recursions=2),
}
"""Named models. dca, grjca, hgrjca (ReLU, xavier, T = .1) and tagf (the same without the ReLU) have the gates as
released; iaca is the measured default and faithful the literal form of the same gates on RJCA. A name with a plus is
the model of that name, always with two recursions, behind a reliability front, which is in no paper and needs
corruption in training."""


def preset_fields(name: str) -> dict[str, Any]:
    """Fields of ModelConfig that a preset sets to another value than the default, by name.

    Raises:
        ValueError: no preset has this name; the message lists them.
    """
    _require_preset(name)
    default, model = ModelConfig(), PRESETS[name]
    values = {field.name: getattr(model, field.name) for field in dataclasses.fields(ModelConfig)}
    return {field: value for field, value in values.items() if value != getattr(default, field)}


def _require_preset(name: str) -> None:
    if name not in PRESETS:
        close = difflib.get_close_matches(name.lower().replace("plus", "+"), PRESETS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}{hint}")
