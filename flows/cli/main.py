"""The command line `iaca`: reads the request, starts the flow, and reports the outcome by summary and exit code."""

from __future__ import annotations

import os
import pkgutil
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import NoReturn

from flows.cli import preflight
from flows.cli.arguments import Request, parse, print_help
from flows.cli.commands import COMMANDS, Command, command_for
from flows.job_errors import JobError
from flows.local_job import REPEAT_S
from pipeline.config import Config, UsageError
from pipeline.config.run_files import run_file_names
from pipeline.config.suggestions import did_you_mean
from pipeline.config.uris import absolute
from pipeline.runtime.environment import PRIVACY, VERBOSE, is_verbose
from pipeline.runtime.error_messages import message_of
from pipeline.runtime.exit_codes import DONE, FAILED, INTERRUPTED, REJECTED, USAGE
from pipeline.runtime.progress import JobResult

HELP = ("-h", "--help")
OVERVIEW = f"""iaca: from raw talking-face videos to a trained and evaluated audio-visual emotion model

usage: iaca COMMAND [--config NAME|FILE.toml] [--section.field value ...] [-v]

commands:
{chr(10).join(f"  {command.name:<12}{command.summary}" for command in COMMANDS.values())}

`iaca COMMAND --help` lists the options; run files that come with it: {", ".join(run_file_names())}.
exit codes: {DONE} done, {FAILED} failed, {USAGE} usage,
  {REJECTED} done but inputs were rejected (with --strict), {INTERRUPTED} interrupted"""


def main() -> NoReturn:
    """Run the console script."""
    sys.excepthook = _print_unexpected
    interruption = _Interruption()
    for sign in (signal.SIGINT, signal.SIGTERM):  # a script's background job is started with SIGINT ignored
        signal.signal(sign, interruption)
    raise SystemExit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for and return the exit code."""
    try:
        return _dispatch(arguments)
    except UsageError as error:
        return _fail(str(error), USAGE)
    except JobError as error:
        return _fail(str(error), FAILED)
    except BrokenPipeError:  # the reader of our output has gone, as in `iaca config | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        command_line = shlex.join(["iaca", *arguments])
        print(f"\ninterrupted; what is finished is kept. To resume: {command_line}", file=sys.stderr)
        return INTERRUPTED


def _dispatch(arguments: Sequence[str]) -> int:
    match arguments:
        case [] | ["-h" | "--help" | "help"]:
            print(OVERVIEW)
        case ["-h" | "--help" | "help", name, *_]:
            print_help(_command(name))
        case ["--version", *_]:
            from flows.cli.version import version_of

            print(f"iaca {version_of('iaca')}")
        case [name, *options] if not set(HELP).isdisjoint(options):
            print_help(_command(name))
        case ["config", *options]:
            print(parse(COMMANDS["config"], options).config.to_json())
        case [name, *options]:
            command = _command(name)
            if not command.takes_settings:
                pkgutil.resolve_name(command.flow)(options)
                return DONE
            return _execute(command, parse(command, options))
    return DONE


def _command(name: str) -> Command:
    if name not in COMMANDS:
        if name.startswith("-") and name.strip("-") not in COMMANDS:
            raise UsageError(f"the command comes first: iaca COMMAND {name} ...; there are {', '.join(COMMANDS)}")
        close = did_you_mean(name.lower().strip("-"), COMMANDS)
        hint = f"did you mean {close}?" if close else f"there are {', '.join(COMMANDS)}"
        raise UsageError(f"unknown command {name!r}; {hint}")
    return COMMANDS[name]


def _execute(command: Command, request: Request) -> int:
    """Check the request, start the command's flow, and print the summary of its results."""
    config = absolute(request.config)
    preflight.check(command_for(command, config), config)
    _set_environment(request.verbose)
    results = _start(command, config)
    from flows.cli.summary import print_summary

    print_summary(results, config.preprocess.dry_run, request.options)
    num_rejected = sum(result.counts.get("rejected", 0) for result in results)
    return REJECTED if num_rejected and request.strict else DONE


def _start(command: Command, config: Config) -> list[JobResult]:
    """What is complete already, or what the command's flow makes; imported only now, to answer quickly otherwise."""
    from flows import stage_order, without_prefect

    match command.prefect:
        case "never":
            return stage_order.run_flow(command.name, config)
        case "to compute" if config.preprocess.dry_run:
            return without_prefect.make_plan(command.name, config)
        case "to compute":
            return without_prefect.find_finished(command.name, config) or _run_with_prefect(command, config)
        case "always":
            return _run_with_prefect(command, config)


def _run_with_prefect(command: Command, config: Config) -> list[JobResult]:
    """Call the command's flow; what it imports takes a second, in which the server starts."""
    from flows import stage_order
    from flows.cli.prefect_server import TemporaryServer

    server = TemporaryServer()
    import prefect.main  # noqa: F401  # while the server starts

    server.wait_until_ready()
    return stage_order.run_flow(command.name, config)


def _set_environment(verbose: bool) -> None:
    """Set the variables of Prefect and the jobs; must come before Prefect is imported."""
    os.environ.update(PRIVACY)
    if verbose:
        os.environ[VERBOSE] = "1"
    else:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _print_unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for an unexpected error, or its traceback when verbose; Python then exits with 1."""
    if is_verbose():
        sys.__excepthook__(kind, error, trace)
    print(f"error: {message_of(error)} (-v shows where)", file=sys.stderr)


class _Interruption:
    """A handler of signals that raises KeyboardInterrupt, once for a signal that is sent twice within REPEAT_S."""

    def __init__(self) -> None:
        self.last_s = float("-inf")

    def __call__(self, _sign: int, _frame: FrameType | None) -> None:
        """Take a signal."""
        before_s, self.last_s = self.last_s, time.monotonic()
        if self.last_s > before_s + REPEAT_S:
            raise KeyboardInterrupt
