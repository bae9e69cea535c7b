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
from modadd.figures import curves, export, fields, grids, neurons, style, weights
from modadd.jobs.lab import Job
from modadd.records import rows
from modadd.ui import reels
from pages import charts, drawn, move, player, said, tell, wish

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
    return player(test)["at"]


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
    assert {"loss-standard", "logits-standard"} <= drawn(test)


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
    move(test, halfway.frame_steps[2])
    put_live(halfway, 12)
    assert step_of(test.run()) == halfway.frame_steps[2]
    move(test, halfway.frame_steps[11])
    assert step_of(test) == halfway.frame_steps[11]
    put_live(halfway)
    assert step_of(test.run()) == 400


def test_the_player_knows_its_moments_and_marks_when_most_is_right(app):
    test = app("Phases", p="23")
    record = ui.find(preset("standard", 23).id).record
    assert player(test)["moments"] == list(record.frame_steps)
    assert player(test)["turns"] == [["95 % right", record.summary["stage1_end"]]]
    grown = player(app("Phases", p="23", run="grokking"))
    summary = ui.find(preset("grokking", 23).id).record.summary
    assert [end for _, end in grown["stages"]] == [summary["stage1_end"], summary["stage2_end"], grown["moments"][-1]]


def test_a_stage_that_was_not_reached_is_not_marked(app, halfway):
    short = replace(halfway, history=halfway.history | {"train_accuracy": 0 * halfway.history["train_accuracy"]})
    job = put_live(short)
    assert player(app("Phases", run=job.run.id))["turns"] == [["95 % right", None]]


def film_of(test: AppTest) -> reels.Film | None:
    return test.session_state["step-film"]


def test_playing_follows_the_browser_and_stops_at_the_end(app):
    test = app("Phases", p="23")
    steps = player(test)["moments"]
    tell(test, playing=True, at=steps[0])
    assert not test.exception
    assert player(test)["playing"]
    assert step_of(test) == steps[0]
    tell(test, playing=True, at=steps[3])
    assert not test.exception
    assert step_of(test) == steps[3]
    tell(test, speed=2)
    assert player(test)["speed"] == 2
    tell(test, playing=False, at=steps[-1])
    assert step_of(test) == steps[-1]
    assert not player(test)["playing"]


def test_news_that_come_late_are_ignored(app):
    test = app("Weights", p="23")
    steps = player(test)["moments"]
    tell(test, playing=True, at=steps[5], seq=20)
    tell(test, playing=False, at=steps[5], seq=21)
    assert step_of(tell(test, playing=True, at=steps[9], seq=19)) == steps[5]
    assert not player(test)["playing"]


def test_frames_are_sent_ahead_once_they_are_wished_for_and_anew_for_another_run(app):
    test = app("Phases", p="23")
    assert player(test)["take"] == 0
    tell(test, film=True)
    take = player(test)["take"]
    assert take
    assert player(test)["frames"]
    assert player(move(test, 0))["take"] == take
    wish(test, run="quad_random")
    assert player(test)["take"] == 0


def test_nonsense_from_the_browser_leaves_a_step_that_there_is(app):
    test = app("Lottery", p="23")
    steps = player(test)["moments"]
    for news in ({"at": "<b>"}, {"parcel": "x"}, {"take": []}, {"at": -5}, {"at": True}, {"at": 10**12},
                 {"speed": 7}, {"playing": "x"}, {"film": 1}, {"seq": "x"}, {"seq": None}):  # fmt: skip
        tell(test, **news)
        assert not test.exception
        assert step_of(test) in steps
    assert not wish(test, p="<b>", run="x", axis=3).exception


@pytest.mark.parametrize("page", ["Overview", "Phases", "Logits", "Weights"])
def test_a_film_brings_every_chart_at_every_moment(app, page):
    test = tell(app(page, p="23"), film=True)
    film, moments = film_of(test), player(test)["moments"]
    film.parcel(moments, moments[0], budget=60)
    assert not film.plain
    assert len(film.reels) == len(charts(test))
    for reel in film.reels.values():
        assert set(reel.sent) == set(moments)


