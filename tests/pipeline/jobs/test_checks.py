"""Checks of jobs: what is complete or refused is found in a process that loads neither Ray nor torch."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.jobs import evaluate
from tests.support.fake_dataset import make_segment, write_dataset
from tests.support.fake_run import evaluation_config, finished_run, small_config, small_dataset

CHECK = """
import runpy, sys
sys.argv[1:] = ["--check", sys.argv[2]]
try:
    runpy.run_module("pipeline.jobs." + {kind!r}, run_name="__main__")
finally:
    print("loaded:", *{{"ray", "torch", "prefect"}} & set(sys.modules))
"""


def check(kind, config, folder):
    """The exit code of a check and what it printed; neither Ray nor torch may have been loaded for it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config.to_json())
    command = [sys.executable, "-c", CHECK.format(kind=kind), "--check", str(folder / "config.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    *lines, loaded = done.stdout.splitlines()
    assert (loaded, done.stderr) == ("loaded:", "")
    assert (folder / "result.json").exists() == (done.returncode == 0)
    return done.returncode, "\n".join(lines)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "talkers")


@pytest.fixture(scope="module")
def run_uri(tmp_path_factory, dataset):
    return finished_run(tmp_path_factory.mktemp("root"), dataset)


def extraction_of(run_uri, root, dataset):
    config = small_config(root)
    extract = dataclasses.replace(config.extract, run=run_uri, dataset=dataset.uri)
    return config.model_copy(update={"extract": extract})


def test_training(dataset, run_uri, tmp_path):
    root = Path(run_uri).parents[1]
    assert check("train", small_config(root, dataset=dataset.uri), tmp_path) == (0, "")
    assert check("train", small_config(tmp_path / "new", dataset=dataset.uri), tmp_path / "job") == (4, "")
    assert not (tmp_path / "new").exists()
    unlabelled = {split: [make_segment(split, split, labelled=False)] for split in ("train", "val")}
    uri = write_dataset(tmp_path / "unlabelled", small_config(), unlabelled).uri
    code, output = check("train", small_config(tmp_path / "new", dataset=uri), tmp_path / "job")
    assert (code, "has no labels" in output) == (2, True)


def test_evaluation(dataset, run_uri, tmp_path):
    config = evaluation_config(run_uri, tmp_path / "root")
    assert check("evaluate", config, tmp_path / "job") == (4, "")
    assert not (tmp_path / "root").exists()
    evaluate.run(config)
    assert check("evaluate", config, tmp_path / "job") == (0, "")
    without_test = small_dataset(tmp_path / "without", test=0)
    code, output = check(
        "evaluate", evaluation_config(run_uri, tmp_path, dataset=without_test.uri), tmp_path / "refused"
    )
    assert (code, output.startswith("error: ")) == (2, True)


def test_extraction(dataset, run_uri, tmp_path):
    assert check("extract", extraction_of(run_uri, tmp_path / "root", dataset), tmp_path / "job") == (4, "")
    assert not (tmp_path / "root").exists()
    code, _ = check("extract", extraction_of(str(tmp_path), tmp_path / "root", dataset), tmp_path / "job")
    assert code == 2


def test_preprocessing_and_synthesis(tmp_path):
    (tmp_path / "videos").mkdir()
    config = small_config(tmp_path / "root")
    config = config.model_copy(update={"source": dataclasses.replace(config.source, videos=str(tmp_path / "videos"))})
    code, output = check("preprocess", config, tmp_path / "job")
    assert (code, "no video under source.videos" in output) == (2, True)
    (tmp_path / "videos/a.mp4").write_bytes(b"no video")
    assert check("preprocess", config, tmp_path / "job") == (4, "")
    assert check("synthesize", config, tmp_path / "job") == (4, "")
