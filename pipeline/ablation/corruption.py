"""Spoils spans of one modality: missing (zeros), noisy (drowned), or swapped (somebody else's features).

A corrupted step keeps its true label, and no mask tells of it: the model has to find out. Only a step that has both
modalities loses one of them: where one is all there is, nothing could be inconsistent with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.ablation.feature_sequences import HEALTHY, KINDS, Sequences, spread

SWAPPED = KINDS.index("swapped")
KEPT, LOUD = 0.3, 1.5  # of a noisy step: the share of its features that is left, and the noise in deviations of all
NUM_MEASURED = 1024  # sequences from which the deviation of a large set is taken


def corrupt(clean: Sequences, chance: float, generator: torch.Generator) -> Sequences:
    """With `chance` per sequence and modality, corrupt_spans a span of 3 to 3/4 L steps of it in one of the three ways.

    Of a step that would lose both modalities, the sound is spared. Swapped features are those of the sequence before.
    Uses up the same random numbers for any `chance`.
    """
    kind_NL2 = draw_kinds(clean.ok_NL2, chance, generator)
    return corrupt_spans(clean, kind_NL2, clean.take(torch.arange(len(clean)).roll(1)), deviations(clean), generator)


@dataclass(frozen=True, eq=False)
class CorruptedSource:
    """Sequences that are corrupted as they are taken, for those that are too large to be held twice.

    Swapped features are those of a sequence of another group.
    """

    clean: Sequences
    kind_NL2: Tensor
    other_N: Tensor  # whose features are swapped in
    deviations: tuple[float, float]
    seed: int

    @classmethod
    def of(cls, clean: Sequences, chance: float, seed: int) -> CorruptedSource:
        """Each sequence's span and kind, drawn with `seed` as `corrupt` draws them."""
        generator = torch.Generator().manual_seed(seed)
        kind_NL2 = draw_kinds(clean.ok_NL2, chance, generator)
        loudness = deviations(spread(clean, NUM_MEASURED))
        return cls(clean, kind_NL2, of_other_groups(clean.group_N, generator), loudness, seed)

    def __len__(self) -> int:
        return len(self.clean)

    def take(self, rows: Tensor) -> Sequences:
        """The corrupted sequences at these indices; their noise follows from the seed and the first index."""
        generator = torch.Generator().manual_seed(self.seed + int(rows[0]))
        other = self.clean.take(self.other_N[rows])
        return corrupt_spans(self.clean.take(rows), self.kind_NL2[rows], other, self.deviations, generator)


def draw_kinds(ok_NL2: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """uint8 (N, L, 2): what is done to each step of each modality."""
    num, num_steps, _ = ok_NL2.shape
    spans_NL2 = torch.stack([_spans(num, num_steps, chance, generator) for _ in range(2)], dim=-1)
    spans_NL2[..., 1] &= ~spans_NL2[..., 0]
    which_N12 = torch.randint(len(KINDS), (num, 1, 2), generator=generator, dtype=torch.uint8)
    return torch.where(spans_NL2 & ok_NL2.all(-1, keepdim=True), which_N12, HEALTHY)


def _spans(num: int, num_steps: int, chance: float, generator: torch.Generator) -> Tensor:
    """bool (N, L): one span of each chosen sequence."""
    chosen_N1, where_N1 = torch.rand(2, num, 1, generator=generator)
    length_N1 = torch.randint(3, 3 * num_steps // 4 + 1, (num, 1), generator=generator)
    start_N1 = (where_N1 * (num_steps - length_N1 + 1)).long()
    step_L = torch.arange(num_steps)
    return (chosen_N1 < chance) & (start_N1 <= step_L) & (step_L < start_N1 + length_N1)


def of_other_groups(group_N: Tensor, generator: torch.Generator) -> Tensor:
    """For each sequence the index of a random one of another group; needs groups one after another, two at least."""
    _, place_N, count_G = torch.unique_consecutive(group_N, return_inverse=True, return_counts=True)
    count_N, stop_N = count_G[place_N], count_G.cumsum(0)[place_N]
    further_N = torch.rand(len(group_N), generator=generator, dtype=torch.float64) * (len(group_N) - count_N)
    return (stop_N + further_N.long()) % len(group_N)


def deviations(clean: Sequences) -> tuple[float, float]:
    """The deviation of all features of the video and of the audio, where they are there."""
    video, audio = (
        float(features_NLD[ok_NL].float().std())
        for features_NLD, ok_NL in zip((clean.video_NLD, clean.audio_NLD), clean.ok_NL2.unbind(-1), strict=True)
    )
    return video, audio


def corrupt_spans(
    clean: Sequences, kind_NL2: Tensor, other: Sequences, loud: tuple[float, float], generator: torch.Generator
) -> Sequences:
    """The sequences with zeros, loud noise or the features of `other` where `kind_NL2` says so.

    A step that `other` cannot replace, because that modality is not there either, stays healthy.
    """
    kind_NL2 = torch.where((kind_NL2 == SWAPPED) & ~other.ok_NL2, HEALTHY, kind_NL2)
    video_NLD = _corrupt(clean.video_NLD, kind_NL2[..., 0], other.video_NLD, loud[0], generator)
    audio_NLD = _corrupt(clean.audio_NLD, kind_NL2[..., 1], other.audio_NLD, loud[1], generator)
    return replace(clean, video_NLD=video_NLD, audio_NLD=audio_NLD, kind_NL2=kind_NL2)


def _corrupt(
    features_NLD: Tensor, kind_NL: Tensor, other_NLD: Tensor, loud: float, generator: torch.Generator
) -> Tensor:
    noise_NLD = LOUD * loud * torch.randn(features_NLD.shape, generator=generator)
    options = (torch.zeros_like(features_NLD), KEPT * features_NLD + noise_NLD, other_NLD)
    for kind, option_NLD in enumerate(options):
        features_NLD = torch.where((kind_NL == kind)[..., None], option_NLD, features_NLD)
    return features_NLD
