"""The closing summary: each result with its URI and counts, a table of the evaluations, and the next step."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.cli.commands import JOBS, Job
from pipeline import storage
from pipeline.runtime.progress import JobResult

_JOBS: dict[str, Job] = {job.stage: job for job in JOBS}


def print_summary(results: Sequence[JobResult], dry_run: bool = False, console: Console | None = None) -> None:
    """Print one block per job, one table for all evaluations, and the next step."""
    out = console or Console()
    for result in results:
        _print_result(result, dry_run, out)
    evaluations = [result for result in results if result.kind == "evaluate"]
    if evaluations:
        out.print(_scores(evaluations))
    last_job = _JOBS.get(results[-1].kind)
    if last_job and last_job.next_step and not dry_run:
        first = evaluations[0] if evaluations else results[-1]
        _print_line(out, f"\nNext: {last_job.next_step.format(uri=first.output_uri)}")


def _print_result(result: JobResult, dry_run: bool, out: Console) -> None:
    state = "found complete, nothing computed" if result.skipped else f"done in {result.seconds:.0f} s"
    is_plan = dry_run and not result.skipped
    if is_plan:
        state = "a plan, nothing written"
    job = _JOBS.get(result.kind)  # a missing entry must not turn a job that is done into a failure
    out.print(f"\n[bold]{job.title if job else result.kind}[/bold]: {state}", highlight=False)
    _print_line(out, f"  {result.output_uri}")
    if result.kind == "preprocess" and not is_plan:
        _print_line(out, f"  {_counts(result)}")
        out.print(_outcomes(result.output_uri))
        for warning in result.warnings:
            _print_line(out, f"  {warning}")
        return
    for line in result.lines:
        _print_line(out, f"  {line}")
    if result.kind == "evaluate":
        _print_line(out, f"  metrics: {storage.join(result.output_uri, 'metrics.json')}")
    elif result.counts:
        _print_line(out, f"  {_counts(result)}")


def _print_line(out: Console, line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def _counts(result: JobResult) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in result.counts.items())


def _outcomes(dataset_uri: str) -> Table:
    """How many inputs ended how, and why: a row per outcome of videos.parquet."""
    import pyarrow.parquet

    content = io.BytesIO(storage.read_bytes(storage.join(dataset_uri, "videos.parquet")))
    rows = pyarrow.parquet.read_table(content, columns=["status", "stage", "reason"]).to_pylist()
    table = Table("inputs", "status", "stage", "reason", box=None, pad_edge=True)
    for (status, stage, reason), number in sorted(Counter(tuple(row.values()) for row in rows).items()):
        table.add_row(f"  {number}", status, stage or "-", reason or "-")
    return table


def _scores(evaluations: Sequence[JobResult]) -> Table:
    """CCC over all frames, a row per evaluation; the mean per video in the last column."""
    table = Table("CCC", "valence", "arousal", "mean", "mean per video", box=None, pad_edge=True)
    for result in evaluations:
        metrics = json.loads(storage.read_text(storage.join(result.output_uri, "metrics.json")))
        pooled = metrics["ccc"]["pooled"]
        values = (pooled["valence"], pooled["arousal"], pooled["mean"], metrics["ccc"]["per_video"]["mean"])
        table.add_row(_inputs(metrics), *("-" if value is None else f"{value:.3f}" for value in values))
    return table


def _inputs(metrics: dict[str, Any]) -> str:
    return {"audio": "sound masked", "video": "picture masked"}.get(
        metrics.get("masked_modality", ""), "sound and picture"
    )
