"""The backbones over every sub-clip of a segment: what a dataset of features keeps of crops and sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from iaca_model.backbones.residual import FEATURE_DIM
from iaca_model.config import InputSpec
from iaca_model.model import EmotionModel
from iaca_model.train_step import device_of
from pipeline.config import Config, UsageError
from pipeline.config.sections import SequenceConfig
from pipeline.records import Segment, SegmentFeatures
from pipeline.records.features import FeatureOrigin
from pipeline.training import checkpoint, published_weights, sequences

PHASES_AT_ONCE = 8  # that share their crops; the backbones see one sequence at a time


def backbones_of(config: Config, origin: FeatureOrigin, run_uri: str, step: int) -> EmotionModel:
    """The network whose backbones `origin` speaks of, in evaluation mode: those of a run, or published ones.

    Raises:
        UsageError: published weights cannot be loaded.
        DamagedCheckpointError: the run's checkpoint is not what its manifest says.
    """
    model = EmotionModel(config.input_spec, config.model)
    if origin.run:
        model.load_state_dict(checkpoint.load_weights(run_uri, step))
    else:
        published_weights.start_from(model, config.weights)
    return model.eval()


def require_weights(config: Config) -> None:
    """Raise UsageError unless the configuration alone, without a run, says which published backbones are meant."""
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
            f"model.feature_dim is {model.feature_dim}, but published backbones give {FEATURE_DIM} features, which "
            f"nobody has learnt to reduce; set it to {FEATURE_DIM}"
        )


@torch.inference_mode()
def extract(model: EmotionModel, segment: Segment, view: SequenceConfig, spec: InputSpec) -> Segment:
    """The segment with the features of its sub-clips in place of its crops and its sound.

    Every sub-clip goes through the backbones once, together with those of its own sequence alone: memory does not grow
    with the segment, and the same segment gives the same bytes, whatever was extracted before it.

    Raises:
        SampleError: the segment is damaged, or not what `spec` says.
        FloatingPointError: a feature is not finite, or beyond what float16 holds.
    """
    num_frames, width = segment.num_frames, model.config.feature_dim
    features = np.zeros((2, num_frames, width), np.float32)
    ok = np.zeros((num_frames, 2), bool)
    backbones = (model.video_backbone, model.audio_backbone)
    for own, *modalities in _sequences(segment, view, spec):
        for i, (backbone, (clips, usable)) in enumerate(zip(backbones, modalities, strict=True)):
            if backbone is not None and usable.any():
                seen = torch.from_numpy(clips[None, usable]).to(device_of(model))
                features[i, own[usable]] = backbone(seen)[0].float().cpu().numpy()
                ok[own[usable], i] = True
    with np.errstate(over="ignore"):
        video, audio = features.astype(np.float16)
    for name, array in (("video", video), ("audio", audio)):
        if not np.isfinite(array).all():
            raise FloatingPointError(f"{segment.key}: {name} features that are not finite, or too large for float16")
    kept, nothing = SegmentFeatures(video, audio, ok), np.zeros((0, 0), np.float16)
    return replace(segment, faces_mjpeg=b"", mel_db=nothing, features=kept)


Clips = tuple[NDArray, NDArray[np.bool_]]  # (L, ...) and whether each may be used


def _sequences(
    segment: Segment, view: SequenceConfig, spec: InputSpec
) -> Iterator[tuple[NDArray[np.int_], Clips, Clips]]:
    """Every sequence of the segment: the own frames at which its sub-clips end, their crops and their sound."""
    for phases in sequences.chunks(segment, view, PHASES_AT_ONCE):
        cut = sequences.cut_clips(segment, phases, view, spec)
        video, audio = (
            zip(cut.frames_BLTHWC, cut.video_ok_BL, strict=True),
            zip(cut.mel_BLSM, cut.audio_ok_BL, strict=True),
        )
        yield from zip(sequences.ends(phases, view), video, audio, strict=True)
