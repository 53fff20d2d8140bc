"""The job that measures a trained run on every frame of a split and writes the report people read."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline import storage
from pipeline.config import Config, UsageError, evaluation_fingerprint
from pipeline.dataset.format import shards
from pipeline.dataset.format.shards import DatasetInfo
from pipeline.records import SampleRow
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult, Progress, emit
from pipeline.training import run_record, sampler
from pipeline.training.run_record import RunRecord, folder_name

if TYPE_CHECKING:
    from pipeline.evaluation.predictions import Stream
    from pipeline.evaluation.scores import Columns
    from pipeline.evaluation.smoothing import Windows

METRICS, PREDICTIONS, REPORT, MANIFEST = "metrics.json", "predictions.parquet", "report.html", "manifest.json"


def run(config: Config) -> JobResult:
    """Evaluate `config.evaluate.run` on the dataset it was trained on, or on `config.evaluate.dataset`.

    Where smoothing is to be tuned and another split than val is evaluated, val is predicted, too.

    Raises:
        UsageError: the run is not finished, the dataset does not fit it, or a split that is needed has no labels.
    """
    started = time.monotonic()
    if not config.evaluate.run:
        raise UsageError("evaluate.run is empty; give the URI of a run that iaca train made")
    finished = run_record.read_finished(config.evaluate.run)
    dataset = shards.read_dataset(config.evaluate.dataset or finished.dataset_uri)
    run_config = run_record.fitted_to(run_record.read_config(config.evaluate.run), dataset, finished.features)
    uri = evaluation_uri(config, finished, dataset)
    skipped = storage.exists(storage.join(uri, MANIFEST))
    if not skipped:
        rows = shards.read_index(dataset.uri)
        split, smooth = config.evaluate.split, config.evaluate.smooth
        by_split = {name: _rows_of(name, rows, dataset) for name in (split, *["val"] * (smooth == "tuned"))}
        streams = {name: _predict(config, run_config, finished, dataset, of) for name, of in by_split.items()}
        windows = _windows(config, run_config, streams)
        _publish(config, run_config, finished, dataset, uri, streams[split], windows)
    return _result(uri, skipped=skipped, seconds=time.monotonic() - started)


def evaluation_uri(config: Config, finished: RunRecord, dataset: DatasetInfo) -> str:
    """Where this evaluation lies: `<root>/evaluations/<run>/<dataset>-<fingerprint>`."""
    digest = evaluation_fingerprint(config, finished.weights_sha256, dataset.digest)
    parts = ("evaluations", folder_name(config.evaluate.run), f"{folder_name(dataset.uri)}-{digest}")
    return storage.join(config.storage.root, *parts)


def _predict(
    config: Config, run_config: Config, finished: RunRecord, dataset: DatasetInfo, rows: list[SampleRow]
) -> list[Stream]:
    import torch

    from iaca_model.model import model_of
    from pipeline.evaluation.predictions import predict
    from pipeline.training import checkpoint

    if config.evaluate.num_threads:
        torch.set_num_threads(config.evaluate.num_threads)
    spec = run_record.spec_of(run_config, finished.features)
    model = model_of(spec, run_config.model)
    model.load_state_dict(checkpoint.load_weights(config.evaluate.run, finished.best_step))
    model.eval()
    count, streams = len({(row.video_id, row.person) for row in rows}), []
    for stream in predict(model, dataset.uri, rows, run_config.sequence, spec, config.evaluate.masked_modality):
        streams.append(stream)
        emit(Progress("evaluate", len(streams), count, "videos", stream.name))
    return streams


def _rows_of(split: str, rows: Sequence[SampleRow], dataset: DatasetInfo) -> list[SampleRow]:
    sampler.labelled(rows, split, dataset.uri)
    return [row for row in rows if row.split == split]


def _windows(config: Config, run_config: Config, streams: dict[str, list[Stream]]) -> Windows | None:
    from pipeline.evaluation import smoothing

    wanted = config.evaluate
    if wanted.smooth == "tuned":
        return smoothing.tuned(streams["val"], "val", run_config.media.frame_rate_hz)
    fixed = smoothing.Windows(wanted.smooth_valence_s, wanted.smooth_arousal_s)
    return fixed if wanted.smooth == "fixed" else None


def _publish(
    config: Config,
    run_config: Config,
    finished: RunRecord,
    dataset: DatasetInfo,
    uri: str,
    streams: list[Stream],
    windows: Windows | None,
) -> None:
    """Write everything, the manifest last."""
    from pipeline.evaluation import predictions, report, scores, smoothing

    split, masked_modality = config.evaluate.split, config.evaluate.masked_modality
    if windows:
        streams = [smoothing.smoothed(stream, windows, run_config.media.frame_rate_hz) for stream in streams]
    columns = predictions.joined_columns(streams)
    videos = [row for row in shards.read_videos(dataset.uri) if row.split == split]
    about = {
        "run": folder_name(config.evaluate.run),
        "dataset": folder_name(dataset.uri),
        "split": split,
        "masked_modality": masked_modality,
    }
    identity = {"weights_sha256": finished.weights_sha256, "dataset_digest": dataset.digest}
    smooth = asdict(windows) if windows else None
    metrics = {**about, **identity, "smoothing": smooth, **scores.measure(columns, videos)}
    facts = {**about, "settings": _settings(config, run_config, finished, dataset)}
    files = {
        METRICS: json.dumps(metrics, indent=2).encode(),
        PREDICTIONS: _parquet({**columns, "split": [split] * len(columns["time_s"])}),
        REPORT: report.render(facts, metrics, columns, streams).encode(),
    }
    for name, data in files.items():
        storage.publish_bytes(data, storage.join(uri, name))
    manifest = {**about, **identity, "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}
    storage.publish_bytes(json.dumps(manifest, indent=2).encode(), storage.join(uri, MANIFEST))


def _settings(config: Config, run_config: Config, finished: RunRecord, dataset: DatasetInfo) -> list[tuple[str, Any]]:
    model, view = run_config.model, run_config.sequence
    steps = f"{view.num_subclips} steps of {view.subclip_frames} frames, every {view.subclip_dilation}th seen"
    return [
        ("run", config.evaluate.run),
        ("checkpoint", f"step {finished.best_step}, weights {finished.weights_sha256[:12]}"),
        ("validation CCC", f"{finished.best_ccc:.3f}, after {finished.num_epochs} epochs"),
        ("model", f"{model.base} with gate {model.gate}, {finished.counts.get('parameters', 0):,} parameters"),
        ("sequence", steps),
        ("dataset", f"{dataset.uri}, digest {dataset.digest[:12]}"),
        *_features_row(finished),
        ("clock", f"{run_config.media.frame_rate_hz:g} Hz, crops of {run_config.media.crop_px} px"),
        ("masked modality", config.evaluate.masked_modality),
    ]


def _features_row(finished: RunRecord) -> list[tuple[str, Any]]:
    if (origin := finished.features) is None:
        return []
    whose = f"the run {origin.run}" if origin.run else "published weights"
    return [("features", f"of {origin.backbone} backbones with {whose}, {origin.video_dim} of each modality")]


def _parquet(columns: Columns | dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _result(uri: str, *, skipped: bool, seconds: float) -> JobResult:
    metrics = json.loads(storage.read_bytes(storage.join(uri, METRICS)))
    pooled, frames = metrics["ccc"]["pooled"], metrics["frames"]
    known = {f"ccc_{name}": value for name, value in pooled.items() if value is not None}
    numbers = _in_words(pooled)
    masked = "" if metrics["masked_modality"] == "none" else f" with {metrics['masked_modality']} masked"
    scored = f"{frames['scored']} of {frames['labelled']} labelled frames"
    lines = (
        f"{metrics['split']} CCC{masked}: {numbers or 'undefined'}, over {scored}",
        *_smoothed_line(metrics),
        f"report: {storage.join(uri, REPORT)}",
    )
    counts = {**known, "frames_scored": frames["scored"], "rejected": metrics["videos"]["rejected"]}
    return JobResult("evaluate", uri, skipped, seconds, counts, lines)


def _smoothed_line(metrics: dict[str, Any]) -> list[str]:
    smooth = metrics["smoothing"]
    if not smooth:
        return []
    widths = f"{smooth['valence_s']:.2f} s (valence) and {smooth['arousal_s']:.2f} s (arousal)"
    chosen = f", chosen on the {smooth['tuned_on']} split" if smooth["tuned_on"] else ""
    return [f"smoothed over {widths}{chosen}: {_in_words(metrics['ccc_smoothed']['pooled']) or 'undefined'}"]


def _in_words(ccc: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in ccc.items() if value is not None)


if __name__ == "__main__":
    job_process.main("evaluate", run)
