"""One session over many pages: what a visitor set on one page never means something else on another."""

import ast
from collections import defaultdict

import pytest
from conftest import SMALL, finish
from serving import ROOT

from modadd import Run, ui
from modadd.ui.links import SHARED
from pages import bar, errors

PAGES = sorted((ROOT / "pages").glob("*.py"))


def pattern(node) -> str | None:
    """A key as it is written, with a star for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values)
    return None


def keys(file) -> set[str]:
    """The keys of widgets and of the session's state that a page names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            found |= {pattern(word.value) for word in node.keywords if word.arg == "key"}
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("st.session_state", "state"):
            found.add(pattern(node.slice))
    return found - {None}


def test_a_key_belongs_to_one_page_or_is_declared_as_shared():
    owners = defaultdict(set)
    for file in PAGES:
        for key in keys(file) - SHARED:
            owners[key].add(file.stem)
    for key in [key for key in owners if key.startswith("train-")]:
        del owners[key]  # the button of `ui.offer`, which keeps nothing
    for key, pages in owners.items():
        start, star, _ = key.partition("*")
        assert start, f"the key {key} of {pages} must begin with a word of its own"
        rivals = {page for other, by in owners.items() for page in by if star and other.startswith(start)}
        assert len(pages | rivals) == 1, (key, pages | rivals)


MODELS = {
    "mlp": SMALL,
    "transformer": Run(model="transformer", p=7, d_model=8, heads=2, d_mlp=11, lr=1e-3, frac_train=0.6, epochs=60),
    "pre-ln": Run(
        model="pre-ln", task="add3", activation="gelu", p=7, d_model=8, d_mlp=11, heads=2, layers=2, batch=16,
        lr=1e-2, frac_train=0.6, epochs=60,
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_a_visitor_walks_through_the_pages_and_back_with_a_run_in_view(app, model):
    run = MODELS[model]
    test = app(ui.HOMES[run.model], atlas=None)
    ui.lab().store.put(finish(run))
    test.query_params["run"], test.query_params["p"] = run.id, str(run.p)
    test.run()
    for page in [*ui.PAGES, *reversed(ui.PAGES)]:
        test.switch_page(page).run()
        assert not test.exception, (page, [error.message for error in test.exception])
        assert not errors(test), (page, errors(test))
        assert (test.session_state["p"], test.session_state["run"]) == (run.p, run.id), page
    if model != "pre-ln":  # Tasks has no choice of runs in its bar
        assert bar(test.switch_page(ui.HOMES[run.model]).run())["run"] == run.id
