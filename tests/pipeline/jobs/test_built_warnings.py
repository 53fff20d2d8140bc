"""What is said of a finished dataset: known since its commit, and not computed again by every command that finds it."""

from dataclasses import asdict, replace

import pytest

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.build.commit import commit_dataset
from pipeline.dataset.format import tables
from pipeline.dataset.format.dataset_info import read_dataset
from pipeline.dataset.sources.listing import Listing
from pipeline.jobs.build_dataset import built_warnings
from pipeline.records import ShardRecord, UnusedInput, VideoRow
from tests.pipeline.dataset.plan.test_assign_splits import video
from tests.support.preprocessing import with_options

NOTHING = Listing([], [], ())
TRAINED = with_options(Config(), require_trainable=True)


def row(name, split, **values):
    known = {"face_fraction": 1.0, "labelled_frames": 9, "audio_codec": "aac", **values}
    return VideoRow(name, "", f"/{name}.mp4", name, split, "ok", "", "", "", **known)


def dataset_of(folder, *rows):
    """A committed dataset with these videos and no samples."""
    uri = str(folder / "d")
    return commit_dataset(uri, Config(), [ShardRecord("train-00000", "ab", 0, "", (), rows)], {})


def test_a_dataset_knows_its_warnings_since_its_commit(tmp_path):
    rows = (row("a", "train", face_fraction=0.2), row("b", "train", label_problem="ends_early"), row("c", "test"))
    info = dataset_of(tmp_path, *rows)
    splits, labels, faces, detector = info.warnings
    assert splits.startswith("the val split is empty, which training or evaluation needs; ")
    assert labels == "1 label file ends more than 1 s before its video: b"
    assert faces == "the face is found in less than 50% of the frames of 1 video (a); see quality.html"
    assert "iaca fetch-model yunet" in detector
    assert read_dataset(info.uri).warnings == info.warnings
    assert dataset_of(tmp_path / "other", row("a", "train"), row("b", "val"), row("c", "test")).warnings == ()


def test_no_video_of_a_finished_dataset_is_read_for_its_warnings(tmp_path):
    info = dataset_of(tmp_path, row("a", "train"))
    storage.delete(storage.join(info.uri, "videos.parquet"))
    copies = [replace(video(name), group="a") for name in ("a", "b")]
    source = Listing(copies, [UnusedInput("labels", "x.csv", "labels x.csv: no such video")], ())
    assert built_warnings(info, Config(), source) == (
        *info.warnings,
        "1 video is a copy of another and in the same group: a = b",
        "1 label file belongs to no video: x.csv",
    )


@pytest.mark.parametrize("split", ["val", "test"])
def test_only_what_tells_of_splits_is_read_before_training(tmp_path, split):
    info = dataset_of(tmp_path, row("a", "train"), row("b", "val"), row("c", "test"))
    uri = storage.join(info.uri, "videos.parquet")
    rows = [row("a", "train"), row("b", split), row("c", "test")]
    names = ("split", "group", "status", "labelled_frames")
    columns = {name: [asdict(each)[name] for each in rows] for name in names}
    storage.publish_bytes(tables.columns_to_parquet(columns), uri)
    if split == "val":
        assert built_warnings(info, TRAINED, NOTHING) == ()
    else:
        with pytest.raises(UsageError, match=f"^{info.uri} is built, but the val split is empty"):
            built_warnings(info, TRAINED, NOTHING)
