"""A small dataset of features that follow the labels, each with a number of its own in its first column."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from pipeline.config import Config
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format.dataset_info import DatasetInfo
from pipeline.dataset.format.shards import sha256_of_file
from pipeline.records import Segment, ShardRecord
from pipeline.records.features import FeatureOrigin, SegmentFeatures
from tests.support.fake_dataset import make_segment, video_row, write_shard

VIDEO_DIM, AUDIO_DIM = 10, 6
NUM_FRAMES, NUM_PREROLL = 32, 7
SECTIONS = {
    "name": "small",
    "segments": {"num_frames": NUM_FRAMES, "num_preroll": NUM_PREROLL},
    "sequence": {"num_subclips": 4, "subclip_frames": 8, "subclip_dilation": 2, "subclip_stride": 8},
}
ORIGIN = FeatureOrigin(
    "parent", "0" * 64, "", "", "1" * 64, "2" * 64, "residual", "both", 8, 2, VIDEO_DIM, AUDIO_DIM
)  # fmt: skip


def feature_segment(video_id: str, split: str, seed: int = 0, *, no_video=(), no_audio=(), **changes) -> Segment:
    """Video features follow valence, audio features arousal; `no_*` are own frames."""
    segment = make_segment(video_id, split, NUM_FRAMES, NUM_PREROLL, seed=seed, **changes)
    own = np.nan_to_num(segment.labels[segment.num_preroll :])
    rng = np.random.default_rng(seed)
    ok_N2 = np.ones((segment.num_frames, 2), bool)
    ok_N2[list(no_video), 0] = ok_N2[list(no_audio), 1] = False
    sides = []
    for side, dim in enumerate((VIDEO_DIM, AUDIO_DIM)):
        features = rng.normal(0, 0.1, (segment.num_frames, dim)) + np.linspace(1, -1, dim) * own[:, [side]]
        features[:, 0] = 1 + np.arange(segment.num_frames) / 64
        sides.append((features * ok_N2[:, [side]]).astype(np.float16))
    return dataclasses.replace(segment, faces_mjpeg=b"", features=SegmentFeatures(*sides, ok_N2))


def feature_dataset(directory: Path, segments_of_split: dict[str, list[Segment]], **origin) -> DatasetInfo:
    """A committed dataset of one shard per split; keyword arguments change what the features were made of."""
    records = []
    for split, segments in segments_of_split.items():
        name = f"{split}-00000"
        rows = write_shard(directory, name, segments)
        videos = tuple(video_row(video, segments) for video in dict.fromkeys(s.video_id for s in segments))
        tar = directory / "shards" / f"{name}.tar"
        records.append(ShardRecord(name, sha256_of_file(tar), tar.stat().st_size, "", tuple(rows), videos))
    features = dataclasses.replace(ORIGIN, **origin)
    return commit_dataset(str(directory), Config.model_validate(SECTIONS), records, {}, features=features)


def small_features(directory: Path, splits=("train", "val", "test"), count: int = 3, **origin) -> DatasetInfo:
    """`count` clips of one segment in each split."""
    segments = {split: [feature_segment(f"{split}{i}", split, seed=i) for i in range(count)] for split in splits}
    return feature_dataset(directory, segments, **origin)
