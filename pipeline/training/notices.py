"""Notices before training: what is allowed but hardly meant."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import Config
from pipeline.records import SampleRow
from pipeline.records.quantities import count_text
from pipeline.training import sampler


def training_notices(config: Config, train_rows: Sequence[SampleRow], num_cores: int | None) -> list[str]:
    """The notices on an epoch that is a single step, and on workers that share cores.

    Args:
        config: of the run.
        train_rows: the labelled samples of the train split.
        num_cores: of this machine, which the workers share; None where each worker has its own.
    """
    settings = config.train
    stride, num_phases = config.sequence.subclip_stride, settings.phases_per_segment
    num_sequences = sampler.count_sequences(train_rows, stride=stride, num_phases=num_phases)
    notices = []
    if settings.batch_size >= num_sequences:
        notices.append(
            f"train.batch_size is {settings.batch_size}, and an epoch has {count_text(num_sequences, 'sequence')}: "
            f"each epoch is one step, {count_text(settings.epochs, 'step')} in all at most; a smaller batch gives more"
        )
    if num_cores is not None and not settings.use_gpu and settings.num_workers > num_cores:
        notices.append(
            f"train.num_workers is {settings.num_workers}: they share the {count_text(num_cores, 'core')} of this "
            f"machine, which is no faster than one worker for each"
        )
    return notices
