"""Features of real recordings as the data of a trial: read once per process, into memory of a known size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from iaca_model.batch import FeatureBatch
from iaca_model.config import FeatureSpec
from iaca_model.corruption import HEALTHY
from pipeline.ablation.corruption import CorruptedSource, span_lengths
from pipeline.ablation.feature_sequences import SequenceSource, TrialData, TrialSequences, evenly_spaced
from pipeline.config import Config, UsageError
from pipeline.config.job_sections import AblateConfig, SequenceConfig
from pipeline.dataset.format.dataset_info import DatasetInfo, read_dataset, read_index
from pipeline.records import SampleRow
from pipeline.records.features import FeatureOrigin
from pipeline.training import sampler
from pipeline.training.compatibility import config_for_dataset
from pipeline.training.loader import read_segment
from pipeline.training.sampler import SegmentSample
from pipeline.training.sequences import cut_features

NUM_READ_AT_ONCE = 16  # segments
NUM_CURVE = 1024  # sequences of the missing-sound curve
NUM_SELECTION = 1024  # sequences that select the moment of training
MIN_FRAMES = 2  # of a CCC
FEATURE_BYTES = 2  # float16, as stored
CORRUPTION_SEED, TEST_SEED, SELECTION_SEED = 1_000_003, 4_000_003, 5_000_003  # added to the seed of the trial


@dataclass(frozen=True)
class Recordings:
    """A dataset of features, as far as a trial depends on it."""

    uri: str
    digest: str
    view: SequenceConfig
    spec: FeatureSpec
    phases: int  # of each training segment
    test_split: str  # measured on: test, or val where there is no test
    selection_split: str  # selects the moment of training: val, or "" where there is none
    num_bytes: int = 0  # of memory that the features take at most in a process that has read them

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that are read."""
        return tuple(dict.fromkeys(split for split in ("train", self.selection_split, self.test_split) if split))

    def samples(self, rows: Sequence[SampleRow], split: str) -> list[SegmentSample]:
        """List the samples of a split that are read, group after group."""
        stride = self.view.subclip_stride
        num_phases = self.phases if split == "train" else stride
        labelled_rows = sampler.labelled_rows(rows, split, self.uri)
        samples = sampler.validation_samples(labelled_rows, stride=stride, num_phases=num_phases)
        return sorted(samples, key=lambda sample: sample.row.group)

    def with_size(self, rows: Sequence[SampleRow]) -> Recordings:
        """Set `num_bytes` to what the samples in these rows of the index take."""
        num_sequences = sum(len(sample.phases) for split in self.splits for sample in self.samples(rows, split))
        num_features = num_sequences * self.spec.num_steps * (self.spec.video_dim + self.spec.audio_dim)
        return replace(self, num_bytes=num_features * FEATURE_BYTES)


def find_recordings(config: Config) -> Recordings:
    """Describe the features at `config.ablate.dataset` from its index, without reading them.

    Raises:
        UsageError: it is no dataset of features, lacks labels, a split or a second group in one, its segments do not
            fit the sequence section, or it does not fit into `ablate.memory_gb`.
    """
    dataset = read_dataset(config.ablate.dataset)
    origin = _require_features(config, dataset)
    view = config_for_dataset(config, dataset.config).sequence
    view = replace(view, subclip_frames=origin.subclip_frames, subclip_dilation=origin.subclip_dilation)
    spec, rows = FeatureSpec(view.num_subclips, origin.video_dim, origin.audio_dim), read_index(dataset.uri)
    labelled_splits = {row.split for row in rows if row.label_ratio > 0}
    recordings = Recordings(
        uri=dataset.uri,
        digest=dataset.digest,
        view=view,
        spec=spec,
        phases=config.ablate.phases,
        test_split="test" if "test" in labelled_splits else "val",
        selection_split="val" if "val" in labelled_splits else "",
    )
    for split in recordings.splits:
        _require_two_groups(recordings.samples(rows, split), split, recordings.uri)
    recordings = recordings.with_size(rows)
    _require_memory(recordings, config.ablate.memory_gb)
    return recordings


