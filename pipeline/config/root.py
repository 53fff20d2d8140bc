"""The configuration of a whole experiment: sections, loading and fingerprints."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from iaca_model.config import InputSpec, ModelConfig
from pipeline.config.checks import require
from pipeline.config.sections import (
    AblateConfig,
    ClusterConfig,
    EvaluateConfig,
    FacesConfig,
    MediaConfig,
    SegmentConfig,
    SequenceConfig,
    ShardsConfig,
    SoundConfig,
    SourceConfig,
    SplitConfig,
    StorageConfig,
    SynthesisConfig,
    TrainConfig,
)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
FORMAT_VERSION = 1  # of datasets: raise it when the same inputs would give other bytes


class UsageError(ValueError):
    """Something the user asked for cannot be done as asked; the message says what to change."""


class Config(BaseModel):
    """An experiment; also the job's only argument, the flow's parameter and the record kept with each output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "experiment"
    limit: int = 0  # only the first N videos; 0: all
    dry_run: bool = False  # print the plan and stop
    extend: str = ""  # preprocess: the dataset of which a new version is made for the source as it is now
    retry_rejected: bool = False  # preprocess: build the shards that hold rejected videos once more
    repair: bool = False  # verify: build damaged shards again from the source
    source: SourceConfig = SourceConfig()
    storage: StorageConfig = StorageConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    media: MediaConfig = MediaConfig()
    faces: FacesConfig = FacesConfig()
    sound: SoundConfig = SoundConfig()
    segments: SegmentConfig = SegmentConfig()
    splits: SplitConfig = SplitConfig()
    shards: ShardsConfig = ShardsConfig()
    sequence: SequenceConfig = SequenceConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    ablate: AblateConfig = AblateConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _allowed(self) -> Config:
        allowed = "letters, digits, '-' and '_', up to 60 of them"
        require(bool(_NAME.fullmatch(self.name)), f"name is {self.name!r}; it becomes a folder's: {allowed}")
        require(self.limit >= 0, f"limit is {self.limit}; it must be 0 (all videos) or more")
        sound, rate = self.sound, self.media.sample_rate_hz
        length = round(sound.window_s * rate)
        require(
            1 <= length <= sound.n_fft,
            f"sound.window_s {sound.window_s} at media.sample_rate_hz {rate} is {length} samples; "
            f"allowed: 1 to sound.n_fft {sound.n_fft}",
        )
        require(sound.hop_s * rate >= 1, f"sound.hop_s {sound.hop_s} is less than a sample at {rate} Hz")
        return self

    def to_json(self) -> str:
        """The resolved configuration as indented JSON; `Config.model_validate_json` reads it back."""
        return self.model_dump_json(indent=2)

    @property
    def input_spec(self) -> InputSpec:
        """The model's input as this configuration makes it.

        The sound of a sub-clip is that from its first frame's time to its last one's, both hops included: 1.03 s and
        104 hops for 32 frames at 30 Hz. So a segment's preroll of `subclip_frames - 1` frames holds all that is heard.
        """
        span_s = (self.sequence.subclip_frames - 1) / self.media.frame_rate_hz
        return InputSpec(
            num_steps=self.sequence.num_subclips,
            num_frames=self.sequence.num_subsampled,
            crop_px=self.media.crop_px,
            num_mels=self.sound.num_mels,
            num_hops=math.floor(span_s / self.sound.hop_s + 1e-9) + 1,
        )


