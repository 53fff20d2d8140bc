"""One trial of an ablation: one variant trained and measured on one seed's trial_data."""

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
from iaca_model.loss import concordance_loss, supervised_gate_loss
from iaca_model.model import FeatureModel, Prediction
from iaca_model.train_step import build_optimizer, optimizer_step, schedule_learning_rate
from pipeline.ablation import benchmark, measures, recordings
from pipeline.ablation.corruption import corrupt
from pipeline.ablation.feature_sequences import HEALTHY, Sequences, Source, TrialData, joined
from pipeline.ablation.recordings import Recordings
from pipeline.ablation.variants import Variant
from pipeline.config import fingerprint
from pipeline.config.sections import AblateConfig

VERSION = 1  # raise it when the same trial would give other numbers
WEIGHT_DECAY, CLIP_NORM, WARMUP = 1e-2, 1.0, 0.1
ENCODER_DIM = 48
SMALL = ModelConfig(head_dim=32, head_dropout=0.2, fusion_dropout=0.0)  # of the benchmark
AUGMENTATION_SEED = 2_000_003  # added to the trial's own
NUM_CHOICES = 10  # moments of training, evenly spaced, of which the best is kept
LARGEST = 1 << 25  # numbers in the largest tensor of a pass: the joint correlation matrices of jca

# Of the settings: what says only which other trials there are, or belongs to the other kind of trial_data.
ALIKE: dict[str, Any] = dict.fromkeys(("bases", "gates", "extras", "extra_bases"), "")
ALIKE |= {"num_workers": 0, "use_gpu": False, "num_seeds": 1, "first_seed": 0}
OF_BENCHMARK, OF_RECORDINGS = ("num_steps", "feature_dim", "num_train", "num_test"), ("phases",)
PLACES = ("data", "dataset", "memory_gb")  # and what says only where the trial_data is found


@dataclass(frozen=True)
class Trial:
    """What is to be done; everything that its numbers depend on."""

    variant: Variant
    seed: int
    settings: AblateConfig
    model: ModelConfig = SMALL  # its blocks, heads and dropout; base and gate are the variant's
    recordings: Recordings | None = None  # None: the inconsistency benchmark
    device: str = "cpu"  # of the model; sequences are drawn, corrupted and measured on the CPU

    @property
    def digest(self) -> str:
        """The fingerprint under which the trial's result is kept; which other trials there are does not matter."""
        settings = dataclasses.asdict(dataclasses.replace(self.settings, **ALIKE))
        others = OF_BENCHMARK if self.recordings else OF_RECORDINGS
        kept = {name: value for name, value in settings.items() if name not in (*PLACES, *others)}
        if kept["train_corrupted"] is None:
            del kept["train_corrupted"]
        parts: list[Any] = [VERSION, self.variant, self.seed, kept, torch.__version__]
        if found := self.recordings:
            parts += [found.digest, found.view, self.plain_fusion, _blocks(self.model)]
        return fingerprint(*parts)

    @property
    def plain_fusion(self) -> FusionConfig:
        """The sizes of every variant's fusion."""
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

    def trial_data(self) -> TrialData:
        """What it learns from and is measured on."""
        if self.recordings:
            return recordings.trial_data(self.recordings, self.settings, self.seed)
        return benchmark.trial_data(self.settings, self.seed)


def _blocks(model: ModelConfig) -> tuple[str | float, ...]:
    return model.temporal, model.joint_dim, model.head_dim, model.head_dropout


