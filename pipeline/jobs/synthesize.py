"""The synthesis job: clips of synthetic talkers, published under the root as a source of videos and labels."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2

from pipeline import storage
from pipeline.config import Config, UsageError, fingerprint
from pipeline.dataset.plan.media_options import require_ffmpeg
from pipeline.records.quantities import count_text
from pipeline.runtime import job_process
from pipeline.runtime.progress import JobResult, Progress, emit
from pipeline.synthetic.clip import ClipSpec, make_clip
from pipeline.synthetic.talkers import GENERATOR_VERSION, manifest_csv, plan_clips, source_json

MARKER = "source.json"


def source_uri(config: Config) -> str:
    """The URI of the clips of this configuration: `<root>/sources/<name>-<fingerprint>`."""
    digest = fingerprint(config.synthesis, GENERATOR_VERSION)
    return storage.join(config.storage.root, "sources", f"{config.name}-{digest}")


def prepare(config: Config) -> JobResult | list[ClipSpec]:
    """The clips that are to be made; the result where they are all there.

    Raises:
        UsageError: a setting of the clips is not possible.
    """
    started = time.monotonic()
    try:
        specs = plan_clips(config.synthesis)
    except ValueError as error:
        raise UsageError(f"synthesis: {error}") from error
    output = source_uri(config)
    if storage.exists(storage.join(output, MARKER)):
        return _result(output, specs, time.monotonic() - started, skipped=True)
    return specs


def run(config: Config) -> JobResult:
    """Make the clips that are not there yet, publish each as soon as it is done, and `source.json` last.

    Raises:
        UsageError: see `prepare`; or ffmpeg cannot be used as given.
    """
    started = time.monotonic()
    specs = prepare(config)
    if isinstance(specs, JobResult):
        return specs
    ffmpeg = require_ffmpeg(config)
    output = source_uri(config)
    _make_missing(specs, output, ffmpeg)
    storage.publish_bytes(manifest_csv(specs).encode(), storage.join(output, "manifest.csv"))
    storage.create_if_absent(source_json(specs).encode(), storage.join(output, MARKER))
    return _result(output, specs, time.monotonic() - started, skipped=False)


def _result(output: str, specs: list[ClipSpec], seconds: float, *, skipped: bool) -> JobResult:
    people = count_text(len({spec.identity for spec in specs}), "synthetic person", "synthetic people")
    line = f"{count_text(len(specs), 'clip')} of {people}"
    return JobResult("synthesize", output, skipped, seconds, {"videos": len(specs)}, (line,))


def _make_missing(specs: list[ClipSpec], output: str, ffmpeg: str) -> None:
    published = {file.uri for file in storage.list_files(output)}
    missing = [spec for spec in specs if storage.join(output, spec.files[-1]) not in published]
    num_done = len(specs) - len(missing)
    with tempfile.TemporaryDirectory(prefix="talkers-") as scratch:
        for spec in _make_in_parallel(missing, Path(scratch), ffmpeg):
            for name in spec.files:  # the last one last: it says that the clip is complete
                storage.publish(Path(scratch) / name, storage.join(output, name))
                (Path(scratch) / name).unlink()
            num_done += 1
            emit(Progress("synthesize", num_done, len(specs), "clips", spec.name))


def _make_in_parallel(specs: list[ClipSpec], directory: Path, ffmpeg: str) -> Iterator[ClipSpec]:
    """Make clips on all cores, and yield each one when its files are complete."""
    num_processes = max(1, min(len(specs), len(os.sched_getaffinity(0))))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context, initializer=_start_worker) as pool:
        clips = [pool.submit(make_clip, spec, directory, ffmpeg) for spec in specs]
        try:
            for finished in as_completed(clips):
                yield finished.result()
        finally:
            pool.shutdown(cancel_futures=True)  # clips that have begun are finished, the others are not begun


def _start_worker() -> None:
    job_process.die_with_parent()
    cv2.setNumThreads(1)  # one clip per core


if __name__ == "__main__":
    job_process.main("synthesize", run, prepare)
