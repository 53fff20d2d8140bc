"""The numbers of an evaluation: concordance over all frames, per video, and what was and was not scored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.records import LABEL_NAMES, VideoRow

Columns = dict[str, NDArray]


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over n pairs of prediction x and label y, in float64; sums of parts add up."""

    n: float = 0
    x: float = 0
    y: float = 0
    xx: float = 0
    yy: float = 0
    xy: float = 0

    @classmethod
    def of(cls, x: NDArray, y: NDArray) -> Moments:
        """The moments of predictions `x` and labels `y`, both (n,)."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        return cls(len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y)

    def concordance(self) -> float | None:
        """CCC with population moments; None below two pairs, 0 when either side is constant."""
        if self.n < 2:
            return None
        mean_x, mean_y = self.x / self.n, self.y / self.n
        var_x, var_y = self.xx / self.n - mean_x**2, self.yy / self.n - mean_y**2
        if min(var_x, var_y) <= 1e-12:
            return 0.0
        return float(2 * (self.xy / self.n - mean_x * mean_y) / (var_x + var_y + (mean_x - mean_y) ** 2))


def measure(columns: Columns, videos: Iterable[VideoRow]) -> dict[str, Any]:
    """The content of metrics.json from the rows of predictions.parquet and the split's rows of videos.parquet.

    `pooled` concatenates the frames of all videos; `per_video` is the mean over the videos that have a CCC, with the
    number of those that have none. `pooled_rejected_as_zero` also counts every labelled frame that was lost
    (rejected videos, undecodable ends) with a prediction of 0; null where the dataset does not say enough for it.
    """
    rows = list(videos)
    by_video = [_video(columns, row) for row in rows]
    scored = len(columns["valence"])
    labelled = sum(row.labelled_frames for row in rows)
    return {
        "ccc": {
            "pooled": _with_mean({name: _moments(columns, name).concordance() for name in LABEL_NAMES}),
            "per_video": _per_video(by_video),
            "pooled_rejected_as_zero": _with_lost(columns, rows, labelled - scored),
        },
        "frames": {
            "labelled": labelled,
            "scored": scored,
            "lost": labelled - scored,
            "face_ok": int(columns["face_ok"].sum()),
            "audio_ok": int(columns["audio_ok"].sum()),
            "carried": int((~columns["valid"]).sum()),
        },
        "videos": {
            "total": len(rows),
            "ok": sum(row.status == "ok" for row in rows),
            "rejected": sum(row.status == "rejected" for row in rows),
            "scored": sum(video["frames"] > 0 for video in by_video),
        },
        "constant": [name for name in LABEL_NAMES if scored and np.ptp(columns[f"{name}_pred"]) < 1e-6],
        "by_video": by_video,
    }


def _moments(columns: Columns, name: str, chosen: NDArray[np.bool_] | slice = slice(None)) -> Moments:
    return Moments.of(columns[f"{name}_pred"][chosen], columns[name][chosen])


def _with_mean(values: dict[str, float | None]) -> dict[str, float | None]:
    known = [value for value in values.values() if value is not None]
    return {**values, "mean": sum(known) / len(values) if len(known) == len(values) else None}


def _video(columns: Columns, row: VideoRow) -> dict[str, Any]:
    chosen = (columns["video_id"] == row.video_id) & (columns["person"] == row.person)
    ccc = _with_mean({name: _moments(columns, name, chosen).concordance() for name in LABEL_NAMES})
    count = int(chosen.sum())
    return {
        "video_id": row.video_id,
        "person": row.person,
        "status": row.status,
        "reason": row.reason,
        "labelled": row.labelled_frames,
        "frames": count,
        "face_ok": float(columns["face_ok"][chosen].mean()) if count else 0.0,
        "audio_ok": float(columns["audio_ok"][chosen].mean()) if count else 0.0,
        **ccc,
    }


def _per_video(by_video: list[dict[str, Any]]) -> dict[str, Any]:
    values = {name: [video[name] for video in by_video if video[name] is not None] for name in LABEL_NAMES}
    means = {name: float(np.mean(found)) if found else None for name, found in values.items()}
    return {**_with_mean(means), "undefined": {name: len(by_video) - len(found) for name, found in values.items()}}


def _with_lost(columns: Columns, rows: list[VideoRow], lost: int) -> dict[str, float | None] | None:
    sums = {name: (sum(getattr(r, f"{name}_sum") for r in rows), sum(getattr(r, f"{name}_squares") for r in rows))
            for name in LABEL_NAMES}  # fmt: skip
    if lost and not any(squares for _, squares in sums.values()):
        return None
    values = {}
    for name, (total, squares) in sums.items():
        seen = _moments(columns, name)
        everything = Moments(seen.n + lost, seen.x, total, seen.xx, squares, seen.xy) if lost else seen
        values[name] = everything.concordance()
    return _with_mean(values)
