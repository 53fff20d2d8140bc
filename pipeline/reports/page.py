"""HTML pages that stand alone: a template within the frame that all pages share, and everything in it escaped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

FRAME = Path(__file__).with_name("page.html")  # head, colours and style; pages fill its blocks


def render(template: Path, filters: dict[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """The page of a template that extends `page.html`; values are text unless they are Markup.

    Raises:
        jinja2.UndefinedError: the template uses a value that is not given.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, FRAME.parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters or {}
    return environment.get_template(template.name).render(**values)
