"""The features of a segment: what the backbones give for each of its sub-clips, in place of its crops and its sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from iaca_model.backbones.residual import FEATURE_DIM
from iaca_model.batch import Batch
from iaca_model.config import InputSpec
from iaca_model.model import EmotionModel
from iaca_model.train_step import device_of
from pipeline.config import Config, UsageError
from pipeline.config.job_sections import SequenceConfig
from pipeline.records import Segment, SegmentFeatures
from pipeline.records.features import FeatureOrigin
from pipeline.training import checkpoint
from pipeline.training.published_weights import load_published_weights
from pipeline.training.sequences import cut_clips, end_frames, phase_groups

PHASES_AT_ONCE = 8  # cut together, because they share crops; the backbones take one sequence at a time


def load_backbones(config: Config, origin: FeatureOrigin, run_uri: str, step: int) -> EmotionModel:
    """The network that `config` describes, in evaluation mode, with the weights that `origin` names.

    Args:
        config: the model and the sections that its input depends on; without a run also the published weights.
        origin: whether the weights are those of a run or published ones.
        run_uri: of that run.
        step: of the run's checkpoint.

    Raises:
        UsageError: published weights cannot be loaded.
        DamagedCheckpointError: the run's checkpoint does not match its manifest.
    """
    model = EmotionModel(config.input_spec, config.model)
    if origin.run:
        model.load_state_dict(checkpoint.load_weights(run_uri, step))
    else:
        load_published_weights(model, config.weights)
    return model.eval()


def require_published_weights(config: Config) -> None:
    """Raise UsageError unless the configuration alone, without a run, names the published weights of its backbones."""
    model, weights = config.model, config.weights
    if model.backbone != "residual":
        raise UsageError(
            f"model.backbone is {model.backbone}, of which there are no published weights; give --run, or set "
            f"model.backbone to residual, with weights.video and weights.audio"
        )
    for name, uri in (("video", weights.video), ("audio", weights.audio)):
        if not uri and model.modalities in ("both", name):
            raise UsageError(f"weights.{name} is empty: without a --run it says which weights the {name} backbone has")
    if model.feature_dim != FEATURE_DIM:
        raise UsageError(
            f"model.feature_dim is {model.feature_dim}, but published backbones give {FEATURE_DIM} features, and no "
            f"trained layer reduces them; set it to {FEATURE_DIM}"
        )


@torch.inference_mode()
def extract_features(model: EmotionModel, segment: Segment, view: SequenceConfig, spec: InputSpec) -> Segment:
    """The segment with the features of its sub-clips in place of its crops and its sound.

    Every sub-clip goes through the backbones once, together with those of its own sequence alone: memory does not grow
    with the segment, and the same segment gives the same bytes, whatever was extracted before it.

    Raises:
        SampleError: the segment is damaged, or does not hold what `spec` asks for.
        FloatingPointError: a feature is not finite, or beyond what float16 holds.
    """
    features_2ND = np.zeros((2, segment.num_frames, model.config.feature_dim), np.float32)  # video, audio
    ok_N2 = np.zeros((segment.num_frames, 2), bool)
    backbones = (model.video_backbone, model.audio_backbone)
    for own_L, sequence in _sequences(segment, view, spec):
        clips = ((sequence.frames_BLTHWC, sequence.video_ok_BL), (sequence.mel_BLSM, sequence.audio_ok_BL))
        for modality, (backbone, (clips_BL, ok_BL)) in enumerate(zip(backbones, clips, strict=True)):
            if backbone is not None and ok_BL.any():
                usable = own_L[ok_BL[0].numpy()]
                clips_of_one_sequence = clips_BL[ok_BL][None].to(device_of(model))
                features_2ND[modality, usable] = backbone(clips_of_one_sequence)[0].float().cpu().numpy()
                ok_N2[usable, modality] = True
    video_ND, audio_ND = (_to_float16(features_2ND[i], name, segment.key) for i, name in enumerate(("video", "audio")))
    no_sound = np.zeros((0, 0), np.float16)
    return replace(segment, faces_mjpeg=b"", mel_db=no_sound, features=SegmentFeatures(video_ND, audio_ND, ok_N2))


def _sequences(segment: Segment, view: SequenceConfig, spec: InputSpec) -> Iterator[tuple[NDArray[np.int_], Batch]]:
    """Every sequence of the segment as a batch of one, after the own frames (L) at which its sub-clips end."""
    for phases in phase_groups(segment, view, PHASES_AT_ONCE):
        batch = cut_clips(segment, phases, view, spec)
        for i, own_L in enumerate(end_frames(phases, view)):
            yield own_L, batch.slice(i, i + 1)


def _to_float16(features_ND: NDArray[np.float32], modality: str, key: str) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        stored_ND = features_ND.astype(np.float16)
    if not np.isfinite(stored_ND).all():
        raise FloatingPointError(f"{key}: {modality} features that are not finite, or too large for float16")
    return stored_ND
