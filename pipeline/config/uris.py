"""The settings that are URIs, in a configuration: their values beside their declarations."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from pipeline import storage
from pipeline.config.experiment import Config
from pipeline.config.fields import Stage, Uri
from pipeline.config.settings import all_settings
from pipeline.config.usage_error import UsageError

WEB = ("https://", "http://")


@cache
def uri_settings() -> dict[str, Uri]:
    """The declaration of every setting that is a URI, by its name, e.g. `source.videos`."""
    return {name: setting.uri for name, setting in all_settings().items() if setting.uri}


def uris_of(config: Config) -> Iterator[tuple[str, str, Uri]]:
    """Name, value and declaration of every setting that is a URI; an empty value is a URI that is not set."""
    for name, declaration in uri_settings().items():
        section, _, field = name.partition(".")
        yield name, getattr(getattr(config, section), field), declaration


def uris_read_by(config: Config, stages: Collection[Stage]) -> Iterator[tuple[str, str, Uri]]:
    """The same, of those that one of the stages reads; verify reads those of repair as well if it is to repair."""
    readers = {*stages, "repair"} if "verify" in stages and config.verify.repair else {*stages}
    for name, uri, declaration in uris_of(config):
        if readers & {*declaration.required_by, *declaration.read_by}:
            yield name, uri, declaration


def is_shared(config: Config, declaration: Uri) -> bool:
    """Whether a local path declared like this is visible to every node of the cluster."""
    return config.source.shared if declaration.kind == "source" else config.storage.shared


def with_uris(config: Config, uris: dict[str, str]) -> Config:
    """The configuration with other values of some URIs, given by their names."""
    changes: dict[str, dict[str, str]] = defaultdict(dict)
    for name, uri in uris.items():
        section, _, field = name.partition(".")
        changes[section][field] = uri
    sections = {name: dataclasses.replace(getattr(config, name), **fields) for name, fields in changes.items()}
    return config.model_copy(update=sections)


def absolute(config: Config) -> Config:
    """The configuration with every URI and the paths of ffmpeg and a model absolute: the same in another folder.

    Raises:
        UsageError: a URI is of a kind that storage does not know.
    """
    config = with_uris(config, {name: _absolute(name, uri) for name, uri, _ in uris_of(config) if uri})
    media, fetch_model = config.media, config.fetch_model
    if os.sep in media.ffmpeg:  # else it is empty, or a name to be looked for on PATH
        media = dataclasses.replace(media, ffmpeg=str(Path(media.ffmpeg).expanduser().absolute()))
    if fetch_model.uri and not fetch_model.uri.startswith(WEB):  # else it is empty, or no address of the storage
        fetch_model = dataclasses.replace(fetch_model, uri=_absolute("fetch_model.uri", fetch_model.uri))
    return config.model_copy(update={"media": media, "fetch_model": fetch_model})


def _absolute(name: str, uri: str) -> str:
    try:
        return storage.normalise(uri)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error
