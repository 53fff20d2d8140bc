"""The dataset card: whatever people call their groups, it stays text in one cell."""

from __future__ import annotations

from pipeline.config import Config
from pipeline.dataset.format.dataset_info import DatasetInfo
from pipeline.dataset.report.card import card_text


def test_names_that_people_gave_are_text_in_one_cell():
    group = "a|b <script>\nalert(1)</script> & c"
    provenance = {"parent": "talk-1", "splits_kept": {group: ("train", "test")}}
    text = card_text(DatasetInfo("talk", "/talk", "0", Config(), {}, (), {}, provenance), [], [])
    assert "| a\\|b &lt;script&gt; alert(1)&lt;/script&gt; &amp; c | train | test |" in text.splitlines()
