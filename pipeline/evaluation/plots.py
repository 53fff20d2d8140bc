"""The pictures of a report as inline SVG whose colours are the page's own, in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.dataset.build.gaps import true_runs
from pipeline.evaluation.predictions import StreamPredictions
from pipeline.records import LABEL_NAMES

# Each colour is replaced by a variable of the page's style sheet.
INK, MUTED, LINE, VALENCE, AROUSAL, VIDEO, AUDIO, MISSING = (f"#0a0a{i:02x}" for i in range(1, 9))
_VARIABLES = dict(
    zip(
        (INK, MUTED, LINE, VALENCE, AROUSAL, VIDEO, AUDIO, MISSING),
        ("ink", "muted", "line", "valence", "arousal", "video", "audio", "missing"),
        strict=True,
    )
)
COLOURS = dict(zip(LABEL_NAMES, (VALENCE, AROUSAL), strict=True))
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
}
MAX_BARS = 40
MAX_POINTS = 2000  # of one curve: more than a screen shows
_GATE_CURVES = (  # a title, then column, colour and name of each curve
    ("weight of each modality", ("modality_video", VIDEO, "video"), ("modality_audio", AUDIO, "audio")),
    (
        "weight of what each learns from the other (cross-attention)",
        ("video_cross", VIDEO, "video"),
        ("audio_cross", AUDIO, "audio"),
    ),
)


def over_time(stream: StreamPredictions) -> str:
    """Annotation and prediction, the gates below them, and at the bottom where the face or the sound is missing."""
    clock = stream.clock
    panels = [(title, curves) for title, *curves in _GATE_CURVES if any(name in clock.gates for name, *_ in curves)]
    heights = [3, 3] + [1.6] * len(panels) + [0.8]
    with mpl.rc_context(_STYLE):
        figure = Figure((9.6, 0.62 * sum(heights)))
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        for i, name in enumerate(LABEL_NAMES):
            _draw_values(axes[i], stream, i, name)
        for axis, (title, curves) in zip(axes[2:], panels, strict=False):
            _draw_weights(axis, stream, title, curves)
        for start, stop in spans(clock.times_s, ~(clock.face_ok & clock.audio_ok)):
            for axis in axes[:-1]:
                axis.axvspan(start, stop, color=MISSING, alpha=0.2, linewidth=0)
        _draw_presence(axes[-1], stream)
        axes[-1].set_xlabel("seconds")
        axes[-1].set_xlim(clock.times_s[0], clock.times_s[-1])
        return _svg(figure, f"over time {stream.name}")


def plane(true: NDArray, predicted: NDArray) -> str:
    """Where annotations and predictions lie in the plane of valence and arousal; both (n, 2)."""
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure((5.4, 2.9))
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
        figure = Figure((5.4, 0.8 + 0.28 * len(order)))
        axis = figure.subplots()
        y = np.arange(len(order))
        for i, name in enumerate(LABEL_NAMES):
            axis.barh(y + (i - 0.5) * 0.36, ccc[order, i], 0.32, color=COLOURS[name], label=name)
        axis.set_yticks(y, [_shorten(names[i]) for i in order])
        axis.axvline(0, color=MUTED, linewidth=0.8)
        axis.grid(visible=False, axis="y")
        axis.set(xlabel="CCC", xlim=(min(0.0, float(ccc.min()) - 0.05), 1), ylim=(len(order) - 0.4, -0.6))
        figure.legend(loc="outside upper right", ncols=2)
        return _svg(figure, "per video")


def _draw_values(axis: Axes, stream: StreamPredictions, column: int, name: str) -> None:
    clock, rows = stream.clock, stream.annotations
    axis.plot(*_subsample(rows["time_s"], rows[name]), color=MUTED, linewidth=1.2, label="annotated")
    axis.plot(*_subsample(clock.times_s, clock.values[:, column]), color=COLOURS[name], label="predicted")
    axis.set(title=name, ylim=(-1.05, 1.05), yticks=(-1, 0, 1))
    axis.legend(loc="lower right", bbox_to_anchor=(1, 0.96), ncols=2, borderaxespad=0)


def _draw_weights(axis: Axes, stream: StreamPredictions, title: str, curves: Sequence[tuple[str, str, str]]) -> None:
    for column, colour, name in curves:
        if column in stream.clock.gates:
            axis.plot(*_subsample(stream.clock.times_s, stream.clock.gates[column]), color=colour, label=name)
    axis.set(title=title, ylim=(-0.05, 1.05), yticks=(0, 1))
    axis.legend(loc="lower right", bbox_to_anchor=(1, 0.94), ncols=2, borderaxespad=0)


def _draw_presence(axis: Axes, stream: StreamPredictions) -> None:
    clock = stream.clock
    for row, (ok, colour) in enumerate(((clock.audio_ok, AUDIO), (clock.face_ok, VIDEO))):
        bars = [(start, stop - start) for start, stop in spans(clock.times_s, ok)]
        axis.broken_barh(bars, (row + 0.2, 0.6), color=colour, linewidth=0)
    axis.set(yticks=(0.5, 1.5), ylim=(0, 2))
    axis.set_yticklabels(("sound", "face"))
    axis.tick_params(length=0)
    axis.grid(visible=False)


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
    """The figure as an SVG element: the page's colours and fonts, no fixed size, ids of its own."""
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
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text
