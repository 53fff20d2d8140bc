"""The small files of a run: its configuration, its attempts, its best checkpoint and the record that closes it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from pydantic import ValidationError

from pipeline import storage
from pipeline.config import RUN_MARKER, Config, UsageError, run_fingerprint
from pipeline.records.features import FeatureOrigin
from pipeline.records.serialize import from_json, to_json

CONFIG, BEST = "config.json", "best.json"


class SupersededError(RuntimeError):
    """Another process has started to train the same run."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of `run.json`, written when training is over: a run without it is not finished."""

    name: str
    dataset_uri: str
    dataset_digest: str
    best_step: int
    best_ccc: float  # mean of valence and arousal on the validation split
    weights_sha256: str  # of the best checkpoint
    num_steps: int
    num_epochs: int
    attempts: int  # times that training was started: more than one after a lost worker or a rerun
    counts: dict[str, int] = field(default_factory=dict)  # segments, parameters, unreadable samples, ...
    features: FeatureOrigin | None = None  # what it was trained on instead of crops and sound


def run_uri(config: Config, dataset_digest: str) -> str:
    """The folder of the run that `config` trains on that dataset."""
    name = f"{config.name}-{run_fingerprint(config, dataset_digest)}"
    return storage.join(config.storage.root, "runs", name)


def folder_name(uri: str) -> str:
    """The last part of a URI."""
    return storage.normalise(uri).rsplit("/", 1)[-1]


def write_config(uri: str, config: Config) -> None:
    """Begin the run at `uri`: without its configuration it is no run."""
    storage.publish_bytes(config.to_json().encode(), storage.join(uri, CONFIG))


def read_config(uri: str) -> Config:
    """The resolved configuration of the run at `uri`.

    Raises:
        UsageError: there is no run at `uri`, or another version of this program made it.
    """
    try:
        return Config.model_validate_json(storage.read_bytes(storage.join(uri, CONFIG)))
    except FileNotFoundError as error:
        raise UsageError(f"{uri} is not a run: it has no {CONFIG}; `iaca train` makes one") from error
    except ValidationError as error:
        raise UsageError(_other_version(uri, CONFIG)) from error


def write_record(uri: str, record: RunRecord) -> None:
    """Close the run at `uri`."""
    storage.publish_bytes(to_json(record, indent=2).encode(), storage.join(uri, RUN_MARKER))


def read_record(uri: str) -> RunRecord | None:
    """The record of the run at `uri`, or None while it is not finished.

    Raises:
        UsageError: another version of this program made the run.
    """
    try:
        return from_json(RunRecord, storage.read_text(storage.join(uri, RUN_MARKER)))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(_other_version(uri, RUN_MARKER)) from error


def _other_version(uri: str, file: str) -> str:
    return f"the run {uri} was made by another version of this program, its {file} cannot be read; train it again"


def require_record(uri: str) -> RunRecord:
    """The record of the finished run at `uri`.

    Raises:
        UsageError: there is no run, or it is not finished.
    """
    read_config(uri)  # raises where there is no run at all
    record = read_record(uri)
    if record is None:
        raise UsageError(f"the run {uri} is not finished: it has no {RUN_MARKER}; iaca train goes on with it")
    return record


def write_best(uri: str, step: int, ccc: float) -> None:
    """Name the best checkpoint so far; its manifest must have been published."""
    best = {"step": step, "val_ccc_mean": ccc}
    storage.publish_bytes(json.dumps(best, indent=2).encode(), storage.join(uri, BEST))


def start_attempt(uri: str) -> int:
    """Claim the number of a new attempt, 1 the first time; every earlier attempt is superseded from now on."""
    attempt = count_attempts(uri) + 1
    while not storage.create_if_absent(f"attempt {attempt}\n".encode(), _attempt_uri(uri, attempt)):
        attempt += 1
    return attempt


def count_attempts(uri: str) -> int:
    """How often training was started; 0 when never."""
    names = [entry.uri.rsplit("/", 1)[1] for entry in storage.list_files(storage.join(uri, "attempts"))]
    return max(map(int, names), default=0)


def require_newest_attempt(uri: str, attempt: int) -> None:
    """Raise SupersededError when a later attempt was started: of two at once the later one continues."""
    if storage.exists(_attempt_uri(uri, attempt + 1)):
        raise SupersededError(
            f"training of {uri} was started again elsewhere; that attempt goes on from the newest checkpoint, this one "
            f"(attempt {attempt}) stops"
        )


def _attempt_uri(uri: str, attempt: int) -> str:
    return storage.join(uri, "attempts", f"{attempt:04d}")
