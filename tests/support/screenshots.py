"""Renders an evaluation's report.html in headless Chromium and fails on any console message or missing picture.

Run as `python -m tests.screenshots [REPORT.html [PICTURE.png]]`; without arguments, the newest report below
./outputs (with nothing hidden) becomes the picture that README shows.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "infra/pictures/report.png"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--enable-logging=stderr",
]


class PageError(RuntimeError):
    """The page logged something to the console, or no picture was made."""


def find_chromium() -> str | None:
    """The first Chromium on PATH, or None."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def screenshot(page: Path, picture: Path, *, width_px: int = 1200, height_px: int = 1660) -> None:
    """Render `page` into `picture`; raise PageError with the messages if the page's console is not silent."""
    chromium = find_chromium()
    if chromium is None:
        raise PageError("no Chromium on PATH; install it, e.g. apt-get install chromium")
    picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *OPTIONS, f"--user-data-dir={profile}", f"--window-size={width_px},{height_px}"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        command += [f"--screenshot={picture}", page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    messages = re.findall(r'CONSOLE[^\]]*\] (".*)', done.stderr)
    if messages:
        raise PageError(f"{page} wrote to the console: {'; '.join(messages)}")
    if not picture.exists():
        raise PageError(f"Chromium made no picture of {page}: {done.stderr[-500:]}")


def newest_report(outputs: Path = ROOT / "outputs") -> Path:
    """The report made last below `outputs`, of an evaluation with nothing hidden."""
    manifests = sorted(outputs.glob("evaluations/*/*/manifest.json"), key=lambda path: path.stat().st_mtime)
    reports = [m.with_name("report.html") for m in manifests if json.loads(m.read_text())["masked_modality"] == "none"]
    if not reports:
        raise PageError(f"no report.html below {outputs}; run `make demo` first")
    return reports[-1]


def main() -> None:
    """Make the picture and say where it is."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else newest_report()
    picture = Path(sys.argv[2]) if len(sys.argv) > 2 else PICTURE
    try:
        screenshot(page, picture)
    except PageError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{page}\n-> {picture}")


if __name__ == "__main__":
    main()
