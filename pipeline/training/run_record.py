"""What a run says of itself: its folder, the record that closes it, and where its best checkpoint is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from iaca_model.config import FeatureSpec, InputSpec
from pipeline import storage
from pipeline.config import Config, UsageError, require_view, run_fingerprint
from pipeline.dataset.format.shards import DatasetInfo
from pipeline.records.features import FeatureOrigin

# With other settings crops or spectrograms would look different to the model, though their shapes may be the same.
SEEN_AND_HEARD = {
    "media": ("frame_rate_hz", "crop_px", "sample_rate_hz"),
    "faces": ("margin",),
    "sound": ("n_fft", "window_s", "hop_s", "num_mels"),
}
CONFIG, RECORD, BEST = "config.json", "run.json", "best.json"


class SupersededError(RuntimeError):
    """Another process trains the same run by now."""


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
    features: FeatureOrigin | None = None  # what stood in place of backbones; None: they are part of the model


def run_uri(config: Config, dataset_digest: str) -> str:
    """The folder of the run that `config` trains on that dataset."""
    name = f"{config.name}-{run_fingerprint(config, dataset_digest)}"
    return storage.join(config.storage.root, "runs", name)


def on_dataset(config: Config, dataset_config: Config) -> Config:
    """`config` with the sections that the dataset's bytes are made of, as training and evaluation need it.

    Raises:
        UsageError: the model's view does not fit the dataset's segments.
    """
    made = {name: getattr(dataset_config, name) for name in ("media", "faces", "sound", "segments")}
    fitted = config.model_copy(update=made)
    try:
        require_view(fitted)
    except UsageError as error:
        raise UsageError(f"the sequence section does not fit the dataset: {error}") from error
    return fitted


def fitted_to(run_config: Config, dataset: DatasetInfo, features: FeatureOrigin | None) -> Config:
    """The configuration of a run on a dataset that holds what its model was trained on.

    Args:
        run_config: of the run.
        dataset: the one its model is to see.
        features: what the run was trained on in place of crops and sound, if it was.

    Raises:
        UsageError: the dataset holds something else, or made with other settings.
    """
    if (features and features.backbones) != (dataset.features and dataset.features.backbones):
        trained, there = ("features" if given else "crops and sound" for given in (features, dataset.features))
        others = " of other backbones or sub-clips" if trained == there else ""
        raise UsageError(
            f"the run was trained on {trained}, but {dataset.uri} holds {there}{others}; iaca extract makes features"
        )
    fitted = on_dataset(run_config, dataset.config)
    for section, names in SEEN_AND_HEARD.items():
        for name in names:
            trained, there = (getattr(getattr(c, section), name) for c in (run_config, fitted))
            if trained != there:
                raise UsageError(
                    f"{dataset.uri} has {section}.{name} {there}, the run was trained with {trained}: preprocess alike"
                )
    return fitted


def require_features_fit(config: Config, features: FeatureOrigin | None) -> None:
    """Raise UsageError where the model or its view is not what the features of a dataset were made for."""
    if features is None:
        return
    view, weights = config.sequence, config.weights
    compared: list[tuple[str, object, object]] = [
        ("model.feature_dim", config.model.feature_dim, features.video_dim),
        ("sequence.subclip_frames", view.subclip_frames, features.subclip_frames),
        ("sequence.subclip_dilation", view.subclip_dilation, features.subclip_dilation),
    ]
    if features.modalities != "both":
        compared.append(("model.modalities", config.model.modalities, features.modalities))
    if weights.video:
        compared.append(("weights.video_sha256", weights.video_sha256, features.video_weights_sha256))
    if weights.audio:
        compared.append(("weights.audio_sha256", weights.audio_sha256, features.audio_weights_sha256))
    for name, asked, made in compared:
        if asked != made:
            raise UsageError(
                f"{name} is {asked}, but the features of this dataset were made with {made or 'none'}: set it to "
                f"that, or make others with iaca extract"
            )


def spec_of(config: Config, features: FeatureOrigin | None) -> InputSpec | FeatureSpec:
    """What a sequence of the dataset holds: crops and sound, or features of them."""
    if features is None:
        return config.input_spec
    return FeatureSpec(config.sequence.num_subclips, features.video_dim, features.audio_dim)


def folder_name(uri: str) -> str:
    """The last part of a URI."""
    return storage.normalise(uri).rsplit("/", 1)[-1]


def read_record(uri: str) -> RunRecord | None:
    """The record of the run at `uri`, or None while it is not finished."""
    try:
        values = json.loads(storage.read_bytes(storage.join(uri, RECORD)))
    except FileNotFoundError:
        return None
    features = values.get("features")
    return RunRecord(**{**values, "features": FeatureOrigin(**features) if features else None})


def read_finished(uri: str) -> RunRecord:
    """The record of the finished run at `uri`.

    Raises:
        UsageError: there is no run, or it is not finished.
    """
    read_config(uri)
    finished = read_record(uri)
    if finished is None:
        raise UsageError(f"the run {uri} is not finished: it has no {RECORD}; iaca train goes on with it")
    return finished


def write_record(uri: str, record: RunRecord) -> None:
    """Close the run at `uri`."""
    storage.publish_bytes(json.dumps(asdict(record), indent=2).encode(), storage.join(uri, RECORD))


def read_config(uri: str) -> Config:
    """The resolved configuration of the run at `uri`.

    Raises:
        UsageError: there is no run at `uri`.
    """
    try:
        return Config.model_validate_json(storage.read_bytes(storage.join(uri, CONFIG)))
    except FileNotFoundError as error:
        raise UsageError(f"{uri} is not a run: it has no {CONFIG}; `iaca train` makes one") from error


def write_best(uri: str, step: int, ccc: float) -> None:
    """Say which checkpoint is the best so far; its manifest must be there already."""
    best = {"step": step, "val_ccc_mean": ccc}
    storage.publish_bytes(json.dumps(best, indent=2).encode(), storage.join(uri, BEST))


def count_attempt(uri: str) -> int:
    """Start training once more: 1 the first time; every earlier attempt is superseded from now on."""
    attempt = read_attempts(uri) + 1
    while not storage.create_if_absent(f"attempt {attempt}\n".encode(), _attempt_uri(uri, attempt)):
        attempt += 1
    return attempt


def read_attempts(uri: str) -> int:
    """How often training was started; 0 when never."""
    names = [entry.uri.rsplit("/", 1)[1] for entry in storage.list_files(storage.join(uri, "attempts"))]
    return max(map(int, names), default=0)


def require_newest(uri: str, attempt: int) -> None:
    """Raise SupersededError when training was started again since: of two at once the later one goes on."""
    if storage.exists(_attempt_uri(uri, attempt + 1)):
        raise SupersededError(
            f"training of {uri} was started again elsewhere; that attempt goes on from the newest checkpoint, this one "
            f"(attempt {attempt}) stops"
        )


def _attempt_uri(uri: str, attempt: int) -> str:
    return storage.join(uri, "attempts", f"{attempt:04d}")
