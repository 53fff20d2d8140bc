"""The entry point of every job's process: configuration in, result file and exit code out."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn, TypeVar

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.runtime import exit_codes, processes
from pipeline.runtime.environment import PRIVACY, is_verbose
from pipeline.runtime.error_messages import message_of
from pipeline.runtime.progress import JobResult, result_to_json

Run = Callable[[Config], JobResult]
Prepare = Callable[[Config], object]  # the JobResult where the output is complete, otherwise what is to be done
_Result = TypeVar("_Result")


def main(kind: str, run: Run, prepare: Prepare | None = None) -> NoReturn:
    """Run one job on the configuration whose URI is the argument, write `result.json` beside it, and exit.

    With `--check` nothing is computed: the exit code is DONE where the output is complete, and UNFINISHED otherwise.

    Exit codes are those of `exit_codes`. The last lines of a failure are its error message, which begins with
    "error: " and whose further lines are indented; the traceback is printed before it when IACA_VERBOSE is set.

    Args:
        kind: the job's name.
        run: does the job.
        prepare: what `run` begins with: refuses what cannot work and finds what is complete, and starts no Ray. A job
            without it is never found complete by a check.
    """
    config_uri, is_check = _read_arguments(kind)
    os.environ.update(PRIVACY)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be Unicode
    interrupt_on_signals()
    die_with_parent()
    with _ray_stopped_afterwards(), _ErrorsReported():
        config = Config.model_validate_json(storage.read_bytes(config_uri))
        result = _checked(prepare, config) if is_check else _importable(run)(config)
        if not isinstance(result, JobResult):
            raise SystemExit(exit_codes.UNFINISHED)
        storage.publish_bytes(result_to_json(result), config_uri.rsplit("/", 1)[0] + "/result.json")
    raise SystemExit(exit_codes.DONE)


def _checked(prepare: Prepare | None, config: Config) -> object:
    return _importable(prepare)(config) if prepare else None


def _read_arguments(kind: str) -> tuple[str, bool]:
    """The URI of the configuration, and whether the job is only to be checked."""
    match sys.argv[1:]:
        case [option, config_uri] if option == exit_codes.CHECK:
            return config_uri, True
        case [config_uri]:
            return config_uri, False
    print(f"usage: python -m pipeline.jobs.{kind} [{exit_codes.CHECK}] URI_OF_CONFIG_JSON", file=sys.stderr)
    raise SystemExit(exit_codes.USAGE)


def die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the one that started it dies.

    Under the Ray Jobs API the supervisor stops the job itself, so nothing is set there.
    """
    if not on_cluster():
        processes.die_with_parent(signal.SIGTERM)


def on_cluster() -> bool:
    """Whether the Ray Jobs API started this job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def interrupt_on_signals() -> None:
    """Have SIGINT and SIGTERM raise KeyboardInterrupt, also where the caller has them ignored (nohup, `command &`)."""
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, _interrupt)


class _ErrorsReported:
    """A context in which any error is printed as a message and ends the process with its exit code."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        if is_verbose():
            traceback.print_exception(kind, error, trace, file=sys.stdout)
        code, message = _outcome(error)
        print(message, flush=True)
        raise SystemExit(code)


def _outcome(error: BaseException) -> tuple[int, str]:
    """Exit code and last lines for an error."""
    if isinstance(error, KeyboardInterrupt):
        return exit_codes.INTERRUPTED, "interrupted"
    code = exit_codes.USAGE if isinstance(error, UsageError) else exit_codes.FAILED
    lines = [line for line in message_of(error).splitlines() if line.strip()]
    return code, "\n".join([f"error: {lines[0]}", *(f"  {line.strip()}" for line in lines[1:])])


@contextmanager
def _ray_stopped_afterwards() -> Iterator[None]:
    """Stop the job's private Ray with all its processes afterwards; its agents would outlive the job by seconds."""
    if not on_cluster():
        processes.adopt_orphans()
    try:
        yield
    finally:
        if "ray" in sys.modules:
            for sign in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C must not leave half of them
                signal.signal(sign, signal.SIG_IGN)
            sys.modules["ray"].shutdown()
            if not on_cluster():
                processes.end_descendants()


def _importable(run: Callable[[Config], _Result]) -> Callable[[Config], _Result]:
    """The same function from its module's importable name.

    Under `python -m` the module is `__main__`, whose classes Ray would pickle by value.
    """
    spec = sys.modules["__main__"].__spec__
    if run.__module__ != "__main__" or spec is None:
        return run
    return getattr(importlib.import_module(spec.name), run.__name__)


def _interrupt(_sign: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
