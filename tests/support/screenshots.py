"""Renders HTML pages in headless Chromium and fails on any console message or missing picture.

`make screenshots` makes the pictures of the documentation from the newest demo below ./outputs: the report of the
evaluation with nothing masked, and the quality page of the dataset that it was made on. One page alone:
`python -m tests.support.screenshots PAGE.html PICTURE.png`.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs/pictures"
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


def screenshot(page: Path, picture: Path, *, width_px: int = 1200, height_px: int = 1740) -> None:
    """Render `page` into `picture`; raise PageError with the messages if the page's console is not silent."""
    chromium = find_chromium()
    if chromium is None:
        raise PageError("no Chromium on PATH; install it, e.g. apt-get install chromium")
    if not page.exists():
        raise PageError(f"there is no page {page}")
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.unlink(missing_ok=True)
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


def evaluate(page: Path, expression: str, *, width_px: int) -> Any:
    """What a JavaScript expression gives in `page` on a screen of this width, as JSON."""
    chromium = find_chromium()
    if chromium is None:
        raise PageError("no Chromium on PATH; install it, e.g. apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        script = f"parent.document.title = encodeURIComponent(JSON.stringify({expression}))"
        content = html.escape(f"{page.read_text()}<script>{script}</script>")
        frame = Path(profile) / "frame.html"  # a window cannot be as narrow as a phone, a frame within it can
        frame.write_text(
            f'<title></title><iframe style="border:0;width:{width_px}px;height:1600px" srcdoc="{content}">'
        )
        command = [chromium, *OPTIONS, f"--user-data-dir={profile}", "--window-size=1600,1600"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        done = subprocess.run([*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    if title is None or not title[1]:
        raise PageError(f"Chromium shows nothing of {page}: {done.stderr[-500:]}")
    return json.loads(unquote(title[1]))


def newest_report(outputs: Path = ROOT / "outputs") -> Path:
    """The demo's report made last below `outputs`, of the evaluation with nothing masked or corrupted."""
    manifests = sorted(outputs.glob("evaluations/demo-*/*/manifest.json"), key=lambda path: path.stat().st_mtime)
    reports = [m.with_name("report.html") for m in manifests if _is_of_everything(json.loads(m.read_text()))]
    if not reports:
        raise PageError(f"no report.html below {outputs}; run `make demo` first")
    return reports[-1]


def _is_of_everything(manifest: dict[str, Any]) -> bool:
    return manifest["masked_modality"] == "none" and not manifest.get("corrupt_modality")


def quality_page_of(report: Path) -> Path:
    """The quality page of the dataset that a report is about."""
    dataset = json.loads(report.with_name("manifest.json").read_text())["dataset"]
    return report.parents[3] / "datasets" / dataset / "quality.html"


def main() -> None:
    """Make the pictures and print where they are."""
    try:
        if len(sys.argv) > 1:
            pairs = [(Path(sys.argv[1]), Path(sys.argv[2]))]
        else:
            report = newest_report()
            pairs = [(report, PICTURES / "report.png"), (quality_page_of(report), PICTURES / "quality.png")]
        for page, picture in pairs:
            screenshot(page, picture)
            print(f"{page}\n-> {picture}")
    except PageError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
