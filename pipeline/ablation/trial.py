"""One trial of an ablation: one variant trained and measured on one seed's world."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn

from iaca_model.config import ModelConfig
from iaca_model.loss import concordance_loss, lesson
from iaca_model.model import FeatureModel, Prediction
from iaca_model.training import build_optimizer, cosine_schedule, set_learning_rate
from pipeline.ablation import measures
from pipeline.ablation.benchmark import HEALTHY, Sequences, World, corrupt
from pipeline.ablation.variants import Variant
from pipeline.config import fingerprint
from pipeline.sections import AblateConfig

VERSION = 1  # raise it when the same trial would give other numbers
WEIGHT_DECAY, CLIP_NORM, WARMUP = 1e-2, 1.0, 0.1
HEAD_DIM, ENCODER_DIM = 32, 48
CORRUPTION_SEED, AUGMENTATION_SEED = 1_000_003, 2_000_003  # added to the trial's own


@dataclass(frozen=True)
class Trial:
    """What is to be done; everything that its numbers depend on."""

    variant: Variant
    seed: int
    settings: AblateConfig

    @property
    def digest(self) -> str:
        """The fingerprint under which the trial's result is kept; which other trials there are does not matter."""
        alike: dict[str, Any] = {
            "bases": "",
            "gates": "",
            "extras": "",
            "extra_bases": "",
            "num_workers": 0,
            "num_seeds": 1,
            "first_seed": 0,
        }
        settings = dataclasses.replace(self.settings, **alike)
        return fingerprint(VERSION, self.variant, self.seed, settings, torch.__version__)


class Encoded(nn.Module):
    """FeatureModel behind a trained network per modality, or without one."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        settings, dim = trial.settings, trial.settings.feature_dim
        config = ModelConfig(feature_dim=dim, head_dim=HEAD_DIM, head_dropout=0.2)
        self.model = FeatureModel(trial.variant.fusion_config(settings), config)
        self.video, self.audio = (_mlp(dim) if settings.encoder == "mlp" else nn.Identity() for _ in range(2))

    def forward(self, sequences: Sequences, audio_ok_NL: Tensor | None = None) -> Prediction:
        """Predict every step; the model is told of a missing modality by `audio_ok_NL` alone."""
        present_NL = torch.ones(sequences.target_NL2.shape[:2], dtype=torch.bool)
        audio_ok_NL = present_NL if audio_ok_NL is None else audio_ok_NL
        return self.model(self.video(sequences.video_NLD), self.audio(sequences.audio_NLD), present_NL, audio_ok_NL)


def _mlp(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, ENCODER_DIM), nn.ReLU(), nn.Linear(ENCODER_DIM, dim))


def run_trial(trial: Trial) -> dict[str, Any]:
    """Train and measure; a plain dict that JSON keeps.

    `ccc` on `corrupted` and `clean` test data; `gate` as `measures.detection`, None without a modality gate;
    `curve` as `measures.missing_audio`.
    """
    begin_s, settings, seed = process_time(), trial.settings, trial.seed
    world = World(seed, settings.num_steps, settings.feature_dim)
    spoiling = torch.Generator().manual_seed(CORRUPTION_SEED + seed)
    train = corrupt(world.draw(settings.num_train), settings.corrupted, spoiling)
    clean = world.draw(settings.num_test)
    test = corrupt(clean, settings.corrupted, spoiling)
    torch.manual_seed(seed)
    model = Encoded(trial)
    fit(model, train, trial)
    model.eval()
    with torch.inference_mode():
        found = model(test)
        return {
            "variant": trial.variant.name,
            "base": trial.variant.base,
            "gate": trial.variant.gate,
            "seed": seed,
            "ccc": {"corrupted": measures.ccc(found, test), "clean": measures.ccc(model(clean), clean)},
            "gate_detects": measures.detection(found.gates, test.kind_NL2),
            "curve": measures.missing_audio(model, clean, seed),
            "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
            "cpu_s": process_time() - begin_s,
        }


def fit(model: Encoded, train: Sequences, trial: Trial) -> None:
    """Train for `updates` steps; every variant sees the same batches in the same order on the same seed."""
    settings = trial.settings
    optimizer = build_optimizer(model, learning_rate=settings.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    order = torch.Generator().manual_seed(trial.seed)
    spoiling = torch.Generator().manual_seed(AUGMENTATION_SEED + trial.seed)
    num_warmup = round(WARMUP * settings.updates)
    for step in range(settings.updates):
        share = cosine_schedule(step, num_steps=settings.updates, num_warmup=num_warmup)
        set_learning_rate(optimizer, settings.learning_rate * share)
        batch = train.take(torch.randint(len(train), (settings.batch_size,), generator=order))
        loss = loss_of(model, batch, trial.variant, spoiling)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()


def loss_of(model: Encoded, batch: Sequences, variant: Variant, spoiling: torch.Generator) -> Tensor:
    """The concordance loss, on augmented sequences where asked, plus what the modality gate is taught of them.

    The lesson knows only what augmentation itself has done, as it would on real recordings.
    """
    spoilt = corrupt(batch, variant.augment, spoiling) if variant.augment else batch
    found = model(spoilt)
    loss = concordance_loss(found.values_BL2, batch.target_NL2, found.valid_BL)
    if variant.teach:
        loss = loss + variant.teach * lesson(found.gates["modality"], spoilt.kind_NL2 != HEALTHY)
    return loss
