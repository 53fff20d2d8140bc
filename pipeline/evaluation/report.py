"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pipeline.evaluation import plots
from pipeline.evaluation.predictions import Stream
from pipeline.evaluation.scores import Columns
from pipeline.records import LABEL_NAMES
from pipeline.reports import page

TEMPLATE = Path(__file__).with_name("report.html")


def render(facts: dict[str, Any], metrics: dict[str, Any], columns: Columns, streams: Sequence[Stream]) -> str:
    """The page; the same arguments give the same text.

    Args:
        facts: `run`, `dataset`, `split`, `masked_modality`, and `settings`: pairs of a name and a value.
        metrics: the content of metrics.json.
        columns: the rows of predictions.parquet.
        streams: every stream of the split.
    """
    scored = [video for video in metrics["by_video"] if video["mean"] is not None]
    true, predicted = (np.stack([columns[n + suffix] for n in LABEL_NAMES], 1) for suffix in ("", "_pred"))
    return page.render(
        TEMPLATE,
        {"ccc": in_digits, "share": _share, "interval": _interval},
        facts=facts,
        metrics=metrics,
        videos=sorted(metrics["by_video"], key=lambda video: (video["mean"] is None, -(video["mean"] or 0))),
        damaged=[video for video in metrics["by_video"] if video["reason"]],
        shown=[(title, video, Markup(plots.over_time(stream))) for title, video, stream in _picked(scored, streams)],  # noqa: S704 - our own SVG
        gated=any(stream.clock.gates for stream in streams),
        plane=Markup(plots.plane(true, predicted)),  # noqa: S704
        bars=Markup(_bars(scored)),  # noqa: S704
    )


def _picked(scored: Sequence[dict[str, Any]], streams: Sequence[Stream]) -> list[tuple[str, dict[str, Any], Stream]]:
    """The best, the median and the worst video; fewer where there are fewer."""
    ordered = sorted(scored, key=lambda video: -video["mean"])
    places = dict.fromkeys((0, len(ordered) // 2, len(ordered) - 1)) if ordered else {}
    titles = dict(zip(places, ("best", "median", "worst") if len(places) == 3 else ("best", "worst"), strict=False))
    by_key = {(stream.video_id, stream.person): stream for stream in streams}
    chosen = [(titles[place], ordered[place]) for place in places]
    return [(title, video, by_key[video["video_id"], video["person"]]) for title, video in chosen]


def _bars(scored: Sequence[dict[str, Any]]) -> str:
    if not scored:
        return ""
    names = [f"{video['video_id']} {video['person']}".strip() for video in scored]
    return plots.per_video(names, np.array([[video[name] for name in LABEL_NAMES] for video in scored]))


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _interval(bounds: Sequence[float]) -> str:
    return " to ".join(map(in_digits, bounds))


def in_digits(ccc: float | None) -> str:
    """A CCC as the page shows it."""
    return "–" if ccc is None else f"{ccc:.3f}".replace("-", "−")
