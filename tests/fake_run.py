"""A plan on the small drawn dataset, as the training job would make it."""

from __future__ import annotations

import dataclasses

from pipeline.config import Config
from pipeline.training.fit import Plan
from tests.fake_dataset import CROP_PX, NUM_MELS, make_segment, write_shard

SECTIONS = {
    "name": "small",
    "media": {"crop_px": CROP_PX},
    "sound": {"num_mels": NUM_MELS},
    "segments": {"num_frames": 32, "num_preroll": 7},
    "sequence": {"num_subclips": 4, "subclip_frames": 8, "subclip_dilation": 2, "subclip_stride": 8},
    "model": {"feature_dim": 8, "head_dim": 8},
    "train": {"epochs": 2, "batch_size": 8, "checkpoint_every_steps": 1, "learning_rate": 1e-2, "patience": 9},
}


def small_config(root="", **train) -> Config:
    """The configuration of the small run; keyword arguments change its training section."""
    sections = {**SECTIONS, "train": {**SECTIONS["train"], **train}, "storage": {"root": str(root)}}
    return Config.model_validate(sections)


def small_segments(split, count):
    """`count` clips of two segments each."""
    return [
        make_segment(f"{split}{i}", split, start_s=start_s, num_preroll=7 if start_s else 0, seed=i)
        for i in range(count)
        for start_s in (0.0, 1.28)
    ]


def small_plan(directory, **train) -> Plan:
    """Two steps an epoch, two epochs, unless `train` says otherwise; the run lies in `directory`/run."""
    rows = {
        split: write_shard(directory / "dataset", f"{split}-00000", small_segments(split, count))
        for split, count in (("train", 2), ("val", 1))
    }
    config = small_config(directory, **train)
    return Plan(config, str(directory / "dataset"), str(directory / "run"), rows["train"], rows["val"])


def in_folder(plan: Plan, directory) -> Plan:
    """The same plan for another run."""
    return dataclasses.replace(plan, run_uri=str(directory))
