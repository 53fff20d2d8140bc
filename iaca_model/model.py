"""The whole network: backbones, temporal blocks, fusion and two heads.

Shape letters as in `iaca_model.config`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn

from iaca_model.backbones.residual import ResidualAudio, ResidualVideo
from iaca_model.backbones.tiny import TinyAudio, TinyVideo
from iaca_model.batch import Batch, FeatureBatch
from iaca_model.config import FeatureSpec, FusionConfig, InputSpec, ModelConfig
from iaca_model.fusion import Fusion
from iaca_model.layers import at_least_float32, linear, mask, mask_finite
from iaca_model.temporal import temporal_block


class Prediction(NamedTuple):
    """Output of the network for B sequences of L steps."""

    values_BL2: Tensor  # valence, arousal; not clipped to [-1, 1]; 0 where valid_BL is False
    valid_BL: Tensor  # bool: at least one modality was present
    gates: dict[str, Tensor]  # weights that explain the values, see `fusion.FusionOutput`
    attention: dict[str, Tensor]  # attention maps over time, see `fusion.FusionOutput`


class FeatureModel(nn.Module):
    """From the backbones' features to valence and arousal: (B, L, D_v), (B, L, D_a) -> (B, L, 2).

    L2-normalise -> temporal block per modality -> fusion -> joint temporal block -> two heads. With base jca, gate none
    and temporal blstm it is RJCA. Exact for RJCA (2304.07958) and DCA (2403.19554) over pooled video features, that is
    without their spatial attention over 7 x 7 maps; otherwise as exact as its fusion.

    Float32 even under autocast, which is for the backbones: little time is spent here, and the heads' rounding would
    reach the loss.

    Args:
        fusion: base, gate and sizes of the fusion.
        config: temporal blocks and heads; its fields on the fusion are not read.
    """

    def __init__(self, fusion: FusionConfig, config: ModelConfig) -> None:
        super().__init__()
        self.has_blocks = config.temporal != "none"
        self.fusion = Fusion(fusion)
        width = self.fusion.output_dim
        if self.has_blocks:
            self.video_block = temporal_block(config.temporal, fusion.video_dim, fusion.video_dim, fusion.dropout)
            self.audio_block = temporal_block(config.temporal, fusion.audio_dim, fusion.audio_dim, fusion.dropout)
            self.joint_block = temporal_block(config.temporal, width, config.joint_dim, fusion.dropout)
            width = config.joint_dim
        self.valence = head(width, config.head_dim, config.head_dropout)
        self.arousal = head(width, config.head_dim, config.head_dropout)

    def forward(self, video_BLD: Tensor, audio_BLD: Tensor, video_ok_BL: Tensor, audio_ok_BL: Tensor) -> Prediction:
        """Predict every step from features (B, L, D_v), (B, L, D_a) and bool masks (B, L)."""
        with torch.autocast(video_BLD.device.type, enabled=False):
            return self._predict(at_least_float32(video_BLD), at_least_float32(audio_BLD), video_ok_BL, audio_ok_BL)

    def _predict(self, video_BLD: Tensor, audio_BLD: Tensor, video_ok_BL: Tensor, audio_ok_BL: Tensor) -> Prediction:
        video_BLD = nn.functional.normalize(mask(video_BLD, video_ok_BL), dim=-1)
        audio_BLD = nn.functional.normalize(mask(audio_BLD, audio_ok_BL), dim=-1)
        if self.has_blocks:
            video_BLD = self.video_block(video_BLD, video_ok_BL)
            audio_BLD = self.audio_block(audio_BLD, audio_ok_BL)
        fused_BLF, valid_BL, gates, attention = self.fusion(video_BLD, audio_BLD, video_ok_BL, audio_ok_BL)
        if self.has_blocks:
            fused_BLF = self.joint_block(fused_BLF, valid_BL)
        values_BL2 = torch.cat([self.valence(fused_BLF), self.arousal(fused_BLF)], dim=-1)
        return Prediction(mask_finite(values_BL2, valid_BL), valid_BL, gates, attention)


def head(num_in: int, num_hidden: int, dropout: float) -> nn.Sequential:
    """Build a head: Linear - ReLU - Dropout - Linear(1), without a tanh. Exact: released code of 2304.07958."""
    return nn.Sequential(linear(num_in, num_hidden), nn.ReLU(), nn.Dropout(dropout), linear(num_hidden, 1))


def _video_backbone(spec: InputSpec, config: ModelConfig) -> TinyVideo | ResidualVideo:
    if config.backbone == "residual":
        return ResidualVideo(config.feature_dim, config.frozen)
    return TinyVideo(spec, config.feature_dim)


def _audio_backbone(spec: InputSpec, config: ModelConfig) -> TinyAudio | ResidualAudio:
    if config.backbone == "residual":
        return ResidualAudio(config.feature_dim, config.frozen)
    return TinyAudio(spec, config.feature_dim)


class EmotionModel(nn.Module):
    """The whole network: Batch -> Prediction, by a backbone per modality and FeatureModel.

    A modality that `config.modalities` leaves out has no backbone and is masked at every step.

    Args:
        spec: sizes of the input, which every batch must have.
        config: of all parts.
    """

    def __init__(self, spec: InputSpec, config: ModelConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.video_backbone = _video_backbone(spec, config) if config.modalities != "audio" else None
        self.audio_backbone = _audio_backbone(spec, config) if config.modalities != "video" else None
        self.features = FeatureModel(config.fusion(spec.num_steps), config)

    def forward(self, batch: Batch) -> Prediction:
        """Predict every step of every sequence.

        Raises:
            ValueError: the batch does not have the shapes of the model's InputSpec.
        """
        self._check_shapes(batch)
        video_BLD, video_ok_BL = self._video_features(batch)
        audio_BLD, audio_ok_BL = self._audio_features(batch)
        return self.features(video_BLD, audio_BLD, video_ok_BL, audio_ok_BL)

    def _video_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.video_backbone is None:
            return self._no_features(batch)
        # Crops of masked steps would reach the valid steps through batch statistics.
        ok_BL1111 = batch.video_ok_BL[..., None, None, None, None]
        return self.video_backbone(batch.frames_BLTHWC.where(ok_BL1111, 0)), batch.video_ok_BL

    def _audio_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.audio_backbone is None:
            return self._no_features(batch)
        # A NaN in a masked step would reach the gradients of the weights.
        ok_BL11 = batch.audio_ok_BL[..., None, None]
        return self.audio_backbone(batch.mel_BLSM.where(ok_BL11, 0.0)), batch.audio_ok_BL

    def _no_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Zeros (B, L, D) and a mask (B, L) that is False everywhere, for a modality without a backbone."""
        zeros_BLD = batch.mel_BLSM.new_zeros((*batch.video_ok_BL.shape, self.config.feature_dim))
        return zeros_BLD, torch.zeros_like(batch.video_ok_BL)

    def _check_shapes(self, batch: Batch) -> None:
        spec = self.spec
        frames, mel = tuple(batch.frames_BLTHWC.shape[1:]), tuple(batch.mel_BLSM.shape[1:])
        expected_frames = (spec.num_steps, spec.num_frames, spec.crop_px, spec.crop_px, 3)
        expected_mel = (spec.num_steps, spec.num_hops, spec.num_mels)
        if (frames, mel) != (expected_frames, expected_mel):
            raise ValueError(
                f"the batch has frames {frames} and mel {mel} per sequence, the model was made for {expected_frames} "
                f"and {expected_mel}; pad a shorter sequence on the right with masks False"
            )


