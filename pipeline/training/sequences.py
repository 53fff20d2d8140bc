"""The model's view of a segment: overlapping sub-clips of crops and sound, cut from frames that are stored once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from iaca_model.config import FeatureSpec, InputSpec
from pipeline.config.sections import SequenceConfig
from pipeline.dataset.format.samples import SampleError
from pipeline.records import Segment


@dataclass(frozen=True, slots=True)
class Sequences:
    """B sequences of one or more segments as arrays; letters as in `iaca_model.config.InputSpec`.

    Step k of phase p is the sub-clip that ends at own frame p + k * stride. A mask's True means: real.
    """

    frames_BLTHWC: NDArray[np.uint8]  # RGB
    mel_BLSM: NDArray[np.float32]  # dB, as stored
    video_ok_BL: NDArray[np.bool_]
    audio_ok_BL: NDArray[np.bool_]
    target_BL2: NDArray[np.float32]  # valence, arousal; 0 where there is no label
    target_ok_BL: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FeatureSequences:
    """Sequences as above whose sub-clips have been through the backbones."""

    video_BLD: NDArray[np.float32]
    audio_BLD: NDArray[np.float32]
    video_ok_BL: NDArray[np.bool_]
    audio_ok_BL: NDArray[np.bool_]
    target_BL2: NDArray[np.float32]
    target_ok_BL: NDArray[np.bool_]


def masked(count: int, spec: InputSpec | FeatureSpec) -> Sequences | FeatureSequences:
    """`count` sequences that hold nothing: zeros, and every mask False."""
    steps = (count, spec.num_steps)
    nothing = (np.zeros(steps, bool), np.zeros(steps, bool), np.zeros((*steps, 2), np.float32), np.zeros(steps, bool))
    if isinstance(spec, FeatureSpec):
        video, audio = (np.zeros((*steps, dim), np.float32) for dim in (spec.video_dim, spec.audio_dim))
        return FeatureSequences(video, audio, *nothing)
    crops = np.zeros((*steps, spec.num_frames, spec.crop_px, spec.crop_px, 3), np.uint8)
    return Sequences(crops, np.zeros((*steps, spec.num_hops, spec.num_mels), np.float32), *nothing)


def ends(phases: NDArray[np.int_] | tuple[int, ...], view: SequenceConfig) -> NDArray[np.int_]:
    """(B, L) own frames at which the sub-clips of `phases` end; over all phases each frame occurs exactly once."""
    return np.asarray(phases)[:, None] + np.arange(view.num_subclips) * view.subclip_stride


def chunks(segment: Segment, view: SequenceConfig, num_at_once: int) -> Iterator[tuple[int, ...]]:
    """All phases of a segment, `num_at_once` at a time.

    Phases a whole number of dilations apart share their crops: in this order few are decoded twice.
    """
    phases = sorted(range(min(view.subclip_stride, segment.num_frames)), key=lambda p: (p % view.subclip_dilation, p))
    for start in range(0, len(phases), num_at_once):
        yield tuple(phases[start : start + num_at_once])


def cut(
    segment: Segment, phases: tuple[int, ...], view: SequenceConfig, spec: InputSpec | FeatureSpec
) -> Sequences | FeatureSequences:
    """The sequences of `phases` (each 0 .. stride - 1), of features where `spec` says so.

    Raises:
        SampleError: what the segment holds is damaged, or not what `spec` says.
    """
    if isinstance(spec, FeatureSpec):
        return cut_features(segment, phases, view, spec)
    return cut_clips(segment, phases, view, spec)


def cut_clips(segment: Segment, phases: tuple[int, ...], view: SequenceConfig, spec: InputSpec) -> Sequences:
    """The sequences of `phases`; every crop that they use is decoded once.

    Steps past the end of a short segment have every mask False.

    Raises:
        SampleError: a JPEG is damaged, or crops or sound have another size than `spec` says.
    """
    own = ends(phases, view)
    inside = own < segment.num_frames
    last = np.minimum(own, segment.num_frames - 1) + segment.num_preroll
    pictures, video_ok = _pictures(segment, last, inside, view, spec)
    mel, audio_ok = _sound(segment, last, inside, spec)
    return Sequences(pictures, mel, video_ok, audio_ok, *_targets(segment, last, inside))


def cut_features(
    segment: Segment, phases: tuple[int, ...], view: SequenceConfig, spec: FeatureSpec
) -> FeatureSequences:
    """The sequences of `phases` of a segment whose sub-clips have been through the backbones.

    Raises:
        SampleError: the segment holds no features, or of other widths than `spec` says.
    """
    features = segment.features
    found = (features.video_ND.shape[1], features.audio_ND.shape[1]) if features else None
    if features is None or found != (spec.video_dim, spec.audio_dim):
        wanted = f"{spec.video_dim} video and {spec.audio_dim} audio features"
        raise SampleError(f"{segment.key} holds {found or 'no'} features, the model takes {wanted}")
    own = ends(phases, view)
    inside = own < segment.num_frames
    row = np.minimum(own, segment.num_frames - 1)
    ok = features.ok_N2[row] & inside[..., None]
    video, audio = (array[row].astype(np.float32) for array in (features.video_ND, features.audio_ND))
    targets = _targets(segment, row + segment.num_preroll, inside)
    return FeatureSequences(video, audio, ok[..., 0], ok[..., 1], *targets)


def _targets(
    segment: Segment, last: NDArray[np.int_], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    target = segment.labels[last]
    target_ok = inside & ~np.isnan(target).any(-1)
    return np.where(target_ok[..., None], target, np.float32(0)), target_ok


def subsampled(
    last: NDArray[np.int_], seen: NDArray[np.bool_], view: SequenceConfig
) -> tuple[NDArray[np.int_], NDArray]:
    """Which stored frame stands at each place of each sub-clip, and whether the sub-clip may be used.

    Args:
        last: (B, L) stored index of each sub-clip's last frame.
        seen: (N,) stored frames with a crop.

    Returns:
        index (B, L, T): the frame itself, or the nearest one with a crop in its sub-clip (the earlier of two);
        and video_ok (B, L): the last frame and at least half of the frames have a crop.
    """
    steps_back = np.arange(view.num_subsampled - 1, -1, -1) * view.subclip_dilation
    index = last[..., None] - steps_back
    have = (index >= 0) & seen[np.maximum(index, 0)]
    places = np.arange(view.num_subsampled)
    distance = np.abs(places[:, None] - places) + np.where(have[..., None, :], 0, view.num_subsampled)
    index = np.take_along_axis(index, distance.argmin(-1), -1)
    return index, have[..., -1] & (2 * have.sum(-1) >= view.num_subsampled)


def _pictures(
    segment: Segment, last: NDArray, inside: NDArray, view: SequenceConfig, spec: InputSpec
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    seen = segment.frames["face_ok"] & segment.frames["video_ok"]
    index, usable = subsampled(last, seen, view)
    video_ok = usable & inside
    wanted, place = np.unique(index[video_ok], return_inverse=True)
    decoded = np.stack([_crop(segment, i, spec.crop_px) for i in wanted]) if len(wanted) else None
    pictures = np.zeros((*index.shape, spec.crop_px, spec.crop_px, 3), np.uint8)
    if decoded is not None:
        pictures[video_ok] = decoded[place.reshape(-1, view.num_subsampled)]
    return pictures, video_ok


def _crop(segment: Segment, index: int, crop_px: int) -> NDArray[np.uint8]:
    start, size = int(segment.frames["offset"][index]), int(segment.frames["size"][index])
    data = np.frombuffer(segment.faces_mjpeg, np.uint8)[start : start + size]
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if picture is None:
        raise SampleError(f"{segment.key}: the crop of stored frame {index} ({size} bytes at {start}) is not a JPEG")
    if picture.shape[:2] != (crop_px, crop_px):
        raise SampleError(f"{segment.key}: crop of {picture.shape[1]}x{picture.shape[0]} px, the model takes {crop_px}")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _sound(
    segment: Segment, last: NDArray, inside: NDArray, spec: InputSpec
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The hops that end at each sub-clip's last frame; those outside the segment repeat its edge and are not real."""
    num_hops, num_mels = segment.mel_db.shape
    if num_mels != spec.num_mels:
        raise SampleError(f"{segment.key}: sound with {num_mels} mel bands, the model takes {spec.num_mels}")
    if num_hops == 0:
        shape = (*last.shape, spec.num_hops, num_mels)
        return np.zeros(shape, np.float32), np.zeros(last.shape, bool)
    hops_per_frame = 1.0 / (segment.frame_rate_hz * segment.hop_s)
    final = np.floor(last * hops_per_frame + 0.5).astype(int)
    hops = final[..., None] + np.arange(1 - spec.num_hops, 1)
    frame_of_hop = np.floor(hops / hops_per_frame + 0.5).astype(int)
    stored = (hops >= 0) & (hops < num_hops) & (frame_of_hop < len(segment.frames))
    real = stored & segment.frames["audio_ok"][np.clip(frame_of_hop, 0, len(segment.frames) - 1)]
    audio_ok = inside & (2 * real.sum(-1) >= spec.num_hops)
    mel = segment.mel_db[np.clip(hops, 0, num_hops - 1)].astype(np.float32)
    return np.where(audio_ok[..., None, None], mel, np.float32(0)), audio_ok
