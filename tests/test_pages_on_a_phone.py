"""The report on a screen of 390 px: its text can be read, and what is too wide scrolls within its own card."""

from __future__ import annotations

import pytest

from tests.pipeline.evaluation.test_report import FRONT, HISTORY, IACA, corrupted, page, stream
from tests.support.required import require_or_skip
from tests.support.screenshots import evaluate, find_chromium

PHONE_PX = 390
MIN_TEXT_PX = 9.5
CHART_TEXT_PX = """
[...document.querySelectorAll("svg text")].map(
    text => parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b))
"""
CUT_TABLES = """
[...document.querySelectorAll("table, svg")].map(wide => {
    const box = wide.parentElement, card = wide.closest(".card").getBoundingClientRect();
    const style = getComputedStyle(wide.closest(".card"));
    return box.getBoundingClientRect().right - (card.right - parseFloat(style.paddingRight)) > 1
        || (box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "auto");
}).filter(Boolean).length
"""


@pytest.fixture(scope="module", params=["healthy", "corrupted"])
def report(request, tmp_path_factory):
    """The page of an evaluation of clips as they are, and of one on corrupted clips by a model with front and gates."""
    if find_chromium() is None:
        require_or_skip("chromium", "no Chromium on PATH")
    path = tmp_path_factory.mktemp("page") / "report.html"
    streams = [stream(f"a_video_with_a_long_name_{i}", i) for i in range(3)]
    if request.param == "corrupted":
        streams = [corrupted(stream(f"a_video_with_a_long_name_{i}", i, gates=FRONT + IACA)) for i in range(3)]
    path.write_text(page(streams, history=HISTORY, best_step=2, corrupt_modality=0.3 * (request.param == "corrupted")))
    return path


def test_the_text_of_every_chart_can_be_read(report):
    sizes = evaluate(report, CHART_TEXT_PX, width_px=PHONE_PX)
    assert len(sizes) > 50
    assert min(sizes) >= MIN_TEXT_PX


def test_the_page_itself_does_not_scroll_sideways(report):
    assert evaluate(report, "document.documentElement.scrollWidth", width_px=PHONE_PX) <= PHONE_PX


def test_tables_and_charts_scroll_within_their_cards(report):
    assert evaluate(report, "document.querySelectorAll('table, svg').length", width_px=PHONE_PX) >= 8
    assert evaluate(report, CUT_TABLES, width_px=PHONE_PX) == 0
