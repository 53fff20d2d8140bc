"""The demo's promises: it learns, each modality alone is worth something, and permuted labels teach nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.runtime.progress import result_from_json

ROOT = Path(__file__).parents[1]
RUN_FILE = ROOT / "infra/runs/demo.toml"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def run_demo(root: Path, *arguments: str) -> dict[str, dict]:
    """Run `iaca demo` and return its three metrics.json by what was hidden."""
    program = [str(Path(sys.executable).with_name("iaca")), "demo", "--config", str(RUN_FILE)]
    subprocess.run([*program, "--storage.root", str(root), *arguments], check=True, cwd=ROOT)
    metrics = [json.loads(path.read_text()) for path in root.glob("evaluations/*/*/metrics.json")]
    assert len(metrics) == 3
    return {each["masked_modality"]: each for each in metrics}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Path, dict[str, dict]]:
    root = tmp_path_factory.mktemp("demo")
    return root, run_demo(root)


def test_it_predicts_people_who_are_not_in_its_training_set(demo):
    assert demo[1]["none"]["ccc"]["pooled"]["mean"] >= 0.5


@pytest.mark.parametrize("hidden", ["video", "audio"])
def test_each_modality_alone_is_worth_something(demo, hidden):
    assert demo[1][hidden]["ccc"]["pooled"]["mean"] >= 0.25


def test_the_test_people_are_in_no_other_split(demo):
    (videos,) = demo[0].glob("datasets/*/videos.parquet")
    rows = pq.read_table(videos, columns=["group", "split"]).to_pylist()
    groups = {split: {row["group"] for row in rows if row["split"] == split} for split in ("train", "val", "test")}
    assert len(groups["test"]) >= 4
    assert not groups["test"] & (groups["train"] | groups["val"])


def test_running_it_again_computes_nothing(demo):
    root, before = demo
    stamps = {
        path: path.stat().st_mtime_ns
        for name in ("datasets", "runs", "evaluations")
        for path in root.rglob(f"{name}/**/*")
    }
    assert run_demo(root) == before
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    results = [result_from_json(path.read_bytes()) for path in root.glob("jobs/*/result.json")]
    assert len(results) >= 6
    assert all(result.skipped for result in results)


def test_nothing_is_learnt_from_permuted_labels(tmp_path, demo):
    """Trained on other clips' labels, and measured against the true ones, it stays below .15.

    The permuted run's weights are evaluated on the demo's own dataset, whose labels are right.
    """
    run_demo(tmp_path, "--synthesis.permute_labels", "true")
    (run,) = (tmp_path / "runs").iterdir()
    (dataset,) = (demo[0] / "datasets").iterdir()
    (own,) = [
        json.loads(p.read_text())
        for p in tmp_path.glob("evaluations/*/*/metrics.json")
        if '"masked_modality": "none"' in p.read_text()
    ]
    assert own["ccc"]["pooled"]["mean"] < 0.15
    program = [str(Path(sys.executable).with_name("iaca")), "evaluate", "--run", str(run), "--dataset", str(dataset)]
    subprocess.run([*program, "--storage.root", str(tmp_path / "true")], check=True, cwd=ROOT)
    (measured,) = (tmp_path / "true").glob("evaluations/*/*/metrics.json")
    assert json.loads(measured.read_text())["ccc"]["pooled"]["mean"] < 0.15
