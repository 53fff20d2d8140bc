"""The sections of the configuration: frozen dataclasses that say of each setting its unit, bounds and meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from iaca_model.config import Precision
from pipeline.config.fields import Count, NotNegative, NotNegativeInt, Positive, Share, Uri

DATASET_MARKER, RUN_MARKER = "dataset.json", "run.json"  # written last: what has it is complete
KNOWN_KEYS_ONLY = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SourceConfig:
    """Where raw videos and their labels are."""

    kind: Annotated[Literal["folder", "affwild2", "recola"], "layout of the source's files"] = "folder"
    videos: Annotated[
        str,
        Uri("source", required_by=("preprocess",), read_by=("repair",), made_by="synthesize"),
        "folder or s3://bucket/prefix of the raw videos, searched recursively",
    ] = ""
    labels: Annotated[
        str,
        Uri("source", read_by=("preprocess", "repair"), made_by="synthesize"),
        "folder of label files that mirrors the videos; empty: no labels",
    ] = ""
    crops: Annotated[
        str,
        Uri("source", read_by=("preprocess", "repair")),
        "folder of face crops made elsewhere, <video>/00001.jpg, ...; empty: faces are detected",
    ] = ""
    manifest: Annotated[
        str,
        Uri("source", read_by=("preprocess",), made_by="synthesize"),
        "CSV file with the columns video,group,split; empty: default groups and splits",
    ] = ""
    lists: Annotated[
        str,
        Uri("source", read_by=("preprocess",)),
        "folder of text files called train, val or test with one video per line; empty: no lists",
    ] = ""
    valence_delay_s: Annotated[
        float, "reaction delay of the annotators of valence, undone in the labels; recola only"
    ] = 0.0
    arousal_delay_s: Annotated[
        float, "reaction delay of the annotators of arousal, undone in the labels; recola only"
    ] = 0.0
    shared: Annotated[bool, "whether every node of the cluster sees the source under these local paths"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class StorageConfig:
    """Where outputs go."""

    root: Annotated[str, Uri("root"), "folder or s3://bucket/prefix of all outputs"] = "./outputs"
    shared: Annotated[bool, "whether every node of the cluster sees a local root under this path"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SynthesisConfig:
    """The synthetic talkers of the demo and the tests."""

    num_identities: Annotated[Count, "number of talkers"] = 16
    clips_per_identity: Annotated[Count, "number of clips of each talker"] = 2
    duration_s: Annotated[Positive, "duration of a clip"] = 16.0
    width_px: Annotated[Count, "width of the picture"] = 320
    height_px: Annotated[Count, "height of the picture"] = 240
    frame_rate_hz: Annotated[Positive, "frame rate of the video"] = 25.0
    sample_rate_hz: Annotated[Count, "sample rate of the sound"] = 16000
    corrupted_fraction: Annotated[Share, "share of the clips in which a span of the face or the sound is corrupted"] = (
        0.25
    )
    seed: Annotated[int, "seed of everything that is drawn at random"] = 0
    permute_labels: Annotated[bool, "whether each clip has another clip's labels, a control that cannot be learnt"] = (
        False
    )


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class MediaConfig:
    """Decoding onto the clock."""

    frame_rate_hz: Annotated[float, Gt(0), Le(240), "frame rate of the clock"] = 25.0
    sample_rate_hz: Annotated[Count, "sample rate of the decoded sound"] = 16000
    crop_px: Annotated[int, Ge(16), Le(512), "side of the square face crops"] = 112
    jpeg_quality: Annotated[int, Ge(1), Le(100), "JPEG quality of the face crops"] = 92
    max_duration_s: Annotated[Positive, "duration above which a video is rejected"] = 12 * 3600.0
    timeout_s: Annotated[Positive, "wall-clock limit of each call of the decoder"] = 3600.0
    ffmpeg: Annotated[str, "path or name of the ffmpeg to run, 8.0 or newer; empty: the bundled one"] = ""


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class FacesConfig:
    """Finding and following one person's face."""

    detector: Annotated[Literal["haar", "yunet"], "face detector; yunet needs a model, see `iaca fetch-model`"] = "haar"
    model_uri: Annotated[
        str,
        Uri("source", read_by=("preprocess", "repair")),
        "URI of YuNet's ONNX file; empty: the one that was fetched",
    ] = ""
    model_sha256: Annotated[str, "sha256 of YuNet's ONNX file"] = ""
    detect_every: Annotated[
        Count, "clock frames from one detection to the next; at 10 the boxes overlap those of every frame by .98"
    ] = 10
    long_side_px: Annotated[NotNegativeInt, "long side of the detector's picture; 0: 320 for yunet, 480 for haar"] = 0
    min_score: Annotated[Share, "lowest score of a detection that counts"] = 0.6
    min_overlap: Annotated[Share, "lowest overlap (IoU) of a detection with the track that it continues"] = 0.3
    max_gap_s: Annotated[
        NotNegative,
        "longest gap between detections that is interpolated, at least detect_every; a longer one ends a track",
    ] = 0.5
    margin: Annotated[NotNegative, "margin on each side of a crop, as a share of the box's longer side"] = 0.25
    min_face_fraction: Annotated[
        Share, "lowest share of frames with the face; below it, or at none, a video is rejected as no_face"
    ] = 0.0
    choose: Annotated[Literal["largest", "longest", "left", "right"], "rule that chooses the person to follow"] = (
        "longest"
    )
    align: Annotated[bool, "whether crops are turned until the eyes are level; only yunet finds eyes"] = False


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SoundConfig:
    """The log-mel spectrogram."""

    n_fft: Annotated[Count, "length of the Fourier transform in samples"] = 1024
    window_s: Annotated[Positive, "length of the Hann window"] = 0.02
    hop_s: Annotated[Positive, "time from one spectrum to the next"] = 0.01
    num_mels: Annotated[Count, "number of mel bands"] = 64


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SegmentConfig:
    """How a video's clock is tiled into samples."""

    num_frames: Annotated[Count, "number of clock frames in a segment"] = 512
    num_preroll: Annotated[NotNegativeInt, "number of context frames before a segment, which are never scored"] = 31


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class SplitConfig:
    """How groups that have no split from a manifest or a list are divided among train, val and test."""

    method: Annotated[
        Literal["auto", "balanced", "hash"],
        "balanced: by duration, so that the shares are met and no split is empty; hash: by the group's name alone; "
        "auto: balanced below 200 groups",
    ] = "auto"
    val: Annotated[float, "share of the groups in the val split, which chooses the checkpoint"] = 0.15
    test: Annotated[float, "share of the groups in the test split, which is evaluated"] = 0.15
    seed: Annotated[int, "seed of the method"] = 0

    def __post_init__(self) -> None:
        if not (min(self.val, self.test) >= 0 and self.val + self.test <= 1):
            raise ValueError(f"splits.val {self.val} + splits.test {self.test} must lie within 0 and 1")


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class ShardsConfig:
    """How samples are packed into tars."""

    target_mb: Annotated[Positive, "size above which no further span is added to a shard"] = 256.0
    max_videos: Annotated[Count, "highest number of videos or spans in a shard, so that short clips fill several"] = 64
    min_shards: Annotated[
        Count, "number of shards among which the videos of a split are divided at least, so that every worker has some"
    ] = 32
    span_minutes: Annotated[Positive, "longest part of a video that one worker processes; longer videos are cut"] = 10.0
    max_rejected_fraction: Annotated[Share, "highest share of rejected videos at which a build succeeds"] = 1.0


