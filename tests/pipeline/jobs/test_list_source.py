"""Listing the source within a job: what it shows while it reads."""

import pytest

from pipeline.config import Config
from pipeline.dataset.sources.listing import list_videos
from pipeline.jobs import list_source, preprocess
from pipeline.jobs.list_source import list_source_videos
from pipeline.runtime.progress import JobResult, Progress, parse


@pytest.fixture
def config(tmp_path):
    """A source of three videos, two of them with labels."""
    for path in ("videos/a.mp4", "videos/b.mp4", "videos/c.mp4", "labels/a.csv", "labels/b.csv"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    source = {"videos": str(tmp_path / "videos"), "labels": str(tmp_path / "labels")}
    return Config(source=source, storage={"root": str(tmp_path / "root")})


def test_a_long_reading_shows_how_far_it_is(config, capsys, monkeypatch):
    monkeypatch.setattr(list_source, "INTERVAL_S", 0.0)
    listing = list_source_videos(config)
    lines = [parse(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        *(Progress("list", num_done, 3, "new videos") for num_done in (1, 2, 3)),
        *(Progress("list", num_done, 2, "new label files") for num_done in (1, 2)),
    ]
    assert list_source_videos(config) == listing == list_videos(config)
    assert capsys.readouterr().out == "", "all are known"


def test_a_short_one_shows_nothing(config, capsys):
    list_source_videos(config)
    assert capsys.readouterr().out == ""


def test_one_that_was_shown_is_shown_to_its_end(capsys, monkeypatch):
    reading = list_source.ReadingProgress()
    reading("new videos", 1, 3)
    monkeypatch.setattr(list_source, "INTERVAL_S", 0.0)
    reading("new videos", 2, 3)
    monkeypatch.setattr(list_source, "INTERVAL_S", 60.0)
    reading("new videos", 3, 3)
    assert [parse(line).done for line in capsys.readouterr().out.splitlines()] == [2, 3]


def test_a_check_shows_its_progress_too(config, capsys, monkeypatch):
    monkeypatch.setattr(list_source, "INTERVAL_S", 0.0)
    assert not isinstance(preprocess.prepare(config), JobResult)
    assert [parse(line).unit for line in capsys.readouterr().out.splitlines()][::3] == ["new videos", "new label files"]
