"""The closing summary: what it prints for a job of which the command line knows nothing."""

import io
from typing import get_args

from rich.console import Console

from flows.cli.commands import JOBS
from flows.cli.summary import print_summary
from pipeline.config.fields import Stage
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
