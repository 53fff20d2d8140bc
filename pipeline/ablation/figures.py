"""The figures of an ablation as PNG: paired gains, detection by the gates, and CCC against missing sound."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iaca_model.corruption import KINDS
from pipeline.ablation.measures import MASKS, PATTERNS
from pipeline.ablation.table import Row, SeedStatistics

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
MAX_CURVES = 10  # more would not be readable; curves.csv has all
_KINDS_BY_PREFERENCE = (("", "iaca", "front", "front+iaca"), ("", "iaca", "front"), ("", "front"), ("",))
_MAIN_BASES = ("ca", "jca", "tca")  # of which alone there are curves where those of all would be too many
_PATTERN_TITLES = {"random": "random steps", "block": "one block"}


def plot_gains(rows: Sequence[Row], data_name: str) -> bytes:
    """Plot each variant's paired difference to its base on corrupted and clean data, with two standard errors."""
    compared = [row for row in rows if row.gain_corrupted]
    with mpl.rc_context(STYLE):
        figure = Figure((7.5, 1.2 + 0.3 * len(compared)))
        axis = figure.subplots()
        _plot_series(axis, [row.gain_corrupted for row in compared], -0.14, CORRUPTED, "corrupted")
        _plot_series(axis, [row.gain_clean for row in compared], 0.14, CLEAN, "clean")
        axis.axvline(0, color=MUTED, linewidth=1)
        axis.set_yticks(range(len(compared)), [row.variant for row in compared])
        axis.set(xlabel="CCC gained over the base without a gate (± 2 standard errors)", title=data_name)
        axis.set_ylim(len(compared) - 0.5, -0.5)
        if compared:
            figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        return _png(figure)


def _plot_series(axis: Axes, gains: Sequence[SeedStatistics | None], offset: float, colour: str, label: str) -> None:
    values = [gain for gain in gains if gain is not None]
    assert len(values) == len(gains), "only variants that have a reference are plotted"
    heights = [row + offset for row in range(len(values))]
    errors = [2 * (value.error or 0.0) for value in values]
    means = [value.mean for value in values]
    axis.errorbar(means, heights, xerr=errors, fmt="o", markersize=4, color=colour, label=label)


def plot_detection(rows: Sequence[Row], data_name: str) -> bytes:
    """Plot each verdict's AUROC by kind of corruption, and its weight gap, as a table in colour."""
    names = (*KINDS, "all", "gap")
    found = {f"{row.variant}, {gate}": detection for row in rows for gate, detection in row.detection.items()}
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure((6.0, 1.0 + 0.3 * len(found)))
        axis = figure.subplots()
        values = [
            [_mean(detection.auroc.get(kind)) for kind in names[:-1]] + [_mean(detection.gap)]
            for detection in found.values()
        ]
        axis.imshow(values, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
        for row_index, line in enumerate(values):
            for column, value in enumerate(line):
                text = "" if math.isnan(value) else f"{value:.2f}"
                axis.text(column, row_index, text, ha="center", va="center")
        axis.set_xticks(range(len(names)), names)
        axis.set_yticks(range(len(found)), list(found))
        _set_title(figure, f"{data_name}\nwhich modality is corrupted: AUROC of each verdict, and its weight gap")
        return _png(figure)


def plot_curves(points: Sequence[dict[str, Any]], data_name: str) -> bytes:
    """Plot CCC against the share of steps without sound, with a panel for each pattern and mask.

    Args:
        points: as `table.mean_curves` returns them.
        data_name: for the title.
    """
    names = list(dict.fromkeys(point["variant"] for point in points))
    plotted = select_curves(names)
    with mpl.rc_context(STYLE):
        figure = Figure((9.6, 6.4))
        axes = figure.subplots(len(PATTERNS), len(MASKS), sharex=True, sharey=True)
        for i, pattern in enumerate(PATTERNS):
            for j, mask in enumerate(MASKS):
                of_panel = [point for point in points if (point["pattern"], point["mask"]) == (pattern, mask)]
                _plot_panel(axes[i, j], of_panel, plotted)
                axes[i, j].set_title(f"{_PATTERN_TITLES[pattern]}, mask {mask}")
        _set_title(figure, data_name)
        figure.supxlabel("steps without sound, %")
        figure.supylabel("CCC")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
        return _png(figure)


def select_curves(names: Sequence[str]) -> Sequence[str]:
    """Select at most MAX_CURVES of the variants: of every base the same kinds, with and without IACA and the front."""
    for kinds in _KINDS_BY_PREFERENCE:
        of_kinds = [name for name in names if name.partition("+")[2] in kinds]
        of_main_bases = [name for name in of_kinds if name.partition("+")[0] in _MAIN_BASES]
        for preferred in (of_kinds, of_main_bases):
            if 0 < len(preferred) <= MAX_CURVES:
                return preferred
    return names[:MAX_CURVES]


def _plot_panel(axis: Axes, points: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    colours = mpl.colormaps["tab10"]
    for index, name in enumerate(names):
        of_variant = [point for point in points if point["variant"] == name]
        style = "--" if "+" not in name else "-"
        percents, means = [point["percent"] for point in of_variant], [point["mean"] for point in of_variant]
        axis.plot(percents, means, style, marker=".", color=colours(index % 10), label=name)


def _set_title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, horizontalalignment="left", fontsize="medium")


def _mean(value: SeedStatistics | None) -> float:
    return math.nan if value is None else value.mean


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
