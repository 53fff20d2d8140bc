"""Whether a dataset, a model and a trained run fit each other, and the configuration that they share."""

from __future__ import annotations

from iaca_model.config import FeatureSpec, InputSpec
from pipeline.config import Config, UsageError, require_view
from pipeline.dataset.format.dataset_info import DatasetInfo
from pipeline.records.features import FeatureOrigin

# With other settings crops or spectrograms would mean something else to the model, even with the same shapes.
INPUT_SETTINGS = {
    "media": ("frame_rate_hz", "crop_px", "sample_rate_hz"),
    "faces": ("margin",),
    "sound": ("n_fft", "window_s", "hop_s", "num_mels"),
}


def config_for_dataset(config: Config, dataset_config: Config) -> Config:
    """`config` with the sections that a dataset's bytes depend on, as training and evaluation need it.

    Raises:
        UsageError: the model's view does not fit the dataset's segments.
    """
    sections = {name: getattr(dataset_config, name) for name in ("media", "faces", "sound", "segments")}
    combined = config.model_copy(update=sections)
    try:
        require_view(combined)
    except UsageError as error:
        raise UsageError(f"the sequence section does not fit the dataset: {error}") from error
    return combined


def run_config_for_dataset(run_config: Config, features: FeatureOrigin | None, dataset: DatasetInfo) -> Config:
    """The configuration of a run with the sections of a dataset whose samples its model can read.

    Args:
        run_config: of the run.
        features: the features that the run was trained on, or None if it was trained on crops and sound.
        dataset: the one that the run's model is applied to.

    Raises:
        UsageError: the dataset holds something else than the run was trained on, or was made with other settings.
    """
    if (features and features.backbones) != (dataset.features and dataset.features.backbones):
        trained_on, held = ("features" if origin else "crops and sound" for origin in (features, dataset.features))
        others = " of other backbones or sub-clips" if trained_on == held else ""
        raise UsageError(
            f"the run was trained on {trained_on}, but {dataset.uri} holds {held}{others}; iaca extract makes features"
        )
    combined = config_for_dataset(run_config, dataset.config)
    for section, names in INPUT_SETTINGS.items():
        for name in names:
            trained_with, made_with = (getattr(getattr(c, section), name) for c in (run_config, dataset.config))
            if trained_with != made_with:
                raise UsageError(
                    f"{dataset.uri} has {section}.{name} {made_with}, the run was trained with {trained_with}: "
                    f"preprocess it with the run's settings"
                )
    return combined


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
    for name, configured, made_with in compared:
        if configured != made_with:
            raise UsageError(
                f"{name} is {configured}, but the features of this dataset were made with {made_with or 'none'}: set "
                f"it to that, or make others with iaca extract"
            )


def spec_of(config: Config, features: FeatureOrigin | None) -> InputSpec | FeatureSpec:
    """What a sequence of the dataset holds: crops and sound, or features of them."""
    if features is None:
        return config.input_spec
    return FeatureSpec(config.sequence.num_subclips, features.video_dim, features.audio_dim)
