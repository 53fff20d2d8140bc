"""The closing summary: counts in words, what to open, and the step that comes next."""

import io
import json
import shlex
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from flows.cli.commands import JOBS
from flows.cli.summary import print_summary
from pipeline.config.fields import Stage
from pipeline.dataset.format import tables
from pipeline.records import VideoRow
from pipeline.runtime.progress import JobResult


def summary_of(kind: str, **result) -> str:
    """What is printed of one job's result, on lines long enough for any path."""
    text = io.StringIO()
    values = {"output_uri": "/out", "skipped": False, "seconds": 2.0, "counts": {"things": 3}, **result}
    print_summary([JobResult(kind, **values)], console=Console(file=text, width=200))
    return text.getvalue()


def dataset_of(folder: Path, *rows: VideoRow) -> str:
    """A folder with the table of these videos."""
    (folder / "videos.parquet").write_bytes(tables.to_parquet(rows, VideoRow))
    return str(folder)


def video(name: str, split: str = "train", **values) -> VideoRow:
    """The row of a video, by default one that lost nothing and has labels on 100 frames."""
    known = {"status": "ok", "stage": "", "reason": "", "detail": "", "labelled_frames": 100, "num_label_rows": 100}
    return VideoRow(name, "", f"/videos/{name}.mp4", name, split, **{**known, **values})


def test_every_stage_with_a_job_of_its_own_is_described():
    assert {job.stage for job in JOBS} == {*get_args(Stage)} - {"repair"}


def test_a_job_has_its_title_and_its_next_step():
    assert "Features: done in 2 s\n  /out\n  3 things\n\nNext: iaca train --dataset /out\n" in summary_of("extract")
    assert "Next:" not in summary_of("verify")


def test_a_job_that_is_not_described_is_called_by_its_name():
    assert summary_of("anonymise") == "\nanonymise: done in 2 s\n  /out\n  3 things\n"


def test_the_lines_of_a_dataset_stand_once_below_the_table_of_outcomes(tmp_path):
    uri = dataset_of(
        tmp_path, video("a"), video("b", status="rejected", stage="probe", reason="no_video", detail="only sound")
    )
    text = summary_of("preprocess", output_uri=uri, counts={"videos": 2}, lines=("a.csv is too short", "and b.csv"))
    table, _, below = text.partition("no_video")
    assert "ok" in table
    assert below.startswith(" \n  rejected: b: only sound\n  a.csv is too short\n  and b.csv\n")
    assert text.count("a.csv is") == text.count("2 videos") == 1


def test_counts_are_words_with_units():
    counts = {"videos": 1, "ok": 1, "partial": 0, "rejected": 0, "shards": 8, "samples": 1078, "mb": 28.252}
    text = summary_of("verify", counts=counts)
    assert "\n  1 video, 0 partial, 0 rejected, 8 shards, 1,078 samples, 28 MB\n" in text


def test_a_dataset_names_its_quality_page(tmp_path):
    uri = dataset_of(tmp_path, video("a"))
    text = summary_of("preprocess", output_uri=uri)
    assert f"\n  how good it is: {uri}/quality.html\n" in text
    assert "videos.parquet" not in text
    text = summary_of("preprocess", output_uri=uri, counts={"rejected": 1})
    assert f"which videos lost what, and why: that page and {uri}/videos.parquet" in text


ALL = [video("a"), video("b", "val"), video("c", "test")]
UNLABELLED = [video(name, split, labelled_frames=0) for name, split in (("a", "train"), ("b", "val"), ("c", "test"))]
LOST = [video("a", status="rejected", stage="probe", reason="no_video")]


@pytest.mark.parametrize(
    ("videos", "proposed", "steps"),
    [
        (ALL, True, []),
        (UNLABELLED, False, ["add labels", "--source.labels FOLDER", "frame,valence,arousal"]),
        (LOST, False, ["no video could be used", "quality.html"]),
        (
            ALL[:1],
            False,
            ["as the warning above says", "the val and test splits", "same command"],
        ),
        ([*ALL[:1], *UNLABELLED[1:]], False, ["the val and test splits labelled"]),
        (ALL[1:], False, ["give the train split labelled"]),
        (ALL[:2], True, ["--evaluate.split val", "no labelled video is in the test split"]),
    ],
)
def test_training_is_proposed_only_where_it_is_not_refused(tmp_path, videos, proposed, steps):
    uri = dataset_of(tmp_path, *videos)
    _, _, step = summary_of("preprocess", output_uri=uri).partition("\nNext: ")
    assert step.startswith(f"iaca train --dataset {uri}\n") == proposed
    assert [part for part in steps if part not in step] == []
    assert ("split" in step) == any("split" in part for part in steps)
    assert [option for option in ("--source.manifest", "--splits.") if option in step] == [], "the warning has them"


def test_a_plan_proposes_nothing_and_opens_nothing(tmp_path):
    text = io.StringIO()
    plan = JobResult("preprocess", str(tmp_path), False, 2.0, {"videos": 3, "mb": 2.5}, ("3 videos in 1 shard",))
    print_summary([plan], dry_run=True, console=Console(file=text, width=200))
    assert text.getvalue() == f"\nDataset: a plan, nothing written\n  {tmp_path}\n  3 videos in 1 shard\n"


