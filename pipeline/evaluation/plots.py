"""The pictures of a report as inline SVG whose colours are the page's own, in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iaca_model.corruption import HEALTHY, KINDS
from pipeline.dataset.build.gaps import true_runs
from pipeline.evaluation.predictions import ClockPredictions, StreamPredictions
from pipeline.records import LABEL_NAMES
from pipeline.training.history import Row

# Each colour is replaced by a variable of the page's style sheet.
_NAMES = (
    *("ink", "muted", "line", "valence", "arousal", "video", "audio"),
    *("missing", "best", "corrupted", "on-corrupted"),
)
_COLOURS = tuple(f"#0a0a{i:02x}" for i in range(1, len(_NAMES) + 1))
INK, MUTED, LINE, VALENCE, AROUSAL, VIDEO, AUDIO, MISSING, BEST, CORRUPTED, ON_CORRUPTED = _COLOURS
_VARIABLES = dict(zip(_COLOURS, _NAMES, strict=True))
COLOURS = dict(zip(LABEL_NAMES, (VALENCE, AROUSAL), strict=True))
FONT_PX = 10  # of all text; a picture is never shown smaller than it is drawn, see `_svg`
WIDE_IN, HALF_IN = 9.0, 4.4  # widths: one picture in a row of the page, two in a row or one on a phone
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": FONT_PX,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": FONT_PX,
    "axes.titlecolor": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.labelsize": FONT_PX,
    "ytick.labelsize": FONT_PX,
    "hatch.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
}
MAX_BARS = 40
MAX_POINTS = 2000  # of one curve: more than a screen shows
MIN_NAMED_SPAN = 0.08  # of the picture's width: a shorter corrupted span has no room for the kind of corruption


@dataclass(frozen=True, slots=True)
class WeightPanel:
    """A panel of the picture over time: weights of the front or of gates, as curves."""

    name: str
    title: str
    curves: tuple[tuple[str, str], ...]  # column of `ClockPredictions.gates`, colour


WEIGHT_PANELS = (  # from top to bottom, in the order in which the model decides
    WeightPanel(
        "reliability",
        "reliability of each modality, judged before attention",
        (("reliability_video", VIDEO), ("reliability_audio", AUDIO)),
    ),
    WeightPanel("modality", "weight of each modality", (("modality_video", VIDEO), ("modality_audio", AUDIO))),
    WeightPanel(
        "cross",
        "weight of what each learns from the other (cross-attention)",
        (("video_cross", VIDEO), ("audio_cross", AUDIO)),
    ),
)


def weight_panels(clock: ClockPredictions) -> list[WeightPanel]:
    """The panels that show weights of this model; none without a front and a gate, or for gates with other options."""
    return [panel for panel in WEIGHT_PANELS if any(column in clock.gates for column, _ in panel.curves)]


def over_time(stream: StreamPredictions) -> str:
    """Annotation and prediction, weights of front and gates, and at the bottom where face or sound is missing.

    Where there is no prediction, the value that such frames are scored with is dotted, and the span is hatched. Spans
    that were corrupted on purpose are marked, in the strips with the kind of corruption.
    """
    clock = stream.clock
    panels = weight_panels(clock)
    heights = [3, 3] + [1.6] * len(panels) + [1.0]
    with mpl.rc_context(_STYLE):
        figure = Figure((WIDE_IN, 0.54 * sum(heights)))
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        for i, name in enumerate(LABEL_NAMES):
            _draw_values(axes[i], stream, i, name)
        for axis, panel in zip(axes[2:], panels, strict=False):
            _draw_weights(axis, clock, panel)
        for start, stop in spans(clock.times_s, ~(clock.face_ok & clock.audio_ok)):
            for axis in axes[:-1]:
                axis.axvspan(start, stop, color=MISSING, alpha=0.2, linewidth=0)
        for start, stop in spans(clock.times_s, ~clock.valid):
            for axis in axes[:-1]:
                axis.axvspan(start, stop, facecolor="none", edgecolor=MISSING, hatch="////", linewidth=0)
        if clock.corruption is not None:
            for start, stop in spans(clock.times_s, (clock.corruption != HEALTHY).any(-1)):
                for axis in axes[:-1]:
                    axis.axvspan(start, stop, color=CORRUPTED, alpha=0.14, linewidth=0)
        _draw_presence(axes[-1], clock)
        axes[-1].set_xlabel("seconds")
        axes[-1].set_xlim(clock.times_s[0], clock.times_s[-1])
        return _svg(figure, f"over time {stream.name}")


def plane(true: NDArray, predicted: NDArray) -> str:
    """Where annotations and predictions lie in the plane of valence and arousal; both (n, 2)."""
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure((HALF_IN, 2.5))
        axes = figure.subplots(1, 2, sharex=True, sharey=True)
        for axis, points, title, colour in zip(
            axes, (true, predicted), ("annotated", "predicted"), (MUTED, VALENCE), strict=True
        ):
            shades = LinearSegmentedColormap.from_list(title, [_transparent(colour, 0.12), _transparent(colour, 1.0)])
            axis.hexbin(
                *points.T, gridsize=22, extent=(-1, 1, -1, 1), mincnt=1, bins="log", cmap=shades, linewidths=0.1
            )
            axis.axhline(0, color=LINE, linewidth=0.8)
            axis.axvline(0, color=LINE, linewidth=0.8)
            axis.set(title=title, xlabel="valence", xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
            axis.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        axes[0].set_ylabel("arousal")
        return _svg(figure, "plane")


def per_video(names: Sequence[str], ccc: NDArray) -> str:
    """CCC (n, 2) of each video as a pair of bars, best first; of very many only both ends."""
    order = np.argsort(-ccc.mean(1), kind="stable")
    if len(order) > MAX_BARS:
        order = np.concatenate([order[: MAX_BARS // 2], order[-MAX_BARS // 2 :]])
    with mpl.rc_context(_STYLE):
        figure = Figure((HALF_IN, 0.6 + 0.3 * len(order)))
        axis = figure.subplots()
        y = np.arange(len(order))
        for i, name in enumerate(LABEL_NAMES):
            axis.barh(y + (i - 0.5) * 0.36, ccc[order, i], 0.32, color=COLOURS[name])
        axis.set_yticks(y, [_shorten(names[i]) for i in order])
        axis.axvline(0, color=MUTED, linewidth=0.8)
        axis.grid(visible=False, axis="y")
        axis.set(xlabel="CCC", xlim=(min(0.0, float(ccc.min()) - 0.05), 1), ylim=(len(order) - 0.4, -0.6))
        return _svg(figure, "per video")


def training_loss(epochs: Sequence[Row], steps: Sequence[Row]) -> str:
    """The loss of every step of a training, and its mean over each epoch at the epoch's last step."""
    with mpl.rc_context(_STYLE):
        figure = Figure((HALF_IN, 2.3))
        axis = figure.subplots()
        axis.plot(*_subsample(*_curve(steps, "loss")), color=MUTED, linewidth=0.7)
        axis.plot(*_curve(epochs, "train_loss"), color=INK, marker="o", markersize=2.5)
        axis.set(title="loss", xlabel="step", ylim=(0, None), xlim=(0, None))
        return _svg(figure, "training loss")


