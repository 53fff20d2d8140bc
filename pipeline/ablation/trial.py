"""One trial of an ablation: one variant trained and measured on the data of one seed."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn

from iaca_model.config import FeatureSpec, FusionConfig, ModelConfig
from iaca_model.corruption import HEALTHY
from iaca_model.detection import VERDICTS, detection
from iaca_model.layers import mask
from iaca_model.loss import concordance_loss, supervised_gate_loss
from iaca_model.model import FeatureModel, Prediction
from iaca_model.train_step import build_optimizer, optimizer_step, schedule_learning_rate
from pipeline.ablation import measures
from pipeline.ablation.benchmark import make_trial_data
from pipeline.ablation.corruption import corrupt, span_lengths
from pipeline.ablation.feature_sequences import SequenceSource, TrialData, TrialSequences, concatenate
from pipeline.ablation.recordings import Recordings, read_trial_data
from pipeline.ablation.variants import Variant
from pipeline.config import fingerprint
from pipeline.config.job_sections import AblateConfig

VERSION = 2  # raise it when the same trial would give other numbers
WEIGHT_DECAY, CLIP_NORM, WARMUP_FRACTION = 1e-2, 1.0, 0.1
ENCODER_DIM = 48
BENCHMARK_MODEL = ModelConfig(head_dim=32, head_dropout=0.2, fusion_dropout=0.0)
AUGMENTATION_SEED = 2_000_003  # added to the seed of the trial
NUM_MOMENTS = 10  # of training, evenly spaced, from which the best is selected
MAX_TENSOR_SIZE = 1 << 25  # numbers in the largest tensor of a pass: the joint correlation matrices of jca

# Settings that the numbers of a trial do not depend on: they name the other trials (and get these values in its
# digest), say where the data is and the trial runs, or belong to the other kind of data.
_OTHER_TRIALS: dict[str, Any] = {
    "bases": "",
    "gates": "",
    "fronts": "",
    "extras": "",
    "extra_bases": "",
    "num_workers": 0,
    "num_seeds": 1,
    "first_seed": 0,
}
_LOCATION = ("data", "dataset", "memory_gb", "use_gpu")
_OF_BENCHMARK = ("num_steps", "feature_dim", "num_train", "num_test", "identity", "temporal")
_OF_RECORDINGS = ("phases",)


@dataclass(frozen=True)
class Trial:
    """A trial to be run: everything that its numbers depend on."""

    variant: Variant
    seed: int
    settings: AblateConfig
    model: ModelConfig = BENCHMARK_MODEL  # its blocks, heads and dropout; base and gate are the variant's
    recordings: Recordings | None = None  # None: the inconsistency benchmark
    device: str = "cpu"  # of the model; sequences are drawn, corrupted and measured on the CPU

    @property
    def digest(self) -> str:
        """Fingerprint of the trial, the name of its result; which other trials there are does not matter."""
        settings = dataclasses.asdict(dataclasses.replace(self.settings, **_OTHER_TRIALS))
        for name in (*_LOCATION, *(_OF_BENCHMARK if self.recordings else _OF_RECORDINGS)):
            del settings[name]
        if settings["train_corrupted"] is None:
            del settings["train_corrupted"]
        parts: list[Any] = [VERSION, self.variant, self.seed, settings, torch.__version__]
        if self.recordings:
            model = self.model
            blocks = (model.temporal, model.joint_dim, model.head_dim, model.head_dropout)
            parts += [self.recordings.digest, self.recordings.view, self.fusion_sizes, blocks]
        return fingerprint(*parts)

    @property
    def fusion_sizes(self) -> FusionConfig:
        """Sizes and dropout that the fusions of all variants have in common, with the smallest base and no gate."""
        dim, length = self.settings.feature_dim, self.settings.num_steps
        spec = self.recordings.spec if self.recordings else FeatureSpec(length, dim, dim)
        return FusionConfig(
            video_dim=spec.video_dim,
            audio_dim=spec.audio_dim,
            num_steps=spec.num_steps,
            base="concat",
            gate="none",
            dropout=self.model.fusion_dropout,
            attention_temperature=self.model.attention_temperature,
        )

    @property
    def model_config(self) -> ModelConfig:
        """Blocks and heads of the model: those of the configuration, or on the benchmark with its temporal block."""
        if self.recordings:
            return self.model
        return dataclasses.replace(self.model, temporal=self.settings.temporal)

    def load_data(self) -> TrialData:
        """Read the recordings, or generate the benchmark of this seed."""
        if self.recordings:
            return read_trial_data(self.recordings, self.settings, self.seed)
        return make_trial_data(self.settings, self.seed)


class TrialModel(nn.Module):
    """The model of a trial: FeatureModel behind a trained encoder per modality, or without encoders.

    Args:
        trial: its variant, sizes and device.
    """

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        fusion = trial.variant.fusion_config(trial.fusion_sizes)
        video_dim, audio_dim = fusion.video_dim, fusion.audio_dim
        self.model = FeatureModel(fusion, trial.model_config)
        self.oracle = trial.variant.oracle
        has_encoders = trial.settings.encoder == "mlp"
        self.video = _build_encoder(video_dim) if has_encoders else nn.Identity()
        self.audio = _build_encoder(audio_dim) if has_encoders else nn.Identity()
        self.device = trial.device
        self.num_at_once = max(1, MAX_TENSOR_SIZE // (max(video_dim, audio_dim) * (video_dim + audio_dim)))

    def forward(self, sequences: TrialSequences, audio_ok_NL: Tensor | None = None) -> Prediction:
        """Predict every step; steps where `audio_ok_NL` is False are masked besides those of the sequences."""
        video_ok_NL, present_audio_NL = sequences.ok_NL2.unbind(-1)
        audio_ok_NL = present_audio_NL if audio_ok_NL is None else present_audio_NL & audio_ok_NL
        video_NLD, audio_NLD = self.video(sequences.video_NLD), self.audio(sequences.audio_NLD)
        if self.oracle:
            video_healthy_NL, audio_healthy_NL = (sequences.kind_NL2 == HEALTHY).unbind(-1)
            video_NLD, audio_NLD = mask(video_NLD, video_healthy_NL), mask(audio_NLD, audio_healthy_NL)
        return self.model(video_NLD, audio_NLD, video_ok_NL, audio_ok_NL)

    def predict(self, source: SequenceSource, audio_ok_NL: Tensor | None = None) -> Prediction:
        """Predict all sequences in evaluation mode; see `forward` for `audio_ok_NL`."""
        return self.predict_with_labels(source, audio_ok_NL)[0]

    @torch.inference_mode()
    def predict_with_labels(
        self, source: SequenceSource, audio_ok_NL: Tensor | None = None
    ) -> tuple[Prediction, TrialSequences]:
        """Predict all sequences in evaluation mode, and return them without their features beside the prediction.

        They are taken from the source, moved to the model's device, predicted and dropped a few at a time, to bound
        the memory. Of the gates only those between the modalities are kept, of the attention nothing; what is returned
        is on the CPU.
        """
        self.eval()
        predictions, labels = [], []
        for indices in torch.arange(len(source)).split(self.num_at_once):
            sequences = source.take(indices)
            present_NL = None if audio_ok_NL is None else audio_ok_NL[indices].to(self.device)
            predictions.append(self(sequences.to(self.device), present_NL))
            labels.append(sequences.without_features())
        values_NL2 = torch.cat([prediction.values_BL2 for prediction in predictions]).cpu()
        valid_NL = torch.cat([prediction.valid_BL for prediction in predictions]).cpu()
        gates = {
            name: torch.cat([prediction.gates[name] for prediction in predictions]).cpu()
            for name in VERDICTS
            if name in predictions[0].gates
        }
        return Prediction(values_NL2, valid_NL, gates, {}), concatenate(labels)


def _build_encoder(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, ENCODER_DIM), nn.ReLU(), nn.Linear(ENCODER_DIM, dim))


def run_trial(trial: Trial) -> dict[str, Any]:
    """Train and measure one variant.

    Returns:
        a dict that JSON can hold: `ccc` on `corrupted` and `clean` test data; `detection` of each verdict by its
        name, as `iaca_model.detection.detection`; `curve` as `measures.missing_audio`; `data`, the `TrialData.counts`;
        `update`, the number of updates after which the model was measured.
    """
    begin_s, seed = process_time(), trial.seed
    data = trial.load_data()
    torch.manual_seed(seed)
    model = TrialModel(trial).to(trial.device)
    update = train_variant(model, data, trial)
    corrupted, corrupted_labels = model.predict_with_labels(data.corrupted)
    clean, clean_labels = model.predict_with_labels(data.clean)
    return {
        "variant": trial.variant.name,
        "base": trial.variant.base,
        "gate": trial.variant.gate,
        "seed": seed,
        "ccc": {
            "corrupted": measures.ccc(corrupted, corrupted_labels),
            "clean": measures.ccc(clean, clean_labels),
        },
        "detection": {
            name: detection(weights_NL2, corrupted_labels.kind_NL2) for name, weights_NL2 in corrupted.gates.items()
        },
        "curve": measures.missing_audio(model.predict, data.curve, seed),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": data.counts,
        "update": update,
        "cpu_s": process_time() - begin_s,
    }


def train_variant(model: TrialModel, data: TrialData, trial: Trial) -> int:
    """Train for `updates` steps; every variant has the same batches in the same order on the same seed.

    Returns:
        the update after which the model is left: the last one, or with `data.selection`, the one of ten evenly spaced
        ones with the best mean CCC on it.
    """
    settings = trial.settings
    optimizer = build_optimizer(model, learning_rate=settings.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    order_rng = torch.Generator().manual_seed(trial.seed)
    corruption_rng = torch.Generator().manual_seed(AUGMENTATION_SEED + trial.seed)
    moments = {settings.updates * (i + 1) // NUM_MOMENTS for i in range(NUM_MOMENTS)} if data.selection else set()
    best_ccc, best_update, best_state = -math.inf, settings.updates, None
    for step in range(settings.updates):
        schedule_learning_rate(
            optimizer, step, peak=settings.learning_rate, num_steps=settings.updates, warmup_fraction=WARMUP_FRACTION
        )
        batch = data.train.take(torch.randint(len(data.train), (settings.batch_size,), generator=order_rng))
        loss = training_loss(model.train(), batch, trial, corruption_rng)
        ok_NL = batch.labelled_NL & batch.ok_NL2.any(-1)
        optimizer_step(model, optimizer, loss, ok_NL, clip_norm=CLIP_NORM)
        if step + 1 in moments:
            ccc = _selection_ccc(model, data.selection)
            if ccc > best_ccc:
                best_ccc, best_update, best_state = ccc, step + 1, copy.deepcopy(model.state_dict())
    if best_state is not None:
        model.load_state_dict(best_state)
    return best_update


def _selection_ccc(model: TrialModel, selection: tuple[SequenceSource, ...]) -> float:
    """Sum of the mean CCC on each source; an undefined one counts as 0."""
    return sum(measures.ccc(*model.predict_with_labels(source))["mean"] or 0.0 for source in selection)


def training_loss(model: TrialModel, batch: TrialSequences, trial: Trial, corruption_rng: torch.Generator) -> Tensor:
    """Concordance loss of a batch, on corrupted copies where the trial augments, plus gate supervision if it has it.

    The gate supervision marks only what augmentation itself has corrupted, because of real recordings nothing else is
    known.
    """
    sequences = augment(batch, trial, corruption_rng).to(model.device)
    prediction = model(sequences)
    ok_NL = prediction.valid_BL & sequences.labelled_NL
    loss = concordance_loss(prediction.values_BL2, sequences.target_NL2, ok_NL)
    if weight := trial.variant.gate_supervision:
        corrupted_NL2 = sequences.kind_NL2 != HEALTHY
        loss = loss + weight * supervised_gate_loss(prediction.gates["modality"], corrupted_NL2)
    return loss


def augment(batch: TrialSequences, trial: Trial, corruption_rng: torch.Generator) -> TrialSequences:
    """Corrupt further spans of a batch; an oracle knows of the earlier ones, too."""
    chance = trial.variant.augment or trial.settings.augment
    if not chance:
        return batch
    augmented = corrupt(batch, chance, corruption_rng, span_lengths(trial.settings))
    if not trial.variant.oracle:
        return augmented
    is_new_NL2 = augmented.kind_NL2 != HEALTHY
    return dataclasses.replace(augmented, kind_NL2=torch.where(is_new_NL2, augmented.kind_NL2, batch.kind_NL2))
