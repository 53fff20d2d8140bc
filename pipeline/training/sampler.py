"""The order in which sequences are trained on: a pure function of the seed and the epoch, not of the workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import numpy as np

from pipeline.config import UsageError
from pipeline.records import SampleRow


@dataclass(frozen=True, slots=True)
class SegmentSample:
    """Some of the sequences of one segment, by their phases; all are cut from one range read."""

    row: SampleRow
    phases: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RankSlice:
    """One rank's part of a global batch."""

    samples: list[SegmentSample]
    first: int  # position in the global batch of the first sequence
    num_padding: int  # padding sequences that follow, so that all parts are equally long


def labelled_rows(rows: Sequence[SampleRow], split: str, dataset_uri: str) -> list[SampleRow]:
    """The rows of a split that have labels.

    Raises:
        UsageError: there are none; whether samples or only their labels are missing is in the message.
    """
    of_split = [row for row in rows if row.split == split]
    labelled = [row for row in of_split if row.label_ratio > 0]
    if labelled:
        return labelled
    if not any(row.label_ratio > 0 for row in rows):
        raise UsageError(f"{dataset_uri} has no labels; set source.labels and run iaca preprocess again")
    missing = "no labels" if of_split else "no samples"
    raise UsageError(f"the {split} split of {dataset_uri} has {missing}; change splits.val, splits.test or splits.seed")


def training_samples(
    rows: Iterable[SampleRow], *, stride: int, num_phases: int, seed: int, epoch: int
) -> list[SegmentSample]:
    """Every segment once, shuffled by (seed, epoch), at evenly spaced phases whose first one depends on the epoch.

    Phases a whole number of dilations apart share their crops, so a sample decodes few frames.
    """
    ordered = sorted(rows, key=lambda row: row.key)
    shuffled = np.random.default_rng([seed, epoch]).permutation(len(ordered))
    samples = []
    for row in (ordered[i] for i in shuffled):
        first_phase = _hash_to_int(f"{seed} {epoch} {row.key}")
        phases = _evenly_spaced_phases(row, first_phase, stride, num_phases)
        samples.append(SegmentSample(row, phases))
    return samples


def validation_samples(rows: Iterable[SampleRow], *, stride: int, num_phases: int) -> list[SegmentSample]:
    """Every segment once in the order of its key, at the same evenly spaced phases each time."""
    ordered = sorted(rows, key=lambda row: row.key)
    return [SegmentSample(row, _evenly_spaced_phases(row, 0, stride, num_phases)) for row in ordered]


def count_sequences(rows: Iterable[SampleRow], *, stride: int, num_phases: int) -> int:
    """How many sequences `training_samples` and `validation_samples` have, without their order."""
    return sum(_num_phases(row, stride, num_phases) for row in rows)


def batches(samples: Sequence[SegmentSample], batch_size: int) -> list[list[SegmentSample]]:
    """Global batches of at most `batch_size` sequences whose sizes differ by one at most; no sequence is lost."""
    sequences = _sequences_of(samples)
    total = len(sequences)
    count = -(-total // batch_size)
    return [_samples_of(samples, sequences[i * total // count : (i + 1) * total // count]) for i in range(count)]


def rank_slice(batch: Sequence[SegmentSample], rank: int, world_size: int) -> RankSlice:
    """One rank's contiguous part of a global batch."""
    sequences = _sequences_of(batch)
    total = len(sequences)
    start, stop = rank * total // world_size, (rank + 1) * total // world_size
    return RankSlice(_samples_of(batch, sequences[start:stop]), start, -(-total // world_size) - (stop - start))


def positions_of_other_groups(groups: Sequence[str | None]) -> list[int | None]:
    """For each sequence the position of the next one of another group, the first after the last; None: there is none.

    Args:
        groups: of each sequence; None marks one that holds nothing.
    """
    count = len(groups)
    if len({group for group in groups if group}) < 2:
        return [None] * count
    positions: list[int | None] = []
    for i, group in enumerate(groups):
        following = ((i + distance) % count for distance in range(1, count))
        positions.append(next((j for j in following if group and groups[j] and groups[j] != group), None))
    return positions


def _sequences_of(samples: Sequence[SegmentSample]) -> list[tuple[int, int]]:
    """Each sequence of all samples: the index of its sample and its phase."""
    return [(i, phase) for i, sample in enumerate(samples) for phase in sample.phases]


def _samples_of(samples: Sequence[SegmentSample], sequences: Sequence[tuple[int, int]]) -> list[SegmentSample]:
    """These sequences as samples again."""
    by_sample = groupby(sequences, key=itemgetter(0))
    return [replace(samples[i], phases=tuple(phase for _, phase in group)) for i, group in by_sample]


def _evenly_spaced_phases(row: SampleRow, first: int, stride: int, num_phases: int) -> tuple[int, ...]:
    num_available, count = min(stride, row.num_frames), _num_phases(row, stride, num_phases)
    return tuple((first + j * num_available // count) % num_available for j in range(count))


def _num_phases(row: SampleRow, stride: int, num_phases: int) -> int:
    """How many of `num_phases` a segment has: one that is shorter than the stride has a phase for each frame."""
    return min(num_phases, stride, row.num_frames)


def _hash_to_int(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
