"""Drawn talkers, end to end: what the reliability front is worth on clips that are corrupted without a mask.

Every model is trained on the same clips from crops and sound, with and without corruption in training, and evaluated on
the clips of people it has never seen, as they are and with spans that are missing, noisy or another clip's. Gains are
paired over seeds, each of which also corrupts the test clips anew.

    make bench BENCH_ARGS="-k corrupted_talkers --talkers 48 --seeds 3"
"""

import dataclasses
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path

import pytest
import torch

from pipeline import storage
from pipeline.config import Config, load
from pipeline.dataset.format.dataset_info import read_dataset
from pipeline.jobs import evaluate
from tests.support.fake_run import train_and_close

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]
IACA = Path(sys.executable).with_name("iaca")
CHANCE = 0.8  # of a corrupted span of one modality: per sequence in training, per segment in evaluation
# Clips without any flaw of their own, long enough for sequences of 16 steps.
TALKERS = {
    "synthesis": {"duration_s": 20.48, "corrupted_fraction": 0.0},
    "segments": {"num_frames": 256},
    "sequence": {"num_subclips": 16},
    "train": {"phases_per_segment": 4, "epochs": 20, "patience": 20},
}
MODELS = {
    "jca": {"base": "jca", "gate": "none", "num_recursions": 2},
    "jca+iaca": {"base": "jca", "gate": "iaca"},
    "jca+front": {"base": "jca", "gate": "none", "num_recursions": 2, "front": "reliability"},
    "jca+front+iaca": {"base": "jca", "gate": "iaca", "front": "reliability"},
}
WITHOUT_CORRUPTION = ("jca", "jca+front")  # trained on clean clips, too
KINDS = ("missing", "noisy", "swapped", "all")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One model, trained and evaluated."""

    root: str
    dataset_uri: str
    name: str
    chance: float  # of corruption in training
    seed: int

    def config(self) -> Config:
        train = {**TALKERS["train"], "corrupt_modality": self.chance, "seed": self.seed}
        sections = {**TALKERS, "storage": {"root": self.root}, "model": MODELS[self.name], "train": train}
        return load("demo", sections)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one trained model scores."""

    clean: float  # CCC, mean of valence and arousal, pooled
    corrupted: float
    detection: dict[str, dict[str, float | None]]  # of each verdict


def run_trial(trial: Trial) -> Measured:
    """Train and evaluate in this process, on one thread."""
    torch.set_num_threads(1)
    config, dataset = trial.config(), read_dataset(trial.dataset_uri)
    run_uri = train_and_close(config, dataset)
    clean, corrupted = (_metrics(config, run_uri, chance, trial.seed) for chance in (0.0, CHANCE))
    return Measured(clean["ccc"]["pooled"]["mean"], corrupted["ccc"]["pooled"]["mean"], corrupted["detection"])


def _metrics(config: Config, run_uri: str, chance: float, seed: int) -> dict:
    settings = dataclasses.replace(config.evaluate, run=run_uri, corrupt_modality=chance, corrupt_seed=seed)
    result = evaluate.run(config.model_copy(update={"evaluate": settings}))
    return json.loads(storage.read_text(storage.join(result.output_uri, "metrics.json")))


@pytest.fixture(scope="module")
def talkers(request, tmp_path_factory) -> tuple[str, str]:
    """The root and the dataset of drawn talkers; a root that is given keeps what is there already."""
    root = request.config.getoption("talkers_root") or str(tmp_path_factory.mktemp("talkers"))
    settings = {"storage": {"root": root}, "synthesis": {"num_identities": request.config.getoption("talkers")}}
    settings = {**TALKERS, **settings, "synthesis": {**TALKERS["synthesis"], **settings["synthesis"]}}
    settings["train"] = {**TALKERS["train"], "epochs": 1}
    words = [(f"--{section}.{name}", str(value)) for section in settings for name, value in settings[section].items()]
    done = subprocess.run([IACA, "demo", *chain(*words)], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return root, _newest(Path(root, "datasets"))


def _newest(folder: Path) -> str:
    return str(max(folder.iterdir(), key=lambda path: path.stat().st_mtime))


def test_corrupted_talkers(request, talkers, table):
    root, dataset_uri = talkers
    seeds = range(request.config.getoption("seeds"))
    kinds = [(name, CHANCE) for name in MODELS] + [(name, 0.0) for name in WITHOUT_CORRUPTION]
    trials = [Trial(root, dataset_uri, name, chance, seed) for seed in seeds for name, chance in kinds]
    trials.sort(key=lambda trial: -trial.chance)  # those of the comparison first
    num_processes = request.config.getoption("processes") or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn")) as processes:
        measured = dict(zip(trials, processes.map(run_trial, trials), strict=True))
    for name, chance in kinds:
        of_model = [measured[trial] for trial in trials if (trial.name, trial.chance) == (name, chance)]
        of_base = [measured[trial] for trial in trials if (trial.name, trial.chance) == ("jca", chance)]
        trained = f"trained with corruption {chance:g}"
        for data in ("corrupted", "clean"):
            values = [getattr(result, data) for result in of_model]
            pairs = zip(of_model, of_base, strict=True)
            gains = [getattr(ours, data) - getattr(theirs, data) for ours, theirs in pairs]
            table.add(f"{name}, {trained}: CCC, {data} talkers", _with_error(values), f"jca: {_with_error(gains, '+')}")
        for verdict in of_model[0].detection:
            found = [result.detection[verdict] for result in of_model]
            aurocs = ", ".join(f"{kind} {_mean(values[kind] for values in found)}" for kind in KINDS)
            gap = _mean(values["gap"] for values in found)
            table.add(f"{name}, {trained}: AUROC of {verdict}", aurocs, f"gap {gap}")
    learnt = [result.clean for trial, result in measured.items() if trial.chance == 0.0]
    assert min(learnt) > 0.5, "nothing was learnt, so nothing is compared"


def _mean(values: Iterable[float | None]) -> str:
    """Mean over the seeds on which it is defined: few test clips may lack a kind of corruption in one modality."""
    defined = [value for value in values if value is not None]
    return f"{statistics.fmean(defined):.2f}" if defined else "undefined"


def _with_error(values: list[float], sign: str = "") -> str:
    mean = format(statistics.fmean(values), f"{sign}.3f")
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"
