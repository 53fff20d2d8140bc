"""The commands of the command line: what each is called, does, reads, and starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipeline.config import Config
from pipeline.config.fields import Stage

SECTIONS: dict[Stage, tuple[str, ...]] = {
    "synthesize": ("synthesis",),
    "preprocess": ("source", "media", "faces", "sound", "segments", "splits", "shards", "preprocess"),
    "train": ("sequence", "model", "weights", "train"),
    "evaluate": ("evaluate",),
    "extract": ("sequence", "model", "weights", "extract"),
    "ablate": ("sequence", "model", "ablate"),
    "verify": ("verify", "source", "faces"),  # the last two for --repair
}
ALWAYS_USED = ("storage", "cluster")
PREPROCESS_OPTIONS = {
    "limit": "preprocess.limit",
    "dry_run": "preprocess.dry_run",
    "extend": "preprocess.extend",
    "retry_rejected": "preprocess.retry_rejected",
}


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `iaca`."""

    name: str
    summary: str
    stages: tuple[Stage, ...]  # in their order; they decide which sections and URIs matter
    flow: str = ""  # the function to call with the configuration, as module:name; empty: none
    shortcuts: Mapping[str, str] = field(default_factory=dict)  # settings that have a short name, by that name
    positional: str = ""  # the short name that may be left out before its value
    required: tuple[str, ...] = ()  # settings that must not be empty, besides those that the stages require
    run_file: str = ""  # when no --config is given
    is_prefect_flow: bool = True
    can_reject: bool = False  # whether inputs can turn out to be rejected, which --strict makes an error

    @property
    def sections(self) -> frozenset[str]:
        """The sections of the configuration that matter to it; the others are accepted and not checked."""
        return frozenset(ALWAYS_USED).union(*(SECTIONS[stage] for stage in self.stages))

    def option(self, setting: str) -> str:
        """The shortest option for a setting, without its dashes."""
        return next((name for name, target in self.shortcuts.items() if target == setting), setting)


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "demo",
            "Draw synthetic talkers and run the whole path on them.",
            stages=("synthesize", "preprocess", "train", "evaluate"),
            flow="flows.demo:demo",
            shortcuts=PREPROCESS_OPTIONS,
            run_file="infra/runs/demo.toml",
            can_reject=True,
        ),
        Command(
            "synthesize",
            "Draw labelled synthetic talkers.",
            stages=("synthesize",),
            flow="flows.synthesize:synthesize",
            is_prefect_flow=False,
        ),
        Command(
            "preprocess",
            "Turn raw videos into a dataset of shards.",
            stages=("preprocess",),
            flow="flows.preprocess:preprocess",
            shortcuts=PREPROCESS_OPTIONS,
            can_reject=True,
        ),
        Command(
            "train",
            "Train on a dataset.",
            stages=("train",),
            flow="flows.train:train",
            shortcuts={"dataset": "train.dataset"},
        ),
        Command(
            "evaluate",
            "Measure a trained run on a dataset (by default the run's own).",
            stages=("evaluate",),
            flow="flows.evaluate:evaluate",
            shortcuts={"run": "evaluate.run", "dataset": "evaluate.dataset"},
            can_reject=True,
        ),
        Command(
            "experiment",
            "Preprocess, train and evaluate.",
            stages=("preprocess", "train", "evaluate"),
            flow="flows.experiment:experiment",
            shortcuts=PREPROCESS_OPTIONS,
            can_reject=True,
        ),
        Command(
            "extract",
            "Run frozen backbones over a dataset once, and keep their output as a dataset of features.",
            stages=("extract",),
            flow="flows.extract:extract",
            shortcuts={"dataset": "extract.dataset", "run": "extract.run"},
        ),
        Command(
            "ablate",
            "Compare every attention base and gate, on the inconsistency benchmark or on features of recordings.",
            stages=("ablate",),
            flow="flows.ablate:ablate",
            shortcuts={"dataset": "ablate.dataset"},
        ),
        Command(
            "verify",
            "Hash a dataset's shards again and compare.",
            stages=("verify",),
            flow="flows.verify:verify",
            shortcuts={"dataset": "verify.dataset", "repair": "verify.repair"},
            positional="dataset",
            is_prefect_flow=False,
            can_reject=True,
        ),
        Command("config", "Print the resolved configuration as JSON.", stages=tuple(SECTIONS)),
    )
}


def command_for(command: Command, config: Config) -> Command:
    """The command with the stages that the configuration asks for: ablate may make its features of videos first."""
    if command.name != "ablate" or not config.ablate.makes_features:
        return command
    backbones = () if config.extract.run else ("weights.video", "weights.audio")
    return replace(command, stages=("preprocess", "extract", "ablate"), required=backbones)
