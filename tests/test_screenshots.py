"""The browser check sees a silent page, and would see one that complains."""

import json
import os

import pytest

from tests.support.screenshots import PageError, find_chromium, newest_report, screenshot


@pytest.fixture(autouse=True)
def _chromium():
    if find_chromium() is None:
        message = "no Chromium on PATH"
        if "chromium" in os.environ.get("IACA_REQUIRE", ""):
            pytest.fail(message)
        pytest.skip(message)


def test_a_silent_page_becomes_a_picture(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><title>t</title><h1>Hello</h1>")
    screenshot(page, tmp_path / "page.png", width_px=300, height_px=200)
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("complaint", ["console.error('canary')", "undefined_canary()"])
def test_a_page_that_complains_fails(tmp_path, complaint):
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>t</title><script>{complaint}</script>")
    with pytest.raises(PageError, match="canary"):
        screenshot(page, tmp_path / "page.png", width_px=300, height_px=200)


def test_the_picture_is_of_the_newest_report_with_sound_and_picture_as_they_are(tmp_path):
    with pytest.raises(PageError, match="run `make demo` first"):
        newest_report(tmp_path)
    corrupted = {"masked_modality": "none", "corrupt_modality": 0.3}
    healthy = [{"masked_modality": masked_modality} for masked_modality in ("none", "audio", "none", "video")]
    for age, manifest in enumerate([corrupted, *healthy]):
        folder = tmp_path / "evaluations/demo-1" / f"{age}-{manifest['masked_modality']}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        os.utime(folder / "manifest.json", (1000 - age, 1000 - age))
    assert newest_report(tmp_path) == tmp_path / "evaluations/demo-1/1-none/report.html"
