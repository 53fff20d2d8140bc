"""The commands of the command line and their jobs: what each is called, does, reads and starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.config import Config
from pipeline.config.fields import Stage

ALWAYS_USED = ("storage", "cluster")
PREPROCESS_OPTIONS = {
    "limit": "preprocess.limit",
    "dry_run": "preprocess.dry_run",
    "extend": "preprocess.extend",
    "retry_rejected": "preprocess.retry_rejected",
}


# When a command starts Prefect. "to compute": not for a plan, nor where everything is complete. "always": even then, as
# for the ablation, whose flow alone knows its stages, and whose complete trials only torch can read.
PrefectNeed = Literal["never", "to compute", "always"]


@dataclass(frozen=True, slots=True)
class Job:
    """One module of pipeline.jobs, as the command line presents it."""

    stage: Stage
    title: str  # of its result in the closing summary
    sections: tuple[str, ...]  # of the configuration that it reads, besides ALWAYS_USED
    next_step: str = ""  # proposed after it; {uri}: of its output; {options}: given ones that apply


SYNTHESIZE = Job(
    "synthesize",
    "Synthetic talkers",
    sections=("synthesis", "media"),  # the latter for media.ffmpeg
    next_step="iaca experiment --source.videos {uri}/videos --source.labels {uri}/labels "
    "--source.manifest {uri}/manifest.csv{options}",
)
PREPROCESS = Job(
    "preprocess",
    "Dataset",
    sections=("source", "media", "faces", "sound", "segments", "splits", "shards", "preprocess"),
    next_step="iaca train --dataset {uri}{options}",
)
TRAIN = Job(
    "train",
    "Training run",
    sections=("sequence", "model", "weights", "train"),
    next_step="iaca evaluate --run {uri}{options}",
)
EVALUATE = Job("evaluate", "Evaluation", sections=("evaluate",), next_step="open {uri}/report.html")
EXTRACT = Job(
    "extract",
    "Features",
    sections=("sequence", "model", "weights", "extract"),
    next_step="iaca train --dataset {uri}{options}",
)
ABLATE = Job("ablate", "Ablation", sections=("sequence", "model", "ablate"), next_step="open {uri}/report.html")
VERIFY = Job("verify", "Verification", sections=("verify", "source", "media", "faces"))  # last three: --repair
FETCH_MODEL = Job(
    "fetch_model",
    "Model",
    sections=("fetch_model",),
    next_step="iaca preprocess --source.videos FOLDER --faces.detector yunet{options}",
)
JOBS = (SYNTHESIZE, PREPROCESS, TRAIN, EVALUATE, EXTRACT, ABLATE, VERIFY, FETCH_MODEL)


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `iaca`."""

    name: str
    summary: str
    jobs: tuple[Job, ...]  # in their order; they decide which sections and URIs matter
    flow: str = ""  # the function to call with the configuration, as module:name; empty: none
    shortcuts: Mapping[str, str] = field(default_factory=dict)  # settings that have a short name, by that name
    positional: str = ""  # the short name that may be left out before its value
    required: tuple[str, ...] = ()  # settings that must not be empty, besides those that the jobs require
    run_file: str = ""  # when no --config is given
    prefect: PrefectNeed = "to compute"
    takes_settings: bool = True  # False: `flow` takes the words after the command as they are, and starts nothing
    can_reject: bool = False  # whether inputs can turn out to be rejected, which --strict makes an error

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that its jobs carry out, in their order."""
        return tuple(job.stage for job in self.jobs)

    @property
    def sections(self) -> frozenset[str]:
        """The sections of the configuration that matter to it; the others are accepted and not checked."""
        return frozenset(ALWAYS_USED).union(*(job.sections for job in self.jobs))

    def option(self, setting: str) -> str:
        """The shortest option for a setting, without its dashes."""
        return next((name for name, target in self.shortcuts.items() if target == setting), setting)


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "demo",
            "Draw synthetic talkers and run the whole path on them.",
            jobs=(SYNTHESIZE, PREPROCESS, TRAIN, EVALUATE),
            flow="flows.demo:demo",
            shortcuts=PREPROCESS_OPTIONS,
            run_file="demo",
            can_reject=True,
        ),
        Command(
            "synthesize",
            "Draw labelled synthetic talkers.",
            jobs=(SYNTHESIZE,),
            flow="flows.synthesize:synthesize",
            prefect="never",
        ),
        Command(
            "preprocess",
            "Turn raw videos into a dataset of shards.",
            jobs=(PREPROCESS,),
            flow="flows.preprocess:preprocess",
            shortcuts=PREPROCESS_OPTIONS,
            can_reject=True,
        ),
        Command(
            "train",
            "Train on a dataset.",
            jobs=(TRAIN,),
            flow="flows.train:train",
            shortcuts={"dataset": "train.dataset"},
        ),
        Command(
            "evaluate",
            "Measure a trained run on a dataset (by default the run's own).",
            jobs=(EVALUATE,),
            flow="flows.evaluate:evaluate",
            shortcuts={"run": "evaluate.run", "dataset": "evaluate.dataset"},
            can_reject=True,
        ),
        Command(
            "experiment",
            "Preprocess, train and evaluate.",
            jobs=(PREPROCESS, TRAIN, EVALUATE),
            flow="flows.experiment:experiment",
            shortcuts=PREPROCESS_OPTIONS,
            can_reject=True,
        ),
        Command(
            "extract",
            "Run frozen backbones over a dataset once, and keep their output as a dataset of features.",
            jobs=(EXTRACT,),
            flow="flows.extract:extract",
            shortcuts={"dataset": "extract.dataset", "run": "extract.run"},
        ),
        Command(
            "ablate",
            "Compare every attention base and gate, on the inconsistency benchmark or on features of recordings.",
            jobs=(ABLATE,),
            flow="flows.ablate:ablate",
            prefect="always",
            shortcuts={"dataset": "ablate.dataset"},
        ),
        Command(
            "verify",
            "Check every shard and sample of a dataset.",
            jobs=(VERIFY,),
            flow="flows.verify:verify",
            shortcuts={"dataset": "verify.dataset", "repair": "verify.repair"},
            positional="dataset",
            prefect="never",
            can_reject=True,
        ),
        Command(
            "fetch-model",
            "Fetch the model of a face detector, once: iaca fetch-model yunet.",
            jobs=(FETCH_MODEL,),
            flow="flows.fetch_model:fetch_model",
            shortcuts={"model_name": "fetch_model.name", "uri": "fetch_model.uri"},
            positional="model_name",
            prefect="never",
        ),
        Command("config", "Print the resolved configuration as JSON.", jobs=JOBS),
        Command(
            "version",
            "Print the versions of the program, Python and the dependencies, for a report of a defect.",
            jobs=(),
            flow="flows.cli.version:print_versions",
            takes_settings=False,
        ),
        Command(
            "completion",
            "Print the completion script of a shell: iaca completion bash|zsh|tcsh.",
            jobs=(),
            flow="flows.cli.completion:print_completion",
            takes_settings=False,
        ),
    )
}


def command_for(command: Command, config: Config) -> Command:
    """The command with the jobs that the configuration asks for: ablate may make its features of videos first."""
    if command.name != "ablate" or not config.ablate.makes_features:
        return command
    backbones = () if config.extract.run else ("weights.video", "weights.audio")
    return replace(command, jobs=(PREPROCESS, EXTRACT, ABLATE), required=backbones)
