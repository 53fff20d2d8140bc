"""The ablation job: every variant on every seed as a Ray Tune trial, then the table that compares them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pipeline import storage
from pipeline.ablation.variants import Variant, list_variants
from pipeline.config import Config, UsageError, fingerprint
from pipeline.jobs.ray_session import start_ray
from pipeline.jobs.resources import Demand, require_resources
from pipeline.runtime import job_process
from pipeline.runtime.error_messages import message_of
from pipeline.runtime.progress import JobResult, Progress, emit

if TYPE_CHECKING:
    from pipeline.ablation.trial import Trial

MARKER = "ablation.json"
GPU_SHARE = 0.25  # of a trial: the models are small


def run(config: Config) -> JobResult:
    """Do the trials that are not done yet and write the comparison to `<root>/ablations/<name>-<fingerprint>/`.

    A trial's result lies at `<root>/ablations/trials/<fingerprint>.json` as soon as it ends, so that another attempt,
    or a larger grid, does only what is missing.

    Raises:
        UsageError: a base, gate or extra has no such name, the dataset cannot be learnt from, or there is no GPU as
            asked.
        RuntimeError: a trial failed; the others' results are kept.
    """
    from pipeline.ablation import report

    begin = perf_counter()
    rows = list_variants(config.ablate)
    trials = _trials(config, rows)
    digests = [trial.digest for trial in trials]
    uri = storage.join(config.storage.root, "ablations", f"{config.name}-{fingerprint(*digests)}")
    if storage.exists(storage.join(uri, MARKER)):
        return _result(uri, rows, trials, 0, perf_counter() - begin)
    results_uri = storage.join(config.storage.root, "ablations", "trials")
    missing = _missing_trials(results_uri, trials)
    if missing:
        _run_trials(config, results_uri, missing, len(trials))
    results = [json.loads(storage.read_bytes(_result_uri(results_uri, trial))) for trial in trials]
    report.publish(uri, config, rows, results, marker=MARKER)
    return _result(uri, rows, trials, len(missing), perf_counter() - begin)


def _trials(config: Config, rows: list[Variant]) -> list[Trial]:
    """Every variant on every seed, of the benchmark or of the dataset of features."""
    from pipeline.ablation.recordings import find_recordings
    from pipeline.ablation.trial import BENCHMARK_MODEL, Trial

    settings = config.ablate
    if settings.makes_features:
        raise UsageError(
            "ablate.data is source, but there are no features yet: give ablate.dataset, or use iaca ablate"
        )
    if settings.use_gpu:
        require_resources(Demand("ablate", 1, use_gpu=True))  # trials that find no free GPU wait for their turn
    found = find_recordings(config) if settings.dataset else None
    model = config.model if found else BENCHMARK_MODEL
    seeds = range(settings.first_seed, settings.first_seed + settings.num_seeds)
    device = "cuda" if config.ablate.use_gpu else "cpu"
    if found:
        print(f"features: {found.num_bytes / 1e6:.1f} MB of memory in each worker process", flush=True)
    return [Trial(row, seed, settings, model, found, device) for seed in seeds for row in rows]


def _missing_trials(results_uri: str, trials: list[Trial]) -> list[Trial]:
    finished = {file.uri.rsplit("/", 1)[-1] for file in storage.list_files(results_uri)}
    return [trial for trial in trials if f"{trial.digest}.json" not in finished]


def _result_uri(results_uri: str, trial: Trial) -> str:
    return storage.join(results_uri, f"{trial.digest}.json")


def _run_trials(config: Config, results_uri: str, trials: list[Trial], num_all: int) -> None:
    """Run the trials through Ray Tune, one CPU each, and with `ablate.use_gpu` a share of a GPU.

    Args:
        config: the experiment.
        results_uri: the folder of the trials' results.
        trials: those that are not finished.
        num_all: trials of the whole grid, for the progress.
    """
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    num_workers = config.ablate.num_workers or os.cpu_count() or 1
    start_ray(num_cpus=None if job_process.on_cluster() else num_workers)
    import ray
    from ray import tune

    progress = _progress_callback(num_all - len(trials), num_all)
    resources = {"cpu": 1.0, **({"gpu": GPU_SHARE} if config.ablate.use_gpu else {})}
    folder = tempfile.mkdtemp(prefix="iaca-tune-")  # for Tune's state, which is not needed again
    try:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(run_and_publish, results_uri=results_uri), resources),
            param_space={"trial": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=num_workers, reuse_actors=True, trial_dirname_creator=lambda t: t.trial_id
            ),
            run_config=tune.RunConfig(name="ablation", storage_path=folder, verbose=0, callbacks=[progress]),
        )
        outcome = tuner.fit()
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    if outcome.num_errors:
        raise RuntimeError(f"{outcome.num_errors} of {len(trials)} trials failed, first: {_first_error(outcome)}")


def run_and_publish(space: dict[str, Any], results_uri: str) -> None:
    """Run one trial on one thread, in a worker of Ray Tune, and publish its result."""
    import torch
    from ray import tune

    from pipeline.ablation.trial import run_trial

    torch.set_num_threads(1)
    result = run_trial(space["trial"])
    storage.publish_bytes(json.dumps(result).encode(), _result_uri(results_uri, space["trial"]))
    tune.report({"variant": result["variant"], "seed": result["seed"], "ccc": result["ccc"]["corrupted"]["mean"]})


def _progress_callback(num_done: int, num_all: int) -> Any:
    from ray.tune import Callback

    class ProgressCallback(Callback):
        """Reports each finished trial."""

        def __init__(self) -> None:
            self.num_done = num_done

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
            """Report one trial."""
            self.num_done += 1
            result = trial.last_result
            message = f"{result['variant']} seed {result['seed']}: CCC {result['ccc']:.3f} on corrupted data"
            emit(Progress("ablate", self.num_done, num_all, "trials", message))

    return ProgressCallback()


def _first_error(outcome: Any) -> str:
    return message_of(next(result.error for result in outcome if result.error))


def _result(uri: str, rows: list[Variant], trials: list[Trial], num_run: int, seconds: float) -> JobResult:
    counts: dict[str, float] = {"variants": len(rows), "trials": len(trials), "trained": num_run}
    if recordings := trials[0].recordings:
        counts["mb_per_worker"] = round(recordings.num_bytes / 1e6, 3)
    lines = tuple(storage.read_text(storage.join(uri, "table.md")).splitlines())
    return JobResult("ablate", uri, num_run == 0, seconds, counts, lines)


if __name__ == "__main__":
    job_process.main("ablate", run)
