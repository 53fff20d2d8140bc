"""Synthetic talkers made in the process of a test; no clip is corrupted unless the test sets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.config.dataset_sections import SynthesisConfig
from pipeline.media.ffmpeg_command import find_ffmpeg
from pipeline.synthetic.clip import ClipSpec, make_clip
from pipeline.synthetic.talkers import manifest_csv, plan_clips, source_json


def clip_specs(**settings: Any) -> list[ClipSpec]:
    """The clips of a [synthesis] section with these settings."""
    return plan_clips(SynthesisConfig(**{"corrupted_fraction": 0.0, **settings}))


def synthesize(directory: Path, **settings: Any) -> list[ClipSpec]:
    """Make all clips of `clip_specs(**settings)` below `directory`.

    The layout is that of the job: `videos/`, `labels/`, `affwild2/`, `truth/` with one file per clip in each,
    `manifest.csv`, and `source.json` last.
    """
    ffmpeg = find_ffmpeg()
    specs = [make_clip(spec, directory, ffmpeg) for spec in clip_specs(**settings)]
    (directory / "manifest.csv").write_text(manifest_csv(specs))
    (directory / "source.json").write_text(source_json(specs))
    return specs
