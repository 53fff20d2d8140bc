"""The versions that a report of a defect needs."""

from importlib.metadata import version

from flows.cli.version import version_of
from tests.support.processes import iaca


def test_it_names_the_program_its_dependencies_and_ffmpeg():
    result = iaca("version")
    assert (result.returncode, result.stderr) == (0, "")
    lines = {line.split("  ")[0]: line.split()[-1] for line in result.stdout.splitlines()}
    assert lines["iaca"] == version("iaca")
    for package in ("torch", "ray", "prefect"):
        assert lines[package] == version(package)
    assert lines["ffmpeg (bundled)"][0] in "n0123456789"
    assert {"python", "system"} < lines.keys()
    assert iaca("--version").stdout == f"iaca {version('iaca')}\n"


def test_what_is_not_installed_is_no_error():
    assert version_of("no-such-package") == "not installed"


def test_it_takes_no_arguments():
    result = iaca("version", "train")
    assert (result.returncode, result.stderr) == (2, "error: unexpected argument 'train'; iaca version takes none\n")
