"""The sections of the configuration that say what a dataset is made of and how: each setting with unit and bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic.dataclasses import dataclass

from pipeline.config.fields import (
    DATASET_MARKER,
    KNOWN_KEYS_ONLY,
    Count,
    NotNegative,
    NotNegativeInt,
    Positive,
    Share,
    Uri,
)


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
    val: Annotated[
        float,
        "share of the val split, which chooses the checkpoint: of the duration with balanced, of the groups with hash",
    ] = 0.15
    test: Annotated[
        float, "share of the test split, which is evaluated: of the duration with balanced, of the groups with hash"
    ] = 0.15
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
