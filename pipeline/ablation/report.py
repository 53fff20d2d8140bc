"""An ablation's artifacts: tables, pictures and one page, the marker last."""

from __future__ import annotations

import dataclasses
import json
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.ablation import figures, table
from pipeline.ablation.table import Result, Row
from pipeline.ablation.variants import Variant
from pipeline.config import Config

EXPLANATION = (
    "CCC is the mean of valence and arousal, pooled over every labelled step of the measured sequences, mean ± "
    "deviation over seeds. A gain is the paired difference to the same base without a gate, on the same data, ± its "
    "standard error; over IACA: the same difference to the base with IACA as it is by default. AUROC: how well the "
    "modality gate tells which modality is corrupted, its mask hidden, where exactly one is; gap: mean weight of the "
    "healthy minus that of the corrupted."
)


def title(config: Config) -> str:
    """What was compared on which data, in a few words."""
    return f"Ablation {config.name} on {data_name(config)}"


def data_name(config: Config) -> str:
    """The benchmark, or the folder of the dataset."""
    return config.ablate.dataset.rstrip("/").rsplit("/", 1)[-1] or "the inconsistency benchmark"


def account(config: Config, results: Sequence[Result]) -> str:
    """How much data that was, how it was corrupted, and which moment of training was measured."""
    settings, facts = config.ablate, results[0].get("data")
    chances = f"{settings.chance_in_training:g} in training and {settings.corrupted:g} where measured"
    corrupted = f"Chance per sequence and modality that a span is corrupted: {chances}."
    if not facts:
        return (
            f"Data: the built-in inconsistency benchmark, a world of its own for each seed: {settings.num_train:,} "
            f"synthetic sequences to learn from and {settings.num_test:,} to be measured on, of {settings.num_steps} "
            f"steps with {settings.feature_dim} features per modality. {corrupted} Measured after the last update."
        )
    measured, chosen = ("test" if "test" in facts else "val"), ("val" if "val" in facts else "")
    amounts = (f"{name} {_amount(numbers)}" for name, numbers in facts.items())
    moment = f"Of ten moments of training the one with the best mean CCC on {chosen}, clean and corrupted, is measured."
    flattered = "That split is also the one that is measured: every number here flatters its variant."
    return " ".join(
        (
            f"Data: the features {data_name(config)}; {'; '.join(amounts)}. Measured on {measured}.",
            "Seeds differ in the corruption, in what the weights begin with and in the order of training.",
            corrupted,
            moment if chosen else "Measured after the last update.",
            *([flattered] if measured == chosen else []),
        )
    )


def _amount(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in numbers.items())


def publish(uri: str, config: Config, variants: Sequence[Variant], results: Sequence[Result], *, marker: str) -> None:
    """Write everything about the ablation to the folder `uri`; whoever sees `marker` sees all of it."""
    rows, curves = table.rows_of(variants, results), table.mean_curves(results)
    data, told = data_name(config), account(config, results)
    shown = {"gains.png": figures.gains(rows, data), "curves.png": figures.curves(curves, data)}
    if detected := [row for row in rows if row.auroc]:
        shown["detection.png"] = figures.detection(detected, data)
    dimensions = table.dimension_cells(results, curves)
    by_dimension = table.in_markdown(table.DIMENSIONS, dimensions)
    files = {
        "config.json": config.to_json().encode(),
        "trials.csv": table.trials_csv(results),
        "curves.csv": table.curve_csv(curves),
        "table.md": f"{title(config)}\n\n{told}\n\n{table.markdown(rows)}\n{by_dimension}".encode(),
        "report.html": page(config, told, rows, dimensions, shown).encode(),
        **shown,
    }
    for name, content in files.items():
        storage.publish_bytes(content, storage.join(uri, name))
    record: dict[str, Any] = {
        "name": config.name,
        "data": {"name": data, **results[0].get("data", {})},
        "settings": dataclasses.asdict(config.ablate),
        "files": sorted(files),
    }
    record["rows"] = [dataclasses.asdict(row) for row in rows]
    storage.publish_bytes(json.dumps(record, indent=2).encode(), storage.join(uri, marker))


def page(
    config: Config, told: str, rows: Sequence[Row], dimensions: Sequence[tuple[str, ...]], shown: dict[str, bytes]
) -> str:
    """The whole comparison as one page that needs no other file."""
    parts: dict[str, Any] = {
        "title": escape(title(config)),
        "account": escape(told),
        "explanation": EXPLANATION,
        "head": _line("th", table.HEADINGS),
        "body": "\n".join(_line("td", table.cells(row)) for row in rows),
        "head_of_dimensions": _line("th", table.DIMENSIONS),
        "dimensions": "\n".join(_line("td", line) for line in dimensions),
        "pictures": "\n".join(_picture(name, data) for name, data in shown.items()),
        "settings": escape(json.dumps(dataclasses.asdict(config.ablate), indent=2)),
    }
    text = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    for name, value in parts.items():
        text = text.replace(f"@{name}@", value)
    return text


def _line(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _picture(name: str, data: bytes) -> str:
    return f'<img alt="{name.removesuffix(".png")}" src="data:image/png;base64,{b64encode(data).decode()}">'
