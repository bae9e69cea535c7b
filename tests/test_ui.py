"""What the pages share: the modulus, the run in view, the player, following a live run, and charts to take home."""

import base64
from dataclasses import replace
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pytest
from conftest import FLOAT32, SMALL, finish
from streamlit.testing.v1 import AppTest

from modadd import preset, ui
from modadd.figures import curves, export, grids, neurons, style, weights
from modadd.jobs.lab import Job
from modadd.records import rows
from modadd.ui import clock, reels
from pages import charts

WITH_A_RUN = ["Weights", "Phases", "Logits", "Surgery", "Lottery", "Gradient_flow", "Claims"]
P = 7


@pytest.fixture(scope="module")
def halfway():
    """A run of p = 7 as it is in mid-training."""
    run = preset("standard", P, d_mlp=40)
    record = finish(replace(run, epochs=400))
    return replace(record, run=run, provenance=record.provenance | {"stop_reason": None})


def put_live(record, frames: int | None = None, run=None) -> Job:
    """A job of the lab that has come as far as these frames of a record."""
    frames = len(record.frames) if frames is None else frames
    grown = replace(record, run=run or record.run, frames=record.frames[:frames],
                    frame_steps=record.frame_steps[:frames])  # fmt: skip
    job = ui.lab()._jobs[grown.run.id] = Job(grown.run, "cpu", "running", grown)
    return job


def step_of(test: AppTest) -> int:
    return test.select_slider(key="step").value


@pytest.mark.parametrize("page", WITH_A_RUN)
def test_every_page_draws_a_run_that_is_training(app, halfway, page):
    job = put_live(halfway)
    test = app(page, run=job.run.id)
    assert not test.exception
    assert not test.error
    if page == "Claims":
        assert any("badge[" in text.value for text in test.markdown)
        return
    assert any("is training now: step 400" in text.value for text in test.caption)
    assert len(charts(test)) >= 3
    assert step_of(test) == 400


def test_the_overview_draws_a_preset_that_is_training(app, halfway):
    job = put_live(halfway, run=preset("standard", P))
    test = app("Overview", p=str(P))
    assert not test.exception
    assert any(f"{job.run.id} is training now" in text.value for text in test.caption)
    assert len(charts(test)) == 6


@pytest.mark.parametrize("page", WITH_A_RUN[:-1])
def test_a_run_without_a_frame_yet_is_waited_for(app, halfway, page):
    run = halfway.run
    ui.lab()._jobs[run.id] = Job(run, "cpu", "queued")
    test = app(page, run=run.id)
    assert not test.exception
    assert not test.error
    assert any("its first frame is to come" in text.value for text in test.caption)
    assert not charts(test)


def test_the_player_stands_on_the_newest_frame_until_it_is_moved(app, halfway):
    job = put_live(halfway, 5)
    test = app("Phases", run=job.run.id)
    assert step_of(test) == halfway.frame_steps[4]
    put_live(halfway, 9)
    assert step_of(test.run()) == halfway.frame_steps[8]
    test.select_slider(key="step").set_value(halfway.frame_steps[2]).run()
    put_live(halfway, 12)
    assert step_of(test.run()) == halfway.frame_steps[2]
    test.button(key="step-End").click().run()
    assert step_of(test) == halfway.frame_steps[11]
    put_live(halfway)
    assert step_of(test.run()) == 400


def test_the_buttons_of_the_player_step_and_jump(app):
    test = app("Phases", p="23")
    steps = [int(step.replace(",", "")) for step in test.select_slider(key="step").options]
    assert test.button(key="step-Forward").disabled
    assert step_of(test.button(key="step-Back").click().run()) == steps[-2]
    assert step_of(test.button(key="step-Forward").click().run()) == steps[-1]
    assert step_of(test.button(key="step-Start").click().run()) == 0
    assert test.button(key="step-Back").disabled
    end = ui.find(preset("standard", 23).id).record.summary["stage1_end"]
    there = step_of(test.button(key="step-Stage I ends").click().run())
    assert there == min(steps, key=lambda step: abs(step - end))