def validation_ccc(epochs: Sequence[Row], best_step: int) -> str:
    """CCC on the validation split after each epoch; a line at the step whose weights are the best."""
    with mpl.rc_context(_STYLE):
        figure = Figure((HALF_IN, 2.3))
        axis = figure.subplots()
        for name, colour in (*COLOURS.items(), ("mean", INK)):
            axis.plot(*_curve(epochs, f"val_ccc_{name}"), color=colour, marker="o", markersize=2.5)
        axis.axvline(best_step, color=BEST, linewidth=1.2)
        axis.set(title="CCC on the val split", xlabel="step", ylim=(None, 1.02), xlim=(0, None))
        return _svg(figure, "validation CCC")


def _curve(rows: Sequence[Row], name: str) -> tuple[NDArray, NDArray]:
    """Steps and the values of one measurement."""
    return np.array([row["step"] for row in rows]), np.array([row[name] for row in rows], float)


def _draw_values(axis: Axes, stream: StreamPredictions, column: int, name: str) -> None:
    clock, rows, values = stream.clock, stream.annotations, stream.clock.values[:, column]
    axis.plot(*_subsample(rows["time_s"], rows[name]), color=MUTED, linewidth=1.2)
    axis.plot(*_subsample(clock.times_s, np.where(clock.valid, np.nan, values)), color=COLOURS[name], linestyle=":")
    axis.plot(*_subsample(clock.times_s, np.where(clock.valid, values, np.nan)), color=COLOURS[name])
    axis.set(title=name, ylim=(-1.05, 1.05), yticks=(-1, 0, 1))


