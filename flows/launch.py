"""One job from its configuration to its result, wherever it runs."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flows import cluster_job, job_errors, local_job
from flows.cli import display
from flows.job_errors import JobError, JobLostError
from pipeline import storage
from pipeline.config import Config, UsageError, fingerprint
from pipeline.runtime.progress import JobResult, parse, result_from_json

TAIL_LINES = 15  # of a failed job's output, shown when it did not say what went wrong


def run_job(kind: str, config: Config, log: Callable[[str], None] | None = None, owner: str = "") -> JobResult:
    """Write the resolved configuration, run the job on it, and read its result.

    Args:
        kind: synthesize, shard, verify, train or evaluate.
        config: what the job does; addresses are made absolute first.
        log: also receives the progress lines (Prefect's run logger).
        owner: the flow run that asks for the job.

    Raises:
        UsageError: the job cannot be done as asked.
        JobError: the job failed; JobLostError when it is worth another try.
        KeyboardInterrupt: somebody stopped the job.
    """
    config = absolute(config)
    if config.cluster.address:
        cluster_job.require_shared_paths(kind, config)
    folder = job_folder(kind, config)
    config_uri = storage.join(folder, "config.json")
    storage.publish_bytes(config.to_json().encode(), config_uri)
    with display.follow(log) as screen, _Output(screen) as output:
        if config.cluster.address:
            code = cluster_job.run(kind, config, config_uri, output.line, owner)
        else:
            storage.delete(storage.join(folder, "result.json"))
            code = local_job.run(local_job.job_command(kind, config_uri), output.line)
        storage.publish(output.close(), storage.join(folder, "job.log"))
    _check(kind, code, output, folder)
    return result_from_json(storage.read_bytes(storage.join(folder, "result.json")))


def job_folder(kind: str, config: Config) -> str:
    """Where a job's configuration, result and log lie: one folder per kind and configuration."""
    return storage.join(config.storage.root, "jobs", f"{kind}-{config.name}-{fingerprint(config)}")


def absolute(config: Config) -> Config:
    """The configuration with every address absolute, so that it means the same in another process or folder.

    Raises:
        UsageError: an address is of a kind that storage does not know.
    """
    fields: dict[str, tuple[str, ...]] = {
        "storage": ("root",),
        "source": ("videos", "labels", "crops", "manifest", "lists"),
        "faces": ("model_uri",),
        "preprocess": ("extend",),
        "weights": ("video", "audio"),
        "train": ("dataset",),
        "evaluate": ("run", "dataset"),
        "extract": ("run", "dataset"),
        "verify": ("dataset",),
        "ablate": ("dataset",),
    }
    changes = {section: _absolute(section, getattr(config, section), names) for section, names in fields.items()}
    return config.model_copy(update=changes)


def _absolute(section: str, values: Any, names: Iterable[str]) -> Any:
    changed = {}
    for name in names:
        changed[name] = _absolute_uri(f"{section}.{name}", getattr(values, name))
    return dataclasses.replace(values, **changed)


def _absolute_uri(field: str, uri: str) -> str:
    try:
        return uri and storage.normalise(uri)
    except ValueError as error:
        raise UsageError(f"{field}: {error}") from error


class _Output:
    """Sorts a job's output: progress to the screen, everything else to its log and, when verbose, to the screen."""

    def __init__(self, screen: display.Screen) -> None:
        self.screen = screen
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    def __enter__(self) -> _Output:
        descriptor, name = tempfile.mkstemp(prefix="iaca-job-", suffix=".log")
        self.path, self.log = Path(name), os.fdopen(descriptor, "w")
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()
        self.path.unlink()

    def line(self, line: str) -> None:
        if progress := parse(line):
            self.screen.progress(progress)
            return
        self.tail.append(line)
        self.log.write(line + "\n")
        self.screen.line(line)

    def close(self) -> Path:
        self.log.close()
        return self.path

    def message(self) -> str:
        """The job's own `error: ...` line, or else the end of its output."""
        own = [line.removeprefix("error: ") for line in self.tail if line.startswith("error: ")]
        return own[-1] if own else "\n  ".join(["its last words were", *self.tail]) if self.tail else "it said nothing"


def _check(kind: str, code: int, output: _Output, folder: str) -> None:
    if code == job_errors.DONE:
        return
    if code == job_errors.INTERRUPTED:
        raise KeyboardInterrupt
    if code == job_errors.USAGE:
        raise UsageError(output.message())
    log = f"the job's whole output is in {storage.join(folder, 'job.log')}"
    if code < 0:
        raise JobLostError(f"the {kind} job was ended by signal {-code}; {output.message()}\n{log}")
    raise JobError(f"{output.message()}\n{log}")
