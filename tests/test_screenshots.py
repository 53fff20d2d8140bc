"""The browser check sees a silent page, and would see one that complains."""

import os

import pytest

from tests.screenshots import PageError, find_chromium, screenshot


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
