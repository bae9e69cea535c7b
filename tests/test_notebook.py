"""The notebook in docs does what it says: every cell runs, in order, and what it ends on can be shown."""

import ast
import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).resolve().parents[1] / "docs" / "modadd.ipynb"


def cells(kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(FILE.read_text())["cells"] if cell["cell_type"] == kind]


def execute(code: str, names: dict):
    """Run a cell as a notebook does: the value of its last line, if that is an expression, else None."""
    body = ast.parse(code).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), str(FILE), "exec"), names)
    return eval(compile(ast.Expression(last.value), str(FILE), "eval"), names) if last else None


def test_every_cell_of_the_notebook_runs_and_shows_what_it_ends_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, charts = {}, 0
    for code in cells("code"):
        value = execute(code, names)
        if hasattr(value, "_repr_mimebundle_"):
            charts += "vega" in str(value._repr_mimebundle_())
        else:
            repr(value)
    assert charts >= 8
    told = capsys.readouterr().out
    assert "p must be odd" in told
    assert names["record"].summary["train_accuracy"] == 1  # what the prose says of this network holds
    assert np.median(names["off_M"]) < 0.2
    assert not list(tmp_path.iterdir())  # it leaves nothing behind
