"""Which ffmpeg is run: the bundled one whatever is on PATH, and no other that is too old."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import imageio_ffmpeg
import pytest

from pipeline.media.ffmpeg_command import OLDEST_FFMPEG, ffmpeg_version, find_ffmpeg, release_of
from tests.support.fake_ffmpeg import fake_ffmpeg
from tests.support.required import require_or_skip


def test_the_bundled_one_is_run_whatever_is_on_path(tmp_path, monkeypatch):
    other = fake_ffmpeg(tmp_path, "99.0")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(other))
    found = Path(find_ffmpeg())
    assert Path(imageio_ffmpeg.__file__).parent in found.parents
    assert release_of(ffmpeg_version(str(found))) >= OLDEST_FFMPEG


def test_the_one_of_this_machine_is_used_only_if_it_is_new_enough():
    """CI installs the distribution's, which is old: all other tests of this folder then pass beside it."""
    installed = shutil.which("ffmpeg")
    if installed is None:
        require_or_skip("ffmpeg", "no ffmpeg on PATH that the bundled one could be mistaken for")
    assert find_ffmpeg() != installed
    if release_of(ffmpeg_version(installed)) >= OLDEST_FFMPEG:
        assert find_ffmpeg("ffmpeg") == installed
    else:
        with pytest.raises(ValueError, match="is the oldest that decodes every frame at its time"):
            find_ffmpeg("ffmpeg")


def test_another_one_is_given_by_path_or_name(tmp_path, monkeypatch):
    path = fake_ffmpeg(tmp_path / "bin", "99.1-custom")
    assert find_ffmpeg(str(path)) == str(path)
    monkeypatch.chdir(tmp_path)
    assert find_ffmpeg("bin/ffmpeg") == str(path)
    monkeypatch.setenv("PATH", str(path.parent))
    assert find_ffmpeg("ffmpeg") == str(path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_ffmpeg("~/bin/ffmpeg") == str(path)


@pytest.mark.parametrize("version", ["5.1.9-0+deb12u1", "4.2.2-static", "n7.1", "7.0.2-static", "n7.1.2-3-g00aa"])
def test_an_old_one_is_refused_with_both_versions(version, tmp_path):
    path = fake_ffmpeg(tmp_path, version)
    oldest = "{}.{}".format(*OLDEST_FFMPEG)
    with pytest.raises(ValueError, match=rf"{path} is ffmpeg {version.replace('+', '.')}, but {oldest} is the oldest"):
        find_ffmpeg(str(path))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo ffmpeg version N-118000-g1a2b3c Copyright", "is ffmpeg N-118000-g1a2b3c, which names no release"),
        ("echo ffmpeg version 2024-05-23-git-ece95dfbf0 Copyright", "names no release"),
        ("echo avconv version 12.3", "does not introduce itself as ffmpeg: 'avconv version 12.3"),
        ("true", "does not introduce itself as ffmpeg"),
        ("echo ffmpeg version", "does not introduce itself as ffmpeg"),
    ],
)
def test_what_is_no_release_of_ffmpeg_is_refused(script, message, tmp_path):
    path = fake_ffmpeg(tmp_path, script=script)
    with pytest.raises(ValueError, match=message):
        find_ffmpeg(str(path))


def test_what_does_not_run_is_refused(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match=f"no-such-ffmpeg: machine {platform.node()} has no executable file of that name"
    ):
        find_ffmpeg("no-such-ffmpeg")
    with pytest.raises(ValueError, match="no executable file at that path"):
        find_ffmpeg(str(tmp_path / "ffmpeg"))
    for_another_machine = fake_ffmpeg(tmp_path)
    for_another_machine.write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(ValueError, match="cannot be started: Exec format error"):
        find_ffmpeg(str(for_another_machine))
    monkeypatch.setattr("pipeline.media.ffmpeg_command.VERSION_TIMEOUT_S", 0.1)
    with pytest.raises(ValueError, match=r"-version gives no answer within 0\.1 s"):
        find_ffmpeg(str(fake_ffmpeg(tmp_path / "slow", script="exec sleep 60")))


def test_an_installation_without_a_bundled_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(imageio_ffmpeg, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ValueError, match=rf"imageio-ffmpeg {imageio_ffmpeg.__version__} bundles no ffmpeg for "):
        find_ffmpeg()


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("n9.0.2-17-g2a571b6068-20260930", (9, 0)),
        ("7.1.1", (7, 1)),
        ("10.0", (10, 0)),
        ("5.1.9-0+deb12u1", (5, 1)),
        ("N-118000-g1a2b3c", None),
        ("git-2020-01-01-ab", None),
    ],
)
def test_the_release_in_a_version(version, release):
    assert release_of(version) == release
