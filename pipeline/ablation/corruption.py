"""Corruption of the sequences of a trial: missing, noisy or swapped features, as `iaca_model.corruption` defines them.

A corrupted step keeps its true label, and no mask marks it. Here both modalities of a sequence may have a span, and
noise is measured by the deviation of all features of the data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iaca_model.corruption import ANY_LENGTH, HEALTHY, KINDS, SWAPPED, SpanLengths, draw_spans, noisy_features
from pipeline.ablation.feature_sequences import TrialSequences, evenly_spaced
from pipeline.config.job_sections import AblateConfig

NUM_MEASURED = 1024  # sequences from which the deviation of a large set is estimated


def span_lengths(settings: AblateConfig) -> SpanLengths:
    """The lengths of corrupted spans that the settings ask for."""
    return SpanLengths(settings.min_span, settings.max_span)


def corrupt(
    clean: TrialSequences, chance: float, generator: torch.Generator, lengths: SpanLengths = ANY_LENGTH
) -> TrialSequences:
    """Corrupt spans in one of the three ways, with `chance` per sequence and modality.

    Where the spans of both modalities overlap, only the video is corrupted. Swapped features are those of the sequence
    before. The generator draws as many numbers for any `chance`.
    """
    kind_NL2 = draw_kinds(clean.ok_NL2, chance, generator, lengths)
    previous = clean.take(torch.arange(len(clean)).roll(1))
    return corrupt_spans(clean, kind_NL2, previous, feature_deviations(clean), generator)


@dataclass(frozen=True, eq=False)
class CorruptedSource:
    """Sequences that are corrupted when they are taken, because a large set would not fit into memory twice.

    Swapped features are those of a sequence of another group.
    """

    clean: TrialSequences
    kind_NL2: Tensor
    swap_N: Tensor  # for each sequence, the index of the one whose features are swapped in
    deviations: tuple[float, float]  # of all features of video and of audio
    seed: int

    @classmethod
    def draw(
        cls, clean: TrialSequences, chance: float, seed: int, lengths: SpanLengths = ANY_LENGTH
    ) -> CorruptedSource:
        """Draw the span and kind of corruption of each sequence with `seed`, as `corrupt` draws them."""
        generator = torch.Generator().manual_seed(seed)
        kind_NL2 = draw_kinds(clean.ok_NL2, chance, generator, lengths)
        deviations = feature_deviations(evenly_spaced(clean, NUM_MEASURED))
        return cls(clean, kind_NL2, draw_from_other_groups(clean.group_N, generator), deviations, seed)

    def __len__(self) -> int:
        return len(self.clean)

    def take(self, indices: Tensor) -> TrialSequences:
        """Corrupt the sequences at these indices; their noise follows from the seed and the first index."""
        generator = torch.Generator().manual_seed(self.seed + int(indices[0]))
        swapped_in = self.clean.take(self.swap_N[indices])
        return corrupt_spans(self.clean.take(indices), self.kind_NL2[indices], swapped_in, self.deviations, generator)


def draw_kinds(ok_NL2: Tensor, chance: float, generator: torch.Generator, lengths: SpanLengths = ANY_LENGTH) -> Tensor:
    """Draw the kind of corruption of each step and modality: uint8 (N, L, 2), an index into KINDS or HEALTHY."""
    num, num_steps, _ = ok_NL2.shape
    spans_NL2 = torch.stack([draw_spans(num, num_steps, chance, generator, lengths) for _ in range(2)], dim=-1)
    spans_NL2[..., 1] &= ~spans_NL2[..., 0]
    kind_N12 = torch.randint(len(KINDS), (num, 1, 2), generator=generator, dtype=torch.uint8)
    return torch.where(spans_NL2 & ok_NL2.all(-1, keepdim=True), kind_N12, HEALTHY)


def draw_from_other_groups(group_N: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each sequence the index of one of another group, (N,); needs two groups, each of them contiguous."""
    _, index_N, count_G = torch.unique_consecutive(group_N, return_inverse=True, return_counts=True)
    count_N, stop_N = count_G[index_N], count_G.cumsum(0)[index_N]
    offset_N = torch.rand(len(group_N), generator=generator, dtype=torch.float64) * (len(group_N) - count_N)
    return (stop_N + offset_N.long()) % len(group_N)


def feature_deviations(clean: TrialSequences) -> tuple[float, float]:
    """Standard deviation of all features of the video and of the audio, at steps where they are present."""
    video_ok_NL, audio_ok_NL = clean.ok_NL2.unbind(-1)
    video = clean.video_NLD[video_ok_NL].float().std()
    audio = clean.audio_NLD[audio_ok_NL].float().std()
    return float(video), float(audio)


def corrupt_spans(
    clean: TrialSequences,
    kind_NL2: Tensor,
    swapped_in: TrialSequences,
    deviations: tuple[float, float],
    generator: torch.Generator,
) -> TrialSequences:
    """Corrupt each step and modality as `kind_NL2` says.

    Args:
        clean: N healthy sequences.
        kind_NL2: index into KINDS, or HEALTHY.
        swapped_in: N sequences whose features replace swapped ones; a step that lacks the modality there stays healthy.
        deviations: of all features of video and of audio, the measure of the noise.
        generator: of the noise.
    """
    kind_NL2 = torch.where((kind_NL2 == SWAPPED) & ~swapped_in.ok_NL2, HEALTHY, kind_NL2)
    video_NLD = _corrupt(clean.video_NLD, kind_NL2[..., 0], swapped_in.video_NLD, deviations[0], generator)
    audio_NLD = _corrupt(clean.audio_NLD, kind_NL2[..., 1], swapped_in.audio_NLD, deviations[1], generator)
    return replace(clean, video_NLD=video_NLD, audio_NLD=audio_NLD, kind_NL2=kind_NL2)


def _corrupt(
    features_NLD: Tensor, kind_NL: Tensor, swapped_in_NLD: Tensor, deviation: float, generator: torch.Generator
) -> Tensor:
    noise_NLD = torch.randn(features_NLD.shape, generator=generator)
    noisy_NLD = noisy_features(features_NLD, deviation, noise_NLD)
    by_kind = (torch.zeros_like(features_NLD), noisy_NLD, swapped_in_NLD)
    for kind, corrupted_NLD in enumerate(by_kind):
        features_NLD = torch.where((kind_NL == kind)[..., None], corrupted_NLD, features_NLD)
    return features_NLD