def _require_features(config: Config, dataset: DatasetInfo) -> FeatureOrigin:
    """Origin of the features, which must be of both modalities, in sequences long enough to be corrupted."""
    uri, origin = dataset.uri, dataset.features
    if origin is None:
        raise UsageError(
            f"{uri} holds crops and sound, an ablation trains on features: make them by iaca extract --dataset {uri}"
        )
    if {config.model.modalities, origin.modalities} != {"both"}:
        raise UsageError(
            f"model.modalities is {config.model.modalities}, the features of {uri} are of {origin.modalities}; "
            f"an ablation of the fusion needs both"
        )
    _require_room_for_spans(config.ablate, config.sequence.num_subclips)
    return origin


def _require_room_for_spans(settings: AblateConfig, num_steps: int) -> None:
    longest = settings.longest_span(num_steps)
    if settings.min_span > longest:
        raise UsageError(
            f"sequence.num_subclips is {num_steps}, but a corrupted span has {settings.min_span} steps or more "
            f"(ablate.min_span) and at most {longest} of the {num_steps} (3/4, or ablate.max_span); lower "
            f"ablate.min_span, or raise ablate.max_span or sequence.num_subclips"
        )


def _require_two_groups(samples: Sequence[SegmentSample], split: str, uri: str) -> None:
    groups = {sample.row.group for sample in samples}
    if len(groups) < 2:
        raise UsageError(
            f"the {split} split of {uri} has labels of one group only ({groups.pop()}), but swapped features come from "
            f"another group; give it more videos"
        )


def _require_memory(recordings: Recordings, allowed_gb: float) -> None:
    needed_gb = recordings.num_bytes / 1e9
    if needed_gb > allowed_gb:
        raise UsageError(
            f"the features of {recordings.uri} take {needed_gb:.3g} GB in each worker process, ablate.memory_gb allows "
            f"{allowed_gb:g}: raise it if ablate.num_workers times that is there, or lower ablate.phases "
            f"({recordings.phases} of each training segment)"
        )


def read_trial_data(recordings: Recordings, settings: AblateConfig, seed: int) -> TrialData:
    """Read the data of the trial of `seed`: all seeds have the same recordings, each its own corruption of them."""
    splits, lengths = read_splits(recordings), span_lengths(settings)
    clean = splits[recordings.test_split].sequences
    selection: tuple[SequenceSource, ...] = ()
    if recordings.selection_split:
        val = evenly_spaced(splits[recordings.selection_split].sequences, NUM_SELECTION)
        selection = (val, CorruptedSource.draw(val, settings.corrupted, SELECTION_SEED + seed, lengths))
    return TrialData(
        train=CorruptedSource.draw(
            splits["train"].sequences, settings.chance_in_training, CORRUPTION_SEED + seed, lengths
        ),
        clean=clean,
        corrupted=CorruptedSource.draw(clean, settings.corrupted, TEST_SEED + seed, lengths),
        curve=evenly_spaced(clean, NUM_CURVE),
        selection=selection,
        counts={name: split.counts for name, split in splits.items()},
    )


@dataclass(frozen=True, eq=False)
class SplitSequences:
    """The sequences of one split that have a label, their features in float16."""

    sequences: TrialSequences
    num_videos: int

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of sequences, videos and labelled frames; each step's sub-clip ends at a frame of its own."""
        labelled_frames = int(self.sequences.labelled_NL.sum())
        return {"sequences": len(self.sequences), "videos": self.num_videos, "labelled_frames": labelled_frames}


