"""Checks before anything is started: a job makes them too, but a second later."""

from __future__ import annotations

import sys
from collections.abc import Collection

from flows.cli.commands import Command
from pipeline import storage
from pipeline.config import DATASET_MARKER, RUN_MARKER, Config, UsageError, require_detector, require_view
from pipeline.config.fields import Stage, Uri
from pipeline.config.uris import uris_of, uris_read_by

DECODING: set[Stage] = {"synthesize", "preprocess"}
OUTPUTS = {  # by the file that each has when it is complete
    DATASET_MARKER: "a dataset",
    RUN_MARKER: "a training run",
    "source.json": "a set of synthetic talkers, raw videos for --source.videos",
    "metrics.json": "an evaluation",
}
ONE_STAGE_OPTIONS = ("preprocess.extend", "preprocess.retry_rejected", "verify.repair")  # each for its own stage only


def check(command: Command, config: Config) -> None:
    """Raise UsageError where the command cannot be done as asked, as far as its configuration shows.

    Settings that the command does not use do not matter to it, except requests that it would not fulfil.
    """
    require_system(command.stages, config)
    _check_requests(command, config)
    _check_required(command, config)
    if "preprocess" in command.stages and not (config.cluster.address and storage.is_local(config.storage.root)):
        require_detector(config)  # a folder of the cluster need not be visible from here: there the job finds out
    if {"segments", "sequence"} <= command.sections:
        require_view(config)
    if config.cluster.address:
        from flows.cluster_job import require_shared_uris

        require_shared_uris(config, command.stages)
    else:
        _check_existence(command, config)
    if _writes(command, config):
        _check_writable(config.storage.root)


def require_system(stages: Collection[Stage], config: Config, system: str = sys.platform) -> None:
    """Raise UsageError where this machine's system cannot run these stages.

    Args:
        stages: of the command.
        config: whose cluster runs them instead, if it names one.
        system: as `sys.platform` calls it.
    """
    if system == "win32":
        raise UsageError("iaca runs on Linux; on Windows use it in WSL 2, the Windows Subsystem for Linux")
    decodes = not DECODING.isdisjoint(stages) or ("verify" in stages and config.verify.repair)
    if system != "linux" and decodes and not config.cluster.address:
        raise UsageError(
            f"videos are decoded on Linux only, and this is {system}: use a Linux container or virtual machine, or a "
            "cluster with --cluster.address"
        )


def _check_requests(command: Command, config: Config) -> None:
    if config.preprocess.dry_run and "preprocess" not in command.stages:
        raise UsageError(f"iaca {command.name} has no plan to print; --dry-run is for preprocess, experiment and demo")
    for setting in ONE_STAGE_OPTIONS:
        section, _, name = setting.partition(".")
        if getattr(getattr(config, section), name) and section not in command.stages:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is not for iaca {command.name}; `iaca COMMAND --help` lists what is")


def _check_required(command: Command, config: Config) -> None:
    """A URI that a stage requires must be given, unless an earlier stage makes it: then it must not."""
    read = {name for name, _, _ in uris_read_by(config, command.stages)}
    for name, uri, declaration in uris_of(config):
        if declaration.made_by in command.stages:
            if uri and name in read:
                raise UsageError(f"iaca {command.name} makes its own {name}, but it is set to {uri}; leave it out")
        elif not uri and (name in command.required or {*declaration.required_by} & {*command.stages}):
            raise UsageError(f"iaca {command.name} needs --{command.option(name)} URI")


def _check_existence(command: Command, config: Config) -> None:
    for name, uri, declaration in uris_read_by(config, command.stages):
        if uri and not storage.exists(uri):
            raise UsageError(f"{name} {uri} does not exist")
        if uri and declaration.marker and not storage.exists(storage.join(uri, declaration.marker)):
            raise UsageError(f"{name} {uri} {_what_is_there(uri, declaration)}")


def _what_is_there(uri: str, declaration: Uri) -> str:
    """What lies at a URI instead of the complete dataset or run whose marker is missing."""
    marker = declaration.marker
    other = next((what for file, what in OUTPUTS.items() if storage.exists(storage.join(uri, file))), "")
    if other:
        return f"is {other}, not {OUTPUTS[marker]}"
    parent = uri.rpartition("/")[0]
    if parent and storage.exists(storage.join(parent, marker)):
        return f"is a part of {OUTPUTS[marker]}; did you mean {parent}?"
    remedy = f"; iaca {declaration.made_by} makes {OUTPUTS[marker]}" if declaration.made_by else ""
    return f"has no {marker}: it is incomplete, or not a dataset or run{remedy}"


def _writes(command: Command, config: Config) -> bool:
    """Whether anything is written under the root: by a plan only talkers to plan for, and what a cluster is to read."""
    return not config.preprocess.dry_run or "synthesize" in command.stages or bool(config.cluster.address)


def _check_writable(root: str) -> None:
    try:
        storage.require_writable(root)
    except storage.AccessDeniedError as error:
        raise UsageError(f"storage.root {root}: {error}; choose another folder with --storage.root") from error