def _draw_weights(axis: Axes, clock: ClockPredictions, panel: WeightPanel) -> None:
    for column, colour in panel.curves:
        if column in clock.gates:
            weights = np.where(clock.valid, clock.gates[column], np.nan)
            axis.plot(*_subsample(clock.times_s, weights), color=colour)
    axis.set(title=panel.title, ylim=(-0.05, 1.05), yticks=(0, 1))


def _draw_presence(axis: Axes, clock: ClockPredictions) -> None:
    for row, (ok, colour) in enumerate(((clock.audio_ok, AUDIO), (clock.face_ok, VIDEO))):
        bars = [(start, stop - start) for start, stop in spans(clock.times_s, ok)]
        axis.broken_barh(bars, (row + 0.2, 0.6), color=colour, linewidth=0)
    if clock.corruption is not None:
        for row, kinds in enumerate(clock.corruption.T[::-1]):
            _draw_corrupted(axis, clock.times_s, kinds, row)
    axis.set(yticks=(0.5, 1.5), ylim=(0, 2))
    axis.set_yticklabels(("sound", "face"))
    axis.tick_params(length=0)
    axis.grid(visible=False)


def _draw_corrupted(axis: Axes, times_s: NDArray, kinds: NDArray[np.uint8], row: int) -> None:
    """Each corrupted span over its modality's strip, with the kind where there is room for the word."""
    for kind, name in enumerate(KINDS):
        for start, stop in spans(times_s, kinds == kind):
            axis.broken_barh([(start, stop - start)], (row + 0.1, 0.8), color=CORRUPTED, linewidth=0)
            if stop - start > MIN_NAMED_SPAN * (times_s[-1] - times_s[0]):
                axis.text((start + stop) / 2, row + 0.46, name, ha="center", va="center", color=ON_CORRUPTED)


def spans(times_s: NDArray, selected: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Start and end of every run of selected frames; a frame lasts until the next one."""
    frame_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.04
    return [(float(times_s[a]), float(times_s[b - 1]) + frame_s) for a, b in true_runs(selected)]


def _subsample(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    step = -(-len(x) // MAX_POINTS) if len(x) else 1
    return x[::step], y[::step]


def _transparent(colour: str, alpha: float) -> tuple[float, float, float, float]:
    return mpl.colors.to_rgba(colour, alpha)


def _shorten(name: str, width: int = 28) -> str:
    short = name if len(name) <= width else f"{name[: width - 9]}…{name[-8:]}"
    return short.replace("$", r"\$")  # it would begin a formula


def _svg(figure: Figure, salt: str) -> str:
    """The figure as an SVG element: the page's colours and fonts, ids of its own, as wide as its place on the page.

    It is never narrower than the figure, whose text would then be too small to read: on a phone it scrolls sideways.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(
        r' id="(?:figure|axes|patch|line2d|text|matplotlib\.axis|[a-z]*tick|legend|PolyCollection|[A-Za-z]+)_\d+"',
        "",
        text,
    )
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1
    )
    text = text.replace("<svg", f'<svg style="min-width: {figure.get_figwidth() * 72:.0f}px"', 1)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text
