"""The shards of a dataset as batches for one rank: one range read per sample, read ahead by threads."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from iaca_model.batch import AnyBatch
from iaca_model.config import FeatureSpec, InputSpec
from pipeline import storage
from pipeline.config.job_sections import SequenceConfig
from pipeline.dataset.format.samples import SampleError, decode_slice
from pipeline.records import SampleRow, Segment
from pipeline.training.ranks import Ranks
from pipeline.training.sampler import RankSlice, SegmentSample, rank_slice
from pipeline.training.sequences import concatenate, cut, padding_batch

log = logging.getLogger(__name__)


def read_segment(dataset_uri: str, row: SampleRow) -> Segment:
    """One sample by a range read of its shard.

    Raises:
        SampleError: the bytes at that offset are not the sample that the index promises.
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


@dataclass(frozen=True, slots=True, eq=False)
class BatchPart:
    """A rank's part of a global batch, and where its sequences come from."""

    batch: AnyBatch
    first: int  # position in the global batch of the first sequence
    groups: tuple[str | None, ...]  # of each sequence; None: padding, or a sample that could not be read


@dataclass(frozen=True, slots=True)
class _PendingPart:
    """A rank's part of a global batch whose samples are being read."""

    selected: RankSlice
    futures: list[Future[AnyBatch]]  # the sequences of each sample


@dataclass
class Loader:
    """Batches of one rank, in the order of the global batches; counts what cannot be read.

    An unreadable sample becomes padding sequences, so that every rank takes the same number of steps.
    """

    dataset_uri: str
    view: SequenceConfig
    spec: InputSpec | FeatureSpec
    ranks: Ranks = field(default_factory=Ranks)
    num_threads: int = 2
    num_ahead: int = 2  # batches read ahead
    max_bad_samples: int = 20  # unreadable samples in a row that it bears before it stops
    num_unreadable: int = field(default=0, init=False)  # unreadable samples so far; the caller may reset it

    def __post_init__(self) -> None:
        self._num_unreadable_in_a_row = 0

    def read(self, global_batches: Iterable[Sequence[SegmentSample]]) -> Iterator[BatchPart]:
        """This rank's part of each global batch, filled up with padding sequences to the length of the longest part.

        Raises:
            RuntimeError: more than `max_bad_samples` samples in a row were unreadable.
        """
        pending: deque[_PendingPart] = deque()
        remaining = iter(global_batches)
        with ThreadPoolExecutor(self.num_threads, thread_name_prefix="loader") as threads:
            try:
                while True:
                    for global_batch in islice(remaining, self.num_ahead + 1 - len(pending)):
                        selected = rank_slice(global_batch, self.ranks.rank, self.ranks.world_size)
                        futures = [threads.submit(self._read_sequences, sample) for sample in selected.samples]
                        pending.append(_PendingPart(selected, futures))
                    if not pending:
                        return
                    yield self._assemble(pending.popleft())
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def _read_sequences(self, sample: SegmentSample) -> AnyBatch:
        return cut(read_segment(self.dataset_uri, sample.row), sample.phases, self.view, self.spec)

    def _assemble(self, pending: _PendingPart) -> BatchPart:
        sequences: list[AnyBatch] = []
        groups: list[str | None] = []
        for sample, future in zip(pending.selected.samples, pending.futures, strict=True):
            of_sample, num_phases = self._result_of(sample, future), len(sample.phases)
            sequences.append(padding_batch(num_phases, self.spec) if of_sample is None else of_sample)
            groups += [None if of_sample is None else sample.row.group] * num_phases
        num_padding = pending.selected.num_padding
        batch = concatenate([*sequences, padding_batch(num_padding, self.spec)])
        return BatchPart(batch, pending.selected.first, (*groups, *[None] * num_padding))

    def _result_of(self, sample: SegmentSample, future: Future[AnyBatch]) -> AnyBatch | None:
        """The sequences of a sample; None where it cannot be read."""
        try:
            sequences = future.result()
        except (SampleError, OSError) as error:
            self.num_unreadable += 1
            self._num_unreadable_in_a_row += 1
            log.warning("sample %s left out: %s", sample.row.key, error)
            if self._num_unreadable_in_a_row > self.max_bad_samples:
                raise RuntimeError(
                    f"{self._num_unreadable_in_a_row} samples in a row cannot be read (train.max_bad_samples is "
                    f"{self.max_bad_samples}); the last one, {sample.row.key}: {error}"
                ) from error
            return None
        self._num_unreadable_in_a_row = 0
        return sequences
