"""The run files that come with the program: `infra/runs/` of the repository, packaged beside this module."""

from __future__ import annotations

from pathlib import Path

RUN_FILES = Path(__file__).with_name("runs")  # in the repository a link to infra/runs, in a wheel a copy of it


def run_file(name: str | Path) -> Path:
    """The path of a run file.

    Args:
        name: of one that comes with the program ("demo"), or the path of any other (it ends with .toml or has a slash).

    Returns:
        The path; whether there is a file is for the caller to find out.
    """
    path = Path(name)
    return path if path.suffix or len(path.parts) > 1 else RUN_FILES / f"{name}.toml"


def run_file_names() -> list[str]:
    """The names of the run files that come with the program, sorted."""
    return sorted(path.stem for path in RUN_FILES.glob("*.toml"))
