"""The manifests of models that can be fetched: `infra/models/` of the repository, packaged beside this module."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from pipeline import storage

MANIFESTS = Path(__file__).with_name("models")  # in the repository a link to infra/models, in a wheel a copy of it


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model of somebody else: where it is published, and the only content that is accepted."""

    name: str
    uri: str
    sha256: str
    size_bytes: int
    licence: str
    extension: str  # of the file, with its dot


def model_file(name: str) -> ModelFile:
    """The manifest of a model that comes with the program, such as "yunet"."""
    path = MANIFESTS / f"{name}.toml"
    return ModelFile(name=name, **tomllib.loads(path.read_text(encoding="utf-8")))


def stored_model_uri(model: ModelFile, root: str) -> str:
    """Where `iaca fetch-model` puts a model below the root of all outputs; whoever reads it there checks its sha256."""
    return storage.join(root, "models", f"{model.name}-{model.sha256[:12]}{model.extension}")
