"""What a command can answer without Prefect, which takes seconds to start: what is complete already, and a plan."""

from __future__ import annotations

from flows.cli.commands import COMMANDS
from flows.launch import check_job, run_job
from flows.stage_order import ORDERS
from pipeline.config import Config
from pipeline.runtime.progress import JobResult


class UnfinishedError(Exception):
    """Something must be computed."""


def make_plan(name: str, config: Config) -> list[JobResult]:
    """The results of a command with `--dry-run`: a plan is short, and nobody asks for its history."""
    if name in ORDERS:
        return ORDERS[name](config, make_plan)
    [stage] = COMMANDS[name].stages
    return [run_job(stage, config)]


def find_finished(name: str, config: Config) -> list[JobResult]:
    """The results of a command whose outputs are complete, found without Ray, too; empty where one is not.

    A job on a cluster is not checked, because only the cluster need see its files; nor is a plan, which is always made
    anew.

    Raises:
        UsageError: a job cannot be done as asked.
        JobError: a check failed.
        KeyboardInterrupt: a check was interrupted.
    """
    if config.cluster.address or config.preprocess.dry_run:
        return []
    try:
        return _check(name, config)
    except UnfinishedError:
        return []


def _check(name: str, config: Config) -> list[JobResult]:
    """A `Run` that computes nothing and raises UnfinishedError instead."""
    if name in ORDERS:
        return ORDERS[name](config, _check)
    [stage] = COMMANDS[name].stages
    result = check_job(stage, config)
    if result is None:
        raise UnfinishedError
    return [result]
