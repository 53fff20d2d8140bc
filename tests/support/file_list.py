"""The annotated list of source files: each with the first sentence of its docstring, folder by folder."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("iaca_model", "pipeline", "flows")


def file_list() -> str:
    """Markdown: a table for every folder that holds Python files, under the sentence of the folder itself."""
    folders = sorted({path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")})
    return "\n".join(_table(folder) for folder in folders)


def sentence(path: Path) -> str:
    """The first line of a file's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def _table(folder: Path) -> str:
    name = folder.relative_to(ROOT)
    inside = folder / "__init__.py"
    about = sentence(inside) if inside.exists() else ""
    rows = [f"| `{path.name}` | {sentence(path)} |" for path in sorted(folder.glob("*.py")) if path != inside]
    head = f"**`{name}/`** {about}".rstrip() + "\n"
    return head + "".join(f"{line}\n" for line in ["", "| file | |", "| --- | --- |", *rows] if rows)