def test_a_stage_that_was_not_reached_cannot_be_jumped_to(app, halfway):
    short = replace(halfway, history=halfway.history | {"train_accuracy": 0 * halfway.history["train_accuracy"]})
    job = put_live(short)
    test = app("Phases", run=job.run.id)
    button = test.button(key="step-Stage I ends")
    assert button.label == "Stage I ends: not reached"
    assert button.disabled


def playing(test: AppTest) -> reels.Film | None:
    return test.session_state["step-playing"]


def arrive(test: AppTest, monkeypatch, **news) -> AppTest:
    """The page after the browser has told how far the film is."""
    with monkeypatch.context() as patch:
        patch.setattr(clock.st, "session_state", test.session_state)
        clock._arrived("step", news)
    return test.run()


def test_playing_follows_the_browser_and_stops_at_the_end(app, monkeypatch):
    test = app("Phases", p="23")
    steps = [int(step.replace(",", "")) for step in test.select_slider(key="step").options]
    test.button(key="step-play").click().run()
    assert not test.exception
    assert test.button(key="step-play").label == "Pause"
    assert test.select_slider(key="step").disabled
    assert step_of(test) == steps[0]  # from the start, for the end was in view
    take = playing(test).take
    arrive(test, monkeypatch, take=take, at=steps[3], parcel=0)
    assert not test.exception
    assert step_of(test) == steps[3]
    test.selectbox(key="step-speed").set_value(2).run()
    arrive(test, monkeypatch, take=take, at=steps[-1], parcel=0, ended=True)
    assert step_of(test) == steps[-1]
    assert test.button(key="step-play").label == "Play"
    assert not test.select_slider(key="step").disabled


def test_pause_leaves_the_step_where_it_is_and_late_news_are_ignored(app, monkeypatch):
    test = app("Weights", p="23")
    steps = [int(step.replace(",", "")) for step in test.select_slider(key="step").options]
    test.button(key="step-play").click().run()
    take = playing(test).take
    arrive(test, monkeypatch, take=take, at=steps[5], parcel=0)
    test.button(key="step-play").click().run()
    assert step_of(test) == steps[5]
    assert step_of(arrive(test, monkeypatch, take=take, at=steps[9], parcel=0)) == steps[5]
    test.button(key="step-play").click().run()
    assert step_of(arrive(test, monkeypatch, take=take, at=steps[9], parcel=0)) == steps[5]  # of the film before


def test_nonsense_from_the_browser_leaves_a_step_that_there_is(app, monkeypatch):
    test = app("Lottery", p="23")
    test.button(key="step-play").click().run()
    take = {"take": playing(test).take}
    with monkeypatch.context() as patch:
        patch.setattr(clock.st, "session_state", test.session_state)
        for news in (None, "x", {"at": "<b>"}, {"parcel": "x"}, {"take": []}, {"at": -5}, {"at": True}, {"at": 10**12}):
            clock._arrived("step", take | news if isinstance(news, dict) else news)
    assert not test.run().exception
    assert f"{step_of(test):,}" in test.select_slider(key="step").options


@pytest.mark.parametrize("page", ["Overview", "Phases", "Logits"])
def test_a_film_brings_every_chart_at_every_moment(app, page):
    test = app(page, p="23")
    test.button(key="step-play").click().run()
    film, options = playing(test), test.select_slider(key="step").options
    moments = [int(step.replace(",", "")) for step in options]
    film.parcel(moments, moments[0], budget=60)
    assert not film.plain
    assert len(film.reels) == len(charts(test))
    for reel in film.reels.values():
        assert set(reel.sent) == set(moments)


