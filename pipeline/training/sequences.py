"""The model's view of a segment: overlapping sub-clips of crops and sound, cut from frames that are stored once.

Step k of phase p is the sub-clip that ends at own frame p + k * stride, so that over all phases each own frame ends
exactly one sub-clip. Letters of shapes as in `iaca_model.config.InputSpec`; N counts a segment's stored frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iaca_model.batch import AnyBatch, Batch, FeatureBatch
from iaca_model.config import FeatureSpec, InputSpec
from pipeline.config.job_sections import SequenceConfig
from pipeline.dataset.format.samples import SampleError
from pipeline.records import Segment


def end_frames(phases: Sequence[int], view: SequenceConfig) -> NDArray[np.int_]:
    """(B, L) own frames at which the sub-clips of `phases` end."""
    return np.asarray(phases)[:, None] + np.arange(view.num_subclips) * view.subclip_stride


def phase_groups(segment: Segment, view: SequenceConfig, group_size: int) -> Iterator[tuple[int, ...]]:
    """All phases of a segment in groups of `group_size` at most.

    Phases a whole number of dilations apart share their crops; in this order few crops are decoded twice.
    """
    phases = sorted(range(min(view.subclip_stride, segment.num_frames)), key=lambda p: (p % view.subclip_dilation, p))
    for start in range(0, len(phases), group_size):
        yield tuple(phases[start : start + group_size])


def padding_batch(num_sequences: int, spec: InputSpec | FeatureSpec) -> AnyBatch:
    """A batch of sequences that only fill up another one: zeros, and every mask False."""
    steps = (num_sequences, spec.num_steps)
    masks_and_targets = (
        torch.zeros(steps, dtype=torch.bool),
        torch.zeros(steps, dtype=torch.bool),
        torch.zeros(*steps, 2),
        torch.zeros(steps, dtype=torch.bool),
    )
    if isinstance(spec, FeatureSpec):
        return FeatureBatch(
            torch.zeros(*steps, spec.video_dim), torch.zeros(*steps, spec.audio_dim), *masks_and_targets
        )
    frames_BLTHWC = torch.zeros(*steps, spec.num_frames, spec.crop_px, spec.crop_px, 3, dtype=torch.uint8)
    return Batch(frames_BLTHWC, torch.zeros(*steps, spec.num_hops, spec.num_mels), *masks_and_targets)


def concatenate(batches: Sequence[AnyBatch]) -> AnyBatch:
    """The sequences of all batches, which are of one kind, as one batch."""
    fields = zip(*(batch.tensors() for batch in batches), strict=True)
    return type(batches[0])(*(torch.cat(tensors) for tensors in fields))


def cut(segment: Segment, phases: Sequence[int], view: SequenceConfig, spec: InputSpec | FeatureSpec) -> AnyBatch:
    """The sequences of `phases`, of features where `spec` is a FeatureSpec.

    Args:
        segment: its crops and sound, or its features.
        phases: B numbers in 0 .. stride - 1; each gives one sequence.
        view: how many sub-clips a sequence has, how long they are and how far apart.
        spec: what the model takes.

    Raises:
        SampleError: the segment is damaged, or does not hold what `spec` asks for.
    """
    if isinstance(spec, FeatureSpec):
        return cut_features(segment, phases, view, spec)
    return cut_clips(segment, phases, view, spec)


def cut_clips(segment: Segment, phases: Sequence[int], view: SequenceConfig, spec: InputSpec) -> Batch:
    """The sequences of `phases` of crops and sound; every crop that they use is decoded once.

    Steps past the end of a short segment have every mask False.

    Raises:
        SampleError: a JPEG is damaged, or crops or sound have another size than `spec` asks for.
    """
    own_BL = end_frames(phases, view)
    inside_BL = own_BL < segment.num_frames
    last_BL = np.minimum(own_BL, segment.num_frames - 1) + segment.num_preroll
    frames_BLTHWC, video_ok_BL = _decode_crops(segment, last_BL, inside_BL, view, spec)
    mel_BLSM, audio_ok_BL = _cut_sound(segment, last_BL, inside_BL, spec)
    return Batch(*_tensors(frames_BLTHWC, mel_BLSM, video_ok_BL, audio_ok_BL, *_targets(segment, last_BL, inside_BL)))


def cut_features(segment: Segment, phases: Sequence[int], view: SequenceConfig, spec: FeatureSpec) -> FeatureBatch:
    """The sequences of `phases` of a segment whose sub-clips have been through the backbones.

    Raises:
        SampleError: the segment holds no features, or of other widths than `spec` asks for.
    """
    features = segment.features
    widths = (features.video_ND.shape[1], features.audio_ND.shape[1]) if features else None
    if features is None or widths != (spec.video_dim, spec.audio_dim):
        expected = f"{spec.video_dim} video and {spec.audio_dim} audio features"
        raise SampleError(f"{segment.key} holds {widths or 'no'} features, the model takes {expected}")
    own_BL = end_frames(phases, view)
    inside_BL = own_BL < segment.num_frames
    row_BL = np.minimum(own_BL, segment.num_frames - 1)
    ok_BL2 = features.ok_N2[row_BL] & inside_BL[..., None]
    video_BLD, audio_BLD = (array_ND[row_BL].astype(np.float32) for array_ND in (features.video_ND, features.audio_ND))
    targets = _targets(segment, row_BL + segment.num_preroll, inside_BL)
    return FeatureBatch(*_tensors(video_BLD, audio_BLD, ok_BL2[..., 0], ok_BL2[..., 1], *targets))


def _tensors(*arrays: NDArray) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)


def _targets(
    segment: Segment, last_BL: NDArray[np.int_], inside_BL: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The labels of stored frames `last_BL`, 0 where there is none, and where there is one."""
    target_BL2 = segment.labels[last_BL]
    target_ok_BL = inside_BL & ~np.isnan(target_BL2).any(-1)
    return np.where(target_ok_BL[..., None], target_BL2, np.float32(0)), target_ok_BL


