"""A dataset without labels is refused by both jobs that need them: every time with the same code and one line."""

import subprocess
import sys

import pytest

from pipeline.config import Config
from tests.support.fake_dataset import make_segment, write_dataset
from tests.support.fake_run import finished_run, small_config, small_dataset


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """The address of a configuration by the job that is to refuse it."""
    root = tmp_path_factory.mktemp("refusals")
    segments = {
        split: [make_segment(f"{split}{i}", split, seed=i, labelled=False) for i in range(2)]
        for split in ("train", "val", "test")
    }
    unlabelled = write_dataset(root / "unlabelled", small_config(), segments)
    run = finished_run(root, small_dataset(root / "labelled"))
    evaluate = Config.model_validate({"evaluate": {"run": run, "dataset": unlabelled.uri}})
    (root / "evaluate.json").write_text(evaluate.to_json())
    (root / "train.json").write_text(small_config(root, dataset=unlabelled.uri).to_json())
    return {kind: str(root / f"{kind}.json") for kind in ("train", "evaluate")}


@pytest.mark.parametrize("times", [10, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_dataset_without_labels_is_refused_alike_every_time(configs, kind, times):
    command = [sys.executable, "-m", f"pipeline.jobs.{kind}", configs[kind]]
    for attempt in range(times):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2, f"attempt {attempt}: {done.returncode}, {done.stdout}{done.stderr}"
        (line,) = done.stdout.splitlines()
        assert line.startswith("error: ")
        assert "has no labels" in line
        assert done.stderr == ""
