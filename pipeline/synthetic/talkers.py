"""Labelled synthetic talkers for the demo and the tests: who speaks, which clips, which split."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.synthetic.clip import ClipSpec, make_clip
from pipeline.synthetic.damage import KINDS

GENERATOR_VERSION = 1  # raise it when the same specification would give other clips
PLAN, SPLITS = 7, 8  # streams of random numbers, besides those of a clip


def plan_clips(
    *,
    num_identities: int,
    clips_per_identity: int,
    duration_s: float = 16.0,
    width_px: int = 320,
    height_px: int = 240,
    frame_rate_hz: float = 25.0,
    sample_rate_hz: int = 16000,
    corrupted_fraction: float = 0.0,
    seed: int = 0,
    permute_labels: bool = False,
) -> list[ClipSpec]:
    """What every clip is made of, in order of identity and clip.

    The corrupted clips are drawn by the seed and take the kinds of corruption in turn. With `permute_labels`
    every clip gets another clip's labels and stays as it is otherwise.

    Raises:
        ValueError: a value is not allowed, there is no clip to make, or only one whose labels should be permuted.
    """
    names = [(identity, clip) for identity in range(num_identities) for clip in range(clips_per_identity)]
    if not names:
        raise ValueError(f"{num_identities} identities x {clips_per_identity} clips: there is nothing to synthesise")
    if permute_labels and len(names) < 2:
        raise ValueError("permute_labels needs at least 2 clips, and there is 1")
    if not 0 <= corrupted_fraction <= 1:
        raise ValueError(f"corrupted_fraction is {corrupted_fraction}; allowed: 0 to 1")
    rng = np.random.default_rng([seed, PLAN])
    ill = rng.permutation(len(names))[: round(corrupted_fraction * len(names))]
    corruptions = {int(index): (KINDS[turn % len(KINDS)],) for turn, index in enumerate(ill)}
    ring = rng.permutation(len(names))  # each clip's labels go to the next in the ring: nobody keeps their own
    giver = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
    return [
        ClipSpec(
            identity=identity,
            clip=clip,
            seed=seed,
            duration_s=duration_s,
            width_px=width_px,
            height_px=height_px,
            frame_rate_hz=frame_rate_hz,
            sample_rate_hz=sample_rate_hz,
            corruptions=corruptions.get(index, ()),
            labels_of=names[giver[index]] if permute_labels else None,
        )
        for index, (identity, clip) in enumerate(names)
    ]


def assign_splits(num_identities: int, seed: int) -> list[str]:
    """The split of every identity: a quarter test and an eighth val, from 12 identities on at least 4 and 2.

    With 3 or more identities no split is empty; with 2 there is no val, and a single one is train.
    """
    enough = num_identities >= 12
    num_test = max(4 if enough else 1, num_identities // 4) if num_identities > 1 else 0
    num_val = max(2 if enough else 1, num_identities // 8) if num_identities > 2 else 0
    names = ["test"] * num_test + ["val"] * num_val + ["train"] * (num_identities - num_test - num_val)
    order = np.random.default_rng([seed, SPLITS]).permutation(num_identities)
    return [names[place] for place in np.argsort(order)]


def manifest_csv(specs: Sequence[ClipSpec]) -> str:
    """The manifest of the clips: `video,group,split`, the group being the identity."""
    splits = assign_splits(1 + max(spec.identity for spec in specs), specs[0].seed)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "group", "split"))
    writer.writerows((f"{spec.name}.mp4", spec.group, splits[spec.identity]) for spec in specs)
    return text.getvalue()


def source_json(specs: Sequence[ClipSpec]) -> str:
    """The marker that is written last: which generator made how much."""
    seconds = sum(spec.num_frames / spec.frame_rate_hz for spec in specs)
    corrupted = {spec.name: spec.corruptions for spec in specs if spec.corruptions}
    facts = {"generator_version": GENERATOR_VERSION, "seed": specs[0].seed, "clips": len(specs), "seconds": seconds}
    return json.dumps({**facts, "corrupted": corrupted, "files": [spec.files for spec in specs]}, indent=1)


def synthesize(directory: str | Path, **settings: Any) -> list[ClipSpec]:
    """Make all clips of `plan_clips(**settings)` in this process and write them below `directory`.

    The layout: `videos/`, `labels/`, `affwild2/`, `truth/` with one file per clip in each, `manifest.csv`, and
    `source.json` last.
    """
    root, ffmpeg = Path(directory), find_ffmpeg()
    specs = [make_clip(spec, root, ffmpeg) for spec in plan_clips(**settings)]
    (root / "manifest.csv").write_text(manifest_csv(specs))
    (root / "source.json").write_text(source_json(specs))
    return specs
