"""How flows and tasks run under Prefect: their options and hooks, a job within a task, and the artifact of a result."""

from __future__ import annotations

from typing import Any

from prefect import Flow, Task, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.runtime import flow_run

from flows import cluster_job
from flows.job_errors import JobLostError
from flows.launch import run_job
from pipeline.config import Config
from pipeline.config.fields import Stage
from pipeline.runtime.progress import JobResult, warning_text


def is_worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether the job was ended from outside; a usage error or a failure of the job itself would come again."""
    return isinstance(state.result(raise_on_failure=False), JobLostError)


def stop_jobs(_flow: Flow[..., Any], run: FlowRun, _state: State[Any]) -> None:
    """Stop what a cancelled flow run has started on a cluster; local children die with their parent."""
    config = Config.model_validate(run.parameters["config"])
    if config.cluster.address:
        cluster_job.stop_all(config.cluster.address, str(run.id))


# Fingerprints of outputs decide what is computed again, never Prefect's cache.
TASK_OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": 5,
    "retry_condition_fn": is_worth_retrying,
    "cache_policy": NO_CACHE,
    "persist_result": True,
    "result_serializer": "json",
}
FLOW_OPTIONS: dict[str, Any] = {"persist_result": True, "result_serializer": "json", "on_cancellation": [stop_jobs]}


def run_in_task(kind: Stage, config: Config) -> JobResult:
    """Run a job within a task: Prefect logs its progress, and a cluster's job carries the flow run's id."""
    return run_job(kind, config, get_run_logger().info, owner=flow_run.root_flow_run_id or "")


def publish_artifact(result: JobResult) -> None:
    """Publish a Prefect artifact: a table of counts and a link to the output."""
    state = "found complete" if result.skipped else f"computed in {result.seconds:.0f} s"
    table = ["| count | value |", "|---|---|", *(f"| {name} | {value:g} |" for name, value in result.counts.items())]
    parts = [
        f"Output: [{result.output_uri}]({result.output_uri}) ({state})",
        "\n".join(table),
        *result.lines,
        *map(warning_text, result.warnings),
    ]
    create_markdown_artifact(key=result.kind, description=f"{result.kind}: {state}", markdown="\n\n".join(parts))
