"""The inconsistency benchmark: feature sequences in which spans of one modality lie about the person.

    latent   valence, arousal: smooth over the L steps of a sequence, in [-1, 1]
    video    D features: a noisy view of both (better on valence), who it is, and what does not matter
    audio    D features: the same with its own noise (better on arousal), another who and what
    corrupt  spans of one modality: missing (zeros), noisy (drowned), or swapped (another sequence's features)

Shape letters: N sequences, L steps, D feature width, K latent factors. A corrupted step keeps its true label, and no
mask tells of it: the model has to find out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("missing", "noisy", "swapped")
HEALTHY = 3  # the index after the last kind
NUM_IDENTITY, NUM_NUISANCE = 4, 4
NUM_FACTORS = 2 + NUM_IDENTITY + NUM_NUISANCE
VIEW_NOISE = ((0.25, 0.6), (0.6, 0.25))  # of video and audio, on valence and arousal
FEATURE_NOISE = 0.1
IDENTITY = 1.5


@dataclass(frozen=True, eq=False)
class Sequences:
    """N sequences of both modalities with the truth about them."""

    video_NLD: Tensor
    audio_NLD: Tensor
    target_NL2: Tensor  # valence, arousal
    kind_NL2: Tensor  # uint8 by video, audio: index into KINDS, or HEALTHY

    def __len__(self) -> int:
        return len(self.target_NL2)

    def take(self, rows: Tensor) -> Sequences:
        """The sequences at these indices."""
        return Sequences(self.video_NLD[rows], self.audio_NLD[rows], self.target_NL2[rows], self.kind_NL2[rows])


class World:
    """How latent factors become features: fixed by the seed, shared by everything drawn from it."""

    def __init__(self, seed: int, num_steps: int, feature_dim: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.num_steps, self.feature_dim = num_steps, feature_dim
        self.mixing = [self._normal(NUM_FACTORS, feature_dim) / NUM_FACTORS**0.5 for _ in range(2)]
        self.bias = [0.5 * self._normal(feature_dim) for _ in range(2)]

    def draw(self, num: int) -> Sequences:
        """Fresh healthy sequences; each call goes on from where the last one stopped."""
        target_NL2 = torch.tanh(1.2 * self._smooth(num, 2, width=4.0))
        video_NLD, audio_NLD = (self._view(side, target_NL2) for side in (0, 1))
        healthy_NL2 = torch.full((num, self.num_steps, 2), HEALTHY, dtype=torch.uint8)
        return Sequences(video_NLD, audio_NLD, target_NL2, healthy_NL2)

    def _view(self, side: int, target_NL2: Tensor) -> Tensor:
        """What one modality shows: (N, L, D)."""
        num = len(target_NL2)
        seen_NL2 = target_NL2 + torch.tensor(VIEW_NOISE[side]) * self._smooth(num, 2, width=1.0)
        identity_NLK = IDENTITY * self._normal(num, 1, NUM_IDENTITY).expand(-1, self.num_steps, -1)
        nuisance_NLK = 0.5 * self._smooth(num, NUM_NUISANCE, width=2.0)
        factors_NLK = torch.cat([2.0 * seen_NL2, identity_NLK, nuisance_NLK], dim=-1)
        features_NLD = torch.relu(factors_NLK @ self.mixing[side] + self.bias[side])
        return features_NLD + FEATURE_NOISE * self._normal(*features_NLD.shape)

    def _smooth(self, num: int, num_series: int, width: float) -> Tensor:
        """Unit-variance Gaussian series (N, L, num_series), correlated over about `width` steps."""
        steps = torch.arange(self.num_steps, dtype=torch.float32)
        kernel_LL = torch.exp(-0.5 * ((steps[:, None] - steps) / width) ** 2) + 1e-3 * torch.eye(self.num_steps)
        return torch.linalg.cholesky(kernel_LL) @ self._normal(num, self.num_steps, num_series)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)


def corrupt(clean: Sequences, chance: float, generator: torch.Generator) -> Sequences:
    """With `chance` per sequence and modality, spoil a span of 3 to 3/4 L steps of it in one of the three ways.

    Of a step that would lose both modalities, the sound is spared: somebody who is neither seen nor heard has no
    inconsistency to find. Uses up the same random numbers for any `chance`.
    """
    num, num_steps, _ = clean.target_NL2.shape
    spans_NL2 = torch.stack([_spans(num, num_steps, chance, generator) for _ in range(2)], dim=-1)
    spans_NL2[..., 1] &= ~spans_NL2[..., 0]
    which_N12 = torch.randint(len(KINDS), (num, 1, 2), generator=generator, dtype=torch.uint8)
    kind_NL2 = torch.where(spans_NL2, which_N12, HEALTHY)
    video_NLD = _spoil(clean.video_NLD, kind_NL2[..., 0], generator)
    audio_NLD = _spoil(clean.audio_NLD, kind_NL2[..., 1], generator)
    return Sequences(video_NLD, audio_NLD, clean.target_NL2, kind_NL2)


def _spans(num: int, num_steps: int, chance: float, generator: torch.Generator) -> Tensor:
    """bool (N, L): one span of each chosen sequence."""
    chosen_N1, where_N1 = torch.rand(2, num, 1, generator=generator)
    length_N1 = torch.randint(3, 3 * num_steps // 4 + 1, (num, 1), generator=generator)
    start_N1 = (where_N1 * (num_steps - length_N1 + 1)).long()
    step_L = torch.arange(num_steps)
    return (chosen_N1 < chance) & (start_N1 <= step_L) & (step_L < start_N1 + length_N1)


def _spoil(features_NLD: Tensor, kind_NL: Tensor, generator: torch.Generator) -> Tensor:
    """The features with zeros, loud noise or the next sequence's features where `kind_NL` says so."""
    loud = 1.5 * features_NLD.std()
    noisy_NLD = 0.3 * features_NLD + loud * torch.randn(features_NLD.shape, generator=generator)
    options = (torch.zeros_like(features_NLD), noisy_NLD, features_NLD.roll(1, dims=0))
    for kind, option_NLD in enumerate(options):
        features_NLD = torch.where((kind_NL == kind)[..., None], option_NLD, features_NLD)
    return features_NLD