def test_frames_for_one_who_drags_come_from_everywhere_first(record):
    film, moments = reels.Film(), list(range(0, 330, 10))
    film.shows("dots", lambda at: {"datasets": {"now": style.table(step=[at])}}, 0)
    sent = [frame[2] for frame in film.parcel(moments, 320, budget=60, inorder=False)["frames"]]
    assert sorted(sent) == moments
    assert max(np.diff(sorted(sent[:9]))) <= 80


def test_a_film_holds_what_the_charts_show(record):
    """Each table put together again from its columns, as the browser does it."""
    film, moments = reels.Film(), list(record.frame_steps)
    made = {
        "dots": lambda at: ui.specification(neurons.phase_scatter(record.at(at).frame, record.run.K, at)),
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
    make = lambda at: ui.specification(neurons.phase_scatter(record.at(at).frame, record.run.K, at))  # noqa: E731
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
    make = lambda at: ui.specification(weights.spectrum(coef(at), len(layers) - 1, 0, at))  # noqa: E731
    film.shows("bars", make, moments[0])
    film.parcel(moments, moments[0], budget=60)
    number = film.reels["bars"].number
    film.shows("bars", make, moments[1])
    assert film.reels["bars"].number == number
    layers["another"] = "neuron"
    assert film.shows("bars", make, moments[1])["datasets"]["bars"] == make(moments[1])["datasets"]["bars"]
    assert film.reels["bars"].number != number
    assert {frame[1] for frame in film.parcel(moments, moments[1], budget=60)["frames"]} >= {film.reels["bars"].number}


def test_a_click_on_a_dot_shows_the_race_inside_its_neuron_on_the_same_page(app, halfway):
    ui.lab().store.put(replace(halfway, state=None))
    test = app("Phases", run=halfway.run.id)
    test.session_state["raced"] = 5  # what the callback of a click leaves behind
    test.run()
    assert not test.exception
    assert test.title[0].value.startswith("Phases")
    assert test.number_input(key="raced").value == 5
    assert "neuron 5" in said(test)


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
        "scatter": (neurons.phase_scatter(frame, record.run.K, 300), 8),
        "modes": (weights.modes(coef, chosen, "input", 300), 8 * 7),
        "image": (fields.heatmap(wide, fields.counted("j", 60), fields.counted("y", 60), "logit"), 1),
        "fit": (weights.cosine_fit(rows.best_cosine(coef["input"][0]), "input", 0, 300), 7),
        "grid": (grids.answers(frame, record.run, 300), 49),
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
    one, other = (export.svg(ui.specification(weights.cosine_fit(fit, "input", 0, 300))) for fit in (now, before))
    assert one != other
    assert one == export.svg(ui.specification(weights.cosine_fit(now, "input", 0, 300)))
    assert len(ui.specification(neurons.phase_scatter(frame, 3, 300))["datasets"]["dots"]) == record.run.d_mlp


def test_a_specification_is_made_once_and_only_data_follow(record):
    first, last = (neurons.phase_scatter(record.frames[i], record.run.K, 0, 2).drawing for i in (0, -1))
    assert first.spec is last.spec
    assert first.tables["dots"] != last.tables["dots"]
    other = neurons.phase_scatter(record.frames[0], record.run.K, 0, 2, pick=True).drawing
    assert other.spec is not first.spec


@pytest.mark.parametrize("shape", [(5, 7), (60, 61)])
def test_a_heatmap_is_a_valid_specification_with_its_colours_explained(shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    matrix[0, 0] = 9
    x, y = fields.counted("answer", shape[1]), fields.counted("row", [f"n{i}" for i in range(shape[0])])
    chart = fields.heatmap(matrix, x, y, "logit")
    assert chart.tables["ends"]["value"].to_pylist() == [-9, 9]
    spec = {name: part for name, part in chart.to_dict().items() if name != "datasets"}
    alt.LayerChart.from_dict(spec, validate=True)
    svg = export.svg(ui.specification(chart)).decode()
    assert "logit" in svg
    assert "linearGradient" in svg  # the legend
    assert "row" in svg


def test_an_imageless_heatmap_of_nothing_is_still_drawn():
    for matrix in (np.zeros((3, 4)), np.full((3, 4), np.nan)):
        assert export.svg(ui.specification(fields.heatmap(matrix, fields.counted("a", 4), fields.counted("b", 3), "c")))


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