def test_a_film_holds_what_the_charts_show(record):
    """Each table put together again from its columns, as the browser does it."""
    film, moments = reels.Film(), list(record.frame_steps)
    made = {
        "dots": lambda at: ui.specification(neurons.phase_scatter(record.at(at).frame, record.run.K)),
        "curves": lambda at: ui.specification(curves.losses(record, at)),
    }
    for key, make in made.items():
        film.shows(key, make, moments[0])
    parcel = film.parcel(moments, moments[0], budget=60)
    columns = {number: unpacked(column) for number, column in parcel["columns"]}
    assert len(parcel["frames"]) == 2 * len(moments)
    for key, _, moment, tables in parcel["frames"]:
        for name, (length, numbers) in tables.items():
            table = made[key](moment)["datasets"][name]
            assert len(table) == length
            for column, number in numbers.items():
                told, true = columns[number][:length], table[column].to_pylist()
                assert told == (true if not true or isinstance(true[0], str) else pytest.approx(true, rel=FLOAT32))
    assert len(columns) < len(parcel["frames"]) * 4  # what stays is sent once


def unpacked(column) -> list:
    if isinstance(column, list):
        return column
    return np.frombuffer(base64.b64decode(column["bytes"]), column["kind"]).tolist()


def test_a_parcel_is_sent_until_the_browser_has_it(record):
    film, moments = reels.Film(), list(record.frame_steps)
    make = lambda at: ui.specification(neurons.phase_scatter(record.at(at).frame, record.run.K))  # noqa: E731
    film.shows("dots", make, moments[0])
    first = film.parcel(moments, moments[0], budget=0)
    again = film.parcel(moments, moments[0], budget=0)
    assert again["frames"][: len(first["frames"])] == first["frames"]
    film.received(again["parcel"])
    after = film.parcel(moments, moments[0], budget=60)
    assert not {tuple(frame[:3]) for frame in after["frames"]} & {tuple(frame[:3]) for frame in again["frames"]}
    film.received(after["parcel"])
    assert film.parcel(moments, moments[0])["frames"] == []


def test_a_chart_that_becomes_another_is_filmed_anew(record):
    film, moments = reels.Film(), list(record.frame_steps)
    layers = {"now": "input"}
    coef = lambda at: rows.coefficients(record.at(at).frame, np.arange(3))  # noqa: E731
    make = lambda at: ui.specification(weights.spectrum(coef(at), len(layers) - 1))  # noqa: E731
    film.shows("bars", make, moments[0])
    film.parcel(moments, moments[0], budget=60)
    number = film.reels["bars"].number
    film.shows("bars", make, moments[1])
    assert film.reels["bars"].number == number
    layers["another"] = "neuron"
    assert film.shows("bars", make, moments[1])["datasets"]["bars"] == make(moments[1])["datasets"]["bars"]
    assert film.reels["bars"].number != number
    assert {frame[1] for frame in film.parcel(moments, moments[1], budget=60)["frames"]} >= {film.reels["bars"].number}


def test_a_click_on_a_neuron_opens_its_race(app, halfway):
    run = halfway.run
    ui.lab().store.put(replace(halfway, state=None))
    test = app("Phases", run=run.id)
    test.session_state["opened"] = 5  # what the callback of a click leaves behind
    test.run()
    assert not test.exception
    assert test.title[0].value.startswith("Every neuron draws")
    assert test.query_params["run"] in (run.id, [run.id])
    assert test.number_input(key="neuron").value == 5


