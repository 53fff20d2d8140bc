"""The wheel holds all that the program needs, and works from any folder without the repository."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from pipeline.config.run_files import run_file_names

ROOT = Path(__file__).parents[1]
PACKAGES = ("iaca_model", "pipeline", "flows")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built by the tools of this environment from a copy of the sources, so that nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in files.stdout.decode().split("\0"):
        source, target = ROOT / name, folder / "source" / name
        if name and (source.is_symlink() or source.is_file()):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(os.readlink(source)) if source.is_symlink() else target.write_bytes(source.read_bytes())
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "source")]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of a fresh environment with the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False)
    fresh = folder / "bin/python"
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(fresh), *install], check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(f"{ours}\n")
    return fresh


def run(*words, folder, code=0):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_holds_every_source_file_run_file_and_page(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    pages = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.html")}
    runs = {f"pipeline/config/runs/{name}.toml" for name in run_file_names()}
    assert len(runs) == len(list((ROOT / "infra/runs").glob("*.toml")))
    models = {f"pipeline/config/models/{path.name}" for path in (ROOT / "infra/models").glob("*.toml")}
    typed = {f"{package}/py.typed" for package in PACKAGES}
    assert not (sources | pages | runs | models | typed) - inside
    assert not [name for name in inside if name.startswith(("tests/", "examples/", "infra/"))]


def test_the_program_runs_from_another_folder(python, tmp_path):
    iaca = python.with_name("iaca")
    assert run(iaca, "--version", folder=tmp_path).strip() == "iaca 0.1.0"
    for name in run_file_names():
        config = json.loads(run(iaca, "config", "--config", name, folder=tmp_path))
        assert config["name"] == name
    where = run(python, "-c", "import pipeline; print(pipeline.__file__)", folder=tmp_path)
    assert str(python.parent.parent) in where, "the installed packages are used, not the repository's"


def test_the_demo_finds_its_run_file(python, tmp_path):
    message = run(python.with_name("iaca"), "demo", "--train.dataset", "x", folder=tmp_path, code=2)
    assert "iaca demo makes its own train.dataset" in message


def test_a_job_runs(python, tmp_path):
    few = ["--synthesis.num_identities", 1, "--synthesis.clips_per_identity", 1, "--synthesis.duration_s", 1]
    assert "1 clip of 1 synthetic person" in run(python.with_name("iaca"), "synthesize", *few, folder=tmp_path)
    assert len(list(tmp_path.glob("outputs/sources/*/videos/*.mp4"))) == 1


def test_pages_are_rendered(python, tmp_path):
    program = """
from pathlib import Path
import pipeline.dataset.report.quality as quality, pipeline.reports.page as page
from pipeline.config import Config
from pipeline.dataset.format.dataset_info import DatasetInfo
template = Path(quality.__file__).with_name("quality.html")
assert template.exists() and page.FRAME.exists()
info = DatasetInfo("name", "/datasets/name", "digest", Config(), {}, (), {})
print(quality.quality_page(info, [], [], []))
"""
    assert run(python, "-c", program, folder=tmp_path).lstrip().lower().startswith("<!doctype html>")
