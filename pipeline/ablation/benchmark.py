"""The inconsistency benchmark: synthetic feature sequences in which spans of one modality contradict the label.

    latent   valence, arousal: smooth over the L steps of a sequence, in [-1, 1]
    video    D features: a noisy view of both (better on valence), who the person is, and nuisance
    audio    D features: the same with noise of its own (better on arousal), another person and other nuisance
    corrupt  spans of one modality, as `pipeline.ablation.corruption` corrupts them

Shape letters: N sequences, L steps, D feature width, K latent factors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iaca_model.corruption import HEALTHY
from pipeline.ablation.corruption import corrupt, span_lengths
from pipeline.ablation.feature_sequences import TrialData, TrialSequences
from pipeline.config.job_sections import AblateConfig

VIDEO, AUDIO = 0, 1
NUM_IDENTITY, NUM_NUISANCE = 4, 4
NUM_FACTORS = 2 + NUM_IDENTITY + NUM_NUISANCE
VIEW_NOISE = ((0.25, 0.6), (0.6, 0.25))  # of video and audio, on valence and arousal
FEATURE_NOISE = 0.1
NUM_CURVE = 128  # sequences of the missing-sound curve, which is 32 passes over them
CORRUPTION_SEED = 1_000_003  # added to the seed of the world


class World:
    """Generator of sequences: a seed fixes how latent factors map to features, the same for all sequences drawn.

    Args:
        seed: of the map and of everything drawn.
        num_steps: L.
        feature_dim: D, of each modality.
        identity: how strongly the features show who the person is.
    """

    def __init__(self, seed: int, num_steps: int, feature_dim: int, identity: float = 1.5) -> None:
        self.identity = identity
        self.generator = torch.Generator().manual_seed(seed)
        self.num_steps, self.feature_dim = num_steps, feature_dim
        self.mixing = [self._normal(NUM_FACTORS, feature_dim) / NUM_FACTORS**0.5 for _ in range(2)]
        self.bias = [0.5 * self._normal(feature_dim) for _ in range(2)]

    def draw(self, num: int) -> TrialSequences:
        """Draw `num` healthy sequences; each call draws new ones."""
        target_NL2 = torch.tanh(1.2 * self._smooth(num, 2, width=4.0))
        video_NLD, audio_NLD = self._view(VIDEO, target_NL2), self._view(AUDIO, target_NL2)
        present_NL2 = torch.ones(num, self.num_steps, 2, dtype=torch.bool)
        return TrialSequences(
            video_NLD=video_NLD,
            audio_NLD=audio_NLD,
            target_NL2=target_NL2,
            kind_NL2=torch.full((num, self.num_steps, 2), HEALTHY, dtype=torch.uint8),
            ok_NL2=present_NL2,
            labelled_NL=present_NL2[..., 0],
            group_N=torch.arange(num),
        )

    def _view(self, modality: int, target_NL2: Tensor) -> Tensor:
        """Features (N, L, D) of one modality: a noisy linear map of its factors, under a ReLU."""
        num = len(target_NL2)
        noisy_target_NL2 = target_NL2 + torch.tensor(VIEW_NOISE[modality]) * self._smooth(num, 2, width=1.0)
        identity_NLK = self.identity * self._normal(num, 1, NUM_IDENTITY).expand(-1, self.num_steps, -1)
        nuisance_NLK = 0.5 * self._smooth(num, NUM_NUISANCE, width=2.0)
        factors_NLK = torch.cat([2.0 * noisy_target_NL2, identity_NLK, nuisance_NLK], dim=-1)
        features_NLD = torch.relu(factors_NLK @ self.mixing[modality] + self.bias[modality])
        return features_NLD + FEATURE_NOISE * self._normal(*features_NLD.shape)

    def _smooth(self, num: int, num_series: int, width: float) -> Tensor:
        """Draw unit-variance Gaussian series (N, L, num_series), correlated over about `width` steps."""
        steps = torch.arange(self.num_steps, dtype=torch.float32)
        kernel_LL = torch.exp(-0.5 * ((steps[:, None] - steps) / width) ** 2) + 1e-3 * torch.eye(self.num_steps)
        return torch.linalg.cholesky(kernel_LL) @ self._normal(num, self.num_steps, num_series)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)


def make_trial_data(settings: AblateConfig, seed: int) -> TrialData:
    """Generate the data of the trial of `seed`: training sequences, and others to measure on, clean and corrupted."""
    world = World(seed, settings.num_steps, settings.feature_dim, settings.identity)
    lengths = span_lengths(settings)
    corruption_rng = torch.Generator().manual_seed(CORRUPTION_SEED + seed)
    train = corrupt(world.draw(settings.num_train), settings.chance_in_training, corruption_rng, lengths)
    clean = world.draw(settings.num_test)
    curve = clean.take(torch.arange(min(NUM_CURVE, len(clean))))
    return TrialData(train, clean, corrupt(clean, settings.corrupted, corruption_rng, lengths), curve)
