"""Notices before training: what is allowed but hardly meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.config import Config
from pipeline.records import SampleRow
from pipeline.records.quantities import count_text, percent_text
from pipeline.training import sampler

MAX_WITHOUT_OTHER_GROUP = 0.05  # share of sequences with nothing to swap in that needs no notice


def training_warnings(config: Config) -> list[str]:
    """What the result of the run keeps, because its model lacks what it seems to have: a front without corruption."""
    if config.model.front == "none" or config.train.corrupt_modality > 0:
        return []
    return [
        f"model.front is {config.model.front}, but train.corrupt_modality is 0: a front that meets no corruption in "
        f"training does not learn what to detect, and gains nothing reliable on corrupted data "
        f"(docs/reliability-front.md); set train.corrupt_modality, e.g. to 0.5, or model.front to none"
    ]


def training_notices(config: Config, train_rows: Sequence[SampleRow], num_cores: int | None) -> list[str]:
    """The notices on an epoch that is a single step, on workers that share cores, and on spans that nothing replaces.

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
    if settings.corrupt_modality > 0 and settings.corrupt_swapped > 0:
        share = _share_without_other_group(config, train_rows)
        if share > MAX_WITHOUT_OTHER_GROUP:
            notices.append(
                f"{percent_text(share)} of the sequences are in a worker's part of a batch with one group only: there "
                f"train.corrupt_swapped has nothing to swap in, and the span stays healthy; raise train.batch_size "
                f"({settings.batch_size}), or lower train.num_workers ({settings.num_workers}) or "
                f"train.phases_per_segment ({num_phases})"
            )
    return notices


def _share_without_other_group(config: Config, train_rows: Sequence[SampleRow]) -> float:
    """The share of the first epoch's sequences that no sequence of another group accompanies."""
    positions = [
        position
        for groups in _groups_of_parts(config, train_rows)
        for position in sampler.positions_of_other_groups(groups)
    ]
    return positions.count(None) / len(positions)


def _groups_of_parts(config: Config, train_rows: Sequence[SampleRow]) -> Iterator[list[str]]:
    """The groups of the sequences of each worker's part of each batch of the first epoch."""
    settings = config.train
    samples = sampler.training_samples(
        train_rows,
        stride=config.sequence.subclip_stride,
        num_phases=settings.phases_per_segment,
        seed=settings.seed,
        epoch=0,
    )
    for batch in sampler.batches(samples, settings.batch_size):
        for rank in range(settings.num_workers):
            part = sampler.rank_slice(batch, rank, settings.num_workers)
            yield [sample.row.group for sample in part.samples for _ in sample.phases]