@dataclass(frozen=True, config=KNOWN_KEYS_ONLY)
class PreprocessConfig:
    """What preprocessing does with the source: all of it or a part, a new dataset or a new version of one."""

    limit: Annotated[NotNegativeInt, "number of videos to take, the first by name; 0: all"] = 0
    dry_run: Annotated[bool, "whether to print the plan and stop"] = False
    extend: Annotated[
        str,
        Uri("artifact", read_by=("preprocess",), marker=DATASET_MARKER),
        "URI of the dataset of which a new version is made, for the source as it is now",
    ] = ""
    retry_rejected: Annotated[bool, "whether to build again the shards that hold rejected videos"] = False
    require_trainable: Annotated[
        bool,
        "whether a source without labels, or with a split without labelled videos, is refused before any work; "
        "experiment and demo do so",
    ] = False


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
    seed: Annotated[NotNegativeInt, "seed of the initial weights, the order and the noise"] = 0


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

    Lists are comma-separated. Every base meets every gate (concat only none); extras are IACA's variants, tried on
    `extra_bases`. `pipeline.ablation.variants` says what each name stands for.
    """

    bases: Annotated[str, "comma-separated attention bases"] = "concat,ca,jca,jca_paper,tca"
    gates: Annotated[str, "comma-separated gates, each tried on every base that allows it"] = (
        "none,dca,iaca,grjca,hgrjca"
    )
    extras: Annotated[str, "comma-separated variants of IACA"] = (
        "faithful,frozen,sharp,soft,agreement,augmented,supervised,agreement_supervised"
    )
    extra_bases: Annotated[str, "comma-separated bases on which the extras are tried"] = "ca,jca"
    encoder: Annotated[Literal["none", "mlp"], "trained network between the features and the fusion"] = "none"
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
    num_train: Annotated[Count, "number of training sequences of the benchmark"] = 4096
    num_test: Annotated[Count, "number of test sequences of the benchmark"] = 384
    corrupted: Annotated[
        Share, "chance per sequence and modality that a span of it is corrupted, in training and test"
    ] = 0.8
    train_corrupted: Annotated[Share | None, "the same chance in training alone; none: as `corrupted`"] = None
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
