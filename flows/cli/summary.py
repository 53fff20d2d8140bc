"""The closing summary: each result with its URI and counts, a table of the evaluations, and the next step."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import shorten
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.cli.commands import COMMANDS, JOBS, Job
from pipeline import storage
from pipeline.records import stream_key
from pipeline.records.quantities import count_text, size_text
from pipeline.runtime.progress import JobResult, warning_text

_JOBS: dict[str, Job] = {job.stage: job for job in JOBS}
_NOUNS = {
    "videos": "video",
    "shards": "shard",
    "samples": "sample",
    "epochs": "epoch",
    "steps": "step",
    "attempts": "attempt",
    "variants": "variant",
    "trials": "trial",
}
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_SIZES = {"mb": "", "mb_per_worker": " in each worker"}
_UNNAMED = ("ok", "val_ccc_mean")  # counts that the table of outcomes or a line of the result gives
_OUTCOME_COLUMNS = ["status", "stage", "reason", "split", "labelled_frames", "video_id", "person", "detail"]
MAX_REJECTED = 5  # that are named; all are on the quality page
MAX_DETAIL_CHARS = 120
_SPLITS = ("train", "val", "test")


def print_summary(
    results: Sequence[JobResult],
    dry_run: bool = False,
    options: Mapping[str, str] = _NO_OPTIONS,
    console: Console | None = None,
) -> None:
    """Print one block per job, one table for all evaluations, and the next step.

    Args:
        results: of the command's jobs, in their order.
        dry_run: whether a dataset that was not found complete is a plan.
        options: values of the command line by their settings' names; those that the next step uses too are put into it.
        console: where to print; none: standard output.
    """
    out = console or Console()
    videos: list[dict[str, Any]] = []
    for result in results:
        has_videos = result.kind == "preprocess" and not _is_plan(result, dry_run)
        videos = _videos(result.output_uri) if has_videos else []
        _print_result(result, videos, dry_run, out)
    evaluations = [result for result in results if result.kind == "evaluate"]
    if evaluations:
        out.print(_scores(evaluations))
    if not _is_plan(results[-1], dry_run):
        step = _next_step(evaluations[0] if evaluations else results[-1], videos, options)
        if step:
            _print_line(out, f"\nNext: {step}")


def _is_plan(result: JobResult, dry_run: bool) -> bool:
    return dry_run and result.kind == "preprocess" and not result.skipped


def _print_result(result: JobResult, videos: Sequence[dict[str, Any]], dry_run: bool, out: Console) -> None:
    state = "found complete, nothing computed" if result.skipped else f"done in {result.seconds:.0f} s"
    is_plan = _is_plan(result, dry_run)
    if is_plan:
        state = "a plan, nothing written"
    job = _JOBS.get(result.kind)  # a missing entry must not turn a job that is done into a failure
    out.print(f"\n[bold]{job.title if job else result.kind}[/bold]: {state}", highlight=False)
    _print_line(out, f"  {result.output_uri}")
    if result.counts and result.kind != "evaluate" and not is_plan:  # a plan's lines have its counts
        _print_line(out, f"  {_counts(result)}")
    if result.kind == "preprocess" and not is_plan:
        out.print(_outcomes(videos))
        for line in _rejected(videos):
            _print_line(out, f"  {line}")
    files = () if is_plan else _files_to_open(result)
    for line in [*result.lines, *map(warning_text, result.warnings), *files]:
        _print_line(out, f"  {line}")


def _print_line(out: Console, line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def _counts(result: JobResult) -> str:
    return ", ".join(_count(name, value) for name, value in result.counts.items() if name not in _UNNAMED)


def _count(name: str, value: float) -> str:
    if name in _NOUNS:
        return count_text(int(value), _NOUNS[name])
    if name in _SIZES:
        return size_text(value * 1e6) + _SIZES[name]
    return f"{value:g} {name}"


def _files_to_open(result: JobResult) -> list[str]:
    """What a result has besides its URI for people to open, a line each."""
    uri = result.output_uri
    match result.kind:
        case "preprocess":
            lines = [f"how good it is: {storage.join(uri, 'quality.html')}"]
            if result.counts.get("rejected") or result.counts.get("partial"):
                lines.append(f"which videos lost what, and why: that page and {storage.join(uri, 'videos.parquet')}")
            return lines
        case "train":
            return [f"training curve: tensorboard --logdir {shlex.quote(storage.join(uri, 'tensorboard'))}"]
        case "evaluate":
            return [f"metrics: {storage.join(uri, 'metrics.json')}"]
    return []


def _videos(dataset_uri: str) -> list[dict[str, Any]]:
    """The rows of videos.parquet, with the columns that a summary needs."""
    import pyarrow.parquet

    content = pyarrow.BufferReader(storage.read_bytes(storage.join(dataset_uri, "videos.parquet")))
    file = pyarrow.parquet.ParquetFile(content)  # without threads, for the reason given in dataset/format/tables.py
    return file.read(columns=_OUTCOME_COLUMNS, use_threads=False).to_pylist()


def _outcomes(videos: Sequence[dict[str, Any]]) -> Table:
    """How many videos ended how, and why: a row per outcome."""
    outcomes = Counter((row["status"], row["stage"], row["reason"]) for row in videos)
    table = Table("videos", "status", "stage", "reason", box=None, pad_edge=True)
    for (status, stage, reason), number in sorted(outcomes.items()):
        table.add_row(f"  {number}", status, stage or "-", reason or "-")
    return table


def _rejected(videos: Sequence[dict[str, Any]]) -> list[str]:
    """The first rejected videos, a line each: their names, and what is wrong with them."""
    rejected = [row for row in videos if row["status"] == "rejected"]
    lines = []
    for row in rejected[:MAX_REJECTED]:
        detail = shorten(row["detail"], MAX_DETAIL_CHARS, placeholder=" ...")
        lines.append(f"rejected: {stream_key(row['video_id'], row['person'])}: {detail}")
    return [*lines, f"rejected: {len(rejected) - MAX_REJECTED} more"] if len(rejected) > MAX_REJECTED else lines


def _next_step(result: JobResult, videos: Sequence[dict[str, Any]], options: Mapping[str, str]) -> str:
    """What to do with a result; empty where nothing follows."""
    job = _JOBS.get(result.kind)
    template = job.next_step if job else ""
    repeated = _options_of_step(template, options) if "{options}" in template else ""
    step = template.format(uri=shlex.quote(result.output_uri), options=repeated)
    return _step_to_training(videos, step) if result.kind == "preprocess" else step


def _options_of_step(template: str, options: Mapping[str, str]) -> str:
    """The run file and the settings given that the proposed command uses too, without which it would do otherwise."""
    command = COMMANDS[template.split()[1]]
    used = {"config", "name", *command.sections}
    names = [name for name in options if name.partition(".")[0] in used and name not in command.shortcuts.values()]
    return "".join(f" --{name} {shlex.quote(options[name])}" for name in names)


def _step_to_training(videos: Sequence[dict[str, Any]], train_command: str) -> str:
    """What to do with a dataset: train on it, or first give it the labels or splits without which that is refused."""
    usable = [row for row in videos if row["status"] == "ok"]
    labelled = Counter(row["split"] for row in usable if row["labelled_frames"])
    if not usable:
        return "no video could be used; see in quality.html why"
    if not labelled:
        return (
            "add labels, without which there is nothing to train on: run the same command with --source.labels FOLDER, "
            "which holds <relative path>.csv for each video, with the header frame,valence,arousal"
        )
    lacking = [split for split in _SPLITS if not labelled[split]]  # of each the dataset has a warning
    if not lacking:
        return train_command
    if lacking == ["test"]:
        return f"{train_command}\n  then evaluate with --evaluate.split val, as no labelled video is in the test split"
    splits = f"{' and '.join(lacking)} {'split' if len(lacking) == 1 else 'splits'}"
    return f"give the {splits} labelled videos as the warning above says, and run the same command"


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
    both = "sound and picture, corrupted" if metrics.get("corrupt_modality") else "sound and picture"
    return {"audio": "sound masked", "video": "picture masked"}.get(metrics.get("masked_modality", ""), both)
