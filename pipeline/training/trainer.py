"""The training of one run on one rank: steps, validation and checkpoints, from the newest checkpoint on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from iaca_model.metrics import ConcordanceMeter
from iaca_model.model import EmotionModel, model_of
from iaca_model.train_step import build_optimizer, evaluate, mask_spans, schedule_learning_rate, train_step
from pipeline.config import Config
from pipeline.records import SampleRow
from pipeline.records.features import FeatureOrigin
from pipeline.training import checkpoint, run_record, sampler
from pipeline.training.augmentation import corrupt_part
from pipeline.training.checkpoint import Checkpoint, TrainingState
from pipeline.training.compatibility import spec_of
from pipeline.training.history import History
from pipeline.training.loader import BatchPart, Loader
from pipeline.training.published_weights import load_published_weights
from pipeline.training.ranks import Ranks
from pipeline.training.sampler import SegmentSample


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """What is trained on what; the same on every rank and in every attempt."""

    config: Config  # with the dataset's own media, faces, sound and segments
    dataset_uri: str
    run_uri: str
    train_rows: Sequence[SampleRow]
    val_rows: Sequence[SampleRow]
    features: FeatureOrigin | None = None  # of a dataset of features; None: crops and sound


class Trainer:
    """One rank's part in a run, from the newest checkpoint on.

    Noise (dropout, masked spans) is drawn anew for each step from (seed, step, rank), corruption from (seed, step,
    position in the global batch), so that a resumed run equals an undisturbed one without any generator's state in its
    checkpoints.
    """

    def __init__(self, plan: TrainPlan, ranks: Ranks, wrap: Callable[[nn.Module], nn.Module] | None = None) -> None:
        self.plan, self.ranks, self._settings = plan, ranks, plan.config.train
        newest, self.damaged_checkpoints = checkpoint.load_newest(plan.run_uri)
        torch.manual_seed(self._settings.seed)
        spec = spec_of(plan.config, plan.features)
        self._unwrapped = model_of(spec, plan.config.model)
        if newest:
            self._unwrapped.load_state_dict(newest.model)
        elif isinstance(self._unwrapped, EmotionModel):
            load_published_weights(self._unwrapped, plan.config.weights)
        self._model = wrap(self._unwrapped) if wrap else self._unwrapped
        self._optimizer = build_optimizer(
            self._model, learning_rate=self._settings.learning_rate, weight_decay=self._settings.weight_decay
        )
        if newest:
            self._optimizer.load_state_dict(newest.optimizer)
        self.state = newest.state if newest else TrainingState()
        self._attempt = 1
        self._loader = Loader(
            plan.dataset_uri, plan.config.sequence, spec, ranks, max_bad_samples=self._settings.max_bad_samples
        )
        self.num_steps = self._settings.epochs * len(self._training_batches(epoch=0))

    @property
    def is_over(self) -> bool:
        """Whether every epoch is done, or the last `patience` epochs were no better than the best one."""
        state = self.state
        return state.epochs_done >= self._settings.epochs or state.epochs_since_best >= self._settings.patience

    def run(self, attempt: int = 1, after_epoch: Callable[[dict[str, float]], None] | None = None) -> TrainingState:
        """Train to the end.

        Args:
            attempt: its number, for the history; a later attempt of the same run supersedes it.
            after_epoch: called on every rank with the epoch's measurements, e.g. to report them.

        Raises:
            FloatingPointError: loss or gradient is not finite.
            SupersededError: training of this run was started again meanwhile.
            RuntimeError: too many samples in a row cannot be read, or validation has nothing to score.
        """
        self._attempt = attempt
        is_first_rank = self.ranks.rank == 0
        with History(self.plan.run_uri, self.state.step) if is_first_rank else nullcontext() as history:
            if history:
                damaged = self.damaged_checkpoints
                history.add({"step": self.state.step, "attempt": attempt, "damaged_checkpoints": damaged})
            while not self.is_over:
                measurements = self._train_epoch(history)
                if after_epoch:
                    after_epoch(measurements)
        if is_first_rank:
            self._write_best()
        return self.state

    def _train_epoch(self, history: History | None) -> dict[str, float]:
        """One epoch, or the rest of it, then validation and a checkpoint; only the first rank has a history."""
        started = time.monotonic()
        batches = self._training_batches(self.state.epochs_done)
        for part in self._loader.read(batches[self.state.batches_done :]):
            self._train_batch(part, history)
            is_due = self.state.step % self._settings.checkpoint_every_steps == 0
            if history and is_due and self.state.batches_done < len(batches):
                self._save(history)
        ccc = self._validate()
        num_unreadable = int(self.ranks.all_reduce_sum(torch.tensor(self._loader.num_unreadable)).item())
        self._loader.num_unreadable = 0
        epoch, train_loss = self.state.epochs_done + 1, self.state.loss_sum / self.state.batches_done
        self.state = replace(
            self.state,
            epochs_done=epoch,
            batches_done=0,
            loss_sum=0.0,
            num_unreadable=self.state.num_unreadable + num_unreadable,
        ).after_validation(ccc["mean"])
        measurements = {
            "epoch": epoch,
            "train_loss": train_loss,
            **{f"val_ccc_{name}": value for name, value in ccc.items()},
        }
        if history:
            seconds = round(time.monotonic() - started, 3)
            history.add({"step": self.state.step, **measurements, "seconds": seconds})
            self._save(history)
        return measurements

    def _train_batch(self, part: BatchPart, history: History | None) -> None:
        settings, state = self._settings, self.state
        seeds = np.random.SeedSequence([settings.seed, state.step, self.ranks.rank]).generate_state(2)
        torch.manual_seed(int(seeds[0]))  # dropout
        generator = torch.Generator().manual_seed(int(seeds[1]))
        learning_rate = schedule_learning_rate(
            self._optimizer,
            state.step,
            peak=settings.learning_rate,
            num_steps=self.num_steps,
            warmup_fraction=settings.warmup_fraction,
        )
        masked = mask_spans(part.batch, settings.drop_modality, generator)
        loss = train_step(
            self._model,
            corrupt_part(part, masked, settings, state.step),
            self._optimizer,
            clip_norm=settings.clip_norm,
            precision=settings.precision,
            reduce=self.ranks.all_reduce_with_gradient,
            world_size=self.ranks.world_size,
        )
        self.state = replace(
            state, step=state.step + 1, batches_done=state.batches_done + 1, loss_sum=state.loss_sum + loss
        )
        if history:
            epoch = state.epochs_done + 1
            history.add({"step": self.state.step, "epoch": epoch, "loss": loss, "learning_rate": learning_rate})

    def _training_batches(self, epoch: int) -> list[list[SegmentSample]]:
        samples = sampler.training_samples(
            self.plan.train_rows,
            stride=self.plan.config.sequence.subclip_stride,
            num_phases=self._settings.phases_per_segment,
            seed=self._settings.seed,
            epoch=epoch,
        )
        return sampler.batches(samples, self._settings.batch_size)

    def _validate(self) -> dict[str, float]:
        """CCC over all ranks, at the same `phases_per_segment` evenly spaced phases of every segment each time."""
        samples = sampler.validation_samples(
            self.plan.val_rows,
            stride=self.plan.config.sequence.subclip_stride,
            num_phases=self._settings.phases_per_segment,
        )
        for buffer in self._unwrapped.buffers():  # batch statistics: each rank has its own until DDP's next forward
            buffer.copy_(self.ranks.broadcast_from_first(buffer))
        # The unwrapped model: with DDP's forward a rank with fewer batches would keep the others waiting.
        parts = self._loader.read(sampler.batches(samples, self._settings.batch_size))
        meter = evaluate(self._unwrapped, (part.batch for part in parts))
        ccc = ConcordanceMeter.from_state(self.ranks.all_reduce_sum(meter.state())).compute()
        if ccc["mean"] is None:
            raise RuntimeError(
                f"none of the {len(self.plan.val_rows)} validation segments has a labelled step with a face or sound, "
                f"so no epoch can be judged; change splits.val or splits.seed, or see videos.parquet"
            )
        return {name: value for name, value in ccc.items() if value is not None}

    def _save(self, history: History) -> None:
        """Publish the history, then a checkpoint, then which one is the best."""
        run_record.require_newest_attempt(self.plan.run_uri, self._attempt)
        history.publish()
        weights = {name: tensor.detach().cpu() for name, tensor in self._unwrapped.state_dict().items()}
        checkpoint.save(self.plan.run_uri, Checkpoint(self.state, weights, self._optimizer.state_dict()))
        if self.state.best_step == self.state.step:
            self._write_best()
        checkpoint.prune(self.plan.run_uri, self._settings.keep_checkpoints, self.state.best_step)

    def _write_best(self) -> None:
        if self.state.best_ccc is not None:
            run_record.write_best(self.plan.run_uri, self.state.best_step, self.state.best_ccc)
