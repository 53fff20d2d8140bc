"""The dataset card: README.md of a dataset, for whoever opens the folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from math import isnan
from typing import Any

from pipeline.config import Config
from pipeline.dataset.report.quality import frame_share, stage_costs
from pipeline.dataset.sources.splits import SPLITS
from pipeline.records import SampleRow, VideoRow
from pipeline.records.features import FeatureOrigin

_SECTIONS = ("media", "faces", "sound", "segments", "splits", "shards")
_OPENING = """## How to open it

The shards are plain WebDataset tars:

```python
import io, numpy as np, webdataset as wds
samples = wds.WebDataset("shards/train-00000.tar", shardshuffle=False)
for sample in samples:
    frames = np.load(io.BytesIO(sample["frames.npy"]))  # time, masks, box and place of each JPEG in faces.mjpeg
    labels = np.load(io.BytesIO(sample["labels.npy"]))  # valence, arousal; NaN where there is no label
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
`attempts`; `followed` is the rule that chose the person. `gaps` says where something is missing and which original
frames are shown meanwhile, `faces` who was seen, in which box, and why somebody was not followed; `num_faces` counts
everybody who could be told apart by place and size. `sheets/` has pictures over the time of each video (green: the
followed face; blue: anybody else), `shards/*.json` the anchor of each span of a long video.

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

`frames.npy` is the parent's: the crops and the sound that it tells of lie there, and so do the contact sheets."""
_CHANGES = {
    "added": "videos added or changed",
    "removed": "removed or replaced",
    "retried": "rejected ones tried again",
    "shards_kept": "shards kept byte for byte",
}
_NOTICE = """## Face data

This dataset holds faces and voices of people. Keep it where only those may read who need it, use it only for what the
people consented to, and delete it, and what was trained on it, when they withdraw."""


def card_text(
    name: str,
    digest: str,
    config: Config,
    videos: Sequence[VideoRow],
    samples: Sequence[SampleRow],
    toolchain: dict[str, str],
    provenance: Mapping[str, Any] | None = None,
    features: FeatureOrigin | None = None,
) -> str:
    """The card of a dataset as Markdown; the same rows give the same text."""
    parts = [
        f"# {name}",
        f"{_content(features)} of {len(videos)} videos. Digest `{digest}`.",
        *_origin(features),
        "## Splits",
        _table(
            ["split", "videos", "groups", "samples", "hours", "with face", "with sound", "labelled"],
            _splits(videos, samples),
        ),
        *_history(provenance or {}),
        "## Videos",
        _table(["status", "stage", "reason", "videos"], _outcomes(videos)),
        _labels(videos),
        "What was lost and why, how the labels lie and which videos to look at first: `quality.html`.",
        "## Throughput",
        _table(["stage", "what", "core seconds", "share", "x real time"], _throughput(videos)),
        _FEATURES_OPENING if features else _OPENING,
        "## Settings",
        _table(["setting", "value"], _settings(config)),
        "## Made with",
        _table(["tool", "version"], sorted(toolchain.items())),
        _NOTICE,
    ]
    return "\n\n".join(parts) + "\n"


def _content(features: FeatureOrigin | None) -> str:
    """What the samples hold."""
    if features is None:
        return "Face crops and log-mel spectrograms"
    return f"What {features.backbone} backbones give for the face crops and log-mel spectrograms"


def _origin(features: FeatureOrigin | None) -> list[str]:
    """What features were made of and with; nothing for a dataset that has none."""
    if features is None:
        return []
    weights = f"the best checkpoint of the run `{features.run}`" if features.run else "published weights"
    return [
        f"Features for sub-clips of {features.subclip_frames} frames, every {features.subclip_dilation}th seen: "
        f"{features.video_dim} of the picture, {features.audio_dim} of the sound, with {weights}, from the dataset "
        f"`{features.parent}` (digest `{features.parent_digest}`)."
    ]


def outcome_lines(videos: Sequence[VideoRow]) -> tuple[str, ...]:
    """What became of the videos, one line per outcome, for the terminal."""
    return tuple(" ".join(str(cell) for cell in row if cell != "").strip() for row in _outcomes(videos))


def _splits(videos: Sequence[VideoRow], samples: Sequence[SampleRow]) -> list[list[object]]:
    rows = []
    for split in SPLITS:
        own = [row for row in videos if row.split == split]
        tiles = [row for row in samples if row.split == split]
        hours = sum(row.covered_s for row in own if row.status == "ok") / 3600
        shares = [_percent(frame_share(tiles, name)) for name in ("face_ratio", "audio_ratio", "label_ratio")]
        rows.append([split, len(own), len({row.group for row in own}), len(tiles), f"{hours:.2f}", *shares])
    return rows


def _history(provenance: Mapping[str, Any]) -> list[str]:
    """What a new version has of its parent; nothing for a dataset that was built from its source alone."""
    if not provenance:
        return []
    numbers = [f"{provenance[name]} {words}" for name, words in _CHANGES.items() if name in provenance]
    parts = ["## History", f"A new version of `{provenance['parent']}`: {', '.join(numbers)}."]
    if splits := provenance.get("splits_kept"):
        parts.append("Groups stay in the split they had, though the source names another:")
        parts.append(_table(["group", "split", "the source says"], ([group, *pair] for group, pair in splits.items())))
    return parts


def _labels(videos: Sequence[VideoRow]) -> str:
    """What became of the rows of all label files, and how often following had to begin anew."""
    used = sum(row.labelled_frames for row in videos if row.status == "ok")
    lost = sum(row.labelled_frames for row in videos if row.status != "ok")
    invalid = sum(row.num_invalid_labels for row in videos)
    cuts = sum(row.num_cuts for row in videos)
    beyond = sum(max(0, row.num_label_rows - row.num_invalid_labels - row.labelled_frames) for row in videos)
    return (
        f"Rows of label files: {used:,} used, {lost:,} of rejected videos, {invalid:,} not valid (a sentinel or NaN), "
        f"{beyond:,} before or beyond the frames of their video. Nobody is followed across the {cuts:,} scene cuts."
    )


def _percent(share: float) -> str:
    return "-" if isnan(share) else f"{share:.1%}"


def _throughput(videos: Sequence[VideoRow]) -> list[list[object]]:
    return [
        [cost.name, cost.about, f"{cost.seconds:.1f}", f"{cost.share:.1%}", f"{cost.times_real_time:.1f}"]
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
    """Text that neither ends its cell nor is markup, whoever thought of it."""
    return escape(" ".join(str(value).split()), quote=False).replace("|", "\\|")
