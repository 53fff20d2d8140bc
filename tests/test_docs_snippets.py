"""Every snippet of the documentation works: Python blocks run, command lines are what the program accepts.

The blocks of a page run in their order, in one namespace, in the folder of a small dataset.
"""

from __future__ import annotations

import io
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

from flows.cli import preflight
from flows.cli.arguments import parse
from flows.cli.commands import COMMANDS, command_for
from pipeline.config import load
from tests.support.doc_blocks import arguments, blocks, commands
from tests.support.fake_features import small_features
from tests.support.fake_run import finished_run, small_dataset

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CARDS = ("crops", "features")

# What is not run, with the reason; by the page and a line of the block, or by the command line.
NOT_RUN = {
    (
        "architecture.md",
        'job_process.main("<command>", run, prepare)',
    ): "the foot of a new file, with a name to fill in",
}
NOT_PARSED = {
    "iaca train --dataset": "the name of an option",
}
HELP = {"-h", "--help"}  # answered before the arguments are read


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset, a run and a dataset of features below one root, beside a folder of videos and a run file."""
    root = tmp_path_factory.mktemp("snippets")
    dataset = small_dataset(root / "dataset")
    (root / "run").symlink_to(finished_run(root, dataset))
    small_features(root / "features")
    (root / "videos").mkdir()
    (root / "run_file.toml").write_text('name = "interviews"\n')
    (root / "my_run.toml").write_text(f'[source]\nvideos = "{root}/videos"\n')
    return root


def with_addresses(code, folder):
    """The code with the addresses of real outputs in place of those that end in `...`."""
    code = re.sub(r"outputs/runs/\w+-\.\.\.", str(folder / "run"), code)
    return re.sub(r"outputs/datasets/\w+-\.\.\.", str(folder / "dataset"), code)


def run_python_blocks(name, text, folder):
    """Run those of one page and return how many there are."""
    namespace = {"__name__": "snippet"}
    num_run = 0
    for block in blocks(text):
        marks = [mark for mark in NOT_RUN if mark[0] == name and mark[1] in block.code]
        if block.language == "python" and not marks:
            code = "\n" * (block.line_number - 1) + with_addresses(block.code, folder)
            exec(compile(code, name, "exec"), namespace)  # a traceback has the line of the page
            num_run += 1
    return num_run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, folder, monkeypatch):
    monkeypatch.chdir(folder / "dataset")
    run_python_blocks(page.name, page.read_text(), folder)


@pytest.mark.parametrize("kind", CARDS)
def test_the_python_of_a_dataset_card_runs(kind, folder, monkeypatch, capsys):
    dataset = folder / ("dataset" if kind == "crops" else kind)
    monkeypatch.chdir(dataset)
    assert run_python_blocks(kind, (dataset / "README.md").read_text(), folder) >= 1
    assert kind == "features" or "train0" in capsys.readouterr().out


def test_there_are_snippets_and_the_marked_ones_exist():
    python = [block.code for page in PAGES for block in blocks(page.read_text()) if block.language == "python"]
    assert len(python) >= 4
    for page, line in NOT_RUN:
        assert any(line in block.code for block in blocks((ROOT / "docs" / page).read_text())), f"{page}: {line}"
    assert {command for page in PAGES for command in commands(page.read_text())} >= {*NOT_PARSED}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_run_files_of_a_page_are_accepted(page, tmp_path):
    for block in blocks(page.read_text()):
        if block.language == "toml":
            (tmp_path / "run_file.toml").write_text(block.code)
            load(str(tmp_path / "run_file.toml"), {})


def test_a_plain_data_loader_reads_what_the_dataset_page_decodes_and_nothing_that_webdataset_decodes_by_itself(folder):
    from torch.utils.data import DataLoader
    from webdataset import WebDataset

    text = (ROOT / "docs/dataset-format.md").read_text()
    (program,) = (block.code for block in blocks(text) if "def to_tensors" in block.code)
    namespace = {"__name__": "snippet"}
    exec(program.partition("\nsamples = ")[0], namespace)
    shard = WebDataset(str(folder / "dataset/shards/train-00000.tar"), shardshuffle=False)
    plain = list(shard)
    decoded = list(DataLoader(shard.decode(namespace["to_tensors"]), batch_size=None))
    assert [sample["__key__"] for sample in decoded] == [sample["__key__"] for sample in plain]
    for sample, members in zip(decoded, plain, strict=True):
        frames = np.load(io.BytesIO(members["frames.npy"]))
        for name in frames.dtype.names:
            assert np.array_equal(sample["frames.npy"][name].numpy(), frames[name], equal_nan=name == "box")
        assert np.array_equal(sample["mel.npy"].numpy(), np.load(io.BytesIO(members["mel.npy"])))
        assert sample["faces.mjpeg"] == members["faces.mjpeg"]
        assert sample["meta.json"]["split"] == "train"
    with pytest.raises(TypeError, match=r"can't convert np\.ndarray of type numpy\.void"):
        next(iter(DataLoader(shard.decode(), batch_size=None)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_command_lines_of_a_page_are_accepted(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for command in commands(page.read_text()):
        if command not in NOT_PARSED:
            check(filled_in(command, folder))


def check(command_line):
    """Refuse what `iaca` would refuse before it starts anything."""
    name, *options = arguments(command_line)
    assert name in COMMANDS, f"{command_line}: there is no command {name}"
    if not COMMANDS[name].takes_settings:
        pkgutil.resolve_name(COMMANDS[name].flow)(options)
        return
    if HELP.isdisjoint(options):
        config = parse(COMMANDS[name], options).config
        if name != "config":  # which only prints
            preflight.check(command_for(COMMANDS[name], config), config)


def filled_in(command, folder):
    """A command line of a page with something real in place of each placeholder."""
    command = re.sub(r" \.\.\.(?= |$)", " --source.videos FOLDER", command) if " preprocess " in command else command
    if "--faces.detector yunet" in command and "--faces.model_uri" not in command:  # an earlier command got the model
        command += " --faces.model_uri URI --faces.model_sha256 DIGEST"
    dataset = folder / ("features" if " ablate" in command else "dataset")
    replacements = {
        r"(--(?:evaluate\.|extract\.)?run )\S+": folder / "run",
        r"((?:--(?:dataset|extend)|iaca verify) )[^-\s]\S*": dataset,
        r"(iaca )COMMAND\b": "experiment",
        r"()\bRUN_FILE\b": folder / "run_file.toml",
        r"()\bmy_run\.toml": folder / "my_run.toml",
        r"()\bDIGEST\b": "0" * 64,
        r"(--ablate\.gates \S*)NAME\b": "iaca",
    }
    if "--cluster.address" not in command:  # a cluster must see all addresses, so they stay those of a bucket
        options = r"source\.(?:videos|labels|crops|manifest)|storage\.root|weights\.(?:video|audio)|faces\.model_uri"
        replacements[rf"(--(?:{options}) )\S+"] = folder / "videos"
    for pattern, replacement in replacements.items():
        command = re.sub(pattern, rf"\g<1>{replacement}", command)
    return command


@pytest.mark.parametrize(
    "mistake", ["iaca trian --dataset URI", "iaca train --dataset URI --train.epoch 4", "iaca train", "iaca verify"]
)
def test_a_command_line_with_a_mistake_would_be_noticed(mistake, folder):
    with pytest.raises((AssertionError, ValueError)):
        check(filled_in(mistake, folder))


def test_a_python_block_with_a_mistake_would_be_noticed(folder):
    with pytest.raises(NameError):
        run_python_blocks("page.md", "1. A list:\n\n    ```python\n    undefined_name\n    ```\n", folder)