class Encoded(nn.Module):
    """FeatureModel behind a trained network per modality, or without one."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        fusion = trial.variant.fusion_config(trial.plain_fusion)
        self.model = FeatureModel(fusion, trial.model)
        self.video, self.audio = (
            _mlp(dim) if trial.settings.encoder == "mlp" else nn.Identity()
            for dim in (fusion.video_dim, fusion.audio_dim)
        )
        self.device = trial.device
        self.at_once = max(
            1, LARGEST // (max(fusion.video_dim, fusion.audio_dim) * (fusion.video_dim + fusion.audio_dim))
        )

    def forward(self, sequences: Sequences, audio_ok_NL: Tensor | None = None) -> Prediction:
        """Predict every step; of what is corrupted the model is told nothing, unless by `audio_ok_NL`."""
        video_ok_NL, heard_NL = sequences.ok_NL2.unbind(-1)
        audio_ok_NL = heard_NL if audio_ok_NL is None else heard_NL & audio_ok_NL
        return self.model(self.video(sequences.video_NLD), self.audio(sequences.audio_NLD), video_ok_NL, audio_ok_NL)

    @torch.inference_mode()
    def predict(self, source: Source, audio_ok_NL: Tensor | None = None) -> tuple[Prediction, Sequences]:
        """Predict all sequences, some at a time, in evaluation mode; also the truth about them, without features."""
        self.eval()
        found, truth = [], []
        for rows in torch.arange(len(source)).split(self.at_once):
            some = source.take(rows)
            found.append(self(some, None if audio_ok_NL is None else audio_ok_NL[rows]))
            truth.append(some.truth())
        values_NL2, valid_NL = (
            torch.cat([getattr(part, name) for part in found]) for name in ("values_BL2", "valid_BL")
        )
        gates = {name: torch.cat([part.gates[name] for part in found]) for name in found[0].gates if name == "modality"}
        return Prediction(values_NL2, valid_NL, gates, {}), joined(truth)


def _mlp(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, ENCODER_DIM), nn.ReLU(), nn.Linear(ENCODER_DIM, dim))


def run_trial(trial: Trial) -> dict[str, Any]:
    """Train and measure; a plain dict that JSON keeps.

    `ccc` on `corrupted` and `clean` test data; `gate_detects` as `measures.detection`, None without a modality gate;
    `curve` as `measures.missing_audio`; `data` as the trial_data says of itself; `update` after which it was measured.
    """
    begin_s, seed = process_time(), trial.seed
    trial_data = trial.trial_data()
    torch.manual_seed(seed)
    model = Encoded(trial).to(trial.device)
    update = fit(model, trial_data, trial)
    corrupted, truth = model.predict(trial_data.corrupted)
    return {
        "variant": trial.variant.name,
        "base": trial.variant.base,
        "gate": trial.variant.gate,
        "seed": seed,
        "ccc": {"corrupted": measures.ccc(corrupted, truth), "clean": measures.ccc(*model.predict(trial_data.clean))},
        "gate_detects": measures.detection(corrupted.gates, truth.kind_NL2),
        "curve": measures.missing_audio(lambda *hidden: model.predict(*hidden)[0], trial_data.curve, seed),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": trial_data.facts,
        "update": update,
        "cpu_s": process_time() - begin_s,
    }


def fit(model: Encoded, trial_data: TrialData, trial: Trial) -> int:
    """Train for `updates` steps; every variant sees the same batches in the same order on the same seed.

    The model is left as it was after the update that is returned: the last one, or where there is data to
    choose on, of ten evenly spaced ones that with the best mean CCC on them.
    """
    settings = trial.settings
    optimizer = build_optimizer(model, learning_rate=settings.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    order = torch.Generator().manual_seed(trial.seed)
    corruption_rng = torch.Generator().manual_seed(AUGMENTATION_SEED + trial.seed)
    choice = Choice(settings.updates, trial_data.choosing)
    for step in range(settings.updates):
        schedule_learning_rate(
            optimizer, step, peak=settings.learning_rate, num_steps=settings.updates, warmup_fraction=WARMUP
        )
        batch = trial_data.train.take(torch.randint(len(trial_data.train), (settings.batch_size,), generator=order))
        loss = loss_of(model.train(), batch, trial.variant, corruption_rng)
        ok_NL = batch.labelled_NL & batch.ok_NL2.any(-1)
        optimizer_step(model, optimizer, loss, ok_NL, clip_norm=CLIP_NORM)
        choice.consider(model, step + 1)
    return choice.restore(model)


class Choice:
    """Remembers the model at the best of ten moments, by the mean CCC on the sequences that choose."""

    def __init__(self, updates: int, choosing: tuple[Source, ...]) -> None:
        self.choosing, self.update = choosing, updates
        self.moments = {updates * (i + 1) // NUM_CHOICES for i in range(NUM_CHOICES)} if choosing else set()
        self.best = -math.inf
        self.state: dict[str, Any] | None = None

    def consider(self, model: Encoded, update: int) -> None:
        """Measure the model if this is one of the moments, and keep it if it is the best so far."""
        if update not in self.moments:
            return
        found = [measures.ccc(*model.predict(source))["mean"] or 0.0 for source in self.choosing]
        if (score := sum(found)) > self.best:
            self.best, self.update, self.state = score, update, copy.deepcopy(model.state_dict())

    def restore(self, model: Encoded) -> int:
        """Make the model what it was at the best moment, and say after which update that was."""
        if self.state is not None:
            model.load_state_dict(self.state)
        return self.update


def loss_of(model: Encoded, batch: Sequences, variant: Variant, corruption_rng: torch.Generator) -> Tensor:
    """The concordance loss, on augmented sequences where asked, plus what the modality gate is supervised of them.

    The supervised_gate_loss knows only what augmentation itself has done, as it would on real recordings.
    """
    corrupted = (corrupt(batch, variant.augment, corruption_rng) if variant.augment else batch).to(model.device)
    found = model(corrupted)
    loss = concordance_loss(found.values_BL2, corrupted.target_NL2, found.valid_BL & corrupted.labelled_NL)
    if variant.gate_supervision:
        loss = loss + variant.gate_supervision * supervised_gate_loss(
            found.gates["modality"], corrupted.kind_NL2 != HEALTHY
        )
    return loss
