"""What an evaluation is of: a trained run, one split of a dataset, and a modality that is masked or none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from iaca_model.config import ModelConfig
from pipeline import storage
from pipeline.config import Config, UsageError, evaluation_fingerprint
from pipeline.config.job_sections import EvaluateConfig
from pipeline.dataset.format.dataset_info import DatasetInfo, read_dataset
from pipeline.records.quantities import count_text
from pipeline.training import run_record
from pipeline.training.compatibility import run_config_for_dataset
from pipeline.training.run_record import RunRecord, folder_name


@dataclass(frozen=True, slots=True)
class EvaluationKey:
    """What identifies an evaluation, in metrics.json, in manifest.json and on the page."""

    run: str  # names, for people
    dataset: str
    split: str
    masked_modality: str
    weights_sha256: str
    dataset_digest: str
    corrupt_modality: float = 0.0  # chance per segment
    corrupt_seed: int = 0

    def as_json(self) -> dict[str, Any]:
        """The fields for a JSON file; those of corruption only where something is corrupted."""
        fields = asdict(self)
        return fields if self.corrupt_modality else {k: v for k, v in fields.items() if not k.startswith("corrupt_")}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished run and the dataset that it is evaluated on, which fit each other."""

    settings: EvaluateConfig
    run: RunRecord
    config: Config  # the run's, with the dataset's own media, faces, sound and segments
    dataset: DatasetInfo
    uri: str  # where the results go: `<root>/evaluations/<run>/<dataset>-<fingerprint>`

    @property
    def key(self) -> EvaluationKey:
        """What identifies it."""
        return EvaluationKey(
            run=folder_name(self.settings.run),
            dataset=folder_name(self.dataset.uri),
            split=self.settings.split,
            masked_modality=self.settings.masked_modality,
            weights_sha256=self.run.weights_sha256,
            dataset_digest=self.dataset.digest,
            corrupt_modality=self.settings.corrupt_modality,
            corrupt_seed=self.settings.corrupt_seed,
        )

    def describe(self) -> list[tuple[str, str]]:
        """What was evaluated as pairs of a name and a text, for the page."""
        run, model, view = self.run, self.config.model, self.config.sequence
        every = f"of which one in {view.subclip_dilation} is seen"
        steps = f"{view.num_subclips} steps of {view.subclip_frames} frames, {every}"
        pairs = [
            ("run", self.settings.run),
            ("checkpoint", f"step {run.best_step}, weights {run.weights_sha256[:12]}"),
            ("validation CCC", f"{run.best_ccc:.3f}, the best of {count_text(run.num_epochs, 'epoch')}"),
            ("model", f"{model.base} with {_front_and_gate(model)}, {run.counts.get('parameters', 0):,} parameters"),
            ("sequence", steps),
            ("dataset", f"{self.dataset.uri}, digest {self.dataset.digest[:12]}"),
        ]
        if origin := run.features:
            weights = f"the run {origin.run}" if origin.run else "published weights"
            text = f"of {origin.backbone} backbones with {weights}, {origin.video_dim} of each modality"
            pairs.append(("features", text))
        settings, media = self.settings, self.config.media
        pairs.append(("clock", f"{media.frame_rate_hz:g} Hz, crops of {media.crop_px} px"))
        pairs.append(("masked modality", settings.masked_modality))
        if settings.corrupt_modality:
            chance = f"with a chance of {settings.corrupt_modality:g} per segment"
            pairs.append(("corruption", f"{chance}, seed {settings.corrupt_seed}"))
        return pairs


def _front_and_gate(model: ModelConfig) -> str:
    front = "" if model.front == "none" else f"front {model.front} and "
    return f"{front}gate {model.gate}"


def find_evaluation(config: Config) -> Evaluation:
    """The evaluation that `config.evaluate` asks for, on the run's own dataset unless it names another.

    Raises:
        UsageError: there is no run or it is not finished, or the dataset does not fit it.
    """
    settings = config.evaluate
    if not settings.run:
        raise UsageError("evaluate.run is empty; give the URI of a run that iaca train made")
    run = run_record.require_record(settings.run)
    dataset = read_dataset(settings.dataset or run.dataset_uri)
    run_config = run_config_for_dataset(run_record.read_config(settings.run), run.features, dataset)
    fingerprint = evaluation_fingerprint(config, run.weights_sha256, dataset.digest)
    folders = ("evaluations", folder_name(settings.run), f"{folder_name(dataset.uri)}-{fingerprint}")
    return Evaluation(settings, run, run_config, dataset, storage.join(config.storage.root, *folders))
