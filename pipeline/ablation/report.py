"""The artifacts of an ablation: tables, figures and one page; the marker is published last."""

from __future__ import annotations

import dataclasses
import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.ablation import figures, table
from pipeline.ablation.table import Row, TrialResult
from pipeline.ablation.variants import Variant
from pipeline.config import Config
from pipeline.reports import page

TEMPLATE = Path(__file__).with_name("report.html")


def publish(
    uri: str, config: Config, variants: Sequence[Variant], results: Sequence[TrialResult], *, marker: str
) -> None:
    """Write everything about the ablation to the folder `uri`, and `marker` last: where it is, the rest is complete."""
    rows, curves = table.make_rows(variants, results), table.mean_curves(results)
    name, description = data_name(config), describe_data(config, results)
    images = {"gains.png": figures.plot_gains(rows, name), "curves.png": figures.plot_curves(curves, name)}
    if rows_with_verdict := [row for row in rows if row.detection]:
        images["detection.png"] = figures.plot_detection(rows_with_verdict, name)
    dimension_lines = table.dimension_lines(results, curves)
    main_table = table.markdown(table.HEADINGS, map(table.format_row, rows))
    tables = [main_table, table.markdown(table.DIMENSION_HEADINGS, dimension_lines)]
    if detection_lines := table.detection_lines(rows):
        tables.append(table.markdown(table.DETECTION_HEADINGS, detection_lines))
    files = {
        "config.json": config.to_json().encode(),
        "trials.csv": table.trials_csv(results),
        "curves.csv": table.to_csv(curves),
        "table.md": "\n".join((f"{title(config)}\n\n{description}\n", *tables)).encode(),
        "report.html": render(config, description, rows, dimension_lines, images).encode(),
        **images,
    }
    for file_name, content in files.items():
        storage.publish_bytes(content, storage.join(uri, file_name))
    record = {
        "name": config.name,
        "data": {"name": name, **results[0].get("data", {})},
        "settings": dataclasses.asdict(config.ablate),
        "files": sorted(files),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    storage.publish_bytes(json.dumps(record, indent=2).encode(), storage.join(uri, marker))


def title(config: Config) -> str:
    """Name what was compared on which data."""
    return f"Ablation {config.name} on {data_name(config)}"


def data_name(config: Config) -> str:
    """Name the data: the benchmark, or the folder of the dataset."""
    return config.ablate.dataset.rstrip("/").rsplit("/", 1)[-1] or "the inconsistency benchmark"


def describe_data(config: Config, results: Sequence[TrialResult]) -> str:
    """Describe how much data there was, how it was corrupted, and which moment of training was measured."""
    settings, counts = config.ablate, results[0].get("data")
    chances = f"{settings.chance_in_training:g} in training and {settings.corrupted:g} where measured"
    corruption = f"Chance per sequence and modality that a span is corrupted: {chances}."
    if not counts:
        return (
            f"Data: the built-in inconsistency benchmark, generated anew for each seed: {settings.num_train:,} "
            f"synthetic sequences to learn from and {settings.num_test:,} to be measured on, of {settings.num_steps} "
            f"steps with {settings.feature_dim} features per modality. {corruption} Measured after the last update."
        )
    test_split = "test" if "test" in counts else "val"
    amounts = "; ".join(f"{split} {_format_counts(numbers)}" for split, numbers in counts.items())
    sentences = [
        f"Data: the features {data_name(config)}; {amounts}. Measured on {test_split}.",
        "Seeds differ in the corruption, in the initial weights and in the order of training.",
        corruption,
        "Of ten moments of training the one with the best mean CCC on val, clean and corrupted, is measured."
        if "val" in counts
        else "Measured after the last update.",
    ]
    if test_split == "val" and "val" in counts:
        sentences.append("That split is also the one that is measured: every number here flatters its variant.")
    return " ".join(sentences)


def _format_counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in numbers.items())


def render(
    config: Config,
    data_description: str,
    rows: Sequence[Row],
    dimension_lines: Sequence[tuple[str, ...]],
    images: dict[str, bytes],
) -> str:
    """Render the whole comparison as one page that needs no other file.

    Args:
        config: of the ablation.
        data_description: as `describe_data` returns it.
        rows: of the main table.
        dimension_lines: of the table of valence and arousal.
        images: PNG by file name.
    """
    values: dict[str, Any] = {
        "title": title(config),
        "data_description": data_description,
        "headings": table.HEADINGS,
        "lines": [table.format_row(row) for row in rows],
        "dimension_headings": table.DIMENSION_HEADINGS,
        "dimension_lines": dimension_lines,
        "detection_headings": table.DETECTION_HEADINGS,
        "detection_lines": table.detection_lines(rows),
        "images": [(name.removesuffix(".png"), _data_uri(png)) for name, png in images.items()],
        "settings": json.dumps(dataclasses.asdict(config.ablate), indent=2),
    }
    return page.render(TEMPLATE, **values)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"
