"""What is in view travels in the address: a link opens the same view, holds it still for a class, bears anything."""

from dataclasses import replace

import pytest
from conftest import finish
from streamlit.testing.v1 import AppTest

from modadd import preset, ui
from modadd.ui import links
from pages import errors


def address(test: AppTest) -> dict[str, str]:
    return {name: value[0] if isinstance(value, list) else value for name, value in test.query_params.items()}


def test_what_is_moved_is_in_the_address_and_the_address_opens_the_same_view(app):
    test = app("Weights", p="23")
    test.selectbox(key="preset-of-standard").set_value("quad_random").run()
    test.select_slider(key="step").set_value(256).run()
    test.number_input(key="inspected").set_value(11).run()
    test.toggle(key="log_steps").set_value(True).run()
    test.segmented_control(key="rows_by").set_value("IPR").run()
    link = address(test)
    assert link == link | {"p": "23", "preset": "quad_random", "step": "256", "neuron": "11", "log": "1", "sort": "IPR"}
    again = app("Weights", **link)
    assert not again.exception
    assert not errors(again)
    assert again.selectbox(key="preset-of-standard").value == "quad_random"
    assert again.select_slider(key="step").value == 256
    assert again.number_input(key="inspected").value == 11
    assert again.segmented_control(key="rows_by").value == "IPR"
    assert again.toggle(key="log_steps").value
    assert [text.value for text in again.subheader] == [text.value for text in test.subheader]


@pytest.mark.parametrize(
    ("page", "query", "key", "value"),
    [
        ("Phases", {"k": "3"}, "ring-23", 3),
        ("Logits", {"x": "5"}, f"pair-x-{preset('standard', 23).id}", 5),
        ("Lottery", {"neuron": "17"}, "neuron", 17),
        ("Grokking", {"criterion": "80"}, "criterion", 80),
        ("Introduction", {"y": "2"}, "intro-y-23", 2),
    ],
)
def test_a_page_opens_at_the_choice_of_its_link(app, page, query, key, value):
    test = app(page, p="23", **query)
    assert not test.exception
    assert not errors(test)
    assert test.session_state[key] == value
    assert address(test.run()) == address(test) | query


def test_the_newest_step_needs_no_word_and_a_step_between_frames_opens_the_nearest(app):
    test = app("Phases", p="23")
    assert "step" not in address(test.run())
    test.button(key="step-Start").click().run()
    assert address(test)["step"] == "0"
    test.button(key="step-End").click().run()
    assert "step" not in address(test)
    assert app("Phases", p="23", step="250").select_slider(key="step").value == 256


def test_while_it_plays_the_address_rests_and_pausing_writes_it_once(app, monkeypatch):
    test = app("Phases", p="23")
    written = []
    real = links.write
    monkeypatch.setattr(links, "write", lambda name, value: (written.append(name), real(name, value)))
    test.button(key="step-Start").click().run()
    written.clear()
    test.button(key="step-play").click().run()
    test.run()
    assert "step" not in written
    test.button(key="step-play").click().run()
    assert "step" in written


@pytest.mark.parametrize("text", ["-1", "٣", "<b>", "9" * 5000])
def test_any_text_for_a_number_ends_in_a_number_and_a_sentence(app, text):
    test = app("Lottery", p="23", neuron=text, step=text)
    assert not test.exception
    assert 0 <= test.number_input(key="neuron").value < 512
    assert test.select_slider(key="step").value in (0, 5000)
    assert len(errors(test)) == 2
    assert all(len(said) < 300 and "instead" in said and "<b>" not in said for said in errors(test))
    assert not errors(test.run())  # said once, and the address is right from then on


def test_a_link_followed_inside_the_lab_overrules_the_session_and_an_old_address_does_not(app):
    test = app("Phases", p="23")
    test.select_slider(key="step").set_value(256).run()
    test.query_params["step"] = "64"  # a link
    assert test.run().select_slider(key="step").value == 64
    test.select_slider(key="step").set_value(304).run()
    test.query_params["step"] = "64"  # sent before the browser had heard of 304
    assert test.run().select_slider(key="step").value == 304
    assert address(test)["step"] == "304"


def test_the_overview_shows_the_run_of_its_link(app):
    run = preset("quad_random", 23)
    test = app("Overview", run=run.id)
    assert not test.exception
    assert not errors(test)
    assert any(run.id in text.value for text in test.caption)
    lost = app("Overview", run="p023-nothing-0123456789")
    assert "No run called" in errors(lost)[0]
    assert "run" not in address(lost)


def test_a_link_for_a_class_locks_and_hides_and_stays_on_every_page(app):
    test = app("Phases", p="23", step="256", lock="p,run,step", hide="controls,sidebar")
    assert not test.exception
    assert not errors(test)
    for control in (
        test.select_slider(key="p"), test.selectbox(key="preset-of-standard"), test.select_slider(key="step"),
        test.button(key="step-play"), test.button(key="step-Start"),
    ):  # fmt: skip
        assert control.disabled
    hidden = "".join(element.proto.body for element in test.get("html"))
    assert "stSidebar" in hidden
    assert "stSlider" in hidden
    assert {"lock", "hide"} <= address(test.run()).keys()
    free = app("Phases", p="23", lock="everything", hide="<style>")
    assert not free.select_slider(key="p").disabled
    assert len(errors(free)) == 2


def test_the_popovers_offer_the_address_and_compose_one_for_a_class(app):
    test = app("Phases", p="23", step="256")
    test.session_state["copy-link"] = True
    test.run()
    assert "step=256" in test.sidebar.code[0].value
    test.session_state["copy-link"], test.session_state["class-link"] = False, True
    test.run()
    test.button_group(key="class-lock").set_value(["p", "step"]).run()
    test.button_group(key="class-hide").set_value(["sidebar"]).run()
    made = test.sidebar.code[0].value
    assert "lock=p,step" in made
    assert "hide=sidebar" in made
    assert any("not a protection" in text.value for text in test.sidebar.caption)
    assert "lock" not in address(test)  # whoever composes it keeps the controls


def test_a_value_beyond_a_smaller_run_is_brought_to_its_end(app):
    run = preset("standard", 7, d_mlp=12)
    record = finish(replace(run, epochs=60))
    ui.lab().store.put(record)
    test = app("Weights", p="23", neuron="300")
    assert test.number_input(key="inspected").value == 300
    test.query_params["run"], test.query_params["p"] = record.run.id, "7"
    test.run()
    assert not test.exception
    assert test.number_input(key="inspected").value <= 11


@pytest.mark.parametrize(
    ("check", "good", "value", "bad"),
    [
        (links.whole(2, 5), "9", 5, "2.5"),
        (links.one_of(("a", "b")), "b", "b", "c"),
        (links.several(("a", "b")), "b,x,a,b", ["b", "a"], "x"),
        (links.flag, "1", True, "yes"),
    ],
)
def test_a_check_gives_the_nearest_value_or_a_sentence(check, good, value, bad):
    assert check(good) == value
    with pytest.raises(ValueError, match=bad):
        check(bad)


def test_a_value_reads_back_from_its_text():
    for check, value in ((links.whole(0, 9), 7), (links.several("abc"), ["c", "a"]), (links.flag, True),
                         (links.words(), "0, 5-9")):  # fmt: skip
        assert check(links.text_of(value)) == value
    assert links.text_of(False) is links.text_of([]) is links.text_of(None) is None
