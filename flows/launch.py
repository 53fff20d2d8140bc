"""One job from its configuration to its result, wherever it runs."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

from flows import cluster_job, local_job
from flows.cli import display
from flows.job_errors import JobError, JobLostError
from pipeline import storage
from pipeline.config import Config, UsageError, fingerprint
from pipeline.config.fields import Stage
from pipeline.config.uris import absolute
from pipeline.runtime import exit_codes
from pipeline.runtime.progress import JobResult, parse, parse_notice, result_from_json

TAIL_LINES = 15  # of a failed job's output, shown when it printed no error of its own


def run_job(kind: Stage, config: Config, log: Callable[[str], None] | None = None, owner: str = "") -> JobResult:
    """Write the resolved configuration, run the job on it, and read its result.

    Args:
        kind: the job, a module of pipeline.jobs.
        config: what the job does; its URIs are made absolute first.
        log: also receives the progress lines (Prefect's run logger).
        owner: id of the flow run that submits the job.

    Raises:
        UsageError: the job cannot be done as asked.
        JobError: the job failed; JobLostError when it is worth another try.
        KeyboardInterrupt: the job was interrupted.
    """
    config = absolute(config)
    if config.cluster.address:
        cluster_job.require_shared_uris(config, [kind])
    folder = job_folder(kind, config)
    config_uri = storage.join(folder, "config.json")
    storage.publish_bytes(config.to_json().encode(), config_uri)
    with display.follow(log) as screen, _JobOutput(screen) as output:
        if config.cluster.address:
            code = cluster_job.run(kind, config, config_uri, output.add, owner)
        else:
            storage.delete(storage.join(folder, "result.json"))
            code = local_job.run(local_job.job_command(kind, config_uri), output.add)
        storage.publish(output.close_log(), storage.join(folder, "job.log"))
    if code != exit_codes.DONE:
        raise _error_of(kind, code, output.error_message(), storage.join(folder, "job.log"))
    return result_from_json(storage.read_bytes(storage.join(folder, "result.json")))


def job_folder(kind: str, config: Config) -> str:
    """Where a job's configuration, result and log lie: one folder per kind and configuration."""
    return storage.join(config.storage.root, "jobs", f"{kind}-{config.name}-{fingerprint(config)}")


class _JobOutput:
    """Sorts a job's output: progress and notices to the screen, all but progress to its log, the rest if verbose."""

    def __init__(self, screen: display.Screen) -> None:
        self.screen = screen
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    def __enter__(self) -> _JobOutput:
        descriptor, name = tempfile.mkstemp(prefix="iaca-job-", suffix=".log")
        self.path, self.log = Path(name), os.fdopen(descriptor, "w")
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()
        self.path.unlink()

    def add(self, line: str) -> None:
        """Take the next line."""
        if progress := parse(line):
            self.screen.show_progress(progress)
            return
        if notice := parse_notice(line):
            self.log.write(notice + "\n")
            self.screen.show_notice(notice)
            return
        self.tail.append(line)
        self.log.write(line + "\n")
        self.screen.show_line(line)

    def close_log(self) -> Path:
        """Finish the log and return its path."""
        self.log.close()
        return self.path

    def error_message(self) -> str:
        """The job's own `error: ...` line, or else the last lines of its output."""
        errors = [line.removeprefix("error: ") for line in self.tail if line.startswith("error: ")]
        if errors:
            return errors[-1]
        return "\n  ".join(["last lines of its output", *self.tail]) if self.tail else "it printed nothing"


def _error_of(kind: str, code: int, message: str, log_uri: str) -> BaseException:
    """The exception for a job that ended with this exit code, -N for a signal."""
    if code == exit_codes.INTERRUPTED:
        return KeyboardInterrupt()
    if code == exit_codes.USAGE:
        return UsageError(message)
    log = f"the job's whole output is in {log_uri}"
    if code < 0:
        return JobLostError(f"the {kind} job was ended by signal {-code}; {message}\n{log}")
    return JobError(f"{message}\n{log}")
