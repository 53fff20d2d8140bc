from pathlib import Path

import pytest

from pipeline.config import UsageError, load
from pipeline.config.run_files import run_file, run_file_names

RUNS = Path(__file__).parents[3] / "infra/runs"


def test_those_of_the_repository_come_with_the_program():
    assert run_file_names() == sorted(path.stem for path in RUNS.glob("*.toml"))
    for name in run_file_names():
        assert run_file(name).read_bytes() == (RUNS / f"{name}.toml").read_bytes()


def test_a_name_is_found_from_any_folder_and_a_path_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("demo").name == "demo"
    for path in ("demo.toml", "runs/demo", Path("/etc/demo.toml"), tmp_path / "own.toml"):
        assert run_file(path) == Path(path)
    (tmp_path / "own.toml").write_text('name = "own"')
    assert load("own.toml").name == "own"


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(UsageError, match=r"demonstration\.toml does not exist; by name alone there are .*demo, recola"):
        load("demonstration")
