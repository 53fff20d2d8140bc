"""Rewrites the generated parts of the documentation; `make pages` runs it.

They stand between two markers: the list of files in docs/architecture.md and the settings in docs/configuration.md.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.configuration_page import settings
from tests.support.file_list import file_list

ROOT = Path(__file__).parents[2]
START, END = "<!-- generated -->", "<!-- end of generated -->"
PAGES = {
    "docs/architecture.md": file_list,
    "docs/configuration.md": settings,
}


def up_to_date(name: str) -> str:
    """The text of a page with the part between its markers made anew."""
    text = (ROOT / name).read_text()
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"{name} lacks {START} or {END}")
    return f"{before}{START}\n\n{PAGES[name]()}\n{END}{after}"


if __name__ == "__main__":
    for page in PAGES:
        (ROOT / page).write_text(up_to_date(page))
