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
from pipeline.ablation import pictures, table
from pipeline.ablation.table import Result, Row
from pipeline.ablation.variants import Variant
from pipeline.config import Config

EXPLANATION = (
    "CCC is the mean of valence and arousal over every step of the test sequences, mean ± deviation over seeds. A gain "
    "is the paired difference to the same base without a gate, on the same data, ± its standard error; over IACA: the "
    "same difference to the base with IACA as it is by default. AUROC: how well the modality gate tells which modality "
    "is spoilt, its mask hidden, where exactly one is; gap: mean weight of the healthy minus that of the spoilt."
)


def publish(uri: str, config: Config, variants: Sequence[Variant], results: Sequence[Result], *, marker: str) -> None:
    """Write everything about the ablation to the folder `uri`; whoever sees `marker` sees all of it."""
    rows, curves = table.rows_of(variants, results), table.mean_curves(results)
    shown = {"gains.png": pictures.gains(rows), "curves.png": pictures.curves(curves)}
    if detected := [row for row in rows if row.auroc]:
        shown["detection.png"] = pictures.detection(detected)
    files = {
        "config.json": config.to_json().encode(),
        "trials.csv": table.trials_csv(results),
        "curves.csv": table.curve_csv(curves),
        "table.md": table.markdown(rows).encode(),
        "report.html": page(config, rows, shown).encode(),
        **shown,
    }
    for name, data in files.items():
        storage.publish_bytes(data, storage.join(uri, name))
    record: dict[str, Any] = {
        "name": config.name,
        "settings": dataclasses.asdict(config.ablate),
        "files": sorted(files),
    }
    record["rows"] = [dataclasses.asdict(row) for row in rows]
    storage.publish_bytes(json.dumps(record, indent=2).encode(), storage.join(uri, marker))


def page(config: Config, rows: Sequence[Row], shown: dict[str, bytes]) -> str:
    """The whole comparison as one page that needs no other file."""
    parts: dict[str, Any] = {
        "title": escape(f"Ablation {config.name}"),
        "explanation": EXPLANATION,
        "head": _line("th", table.HEADINGS),
        "body": "\n".join(_line("td", table.cells(row)) for row in rows),
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
