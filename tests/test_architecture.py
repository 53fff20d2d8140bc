"""The unwritten rules, written: who may import whom, and how long files are."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("iaca_model", "pipeline", "flows")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PIPELINE_WITH_MODEL = ("pipeline.training", "pipeline.evaluation", "pipeline.ablation", "pipeline.jobs")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
BANNED_NAMES = {"utils", "helpers", "common", "manager", "base"}
HEAVY = {"ray", "torch", "cv2", "prefect", "webdataset", "av", "ffmpeg"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def forbidden(module: str, name: str) -> str | None:
    """Why `module` may not import `name`, or None when it may."""
    if within(name, "flows") and not within(module, "flows"):
        return "nothing imports flows"
    if within(module, "iaca_model"):
        return _forbidden_in_model(module, name)
    if within(module, "pipeline"):
        return _forbidden_in_pipeline(module, name)
    return _forbidden_in_flows(name)


def _forbidden_in_model(module: str, name: str) -> str | None:
    if module == "iaca_model.config" and within(name, "torch"):
        return "the model's configuration is free of torch"
    foreign = ("pipeline", "ray", "prefect", "webdataset", "fsspec", "s3fs", "cv2", "pydantic", "numpy", "pyarrow")
    return "iaca_model knows tensors only" if within(name, *foreign) else None


def _forbidden_in_pipeline(module: str, name: str) -> str | None:
    if within(name, "prefect", "tyro", "rich"):
        return "the pipeline does not know who calls it"
    if within(name, "ray") and not within(module, "pipeline.jobs"):
        return "ray is for jobs"
    if within(name, "fsspec", "s3fs", "boto3", "botocore") and not within(module, "pipeline.storage"):
        return "there is one door to storage"
    if within(name, "torch") and not within(module, *PIPELINE_WITH_MODEL):
        return "torch is for training, evaluation, ablation and jobs"
    if within(name, "iaca_model") and not within(name, "iaca_model.config") and name != "iaca_model":
        return None if within(module, *PIPELINE_WITH_MODEL) else "only the model's configuration is known here"
    if within(module, "pipeline.media"):
        inside = within(name, "pipeline.media", "pipeline.records")
        foreign = ("pipeline", "iaca_model", "torch", "webdataset", "pydantic")
        return "media takes plain arguments and returns records" if within(name, *foreign) and not inside else None
    return None


def _forbidden_in_flows(name: str) -> str | None:
    if within(name, "torch", "cv2", "ray.data", "ray.train", "webdataset", "fsspec", "s3fs", "av", "ffmpeg"):
        return "flows never run media or torch in their own process"
    allowed = (
        "pipeline.config",
        "pipeline.config.sections",
        "pipeline.records",
        "pipeline.storage",
        "pipeline.runtime.progress",
    )
    if within(name, "pipeline") and name != "pipeline" and not within(name, *allowed):
        return "flows know the pipeline by its configuration, its records and its storage"
    if within(name, "iaca_model"):
        return "flows know the model by the configuration alone"
    return None


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_follow_the_arrows(path):
    module = module_of(path)
    broken = [f"{name}: {why}" for name in sorted(imports_of(path)) if (why := forbidden(module, name))]
    assert not broken, f"{module} imports {broken}"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("iaca_model.fusion", "ray"),
        ("iaca_model.config", "torch.nn"),
        ("pipeline.media.decode", "pipeline.config"),
        ("pipeline.dataset.format.shards", "s3fs"),
        ("pipeline.dataset.plan.shard_plan", "ray.data"),
        ("pipeline.dataset.plan.shard_plan", "iaca_model.fusion"),
        ("pipeline.jobs.train", "flows.cli.main"),
        ("flows.cli.main", "pipeline.jobs.train"),
        ("flows.cluster_job", "ray.train"),
    ],
)
def test_the_arrows_refuse(module, name):
    assert forbidden(module, name)


def test_flows_import_heavy_packages_late():
    eager = {}
    for path in sorted((ROOT / "flows").rglob("*.py")):
        tree = ast.parse(path.read_text())
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in top if isinstance(node, ast.ImportFrom) and node.module}
        eager[module_of(path)] = {name for name in names if within(name, *HEAVY - {"prefect"})}
    assert not any(eager.values()), eager


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_files_and_functions_stay_short(path):
    lines = path.read_text().count("\n")
    assert lines <= MAX_FILE_LINES, f"{module_of(path)} has {lines} lines; split it"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{module_of(path)}.{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_files_open_with_one_sentence(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{module_of(path)} has no docstring"
    assert docstring.splitlines()[0].endswith("."), f"{module_of(path)}: {docstring.splitlines()[0]!r}"
    assert path.stem not in BANNED_NAMES


def test_broad_except_stands_only_at_the_per_video_boundary():
    places = []
    for path in SOURCES:
        handlers = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ExceptHandler))
        for handler in handlers:
            names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)} if handler.type else {"bare"}
            last = handler.body[-1]
            cleans_up_and_travels_on = isinstance(last, ast.Raise) and last.exc is None
            if names & {"Exception", "BaseException", "bare"} and not cleans_up_and_travels_on:
                places.append(module_of(path))
    assert len(places) == 1, places
    assert places[0].startswith("pipeline.dataset.") or places == ["pipeline.jobs.workers.shard_builder"], places


def test_no_mocks():
    texts = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)}
    assert not [path for path, text in texts.items() if "unittest.mock" in text]
