"""Features of real recordings as the data of a trial: read once per process, into memory of a known size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from iaca_model.batch import FeatureBatch
from iaca_model.config import FeatureSpec
from pipeline.ablation.corruption import CorruptedSource
from pipeline.ablation.feature_sequences import HEALTHY, Sequences, Source, TrialData, spread
from pipeline.config import Config, UsageError
from pipeline.config.sections import AblateConfig, SequenceConfig
from pipeline.dataset.format.dataset_info import DatasetInfo, read_dataset, read_index
from pipeline.records import SampleRow
from pipeline.records.features import FeatureOrigin
from pipeline.training import sampler
from pipeline.training.compatibility import config_for_dataset
from pipeline.training.loader import read_segment
from pipeline.training.sampler import SegmentSample
from pipeline.training.sequences import cut_features

NUM_READ_AT_ONCE = 16  # segments
NUM_CURVE = NUM_CHOOSING = 1024  # sequences of the missing-sound curve, and of those that choose
MIN_FRAMES = 2  # of a CCC
SHORTEST = 4  # steps of a sequence
FEATURE_BYTES = 2  # float16, as stored
CORRUPTION_SEED, TEST_SEED, CHOOSING_SEED = 1_000_003, 4_000_003, 5_000_003  # added to the trial's own


@dataclass(frozen=True)
class Recordings:
    """A dataset of features, as far as a trial depends on it."""

    uri: str
    digest: str
    view: SequenceConfig
    spec: FeatureSpec
    phases: int  # of each training segment
    measured: str  # the split: test, or val where there is no test
    choosing: str  # the split that chooses the moment of training: val, or "" where there is none
    num_bytes: int = 0  # of memory that the features take at most in a process that has read them

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that are read."""
        return tuple(dict.fromkeys(split for split in ("train", self.choosing, self.measured) if split))

    def samples(self, rows: Sequence[SampleRow], split: str) -> list[SegmentSample]:
        """What is read of a split, group after group."""
        stride = self.view.subclip_stride
        num_phases = self.phases if split == "train" else stride
        samples = sampler.validation_samples(
            sampler.labelled_rows(rows, split, self.uri), stride=stride, num_phases=num_phases
        )
        return sorted(samples, key=lambda sample: sample.row.group)

    def with_size(self, rows: Sequence[SampleRow]) -> Recordings:
        """The same, with the memory that it takes."""
        num_sequences = sum(len(sample.phases) for split in self.splits for sample in self.samples(rows, split))
        num_features = num_sequences * self.spec.num_steps * (self.spec.video_dim + self.spec.audio_dim)
        return replace(self, num_bytes=num_features * FEATURE_BYTES)


def find(config: Config) -> Recordings:
    """The features at `config.ablate.dataset`, none of them read yet.

    Raises:
        UsageError: it is no dataset of features, lacks labels, a split or a second group in one, its segments are not
            what the sequence section says, or it does not fit into `ablate.memory_gb`.
    """
    dataset = read_dataset(config.ablate.dataset)
    origin = _require_features(config, dataset)
    view = config_for_dataset(config, dataset.config).sequence
    view = replace(view, subclip_frames=origin.subclip_frames, subclip_dilation=origin.subclip_dilation)
    spec, rows = FeatureSpec(view.num_subclips, origin.video_dim, origin.audio_dim), read_index(dataset.uri)
    labelled = {row.split for row in rows if row.label_ratio > 0}
    measured, choosing = "test" if "test" in labelled else "val", "val" if "val" in labelled else ""
    found = Recordings(dataset.uri, dataset.digest, view, spec, config.ablate.phases, measured, choosing)
    for split in found.splits:
        _require_two_groups(found.samples(rows, split), split, found.uri)
    found = found.with_size(rows)
    _require_memory(found, config.ablate.memory_gb)
    return found


def _require_features(config: Config, dataset: DatasetInfo) -> FeatureOrigin:
    """What the features were made of, of both modalities and in sequences that are long enough to be corrupted."""
    length, uri, origin = config.sequence.num_subclips, dataset.uri, dataset.features
    if origin is None:
        raise UsageError(
            f"{uri} holds crops and sound, an ablation learns from features: make them by iaca extract --dataset {uri}"
        )
    if {config.model.modalities, origin.modalities} != {"both"}:
        raise UsageError(
            f"model.modalities is {config.model.modalities}, the features of {uri} are of {origin.modalities}; "
            f"an ablation of the fusion needs both"
        )
    if length < SHORTEST:
        raise UsageError(
            f"sequence.num_subclips is {length}, but a corrupted span has 3 steps or more and at most 3/4 of a "
            f"sequence; allowed: {SHORTEST} or more"
        )
    return origin


def _require_two_groups(samples: Sequence[SegmentSample], split: str, uri: str) -> None:
    groups = {sample.row.group for sample in samples}
    if len(groups) < 2:
        raise UsageError(
            f"the {split} split of {uri} has labels of one group only ({groups.pop()}), but swapped features come from "
            f"somebody else; give it more videos"
        )


