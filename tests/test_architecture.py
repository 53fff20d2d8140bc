"""The unwritten rules, written: sizes, names and words, and what the import contracts of pyproject cannot say."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("iaca_model", "pipeline", "flows")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
BANNED_NAMES = {"utils", "helpers", "common", "manager", "base"}
HEAVY = {"ray", "torch", "cv2", "webdataset", "av", "ffmpeg"}  # Prefect's decorators stand at the top of flows
SIBLINGS = {"__init__", "report"}  # stems that rooms of one package may share: siblings of one kind

# Words that docs/glossary.md replaces by the field's. Those are left out that are the field's in another sense:
# identity (of a talker), patience (of training), hidden (of layers), silence (of sound), items, found, kept, left.
BANNED_WORDS = {
    *("look", "looks", "looked", "facts", "recall", "forget", "settled", "seen", "stretch", "stretches", "joiner"),
    *("spool", "apart", "away", "making", "renewal", "given", "answers", "ask", "poison", "deaths", "lineage"),
    *("visit", "visits", "thinned", "spoilt", "spoil", "ill", "lesson", "taught", "teach", "material"),
    *("place", "places", "note", "notes", "tell", "told", "say", "says", "said", "words", "refuse", "precise"),
    *("whose", "whoever", "somebody", "nobody", "wanted"),
}
BANNED_CLASSES = {"Memory", "Fit", "Plan"}
ALLOWED_IN_TESTS = {"given", "words"}  # the decorator of hypothesis; the words of a command line or a message


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions_of(path: Path):
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports_of(nodes) -> dict[str, str]:
    """What these nodes import, by the name that it has in the file."""
    names = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package_of(name: str) -> str:
    return name.partition(".")[0]


def is_module(name: str) -> bool:
    """Whether an imported name is a module: of ours where there is such a file, of others without a dot."""
    path = ROOT.joinpath(*name.split("."))
    return (path.is_dir() or path.with_suffix(".py").is_file()) if package_of(name) in PACKAGES else "." not in name


BROKEN_IMPORTS = {  # a file, an import that it must not have, terms of the name of the contract that forbids it
    "iaca_model/fusion.py": ("import pipeline.storage", "flows -> pipeline -> iaca_model"),
    "iaca_model/layers.py": ("import cv2", "The network needs torch"),
    "iaca_model/config.py": ("import torch", "The network's configuration needs no torch"),
    "pipeline/records/rows.py": ("import iaca_model.fusion", "The network itself is for training"),
    "pipeline/reports/page.py": ("import torch", "torch is for training"),
    "pipeline/training/trainer.py": ("import ray", "Ray is for jobs"),
    "pipeline/dataset/format/tables.py": ("import s3fs", "There is one door to storage"),
    "pipeline/jobs/train.py": ("import prefect", "The pipeline does not know its callers"),
    "pipeline/media/decode.py": ("import pipeline.config", "Media knows records"),
    "pipeline/media/limits.py": ("import pydantic", "Media takes plain arguments"),
    "flows/train.py": ("import pipeline.jobs.train", "Flows know the pipeline by"),
    "flows/evaluate.py": ("import torch", "Flows run no media and no network"),
    "pipeline/dataset/format/samples.py": ("import pipeline.dataset.build.merge", "Rooms of a dataset"),
    "pipeline/training/sampler.py": ("import pipeline.evaluation.scores", "Rooms of the pipeline"),
}


def test_the_import_contracts_fail_on_a_forbidden_import(tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, (statement, _) in BROKEN_IMPORTS.items():
        with (tmp_path / name).open("a") as file:
            file.write(f"\n{statement}\n")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    output = " ".join(result.stdout.split())
    broken = {words for _, words in BROKEN_IMPORTS.values() if re.search(rf"{re.escape(words)}[^.]*? BROKEN", output)}
    assert broken == {words for _, words in BROKEN_IMPORTS.values()}, result.stdout
    assert "0 kept" in output


def test_flows_import_heavy_packages_late():
    eager = {
        module_of(path): heavy
        for path in SOURCES
        if path.is_relative_to(ROOT / "flows")
        if (heavy := {package_of(name) for name in imports_of(tree_of(path).body).values()} & HEAVY)
    }
    assert not eager


def test_flows_know_the_jobs_api_of_ray_and_nothing_else_of_it():
    names = {
        name
        for path in SOURCES
        if path.is_relative_to(ROOT / "flows")
        for name in imports_of(ast.walk(tree_of(path))).values()
        if package_of(name) == "ray"
    }
    assert names == {
        "ray.job_submission.JobSubmissionClient",
        "ray.dashboard.modules.job.pydantic_models.JobDetails",
    }


def test_every_package_of_storage_is_behind_its_door():
    """The contract of pyproject sees only packages that something imports."""
    for path in SOURCES:
        if not path.is_relative_to(ROOT / "pipeline/storage"):
            names = {package_of(name) for name in imports_of(ast.walk(tree_of(path))).values()}
            assert not names & {"fsspec", "s3fs", "boto3", "botocore", "aiobotocore"}, module_of(path)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_files_and_functions_stay_short(path):
    lines = path.read_text().count("\n")
    assert lines <= MAX_FILE_LINES, f"{module_of(path)} has {lines} lines; split it"
    for function in functions_of(path):
        length = function.end_lineno - function.lineno + 1
        assert length <= MAX_FUNCTION_LINES, f"{module_of(path)}.{function.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_files_open_with_one_sentence(path):
    docstring = ast.get_docstring(tree_of(path))
    assert docstring, f"{module_of(path)} has no docstring"
    assert docstring.splitlines()[0].endswith("."), f"{module_of(path)}: {docstring.splitlines()[0]!r}"
    assert path.stem not in BANNED_NAMES


def names_in(path: Path) -> set[str]:
    """The module's stem and every name in it but attributes, which may be those of other libraries (`file.tell`)."""
    names = {path.stem}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.arg):
            names.add(node.arg)
        if isinstance(node, ast.Name):
            names.add(node.id)
    return names


def terms_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=module_of)
def test_names_use_the_terms_of_the_field(path):
    allowed = set() if path in SOURCES else ALLOWED_IN_TESTS
    banned = sorted(
        name for name in names_in(path) if terms_of(name) & BANNED_WORDS - allowed or name in BANNED_CLASSES
    )
    assert not banned, "docs/glossary.md has the words to use"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_called_like_another_of_its_package(package):
    files = defaultdict(list)
    for path in (ROOT / package).rglob("*.py"):
        files[path.stem].append(module_of(path))
    assert not {stem: names for stem, names in files.items() if len(names) > 1 and stem not in SIBLINGS}


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_variable_shadows_an_imported_module(path):
    nodes = list(ast.walk(tree_of(path)))
    modules = {name for name, imported in imports_of(nodes).items() if is_module(imported)}
    variables = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    variables |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    shadowed = sorted(modules & variables)
    assert not shadowed


def test_broad_except_stands_only_at_the_per_video_boundary():
    modules = []
    for path in SOURCES:
        handlers = (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ExceptHandler))
        for handler in handlers:
            names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)} if handler.type else {"bare"}
            last = handler.body[-1]
            raises_it_again = isinstance(last, ast.Raise) and last.exc is None
            if names & {"Exception", "BaseException", "bare"} and not raises_it_again:
                modules.append(module_of(path))
    assert len(modules) == 1, modules
    assert modules[0].startswith("pipeline.dataset.") or modules == ["pipeline.jobs.workers.shard_builder"], modules


def test_no_mocks():
    texts = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)}
    assert not [path for path, text in texts.items() if "unittest.mock" in text]