@lru_cache(maxsize=1)
def read_splits(recordings: Recordings) -> dict[str, SplitSequences]:
    """Read every split; the result stays in memory until other recordings are read.

    Raises:
        SampleError, OSError: a sample cannot be read; an ablation leaves none out.
        UsageError: a split has too few labelled frames with a face for a CCC.
    """
    rows = read_index(recordings.uri)
    splits = {name: _read_split(recordings, recordings.samples(rows, name)) for name in recordings.splits}
    for name, split in splits.items():
        _require_faces(split.sequences, name, recordings.uri)
    return splits


def _require_faces(sequences: TrialSequences, split: str, uri: str) -> None:
    num_frames = int((sequences.labelled_NL & sequences.ok_NL2[..., 0]).sum())
    if num_frames < MIN_FRAMES:
        raise UsageError(
            f"the {split} split of {uri} has {num_frames} labelled frames that show a face, and concordance needs "
            f"{MIN_FRAMES}; give it more videos"
        )


def _read_split(recordings: Recordings, samples: Sequence[SegmentSample]) -> SplitSequences:
    """Read the samples into tensors of their final size, so that no feature is held twice."""
    tensors = vars(_empty_sequences(recordings.spec, sum(len(sample.phases) for sample in samples)))
    group_numbers = {group: i for i, group in enumerate(dict.fromkeys(sample.row.group for sample in samples))}
    stop = 0
    for sample, cut in _read_and_cut(recordings, samples):
        labelled = _labelled_sequences(cut, group_numbers[sample.row.group])
        start, stop = stop, stop + len(labelled)
        for name, tensor in vars(labelled).items():
            tensors[name][start:stop] = tensor
    sequences = TrialSequences(**{name: tensor[:stop] for name, tensor in tensors.items()})
    return SplitSequences(sequences, len({sample.row.video_id for sample in samples}))


def _read_and_cut(
    recordings: Recordings, samples: Sequence[SegmentSample]
) -> Iterator[tuple[SegmentSample, FeatureBatch]]:
    """Read the samples and cut them into sequences, several at a time, because a remote store is slow to respond."""

    def read(sample: SegmentSample) -> FeatureBatch:
        segment = read_segment(recordings.uri, sample.row)
        return cut_features(segment, sample.phases, recordings.view, recordings.spec)

    with ThreadPoolExecutor(NUM_READ_AT_ONCE) as threads:
        for start in range(0, len(samples), NUM_READ_AT_ONCE):
            batch = samples[start : start + NUM_READ_AT_ONCE]
            yield from zip(batch, threads.map(read, batch), strict=True)


def _labelled_sequences(cut: FeatureBatch, group: int) -> TrialSequences:
    """Convert the sequences that have a label."""
    ok_BL2 = torch.stack([cut.video_ok_BL, cut.audio_ok_BL], dim=-1)
    sequences = TrialSequences(
        video_NLD=cut.video_BLD,
        audio_NLD=cut.audio_BLD,
        target_NL2=cut.target_BL2,
        kind_NL2=torch.full(ok_BL2.shape, HEALTHY, dtype=torch.uint8),
        ok_NL2=ok_BL2,
        labelled_NL=cut.target_ok_BL,
        group_N=torch.full((len(cut),), group),
    )
    return sequences.take(cut.target_ok_BL.any(-1).nonzero()[:, 0])


def _empty_sequences(spec: FeatureSpec, num: int) -> TrialSequences:
    """Allocate `num` sequences of zeros, their features in float16."""
    steps = (num, spec.num_steps)
    return TrialSequences(
        video_NLD=torch.zeros(*steps, spec.video_dim, dtype=torch.float16),
        audio_NLD=torch.zeros(*steps, spec.audio_dim, dtype=torch.float16),
        target_NL2=torch.zeros(*steps, 2),
        kind_NL2=torch.zeros(*steps, 2, dtype=torch.uint8),
        ok_NL2=torch.zeros(*steps, 2, dtype=torch.bool),
        labelled_NL=torch.zeros(steps, dtype=torch.bool),
        group_N=torch.zeros(num, dtype=torch.long),
    )
