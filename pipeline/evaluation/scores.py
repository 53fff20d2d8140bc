"""The numbers of an evaluation: concordance over all frames, per video, and what was and was not scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from iaca_model.loss import concordance
from iaca_model.metrics import ConcordanceMeter
from pipeline.evaluation.alignment import Columns
from pipeline.records import LABEL_NAMES, VideoRow

CccValues = dict[str, float | None]  # by `valence`, `arousal` and `mean`; None where it is undefined
Kind = Literal["pred", "smoothed"]  # the suffix of a column: predictions as the model makes them, or smoothed
NUM_DRAWS, SEED, INTERVAL = 2000, 0, (0.025, 0.975)  # of the bootstrap
_POWERS = ("sum", "squares")  # of the labels, as columns of videos.parquet


def measure(columns: Columns, videos: Iterable[VideoRow]) -> dict[str, Any]:
    """The scores in metrics.json.

    A constant prediction or annotation has CCC 0 by definition. A set of values is `{valence, arousal, mean}`, each a
    number, or null where fewer than two frames are scored.

    Args:
        columns: of predictions.parquet.
        videos: the split's rows of videos.parquet.

    Returns:
        `ccc`: of the predictions as the model makes them
            `pooled`: values over the frames of all videos together, the convention of the challenge
            `pooled_interval`: the bounds of each value, [2.5 %, 97.5 %]; null with fewer than two videos
            `per_video`: values averaged over the videos that have them, and `undefined`, the number of the others
            `pooled_rejected_as_zero`: values that also count every lost frame as predicted 0; null where the dataset
                does not hold the sums of its labels
        `ccc_smoothed`: the same of the smoothed predictions, null where there are none
        `frames`: `labelled` frames = `scored` + `lost` (in rejected videos and where a video is damaged); and of the
            scored ones how many have `face_ok`, `audio_ok`, or neither modality, so that the last prediction before
            them, or 0, is `filled` in
        `videos`: `total` = `ok` + `rejected`, and how many have a `scored` frame
        `constant`: the names of the dimensions whose prediction never changes
        `by_video`: for each video `video_id`, `person`, `status`, `stage`, `reason`, `detail`, the numbers of
            `labelled` frames and of scored ones, `frames`, the fractions of these with `face_ok` and `audio_ok`, and
            its values
    """
    rows = list(videos)
    by_video = [_video(columns, row) for row in rows]
    scored, labelled = len(columns["time_s"]), sum(row.labelled_frames for row in rows)
    return {
        "ccc": _ccc(columns, rows, "pred"),
        "ccc_smoothed": _ccc(columns, rows, "smoothed") if "valence_smoothed" in columns else None,
        "frames": {
            "labelled": labelled,
            "scored": scored,
            "lost": labelled - scored,
            "face_ok": int(columns["face_ok"].sum()),
            "audio_ok": int(columns["audio_ok"].sum()),
            "filled": int((~columns["valid"]).sum()),
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


def pooled_ccc(columns: Columns, kind: Kind) -> CccValues:
    """CCC over all frames of all videos, of raw or of smoothed predictions."""
    return _meter(columns, kind).compute()


def _ccc(columns: Columns, rows: Sequence[VideoRow], kind: Kind) -> dict[str, Any]:
    pooled, lost = _meter(columns, kind), sum(row.labelled_frames for row in rows) - len(columns["time_s"])
    return {
        "pooled": pooled.compute(),
        "pooled_interval": _interval(columns, kind),
        "per_video": _mean_over([_meter(columns, kind, _of_video(columns, row)).compute() for row in rows]),
        "pooled_rejected_as_zero": _lost_as_zero(pooled, rows, lost),
    }


def _of_video(columns: Columns, row: VideoRow) -> NDArray[np.bool_]:
    is_of_video: NDArray[np.bool_] = (columns["video_id"] == row.video_id) & (columns["person"] == row.person)
    return is_of_video


def _meter(columns: Columns, kind: Kind, selected: NDArray[np.bool_] | slice = slice(None)) -> ConcordanceMeter:
    predicted, true = (
        np.stack([columns[name + suffix][selected] for name in LABEL_NAMES], 1) for suffix in (f"_{kind}", "")
    )
    meter = ConcordanceMeter()
    meter.update(torch.from_numpy(predicted), torch.from_numpy(true), torch.ones(len(true), dtype=torch.bool))
    return meter


def _interval(columns: Columns, kind: Kind) -> dict[str, list[float]] | None:
    """Bounds by dimension: videos drawn with replacement, their sums added, each draw's CCC computed once."""
    names = sorted(set(columns["video_id"]))
    if len(names) < 2:
        return None
    sums_V62 = torch.stack([_meter(columns, kind, columns["video_id"] == name).state() for name in names])
    times_drawn = np.random.default_rng(SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), NUM_DRAWS)
    ccc_R2 = concordance(torch.einsum("rv,vkd->krd", torch.from_numpy(times_drawn).double(), sums_V62))
    drawn = {**dict(zip(LABEL_NAMES, ccc_R2.T, strict=True)), "mean": ccc_R2.mean(1)}
    return {name: np.quantile(values.numpy(), INTERVAL).tolist() for name, values in drawn.items()}


def _video(columns: Columns, row: VideoRow) -> dict[str, Any]:
    is_of_video = _of_video(columns, row)
    count = int(is_of_video.sum())
    return {
        "video_id": row.video_id,
        "person": row.person,
        "status": row.status,
        "stage": row.stage,
        "reason": row.reason,
        "detail": row.detail,
        "labelled": row.labelled_frames,
        "frames": count,
        "face_ok": float(columns["face_ok"][is_of_video].mean()) if count else 0.0,
        "audio_ok": float(columns["audio_ok"][is_of_video].mean()) if count else 0.0,
        **_meter(columns, "pred", is_of_video).compute(),
    }


def _mean_over(by_video: Sequence[CccValues]) -> dict[str, Any]:
    defined = [video for video in by_video if video["mean"] is not None]
    names = (*LABEL_NAMES, "mean")
    means = {name: float(np.mean([video[name] for video in defined])) if defined else None for name in names}
    return {**means, "undefined": len(by_video) - len(defined)}


def _lost_as_zero(scored: ConcordanceMeter, rows: Sequence[VideoRow], lost: int) -> CccValues | None:
    if lost <= 0:
        return scored.compute()
    sums = [[sum(getattr(row, f"{name}_{power}") for row in rows) for name in LABEL_NAMES] for power in _POWERS]
    if not any(sums[1]):
        return None
    state_62 = scored.state()
    state_62[0] += lost
    state_62[2], state_62[4] = torch.tensor(sums, dtype=torch.float64)
    return ConcordanceMeter.from_state(state_62).compute()