class PrecomputedModel(nn.Module):
    """EmotionModel without its backbones: FeatureBatch, of features that they computed earlier, -> Prediction.

    Its parameters have the names that they have in EmotionModel.

    Args:
        spec: sizes of the features, which every batch must have.
        config: of all parts but the backbones.
    """

    def __init__(self, spec: FeatureSpec, config: ModelConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        fusion = config.fusion(spec.num_steps)
        fusion = dataclasses.replace(fusion, video_dim=spec.video_dim, audio_dim=spec.audio_dim)
        self.features = FeatureModel(fusion, config)

    def forward(self, batch: FeatureBatch) -> Prediction:
        """Predict every step of every sequence.

        Raises:
            ValueError: the batch does not have the shapes of the model's FeatureSpec.
        """
        spec = self.spec
        video, audio = tuple(batch.video_BLD.shape[1:]), tuple(batch.audio_BLD.shape[1:])
        expected_video, expected_audio = (spec.num_steps, spec.video_dim), (spec.num_steps, spec.audio_dim)
        if (video, audio) != (expected_video, expected_audio):
            raise ValueError(
                f"the batch has video features {video} and audio features {audio} per sequence, the model was made "
                f"for {expected_video} and {expected_audio}"
            )
        video_ok_BL = batch.video_ok_BL & (self.config.modalities != "audio")
        audio_ok_BL = batch.audio_ok_BL & (self.config.modalities != "video")
        return self.features(batch.video_BLD, batch.audio_BLD, video_ok_BL, audio_ok_BL)


def model_of(spec: InputSpec | FeatureSpec, config: ModelConfig) -> EmotionModel | PrecomputedModel:
    """Build the network for its input: EmotionModel for crops and spectrograms, PrecomputedModel for features."""
    return PrecomputedModel(spec, config) if isinstance(spec, FeatureSpec) else EmotionModel(spec, config)
