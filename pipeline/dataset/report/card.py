"""The dataset card, README.md of a dataset: what it holds, how to open it, and how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from pipeline.config import Config
from pipeline.dataset.format.dataset_info import DatasetInfo
from pipeline.dataset.report.face_warnings import detector_advice, face_warnings
from pipeline.dataset.report.quality import frame_share, stage_costs
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import SampleRow, VideoRow
from pipeline.records.features import FeatureOrigin
from pipeline.records.quantities import count_text, duration_text, percent_text

_SECTIONS = ("media", "faces", "sound", "segments", "splits", "shards")
_OPENING = """## How to open it

The shards are plain WebDataset tars:

```python
import io, numpy as np, webdataset as wds
samples = wds.WebDataset("shards/train-00000.tar", shardshuffle=False)
for sample in samples:
    frames = np.load(io.BytesIO(sample["frames.npy"]))  # time, masks, box and byte range of each JPEG in faces.mjpeg
    labels = np.load(io.BytesIO(sample["labels.npy"]))  # valence, arousal; NaN where there is no label
```

After WebDataset's own `.decode()` a PyTorch `DataLoader` fails on `frames.npy` and `annotations.npy`, whose arrays have
named fields ("can't convert np.ndarray of type numpy.void"). Decode with a function of your own:

```python
import io, numpy as np, torch, webdataset as wds
def to_tensors(name, data):
    if not name.endswith(".npy"):
        return None  # WebDataset's own decoder takes it
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.names is None:
        return torch.from_numpy(array)
    return {field: torch.from_numpy(array[field].copy()) for field in array.dtype.names}
samples = wds.WebDataset("shards/train-00000.tar", shardshuffle=False).decode(to_tensors)
loader = torch.utils.data.DataLoader(samples, batch_size=None)  # samples differ in length: no batches
faces_seen = [sample["frames.npy"]["face_ok"].sum() for sample in loader]
```

One sample by its row of `index.parquet`, which has the shard, byte offset and size of each (a slice of a tar is itself
a tar):

```python
import io, tarfile, numpy as np, pyarrow.parquet as pq
row = pq.read_table("index.parquet").to_pylist()[0]
with open(f"shards/{row['shard']}", "rb") as shard:
    shard.seek(row["offset"])
    tar = tarfile.open(fileobj=io.BytesIO(shard.read(row["size"])))
sample = {member.name.split(".", 1)[1]: tar.extractfile(member).read() for member in tar}
frames = np.load(io.BytesIO(sample["frames.npy"]))[row["num_preroll"]:]  # the context before it left out
jpegs = [sample["faces.mjpeg"][frame["offset"]:][:frame["size"]] for frame in frames]  # empty without a face
```

`faces.mjpeg` plays in any player.

## How to audit a video

`videos.parquet` has a row for every input video: `status`, and where something was lost `stage`, `reason`, `detail` and
`attempts`; `followed` is the rule that chose the person. `gaps` lists where something is missing and which original
frames are shown meanwhile; `faces` lists the visible faces, their boxes, and why one was not followed; `num_faces`
counts the people who could be told apart by the position and size of their faces. `sheets/` has pictures over the time
of each video (green: the followed face; blue: any other), `shards/*.json` the anchor of each span of a long video.

```python
import pyarrow.parquet as pq
for video in pq.read_table("videos.parquet").to_pylist():
    print(video["video_id"], video["status"], video["stage"], video["reason"], video["detail"])
    for gap in video["gaps"]:
        print("  no", gap["missing"], gap["start_s"], gap["stop_s"], gap["first_frame"], gap["last_frame"])
    for face in video["faces"]:
        print("  face", face["start_s"], face["stop_s"], face["num_frames"], face["score"], face["reason"])
```"""
_FEATURES_OPENING = """## How to open it

The shards are plain WebDataset tars; row i of the features is of the sub-clip that ends at a sample's own frame i:

```python
import io, numpy as np, webdataset as wds
for sample in wds.WebDataset("shards/train-00000.tar", shardshuffle=False):
    read = lambda name: np.load(io.BytesIO(sample[f"{name}.npy"]))
    video, audio, ok = read("video_features"), read("audio_features"), read("features_ok")  # ok: video, audio
    labels = read("labels")[-len(video):]  # valence, arousal; NaN where there is no label; without the context
```

WebDataset's own `.decode()` gives arrays with named fields for `frames.npy` and `annotations.npy`, which a PyTorch
`DataLoader` cannot take: decode the members that you need as above, and give it tensors.

`frames.npy` is the parent's: the crops and the sound that it describes lie there, and so do the contact sheets."""
_CHANGES = {
    "added": "videos added or changed",
    "removed": "removed or replaced",
    "retried": "rejected ones tried again",
    "shards_kept": "shards kept byte for byte",
}
_NOTICE = """## Face data

This dataset holds faces and voices of people. Keep it where only those may read who need it, use it only for what the
people consented to, and delete it, and what was trained on it, when they withdraw."""


