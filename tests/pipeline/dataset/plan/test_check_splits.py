"""Splits that training or evaluation could not use: said before any work, with the ways out."""

import re
from dataclasses import replace

import pytest

from pipeline.config import Config, UsageError
from pipeline.config.dataset_sections import PreprocessConfig, SourceConfig, SplitConfig
from pipeline.config.job_sections import EvaluateConfig
from pipeline.dataset.plan.check_splits import (
    built_split_warnings,
    require_built_trainable,
    require_trainable,
    split_warnings,
)
from pipeline.records import VideoRow
from tests.pipeline.dataset.plan.test_assign_splits import video

WAYS = r"--source\.manifest FILE\.csv.*--splits\.val \(now 0\.15\).*--splits\.test.*--splits\.seed \(now 0\)"


def streams(*splits, labelled=True):
    return [video(f"{split}{n}", split=split, labelled=labelled) for n, split in enumerate(splits)]


def lengths(videos, length_s=1.0):
    return {video.key: length_s for video in videos}


def row(split, status="ok", labelled_frames=9, name=""):
    return VideoRow(name or split, "", "", name or split, split, status, "", "", "", labelled_frames=labelled_frames)


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (("train", "test", "test"), "the val split is empty"),
        (("train", "train", "val"), "the test split is empty"),
        (("train", "train", "train"), "the val split is empty; the test split is empty"),
    ],
)
def test_an_empty_split_is_refused_with_the_ways_out(splits, words):
    videos = streams(*splits)
    with pytest.raises(UsageError, match=f"{words}.*{WAYS}"):
        require_trainable(videos, lengths(videos), Config())
    (line,) = split_warnings(videos, lengths(videos), Config())
    assert line.startswith("the ")


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "words"),
    [
        (
            ("train", "val"),
            (*["train"] * 6, "val", "test"),
            "the test split has no labels, .*; only 2 groups have labels, for 3 splits: label more videos, or do "
            "without a test split: --evaluate.split val",
        ),
        (
            ("train", "train"),
            (),
            "the val split is empty; .*; only 2 groups have labels, for 3 splits: label more videos, or do without a "
            "test split: name train and val in a manifest (--source.manifest FILE.csv: video,group,split) and evaluate "
            "with --evaluate.split val",
        ),
        (("train",), ("train", "val", "test"), "; only 1 group has labels, for 3 splits: label more videos"),
        ((), ("train", "val"), "the test split is empty, .*; there are only 2 groups, for 3 splits: add videos, or do"),
        ((), ("train",), "; there is only 1 group, for 3 splits: add videos"),
    ],
)
def test_where_groups_are_too_few_no_seed_is_offered(labelled, unlabelled, words):
    videos = [
        *streams(*labelled),
        *(replace(v, video_id=f"u{v.key}", group=f"u{v.key}") for v in streams(*unlabelled, labelled=False)),
    ]
    (line,) = split_warnings(videos, lengths(videos), Config())
    pattern = re.escape(words).replace(r"\.\*", ".*")
    assert re.search(pattern if "or do" in words else pattern + "$", line), line
    assert "--splits" not in line


def test_a_seed_is_offered_only_where_it_can_change_something():
    videos = streams("train", "train", "test")
    (line,) = split_warnings(videos, lengths(videos), Config(splits=SplitConfig(val=0.0)))
    assert line.endswith("or change the shares --splits.val (now 0) and --splits.test (now 0.15)")
    named = Config(source=SourceConfig(videos="/v", manifest="/m.csv"))
    (line,) = split_warnings(videos, lengths(videos), named)
    assert "; name the splits in /m.csv, or, for groups that it leaves open, change the shares" in line
    extended = Config(preprocess=PreprocessConfig(extend="/d"))
    (line,) = split_warnings(videos, lengths(videos), extended)
    assert line.endswith(
        "; the groups of /d keep their splits: add videos of other groups, or build a dataset anew, without --extend"
    )
    (line,) = split_warnings(videos[:2], lengths(videos), extended)
    assert line.endswith("; only 2 groups have labels, for 3 splits: label more videos"), "a manifest moves no group"
    unusable = lengths(videos) | {"train0": 0.0}
    assert "only 2 groups that can be used have labels" in split_warnings(videos, unusable, Config())[0]