def subclip_frame_indices(
    last_BL: NDArray[np.int_], has_crop_N: NDArray[np.bool_], view: SequenceConfig
) -> tuple[NDArray[np.int_], NDArray]:
    """Which stored frame stands at each of the T steps of each sub-clip, and whether the sub-clip may be used.

    Args:
        last_BL: stored index of each sub-clip's last frame.
        has_crop_N: stored frames with a crop.
        view: how many frames a sub-clip has and how far apart they are.

    Returns:
        index (B, L, T): the frame itself, or the nearest one with a crop in its sub-clip (the earlier of two);
        and video_ok (B, L): the last frame and at least half of the frames have a crop.
    """
    steps_back_T = np.arange(view.num_subsampled - 1, -1, -1) * view.subclip_dilation
    index_BLT = last_BL[..., None] - steps_back_T
    present_BLT = (index_BLT >= 0) & has_crop_N[np.maximum(index_BLT, 0)]
    step_T = np.arange(view.num_subsampled)
    distance_BLTT = np.abs(step_T[:, None] - step_T) + np.where(present_BLT[..., None, :], 0, view.num_subsampled)
    index_BLT = np.take_along_axis(index_BLT, distance_BLTT.argmin(-1), -1)
    return index_BLT, present_BLT[..., -1] & (2 * present_BLT.sum(-1) >= view.num_subsampled)


def _decode_crops(
    segment: Segment,
    last_BL: NDArray[np.int_],
    inside_BL: NDArray[np.bool_],
    view: SequenceConfig,
    spec: InputSpec,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The crops (B, L, T, H, W, 3) of the sub-clips that may be used, 0 in the others, and which may."""
    has_crop_N = segment.frames["face_ok"] & segment.frames["video_ok"]
    index_BLT, usable_BL = subclip_frame_indices(last_BL, has_crop_N, view)
    video_ok_BL = usable_BL & inside_BL
    crops = np.zeros((*index_BLT.shape, spec.crop_px, spec.crop_px, 3), np.uint8)
    if video_ok_BL.any():
        frames, position = np.unique(index_BLT[video_ok_BL], return_inverse=True)
        decoded = np.stack([_decode_crop(segment, frame, spec.crop_px) for frame in frames])
        crops[video_ok_BL] = decoded[position.reshape(-1, view.num_subsampled)]
    return crops, video_ok_BL


def _decode_crop(segment: Segment, frame: int, crop_px: int) -> NDArray[np.uint8]:
    start, size = int(segment.frames["offset"][frame]), int(segment.frames["size"][frame])
    data = np.frombuffer(segment.faces_mjpeg, np.uint8)[start : start + size]
    crop = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if crop is None:
        raise SampleError(f"{segment.key}: the crop of stored frame {frame} ({size} bytes at {start}) is not a JPEG")
    if crop.shape[:2] != (crop_px, crop_px):
        raise SampleError(f"{segment.key}: crop of {crop.shape[1]}x{crop.shape[0]} px, the model takes {crop_px}")
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)


def _cut_sound(
    segment: Segment, last_BL: NDArray[np.int_], inside_BL: NDArray[np.bool_], spec: InputSpec
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The hops that end at each sub-clip's last frame; those outside the segment repeat its edge and are not real."""
    num_hops, num_mels = segment.mel_db.shape
    if num_mels != spec.num_mels:
        raise SampleError(f"{segment.key}: sound with {num_mels} mel bands, the model takes {spec.num_mels}")
    if num_hops == 0:
        shape = (*last_BL.shape, spec.num_hops, num_mels)
        return np.zeros(shape, np.float32), np.zeros(last_BL.shape, bool)
    hops_per_frame = 1.0 / (segment.frame_rate_hz * segment.hop_s)
    last_hop_BL = np.floor(last_BL * hops_per_frame + 0.5).astype(int)
    hop_BLS = last_hop_BL[..., None] + np.arange(1 - spec.num_hops, 1)
    frame_BLS = np.floor(hop_BLS / hops_per_frame + 0.5).astype(int)
    stored_BLS = (hop_BLS >= 0) & (hop_BLS < num_hops) & (frame_BLS < len(segment.frames))
    real_BLS = stored_BLS & segment.frames["audio_ok"][np.clip(frame_BLS, 0, len(segment.frames) - 1)]
    audio_ok_BL = inside_BL & (2 * real_BLS.sum(-1) >= spec.num_hops)
    mel_BLSM = segment.mel_db[np.clip(hop_BLS, 0, num_hops - 1)].astype(np.float32)
    return np.where(audio_ok_BL[..., None, None], mel_BLSM, np.float32(0)), audio_ok_BL
