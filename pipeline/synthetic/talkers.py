"""The plan of a set of synthetic talkers: the specification and the split of every clip, and files that list them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

import numpy as np

from pipeline.config.dataset_sections import SynthesisConfig
from pipeline.synthetic.clip import ClipSpec
from pipeline.synthetic.damage import KINDS

GENERATOR_VERSION = 1  # raise it when the same specification would give other clips
PLAN, SPLITS = 7, 8  # streams of random numbers, besides those of a clip


def plan_clips(settings: SynthesisConfig) -> list[ClipSpec]:
    """Specify every clip, in order of identity and clip.

    The corrupted clips are drawn by the seed and take the kinds of corruption in turn. With `permute_labels`
    every clip gets another clip's labels and stays as it is otherwise.

    Raises:
        ValueError: a clip cannot be made so, or there is only one, whose labels should be permuted.
    """
    names = [
        (identity, clip) for identity in range(settings.num_identities) for clip in range(settings.clips_per_identity)
    ]
    if settings.permute_labels and len(names) < 2:
        raise ValueError("permute_labels needs at least 2 clips, and there is 1")
    rng = np.random.default_rng([settings.seed, PLAN])
    corrupted = rng.permutation(len(names))[: round(settings.corrupted_fraction * len(names))]
    corruptions = {int(index): (KINDS[turn % len(KINDS)],) for turn, index in enumerate(corrupted)}
    ring = rng.permutation(len(names))  # each clip gets the labels of the one before it, so that none keeps its own
    label_source = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
    return [
        ClipSpec(
            identity=identity,
            clip=clip,
            seed=settings.seed,
            duration_s=settings.duration_s,
            width_px=settings.width_px,
            height_px=settings.height_px,
            frame_rate_hz=settings.frame_rate_hz,
            sample_rate_hz=settings.sample_rate_hz,
            corruptions=corruptions.get(index, ()),
            labels_of=names[label_source[index]] if settings.permute_labels else None,
        )
        for index, (identity, clip) in enumerate(names)
    ]


def assign_splits(num_identities: int, seed: int) -> list[str]:
    """Assign every identity to a split: a quarter test and an eighth val, from 12 identities on at least 4 and 2.

    With 3 or more identities no split is empty; with 2 there is no val, and a single one is train.
    """
    enough = num_identities >= 12
    num_test = max(4 if enough else 1, num_identities // 4) if num_identities > 1 else 0
    num_val = max(2 if enough else 1, num_identities // 8) if num_identities > 2 else 0
    names = ["test"] * num_test + ["val"] * num_val + ["train"] * (num_identities - num_test - num_val)
    order = np.random.default_rng([seed, SPLITS]).permutation(num_identities)
    return [names[index] for index in np.argsort(order)]


def manifest_csv(specs: Sequence[ClipSpec]) -> str:
    """Write the manifest of the clips: `video,group,split`, the group being the identity."""
    splits = assign_splits(1 + max(spec.identity for spec in specs), specs[0].seed)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "group", "split"))
    writer.writerows((f"{spec.name}.mp4", spec.group, splits[spec.identity]) for spec in specs)
    return text.getvalue()


def source_json(specs: Sequence[ClipSpec]) -> str:
    """Write the marker of a complete set, which is published last: the generator's version, the seed and the files."""
    record = {
        "generator_version": GENERATOR_VERSION,
        "seed": specs[0].seed,
        "clips": len(specs),
        "seconds": sum(spec.num_frames / spec.frame_rate_hz for spec in specs),
        "corrupted": {spec.name: spec.corruptions for spec in specs if spec.corruptions},
        "files": [spec.files for spec in specs],
    }
    return json.dumps(record, indent=1)
