"""The sections of the configuration: frozen dataclasses with units in their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iaca_model.config import Precision
from pipeline.config.checks import require, require_at_least, require_positive, require_share


@dataclass(frozen=True)
class SourceConfig:
    """Where raw videos and their labels are."""

    kind: Literal["folder", "affwild2", "recola"] = "folder"
    videos: str = ""  # folder or s3://bucket/prefix, searched recursively
    labels: str = ""  # folder that mirrors the videos; empty: no labels
    crops: str = ""  # folder with <video>/00001.jpg, ... : face crops that were made elsewhere; empty: detect faces
    manifest: str = ""  # optional CSV: video,group,split
    lists: str = ""  # optional folder of lists: one video per line, the file's name says train, val or test
    valence_delay_s: float = 0.0  # recola: how long after the behaviour annotators moved
    arousal_delay_s: float = 0.0
    shared: bool = False  # a local path that every node of the cluster sees


@dataclass(frozen=True)
class StorageConfig:
    """Where outputs go."""

    root: str = "./outputs"  # folder or s3://bucket/prefix
    shared: bool = False  # a local root that every node of the cluster sees


@dataclass(frozen=True)
class SynthesisConfig:
    """The synthetic talkers of the demo and the tests."""

    num_identities: int = 16
    clips_per_identity: int = 2
    duration_s: float = 16.0
    width_px: int = 320
    height_px: int = 240
    frame_rate_hz: float = 25.0
    sample_rate_hz: int = 16000
    corrupted_fraction: float = 0.25  # of the clips
    seed: int = 0
    permute_labels: bool = False  # every clip gets another clip's labels: the control that must not be learnt

    def __post_init__(self) -> None:
        require_at_least(1, "synthesis", self, "num_identities", "clips_per_identity", "width_px", "height_px")
        require_positive("synthesis", self, "duration_s", "frame_rate_hz", "sample_rate_hz")
        require_share("synthesis", self, "corrupted_fraction")


@dataclass(frozen=True)
class MediaConfig:
    """Decoding onto the clock."""

    frame_rate_hz: float = 25.0
    sample_rate_hz: int = 16000
    crop_px: int = 112
    jpeg_quality: int = 92
    max_duration_s: float = 12 * 3600.0
    timeout_s: float = 3600.0  # for decoding one video

    def __post_init__(self) -> None:
        require(
            0 < self.frame_rate_hz <= 240, f"media.frame_rate_hz is {self.frame_rate_hz}; allowed: above 0, up to 240"
        )
        require(16 <= self.crop_px <= 512, f"media.crop_px is {self.crop_px}; allowed: 16 to 512")
        require(1 <= self.jpeg_quality <= 100, f"media.jpeg_quality is {self.jpeg_quality}; allowed: 1 to 100")
        require_positive("media", self, "sample_rate_hz", "max_duration_s", "timeout_s")


@dataclass(frozen=True)
class FacesConfig:
    """Finding and following one person's face."""

    detector: Literal["haar", "yunet"] = "haar"
    model_uri: str = ""  # of the YuNet ONNX file
    model_sha256: str = ""
    detect_every: int = 10  # frames of the clock; at 10 the boxes overlap those of every frame by .98 (median)
    long_side_px: int = 0  # of the picture the detector sees; 0: 320 for yunet, 480 for haar
    min_score: float = 0.6
    min_overlap: float = 0.3  # IoU that joins two detections into one track
    max_gap_s: float = 0.5  # a longer gap between detections is masked, not interpolated
    margin: float = 0.25  # of the box's side, added on each side of the crop
    min_face_fraction: float = 0.0  # a video with less is rejected as no_face; none at all always is
    choose: Literal["largest", "longest", "left", "right"] = "longest"
    align: bool = False  # crops are turned until the eyes are level; only yunet finds eyes

    def __post_init__(self) -> None:
        require_at_least(1, "faces", self, "detect_every")
        require_at_least(0, "faces", self, "long_side_px", "max_gap_s", "margin")
        require_share("faces", self, "min_score", "min_overlap", "min_face_fraction")


@dataclass(frozen=True)
class SoundConfig:
    """The log-mel spectrogram."""

    n_fft: int = 1024
    window_s: float = 0.02
    hop_s: float = 0.01
    num_mels: int = 64

    def __post_init__(self) -> None:
        require_at_least(1, "sound", self, "n_fft", "num_mels")
        require_positive("sound", self, "window_s", "hop_s")


