"""Pages share one frame, stand alone, and show hostile names as text."""

import jinja2
import pytest
from markupsafe import Markup

from pipeline.dataset.report import quality
from pipeline.evaluation import report
from pipeline.reports.page import FRAME, render

PAGE = """{% extends "page.html" %}
{% block title %}{{ name }}{% endblock %}
{% block style %}.own { color: var(--red) }{% endblock %}
{% block content %}<p>{{ name }} {{ picture }} {{ 3 | stars }}</p>{% endblock %}
"""


def page(folder, **values):
    (folder / "own.html").write_text(PAGE)
    return render(folder / "own.html", {"stars": lambda n: "*" * n}, **values)


def test_names_are_text_and_our_own_markup_is_not(tmp_path):
    text = page(tmp_path, name='</title><script>"&', picture=Markup("<svg/>"))
    assert text.count("&lt;/title&gt;&lt;script&gt;&#34;&amp;") == 2
    assert "<script" not in text
    assert "<p>&lt;/title" in text
    assert "<svg/> ***</p>" in text


def test_the_style_is_within_the_page(tmp_path):
    text = page(tmp_path, name="x", picture="")
    assert "--red:" in text
    assert text.index("--red:") < text.index(".own {") < text.index("</style>")
    assert "stylesheet" not in text


def test_a_value_that_is_forgotten_is_an_error(tmp_path):
    with pytest.raises(jinja2.UndefinedError, match="picture"):
        page(tmp_path, name="x")


def test_all_pages_use_the_frame():
    for template in (quality.TEMPLATE, report.TEMPLATE):
        assert template.read_text().startswith(f'{{% extends "{FRAME.name}" %}}')
        assert "<style" not in template.read_text()


def test_only_the_frame_lets_tables_scroll():
    templates = [path for path in FRAME.parents[1].rglob("*.html") if path != FRAME]
    assert len(templates) >= 3
    assert [path.name for path in templates if "overflow-x" in path.read_text()] == []
