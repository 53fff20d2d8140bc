"""The sections of the configuration: frozen dataclasses that say of each setting its unit, bounds and meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from iaca_model.config import Precision
from pipeline.config.fields import Count, NotNegative, NotNegativeInt, Positive, Share, Uri

DATASET_MARKER, RUN_MARKER = "dataset.json", "run.json"  # written last: what has it is complete
KNOWN_KEYS_ONLY = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SourceConfig:
    """Where raw videos and their labels are."""

    kind: Annotated[Literal["folder", "affwild2", "recola"], "the layout of the source"] = "folder"
    videos: Annotated[
        str,
        Uri("source", required_by=("preprocess",), read_by=("repair",), made_by="synthesize"),
        "folder or s3://bucket/prefix, searched recursively",
    ] = ""
    labels: Annotated[
        str,
        Uri("source", read_by=("preprocess", "repair"), made_by="synthesize"),
        "folder that mirrors the videos; empty: no labels",
    ] = ""
    crops: Annotated[
        str,
        Uri("source", read_by=("preprocess", "repair")),
        "folder with <video>/00001.jpg, ... : face crops that were made elsewhere; empty: detect faces",
    ] = ""
    manifest: Annotated[
        str, Uri("source", read_by=("preprocess",), made_by="synthesize"), "optional CSV: video,group,split"
    ] = ""
    lists: Annotated[
        str,
        Uri("source", read_by=("preprocess",)),
        "optional folder of lists: one video per line, the file's name says train, val or test",
    ] = ""
    valence_delay_s: Annotated[float, "recola: how long after the behaviour annotators moved"] = 0.0
    arousal_delay_s: Annotated[float, "the same for arousal"] = 0.0
    shared: Annotated[bool, "every node of the cluster sees the source under these local paths"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class StorageConfig:
    """Where outputs go."""

    root: Annotated[str, Uri("root"), "folder or s3://bucket/prefix"] = "./outputs"
    shared: Annotated[bool, "every node of the cluster sees a local root under this path"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SynthesisConfig:
    """The synthetic talkers of the demo and the tests."""

    num_identities: Annotated[Count, "talkers"] = 16
    clips_per_identity: Annotated[Count, "clips of each talker"] = 2
    duration_s: Annotated[Positive, "of a clip"] = 16.0
    width_px: Annotated[Count, "of the picture"] = 320
    height_px: Annotated[Count, "of the picture"] = 240
    frame_rate_hz: Annotated[Positive, "of the video"] = 25.0
    sample_rate_hz: Annotated[Count, "of the sound"] = 16000
    corrupted_fraction: Annotated[Share, "of the clips"] = 0.25
    seed: Annotated[int, "of everything that is drawn at random"] = 0
    permute_labels: Annotated[bool, "give every clip another clip's labels: the control that must not be learnt"] = (
        False
    )


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class MediaConfig:
    """Decoding onto the clock."""

    frame_rate_hz: Annotated[float, Gt(0), Le(240), "of the clock"] = 25.0
    sample_rate_hz: Annotated[Count, "of the decoded sound"] = 16000
    crop_px: Annotated[int, Ge(16), Le(512), "side of the square face crops"] = 112
    jpeg_quality: Annotated[int, Ge(1), Le(100), "of the face crops"] = 92
    max_duration_s: Annotated[Positive, "a longer video is rejected"] = 12 * 3600.0
    timeout_s: Annotated[Positive, "for decoding one video"] = 3600.0


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class FacesConfig:
    """Finding and following one person's face."""

    detector: Annotated[Literal["haar", "yunet"], "yunet needs its ONNX file: model_uri and model_sha256"] = "haar"
    model_uri: Annotated[str, Uri("source", read_by=("preprocess", "repair")), "of the YuNet ONNX file"] = ""
    model_sha256: Annotated[str, "of the YuNet ONNX file"] = ""
    detect_every: Annotated[Count, "frames of the clock; at 10 the boxes overlap those of every frame by .98"] = 10
    long_side_px: Annotated[NotNegativeInt, "of the picture the detector sees; 0: 320 for yunet, 480 for haar"] = 0
    min_score: Annotated[Share, "of a detection"] = 0.6
    min_overlap: Annotated[Share, "IoU that joins two detections into one track"] = 0.3
    max_gap_s: Annotated[NotNegative, "a longer gap between detections is masked, not interpolated"] = 0.5
    margin: Annotated[NotNegative, "of the box's side, added on each side of the crop"] = 0.25
    min_face_fraction: Annotated[Share, "a video with less is rejected as no_face; none at all always is"] = 0.0
    choose: Annotated[Literal["largest", "longest", "left", "right"], "which of several tracks is kept"] = "longest"
    align: Annotated[bool, "crops are turned until the eyes are level; only yunet finds eyes"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SoundConfig:
    """The log-mel spectrogram."""

    n_fft: Annotated[Count, "samples of the Fourier transform"] = 1024
    window_s: Annotated[Positive, "of the Hann window"] = 0.02
    hop_s: Annotated[Positive, "between two spectra"] = 0.01
    num_mels: Annotated[Count, "mel bands"] = 64


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SegmentConfig:
    """How a video's clock is tiled into samples."""

    num_frames: Annotated[Count, "of a segment"] = 512
    num_preroll: Annotated[NotNegativeInt, "frames before a segment that are its context and never scored"] = 31


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SplitConfig:
    """Seeded hash of the group against these shares; a manifest's split wins."""

    val: Annotated[float, "share of the groups that choose the checkpoint"] = 0.15
    test: Annotated[float, "share of the groups that are evaluated"] = 0.15
    seed: Annotated[int, "of the hash"] = 0

    def __post_init__(self) -> None:
        if not (min(self.val, self.test) >= 0 and self.val + self.test <= 1):
            raise ValueError(f"splits.val {self.val} + splits.test {self.test} must lie within 0 and 1")


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class ShardsConfig:
    """How samples are packed into tars."""

    target_mb: Annotated[Positive, "of a shard"] = 256.0
    max_videos: Annotated[Count, "of one shard, so that short clips too make enough shards to share out"] = 64
    span_minutes: Annotated[Positive, "a longer video is cut, so that no shard or worker waits for one file"] = 10.0
    max_rejected_fraction: Annotated[Share, "more than this and the run fails"] = 1.0


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class PreprocessConfig:
    """What preprocessing does with the source: all of it or a part, a new dataset or a new version of one."""

    limit: Annotated[NotNegativeInt, "only the first N videos; 0: all"] = 0
    dry_run: Annotated[bool, "print the plan and stop"] = False
    extend: Annotated[
        str,
        Uri("artifact", read_by=("preprocess",), marker=DATASET_MARKER),
        "URI of a dataset: make a new version of it for the source as it is now",
    ] = ""
    retry_rejected: Annotated[bool, "build the shards that hold rejected videos once more"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SequenceConfig:
    """The model's view of a segment: `num_subclips` sub-clips whose ends are `subclip_stride` frames apart."""

    num_subclips: Annotated[Count, "of a sequence (L)"] = 16
    subclip_frames: Annotated[Count, "frames that a sub-clip spans"] = 32
    subclip_dilation: Annotated[Count, "a sub-clip is subsampled to every so many of its frames, with its last"] = 4
    subclip_stride: Annotated[Count, "frames between the ends of two sub-clips"] = 32

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

    video: Annotated[str, Uri("artifact", read_by=("train", "extract")), "URI; empty: at random"] = ""
    video_sha256: Annotated[str, "of the file"] = ""
    audio: Annotated[str, Uri("artifact", read_by=("train", "extract")), "URI; empty: at random"] = ""
    audio_sha256: Annotated[str, "of the file"] = ""


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class TrainConfig:
    """Data-parallel training."""

    num_workers: Annotated[Count, "data-parallel ranks"] = 1
    use_gpu: Annotated[bool, "one for each worker"] = False
    epochs: Annotated[Count, "at most"] = 30
    batch_size: Annotated[Count, "sequences, global"] = 16
    phases_per_segment: Annotated[Count, "of its interleaved sequences that an epoch takes from a segment"] = 4
    learning_rate: Annotated[Positive, "of AdamW, after the warm-up"] = 1e-3
    weight_decay: Annotated[NotNegative, "of matrices; vectors have none"] = 1e-2
    warmup_fraction: Annotated[Share, "of the steps"] = 0.1
    clip_norm: Annotated[Positive, "to which gradients are clipped"] = 1.0
    precision: Annotated[Precision, "of the backbones; bfloat16 pays for residual ones where the hardware has it"] = (
        "float32"
    )
    patience: Annotated[Count, "epochs without a better validation mean CCC"] = 8
    checkpoint_every_steps: Annotated[Count, "besides the one at the end of each epoch"] = 200
    keep_checkpoints: Annotated[Count, "besides the best"] = 2
    max_failures: Annotated[NotNegativeInt, "restarts after a lost worker"] = 3
    max_bad_samples: Annotated[NotNegativeInt, "unreadable in a row before the run stops"] = 20
    dataset: Annotated[
        str,
        Uri("artifact", required_by=("train",), made_by="preprocess", marker=DATASET_MARKER),
        "URI; empty: the one this configuration preprocesses",
    ] = ""
    drop_modality: Annotated[Share, "chance per sequence that one modality is masked over a span of its steps"] = 0.15
    seed: Annotated[NotNegativeInt, "of initial weights, order and noise"] = 0


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class EvaluateConfig:
    """What is evaluated, and on which split."""

    run: Annotated[
        str,
        Uri("artifact", required_by=("evaluate",), made_by="train", marker=RUN_MARKER),
        "URI; empty: the one this configuration trains",
    ] = ""
    dataset: Annotated[
        str,
        Uri("artifact", read_by=("evaluate",), marker=DATASET_MARKER),
        "URI; empty: the one the run was trained on",
    ] = ""
    split: Annotated[Literal["train", "val", "test"], "whose frames are predicted"] = "test"
    masked_modality: Annotated[Literal["none", "video", "audio"], "masked at every step"] = "none"
    smooth: Annotated[Literal["off", "fixed", "tuned"], "predictions scored smoothed, too; tuned: on the val split"] = (
        "off"
    )
    smooth_valence_s: Annotated[NotNegative, "width of the mean filter where it is fixed: 20 frames at 30 Hz"] = 20 / 30
    smooth_arousal_s: Annotated[NotNegative, "the same for arousal: 50 frames at 30 Hz"] = 50 / 30
    num_threads: Annotated[NotNegativeInt, "of torch; 0: its own choice"] = 0


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class ExtractConfig:
    """Which backbones are run over which dataset."""

    dataset: Annotated[
        str,
        Uri("artifact", required_by=("extract",), made_by="preprocess", marker=DATASET_MARKER),
        "URI of a dataset of crops and sound",
    ] = ""
    run: Annotated[
        str,
        Uri("artifact", read_by=("extract",), marker=RUN_MARKER),
        "URI of the run whose backbones are used; empty: published ones, see [weights]",
    ] = ""
    use_gpu: Annotated[bool, "one for each worker"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class AblateConfig:
    """Which variants of the fusion are compared, on what data and how many seeds, and how each is trained.

    Lists are comma-separated. Every base meets every gate (concat only none); extras are IACA's variants, tried on
    `extra_bases`. `pipeline.ablation.variants` says what each name stands for.
    """

    bases: Annotated[str, "attention bases, comma-separated"] = "concat,ca,jca,jca_paper,tca"
    gates: Annotated[str, "that every base but concat meets"] = "none,dca,iaca,grjca,hgrjca"
    extras: Annotated[str, "variants of IACA"] = (
        "faithful,frozen,sharp,soft,agreement,augmented,supervised,agreement_supervised"
    )
    extra_bases: Annotated[str, "on which the extras are tried"] = "ca,jca"
    encoder: Annotated[Literal["none", "mlp"], "a trained network between the features and the fusion"] = "none"
    data: Annotated[Literal["benchmark", "source"], "built in, or features of the videos of [source]"] = "benchmark"
    dataset: Annotated[
        str,
        Uri("artifact", read_by=("ablate",), made_by="extract", marker=DATASET_MARKER),
        "URI of a dataset of features to learn from, instead",
    ] = ""
    num_seeds: Annotated[Count, "trials of each variant"] = 5
    first_seed: Annotated[int, "those below were used for choosing"] = 200
    num_steps: Annotated[int, Ge(4), "of the benchmark's sequences"] = 16
    feature_dim: Annotated[Count, "of the benchmark's"] = 24
    num_train: Annotated[Count, "sequences of the benchmark"] = 4096
    num_test: Annotated[Count, "sequences of the benchmark"] = 384
    corrupted: Annotated[
        Share, "chance per sequence and modality that a span of it is corrupted, in training and test"
    ] = 0.8
    train_corrupted: Annotated[Share | None, "the same chance in training; none: as `corrupted`"] = None
    phases: Annotated[
        Count, "of each training segment of a dataset, evenly spaced; what is measured has all of them"
    ] = 8
    memory_gb: Annotated[Positive, "that a dataset's features may take in each worker process"] = 4.0
    updates: Annotated[Count, "at 300 batches of 16 the gates are still on their way"] = 1000
    batch_size: Annotated[Count, "sequences"] = 32
    learning_rate: Annotated[Positive, "of the trials"] = 5e-3
    num_workers: Annotated[NotNegativeInt, "trials at a time; 0: one per CPU"] = 0
    use_gpu: Annotated[bool, "each trial has a share of a GPU"] = False

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

    dataset: Annotated[str, Uri("artifact", required_by=("verify",), marker=DATASET_MARKER), "URI of a dataset"] = ""
    repair: Annotated[bool, "build damaged shards again from the source, with the bytes they had"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class ClusterConfig:
    """Where jobs run: a child process with its own local Ray, or a cluster's Jobs API."""

    address: Annotated[str, "of the Jobs API, e.g. http://head:8265; empty: this machine"] = ""
    num_workers: Annotated[NotNegativeInt, "shard builders; 0: one per CPU"] = 0
