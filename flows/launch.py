"""One job from its configuration to its result, wherever it runs."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from flows import cluster_job, local_job
from flows.cli import display
from flows.job_errors import JobError, JobLostError
from pipeline import storage
from pipeline.config import Config, UsageError, fingerprint
from pipeline.config.fields import Stage
from pipeline.config.uris import absolute
from pipeline.runtime import exit_codes
from pipeline.runtime.progress import JobResult, parse, parse_notice, result_from_json, warning_text

TAIL_LINES = 15  # of a failed job's output, shown when it printed no error of its own
ERROR = "error: "  # begins the message of a job's failure, whose further lines are indented
MAX_ERROR_LINES = 40  # shown of such a message


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
    with _job_files(kind, config) as files, display.follow(log) as screen, _JobOutput(screen) as output:
        if config.cluster.address:
            code = cluster_job.run(kind, config, files.config, output.add, owner)
        else:
            storage.delete(files.result)
            code = local_job.run(local_job.job_command(kind, files.config), output.add)
        storage.publish(output.close_log(), files.log)
        return _result(kind, code, output, files)


def check_job(kind: Stage, config: Config) -> JobResult | None:
    """Run the check of a local job: its result where the output is complete, None where it must be computed.

    Raises:
        UsageError: the job cannot be done as asked.
        JobError: the check failed.
        KeyboardInterrupt: the check was interrupted.
    """
    config = absolute(config)
    with _temporary_files(config) as files, display.follow() as screen, _JobOutput(screen) as output:
        code = local_job.run(local_job.job_command(kind, files.config, check=True), output.add)
        if code == exit_codes.UNFINISHED or code < 0:  # what was killed tells nothing: the job itself is tried
            return None
        return _result(kind, code, output, files)


@dataclass(frozen=True, slots=True)
class _JobFiles:
    """The URIs of a job's files, in one folder."""

    config: str
    result: str
    log: str
    are_kept: bool


def _job_files(kind: str, config: Config) -> AbstractContextManager[_JobFiles]:
    """The files of a job, of which its configuration is written; those of a local plan are temporary."""
    if config.preprocess.dry_run and not config.cluster.address:
        return _temporary_files(config)
    return nullcontext(_written_files(job_folder(kind, config), config, are_kept=True))


@contextmanager
def _temporary_files(config: Config) -> Iterator[_JobFiles]:
    """Files that are gone afterwards: those of the same job are its own, which may be running, and its log is kept."""
    with tempfile.TemporaryDirectory(prefix="iaca-") as folder:
        yield _written_files(folder, config, are_kept=False)


def _written_files(folder: str, config: Config, *, are_kept: bool) -> _JobFiles:
    """The files of a job in this folder, where its configuration is written."""
    config_uri, result, log = (storage.join(folder, name) for name in ("config.json", "result.json", "job.log"))
    storage.publish_bytes(config.to_json().encode(), config_uri)
    return _JobFiles(config_uri, result, log, are_kept)


def _result(kind: str, code: int, output: _JobOutput, files: _JobFiles) -> JobResult:
    """The result of a job that ended with this exit code; raises the error of one that failed."""
    if code != exit_codes.DONE:
        raise _error_of(kind, code, output.error_message(), files)
    return result_from_json(storage.read_bytes(files.result))


def job_folder(kind: str, config: Config) -> str:
    """Where a job's configuration, result and log lie: one folder per kind and configuration."""
    return storage.join(config.storage.root, "jobs", f"{kind}-{config.name}-{fingerprint(config)}")


class _JobOutput:
    """Sorts a job's output: progress and notices to the screen, all but progress to its log, the rest if verbose."""

    def __init__(self, screen: display.Screen) -> None:
        self.screen = screen
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.error: list[str] = []  # the lines of the newest error message
        self.num_lines_since_error = 0  # of other output

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
            self.log.write(warning_text(notice) + "\n")
            self.screen.show_notice(warning_text(notice))
            return
        self._take_error(line)
        self.tail.append(line)
        self.log.write(line + "\n")
        self.screen.show_line(line)

    def close_log(self) -> Path:
        """Finish the log and return its path."""
        self.log.close()
        return self.path

    def _take_error(self, line: str) -> None:
        """Keep the line if it begins an error message, or continues one."""
        if line.startswith(ERROR):
            self.error, self.num_lines_since_error = [line.removeprefix(ERROR)], 0
        elif line.startswith("  ") and not self.num_lines_since_error:
            self.error.append(line)
        else:
            self.num_lines_since_error += 1

    def error_message(self) -> str:
        """The job's own error message, or else the last lines of its output."""
        if self.error and self.num_lines_since_error < TAIL_LINES:
            num_left_out = len(self.error) - MAX_ERROR_LINES
            more = [f"  and {num_left_out} more"] if num_left_out > 0 else []
            return "\n".join([*self.error[:MAX_ERROR_LINES], *more])
        return "\n  ".join(["last lines of its output", *self.tail]) if self.tail else "it printed nothing"


def _error_of(kind: str, code: int, message: str, files: _JobFiles) -> BaseException:
    """The exception for a job that ended with this exit code, -N for a signal."""
    if code == exit_codes.INTERRUPTED:
        return KeyboardInterrupt()
    if code == exit_codes.USAGE:
        return UsageError(message)
    log = f"the job's whole output is in {files.log}" if files.are_kept else "-v shows the job's whole output"
    if code < 0:
        return JobLostError(f"the {kind} job was ended by signal {-code}; {message}\n{log}")
    return JobError(f"{message}\n{log}")
