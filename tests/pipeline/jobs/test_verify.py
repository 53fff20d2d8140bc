"""Verification of a dataset: damage is named."""

from dataclasses import replace

import pytest

from pipeline.config import Config, UsageError
from pipeline.config.job_sections import VerifyConfig
from pipeline.dataset.format.dataset_info import DatasetError
from pipeline.jobs import verify
from tests.support.preprocessing import build_in_process, config_of, rows_of


def test_verify_names_the_damaged_shard(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    info = build_in_process(config)
    asked = config.model_copy(update={"verify": VerifyConfig(dataset=info.uri)})
    assert "are as they were written" in verify.run(asked).lines[0]
    name = info.shards[-1].name
    tar = tmp_path / "datasets/talk/shards" / f"{name}.tar"
    data = bytearray(tar.read_bytes())
    data[1000] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DatasetError, match=rf"1 of \d shards .* are damaged:\n  {name}: the tar has sha256"):
        verify.run(asked)
    tar.unlink()
    with pytest.raises(DatasetError, match=f"{name}: the tar is missing"):
        verify.run(asked)


def test_verify_finds_an_index_that_leads_astray(talkers, tmp_path):
    config = config_of(talkers, tmp_path)
    info = build_in_process(config)
    rows = rows_of(info.uri, info.shards[0].name)
    assert verify.problem_of(info.uri, info.shards[0], rows) == ""
    moved = [replace(rows[0], offset=rows[1].offset, size=rows[1].size), *rows[1:]]
    assert "where the index says" in verify.problem_of(info.uri, info.shards[0], moved)
    cut = [replace(rows[0], size=rows[0].size - 512), *rows[1:]]
    assert verify.problem_of(info.uri, info.shards[0], cut)
    assert "the index has" in verify.problem_of(info.uri, info.shards[0], rows[1:])


def test_verify_needs_a_dataset():
    with pytest.raises(UsageError, match=r"which dataset is to be verified"):
        verify.run(Config())
