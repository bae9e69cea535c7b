"""What is in view travels in the address: a link opens the same view, holds it still for a class, bears anything."""

from dataclasses import replace

import pytest
from conftest import finish
from streamlit.testing.v1 import AppTest

from modadd import preset, ui
from modadd.ui import links
from pages import bar, errors, move, player, tell, wish


def address(test: AppTest) -> dict[str, str]:
    return {name: value[0] if isinstance(value, list) else value for name, value in test.query_params.items()}


def test_what_is_moved_is_in_the_address_and_the_address_opens_the_same_view(app):
    test = app("Weights", p="23")
    wish(test, run="quad_random")
    move(test, 256)
    test.number_input(key="inspected").set_value(11).run()
    wish(test, axis="linear")
    test.segmented_control(key="rows_by").set_value("IPR").run()
    link = address(test)
    assert link == link | {
        "p": "23",
        "run": "quad_random",
        "step": "256",
        "neuron": "11",
        "axis": "linear",
        "sort": "IPR",
    }
    again = app("Weights", **link)
    assert not again.exception
    assert not errors(again)
    assert bar(again)["run"] == "quad_random"
    assert player(again)["at"] == 256
    assert again.number_input(key="inspected").value == 11
    assert again.segmented_control(key="rows_by").value == "IPR"
    assert bar(again)["axis"] == "linear"
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
    move(test, 0)
    assert address(test)["step"] == "0"
    move(test, 5000)
    assert "step" not in address(test)
    assert player(app("Phases", p="23", step="250"))["at"] == 256


def test_while_it_plays_the_address_rests_and_pausing_writes_it_once(app, monkeypatch):
    test = app("Phases", p="23")
    written = []
    real = links.write
    monkeypatch.setattr(links, "write", lambda name, value: (written.append(name), real(name, value)))
    tell(test, playing=True, at=0)
    written.clear()
    tell(test, playing=True, at=256)
    assert "step" not in written
    tell(test, playing=False, at=304)
    assert "step" in written
    assert address(test)["step"] == "304"


@pytest.mark.parametrize("text", ["-1", "٣", "<b>", "9" * 5000])
def test_any_text_for_a_number_ends_in_a_number_and_a_sentence(app, text):
    test = app("Lottery", p="23", neuron=text, step=text)
    assert not test.exception
    assert 0 <= test.number_input(key="neuron").value < 512
    assert player(test)["at"] in (0, 5000)
    assert len(errors(test)) == 2
    assert all(len(said) < 300 and "instead" in said and "<b>" not in said for said in errors(test))
    assert not errors(test.run())  # said once, and the address is right from then on


def test_a_link_followed_inside_the_lab_overrules_the_session_and_an_old_address_does_not(app):
    test = app("Phases", p="23")
    move(test, 256)
    test.query_params["step"] = "64"  # a link
    assert player(test.run())["at"] == 64
    move(test, 304)
    test.query_params["step"] = "64"  # sent before the browser had heard of 304
    assert player(test.run())["at"] == 304
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
    test = app("Phases", p="23", step="256", lock="p,run,step", hide="controls,navigation")
    assert not test.exception
    assert not errors(test)
    assert bar(test)["locked"] == ["p", "run", "step"]
    assert player(test)["locked"]
    wish(test, p=29, run="grokking")
    move(test, 0)
    assert (test.session_state["p"], bar(test)["run"], player(test)["at"]) == (23, "standard", 256)
    hidden = "".join(element.proto.body for element in test.get("html"))
    assert "stToolbar" in hidden
    assert "stSlider" in hidden
    assert {"lock", "hide"} <= address(test.run()).keys()
    free = app("Phases", p="23", lock="everything", hide="<style>")
    assert not bar(free)["locked"]
    assert len(errors(free)) == 2


@pytest.mark.parametrize("late", [0.2, 3.0, 9.0])
def test_state_and_address_do_not_part_however_late_the_browser_tells(app, monkeypatch, late):
    clock = [0.0]
    monkeypatch.setattr(links.time, "monotonic", lambda: clock[0])
    test = app("Overview", p="23", step="600")
    told = "23"
    for p in range(25, 45, 2):
        clock[0] += late / 10
        test.query_params["p"] = told  # sent before the browser had heard of the last ones
        wish(test, p=p)
        told = str(p - 2)
    assert test.session_state["p"] == bar(test)["p"] == 43
    assert address(test)["p"] == "43"
    assert address(test).get("step") == (
        None if player(test)["at"] == player(test)["moments"][-1] else str(player(test)["at"])
    )
    assert not errors(test)


def test_a_wish_for_a_step_survives_a_page_that_ends_before_it(app):
    short = player(app("Lottery", p="23"))["moments"][-1]
    late = next(step for step in player(app("Overview", p="23"))["moments"] if step > short)
    test = app("Overview", p="23", step=str(late))
    assert player(test)["at"] == late
    for page in ("Lottery", "Grokking"):
        test.query_params.clear()  # as the navigation leads there
        test.switch_page(f"pages/{page}.py").run()
        assert not test.exception
        assert not errors(test)
        assert player(test)["at"] == (short if page == "Lottery" else late)


def test_a_growing_run_is_followed_on_every_page_until_the_player_is_moved(app):
    test = app("Lottery", p="23")
    test.switch_page("pages/Grokking.py").run()
    assert "step" not in address(test)
    assert player(test)["at"] == player(test)["moments"][-1]


def test_the_navigation_keeps_the_run_where_it_can_be_shown(app):
    run = preset("quad_random", 23)
    test = app("Phases", p="23", run=run.id)
    test.query_params.clear()
    test.switch_page("pages/Weights.py").run()
    assert address(test) == {"p": "23", "run": run.id}
    assert bar(test)["run"] == run.id


def test_a_run_of_another_modulus_is_left_with_a_sentence(app):
    test = app("Grokking", p="23", run=preset("standard", 31).id)
    assert not test.exception
    assert any("is a run of p = 31: showing p = 23 instead" in text.value for text in test.info)
    assert "run" not in address(test)


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
    ],
)
def test_a_check_gives_the_nearest_value_or_a_sentence(check, good, value, bad):
    assert check(good) == value
    with pytest.raises(ValueError, match=bad):
        check(bad)


def test_a_value_reads_back_from_its_text():
    for check, value in ((links.whole(0, 9), 7), (links.several("abc"), ["c", "a"]),
                         (links.words(), "0, 5-9")):  # fmt: skip
        assert check(links.text_of(value)) == value
    assert links.text_of(False) is links.text_of([]) is links.text_of(None) is None
