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

TEMPLATE = Path(__file__).with_name("report.html")


def render(
    evaluation: EvaluationKey,
    settings: Sequence[tuple[str, str]],
    metrics: dict[str, Any],
    columns: Columns,
    streams: Sequence[StreamPredictions],
) -> str:
    """The page; the same arguments give the same text.

    Args:
        evaluation: what was evaluated.
        settings: the same in detail: pairs of a name and a text.
        metrics: the content of metrics.json.
        columns: the rows of predictions.parquet.
        streams: every stream of the split.
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
        videos=sorted(metrics["by_video"], key=lambda video: (video["mean"] is None, -(video["mean"] or 0))),
        damaged=[video for video in metrics["by_video"] if video["reason"]],
        shown=shown,
        gated=any(stream.clock.gates for stream in streams),
        plane=Markup(plots.plane(true, predicted)),  # noqa: S704
        bars=Markup(_bars(scored)),  # noqa: S704
    )


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