def card_text(info: DatasetInfo, videos: Sequence[VideoRow], samples: Sequence[SampleRow]) -> str:
    """Write the card of a dataset as Markdown; the same rows give the same text.

    Args:
        info: the dataset.
        videos: a row for every input stream.
        samples: the rows of the index.
    """
    parts = [
        f"# {info.name}",
        f"{_content(info.features)} of {count_text(len(videos), 'video')}. Digest `{info.digest}`.",
        *_origin(info.features),
        "## Splits",
        _table(
            ["split", "videos", "groups", "samples", "duration", "with face", "with sound", "labelled"],
            _splits(videos, samples),
        ),
        *_history(info.provenance),
        "## Videos",
        _table(["status", "stage", "reason", "videos"], _outcomes(videos)),
        _labels(videos),
        *_warnings(info, videos),
        "What was lost and why, how the labels are distributed and which videos to check first: `quality.html`.",
        "## Throughput",
        _table(["stage", "what", "core seconds", "share", "x real time"], _throughput(videos)),
        _FEATURES_OPENING if info.features else _OPENING,
        "## Settings",
        _table(["setting", "value"], _settings(info.config)),
        "## Made with",
        _table(["tool", "version"], sorted(info.toolchain.items())),
        _NOTICE,
    ]
    return "\n\n".join(parts) + "\n"


def _content(features: FeatureOrigin | None) -> str:
    """Describe what the samples hold."""
    if features is None:
        return "Face crops and log-mel spectrograms"
    return f"What {features.backbone} backbones give for the face crops and log-mel spectrograms"


def _origin(features: FeatureOrigin | None) -> list[str]:
    """Describe what features were made of and with; empty for a dataset of crops and sound."""
    if features is None:
        return []
    weights = f"the best checkpoint of the run `{features.run}`" if features.run else "published weights"
    return [
        f"Features for sub-clips of {features.subclip_frames} frames, every {features.subclip_dilation}th used: "
        f"{features.video_dim} of the picture, {features.audio_dim} of the sound, with {weights}, from the dataset "
        f"`{features.parent}` (digest `{features.parent_digest}`)."
    ]


def _splits(videos: Sequence[VideoRow], samples: Sequence[SampleRow]) -> list[list[object]]:
    rows = []
    for split in SPLITS:
        split_videos = [row for row in videos if row.split == split]
        split_samples = [row for row in samples if row.split == split]
        duration_s = sum(row.covered_s for row in split_videos if row.status == "ok")
        shares = [
            percent_text(frame_share(split_samples, name)) for name in ("face_ratio", "audio_ratio", "label_ratio")
        ]
        num_groups = len({row.group for row in split_videos})
        rows.append([split, len(split_videos), num_groups, len(split_samples), duration_text(duration_s), *shares])
    return rows


def _history(provenance: Mapping[str, Any]) -> list[str]:
    """Describe what a new version has of its parent; empty for a dataset that was built from its source alone."""
    if not provenance:
        return []
    numbers = [f"{provenance[name]} {change}" for name, change in _CHANGES.items() if name in provenance]
    parts = ["## History", f"A new version of `{provenance['parent']}`: {', '.join(numbers)}."]
    if splits := provenance.get("splits_kept"):
        parts.append("Groups stay in the split they had, though the source names another:")
        rows = ([group, *pair] for group, pair in splits.items())
        parts.append(_table(["group", "split", "split in the source"], rows))
    return parts


def _labels(videos: Sequence[VideoRow]) -> str:
    """Count the rows of all label files by what became of them, and the scene cuts, at which each track ends."""
    used = sum(row.labelled_frames for row in videos if row.status == "ok")
    lost = sum(row.labelled_frames for row in videos if row.status != "ok")
    invalid = sum(row.num_invalid_labels for row in videos)
    cuts = sum(row.num_cuts for row in videos)
    beyond = sum(max(0, row.num_label_rows - row.num_invalid_labels - row.labelled_frames) for row in videos)
    return (
        f"Rows of label files: {used:,} used, {lost:,} of rejected videos, {invalid:,} not valid (a sentinel or NaN), "
        f"{beyond:,} before or beyond the frames of their video. "
        f"Every track ends at a scene cut; there are {count_text(cuts, 'cut')}."
    )


def _warnings(info: DatasetInfo, videos: Sequence[VideoRow]) -> list[str]:
    """What to check about the followed persons, as a list; empty where there is nothing."""
    lines = (*face_warnings(videos), *detector_advice(videos, info.config))
    return ["To check:\n\n" + "\n".join(f"- {escape(line, quote=False)}" for line in lines)] if lines else []


def _throughput(videos: Sequence[VideoRow]) -> list[list[object]]:
    return [
        [cost.name, cost.description, f"{cost.seconds:.1f}", percent_text(cost.share), f"{cost.times_real_time:.1f}"]
        for cost in stage_costs(videos)
    ]


def _outcomes(videos: Sequence[VideoRow]) -> list[list[object]]:
    counts = Counter((row.status, row.stage, row.reason) for row in videos)
    return [[*outcome, number] for outcome, number in sorted(counts.items())]


def _settings(config: Config) -> list[list[object]]:
    values = [(section, asdict(getattr(config, section))) for section in _SECTIONS]
    return [[f"{section}.{key}", value] for section, keys in values for key, value in keys.items()]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    """Escape a value so that it neither ends its cell nor is read as markup."""
    return escape(" ".join(str(value).split()), quote=False).replace("|", "\\|")
