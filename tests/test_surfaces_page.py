"""Activation surfaces: planted waves and gratings, axes not transposed, the page, and a turn in the browser."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import SMALL, finish
from serving import CHROMIUM
from streamlit.testing.v1 import AppTest

from modadd import Run, preset, ui
from modadd.activations import ACTIVATIONS, trainable
from modadd.figures import surfaces
from modadd.frames import pre_ln
from pages import move

PAGE = "pages/Surfaces.py"
P = 13
X, Y = np.meshgrid(np.arange(P), np.arange(P), indexing="ij")
TINY = Run(
    model="transformer", p=7, d_model=10, heads=2, d_mlp=11, lr=1e-3, weight_decay=1.0, frac_train=0.6, epochs=64
)


def wave(k: int, l: int, phase: float = 0.0) -> np.ndarray:
    return np.cos(2 * np.pi * (k * X + l * Y) / P + phase)


# Waves and gratings


def test_planted_waves_are_found_with_their_amplitudes_and_shares():
    found = surfaces.waves(5 + 3 * wave(2, -5, 0.4) + wave(0, 4, 1.0) + 2 * wave(6, 0, 2.0))
    assert [(w["k"], w["l"]) for w in found[:3]] == [(2, -5), (6, 0), (0, 4)]
    np.testing.assert_allclose([w["amplitude"] for w in found[:3]], [3, 2, 1])
    np.testing.assert_allclose([w["share"] for w in found[:3]], [9 / 14, 4 / 14, 1 / 14])


def test_the_shares_of_all_waves_add_up_to_one():
    noise = np.random.default_rng(0).normal(size=(P, P))
    assert sum(w["share"] for w in surfaces.waves(noise, P * P)) == pytest.approx(1)
    assert len(surfaces.waves(noise, P * P)) == (P * P - 1) // 2


@pytest.mark.parametrize("pedestal", [0.0, 0.7, 1.5])
def test_a_planted_product_of_gratings_is_fitted_exactly(pedestal):
    surface = (pedestal + 2 * wave(3, 0, 0.5)) * (1.3 * pedestal - wave(0, 3, 2.5))
    found = surfaces.product_grating(surface)
    assert found["k"] == 3
    assert found["r2"] == pytest.approx(1)
    np.testing.assert_allclose(found["fit"], surface, atol=1e-9)


def test_a_sum_of_gratings_is_half_a_product():
    assert surfaces.product_grating(wave(3, 0) + wave(0, 3))["r2"] == pytest.approx(0.5)


def test_a_flat_surface_has_no_waves_and_no_grating():
    for flat in (np.zeros((P, P)), np.full((P, P), 0.3)):
        assert surfaces.waves(flat) == []
        assert surfaces.product_grating(flat) is None


@pytest.mark.parametrize("activation", trainable())
def test_the_surface_of_an_mlp_neuron_is_its_activation(activation):
    import torch

    theta = np.random.default_rng(1).normal(size=(3, P)).astype(np.float32)
    run = replace(SMALL, p=P, activation=activation)
    surface = surfaces.of_mlp({"theta": theta}, run, 2)
    plain = ACTIVATIONS[activation](torch.tensor(theta[2][X] + theta[2][Y]).double()).numpy()
    np.testing.assert_allclose(surface, plain, atol=1e-6)


# Axes and exports: a ramp along x only


RAMP = X.astype(float)


def test_the_axes_are_not_transposed():
    read = json.loads(surfaces.as_json(RAMP, 41))
    assert read.keys() == {"neuron_index", "modulus", "surface"}
    assert (read["neuron_index"], read["modulus"]) == (41, P)
    assert read["surface"][9][2] == 9
    for figure in (surfaces.in_3d(RAMP), surfaces.from_above(RAMP)):
        z = np.array(figure.data[0].z)
        assert z[2][9] == 9  # plotly's rows are y
    rows = surfaces.table_of(RAMP).to_pydict()
    assert rows["activation"] == rows["x"]
    assert surfaces.waves(np.tile(wave(0, 0)[0], (P, 1)) * wave(4, 0))[0]["k"] == 4


def test_the_page_to_take_home_needs_no_network():
    text = surfaces.as_html(RAMP, "neuron 1")
    assert "Plotly.newPlot" in text
    assert len(text) > 2_000_000  # the library is inside
    assert "<script src=" not in text
    assert "cdn.plot.ly" not in text.split("Plotly.newPlot")[-1]


# The page


@pytest.fixture
def app(app):
    """Opens this page."""
    return partial(app, PAGE)


def plots(test: AppTest) -> list[str]:
    return [chart.proto.SerializeToString() for chart in test.get("plotly_chart")]


def test_the_atlas_shows_any_neuron_of_an_mlp(app):
    test = app(p="23")
    assert not test.exception
    assert not test.error
    before = plots(test)
    assert len(before) == 2
    assert len(test.get("download_button")) == 3
    test.number_input(key=f"surface-of-{preset('standard', 23).id}").set_value(7).run()
    assert not test.exception
    assert all(a != b for a, b in zip(before, plots(test), strict=True))


def test_any_neuron_of_a_transformer_is_shown_at_any_step(app):
    ui.lab().store.put(finish(TINY))
    test = app(atlas=False, run=TINY.id)
    assert not test.exception
    assert len(plots(test)) == 2 or any("there is nothing to see" in text.value for text in test.info)
    neuron = test.number_input(key=f"surface-of-{TINY.id}")
    for m, step in ((0, 0), (10, 16)):
        neuron.set_value(m)
        move(test, step)
        assert not test.exception
        assert len(plots(test)) == 2 or any("there is nothing to see" in text.value for text in test.info)


@pytest.mark.parametrize("task", ["addition", "addpow"])
def test_any_neuron_of_any_layer_of_another_task_is_shown(app, task):
    run = Run(p=5, model="pre-ln", task=task, activation="gelu", d_model=6, d_mlp=11, heads=2, layers=2, batch=16,
              lr=1e-2, frac_train=0.6, epochs=40)  # fmt: skip
    record = finish(run)
    ui.lab().store.put(record)
    test = app(atlas=False, run=run.id)
    assert not test.exception
    seen, third = [], [one.key for one in test.number_input if one.label.startswith("Third input c")]
    assert third == [f"c-of-{run.id}"] * (task == "addpow")
    for layer in (1, 2):
        test.number_input(key=f"layer-of-{run.id}").set_value(layer).run()
        test.number_input(key=f"surface-of-{run.id}-{layer - 1}").set_value(3).run()
        assert not test.exception
        seen.append(plots(test))
    assert len(seen[0]) == len(seen[1]) == 2
    assert seen[0] != seen[1]
    if task == "addpow":
        test.number_input(key=f"c-of-{run.id}").set_value(2).run()
        assert not test.exception
        assert plots(test) != seen[1]


def test_the_surface_of_a_pre_ln_neuron_is_what_the_network_computes():
    run = Run(p=5, model="pre-ln", task="add3", activation="gelu", d_model=6, d_mlp=11, heads=2, layers=2, batch=16,
              frac_train=0.6, epochs=4)  # fmt: skip
    w = pre_ln.weights_of(finish(run).frames[-1])
    surface = pre_ln.neurons_over_pairs(run, w, 1, 3)[:, 7].reshape(5, 5)
    for x, y in ((0, 0), (2, 4), (4, 1)):
        one = pre_ln.read(run, w, np.array([[x, y, 3]]))["neurons"][1, 0, 7]
        assert surface[x, y] == pytest.approx(one, rel=1e-5, abs=1e-6)


def test_a_transformer_without_weights_shows_the_neurons_that_it_keeps(app):
    record = finish(TINY)
    frames = tuple({n: a for n, a in frame.items() if not n.startswith("weights/")} for frame in record.frames)
    ui.lab().store.put(replace(record, frames=frames, state=None))
    test = app(atlas=False, run=TINY.id)
    assert not test.exception
    assert any("keeps the surfaces of" in text.value for text in test.caption)
    assert test.selectbox(key="surface-of-kept").options == [str(m) for m in record.frames[-1]["map_neuron"]]


def test_an_mlp_without_weights_is_one_sentence(app, record):
    frames = tuple({n: a for n, a in frame.items() if n not in ("theta", "xi")} for frame in record.frames)
    ui.lab().store.put(replace(record, frames=frames, state=None))
    test = app(run=SMALL.id)
    assert not test.exception
    assert not plots(test)
    assert any("holds no weights" in text.value for text in test.info)


def test_an_empty_cache_is_an_offer_to_train(app):
    test = app(atlas=False, p="23")
    assert not test.exception
    assert any(button.label.startswith("Train this here (about") for button in test.button)


# In the browser


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.flaky(reruns=2)
def test_a_surface_is_turned_with_the_mouse(server, tab):
    plot = "document.querySelector('.st-key-surface-3d .js-plotly-plot')"
    eye = f"JSON.stringify({plot}._fullLayout.scene._scene.getCamera().eye)"
    tab.goto(f"{server}/Surfaces?p=23")
    scene = tab.locator(".st-key-surface-3d .js-plotly-plot canvas").first
    scene.wait_for()
    tab.wait_for_function(f"{eye}.length > 10")
    before = tab.evaluate(eye)
    scene.scroll_into_view_if_needed()
    box = scene.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 120, y + 30, steps=6)
    tab.mouse.up()
    tab.wait_for_function(f"{eye} !== {json.dumps(before)}")
