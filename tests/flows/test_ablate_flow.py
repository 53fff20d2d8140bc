"""The ablate flow with fake jobs: what it makes first, and what it needs."""

import json

import pytest

from pipeline.config import load
from pipeline.config.dataset_sections import PreprocessConfig
from tests.support.processes import iaca

WEIGHTS = {"video": "/v.safetensors", "audio": "/a.safetensors"}


@pytest.fixture
def config(tmp_path):
    sections = {"storage": {"root": str(tmp_path)}, "source": {"videos": str(tmp_path)}, "weights": WEIGHTS}
    return load(None, {"name": "fake", **sections, "ablate": {"data": "source"}})


def job(tmp_path, kind):
    (path,) = tmp_path.glob(f"jobs/{kind}-*/config.json")
    return json.loads(path.read_text())


def test_features_of_the_source_are_made_first(fake_jobs, config, tmp_path):
    from flows.ablate import ablate

    assert [result.kind for result in ablate(config)] == ["preprocess", "extract", "ablate"]
    assert job(tmp_path, "extract")["extract"]["dataset"] == str(tmp_path / "preprocess")
    assert job(tmp_path, "ablate")["ablate"]["dataset"] == str(tmp_path / "extract")


def test_a_dry_run_stops_at_the_plan(fake_jobs, config):
    from flows.ablate import ablate

    dry = config.model_copy(update={"preprocess": PreprocessConfig(dry_run=True)})
    assert [result.kind for result in ablate(dry)] == ["preprocess"]


@pytest.mark.parametrize("changes", [{"data": "benchmark"}, {"data": "source", "dataset": "/features"}])
def test_nothing_is_made_where_nothing_is_missing(fake_jobs, config, changes):
    from flows.ablate import ablate

    ready = load(None, {"storage": {"root": config.storage.root}, "ablate": changes})
    assert [result.kind for result in ablate(ready)] == ["ablate"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "iaca ablate needs --source.videos URI"),
        (["--source.videos", "."], "iaca ablate needs --weights.video URI"),
        (["--source.videos", ".", "--extract.run", "r"], "extract.run {}/r does not exist"),
        (["--source.videos", ".", "--extract.run", ".", "--extract.dataset", "d"], "makes its own extract.dataset"),
        (["--source.videos", ".", "--extract.run", ".", "--segments.num_frames", "64"], "must equal"),
        (["--dataset", "d"], "ablate.dataset"),
        (["--dataset", "d", "--dry-run"], "iaca ablate has no plan to print"),
    ],
)
def test_what_it_needs_is_reported_at_once(words, message, tmp_path):
    result = iaca("ablate", "--ablate.data", "source", *words, cwd=tmp_path)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert message.format(tmp_path) in result.stderr
