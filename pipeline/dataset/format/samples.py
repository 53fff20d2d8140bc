"""The members of a WebDataset sample: a Segment encoded, and decoded again."""

from __future__ import annotations

import io
import json
import math
import tarfile
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.records import ANNOTATION_DTYPE, FRAME_DTYPE, Segment, SegmentFeatures

MEMBERS = ("faces.mjpeg", "frames.npy", "mel.npy", "labels.npy", "annotations.npy", "meta.json")  # in this order
_FEATURES = ("video_features.npy", "audio_features.npy", "features_ok.npy")
FEATURE_MEMBERS = (*_FEATURES, "frames.npy", "labels.npy", "annotations.npy", "meta.json")  # in a dataset of features
_META = ("video_id", "person", "group", "split", "start_s", "num_preroll", "frame_rate_hz", "hop_s", "followed")


class SampleError(ValueError):
    """A tar slice that is not one of our samples; the message names the member and what is wrong with it."""


def encode(segment: Segment) -> dict[str, bytes]:
    """The members of one sample by their extension, in tar order; no pickles, no objects, no URIs."""
    meta = {name: getattr(segment, name) for name in _META}
    members = {
        "frames.npy": _npy(segment.frames),
        "labels.npy": _npy(segment.labels),
        "annotations.npy": _npy(segment.annotations),
        "meta.json": json.dumps(meta, sort_keys=True).encode(),
    }
    if features := segment.features:
        arrays = (features.video_ND, features.audio_ND, features.ok_N2)
        members |= {name: _npy(array) for name, array in zip(_FEATURES, arrays, strict=True)}
        return {name: members[name] for name in FEATURE_MEMBERS}
    members |= {"faces.mjpeg": segment.faces_mjpeg, "mel.npy": _npy(segment.mel_db)}
    return {name: members[name] for name in MEMBERS}


def decode(members: dict[str, bytes]) -> Segment:
    """Inverse of `encode`; a sample with features has neither crops nor sound.

    Raises:
        SampleError: a member is missing, damaged, or of another type or shape than the format says.
    """
    precomputed = any(name in members for name in _FEATURES)
    missing = [name for name in (FEATURE_MEMBERS if precomputed else MEMBERS) if name not in members]
    if missing:
        raise SampleError(f"sample lacks {', '.join(missing)}; it has {', '.join(members) or 'nothing'}")
    segment = Segment(
        **_meta(members["meta.json"]),
        frames=_array(members, "frames.npy", FRAME_DTYPE),
        faces_mjpeg=b"" if precomputed else members["faces.mjpeg"],
        mel_db=np.zeros((0, 0), np.float16) if precomputed else _array(members, "mel.npy", np.dtype("<f2")),
        labels=_array(members, "labels.npy", np.dtype("<f4")),
        annotations=_array(members, "annotations.npy", ANNOTATION_DTYPE),
    )
    return replace(segment, features=_features(members, segment.num_frames)) if precomputed else segment


def _features(members: dict[str, bytes], num_frames: int) -> SegmentFeatures:
    video, audio = (_array(members, name, np.dtype("<f2")) for name in _FEATURES[:2])
    ok = _array(members, _FEATURES[2], np.dtype("?"))
    fits = video.ndim == audio.ndim == 2 and len(video) == len(audio) == num_frames and ok.shape == (num_frames, 2)
    if not fits:
        raise SampleError(
            f"features have the shapes {video.shape}, {audio.shape} and {ok.shape}; {num_frames} own frames need "
            f"({num_frames}, D_v), ({num_frames}, D_a) and ({num_frames}, 2)"
        )
    return SegmentFeatures(video, audio, ok)


def decode_slice(data: bytes) -> Segment:
    """The sample in a byte range of a shard: `SampleRow.size` bytes from `SampleRow.offset`.

    A slice of whole tar blocks is itself a readable tar; nothing is extracted to disk.
    """
    try:
        members = _members(data)
    except (tarfile.TarError, ValueError) as error:
        raise SampleError(f"not a tar slice of the format: {error}") from error
    return decode(members)


def _members(data: bytes) -> dict[str, bytes]:
    """The members of a tar by their extension; a sparse one, which declares more bytes than are there, is refused."""
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for member in tar:
            extension = member.name.partition(".")[2]
            if not member.isreg() or member.issparse() or extension not in (*MEMBERS, *_FEATURES):
                raise ValueError(f"tar member {member.name!r} is not part of the format")
            if extension in members:
                raise ValueError(f"tar member {member.name!r} stands there twice")
            file = tar.extractfile(member)
            assert file is not None
            members[extension] = file.read()
    return members


def _meta(data: bytes) -> dict[str, Any]:
    try:
        meta = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SampleError(f"meta.json is not JSON: {error}") from error
    missing = [name for name in _META if not isinstance(meta, dict) or name not in meta]
    if missing:
        raise SampleError(f"meta.json lacks {', '.join(missing)}; the dataset is of another version of the format")
    return {name: meta[name] for name in _META}


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(members: dict[str, bytes], name: str, dtype: np.dtype) -> np.ndarray:
    try:
        array = _plain(members[name])
    except ValueError as error:
        raise SampleError(f"{name} is not a plain array: {error}") from error
    if array.dtype != dtype:
        raise SampleError(f"{name} has dtype {array.dtype}, the format says {dtype}")
    return array


def _plain(data: bytes) -> np.ndarray:
    """Read the array in a .npy file, and nothing else that `np.load` reads; the header must fit the number of bytes."""
    file = io.BytesIO(data)
    if (version := np.lib.format.read_magic(file)) != (1, 0):
        raise ValueError(f"it has version {version} of the format, allowed is (1, 0)")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    content = file.read()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes cannot be an array of shape {shape} and dtype {dtype}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C").copy()
