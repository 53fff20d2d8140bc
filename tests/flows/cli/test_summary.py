"""The closing summary: what it prints for a job of which the command line knows nothing."""

import io
from pathlib import Path
from typing import get_args

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
    assert "Features: done in 2 s\n  /out\n  things 3\n\nNext: iaca train --dataset /out\n" in summary_of("extract")
    assert "Next:" not in summary_of("verify")


def test_a_job_that_is_not_described_is_called_by_its_name():
    assert summary_of("anonymise") == "\nanonymise: done in 2 s\n  /out\n  things 3\n"


def test_the_lines_of_a_dataset_stand_once_below_the_table_of_outcomes(tmp_path):
    uri = dataset_of(tmp_path, video("a"), video("b", status="rejected", stage="probe", reason="no_video"))
    text = summary_of("preprocess", output_uri=uri, counts={"videos": 2}, lines=("a.csv is too short", "and b.csv"))
    table, _, below = text.partition("no_video")
    assert "ok" in table
    assert below.startswith(" \n  a.csv is too short\n  and b.csv\n")
    assert text.count("a.csv is") == text.count("videos 2") == 1
