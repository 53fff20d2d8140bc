"""The documentation keeps its word: generated parts are current, links lead somewhere, and its programs run."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest

from flows.cli.commands import COMMANDS
from iaca_model.config import PRESETS
from pipeline.config import FORMAT_VERSION, Config
from pipeline.config.run_files import run_file, run_file_names
from pipeline.config.settings import all_settings
from pipeline.dataset.format.samples import FEATURE_MEMBERS, MEMBERS
from pipeline.records import ANNOTATION_DTYPE, FRAME_DTYPE, Reason
from tests.support.fake_run import small_dataset
from tests.support.file_list import file_list
from tests.support.generated_pages import PAGES, up_to_date

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [README, ROOT / "CONTRIBUTING.md", *DOCS]
MAX_README_LINES = 200


@pytest.mark.parametrize("name", PAGES)
def test_generated_parts_are_up_to_date(name):
    assert (ROOT / name).read_text() == up_to_date(name), f"{name} is stale; run `make pages`"


def test_every_source_file_is_listed_with_its_own_sentence():
    for path in (ROOT / "pipeline").rglob("*.py"):
        if path.stem != "__init__":
            assert f"| `{path.name}` |" in file_list()


def test_the_dataset_page_describes_the_version_that_is_written():
    assert f"| `format_version` | {FORMAT_VERSION}, " in (ROOT / "docs" / "dataset-format.md").read_text()


def test_every_reason_of_a_rejection_is_described():
    reasons = (ROOT / "docs" / "dataset-format.md").read_text().partition("### Reasons")[2].partition("###")[0]
    assert set(re.findall(r"^\| `(\w+)`", reasons, re.MULTILINE)) == set(get_args(Reason))


def test_readme_is_one_page():
    assert README.read_text().count("\n") <= MAX_README_LINES


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_and_pictures_are_there(path):
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if not target.startswith("http"):
            name = target.partition("#")[0]
            assert (path.parent / name).exists() or not name, f"{path.name} links to {target}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_settings_and_commands_that_are_named_exist(path):
    text = path.read_text()
    for section, field in re.findall(r"--(?!section)([a-z]+)\.(?:no_)?([a-z_0-9]+)", text):
        assert section in Config.model_fields, f"{path.name}: --{section}.{field}"
        assert hasattr(getattr(Config(), section), field), f"{path.name}: --{section}.{field}"
    for command in re.findall(r"(?:^|`|bin/)iaca ([a-z][a-z-]*)\b", text, re.MULTILINE):
        assert command in COMMANDS, f"{path.name}: iaca {command}"
    for name in re.findall(r"--config ([a-z_0-9]+)\b(?![./])", text):
        assert run_file(name).exists(), f"{path.name}: --config {name}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_source_files_that_are_named_exist(path):
    for name in re.findall(r"`((?:iaca_model|pipeline|flows|tests|infra|examples)/[\w./]*)`", path.read_text()):
        assert (ROOT / name).exists(), f"{path.name} names {name}"
    for name in re.findall(r"`((?:dataset|jobs|media|storage|training|evaluation)/[\w./]*)`", path.read_text()):
        assert path.name != "architecture.md" or (ROOT / "pipeline" / name).exists(), f"{path.name} names {name}"


def messages_of(package):
    """Every text in the program, those with values as they are written with "…" for each value."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_of_the_troubleshooting_page_is_one_of_the_program():
    program = "\n".join(text for package in ("flows", "pipeline") for text in messages_of(package))
    text, _, _ = (ROOT / "docs/troubleshooting.md").read_text().partition("## Results that look wrong")
    quoted = [
        span for cell in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE) for span in re.findall("`([^`]+)`", cell)
    ]
    assert len(quoted) > 25
    assert [span for span in quoted if not re.search(".*".join(map(re.escape, span.split("…"))), program)] == []


def test_every_setting_has_a_description():
    assert not [name for name, setting in all_settings().items() if not setting.description]


def test_every_run_file_and_preset_is_documented():
    configuration, models = (ROOT / f"docs/{name}.md" for name in ("configuration", "model-family"))
    assert [name for name in run_file_names() if f"| `{name}` |" not in configuration.read_text()] == []
    assert [name for name in PRESETS if f"`{name}`" not in models.read_text()] == []


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "dataset"
    small_dataset(folder)
    return folder


@pytest.mark.parametrize("name", ["index.parquet", "videos.parquet"])
def test_the_format_page_has_every_column(dataset, name):
    schema = pq.read_schema(dataset / name)
    types = {field.name: str(field.type).partition("<")[0] for field in schema}
    assert documented(f"## `{name}`") == types
    for column in ("faces", "gaps"):
        if column in schema.names:
            entry = {field.name: str(field.type) for field in schema.field(column).type.value_type}
            assert documented(f"An entry of `{column}`") == entry


def test_the_format_page_has_every_member_and_field():
    members = {name: text for name, text in cells("## A sample") if "." in name}
    assert tuple(members) == MEMBERS
    assert [name for name in FEATURE_MEMBERS if f"`{name}`" not in format_page()] == []
    frames = [name for name, _ in cells("### `frames.npy`")]
    assert frames == list(FRAME_DTYPE.names)
    assert [name for name in ANNOTATION_DTYPE.names if f"`{name}`" not in format_page()] == []


def test_the_plain_webdataset_program_runs(dataset):
    program, _ = re.findall(r"```python\n(.*?)```", format_page(), re.DOTALL)
    assert program.count("\n") <= 20
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=dataset, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    samples = pq.read_table(dataset / "index.parquet", filters=[("shard", "=", "train-00000.tar")])
    assert len(done.stdout.splitlines()) == samples.num_rows
    assert "32 frames, 32 faces, mel (" in done.stdout.splitlines()[0]


def test_the_fusion_program_runs():
    program, _ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/model-family.md").read_text(), re.DOTALL)
    *lines, shapes = program.splitlines()
    values, _, comment = shapes.partition("  # ")
    scope = {}
    exec("\n".join(lines), scope)
    assert [str(tuple(shape)) for shape in eval(values, scope)] == comment.split(" and ")


def test_the_site_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "properdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").glob("*.html"))
    assert len(pages) > len(DOCS)
    loaded = {url for page in pages for url in re.findall(r'(?:src|<link[^>]*href)="(https?:[^"]*)"', page.read_text())}
    assert not loaded, f"pages load from other servers: {loaded}"


def format_page():
    return (ROOT / "docs/dataset-format.md").read_text()


def cells(heading):
    """The first two cells of each row of the first table after a heading, without backquotes."""
    table = []
    for line in format_page().partition(heading)[2].splitlines():
        if line.startswith("|"):
            table.append([cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:3]])
        elif table:
            break
    return [tuple(row) for row in table[2:]]


def documented(heading):
    return dict(cells(heading))
