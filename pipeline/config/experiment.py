"""The configuration of a whole experiment: all sections, and the checks across them."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, model_validator

from iaca_model.config import InputSpec, ModelConfig, preset_fields
from pipeline.config.dataset_sections import (
    FacesConfig,
    MediaConfig,
    PreprocessConfig,
    SegmentConfig,
    ShardsConfig,
    SoundConfig,
    SourceConfig,
    SplitConfig,
    StorageConfig,
    SynthesisConfig,
)
from pipeline.config.job_sections import (
    AblateConfig,
    ClusterConfig,
    EvaluateConfig,
    ExtractConfig,
    FetchModelConfig,
    SequenceConfig,
    TrainConfig,
    VerifyConfig,
    WeightsConfig,
)
from pipeline.config.usage_error import UsageError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")


class Config(BaseModel):
    """An experiment; also the job's only argument, the flow's parameter and the record kept with each output."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, "the outputs' folders begin with it"] = "experiment"
    source: SourceConfig = SourceConfig()
    storage: StorageConfig = StorageConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    media: MediaConfig = MediaConfig()
    faces: FacesConfig = FacesConfig()
    sound: SoundConfig = SoundConfig()
    segments: SegmentConfig = SegmentConfig()
    splits: SplitConfig = SplitConfig()
    shards: ShardsConfig = ShardsConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    sequence: SequenceConfig = SequenceConfig()
    model: ModelConfig = ModelConfig()
    weights: WeightsConfig = WeightsConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    extract: ExtractConfig = ExtractConfig()
    ablate: AblateConfig = AblateConfig()
    verify: VerifyConfig = VerifyConfig()
    fetch_model: FetchModelConfig = FetchModelConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        """Put the fields of `model.preset` below those that are given."""
        model = values.get("model") if isinstance(values, dict) else None
        if not isinstance(model, dict) or not model.get("preset"):
            return values
        try:
            return {**values, "model": {**preset_fields(model["preset"]), **model}}
        except ValueError as error:
            raise ValueError(f"model.preset: {error}") from error

    @model_validator(mode="after")
    def _check_across_sections(self) -> Config:
        if not _NAME.fullmatch(self.name):
            allowed = "letters, digits, '-' and '_', up to 60 of them"
            raise ValueError(f"name is {self.name!r}; it becomes a folder's: {allowed}")
        sound, rate = self.sound, self.media.sample_rate_hz
        length = round(sound.window_s * rate)
        if not 1 <= length <= sound.n_fft:
            raise ValueError(
                f"sound.window_s {sound.window_s} at media.sample_rate_hz {rate} is {length} samples; "
                f"allowed: 1 to sound.n_fft {sound.n_fft}"
            )
        if sound.hop_s * rate < 1:
            raise ValueError(f"sound.hop_s {sound.hop_s} is less than a sample at {rate} Hz")
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


def require_view(config: Config) -> None:
    """Raise UsageError unless the model's sequences cover exactly a segment; for stages that train on them."""
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