def test_what_a_plan_needs_first_is_no_plan(tmp_path):
    """The demo draws its talkers in a dry run, too: without them there is nothing to plan."""
    text = io.StringIO()
    talkers = JobResult("synthesize", "/talkers", False, 2.0, {"videos": 3})
    plan = JobResult("preprocess", str(tmp_path), False, 2.0, {"videos": 3})
    print_summary([talkers, plan], dry_run=True, console=Console(file=text, width=200))
    drawn, _, planned = text.getvalue().partition("Dataset: ")
    assert drawn == "\nSynthetic talkers: done in 2 s\n  /talkers\n  3 videos\n\n"
    assert planned.startswith("a plan, nothing written\n")


def test_a_run_names_the_command_that_draws_its_curve(tmp_path):
    uri = str(tmp_path / "my runs")
    text = summary_of("train", output_uri=uri, counts={"val_ccc_mean": 0.5, "epochs": 1, "steps": 20, "attempts": 2})
    (curve,) = (line for line in text.splitlines() if "training curve:" in line)
    assert shlex.split(curve.partition(": ")[2]) == ["tensorboard", "--logdir", f"{uri}/tensorboard"]
    assert "\n  1 epoch, 20 steps, 2 attempts\n" in text
    assert shlex.split(text.partition("Next: ")[2]) == ["iaca", "evaluate", "--run", uri]


@pytest.mark.parametrize(
    ("kind", "given", "options"),
    [
        ("extract", {"config": "my run.toml", "storage.root": "/a b"}, "--config 'my run.toml' --storage.root '/a b'"),
        ("extract", {"name": "mine", "train.use_gpu": "true"}, "--name mine --train.use_gpu true"),
        ("extract", {"extract.dataset": "/d", "media.crop_px": "48"}, ""),
        ("train", {"train.dataset": "/d", "train.epochs": "1", "evaluate.split": "val"}, "--evaluate.split val"),
        ("train", {"cluster.address": "http://head:8265"}, "--cluster.address http://head:8265"),
    ],
)
def test_the_next_step_keeps_the_options_that_it_needs(kind, given, options):
    text = io.StringIO()
    result = JobResult(kind, "/out", skipped=False, seconds=2.0)
    print_summary([result], options=given, console=Console(file=text, width=200))
    step = {"extract": "iaca train --dataset /out", "train": "iaca evaluate --run /out"}[kind]
    assert text.getvalue().endswith(f"\nNext: {f'{step} {options}'.strip()}\n")


@pytest.mark.parametrize("skipped", [True, False])
def test_warnings_are_printed_for_every_dataset(tmp_path, skipped):
    dataset_of(tmp_path, video("a"))
    result = JobResult("preprocess", str(tmp_path), skipped, 2.0, {"videos": 1}, warnings=("4 label files [x]: a",))
    text = io.StringIO()
    print_summary([result], console=Console(file=text, width=200))
    assert "\n  warning: 4 label files [x]: a\n" in text.getvalue()


def test_the_warnings_of_a_plan_stand_below_its_lines(tmp_path):
    warnings = ("4 label files [x]: a",)
    plan = JobResult("preprocess", str(tmp_path), False, 2.0, {"videos": 1}, ("1 video in 1 shard",), warnings)
    text = io.StringIO()
    print_summary([plan], dry_run=True, console=Console(file=text, width=200))
    assert text.getvalue().endswith("\n  1 video in 1 shard\n  warning: 4 label files [x]: a\n")


def test_the_first_rejected_videos_are_named_with_what_is_wrong(tmp_path):
    rejected = [video(f"v{i}", status="rejected", stage="probe", reason="unreadable", detail="x" * 5) for i in range(7)]
    rejected[0] = video("v0", status="rejected", stage="labels", reason="bad_labels", detail="word " * 50)
    text = summary_of("preprocess", output_uri=dataset_of(tmp_path, *ALL, *rejected))
    (first, *others) = [line.strip() for line in text.splitlines() if line.startswith("  rejected: ")]
    assert first.startswith("rejected: v0: word word")
    assert first.endswith(" ...")
    assert others == [*(f"rejected: v{i}: xxxxx" for i in range(1, 5)), "rejected: 2 more"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"masked_modality": "none"}, "sound and picture "),
        ({"masked_modality": "none", "corrupt_modality": 0.3}, "sound and picture, corrupted "),
        ({"masked_modality": "audio"}, "sound masked "),
    ],
)
def test_the_table_of_evaluations_names_what_the_model_was_given(tmp_path, settings, name):
    values = {"valence": 0.5, "arousal": 0.5, "mean": 0.5}
    (tmp_path / "metrics.json").write_text(json.dumps({**settings, "ccc": {"pooled": values, "per_video": values}}))
    assert f"\n {name}" in summary_of("evaluate", output_uri=str(tmp_path))
