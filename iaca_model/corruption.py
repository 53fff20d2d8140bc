"""Corruption of spans of one modality that no mask tells: missing, noisy, or swapped with another sequence. Ours.

Masks and targets stay as they are: a model has to detect the corruption by itself. Only a step that has both modalities
is corrupted, because nothing could be inconsistent with the only modality of a step.

             missing               noisy                                          swapped
crops        black                 .3 of their contrast, and Gaussian noise       the other sequence's, of the same step
log-mel      digital silence       noise 10 dB above the sequence's mean power    the same
features     zeros                 .3 of them, and noise of 1.5 deviations        the same
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from iaca_model.batch import AnyBatch, Batch

KINDS = ("missing", "noisy", "swapped")
MISSING, NOISY, SWAPPED = range(len(KINDS))
HEALTHY = len(KINDS)  # the index after the last kind

NOISY_SIGNAL = 0.3  # share of its features, or of the contrast of its crops, that a noisy step keeps
NOISE_SCALE = 1.5  # of the noise of features, in standard deviations of all features
CROP_NOISE = 64.0  # standard deviation of the noise of crops, in grey levels
MIDDLE_GREY = 127.5
SILENCE_DB = -100.0  # of a log-mel where there is digital silence
SNR_DB = -10.0  # mean power of the sequence's sound over the mean power of the noise

_AddNoise = Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]


class SpanLengths(NamedTuple):
    """Numbers of steps of a corrupted span, all equally likely; none has more steps than the sequence."""

    min_steps: int = 3
    max_steps: int | None = None  # None: 3/4 L

    def draw(self, num: int, num_steps: int, generator: torch.Generator) -> Tensor:
        """Draw `num` lengths in sequences of `num_steps` steps, (num, 1); each is at least 1."""
        longest = max(1, min(self.max_steps or 3 * num_steps // 4, num_steps))
        return torch.randint(min(self.min_steps, longest), longest + 1, (num, 1), generator=generator)


ANY_LENGTH = SpanLengths()


def draw_spans(
    num: int, num_steps: int, chance: float, generator: torch.Generator, lengths: SpanLengths = ANY_LENGTH
) -> Tensor:
    """Draw for each of `num` sequences, with `chance`, one span of steps: bool (num, L).

    Length and start are uniform. The generator draws as many numbers for any `chance`.
    """
    chosen_N1, offset_N1 = torch.rand(2, num, 1, generator=generator)
    length_N1 = lengths.draw(num, num_steps, generator)
    return (chosen_N1 < chance) & steps_of_span(offset_N1, length_N1, num_steps)


def steps_of_span(offset_N1: Tensor, length_N1: Tensor, num_steps: int) -> Tensor:
    """The steps of one span of each of N sequences: bool (N, L).

    Args:
        offset_N1: 0 to 1, where the span begins among the places at which it fits.
        length_N1: number of its steps.
        num_steps: L.
    """
    start_N1 = (offset_N1 * (num_steps - length_N1 + 1)).long()
    step_L = torch.arange(num_steps)
    return (start_N1 <= step_L) & (step_L < start_N1 + length_N1)


def draw_corruption(
    num_steps: int,
    chance: float,
    kind_shares: Sequence[float],
    generator: torch.Generator,
    lengths: SpanLengths = ANY_LENGTH,
) -> Tensor:
    """Draw the corruption of one sequence: with `chance`, one kind over a span of one modality.

    Args:
        num_steps: L.
        chance: 0 to 1.
        kind_shares: relative share of each of KINDS; not all 0.
        generator: it draws as many numbers for any `chance` and any shares.
        lengths: of the span.

    Returns:
        uint8 (L, 2), by video and audio: an index into KINDS, or HEALTHY.
    """
    span_L = draw_spans(1, num_steps, chance, generator, lengths)[0]
    side, position = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    bounds = list(accumulate(kind_shares))
    kind_L2 = torch.full((num_steps, 2), HEALTHY, dtype=torch.uint8)
    kind_L2[span_L, int(side >= 0.5)] = bisect_right(bounds, position * bounds[-1])
    return kind_L2


def corrupt(
    batch: AnyBatch,
    kind_BL2: Tensor,
    swapped_in: AnyBatch,
    generators: Sequence[torch.Generator],
    unmasked: AnyBatch | None = None,
) -> tuple[AnyBatch, Tensor]:
    """Corrupt each step and modality as `kind_BL2` says; masks and targets do not change.

    Args:
        batch: of B sequences.
        kind_BL2: uint8 by video and audio: index into KINDS, or HEALTHY.
        swapped_in: B sequences of the same form, which replace swapped steps.
        generators: one for each sequence, on the CPU, of its noise; the noise of a sequence depends on its generator,
            on what of its own `kind_BL2` is noisy, and on its own content alone.
        unmasked: the batch before modalities were masked, whose valid steps the level of the noise is measured on, so
            that it does not depend on what was masked; None: `batch` itself.

    Returns:
        The corrupted batch, and the kinds as applied: HEALTHY also where a step lacks a modality, and where a swapped
        one lacks its modality in `swapped_in`.
    """
    both_BL1 = (batch.video_ok_BL & batch.audio_ok_BL)[..., None]
    other_ok_BL2 = torch.stack([swapped_in.video_ok_BL, swapped_in.audio_ok_BL], dim=-1)
    kind_BL2 = kind_BL2.to(both_BL1.device)
    applied_BL2 = torch.where(both_BL1 & ((kind_BL2 != SWAPPED) | other_ok_BL2), kind_BL2, HEALTHY)
    corrupted = [
        _corrupt_modality(
            batch, modality, drawn_BL=kind_BL2[..., modality], kind_BL=applied_BL2[..., modality],
            swapped_in=swapped_in.tensors()[modality], generators=generators,
            unmasked=batch if unmasked is None else unmasked,
        )
        for modality in range(2)
    ]  # fmt: skip
    return type(batch)(*corrupted, *batch.tensors()[2:]), applied_BL2


def _corrupt_modality(
    batch: AnyBatch,
    modality: int,
    *,
    drawn_BL: Tensor,
    kind_BL: Tensor,
    swapped_in: Tensor,
    generators: Sequence[torch.Generator],
    unmasked: AnyBatch,
) -> Tensor:
    """Corrupt the crops, the log-mel or the features of one modality: `kind_BL` of what was drawn is applied."""
    healthy, ok_BL = batch.tensors()[modality], (unmasked.video_ok_BL, unmasked.audio_ok_BL)[modality]
    missing, add_noise = _missing_and_noise(batch, modality)
    num_steps = batch.num_steps
    corrupted = healthy.flatten(0, 1).clone()  # steps of all sequences in a row: whole steps are copied fastest
    corrupted.index_fill_(0, _indices(kind_BL == MISSING), missing)
    swapped = _indices(kind_BL == SWAPPED)
    corrupted.index_copy_(0, swapped, swapped_in.flatten(0, 1).index_select(0, swapped))
    for b in _indices((drawn_BL == NOISY).any(1)).tolist():
        drawn_L = drawn_BL[b] == NOISY
        # Drawn for the whole span: which steps lack a modality must not change the noise of the others.
        noisy = add_noise(healthy[b], ok_BL[b], drawn_L, generators[b])
        applied_L = kind_BL[b] == NOISY
        corrupted.index_copy_(
            0, b * num_steps + _indices(applied_L), noisy.index_select(0, _indices(applied_L[drawn_L]))
        )
    return corrupted.unflatten(0, healthy.shape[:2])


def _indices(chosen: Tensor) -> Tensor:
    """Where `chosen` is true, as indices into its elements in a row."""
    return chosen.flatten().nonzero().flatten()


def _missing_and_noise(batch: AnyBatch, modality: int) -> tuple[float, _AddNoise]:
    """What a missing step of the modality holds, and the function that makes steps noisy."""
    if not isinstance(batch, Batch):
        return 0.0, _noisy_features_of_sequence
    return (SILENCE_DB, _noisy_mel) if modality else (0.0, _noisy_crops)


def _noisy_crops(crops_LTHWC: Tensor, _ok_L: Tensor, noisy_L: Tensor, generator: torch.Generator) -> Tensor:
    crops = crops_LTHWC.index_select(0, _indices(noisy_L))
    noisy = _normal_like(crops, generator).mul_(CROP_NOISE).add_(crops, alpha=NOISY_SIGNAL)
    return noisy.add_((1 - NOISY_SIGNAL) * MIDDLE_GREY).round_().clamp_(0, 255).to(torch.uint8)


def _noisy_mel(mel_LSM: Tensor, ok_L: Tensor, noisy_L: Tensor, generator: torch.Generator) -> Tensor:
    """Add the power of noise of the same level in every band, which follows an exponential distribution."""
    mean_power = _power(mel_LSM[ok_L]).mean() if ok_L.any() else _power(mel_LSM.new_tensor(SILENCE_DB))
    mel = mel_LSM[noisy_L]
    unit_power = torch.rand(mel.shape, generator=generator).neg_().log1p_().neg_().to(mel.device)  # exponential
    return 10 * (_power(mel) + mean_power * 10 ** (-SNR_DB / 10) * unit_power).log10()


def _power(mel_db: Tensor) -> Tensor:
    return 10 ** (mel_db / 10)


def _noisy_features_of_sequence(
    features_LD: Tensor, ok_L: Tensor, noisy_L: Tensor, generator: torch.Generator
) -> Tensor:
    """Add noise in deviations of the sequence's own features, which do not depend on what else is in the batch."""
    deviation = features_LD[ok_L].std(correction=0) if ok_L.any() else features_LD.new_zeros(())
    features = features_LD[noisy_L]
    return noisy_features(features, deviation, _normal_like(features, generator))


def noisy_features(features: Tensor, deviation: Tensor | float, noise: Tensor) -> Tensor:
    """Keep a share of the features and add noise to them.

    Args:
        features: of any shape.
        deviation: standard deviation of all features of the modality.
        noise: of the same shape, of mean 0 and deviation 1.
    """
    return NOISY_SIGNAL * features + NOISE_SCALE * deviation * noise


def _normal_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(tensor.shape, generator=generator).to(tensor.device)
