"""The face detector of a configuration: whether it has what it needs, and its model where none is named."""

from __future__ import annotations

import dataclasses
import shlex

from pipeline import storage
from pipeline.config.experiment import Config
from pipeline.config.model_files import model_file, stored_model_uri
from pipeline.config.usage_error import UsageError


def require_detector(config: Config) -> Config:
    """The configuration with the model of its face detector; for stages that detect faces.

    Where yunet has no `faces.model_uri`, the model that `iaca fetch-model yunet` has put below `storage.root` is taken,
    and entered with its sha256, so that workers, fingerprints and the record of the dataset have them.

    Raises:
        UsageError: yunet has no model, its sha256 is not known, or crops are aligned without a detector of eyes.
    """
    faces = config.faces
    if faces.align and faces.detector != "yunet":
        raise UsageError(f"faces.align needs eyes, which faces.detector {faces.detector} does not find; use yunet")
    if faces.detector != "yunet" or (faces.model_uri and faces.model_sha256):
        return config
    if faces.model_uri:
        raise UsageError(f"faces.model_uri is {faces.model_uri}, which needs faces.model_sha256, that of the file")
    model = model_file("yunet")
    uri = stored_model_uri(model, config.storage.root)
    if faces.model_sha256.lower() not in ("", model.sha256) or not storage.exists(uri):
        raise UsageError(
            f"faces.detector is yunet, which needs faces.model_uri (the ONNX file) and faces.model_sha256, or its "
            f"model at {uri}: {_fetch_command(config)} puts it there, once"
        )
    return config.model_copy(
        update={"faces": dataclasses.replace(faces, model_uri=uri, model_sha256=model.sha256)},
    )


def how_to_fetch_again(config: Config) -> str:
    """What to do where the detector's model is missing or damaged, e.g. "; `iaca fetch-model yunet ...` fetches ...".

    Empty where the model is not the one that `iaca fetch-model` has put below `storage.root`.
    """
    faces, model = config.faces, model_file("yunet")
    fetched = (stored_model_uri(model, config.storage.root), model.sha256)
    if (faces.model_uri, faces.model_sha256.lower()) != fetched:
        return ""
    return f"; {_fetch_command(config)} fetches it again"


def _fetch_command(config: Config) -> str:
    return f"`iaca fetch-model yunet --storage.root {shlex.quote(config.storage.root)}`"
