"""Augmentation of a training batch by corruption that no mask tells: the same for any number of workers."""

from __future__ import annotations

import numpy as np
import torch

from iaca_model.batch import AnyBatch
from iaca_model.corruption import corrupt, draw_corruption
from pipeline.config.job_sections import TrainConfig
from pipeline.training.loader import BatchPart
from pipeline.training.sampler import positions_of_other_groups

CORRUPTION_STREAM = 1  # keeps these draws apart from those of a rank, whose key is (seed, step, rank)


def corrupt_part(part: BatchPart, masked: AnyBatch, settings: TrainConfig, step: int) -> AnyBatch:
    """Corrupt a span of one modality of some of the sequences, as `train.corrupt_modality` says.

    What happens to a sequence, its noise included, is drawn from (seed, step, position in the global batch), and the
    level of the noise is that of the sequence as it was read, so that neither the number of workers nor an interruption
    changes them. A swapped span is that of the next sequence of another group in this rank's part; where there is none,
    and where a step has one modality only, it stays healthy.

    Args:
        part: of the global batch, as it was read.
        masked: the same sequences after modalities were masked: what is masked is not corrupted, because the other
            modality would be alone there, and nothing could be inconsistent with it.
        settings: of the training.
        step: of the training, from 0.
    """
    if settings.corrupt_modality == 0:
        return masked
    generators = [_generator(settings.seed, step, part.first + i) for i in range(len(masked))]
    drawn = [
        draw_corruption(masked.num_steps, settings.corrupt_modality, settings.corrupt_shares, generator)
        for generator in generators
    ]
    # Swapped with itself a sequence stays as it is.
    others = [i if other is None else other for i, other in enumerate(positions_of_other_groups(part.groups))]
    swapped_in = part.batch.take(torch.tensor(others))
    corrupted, _ = corrupt(masked, torch.stack(drawn), swapped_in, generators, unmasked=part.batch)
    return corrupted


def _generator(seed: int, step: int, position: int) -> torch.Generator:
    sequence = np.random.SeedSequence([seed, step, position], spawn_key=(CORRUPTION_STREAM,))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
