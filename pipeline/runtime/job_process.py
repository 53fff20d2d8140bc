"""The boundary of every job's process: configuration in, result file and exit code out."""

from __future__ import annotations

import ctypes
import importlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import NoReturn

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.runtime import processes
from pipeline.runtime.progress import JobResult, result_to_json

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
PRIVACY = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "RAY_USAGE_STATS_ENABLED": "0"}
PR_SET_PDEATHSIG = 1  # linux/prctl.h
UNSEEN = {"RAY_enable_metrics_collection": "0", "RAY_event_stats": "0"}  # of a private Ray, which has no dashboard
SCALERS = ("autoscaler/_private/monitor.py", "autoscaler/v2/monitor.py")  # there is nothing to scale
IDLE = (*SCALERS, "ray/_private/log_monitor.py")  # nor anybody to show logs to

Run = Callable[[Config], JobResult]


def main(kind: str, run: Run) -> NoReturn:
    """Run one job on the configuration whose URI is the only argument, write `result.json` beside it, and exit.

    Exit codes: 0 done, 1 failed, 2 the request cannot be done as asked, 130 interrupted. The last line of a
    failure says what went wrong; the traceback is printed when IACA_VERBOSE is set.
    """
    if len(sys.argv) != 2:
        print(f"usage: python -m pipeline.jobs.{kind} URI_OF_CONFIG_JSON", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)
    os.environ.update(PRIVACY)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be Unicode
    signal.signal(signal.SIGTERM, _interrupt)
    die_with_parent()
    with _NoOrphans(), _Boundary():
        config_uri = sys.argv[1]
        config = Config.model_validate_json(storage.read_bytes(config_uri))
        result = _importable(run)(config)
        storage.publish_bytes(result_to_json(result), config_uri.rsplit("/", 1)[0] + "/result.json")
    raise SystemExit(EXIT_DONE)


class _Boundary(AbstractContextManager["_Boundary"]):
    """Turns whatever leaves the job into one line and an exit code."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        if os.environ.get("IACA_VERBOSE"):
            traceback.print_exception(kind, error, trace, file=sys.stdout)
        code, line = _verdict(error)
        print(line, flush=True)
        raise SystemExit(code)


class _NoOrphans:
    """Stops the private Ray of a job with all its processes: its agents and workers would outlive it by seconds."""

    def __enter__(self) -> None:
        if not on_cluster():
            processes.adopt()

    def __exit__(self, *_: object) -> None:
        if "ray" not in sys.modules:
            return
        for sign in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C must not leave half of them
            signal.signal(sign, signal.SIG_IGN)
        sys.modules["ray"].shutdown()
        if not on_cluster():
            processes.end_all()


def _verdict(error: BaseException) -> tuple[int, str]:
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "interrupted"
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED, f"error: {message_of(error)}"


def _importable(run: Run) -> Run:
    # Run with -m, the module is `__main__`, and Ray would pickle its classes by value: use the importable twin.
    spec = sys.modules["__main__"].__spec__
    if run.__module__ != "__main__" or spec is None:
        return run
    return getattr(importlib.import_module(spec.name), run.__name__)


def die_with_parent(sign: int = signal.SIGTERM) -> None:
    """Have the kernel send `sign` to this process when the one that started it dies (Linux only).

    Under the Ray Jobs API the supervisor stops the job itself, so nothing is set there.
    """
    if sys.platform == "linux" and not on_cluster():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sign)


def on_cluster() -> bool:
    """True in a job that the Ray Jobs API started."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def start_ray(num_cpus: int | None = None) -> None:
    """Attach to the cluster that started this job, or start a private local Ray that dies with it."""
    import ray

    verbose = bool(os.environ.get("IACA_VERBOSE"))
    if on_cluster():
        ray.init(log_to_driver=verbose)
    else:
        for name, value in {"RAY_AUTH_MODE": "disabled", **UNSEEN}.items():
            os.environ.setdefault(name, value)
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            log_to_driver=verbose,
            logging_level=logging.WARNING,
        )
        if not verbose:
            processes.kill(*IDLE)  # they take time of the workers', and a second when Ray is shut down
    signal.signal(signal.SIGTERM, _interrupt)  # Ray has put its own handler there


def _interrupt(_sign: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def message_of(error: BaseException) -> str:
    """What a person should read of an error: its own words, or its kind when it has none.

    Ray wraps a worker's exception; its cause speaks better than its traceback.
    """
    cause = getattr(error, "cause", None)
    inner = cause if isinstance(cause, BaseException) else error
    text = str(inner).strip()
    own = isinstance(inner, (ValueError, OSError, RuntimeError)) and text
    return text if own else f"{type(inner).__name__}: {text}" if text else type(inner).__name__
