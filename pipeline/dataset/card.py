"""The dataset card: README.md of a dataset, for whoever opens the folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isnan
from typing import Any

from pipeline.config import Config
from pipeline.dataset.quality import frame_share, stage_costs
from pipeline.dataset.splits import SPLITS
from pipeline.records import SampleRow, VideoRow

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

`faces.mjpeg` plays in any player. `index.parquet` has the shard, byte offset and size of every sample (a slice of a
tar is itself a tar), `videos.parquet` has a row for every input video, with the reason where it was not used."""
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
    lineage: Mapping[str, Any] | None = None,
) -> str:
    """The card of a dataset as Markdown; the same rows give the same text."""
    parts = [
        f"# {name}",
        f"Face crops and log-mel spectrograms of {len(videos)} videos. Digest `{digest}`.",
        "## Splits",
        _table(
            ["split", "videos", "groups", "samples", "hours", "with face", "with sound", "labelled"],
            _splits(videos, samples),
        ),
        *_history(lineage or {}),
        "## Videos",
        _table(["status", "stage", "reason", "videos"], _outcomes(videos)),
        "What was lost and why, how the labels lie and which videos to look at first: `quality.html`.",
        "## Throughput",
        _table(["stage", "what", "core seconds", "share", "x real time"], _throughput(videos)),
        _OPENING,
        "## Settings",
        _table(["setting", "value"], _settings(config)),
        "## Made with",
        _table(["tool", "version"], sorted(toolchain.items())),
        _NOTICE,
    ]
    return "\n\n".join(parts) + "\n"


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


def _history(lineage: Mapping[str, Any]) -> list[str]:
    """What a new version has of its parent; nothing for a dataset that was built from its source alone."""
    if not lineage:
        return []
    numbers = [f"{lineage[name]} {words}" for name, words in _CHANGES.items() if name in lineage]
    parts = ["## History", f"A new version of `{lineage['parent']}`: {', '.join(numbers)}."]
    if splits := lineage.get("splits_kept"):
        parts.append("Groups stay in the split they had, though the source names another:")
        parts.append(_table(["group", "split", "the source says"], ([group, *pair] for group, pair in splits.items())))
    return parts


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
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
