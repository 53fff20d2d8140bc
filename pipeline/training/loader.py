"""The shards of a dataset as batches for one rank: one range read per sample, read ahead by threads."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import islice

import numpy as np
import torch

from iaca_model.batch import AnyBatch, Batch, FeatureBatch
from iaca_model.config import FeatureSpec, InputSpec
from pipeline import storage
from pipeline.config.sections import SequenceConfig
from pipeline.dataset.format.samples import SampleError, decode_slice
from pipeline.records import SampleRow, Segment
from pipeline.training import sequences
from pipeline.training.sampler import SegmentSample, part
from pipeline.training.sequences import FeatureSequences, Sequences

log = logging.getLogger(__name__)


def read_segment(dataset_uri: str, row: SampleRow) -> Segment:
    """One sample by a range read of its shard.

    Raises:
        SampleError: the bytes at that place are not the sample that the index promises.
        OSError: they cannot be read.
    """
    shard_uri = storage.join(dataset_uri, "shards", row.shard)
    data = storage.read_bytes(shard_uri, row.offset, row.size)
    if len(data) != row.size:
        raise SampleError(f"{shard_uri} ends {row.size - len(data)} bytes before sample {row.key} does")
    segment = decode_slice(data)
    if segment.key != row.key:
        raise SampleError(f"{shard_uri} holds {segment.key} at byte {row.offset}; the index says {row.key}")
    return segment


Cut = Sequences | FeatureSequences


def to_batch(parts: Sequence[Cut]) -> AnyBatch:
    """Sequences of one kind, one after another, as a batch of that kind."""
    kind = type(parts[0])
    joined = {field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(kind)}
    tensors = {name: torch.from_numpy(array) for name, array in joined.items()}
    return FeatureBatch(**tensors) if kind is FeatureSequences else Batch(**tensors)


@dataclass
class Loader:
    """Batches of one rank, in the order they are asked for; counts what cannot be read.

    An unreadable sample becomes masked sequences, so that every rank takes the same number of steps.
    """

    dataset_uri: str
    view: SequenceConfig
    spec: InputSpec | FeatureSpec
    rank: int = 0
    world_size: int = 1
    num_threads: int = 2
    num_ahead: int = 2  # batches read ahead
    max_bad_samples: int = 20  # unreadable in a row before it stops
    num_bad: int = 0

    def __post_init__(self) -> None:
        self._bad_in_a_row = 0

    def read(self, global_batches: Iterable[Sequence[SegmentSample]]) -> Iterator[AnyBatch]:
        """This rank's part of each global batch, padded with masked sequences to the length of the longest part.

        Raises:
            RuntimeError: more than `max_bad_samples` samples in a row could not be read.
        """
        waiting: deque[tuple[list[Future[Cut]], list[SegmentSample], int]] = deque()
        remaining = iter(global_batches)
        with ThreadPoolExecutor(self.num_threads, thread_name_prefix="loader") as threads:
            try:
                while True:
                    for batch in islice(remaining, self.num_ahead + 1 - len(waiting)):
                        samples, padding = part(batch, self.rank, self.world_size)
                        waiting.append(([threads.submit(self._cut, sample) for sample in samples], samples, padding))
                    if not waiting:
                        return
                    yield self._collect(*waiting.popleft())
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def _cut(self, sample: SegmentSample) -> Cut:
        return sequences.cut(read_segment(self.dataset_uri, sample.row), sample.phases, self.view, self.spec)

    def _collect(self, futures: list[Future[Cut]], samples: list[SegmentSample], padding: int) -> AnyBatch:
        parts = [self._result(future, sample) for future, sample in zip(futures, samples, strict=True)]
        return to_batch([*parts, sequences.masked(padding, self.spec)])

    def _result(self, future: Future[Cut], sample: SegmentSample) -> Cut:
        try:
            part = future.result()
        except (SampleError, OSError) as error:
            self.num_bad += 1
            self._bad_in_a_row += 1
            log.warning("sample %s left out: %s", sample.row.key, error)
            if self._bad_in_a_row > self.max_bad_samples:
                raise RuntimeError(
                    f"{self._bad_in_a_row} samples in a row cannot be read (train.max_bad_samples is "
                    f"{self.max_bad_samples}); the last one, {sample.row.key}: {error}"
                ) from error
            return sequences.masked(len(sample.phases), self.spec)
        self._bad_in_a_row = 0
        return part
