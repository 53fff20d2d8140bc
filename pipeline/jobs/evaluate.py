"""The job that measures a trained run on every frame of a split and writes the report people read."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline import storage
from pipeline.config import Config, UsageError
from pipeline.dataset.format.dataset_info import read_index, read_videos
from pipeline.dataset.format.tables import columns_to_parquet
from pipeline.evaluation.subject import Evaluation, find_evaluation
from pipeline.records import SampleRow
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult, Progress, emit
from pipeline.training import sampler
from pipeline.training.compatibility import spec_of

if TYPE_CHECKING:
    from pipeline.evaluation.predictions import StreamPredictions
    from pipeline.evaluation.smoothing import Windows

METRICS, PREDICTIONS, REPORT, MANIFEST = "metrics.json", "predictions.parquet", "report.html", "manifest.json"


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """An evaluation that is not finished."""

    evaluation: Evaluation
    rows_by_split: dict[str, list[SampleRow]]  # of the split to score and of the one that smoothing is tuned on


def prepare(config: Config) -> JobResult | _Unfinished:
    """Check that the run can be evaluated, without torch; the result where the evaluation is finished.

    Raises:
        UsageError: the run is not finished, the dataset does not fit it, or a split that is needed has no labels.
    """
    started = time.monotonic()
    evaluation = find_evaluation(config)
    if storage.exists(storage.join(evaluation.uri, MANIFEST)):
        return _result(evaluation.uri, skipped=True, seconds=time.monotonic() - started)
    return _Unfinished(evaluation, _rows_by_split(evaluation))


def run(config: Config) -> JobResult:
    """Evaluate `config.evaluate.run` on the dataset it was trained on, or on `config.evaluate.dataset`.

    Where smoothing is to be tuned and another split than val is evaluated, val is predicted, too.

    Raises:
        UsageError: see `prepare`.
    """
    started = time.monotonic()
    prepared = prepare(config)
    if isinstance(prepared, JobResult):
        return prepared
    evaluation = prepared.evaluation
    streams_by_split = {split: _predict(evaluation, rows) for split, rows in prepared.rows_by_split.items()}
    windows = _smoothing_windows(evaluation, streams_by_split)
    _publish(evaluation, streams_by_split[evaluation.settings.split], windows)
    return _result(evaluation.uri, skipped=False, seconds=time.monotonic() - started)


def _rows_by_split(evaluation: Evaluation) -> dict[str, list[SampleRow]]:
    """All rows of the split to score and, where smoothing is tuned on it, of val; rows without labels included."""
    settings, dataset_uri = evaluation.settings, evaluation.dataset.uri
    splits = (settings.split, "val") if settings.smooth == "tuned" else (settings.split,)
    rows = read_index(dataset_uri)
    for split in splits:
        sampler.labelled_rows(rows, split, dataset_uri)  # raises UsageError where there are none
    rows_by_split = {split: [row for row in rows if row.split == split] for split in splits}
    if settings.corrupt_modality:
        for split, of_split in rows_by_split.items():
            _require_two_groups(of_split, split, dataset_uri)
    return rows_by_split


def _require_two_groups(rows: Sequence[SampleRow], split: str, dataset_uri: str) -> None:
    groups = {row.group for row in rows}
    if len(groups) < 2:
        raise UsageError(
            f"the {split} split of {dataset_uri} has one group only ({groups.pop()}), but evaluate.corrupt_modality "
            f"swaps spans between groups; evaluate a split with more of them"
        )


def _predict(evaluation: Evaluation, rows: Sequence[SampleRow]) -> list[StreamPredictions]:
    import torch

    from iaca_model.model import model_of
    from pipeline.evaluation.inference import predict_streams
    from pipeline.evaluation.segment_corruption import SplitCorruption
    from pipeline.training import checkpoint

    settings, config = evaluation.settings, evaluation.config
    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    spec = spec_of(config, evaluation.run.features)
    model = model_of(spec, config.model)
    model.load_state_dict(checkpoint.load_weights(settings.run, evaluation.run.best_step))
    model.eval()
    num_streams = len({(row.video_id, row.person) for row in rows})
    uri, masked, chance = evaluation.dataset.uri, settings.masked_modality, settings.corrupt_modality
    corruption = SplitCorruption(chance, settings.corrupt_seed, uri, rows) if chance else None
    streams = []
    for stream in predict_streams(model, uri, rows, config.sequence, spec, masked, corruption):
        streams.append(stream)
        emit(Progress("evaluate", len(streams), num_streams, "videos", stream.name))
    return streams


def _smoothing_windows(evaluation: Evaluation, streams_by_split: dict[str, list[StreamPredictions]]) -> Windows | None:
    from pipeline.evaluation.smoothing import Windows, tune_windows

    settings = evaluation.settings
    if settings.smooth == "tuned":
        return tune_windows(streams_by_split["val"], "val", evaluation.config.media.frame_rate_hz)
    if settings.smooth == "fixed":
        return Windows(settings.smooth_valence_s, settings.smooth_arousal_s)
    return None


def _publish(evaluation: Evaluation, streams: list[StreamPredictions], windows: Windows | None) -> None:
    """Write metrics, predictions and report, then the manifest that completes the evaluation."""
    from pipeline.evaluation import report, scores
    from pipeline.evaluation.alignment import align_streams
    from pipeline.evaluation.corruption_scores import measure_corruption
    from pipeline.evaluation.smoothing import smooth
    from pipeline.training.history import read_rows

    if windows:
        streams = [smooth(stream, windows, evaluation.config.media.frame_rate_hz) for stream in streams]
    columns = align_streams(streams)
    key = evaluation.key
    videos = [row for row in read_videos(evaluation.dataset.uri) if row.split == key.split]
    smoothing = asdict(windows) if windows else None
    measured = {**scores.measure(columns, videos), **measure_corruption(columns)}
    metrics = {**key.as_json(), "smoothing": smoothing, **measured}
    history = read_rows(evaluation.settings.run)
    page = report.render(key, evaluation.describe(), metrics, columns, streams, history, evaluation.run.best_step)
    files = {
        METRICS: json.dumps(metrics, indent=2).encode(),
        PREDICTIONS: columns_to_parquet({**columns, "split": [key.split] * len(columns["time_s"])}),
        REPORT: page.encode(),
    }
    for name, data in files.items():
        storage.publish_bytes(data, storage.join(evaluation.uri, name))
    manifest = {**key.as_json(), "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}
    storage.publish_bytes(json.dumps(manifest, indent=2).encode(), storage.join(evaluation.uri, MANIFEST))


def _result(uri: str, *, skipped: bool, seconds: float) -> JobResult:
    metrics = json.loads(storage.read_bytes(storage.join(uri, METRICS)))
    pooled, frames = metrics["ccc"]["pooled"], metrics["frames"]
    masked = "" if metrics["masked_modality"] == "none" else f" with {metrics['masked_modality']} masked"
    masked += " of corrupted clips" if "corruption" in metrics else ""
    scored = f"{frames['scored']} of {frames['labelled']} labelled frames"
    lines = (
        f"{metrics['split']} CCC{masked}: {_format_ccc(pooled)}, over {scored}",
        *_smoothed_line(metrics),
        *_detection_line(metrics),
        f"report: {storage.join(uri, REPORT)}",
    )
    counts = {f"ccc_{name}": value for name, value in pooled.items() if value is not None}
    counts |= {"frames_scored": frames["scored"], "rejected": metrics["videos"]["rejected"]}
    return JobResult("evaluate", uri, skipped, seconds, counts, lines)


def _smoothed_line(metrics: dict[str, Any]) -> list[str]:
    windows = metrics["smoothing"]
    if not windows:
        return []
    widths = f"{windows['valence_s']:.2f} s (valence) and {windows['arousal_s']:.2f} s (arousal)"
    tuned = f", chosen on the {windows['tuned_on']} split" if windows["tuned_on"] else ""
    return [f"smoothed over {widths}{tuned}: {_format_ccc(metrics['ccc_smoothed']['pooled'])}"]


def _detection_line(metrics: dict[str, Any]) -> list[str]:
    areas = {name: of["all"] for name, of in metrics.get("detection", {}).items() if of["all"] is not None}
    listed = ", ".join(f"{name} {area:.3f}" for name, area in areas.items())
    return [f"detection of the corrupted modality, AUROC: {listed}"] if listed else []


def _format_ccc(ccc: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in ccc.items() if value is not None) or "undefined"


if __name__ == "__main__":
    job_process.main("evaluate", run, prepare)
