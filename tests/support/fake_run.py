"""A plan on the small drawn dataset, as the training job would make it."""

from __future__ import annotations

import dataclasses

from pipeline.config import Config
from pipeline.jobs.train import labelled_rows_by_split, record_of_trained
from pipeline.training import run_record
from pipeline.training.compatibility import config_for_dataset, require_features_fit
from pipeline.training.ranks import Ranks
from pipeline.training.trainer import Trainer, TrainPlan
from tests.support.fake_dataset import CROP_PX, NUM_MELS, make_segment, write_dataset, write_shard

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


def small_plan(directory, **train) -> TrainPlan:
    """Two steps an epoch, two epochs, unless `train` says otherwise; the run lies in `directory`/run."""
    rows = {
        split: write_shard(directory / "dataset", f"{split}-00000", small_segments(split, count))
        for split, count in (("train", 2), ("val", 1))
    }
    config = small_config(directory, **train)
    return TrainPlan(config, str(directory / "dataset"), str(directory / "run"), rows["train"], rows["val"])


def without_noise(plan: TrainPlan) -> TrainPlan:
    """The same plan without anything that is drawn anew on each rank."""
    model = dataclasses.replace(plan.config.model, fusion_dropout=0.0, head_dropout=0.0)
    train = dataclasses.replace(plan.config.train, drop_modality=0.0)
    return dataclasses.replace(plan, config=plan.config.model_copy(update={"model": model, "train": train}))


def in_folder(plan: TrainPlan, directory) -> TrainPlan:
    """The same plan for another run."""
    return dataclasses.replace(plan, run_uri=str(directory))


def small_dataset(directory, **splits):
    """A committed dataset of train, val and test clips at `directory`; returns its DatasetInfo."""
    counts = {"train": 2, "val": 1, "test": 2, **splits}
    segments = {split: small_segments(split, count) for split, count in counts.items() if count}
    return write_dataset(directory, small_config(), segments)


def finished_run(root, dataset, model=None, **train):
    """A run trained in this process and closed as the job does it; returns its URI. `model`: settings of the model."""
    config = small_config(root, dataset=dataset.uri, **train)
    config = config.model_copy(update={"model": dataclasses.replace(config.model, **(model or {}))})
    return train_and_close(config, dataset)


def train_and_close(config, dataset):
    """Train the run of `config` in this process and close it as the job does it; returns its URI."""
    config = config_for_dataset(config, dataset.config)
    require_features_fit(config, dataset.features)
    uri = run_record.run_uri(config, dataset.digest)
    rows = labelled_rows_by_split(dataset.uri)
    run_record.write_config(uri, config)
    plan = TrainPlan(config, dataset.uri, uri, rows["train"], rows["val"], dataset.features)
    Trainer(plan, Ranks()).run(run_record.start_attempt(uri))
    num_segments = {split: len(of_split) for split, of_split in rows.items()}
    run_record.write_record(uri, record_of_trained(config, dataset, uri, num_segments))
    return uri


def evaluation_config(run_uri, root, **settings):
    """The configuration that evaluates a run with these settings."""
    config = small_config(root)
    return config.model_copy(update={"evaluate": dataclasses.replace(config.evaluate, run=run_uri, **settings)})
