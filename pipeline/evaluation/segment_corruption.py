"""Corruption of segments in an evaluation: spans of one modality on the segment's own clock, which no mask tells."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iaca_model.batch import AnyBatch
from iaca_model.config import FeatureSpec, InputSpec
from iaca_model.corruption import ANY_LENGTH, HEALTHY, KINDS, SWAPPED, SpanLengths, corrupt, draw_corruption
from pipeline.config.job_sections import SequenceConfig
from pipeline.records import SampleRow, Segment
from pipeline.training.loader import read_segment
from pipeline.training.sequences import cut, end_frames

EQUAL_SHARES = (1.0,) * len(KINDS)


@dataclass(frozen=True, eq=False)
class SegmentCorruption:
    """What is corrupted of one segment: a sub-clip whose last frame lies in a span is, in whatever phase it is cut."""

    key: str  # of the segment
    kind_N2: NDArray[np.uint8]  # own frames by video and audio: index into KINDS, or HEALTHY
    donor: Segment | None  # whose sub-clips, of the same phases and steps, replace swapped ones; None: none is swapped
    seed: int

    def apply(
        self, batch: AnyBatch, phases: Sequence[int], view: SequenceConfig, spec: InputSpec | FeatureSpec
    ) -> tuple[AnyBatch, NDArray[np.uint8]]:
        """Corrupt the sequences of `phases` of the segment; the noise of each depends on seed, key and phase alone.

        Returns:
            The corrupted batch, and the kinds (B, L, 2) as applied: HEALTHY also at steps that lack a modality, or
            whose donor is shorter or lacks the swapped one.
        """
        own_BL = end_frames(phases, view)
        inside_BL = own_BL < len(self.kind_N2)
        kind_BL2 = np.where(inside_BL[..., None], self.kind_N2[np.where(inside_BL, own_BL, 0)], np.uint8(HEALTHY))
        swapped_in = cut(self.donor, phases, view, spec) if self.donor else batch
        generators = [_generator(self.seed, self.key, f"noise of phase {phase}") for phase in phases]
        corrupted, applied_BL2 = corrupt(batch, torch.from_numpy(kind_BL2), swapped_in, generators)
        return corrupted, applied_BL2.numpy()


@dataclass(frozen=True, eq=False)
class SplitCorruption:
    """The corruption of all segments of a split; what is drawn for one depends on its key and not on the others' order.

    Args:
        chance: per segment, that a span of one modality is corrupted, as per sequence in training.
        seed: of everything that is drawn.
        dataset_uri: of the dataset.
        rows: of the split, of two groups at least: swapped spans come from a segment of another group.
    """

    chance: float
    seed: int
    dataset_uri: str
    rows: Sequence[SampleRow]

    def of_segment(self, row: SampleRow, view: SequenceConfig) -> SegmentCorruption:
        """Draw what is corrupted of one segment, and read the segment whose sub-clips are swapped in.

        Raises:
            SampleError, OSError: that segment cannot be read.
        """
        generator = _generator(self.seed, row.key, "spans")
        kind_N2 = draw_kinds(row.num_frames, self.chance, view, generator)
        position = torch.rand((), generator=generator, dtype=torch.float64).item()
        donor = self._read_donor(row.group, position) if (kind_N2 == SWAPPED).any() else None
        return SegmentCorruption(row.key, kind_N2, donor, self.seed)

    def _read_donor(self, group: str, position: float) -> Segment:
        others = [row for row in self._by_key if row.group != group]
        return read_segment(self.dataset_uri, others[int(position * len(others))])

    @cached_property
    def _by_key(self) -> list[SampleRow]:
        return sorted(self.rows, key=lambda row: row.key)


def draw_kinds(num_frames: int, chance: float, view: SequenceConfig, generator: torch.Generator) -> NDArray[np.uint8]:
    """Draw the corruption of N frames, a span of three steps to 3/4 of them: (N, 2) indices into KINDS, or HEALTHY."""
    lengths = SpanLengths(ANY_LENGTH.min_steps * view.subclip_stride)
    return draw_corruption(num_frames, chance, EQUAL_SHARES, generator, lengths).numpy()


def kind_names(kinds: NDArray[np.uint8]) -> NDArray[np.object_]:
    """The name of each kind, "" for HEALTHY."""
    return np.array([*KINDS, ""], object)[kinds]


def kind_indices(names: Iterable[str]) -> Tensor:
    """The reverse of `kind_names`, as uint8."""
    index_of = {name: i for i, name in enumerate((*KINDS, ""))}
    return torch.tensor([index_of[name] for name in names], dtype=torch.uint8)


def _generator(*key: int | str) -> torch.Generator:
    """A generator of its own for each purpose and segment."""
    digest = hashlib.sha256(" ".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