def _require_memory(found: Recordings, allowed_gb: float) -> None:
    needed_gb = found.num_bytes / 1e9
    if needed_gb > allowed_gb:
        raise UsageError(
            f"the features of {found.uri} take {needed_gb:.3g} GB in each worker process, ablate.memory_gb allows "
            f"{allowed_gb:g}: raise it if ablate.num_workers times that is there, or lower ablate.phases "
            f"({found.phases} of each training segment)"
        )


def trial_data(found: Recordings, settings: AblateConfig, seed: int) -> TrialData:
    """What the dataset gives to the trial of `seed`: the recordings are the same for all, their corruption is not."""
    parts = read(found)
    clean = parts[found.measured].sequences
    choosing: tuple[Source, ...] = ()
    if found.choosing:
        val = spread(parts[found.choosing].sequences, NUM_CHOOSING)
        choosing = (val, CorruptedSource.of(val, settings.corrupted, CHOOSING_SEED + seed))
    return TrialData(
        train=CorruptedSource.of(parts["train"].sequences, settings.chance_in_training, CORRUPTION_SEED + seed),
        clean=clean,
        corrupted=CorruptedSource.of(clean, settings.corrupted, TEST_SEED + seed),
        curve=spread(clean, NUM_CURVE),
        choosing=choosing,
        facts={split: part.facts for split, part in parts.items()},
    )


@dataclass(frozen=True, eq=False)
class Part:
    """The sequences of one split that have a label, their features in float16."""

    sequences: Sequences
    num_videos: int

    @property
    def facts(self) -> dict[str, int]:
        """How much it is; each labelled frame is the last of one step's sub-clip."""
        labelled_frames = int(self.sequences.labelled_NL.sum())
        return {"sequences": len(self.sequences), "videos": self.num_videos, "labelled_frames": labelled_frames}


@lru_cache(maxsize=1)
def read(found: Recordings) -> dict[str, Part]:
    """Every split; kept until others are asked for.

    Raises:
        SampleError, OSError: a sample cannot be read; an ablation leaves none out.
        UsageError: a split has too few labelled frames with a face for a CCC.
    """
    rows = read_index(found.uri)
    parts = {split: _read_split(found, found.samples(rows, split)) for split in found.splits}
    for split, part in parts.items():
        _require_faces(part.sequences, split, found.uri)
    return parts


def _require_faces(sequences: Sequences, split: str, uri: str) -> None:
    found = int((sequences.labelled_NL & sequences.ok_NL2[..., 0]).sum())
    if found < MIN_FRAMES:
        raise UsageError(
            f"the {split} split of {uri} has {found} labelled frames that show a face, and concordance needs "
            f"{MIN_FRAMES}; give it more videos"
        )


def _read_split(found: Recordings, samples: Sequence[SegmentSample]) -> Part:
    """Every sequence is written to its place at once, so that nothing is held twice."""
    whole, stop = _room(found.spec, sum(len(sample.phases) for sample in samples)), 0
    numbers = {group: i for i, group in enumerate(dict.fromkeys(sample.row.group for sample in samples))}
    for sample, cut in _cuts(found, samples):
        part = _sequences(cut, numbers[sample.row.group])
        start, stop = stop, stop + len(part)
        for name, tensor in vars(part).items():
            getattr(whole, name)[start:stop] = tensor
    sequences = Sequences(*(tensor[:stop] for tensor in vars(whole).values()))
    return Part(sequences, len({sample.row.video_id for sample in samples}))


def _cuts(found: Recordings, samples: Sequence[SegmentSample]) -> Iterator[tuple[SegmentSample, FeatureBatch]]:
    def cut(sample: SegmentSample) -> FeatureBatch:
        return cut_features(read_segment(found.uri, sample.row), sample.phases, found.view, found.spec)

    with ThreadPoolExecutor(NUM_READ_AT_ONCE) as threads:
        for start in range(0, len(samples), NUM_READ_AT_ONCE):
            some = samples[start : start + NUM_READ_AT_ONCE]
            yield from zip(some, threads.map(cut, some), strict=True)


def _sequences(batch: FeatureBatch, group: int) -> Sequences:
    """Those of the batch that have a label."""
    ok_BL2 = torch.stack([batch.video_ok_BL, batch.audio_ok_BL], dim=-1)
    healthy_BL2 = torch.full(ok_BL2.shape, HEALTHY, dtype=torch.uint8)
    group_B = torch.full((len(batch),), group)
    truth = (batch.target_BL2, healthy_BL2, ok_BL2, batch.target_ok_BL, group_B)
    whole = Sequences(batch.video_BLD, batch.audio_BLD, *truth)
    return whole.take(batch.target_ok_BL.any(-1).nonzero()[:, 0])


def _room(spec: FeatureSpec, num: int) -> Sequences:
    """N sequences of zeros, their features in float16."""
    steps = (num, spec.num_steps)
    video_NLD, audio_NLD = (torch.zeros(*steps, dim, dtype=torch.float16) for dim in (spec.video_dim, spec.audio_dim))
    kind_NL2, ok_NL2 = torch.zeros(*steps, 2, dtype=torch.uint8), torch.zeros(*steps, 2, dtype=torch.bool)
    labelled_NL, group_N = torch.zeros(steps, dtype=torch.bool), torch.zeros(num, dtype=torch.long)
    return Sequences(video_NLD, audio_NLD, torch.zeros(*steps, 2), kind_NL2, ok_NL2, labelled_NL, group_N)
