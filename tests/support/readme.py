"""Rewrites README's list of files from the first sentence of each: `python -m tests.readme`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("iaca_model", "pipeline", "flows")
START, END = "<!-- files -->", "<!-- end of files -->"


def sentences() -> dict[str, str]:
    """First docstring line of every source file; an `__init__.py` counts when it defines functions."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            if path.stem != "__init__" or any(isinstance(node, ast.FunctionDef) for node in tree.body):
                found[str(path.relative_to(ROOT))] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def with_table(text: str) -> str:
    """README's text with the list between its two markers brought up to date."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    rows = "\n".join(f"| `{name}` | {sentence} |" for name, sentence in sentences().items())
    return f"{before}{START}\n| file | |\n| --- | --- |\n{rows}\n{END}{after}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text()))
