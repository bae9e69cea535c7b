"""The glossary: every entry leads to a page, its formula is one, and it is found by its words."""

import re

import pytest

from modadd import ui
from modadd.ui import glossary
from pages import errors


def test_every_term_leads_to_a_page_and_is_named_once():
    names = [term.name for term in glossary.TERMS]
    assert len(set(names)) == len(names)
    assert {term.page for term in glossary.TERMS} <= set(ui.PAGES)
    assert {term.group for term in glossary.TERMS} == set(glossary.GROUPS)


def test_every_formula_is_one():
    for term in glossary.TERMS:
        assert term.tex.count("{") == term.tex.count("}"), term.name
        assert len(re.findall(r"\\left\b", term.tex)) == len(re.findall(r"\\right\b", term.tex)), term.name
        assert "$" not in term.tex + term.words, term.name


def test_a_term_is_found_by_its_name_before_its_mention():
    assert glossary.find("grokking")[0].name == "Grokking"
    assert glossary.find("EXCLUDED loss")[0].name == "Excluded loss"
    assert len(glossary.find("")) == len(glossary.TERMS)
    assert not glossary.find("no such term")


@pytest.mark.parametrize(
    ("asked", "count"), [("", len(glossary.TERMS)), ("ghost", len(glossary.find("ghost"))), ("zzz", 0)]
)
def test_the_page_shows_what_was_asked_for(app, asked, count):
    test = app("Glossary", **({"term": asked} if asked else {}))
    assert not test.exception
    assert not errors(test)
    assert len(test.main.get("page_link")) == count
    assert bool(test.info) == (count == 0)
