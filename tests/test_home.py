"""Home and the introduction: a network before the visitor's eyes, its drawing, and questions with computed answers."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import EXACT, FLOAT32, weights
from serving import ROOT
from streamlit.testing.v1 import AppTest

from modadd import preset, ui
from modadd.analysis import lesson, surgery
from modadd.figures import grokking
from modadd.figures.network import NEURONS, network
from modadd.maths import ideal, measures
from pages import errors

SMALL = preset("standard", 13, epochs=3000)
INTRODUCTION = "pages/Introduction.py"


def told(test: AppTest) -> list[str]:
    """The answers that are out, in order."""
    return [text.value for kind in (test.success, test.info) for text in kind if "The answer is" in text.value]


def test_home_with_an_empty_cache_starts_one_network_for_all_visitors(app):
    first = app("pages/Home.py")
    assert not first.exception
    assert not errors(first)
    second = app("pages/Home.py")
    assert not second.exception
    assert [job.run for job in ui.lab().jobs()] == [SMALL]
    ways = {link.proto.label for link in first.main.get("page_link")}
    assert ways == {"Atlas", "Claims", "Introduction", "Grokking", "Live", "Glossary", "Sweeps", "Runs"}


def test_home_tells_of_the_finished_network_in_its_own_numbers(app):
    app("pages/Home.py")
    assert ui.lab().job(SMALL.id).done.wait(60)
    test = app("pages/Home.py")
    assert not test.exception
    record = ui.find(SMALL.id).record
    said = next(text.value for text in test.markdown if "It learns." in text.value)
    assert said.count("**") == 6  # three sentences
    assert f"{record.summary['train_accuracy']:.0%} of the {13 * 13} sums" in said
    assert f"{record.summary['mean_abs_sin_D']:.2f}" in said
    assert len(test.get("vega_lite_chart")) == 3
    assert len(test.get("image")) == 1
    next(button for button in test.button if button.label.startswith("Watch it train again")).click().run()
    assert not test.exception
    assert ui.lab().job(SMALL.id).active


def test_the_drawing_shows_the_numbers_of_its_record(record):
    p = record.run.p
    for theme in ("light", "dark"):
        picture = network(record, 3, 5, theme=theme)
        tree = ElementTree.fromstring(picture.svg)
        words = [node.text for node in tree.iter() if node.tag.endswith("text")]
        chance = lesson.probabilities(record.frames[-1], record.run, 3, 5)
        assert f"{chance[8 % p]:.0%}" in words
        assert f"{chance[8 % p]:.0%}" in picture.says
        assert sum(word.startswith("k = ") for word in words) == NEURONS
    assert network(record, 3, 5, theme="dark").svg != network(record, 3, 5).svg
    assert network(record, 3, 5, step=0).svg != network(record, 3, 5).svg


def test_without_weights_there_is_no_drawing(record):
    bare = [{name: value for name, value in frame.items() if name not in ("theta", "xi")} for frame in record.frames]
    assert network(replace(record, frames=tuple(bare)), 3, 5) is None


def test_the_vote_without_torch_is_the_vote_of_the_network(record):
    theta_MP, xi_MP = weights(record)
    votes_P = surgery.logits(surgery.Network(theta_MP, xi_MP, "relu"), [3], [5])[0].astype(float)
    frame = {"theta": theta_MP, "xi": xi_MP}
    expected = np.exp(votes_P) / np.exp(votes_P).sum()
    np.testing.assert_allclose(lesson.probabilities(frame, record.run, 3, 5), expected, rtol=FLOAT32)


def test_squaring_and_relu_double_the_phase():
    for phi in (-1.0, 0.2, 1.4):
        for activation in ("quad", "relu"):
            assert np.isclose(lesson.doubled(activation, phi)[1], 2 * phi, atol=FLOAT32)
    assert np.isclose(lesson.doubled("quad", 0.3)[0], 1 / 2, atol=EXACT)


@pytest.mark.parametrize("p", [5, 7, 15])
def test_the_votes_of_all_frequencies_are_the_flawed_indicator(p):
    for x, y in ((1, 3), (2, 2)):
        votes_P = lesson.votes(p, lesson.fewest_phases(p), x, y).sum(0)
        np.testing.assert_allclose(votes_P, ideal.flawed_indicator(p, x, y, 1 / 2), atol=EXACT * p)
    assert np.isclose(lesson.margins(p)[-1], p / 8, atol=EXACT * p)
    assert lesson.right_alone(p, 1, 0.6) == p


def test_nothing_is_told_before_it_is_predicted(app):
    test = app(INTRODUCTION, p="13")
    assert not test.exception
    assert len(test.radio) == 7
    assert not told(test)
    assert not test.get("vega_lite_chart")


@pytest.mark.parametrize("p", ["23", "3"])
def test_every_question_can_be_answered_right(app, p):
    test = app(INTRODUCTION, p=p)
    count = len(test.radio)
    for i in range(count):
        for choice in test.radio[i].options:
            test.radio[i].set_value(choice)
            test.run()
            assert not test.exception
            right = [text.value for text in test.success if "You saw it" in text.value]
            if len(right) == i + 1:
                break
        assert len(right) == i + 1, test.radio[i].label
        assert re.search(r"The answer is \*\*" + re.escape(test.radio[i].value), right[i])


def test_the_answers_are_the_computed_ones(app):
    test = app(INTRODUCTION, p="23")
    test.toggle(key="everything").set_value(True).run()
    assert not test.exception
    x, y = test.slider(key="intro-x-23").value, test.slider(key="intro-y-23").value
    record = ui.find(preset("grokking", 23).id).record
    end1, _ = measures.stages(record)
    expected = [
        f"**{(x + y) % 23}**", f"**{lesson.doubled('quad', 0.2 * np.pi)[1] / np.pi:.1f} π**",
        f"**{lesson.right_alone(23, 1, 0.2 * np.pi)}**", f"**{lesson.fewest_phases(23)}**",
        f"to {lesson.margins(23)[-1]:.3g} with all 11", f"{max(lesson.hits(23, 2000 // 11).values()):.0%}",
        f"{grokking.at_step(record, end1)['held_out']:.1%} of the held-out",
    ]  # fmt: skip
    for answer, number in zip(told(test), expected, strict=True):
        assert number in answer


def test_words_move_the_film_to_a_named_step(app):
    test = app(INTRODUCTION, p="23")
    test.toggle(key="everything").set_value(True).run()
    record = ui.find(preset("grokking", 23).id).record
    test.button(key="go-pages/Grokking.py-memorised").click().run()
    assert not test.exception
    assert test.session_state["step"] == record.at(measures.stages(record)[0], None, "nearest").step


def test_what_the_server_loads_ahead_can_be_loaded(caplog):
    ui.early.load()
    assert not caplog.records


def test_streamlit_finds_the_server_in_the_entry_script():
    from streamlit.web.server.app_discovery import discover_asgi_app

    found = discover_asgi_app(ROOT / "streamlit_app.py")
    assert found.import_string == "streamlit_app:app"  # or nothing would be loaded ahead


def test_an_empty_word_in_the_address_asks_for_nothing(app):
    test = app("pages/Glossary.py", term="")
    assert not test.exception
    assert not errors(test)
    assert not test.info
