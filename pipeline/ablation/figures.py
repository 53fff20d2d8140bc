"""The pictures of an ablation as PNG: paired gains, what the gates detect, and CCC against missing sound."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.ablation.feature_sequences import KINDS
from pipeline.ablation.measures import MASKS, PATTERNS
from pipeline.ablation.table import Row, Spread

CORRUPTED, CLEAN, MUTED = "#b3421f", "#2f6db5", "#8a92a0"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e7ec",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
MAX_CURVES = 10  # a picture with more is not read; curves.csv has all
_PATTERN_TITLES = {"random": "random steps", "block": "one block"}


def gains(rows: Sequence[Row], data: str) -> bytes:
    """Each variant's paired difference to its base, with twice the standard error, on corrupted and on clean data."""
    compared = [row for row in rows if row.gain_corrupted]
    with mpl.rc_context(STYLE):
        figure = Figure((7.5, 1.2 + 0.3 * len(compared)))
        axis = figure.subplots()
        for shift, colour, name in ((-0.14, CORRUPTED, "corrupted"), (0.14, CLEAN, "clean")):
            spreads = [_known(getattr(row, f"gain_{name}")) for row in compared]
            places = [place + shift for place in range(len(compared))]
            errors = [2 * (spread.error or 0.0) for spread in spreads]
            means = [spread.mean for spread in spreads]
            axis.errorbar(means, places, xerr=errors, fmt="o", markersize=4, color=colour, label=name)
        axis.axvline(0, color=MUTED, linewidth=1)
        axis.set_yticks(range(len(compared)), [row.variant for row in compared])
        axis.set(xlabel="CCC gained over the base without a gate (± 2 standard errors)", title=data)
        axis.set_ylim(len(compared) - 0.5, -0.5)
        if compared:
            figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        return _png(figure)


def detection(rows: Sequence[Row], data: str) -> bytes:
    """AUROC of the modality gate by kind of corruption, and its weight gap."""
    names = (*KINDS, "all", "gap")
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure((6.0, 1.0 + 0.3 * len(rows)))
        axis = figure.subplots()
        values = [[_mean(row.auroc.get(kind)) for kind in names[:-1]] + [_mean(row.gap)] for row in rows]
        axis.imshow(values, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
        for place, line in enumerate(values):
            for column, value in enumerate(line):
                axis.text(column, place, "" if math.isnan(value) else f"{value:.2f}", ha="center", va="center")
        axis.set_xticks(range(len(names)), names)
        axis.set_yticks(range(len(rows)), [row.variant for row in rows])
        _headed(figure, f"{data}\nwhich modality is corrupted: AUROC of the gate, and its weight gap")
        return _png(figure)


def curves(points: Sequence[dict[str, Any]], data: str) -> bytes:
    """CCC against the share of steps without sound; a panel per pattern and mask."""
    names = list(dict.fromkeys(point["variant"] for point in points))
    preferred = [name for name in names if name.partition("+")[2] in ("", "iaca")]
    chosen = (preferred or names)[:MAX_CURVES]
    with mpl.rc_context(STYLE):
        figure = Figure((9.6, 6.4))
        axes = figure.subplots(len(PATTERNS), len(MASKS), sharex=True, sharey=True)
        for i, pattern in enumerate(PATTERNS):
            for j, mask in enumerate(MASKS):
                found = [point for point in points if (point["pattern"], point["mask"]) == (pattern, mask)]
                _panel(axes[i, j], found, chosen)
                axes[i, j].set_title(f"{_PATTERN_TITLES[pattern]}, mask {mask}")
        _headed(figure, data)
        figure.supxlabel("steps without sound, %")
        figure.supylabel("CCC")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
        return _png(figure)


def _panel(axis: Axes, points: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    shades = mpl.colormaps["tab10"]
    for place, name in enumerate(names):
        own = [point for point in points if point["variant"] == name]
        style = "--" if "+" not in name else "-"
        percents, means = [point["percent"] for point in own], [point["mean"] for point in own]
        axis.plot(percents, means, style, marker=".", color=shades(place % 10), label=name)


def _known(spread: Spread | None) -> Spread:
    assert spread is not None
    return spread


def _headed(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, horizontalalignment="left", fontsize="medium")


def _mean(spread: Spread | None) -> float:
    return math.nan if spread is None else spread.mean


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