@dataclass(frozen=True)
class SegmentConfig:
    """How a video's clock is tiled into samples."""

    num_frames: int = 512
    num_preroll: int = 31

    def __post_init__(self) -> None:
        require_at_least(1, "segments", self, "num_frames")
        require_at_least(0, "segments", self, "num_preroll")


@dataclass(frozen=True)
class SplitConfig:
    """Seeded hash of the group against these shares; a manifest's split wins."""

    val: float = 0.15
    test: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            min(self.val, self.test) >= 0 and self.val + self.test <= 1,
            f"splits.val {self.val} + splits.test {self.test} must lie within 0 and 1",
        )


@dataclass(frozen=True)
class ShardsConfig:
    """How samples are packed into tars."""

    target_mb: float = 256.0
    max_videos: int = 64  # of one shard, so that short clips too make enough shards to share out
    span_minutes: float = 10.0  # a longer video is cut, so that no shard or worker waits for one file
    max_rejected_fraction: float = 1.0  # more than this and the run fails

    def __post_init__(self) -> None:
        require_positive("shards", self, "target_mb", "span_minutes")
        require_at_least(1, "shards", self, "max_videos")
        require_share("shards", self, "max_rejected_fraction")


@dataclass(frozen=True)
class SequenceConfig:
    """The model's view of a segment: `num_subclips` sub-clips whose ends are `subclip_stride` frames apart."""

    num_subclips: int = 16  # L
    subclip_frames: int = 32
    subclip_dilation: int = (
        4  # the sub-clip is subsampled to subclip_frames / subclip_dilation frames, ending at its last
    )
    subclip_stride: int = 32

    def __post_init__(self) -> None:
        require_at_least(1, "sequence", self, *vars(self))
        length, step = self.subclip_frames, self.subclip_dilation
        require(length % step == 0, f"sequence.subclip_frames {length} must be a multiple of subclip_dilation {step}")

    @property
    def num_subsampled(self) -> int:
        """Frames of a sub-clip that the model sees (T)."""
        return self.subclip_frames // self.subclip_dilation

    @property
    def num_frames(self) -> int:
        """Frames that the interleaved sequences of a segment cover."""
        return self.num_subclips * self.subclip_stride


@dataclass(frozen=True)
class ClusterConfig:
    """Where jobs run: a child process with its own local Ray, or a cluster's Jobs API."""

    address: str = ""  # e.g. http://head:8265
    num_workers: int = 0  # shard builders; 0: one per CPU

    def __post_init__(self) -> None:
        require_at_least(0, "cluster", self, "num_workers")


@dataclass(frozen=True)
class PreprocessConfig:
    """What preprocessing does with the source: all of it or a part, a new dataset or a new version of one."""

    limit: int = 0  # only the first N videos; 0: all
    dry_run: bool = False  # print the plan and stop
    extend: str = ""  # URI of a dataset: make a new version of it for the source as it is now
    retry_rejected: bool = False  # build the shards that hold rejected videos once more

    def __post_init__(self) -> None:
        require(self.limit >= 0, f"preprocess.limit is {self.limit}; it must be 0 (all videos) or more")


@dataclass(frozen=True)
class WeightsConfig:
    """Published weights that the residual backbones start from (.safetensors or .pth)."""

    video: str = ""  # URI; empty: at random
    video_sha256: str = ""
    audio: str = ""
    audio_sha256: str = ""


@dataclass(frozen=True)
class TrainConfig:
    """Data-parallel training."""

    num_workers: int = 1
    use_gpu: bool = False
    epochs: int = 30
    batch_size: int = 16  # sequences, global
    phases_per_segment: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup_fraction: float = 0.1
    clip_norm: float = 1.0
    precision: Precision = "float32"  # of the backbones; bfloat16 pays for residual ones where the hardware has it
    patience: int = 8  # epochs without a better validation mean CCC
    checkpoint_every_steps: int = 200  # besides the one at the end of each epoch
    keep_checkpoints: int = 2  # besides the best
    max_failures: int = 3  # restarts after a lost worker
    max_bad_samples: int = 20  # unreadable in a row before the run stops
    dataset: str = ""  # URI; empty: the one this configuration preprocesses
    drop_modality: float = 0.15  # chance per sequence that one modality is hidden over a span of its steps
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("num_workers", "epochs", "batch_size", "phases_per_segment", "patience")
        require_at_least(1, "train", self, *counts, "checkpoint_every_steps", "keep_checkpoints")
        require_at_least(0, "train", self, "weight_decay", "max_failures", "max_bad_samples", "seed")
        require_positive("train", self, "learning_rate", "clip_norm")
        require_share("train", self, "warmup_fraction", "drop_modality")


@dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated, and on which split."""

    run: str = ""  # URI; empty: the one this configuration trains
    dataset: str = ""  # URI; empty: the one the run was trained on
    split: Literal["train", "val", "test"] = "test"
    masked_modality: Literal["none", "video", "audio"] = "none"  # masked at every step
    smooth: Literal["off", "fixed", "tuned"] = "off"  # predictions scored smoothed, too; tuned: on the val split
    smooth_valence_s: float = 20 / 30  # width of the mean filter where it is fixed: 20 and 50 frames at 30 Hz
    smooth_arousal_s: float = 50 / 30
    num_threads: int = 0  # of torch; 0: its own choice

    def __post_init__(self) -> None:
        require_at_least(0, "evaluate", self, "smooth_valence_s", "smooth_arousal_s", "num_threads")


@dataclass(frozen=True)
class ExtractConfig:
    """Which backbones are run over which dataset."""

    dataset: str = ""  # URI of a dataset of crops and sound
    run: str = ""  # URI of the run whose backbones are used; empty: published ones, see [weights]
    use_gpu: bool = False


@dataclass(frozen=True)
class VerifyConfig:
    """Which dataset is verified."""

    dataset: str = ""  # URI
    repair: bool = False  # build damaged shards again from the source, with the bytes they had


@dataclass(frozen=True)
class AblateConfig:
    """Which variants of the fusion are compared, on what data and how many seeds, and how each is trained.

    Lists are comma-separated. Every base meets every gate (concat only none); extras are IACA's variants, tried on
    `extra_bases`. `pipeline.ablation.variants` says what each name stands for.
    """

    bases: str = "concat,ca,jca,jca_paper,tca"
    gates: str = "none,dca,iaca,grjca,hgrjca"
    extras: str = "faithful,frozen,sharp,soft,agreement,augmented,supervised,agreement_supervised"
    extra_bases: str = "ca,jca"
    encoder: Literal["none", "mlp"] = "none"  # a trained network between the features and the fusion
    data: Literal["benchmark", "source"] = "benchmark"  # built in, or features of the videos of [source]
    dataset: str = ""  # URI of a dataset of features to learn from, instead
    num_seeds: int = 5
    first_seed: int = 200  # those below were used for choosing
    num_steps: int = 16  # of the benchmark's sequences
    feature_dim: int = 24  # of the benchmark's
    num_train: int = 4096  # sequences of the benchmark
    num_test: int = 384
    corrupted: float = 0.8  # chance per sequence and modality that a span of it is corrupted, in training and test
    train_corrupted: float | None = None  # the same chance in training; None: as `corrupted`
    phases: int = 8  # of each training segment of a dataset, evenly spaced; what is measured has all of them
    memory_gb: float = 4.0  # that a dataset's features may take in each worker process
    updates: int = 1000  # at 300 batches of 16 the gates are still on their way
    batch_size: int = 32
    learning_rate: float = 5e-3
    num_workers: int = 0  # trials at a time; 0: one per CPU
    use_gpu: bool = False  # each trial has a share of a GPU

    def __post_init__(self) -> None:
        require(self.num_seeds >= 1, f"ablate.num_seeds is {self.num_seeds}; it must be at least 1")
        require(self.num_steps >= 4, f"ablate.num_steps is {self.num_steps}; it must be at least 4")
        sizes = (self.feature_dim, self.num_train, self.num_test, self.updates, self.batch_size)
        require(min(sizes) >= 1, f"the sizes and counts of [ablate] must be at least 1, found {vars(self)}")
        require(self.phases >= 1, f"ablate.phases is {self.phases}; it must be at least 1")
        require_positive("ablate", self, "memory_gb")
        require_share("ablate", self, "corrupted", "chance_in_training")

    @property
    def makes_features(self) -> bool:
        """Whether there is a dataset of features to be made of the source first."""
        return self.data == "source" and not self.dataset

    @property
    def chance_in_training(self) -> float:
        """Chance per sequence and modality that training corrupts a span of it."""
        return self.corrupted if self.train_corrupted is None else self.train_corrupted
