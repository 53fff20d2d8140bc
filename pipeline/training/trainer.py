"""The training of one run on one rank: steps, validation and checkpoints, from the newest checkpoint on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from iaca_model.batch import AnyBatch
from iaca_model.metrics import ConcordanceMeter
from iaca_model.model import EmotionModel, model_of
from iaca_model.train_step import build_optimizer, evaluate, mask_spans, schedule_learning_rate, train_step
from pipeline.config import Config
from pipeline.records import SampleRow
from pipeline.records.features import FeatureOrigin
from pipeline.training import checkpoint, published_weights, run_record, sampler
from pipeline.training.checkpoint import Checkpoint, Progress
from pipeline.training.history import History, NoHistory
from pipeline.training.loader import Loader
from pipeline.training.ranks import Ranks


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """What is trained on what; the same on every rank and in every attempt."""

    config: Config  # with the dataset's own media, sound and segments
    dataset_uri: str
    run_uri: str
    train_rows: Sequence[SampleRow]
    val_rows: Sequence[SampleRow]
    features: FeatureOrigin | None = None  # where the dataset holds features: then the backbones are no part of it


class Trainer:
    """One rank's part in a run, from the newest checkpoint on.

    Noise (dropout, hidden spans) is drawn anew for each step from (seed, step, rank), so that a resumed run equals an
    undisturbed one without any generator's state in its checkpoints.
    """

    def __init__(self, plan: TrainPlan, ranks: Ranks, wrap: Callable[[nn.Module], nn.Module] | None = None) -> None:
        self.plan, self.ranks, self.train = plan, ranks, plan.config.train
        found, self.passed_over = checkpoint.load_newest(plan.run_uri)
        torch.manual_seed(self.train.seed)
        spec = run_record.spec_of(plan.config, plan.features)
        self._bare = model_of(spec, plan.config.model)
        if found:
            self._bare.load_state_dict(found.model)
        elif isinstance(self._bare, EmotionModel):
            published_weights.start_from(self._bare, plan.config.weights)
        self._model = wrap(self._bare) if wrap else self._bare
        self._optimizer = build_optimizer(
            self._model, learning_rate=self.train.learning_rate, weight_decay=self.train.weight_decay
        )
        if found:
            self._optimizer.load_state_dict(found.optimizer)
        self.progress = found.progress if found else Progress()
        self._attempt = 1
        view, limits = plan.config.sequence, {"max_bad_samples": self.train.max_bad_samples}
        self._loader = Loader(plan.dataset_uri, view, spec, ranks.rank, ranks.world_size, **limits)
        self.num_steps = self.train.epochs * len(self._batches(epoch=0))

    @property
    def is_over(self) -> bool:
        """Whether every epoch is done, or `patience` of them brought nothing better."""
        return self.progress.epoch >= self.train.epochs or self.progress.epochs_since_best >= self.train.patience

    def run(self, attempt: int = 1, after_epoch: Callable[[dict[str, float]], None] | None = None) -> Progress:
        """Train to the end.

        Args:
            attempt: noted in the history; a later one of the same run supersedes it.
            after_epoch: called on every rank with the epoch's measurements, e.g. to report them.

        Raises:
            FloatingPointError: loss or gradient is not finite.
            SupersededError: training of this run was started again meanwhile.
            RuntimeError: too many samples in a row cannot be read, or validation has nothing to score.
        """
        writes, self._attempt = self.ranks.rank == 0, attempt
        with History(self.plan.run_uri, self.progress.step) if writes else NoHistory() as history:
            history.add({"step": self.progress.step, "attempt": attempt, "passed_over": self.passed_over})
            while not self.is_over:
                measured = self._epoch(history)
                if after_epoch:
                    after_epoch(measured)
            if writes:
                self._publish_best()
        return self.progress

    def _epoch(self, history: History | NoHistory) -> dict[str, float]:
        started = time.monotonic()
        batches = self._batches(self.progress.epoch)
        for batch in self._loader.read(batches[self.progress.batch :]):
            self._step(batch, history)
            if self.progress.step % self.train.checkpoint_every_steps == 0 and self.progress.batch < len(batches):
                self._save(history)
        ccc = self._validate()
        num_bad = int(self.ranks.total(torch.tensor(self._loader.num_bad)).item())
        self._loader.num_bad = 0
        epoch, loss = self.progress.epoch + 1, self.progress.loss_sum / self.progress.batch
        done = replace(self.progress, epoch=epoch, batch=0, loss_sum=0.0, num_bad=self.progress.num_bad + num_bad)
        self.progress = checkpoint.with_best(done, ccc["mean"])
        measured = {"epoch": epoch, "train_loss": loss, **{f"val_ccc_{name}": value for name, value in ccc.items()}}
        history.add({"step": self.progress.step, **measured, "seconds": round(time.monotonic() - started, 3)})
        self._save(history)
        return measured

    def _step(self, batch: AnyBatch, history: History | NoHistory) -> None:
        step, train = self.progress.step, self.train
        noise = np.random.SeedSequence([train.seed, step, self.ranks.rank]).generate_state(2)
        torch.manual_seed(int(noise[0]))
        generator = torch.Generator().manual_seed(int(noise[1]))
        learning_rate = schedule_learning_rate(
            self._optimizer,
            step,
            peak=train.learning_rate,
            num_steps=self.num_steps,
            warmup_fraction=train.warmup_fraction,
        )
        batch = mask_spans(batch, train.drop_modality, generator)
        loss = train_step(
            self._model,
            batch,
            self._optimizer,
            clip_norm=train.clip_norm,
            precision=train.precision,
            reduce=self.ranks.reduce,
            world_size=self.ranks.world_size,
        )
        now = self.progress
        self.progress = replace(now, step=step + 1, batch=now.batch + 1, loss_sum=now.loss_sum + loss)
        row = {"step": step + 1, "epoch": now.epoch + 1, "loss": loss, "learning_rate": learning_rate}
        history.add(row)

    def _batches(self, epoch: int) -> list[list[sampler.SegmentSample]]:
        train = self.train
        stride = self.plan.config.sequence.subclip_stride
        spread = {"stride": stride, "num_phases": train.phases_per_segment}
        samples = sampler.training_samples(self.plan.train_rows, **spread, seed=train.seed, epoch=epoch)
        return sampler.batches(samples, train.batch_size)

    def _validate(self) -> dict[str, float]:
        """CCC over all ranks, at the same `phases_per_segment` evenly spaced phases of every segment each time."""
        spread = {"stride": self.plan.config.sequence.subclip_stride, "num_phases": self.train.phases_per_segment}
        batches = sampler.batches(sampler.validation_samples(self.plan.val_rows, **spread), self.train.batch_size)
        for buffer in self._bare.buffers():  # batch statistics, of which each rank has its own until DDP's next forward
            buffer.copy_(self.ranks.from_first(buffer))
        # The bare model: with DDP's forward a rank with fewer batches would keep the others waiting.
        meter = evaluate(self._bare, self._loader.read(batches))
        ccc = ConcordanceMeter.from_state(self.ranks.total(meter.state())).compute()
        if ccc["mean"] is None:
            raise RuntimeError(
                f"none of the {len(self.plan.val_rows)} validation segments has a labelled step with a face or sound, "
                f"so no epoch can be judged; change splits.val or splits.seed, or look at videos.parquet"
            )
        return {name: value for name, value in ccc.items() if value is not None}

    def _save(self, history: History | NoHistory) -> None:
        if isinstance(history, NoHistory):
            return
        run_record.require_newest(self.plan.run_uri, self._attempt)
        history.publish()
        state = self._optimizer.state_dict()
        weights = {name: tensor.detach().cpu() for name, tensor in self._bare.state_dict().items()}
        checkpoint.save(self.plan.run_uri, Checkpoint(self.progress, weights, state))
        if self.progress.best_step == self.progress.step:
            self._publish_best()
        checkpoint.prune(self.plan.run_uri, self.train.keep_checkpoints, self.progress.best_step)

    def _publish_best(self) -> None:
        if self.progress.best_ccc is not None:
            run_record.write_best(self.plan.run_uri, self.progress.best_step, self.progress.best_ccc)
