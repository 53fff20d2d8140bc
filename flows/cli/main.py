"""The command line `iaca`: reads the request, starts the flow, tells the outcome in words and an exit code."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType, TracebackType
from typing import NoReturn

from flows.cli import prefect_server
from flows.cli.arguments import Command, Request, parse, print_help
from flows.job_errors import DONE, FAILED, INTERRUPTED, REJECTED, USAGE, JobError
from pipeline.config import Config, UsageError, require_detector, require_view
from pipeline.runtime.progress import JobResult

MEDIA = ("source", "storage", "media", "faces", "sound", "segments", "splits", "shards", "cluster")
LEARNING = ("storage", "sequence", "model", "train", "cluster")
MEASURING = ("storage", "evaluate", "cluster")
EVERYTHING = tuple(Config.model_fields)

RAW = {"source.videos": "", "source.labels": "", "source.manifest": "", "faces.model_uri": ""}
WEIGHTS = {"weights.video": "", "weights.audio": ""}
DATASET, RUN = "dataset.json", "run.json"  # written last: what has it is complete
STAGES = ("train.dataset", "evaluate.run")  # that a command of several stages fills in by itself

KINDS = {"experiment": "preprocess"}  # of the first job, where it has another name

COMMANDS = {
    command.name: command
    for command in (
        Command(
            "demo",
            "Draw synthetic talkers and run the whole path on them.",
            EVERYTHING,
            inputs={"faces.model_uri": ""},
            made=(*STAGES, "source.videos", "source.labels", "source.manifest"),
            run_file="infra/runs/demo.toml",
        ),
        Command("synthesize", "Draw labelled synthetic talkers.", ("storage", "synthesis"), strict=False),
        Command(
            "preprocess",
            "Turn raw videos into a dataset of shards.",
            MEDIA,
            required=("source.videos",),
            inputs=RAW,
        ),
        Command(
            "train",
            "Train on a dataset.",
            LEARNING,
            {"dataset": "train.dataset"},
            required=("train.dataset",),
            inputs={**WEIGHTS, "train.dataset": DATASET},
            strict=False,
        ),
        Command(
            "evaluate",
            "Measure a trained run on a dataset (by default the run's own).",
            MEASURING,
            {"run": "evaluate.run", "dataset": "evaluate.dataset"},
            required=("evaluate.run",),
            inputs={"evaluate.run": RUN, "evaluate.dataset": DATASET},
        ),
        Command(
            "experiment",
            "Preprocess, train and evaluate.",
            EVERYTHING,
            required=("source.videos",),
            inputs={**RAW, "evaluate.dataset": DATASET},
            made=STAGES,
        ),
        Command(
            "extract",
            "Run frozen backbones over a dataset once, and keep what they give as a dataset of features.",
            LEARNING,
            {"dataset": "train.dataset", "run": "evaluate.run"},
            required=("train.dataset",),
            inputs={**WEIGHTS, "train.dataset": DATASET, "evaluate.run": RUN},
            strict=False,
        ),
        Command(
            "ablate",
            "Compare every attention base and gate, on the inconsistency benchmark or on features of recordings.",
            ("storage", "sequence", "model", "ablate", "cluster"),
            {"dataset": "ablate.dataset"},
            inputs={"ablate.dataset": DATASET},
            strict=False,
        ),
        Command(
            "verify",
            "Hash a dataset's shards again and compare.",
            ("storage", "cluster"),
            {"dataset": "evaluate.dataset"},
            required=("evaluate.dataset",),
            positional="dataset",
        ),
        Command("config", "Print the resolved configuration as JSON.", EVERYTHING, strict=False),
    )
}

OVERVIEW = f"""iaca: from raw talking-face videos to a trained and evaluated audio-visual emotion model

usage: iaca COMMAND [--config FILE.toml] [--section.field value ...] [-v]

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
    command = _from_source(command, config)
    _require(command, config)
    _settle("verbose" in request.flags)
    results = _start(command.name, config)
    from flows.cli.summary import summarise

    summarise(results, config.preprocess.dry_run)
    rejected = sum(result.counts.get("rejected", 0) for result in results)
    return REJECTED if rejected and "strict" in request.flags else DONE


def _from_source(command: Command, config: Config) -> Command:
    """The command itself, or the same with all that making features of videos needs where it is going to do that."""
    if command.name != "ablate" or not config.ablate.makes_features:
        return command
    weights = () if config.evaluate.run else ("weights.video", "weights.audio")
    required, inputs = ("source.videos", *weights), {**RAW, "evaluate.run": RUN}
    return replace(command, sections=EVERYTHING, required=required, inputs=inputs, made=("train.dataset",))


def _require(command: Command, config: Config) -> None:
    """Refuse here what can be told at a glance: a job says the same, but only after Prefect has started."""
    names = {field: name for name, field in command.shortcuts.items()}
    for field in command.required:
        if not _value(config, field):
            raise UsageError(f"iaca {command.name} needs --{names.get(field, field)} URI")
    for field in command.made:
        if uri := _value(config, field):
            raise UsageError(f"iaca {command.name} makes its own {field}, but it is set to {uri}; leave it out")
    if config.preprocess.dry_run and not command.reads_videos:
        raise UsageError(f"iaca {command.name} has no plan to print; --dry-run is for preprocess, experiment and demo")
    for name in ("extend", "retry_rejected", "repair"):
        if getattr(config, name) and not command.takes(name):
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is not for iaca {command.name}; `iaca COMMAND --help` lists what is")
    if "faces" in command.sections:
        require_detector(config)
    if {"segments", "sequence"} <= set(command.sections):
        require_view(config)
    if config.cluster.address:
        from flows.cluster_job import require_shared_paths

        require_shared_paths(KINDS.get(command.name, command.name), config)
    else:
        _require_inputs(command, config)


def _require_inputs(command: Command, config: Config) -> None:
    from pipeline import storage

    for field, marker in command.inputs.items():
        uri = _value(config, field)
        if uri and not storage.exists(uri):
            raise UsageError(f"{field} {uri} does not exist")
        if uri and marker and not storage.exists(storage.join(uri, marker)):
            raise UsageError(f"{field} {uri} has no {marker}: it is unfinished, or something else")


def _value(config: Config, field: str) -> str:
    section, name = field.split(".")
    return getattr(getattr(config, section), name)


def _settle(verbose: bool) -> None:
    """Environment of Prefect and the jobs; must come before Prefect is imported."""
    from flows.local_job import PRIVACY

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
    prefect_server.reach()
    if name == "preprocess":
        from flows.preprocess import preprocess

        return [preprocess(config)]
    if name == "extract":
        from flows.extract import extract

        return [extract(config)]
    if name == "ablate":
        from flows.ablate import ablate

        return ablate(config)
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
