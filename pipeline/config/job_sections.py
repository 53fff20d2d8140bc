"""The sections of the configuration that say what is done with a dataset, and where: each setting with its bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge
from pydantic.dataclasses import dataclass

from iaca_model.config import Precision, Temporal
from pipeline.config.fields import (
    DATASET_MARKER,
    KNOWN_KEYS_ONLY,
    RUN_MARKER,
    Count,
    NotNegative,
    NotNegativeInt,
    Positive,
    Share,
    Uri,
)


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SequenceConfig:
    """The model's view of a segment: `num_subclips` sub-clips whose ends are `subclip_stride` frames apart."""

    num_subclips: Annotated[Count, "number of sub-clips in a sequence (L)"] = 16
    subclip_frames: Annotated[Count, "number of frames that a sub-clip spans"] = 32
    subclip_dilation: Annotated[
        Count, "frames from one used frame of a sub-clip to the next; its last frame is always used"
    ] = 4
    subclip_stride: Annotated[Count, "frames from the end of one sub-clip to the end of the next"] = 32

    def __post_init__(self) -> None:
        length, step = self.subclip_frames, self.subclip_dilation
        if length % step:
            raise ValueError(f"sequence.subclip_frames {length} must be a multiple of subclip_dilation {step}")

    @property
    def num_subsampled(self) -> int:
        """Frames of a sub-clip that the model sees (T)."""
        return self.subclip_frames // self.subclip_dilation

    @property
    def num_frames(self) -> int:
        """Frames that the interleaved sequences of a segment cover."""
        return self.num_subclips * self.subclip_stride


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class WeightsConfig:
    """Published weights that the residual backbones start from (.safetensors or .pth)."""

    video: Annotated[
        str, Uri("artifact", read_by=("train", "extract")), "URI of the video backbone's weights; empty: random weights"
    ] = ""
    video_sha256: Annotated[str, "sha256 of the video backbone's weights"] = ""
    audio: Annotated[
        str, Uri("artifact", read_by=("train", "extract")), "URI of the audio backbone's weights; empty: random weights"
    ] = ""
    audio_sha256: Annotated[str, "sha256 of the audio backbone's weights"] = ""


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class TrainConfig:
    """Data-parallel training."""

    num_workers: Annotated[Count, "number of data-parallel ranks"] = 1
    use_gpu: Annotated[bool, "whether each worker uses a GPU"] = False
    epochs: Annotated[Count, "highest number of epochs"] = 30
    batch_size: Annotated[Count, "number of sequences in a batch, over all workers"] = 16
    phases_per_segment: Annotated[Count, "number of interleaved sequences that an epoch takes from a segment"] = 4
    learning_rate: Annotated[Positive, "peak learning rate of AdamW, reached after the warm-up"] = 1e-3
    weight_decay: Annotated[NotNegative, "weight decay of matrices; vectors have none"] = 1e-2
    warmup_fraction: Annotated[Share, "share of all steps in which the learning rate rises"] = 0.1
    clip_norm: Annotated[Positive, "norm above which the gradient is scaled down"] = 1.0
    precision: Annotated[
        Precision, "arithmetic of the backbones; bfloat16 is faster for residual ones on hardware that has it"
    ] = "float32"
    patience: Annotated[Count, "number of epochs without a better mean validation CCC after which training ends"] = 8
    checkpoint_every_steps: Annotated[
        Count, "steps from one checkpoint to the next within an epoch; each epoch ends with one"
    ] = 200
    keep_checkpoints: Annotated[Count, "number of newest checkpoints that are kept besides the best"] = 2
    max_failures: Annotated[NotNegativeInt, "highest number of restarts after the loss of a worker"] = 3
    max_bad_samples: Annotated[
        NotNegativeInt, "highest number of unreadable samples in a row before training fails"
    ] = 20
    dataset: Annotated[
        str,
        Uri("artifact", required_by=("train",), made_by="preprocess", marker=DATASET_MARKER),
        "URI of the dataset; empty: the one that this configuration preprocesses",
    ] = ""
    drop_modality: Annotated[Share, "chance per sequence that one modality is masked over a span of its steps"] = 0.15
    corrupt_modality: Annotated[
        Share, "chance per sequence that one modality is corrupted over a span of its steps, which no mask tells"
    ] = 0.0
    corrupt_missing: Annotated[NotNegative, "relative share of spans that become black, or digital silence"] = 1.0
    corrupt_noisy: Annotated[NotNegative, "relative share of spans that become noisy"] = 1.0
    corrupt_swapped: Annotated[
        NotNegative, "relative share of spans that are swapped with those of another group in the worker's batch"
    ] = 1.0
    seed: Annotated[NotNegativeInt, "seed of the initial weights, the order and the noise"] = 0

    def __post_init__(self) -> None:
        if self.corrupt_modality > 0 and not any(self.corrupt_shares):
            raise ValueError(
                f"train.corrupt_modality is {self.corrupt_modality}, but train.corrupt_missing, train.corrupt_noisy "
                f"and train.corrupt_swapped are 0; give one of them a share"
            )

    @property
    def corrupt_shares(self) -> tuple[float, float, float]:
        """Relative shares of missing, noisy and swapped spans, in the order of `iaca_model.corruption.KINDS`."""
        return (self.corrupt_missing, self.corrupt_noisy, self.corrupt_swapped)


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class EvaluateConfig:
    """What is evaluated, and on which split."""

    run: Annotated[
        str,
        Uri("artifact", required_by=("evaluate",), made_by="train", marker=RUN_MARKER),
        "URI of the run; empty: the one that this configuration trains",
    ] = ""
    dataset: Annotated[
        str,
        Uri("artifact", read_by=("evaluate",), marker=DATASET_MARKER),
        "URI of the dataset; empty: the one that the run was trained on",
    ] = ""
    split: Annotated[Literal["train", "val", "test"], "split that is predicted and scored"] = "test"
    masked_modality: Annotated[Literal["none", "video", "audio"], "modality that is masked at every step"] = "none"
    corrupt_modality: Annotated[
        Share,
        "chance per segment that a span of one modality is missing, noisy or another group's, which no mask tells "
        "the model",
    ] = 0.0
    corrupt_seed: Annotated[NotNegativeInt, "seed of that corruption"] = 0
    smooth: Annotated[
        Literal["off", "fixed", "tuned"],
        "additional scores of smoothed predictions: none, of fixed widths, or of widths tuned on the val split",
    ] = "off"
    smooth_valence_s: Annotated[
        NotNegative, "width of the fixed mean filter on valence; 20 frames at 30 Hz by default"
    ] = 20 / 30
    smooth_arousal_s: Annotated[
        NotNegative, "width of the fixed mean filter on arousal; 50 frames at 30 Hz by default"
    ] = 50 / 30
    num_threads: Annotated[NotNegativeInt, "number of torch's threads; 0: torch's default"] = 0

    def __post_init__(self) -> None:
        if self.corrupt_modality and self.masked_modality != "none":
            raise ValueError(
                f"evaluate.corrupt_modality is {self.corrupt_modality:g} and evaluate.masked_modality is "
                f"{self.masked_modality}, but a span is corrupted only where both modalities are there; set the first "
                f"to 0 or the second to none"
            )


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class ExtractConfig:
    """Which backbones are run over which dataset."""

    dataset: Annotated[
        str,
        Uri("artifact", required_by=("extract",), made_by="preprocess", marker=DATASET_MARKER),
        "URI of the dataset of crops and sound",
    ] = ""
    run: Annotated[
        str,
        Uri("artifact", read_by=("extract",), marker=RUN_MARKER),
        "URI of the run that supplies the backbones; empty: the published ones of [weights]",
    ] = ""
    use_gpu: Annotated[bool, "whether each worker uses a GPU"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class AblateConfig:
    """Which variants of the fusion are compared, on what data and how many seeds, and how each is trained.

    Lists are comma-separated. Every base meets every gate (concat only none) and every row of `fronts`; extras are
    IACA's variants, tried on `extra_bases`. `pipeline.ablation.variants` says what each name stands for.
    """

    bases: Annotated[str, "comma-separated attention bases"] = "concat,ca,jca,jca_paper,tca"
    gates: Annotated[str, "comma-separated gates, each tried on every base that allows it"] = (
        "none,dca,iaca,grjca,hgrjca"
    )
    fronts: Annotated[
        str,
        "comma-separated rows about the front; control: its verdict unused, oracle: corrupted features zeroed",
    ] = "front,front+iaca,control,oracle"
    extras: Annotated[str, "comma-separated variants of IACA"] = (
        "faithful,frozen,sharp,soft,agreement,augmented,supervised,agreement_supervised"
    )
    extra_bases: Annotated[str, "comma-separated bases on which the extras are tried"] = "ca,jca"
    encoder: Annotated[Literal["none", "mlp"], "trained network between the features and the fusion"] = "none"
    temporal: Annotated[
        Temporal, "temporal block of every variant on the benchmark; on a dataset it is model.temporal"
    ] = "none"
    data: Annotated[
        Literal["benchmark", "source"],
        "origin of the sequences: the built-in benchmark, or features of the videos of [source]",
    ] = "benchmark"
    dataset: Annotated[
        str,
        Uri("artifact", read_by=("ablate",), made_by="extract", marker=DATASET_MARKER),
        "URI of a dataset of features to use instead; empty: `data` decides",
    ] = ""
    num_seeds: Annotated[Count, "number of seeds, each with one trial of every variant"] = 5
    first_seed: Annotated[int, "first evaluation seed; lower seeds were used for tuning"] = 200
    num_steps: Annotated[int, Ge(4), "number of steps in a benchmark sequence"] = 16
    feature_dim: Annotated[Count, "width of each modality's features in the benchmark"] = 24
    identity: Annotated[NotNegative, "how strongly the benchmark's features show who the person is; 0: not at all"] = (
        1.5
    )
    num_train: Annotated[Count, "number of training sequences of the benchmark"] = 4096
    num_test: Annotated[Count, "number of test sequences of the benchmark"] = 384
    corrupted: Annotated[
        Share, "chance per sequence and modality that a span of it is corrupted, in training and test"
    ] = 0.8
    train_corrupted: Annotated[Share | None, "the same chance in training alone; none: as `corrupted`"] = None
    augment: Annotated[
        Share, "chance per sequence and modality that each batch of training gets another corrupted span"
    ] = 0.0
    min_span: Annotated[Count, "smallest number of steps of a corrupted span"] = 3
    max_span: Annotated[Count | None, "largest number of steps of a corrupted span; none: 3/4 of the sequence"] = None
    phases: Annotated[
        Count, "number of evenly spaced phases of each training segment of a dataset; tests use all phases"
    ] = 8
    memory_gb: Annotated[Positive, "memory that a dataset's features may take in each worker process"] = 4.0
    updates: Annotated[
        Count, "optimizer steps per trial; 300 at batch size 16 is too few for the gates to converge"
    ] = 1000
    batch_size: Annotated[Count, "number of sequences in a batch of a trial"] = 32
    learning_rate: Annotated[Positive, "peak learning rate of a trial"] = 5e-3
    num_workers: Annotated[NotNegativeInt, "number of trials at a time; 0: one per CPU"] = 0
    use_gpu: Annotated[bool, "whether each trial has a share of a GPU"] = False

    def __post_init__(self) -> None:
        if self.max_span is not None and self.max_span < self.min_span:
            raise ValueError(
                f"min_span is {self.min_span} and max_span {self.max_span}; the smallest span must not be longer than "
                f"the largest"
            )
        longest, on_benchmark = self.longest_span(self.num_steps), self.data == "benchmark" and not self.dataset
        if on_benchmark and self.min_span > longest:
            raise ValueError(
                f"min_span is {self.min_span}, but in sequences of num_steps {self.num_steps} a corrupted span has at "
                f"most {longest} steps (3/4, or max_span); lower min_span, or raise max_span or num_steps"
            )

    def longest_span(self, num_steps: int) -> int:
        """Number of steps of the longest corrupted span in sequences of `num_steps`."""
        return min(self.max_span or 3 * num_steps // 4, num_steps)

    @property
    def makes_features(self) -> bool:
        """Whether there is a dataset of features to be made of the source first."""
        return self.data == "source" and not self.dataset

    @property
    def chance_in_training(self) -> float:
        """Chance per sequence and modality that training corrupts a span of it."""
        return self.corrupted if self.train_corrupted is None else self.train_corrupted


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class VerifyConfig:
    """Which dataset is verified."""

    dataset: Annotated[str, Uri("artifact", required_by=("verify",), marker=DATASET_MARKER), "URI of the dataset"] = ""
    repair: Annotated[bool, "whether damaged shards are built again from the source, with the bytes they had"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class FetchModelConfig:
    """Which model is fetched, from where."""

    name: Annotated[Literal["yunet"], "model to fetch into models/ below storage.root"] = "yunet"
    uri: Annotated[
        str,
        "file, s3:// or https:// address to take it from; empty: where its manifest says. Its sha256 must be the same",
    ] = ""


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class ClusterConfig:
    """Where jobs run: a child process with its own local Ray, or a cluster's Jobs API."""

    address: Annotated[str, "address of the Ray Jobs API, e.g. http://head:8265; empty: this machine"] = ""
    num_workers: Annotated[NotNegativeInt, "number of shard builders; 0: one per CPU"] = 0
