"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pipeline.evaluation import plots
from pipeline.evaluation.alignment import Columns
from pipeline.evaluation.predictions import StreamPredictions
from pipeline.evaluation.subject import EvaluationKey
from pipeline.records import LABEL_NAMES
from pipeline.reports import page
from pipeline.training.history import Row

TEMPLATE = Path(__file__).with_name("report.html")


def render(
    evaluation: EvaluationKey,
    settings: Sequence[tuple[str, str]],
    metrics: dict[str, Any],
    columns: Columns,
    streams: Sequence[StreamPredictions],
    history: Sequence[Row],
    best_step: int,
) -> str:
    """The page; the same arguments give the same text.

    Args:
        evaluation: what was evaluated.
        settings: the same in detail: pairs of a name and a text.
        metrics: the content of metrics.json.
        columns: the rows of predictions.parquet.
        streams: every stream of the split.
        history: the rows of the run's metrics.jsonl; without any the page says nothing of the training.
        best_step: of the run, whose weights were evaluated.
    """
    scored = [video for video in metrics["by_video"] if video["mean"] is not None]
    true, predicted = (np.stack([columns[name + suffix] for name in LABEL_NAMES], 1) for suffix in ("", "_pred"))
    shown = [
        (title, video, Markup(plots.over_time(stream)))  # noqa: S704 - our own SVG
        for title, video, stream in _best_median_worst(scored, streams)
    ]
    return page.render(
        TEMPLATE,
        {"ccc": format_ccc, "share": _format_share, "interval": _format_interval},
        evaluation=evaluation,
        settings=settings,
        metrics=metrics,
        corruption=metrics.get("corruption"),
        detection=metrics.get("detection"),
        videos=sorted(metrics["by_video"], key=lambda video: (video["mean"] is None, -(video["mean"] or 0))),
        damaged=[video for video in metrics["by_video"] if video["reason"]],
        shown=shown,
        panels=[panel.name for panel in plots.weight_panels(streams[0].clock)],
        numbered=any(column[-1].isdigit() for column in streams[0].clock.gates),
        unpredicted=any(not stream.clock.valid.all() for stream in streams),
        first_prediction_s=_format_wait(streams),
        training=_training(history, best_step),
        plane=Markup(plots.plane(true, predicted)),  # noqa: S704
        bars=Markup(_bars(scored)),  # noqa: S704
    )


def _training(history: Sequence[Row], best_step: int) -> dict[str, Any] | None:
    """What the page says of the training; None where no epoch was recorded."""
    epochs = [row for row in history if "val_ccc_mean" in row]
    if not epochs:
        return None
    steps = [row for row in history if "loss" in row]
    best = next((row["epoch"] for row in epochs if row["step"] == best_step), None)
    return {
        "best_step": best_step,
        "best_epoch": best,
        "num_epochs": epochs[-1]["epoch"],
        "loss": Markup(plots.training_loss(epochs, steps)),  # noqa: S704
        "ccc": Markup(plots.validation_ccc(epochs, best_step)),  # noqa: S704
    }


def _format_wait(streams: Sequence[StreamPredictions]) -> str:
    """How long the first prediction of the quickest and the slowest video takes; empty where all have one at once."""
    clocks = [stream.clock for stream in streams if stream.clock.valid.any()]
    waits_s = [float(clock.times_s[np.argmax(clock.valid)] - clock.times_s[0]) for clock in clocks]
    shortest, longest = (f"{wait_s:.2f}" for wait_s in (min(waits_s, default=0.0), max(waits_s, default=0.0)))
    if longest == "0.00":
        return ""
    return f"{longest} s" if shortest == longest else f"{shortest} to {longest} s"


def _best_median_worst(
    scored: Sequence[dict[str, Any]], streams: Sequence[StreamPredictions]
) -> list[tuple[str, dict[str, Any], StreamPredictions]]:
    """Title, scores and predictions of the best, the median and the worst video; fewer where there are fewer."""
    ordered = sorted(scored, key=lambda video: -video["mean"])
    ranks = list(dict.fromkeys((0, len(ordered) // 2, len(ordered) - 1))) if ordered else []
    titles = ("best", "median", "worst") if len(ranks) == 3 else ("best", "worst")
    stream_of = {(stream.video_id, stream.person): stream for stream in streams}
    return [
        (title, ordered[rank], stream_of[ordered[rank]["video_id"], ordered[rank]["person"]])
        for title, rank in zip(titles, ranks, strict=False)
    ]


def _bars(scored: Sequence[dict[str, Any]]) -> str:
    if not scored:
        return ""
    names = [f"{video['video_id']} {video['person']}".strip() for video in scored]
    return plots.per_video(names, np.array([[video[name] for name in LABEL_NAMES] for video in scored]))


def _format_share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _format_interval(bounds: Sequence[float]) -> str:
    return " to ".join(map(format_ccc, bounds))


def format_ccc(ccc: float | None) -> str:
    """A CCC as the page shows it."""
    return "–" if ccc is None else f"{ccc:.3f}".replace("-", "−")
