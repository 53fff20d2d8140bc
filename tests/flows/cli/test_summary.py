"""The closing summary: what it prints for a job of which the command line knows nothing."""

import io
from dataclasses import replace
from typing import get_args

import pytest
from rich.console import Console

from flows.cli.commands import JOBS
from flows.cli.summary import print_summary
from pipeline.config.fields import Stage
from pipeline.dataset.format import tables
from pipeline.records import VideoRow
from pipeline.runtime.progress import JobResult


def summary_of(kind: str) -> str:
    text = io.StringIO()
    print_summary([JobResult(kind, "/out", False, 2.0, {"things": 3})], console=Console(file=text))
    return text.getvalue()


def test_every_stage_with_a_job_of_its_own_is_described():
    assert {job.stage for job in JOBS} == {*get_args(Stage)} - {"repair"}


def test_a_job_has_its_title_and_its_next_step():
    assert "Features: done in 2 s\n  /out\n  things 3\n\nNext: iaca train --dataset /out\n" in summary_of("extract")
    assert "Next:" not in summary_of("verify")


def test_a_job_that_is_not_described_is_called_by_its_name():
    assert summary_of("anonymise") == "\nanonymise: done in 2 s\n  /out\n  things 3\n"


@pytest.mark.parametrize("skipped", [True, False])
def test_warnings_are_printed_for_every_dataset(tmp_path, skipped):
    row = VideoRow("a", "", "a.mp4", "a", "train", "ok", "", "", "")
    (tmp_path / "videos.parquet").write_bytes(tables.to_parquet([row], VideoRow))
    result = JobResult("preprocess", str(tmp_path), skipped, 2.0, {"videos": 1}, warnings=("4 label files [x]: a",))
    text = io.StringIO()
    print_summary([result], console=Console(file=text))
    assert "\n  4 label files [x]: a\n" in text.getvalue()
    print_summary([replace(result, lines=result.warnings)], dry_run=True, console=Console(file=text))
    assert text.getvalue().count("4 label files") == 2