def test_a_chart_is_saved_as_csv_svg_and_png(app):
    test = app("Weights", p="23")
    assert not test.get("download_button")
    test.session_state["save-spectrum"] = True
    test.run()
    assert not test.exception
    assert [button.proto.label for button in test.get("download_button")] == [
        "Data as CSV", "Chart as SVG", "Chart as PNG", "Chart as PDF",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def pictures(record):
    """Charts of every kind: lines from Altair, drawings, rectangles, images, a field of kinds."""
    frame, chosen = record.at().frame, np.arange(8)
    coef = rows.coefficients(frame, chosen)
    wide = np.random.default_rng(0).normal(size=(60, 60))
    return {
        "losses": (curves.losses(record), 2),
        "scatter": (neurons.phase_scatter(frame, record.run.K), 8),
        "modes": (weights.modes(coef, chosen, "input"), 8 * 7),
        "image": (style.heatmap(wide, "j", "y", "logit"), 1),
        "fit": (weights.cosine_fit(rows.best_cosine(coef["input"][0]), "input"), 7),
        "grid": (grids.accuracy(frame, record.run), 49),
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["losses", "scatter", "modes", "image", "fit", "grid"])
def test_the_svg_is_one_with_marks_in_it(pictures, name, theme):
    chart, least = pictures[name]
    root = ElementTree.fromstring(export.svg(ui.specification(chart), theme))
    assert root.tag.endswith("svg")
    groups = [g for g in root.iter() if "role-mark" in g.get("class", "")]
    marks = [mark for g in groups for mark in g if mark.get("d") or mark.tag.endswith("image")]
    assert len(marks) >= least
    assert "NaN" not in ElementTree.tostring(root, "unicode")
    ground = export.INKS[theme][0]
    assert ground in ElementTree.tostring(root, "unicode")


def test_the_png_is_one_of_the_width_that_was_promised(pictures):
    from io import BytesIO

    from PIL import Image

    picture = Image.open(BytesIO(export.png(ui.specification(pictures["fit"][0]))))
    assert picture.width == export.WIDTH * export.PNG_SCALE
    assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_the_picture_is_of_the_data_on_the_page(record):
    frame = record.at().frame
    now, before = (rows.best_cosine(rows.coefficients(record.frames[i], np.array([0]))["input"][0]) for i in (-1, 0))
    one, other = (export.svg(ui.specification(weights.cosine_fit(fit, "input"))) for fit in (now, before))
    assert one != other
    assert one == export.svg(ui.specification(weights.cosine_fit(now, "input")))
    assert len(ui.specification(neurons.phase_scatter(frame, 3))["datasets"]["dots"]) == record.run.d_mlp


def test_a_specification_is_made_once_and_only_data_follow(record):
    first, last = (neurons.phase_scatter(record.frames[i], record.run.K, 2) for i in (0, -1))
    assert first.spec is last.spec
    assert first.tables["dots"] != last.tables["dots"]
    other = neurons.phase_scatter(record.frames[0], record.run.K, 2, pick=True)
    assert other.spec is not first.spec


@pytest.mark.parametrize("shape", [(5, 7), (60, 61)])
def test_a_heatmap_is_a_valid_specification_with_its_colours_explained(shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    matrix[0, 0] = 9
    chart = style.heatmap(matrix, "answer", "row", "logit", y_names=[f"n{i}" for i in range(shape[0])])
    assert chart.tables["ends"]["value"].to_pylist() == [-9, 9]
    spec = {name: part for name, part in chart.to_dict().items() if name != "datasets"}
    alt.LayerChart.from_dict(spec, validate=True)
    svg = export.svg(ui.specification(chart)).decode()
    assert "logit" in svg
    assert "linearGradient" in svg  # the legend
    assert "row" in svg


def test_an_imageless_heatmap_of_nothing_is_still_drawn():
    for matrix in (np.zeros((3, 4)), np.full((3, 4), np.nan)):
        assert export.svg(ui.specification(style.heatmap(matrix, "a", "b", "c")))


@pytest.mark.parametrize("page", ["Weights", "Claims"])
def test_a_run_in_the_url_brings_its_modulus_and_a_link_moves_it(app, page):
    test = app(page, run=preset("standard", 29).id)
    assert not test.exception
    assert test.session_state["p"] == 29
    test.query_params["p"] = "23"  # a link inside the app
    test.run()
    assert test.session_state["p"] == 23
    assert not test.exception


def test_the_small_run_is_drawn_on_every_page(app, record):
    ui.lab().store.put(record)
    for page in WITH_A_RUN:
        test = app(page, run=SMALL.id)
        assert not test.exception, page
        assert not test.error, page