def load(path: str | Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """Read a run file and apply overrides: defaults < TOML < overrides.

    Args:
        path: a TOML file that says what differs from the defaults, or None.
        overrides: nested dict in the form of the TOML file.

    Raises:
        UsageError: the file is missing or not TOML, a key is unknown, or a value is not allowed.
    """
    values = _read_toml(Path(path)) if path else {}
    merged = _merge(values, overrides or {})
    sources = [str(path)] * bool(path) + ["the command line"] * bool(overrides)
    origin = " and ".join(sources) or "the defaults"
    _check_keys(merged, Config, origin, prefix="")
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise UsageError(f"{origin}: {_first_problem(error)}") from error


def require_detector(config: Config) -> None:
    """Raise UsageError unless the face detector has what it needs; for whoever looks for faces."""
    faces = config.faces
    if faces.detector == "yunet" and not (faces.model_uri and faces.model_sha256):
        raise UsageError("faces.detector is yunet, which needs faces.model_uri (the ONNX file) and faces.model_sha256")
    if faces.align and faces.detector != "yunet":
        raise UsageError(f"faces.align needs eyes, which faces.detector {faces.detector} does not find; use yunet")


def require_view(config: Config) -> None:
    """Raise UsageError unless the model's sequences cover exactly a segment; for whoever trains on the segments."""
    view, tile = config.sequence, config.segments
    if view.num_frames != tile.num_frames:
        raise UsageError(
            f"sequence.num_subclips {view.num_subclips} x sequence.subclip_stride {view.subclip_stride} = "
            f"{view.num_frames} must equal segments.num_frames {tile.num_frames}"
        )
    needed = view.subclip_frames - 1
    if needed > tile.num_preroll:
        raise UsageError(
            f"segments.num_preroll {tile.num_preroll} must be at least sequence.subclip_frames - 1 = {needed}"
        )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"configuration file {path} does not exist; the ready ones are in infra/runs/") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration file {path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"configuration file {path} cannot be read: {error.strerror}") from error


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_tables else value
    return merged


def _check_keys(values: dict[str, Any], section: type[Any], origin: str, prefix: str) -> None:
    known = section.model_fields if issubclass(section, BaseModel) else {f.name: f for f in dataclasses.fields(section)}
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"allowed here: {', '.join(sorted(known))}"
            raise UsageError(f"{origin}: unknown key {prefix}{key}; {hint}")
        default = getattr(Config(), key) if section is Config else None
        if dataclasses.is_dataclass(default) and isinstance(value, dict):
            _check_keys(value, type(default), origin, prefix=f"{key}.")


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place and place not in message else message


def fingerprint(*parts: Any) -> str:
    """Twelve hex digits of the sha256 of the parts as canonical JSON; dataclasses are read as dicts."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else dataclasses.asdict(value)


def dataset_fingerprint(config: Config, content_ids: dict[str, str], toolchain: dict[str, str]) -> str:
    """What the bytes of a dataset depend on: inputs, media settings, detector, format and toolchain; nothing else.

    Args:
        config: the experiment; root, source URIs, cluster, training and evaluation sections are left out.
        content_ids: for every input stream and label file, its key and its content_id (which covers size and bytes).
        toolchain: versions of ffmpeg and OpenCV.
    """
    faces = dataclasses.replace(config.faces, model_uri="-" if config.faces.model_uri else "")
    parts = (
        config.media,
        faces,
        config.sound,
        config.segments,
        config.splits,
        dataclasses.replace(config.shards, max_rejected_fraction=1.0),
        (config.source.kind, config.source.valence_delay_s, config.source.arousal_delay_s),
    )
    return fingerprint(FORMAT_VERSION, *parts, sorted(content_ids.items()), sorted(toolchain.items()))


def run_fingerprint(config: Config, dataset_digest: str) -> str:
    """What a trained run depends on: the dataset's digest, the model's view, the model and the training section.

    Left out of the training section: the addresses of the dataset and of weights (their sha256 counts), the device, how
    often to checkpoint, how many checkpoints to keep and how many failures to bear.
    """
    placed = dataclasses.replace(config.train, dataset="", video_weights="", audio_weights="", use_gpu=False)
    train = dataclasses.replace(placed, checkpoint_every_steps=1, keep_checkpoints=1, max_failures=0)
    model = dataclasses.asdict(config.model)
    del model["preset"]  # where the other fields come from does not matter
    return fingerprint(dataset_digest, config.sequence, model, train)


def evaluation_fingerprint(config: Config, run_digest: str, dataset_digest: str) -> str:
    """What an evaluation depends on: the run, the dataset and the evaluation section without its thread count."""
    return fingerprint(
        run_digest, dataset_digest, dataclasses.replace(config.evaluate, num_threads=0, run="", dataset="")
    )
