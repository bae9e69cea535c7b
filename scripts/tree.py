"""Which file holds what, from the first line of each module: `python scripts/tree.py` writes docs/files.md."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "files.md"
# The way of a number, from a setting to the screen.
FOLDERS = (
    "modadd", "modadd/maths", "modadd/networks", "modadd/networks/mlp", "modadd/networks/transformer", "modadd/frames",
    "modadd/records", "modadd/training", "modadd/analysis", "modadd/jobs", "modadd/many", "modadd/figures",
    "modadd/figures/print", "modadd/exchange", "modadd/ui", "scripts",
)  # fmt: skip


def line(file: Path) -> str:
    """The first line of a module's docstring."""
    return ast.get_docstring(ast.parse(file.read_text())).split("\n\n")[0].replace("\n", " ")


def text() -> str:
    """The page: folders in the order in which a number passes through them, their modules by name."""
    parts = ["# Which file holds what\n"]
    for folder in FOLDERS:
        about = line(ROOT / folder / "__init__.py") if folder != "scripts" else "What is typed on a command line."
        rows = [f"| `{file.name}` | {line(file)} |" for file in sorted((ROOT / folder).glob("[!_]*.py"))]
        parts.append(f"## {folder}/\n\n{about}\n\n| file | holds |\n| --- | --- |\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(text())
