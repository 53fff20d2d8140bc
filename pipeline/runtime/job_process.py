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
from typing import NoReturn

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.runtime import exit_codes, processes
from pipeline.runtime.environment import PRIVACY, is_verbose
from pipeline.runtime.error_messages import message_of
from pipeline.runtime.progress import JobResult, result_to_json

Run = Callable[[Config], JobResult]


def main(kind: str, run: Run) -> NoReturn:
    """Run one job on the configuration whose URI is the only argument, write `result.json` beside it, and exit.

    Exit codes are those of `exit_codes`. The last lines of a failure are its error message, which begins with
    "error: " and whose further lines are indented; the traceback is printed before it when IACA_VERBOSE is set.
    """
    if len(sys.argv) != 2:
        print(f"usage: python -m pipeline.jobs.{kind} URI_OF_CONFIG_JSON", file=sys.stderr)
        raise SystemExit(exit_codes.USAGE)
    os.environ.update(PRIVACY)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be Unicode
    interrupt_on_sigterm()
    die_with_parent()
    with _ray_stopped_afterwards(), _ErrorsReported():
        config_uri = sys.argv[1]
        config = Config.model_validate_json(storage.read_bytes(config_uri))
        result = _importable(run)(config)
        storage.publish_bytes(result_to_json(result), config_uri.rsplit("/", 1)[0] + "/result.json")
    raise SystemExit(exit_codes.DONE)


def die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the one that started it dies.

    Under the Ray Jobs API the supervisor stops the job itself, so nothing is set there.
    """
    if not on_cluster():
        processes.die_with_parent(signal.SIGTERM)


def on_cluster() -> bool:
    """Whether the Ray Jobs API started this job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def interrupt_on_sigterm() -> None:
    """Have SIGTERM raise KeyboardInterrupt, as SIGINT does."""
    signal.signal(signal.SIGTERM, _interrupt)


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


def _importable(run: Run) -> Run:
    """The same function from its module's importable name.

    Under `python -m` the module is `__main__`, whose classes Ray would pickle by value.
    """
    spec = sys.modules["__main__"].__spec__
    if run.__module__ != "__main__" or spec is None:
        return run
    return getattr(importlib.import_module(spec.name), run.__name__)


def _interrupt(_sign: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