def test_what_is_whole_is_neither_refused_nor_warned_of():
    videos = streams("train", "val", "test")
    require_trainable(videos, lengths(videos), Config())
    assert split_warnings(videos, lengths(videos), Config()) == ()
    require_built_trainable([row("train"), row("val"), row("test")], Config(), "/d")
    assert built_split_warnings([row("train"), row("val"), row("test")], Config()) == ()


def test_the_test_split_may_be_empty_when_val_is_evaluated():
    videos = streams("train", "val")
    require_trainable(videos, lengths(videos), Config(evaluate=EvaluateConfig(split="val")))
    require_trainable(videos, lengths(videos), Config(evaluate=EvaluateConfig(dataset="/other")))
    with pytest.raises(UsageError, match="the test split is empty"):
        require_trainable(videos, lengths(videos), Config())


def test_a_split_without_labels_is_as_bad_as_an_empty_one():
    videos = [*streams("train", "test"), *streams("val", "val", labelled=False)]
    with pytest.raises(UsageError, match="the val split has no labels"):
        require_trainable(videos, lengths(videos), Config())
    assert "the val split has no labels" in split_warnings(videos, lengths(videos), Config())[0]


def test_a_source_without_labels_is_refused_only_for_training():
    videos = streams("train", "val", "test", labelled=False)
    with pytest.raises(UsageError, match=r"no video that can be used has labels.*--source\.labels is empty"):
        require_trainable(videos, lengths(videos), Config())
    assert split_warnings(videos, lengths(videos), Config()) == ()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (Config(preprocess=PreprocessConfig(require_trainable=True)), "--source.labels is empty"),
        (
            Config(source=SourceConfig(labels="/labels")),
            "--source.labels is /labels: it should be a folder that mirrors",
        ),
    ],
)
def test_labels_of_no_video_are_warned_of_where_some_were_expected(config, words):
    videos = streams("train", "val", "test", labelled=False)
    (line,) = split_warnings(videos, lengths(videos), config)
    assert line.startswith(f"no video has labels, which training needs; {words}")


def test_videos_that_cannot_be_read_do_not_fill_a_split():
    videos = streams("train", "val", "test")
    unreadable = lengths(videos) | {"val1": 0.0}
    with pytest.raises(UsageError, match=r"the val split has no video that can be used \(1 cannot\)"):
        require_trainable(videos, unreadable, Config())


def test_rejections_may_empty_a_split():
    rows = [row("train"), row("val", "rejected"), row("test"), row("test", name="other")]
    with pytest.raises(UsageError, match=rf"/d is built, but the val split has no video that can be used.*{WAYS}"):
        require_built_trainable(rows, Config(), "/d")
    assert "the val split has no video that can be used" in built_split_warnings(rows, Config())[0]
    rows[1] = replace(rows[1], status="ok", labelled_frames=0)
    with pytest.raises(UsageError, match="the val split has no labels"):
        require_built_trainable(rows, Config(), "/d")


@pytest.mark.parametrize("smooth", ["off", "tuned"])
def test_clips_are_corrupted_only_where_spans_can_be_swapped(smooth):
    evaluate = EvaluateConfig(corrupt_modality=0.5, smooth=smooth)
    config = Config().model_copy(update={"evaluate": evaluate})
    videos = streams("train", "train", "val", "test", "test")
    if smooth == "tuned":
        with pytest.raises(
            UsageError, match=r"the val split has videos of one group only \(val2\), but .*corrupt_modality"
        ):
            require_trainable(videos, lengths(videos), config)
    else:
        require_trainable(videos, lengths(videos), config)
    with pytest.raises(UsageError, match="the test split has videos of one group only"):
        require_trainable(videos[:4], lengths(videos[:4]), config)
    require_trainable(videos[:4], lengths(videos[:4]), Config())
