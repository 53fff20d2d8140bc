"""The command `iaca version`: the versions that a report of a defect needs."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from pipeline.config import UsageError

PACKAGES = ("ray", "torch", "prefect", "pyarrow", "opencv-python-headless", "av", "s3fs", "webdataset")


def print_versions(arguments: Sequence[str]) -> None:
    """Print the versions of this program, Python, the system, the dependencies that matter and the bundled ffmpeg.

    Raises:
        UsageError: there are arguments; it takes none.
    """
    if arguments:
        raise UsageError(f"unexpected argument {arguments[0]!r}; iaca version takes none")
    versions = {
        "iaca": version_of("iaca"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        **{package: version_of(package) for package in PACKAGES},
        "ffmpeg (bundled)": _bundled_ffmpeg(),
    }
    width = max(map(len, versions)) + 2
    print("\n".join(f"{name:<{width}}{number}" for name, number in versions.items()))


def version_of(package: str) -> str:
    """The version of an installed package, as its installer recorded it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _bundled_ffmpeg() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_version()
    except (OSError, RuntimeError):
        return "not there"
