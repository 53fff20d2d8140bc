"""The command line `iaca`: reads the request, starts the flow, tells the outcome in words and an exit code."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import NoReturn

from flows.arguments import Command, Request, parse, print_help
from flows.exits import DONE, FAILED, INTERRUPTED, REJECTED, USAGE, JobError
from pipeline.config import Config, UsageError
from pipeline.progress import JobResult

MEDIA = ("source", "storage", "media", "faces", "sound", "segments", "splits", "shards", "cluster")
LEARNING = ("storage", "sequence", "model", "train", "cluster")
MEASURING = ("storage", "evaluate", "cluster")
EVERYTHING = tuple(Config.model_fields)

KINDS = {"preprocess": "shard", "experiment": "shard"}  # of the first job, where it has another name

COMMANDS = {
    command.name: command
    for command in (
        Command(
            "demo",
            "Draw synthetic talkers and run the whole path on them.",
            EVERYTHING,
            run_file="infra/runs/demo.toml",
        ),
        Command("synthesize", "Draw labelled synthetic talkers.", ("storage", "synthesis")),
        Command("preprocess", "Turn raw videos into a dataset of shards.", MEDIA, required=("source.videos",)),
        Command("train", "Train on a dataset.", LEARNING, {"dataset": "train.dataset"}, ("train.dataset",)),
        Command(
            "evaluate",
            "Measure a trained run on a dataset (by default the run's own).",
            MEASURING,
            {"run": "evaluate.run", "dataset": "evaluate.dataset"},
            ("evaluate.run",),
        ),
        Command("experiment", "Preprocess, train and evaluate.", EVERYTHING, required=("source.videos",)),
        Command(
            "verify",
            "Hash a dataset's shards again and compare.",
            ("storage", "cluster"),
            {"dataset": "evaluate.dataset"},
            ("evaluate.dataset",),
            positional="dataset",
        ),
        Command("config", "Print the resolved configuration as JSON.", EVERYTHING),
    )
}

OVERVIEW = f"""iaca: from raw talking-face videos to a trained and evaluated audio-visual emotion model

usage: iaca COMMAND [--config FILE.toml] [--section.field value ...] [--strict] [-v]

commands:
{chr(10).join(f"  {command.name:<12}{command.summary}" for command in COMMANDS.values())}

`iaca COMMAND --help` lists the options; ready run files are in infra/runs/.
exit codes: {DONE} done, {FAILED} failed, {USAGE} usage,
  {REJECTED} done but inputs were rejected (with --strict), {INTERRUPTED} interrupted"""


def main() -> NoReturn:
    """The console script."""
    sys.excepthook = _brief
    signal.signal(signal.SIGTERM, _interrupt)
    raise SystemExit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Do what the words say and return the exit code."""
    try:
        return _dispatch(words)
    except UsageError as error:
        return _fail(str(error), USAGE)
    except JobError as error:
        return _fail(str(error), FAILED)
    except BrokenPipeError:  # the reader of our output has left, as in `iaca config | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        print(f"\ninterrupted; what is finished is kept. To resume: {shlex.join(['iaca', *words])}", file=sys.stderr)
        return INTERRUPTED


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(OVERVIEW)
        return DONE
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"iaca {version('iaca')}")
        return DONE
    command = _command(words[0])
    request = parse(command, words[1:])
    if "help" in request.flags:
        print_help(command)
    return _obey(command, request)


def _command(word: str) -> Command:
    if word not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(COMMANDS)}"
        raise UsageError(f"unknown command {word!r}; {hint}")
    return COMMANDS[word]


def _obey(command: Command, request: Request) -> int:
    config = request.config()
    if command.name == "config":
        print(config.to_json())
        return DONE
    from flows.launch import absolute

    config = absolute(config)
    _require(command, config)
    _settle("verbose" in request.flags)
    results = _start(command.name, config)
    from flows.summary import summarise

    summarise(results, config.dry_run)
    rejected = sum(result.counts.get("rejected", 0) for result in results)
    return REJECTED if rejected and "strict" in request.flags else DONE


def _require(command: Command, config: Config) -> None:
    short = {field: name for name, field in command.shortcuts.items()}
    for field in command.required:
        section, name = field.split(".")
        if not getattr(getattr(config, section), name):
            raise UsageError(f"iaca {command.name} needs --{short.get(field, field)} URI")
    if command.name in ("demo", "experiment") and config.train.dataset:
        raise UsageError(
            f"iaca {command.name} trains on the dataset it makes, but train.dataset is {config.train.dataset}; "
            "leave it out, or use iaca train"
        )
    if config.cluster.address:
        from flows.ray_job import refuse_local_paths

        refuse_local_paths(KINDS.get(command.name, command.name), config)


def _settle(verbose: bool) -> None:
    """Environment of Prefect and the jobs; must come before Prefect is imported."""
    from flows.child import PRIVACY

    os.environ.update({name: value for name, value in PRIVACY.items() if not name.startswith("RAY_AUTH")})
    if verbose:
        os.environ["IACA_VERBOSE"] = "1"
    else:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


def _start(name: str, config: Config) -> list[JobResult]:
    if name in ("synthesize", "verify"):
        from flows.launch import run_job

        return [run_job(name, config)]
    if name == "preprocess":
        from flows.dataset import preprocess

        return [preprocess(config)]
    from flows import experiment

    if name == "train":
        return [experiment.train(config)]
    if name == "evaluate":
        return [experiment.evaluate(config)]
    return experiment.demo(config) if name == "demo" else experiment.experiment(config)


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _brief(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What is printed of an error that nobody expected; Python then exits with 1."""
    if os.environ.get("IACA_VERBOSE"):
        sys.__excepthook__(kind, error, trace)
    print(f"error: {kind.__name__}: {error} (-v shows where)", file=sys.stderr)


def _interrupt(_sign: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
