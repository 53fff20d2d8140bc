"""Checks before anything is started: a job makes them too, but a second later."""

from __future__ import annotations

from flows.cli.commands import Command
from pipeline import storage
from pipeline.config import Config, UsageError, require_detector, require_view
from pipeline.config.uris import uris_of, uris_read_by

ONE_STAGE_OPTIONS = ("preprocess.extend", "preprocess.retry_rejected", "verify.repair")  # each for its own stage only


def check(command: Command, config: Config) -> None:
    """Raise UsageError where the command cannot be done as asked, as far as its configuration shows.

    Settings that the command does not use do not matter to it, except requests that it would not fulfil.
    """
    _check_requests(command, config)
    _check_required(command, config)
    if "preprocess" in command.stages:
        require_detector(config)
    if {"segments", "sequence"} <= command.sections:
        require_view(config)
    if config.cluster.address:
        from flows.cluster_job import require_shared_uris

        require_shared_uris(config, command.stages)
    else:
        _check_existence(command, config)
    if not config.preprocess.dry_run:
        _check_writable(config.storage.root)


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
            raise UsageError(f"{name} {uri} has no {declaration.marker}: it is incomplete, or not a dataset or run")


def _check_writable(root: str) -> None:
    try:
        storage.require_writable(root)
    except storage.AccessDeniedError as error:
        raise UsageError(f"storage.root {root}: {error}; choose another folder with --storage.root") from error
