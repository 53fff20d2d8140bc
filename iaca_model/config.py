"""The sizes of the model's input and of its parts, as frozen dataclasses without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Base = Literal["concat", "ca", "jca", "jca_paper", "tca"]
Gate = Literal["none", "dca", "iaca", "grjca", "hgrjca"]
ModalityGate = Literal["concat", "sum", "off"]
Modality = Literal["both", "video", "audio"]


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
class FusionConfig:
    """One base and one gate; see `iaca_model.fusion` for what each computes.

    `num_recursions` None means the paper's own: 2 for gated models, 1 for ungated.
    """

    video_dim: int = 128  # D_v
    audio_dim: int = 128  # D_a
    num_steps: int = 16  # L
    base: Base = "jca"
    gate: Gate = "iaca"
    num_recursions: int | None = None
    temperature: float = 0.1  # of the gates
    attention_temperature: float = 1.0  # of the CA base's softmax
    dropout: float = 0.6
    modality_gate: ModalityGate = "concat"  # stage 2 of IACA
    gate_input: Literal["cross", "both"] = "cross"  # X_ca alone, or [X_sa ; X_ca]
    gate_relu: bool = False
    gate_init: Literal["zero", "xavier"] = "zero"
    gate_trainable: bool = True


@dataclass(frozen=True)
class ModelConfig:
    """Backbones, temporal blocks, fusion and heads of one network.

    `modalities` "video" or "audio" hides the other one from the model by its mask.
    """

    backbone: Literal["tiny"] = "tiny"
    feature_dim: int = 64  # D_v = D_a of the backbones' output
    temporal: Literal["none", "blstm"] = "none"
    base: Base = "jca"
    gate: Gate = "iaca"
    num_recursions: int | None = None
    temperature: float = 0.1
    fusion_dropout: float = 0.2
    head_dim: int = 64
    head_dropout: float = 0.2
    modality_gate: ModalityGate = "concat"
    modalities: Modality = "both"
    gate_relu: bool = False
    gate_init: Literal["zero", "xavier"] = "zero"
