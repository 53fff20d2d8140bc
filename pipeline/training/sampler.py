"""Which sequences are seen in which order: a pure function of the seed and the epoch, not of the workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.config import UsageError
from pipeline.records import SampleRow


@dataclass(frozen=True, slots=True)
class SegmentSample:
    """Some phases of one segment, all cut from one range read."""

    row: SampleRow
    phases: tuple[int, ...]


def labelled(rows: Sequence[SampleRow], split: str, dataset_uri: str) -> list[SampleRow]:
    """The labelled samples of a split.

    Raises:
        UsageError: there are none; the message says whether samples or their labels are missing.
    """
    of_split = [row for row in rows if row.split == split]
    chosen = [row for row in of_split if row.label_ratio > 0]
    if chosen:
        return chosen
    if not any(row.label_ratio > 0 for row in rows):
        raise UsageError(f"{dataset_uri} has no labels; set source.labels and run iaca preprocess again")
    missing = "no labels" if of_split else "no samples"
    raise UsageError(f"the {split} split of {dataset_uri} has {missing}; change splits.val, splits.test or splits.seed")


def training_samples(
    rows: Iterable[SampleRow], *, stride: int, num_phases: int, seed: int, epoch: int
) -> list[SegmentSample]:
    """Every segment once, shuffled by (seed, epoch), at evenly spaced phases that start anew each epoch.

    Phases a whole number of dilations apart share their crops, so a sample decodes few frames.
    """
    ordered = sorted(rows, key=lambda row: row.key)
    shuffled = np.random.default_rng([seed, epoch]).permutation(len(ordered))
    samples = []
    for row in (ordered[i] for i in shuffled):
        first = _whole_number(f"{seed} {epoch} {row.key}")
        samples.append(SegmentSample(row, _spaced(first, min(stride, row.num_frames), num_phases)))
    return samples


def validation_samples(rows: Iterable[SampleRow], *, stride: int, num_phases: int) -> list[SegmentSample]:
    """Every segment once in the order of its key, at the same evenly spaced phases each time."""
    ordered = sorted(rows, key=lambda row: row.key)
    return [SegmentSample(row, _spaced(0, min(stride, row.num_frames), num_phases)) for row in ordered]


def batches(samples: Sequence[SegmentSample], batch_size: int) -> list[list[SegmentSample]]:
    """Global batches of at most `batch_size` sequences whose sizes differ by one at most; none is lost."""
    total = sum(len(sample.phases) for sample in samples)
    count = -(-total // batch_size)
    return [_between(samples, i * total // count, (i + 1) * total // count) for i in range(count)]


def part(batch: Sequence[SegmentSample], rank: int, world_size: int) -> tuple[list[SegmentSample], int]:
    """One rank's contiguous part of a global batch, and how many masked sequences make all parts equally long."""
    total = sum(len(sample.phases) for sample in batch)
    start, stop = rank * total // world_size, (rank + 1) * total // world_size
    return _between(batch, start, stop), -(-total // world_size) - (stop - start)


def _between(samples: Iterable[SegmentSample], start: int, stop: int) -> list[SegmentSample]:
    """The sequences `start` to `stop` of the flattened samples, as samples again."""
    chosen, seen = [], 0
    for sample in samples:
        phases = sample.phases[max(start - seen, 0) : max(stop - seen, 0)]
        seen += len(sample.phases)
        if phases:
            chosen.append(replace(sample, phases=phases))
    return chosen


def _spaced(first: int, num_available: int, num_phases: int) -> tuple[int, ...]:
    count = min(num_phases, num_available)
    return tuple((first + j * num_available // count) % num_available for j in range(count))


def _whole_number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
