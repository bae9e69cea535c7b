"""The activations: each is its formula, its derivative its slope, and one of your own goes where ours go."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import EXACT, SMALL
from scipy.special import erf
from test_step import autograd, closed_form, some_weights

from modadd import Run, activations, train
from modadd.activations import ACTIVATIONS, trainable
from modadd.analysis import lesson, surgery
from modadd.figures import surgery as figures
from modadd.networks.activations import FASTER, function, in_place
from modadd.networks.mlp import compiled, kernels
from modadd.records.store import Damaged, Store, from_bytes, to_bytes

FORMULAS = {
    "relu": lambda h: max(h, 0), "quad": lambda h: h**2, "gelu": lambda h: h / 2 * (1 + erf(h / np.sqrt(2))),
    "abs": abs, "x4": lambda h: h**4, "x8": lambda h: h**8, "softplus": lambda h: np.log1p(np.exp(2 * h)),
    "exp": np.exp, "identity": lambda h: h, "cube": lambda h: h**3,
}  # fmt: skip


@pytest.fixture
def sine():
    """A registered sine, gone after the test."""
    yield activations.register("sine", lambda h, xp: xp.sin(h), lambda h, xp: xp.cos(h), label="sin x")
    del ACTIVATIONS["sine"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_its_formula_for_numpy_and_for_torch(name):
    h = np.linspace(-2, 2, 9)
    expected = [FORMULAS[name](x) for x in h]
    np.testing.assert_allclose(ACTIVATIONS[name](h), expected, atol=1e3 * EXACT)
    tensor = torch.tensor(h)
    np.testing.assert_allclose(ACTIVATIONS[name](tensor), expected, atol=1e3 * EXACT)
    assert torch.equal(tensor, torch.tensor(h)), "its input is left alone"


@pytest.mark.parametrize("name", trainable())
def test_a_derivative_is_the_slope(name):
    h = torch.linspace(-2.95, 3, 60, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ACTIVATIONS[name](h).sum(), h)
    np.testing.assert_allclose(ACTIVATIONS[name].slope(h.detach()), slope, atol=EXACT)
    np.testing.assert_allclose(ACTIVATIONS[name].slope(h.detach().numpy()), slope, atol=EXACT)


@pytest.mark.parametrize("name", FASTER)
def test_what_torch_does_faster_is_the_definition(name):
    h, g = torch.linspace(-2.95, 3, 60, dtype=torch.float64), torch.linspace(1, 2, 60, dtype=torch.float64)
    value, slope = ACTIVATIONS[name](h), ACTIVATIONS[name].slope(h)
    np.testing.assert_allclose(function(name)(h), value, atol=EXACT)
    np.testing.assert_allclose(in_place(name).apply_(h.clone()), value, atol=EXACT)
    np.testing.assert_allclose(in_place(name).back_(g.clone(), h, value), g * slope, atol=EXACT)


def test_the_compiled_step_and_the_kernels_know_registered_activations():
    assert {*compiled.ACTIVATIONS, *kernels.ACTIVATIONS} <= set(trainable())


def test_parity_is_that_of_the_function(sine):
    assert [name for name, act in ACTIVATIONS.items() if act.parity == "even"] == ["quad", "abs", "x4", "x8"]
    assert [name for name, act in ACTIVATIONS.items() if act.parity == "odd"] == ["identity", "cube", "sine"]


@pytest.mark.parametrize("model", [dict(), dict(d_model=3), dict(model="pre-ln", d_model=8, heads=2, init_scale=0.1)])
def test_an_activation_of_ones_own_trains_and_is_read(sine, model):
    run = replace(Run(p=7, d_mlp=24, epochs=20, lr=0.01), activation="sine", **model)
    *_, last = train(run, device="cpu", every=60)
    frame = last.record.frames[-1]
    assert last.record.summary["train_loss"] < np.log(7) + 0.1
    assert from_bytes(to_bytes(last.record)).run == run
    if run.model == "mlp":
        assert last.record.provenance["step"] == "torch"
        assert (
            lesson.probabilities(frame, run, 1, 2).argmax()
            == surgery.logits(surgery.network(frame, run), [1], [2]).argmax()
        )
        tried = {"sine": surgery.outcome(surgery.network(frame, run), run)}
        assert figures.swaps_table(tried)["activation"].to_pylist() == ["sin x"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_an_activation_of_ones_own_trains_on_cuda_in_plain_torch_as_on_a_cpu(sine):
    run = Run(p=7, d_mlp=24, epochs=20, lr=0.01, activation="sine")
    (*_, here), (*_, there) = train(run, device="cpu", every=60), train(run, device="cuda", every=60)
    assert there.record.provenance["step"] == "torch"
    np.testing.assert_allclose(there.record.history["train_loss"], here.record.history["train_loss"], rtol=1e-3)


def test_the_gradient_of_an_activation_of_ones_own_is_that_of_autograd(sine):
    run = Run(p=7, d_mlp=11, activation="sine", frac_train=0.6)
    ours, theirs = closed_form(run, *some_weights(7, 11)), autograd(run, *some_weights(7, 11))
    assert float(ours[0][0]) == pytest.approx(float(theirs[0]), rel=EXACT)
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(one, other, atol=EXACT)


def test_the_settings_offer_an_activation_of_ones_own(sine, app):
    box = next(box for box in app("Live").selectbox if box.label == "Activation")
    assert box.options == trainable()
    assert "sine" in box.options


def test_a_record_of_an_activation_that_is_not_registered_is_refused_with_a_sentence(tmp_path):
    activations.register("sine", lambda h, xp: xp.sin(h), lambda h, xp: xp.cos(h))
    *_, last = train(replace(SMALL, activation="sine", optimizer="adamw"), device="cpu", every=60)
    content, store = to_bytes(last.record), Store(tmp_path)
    store.put(last.record)
    del ACTIVATIONS["sine"]
    sentence = "activation must be one of relu, quad, gelu, identity, got 'sine': register another"
    with pytest.raises(ValueError, match=sentence):
        from_bytes(content)
    with pytest.raises(Damaged, match="register"):
        Store(tmp_path).get(last.record.run.id)


@pytest.mark.parametrize(
    ("name", "derivative", "sentence"),
    [
        ("relu", lambda h, xp: h, "the activation 'relu' exists already: choose another name"),
        ("My Act", lambda h, xp: h, "an activation is named by up to 20 of a-z"),
        (
            "wave",
            lambda h, xp: xp.sin(h),
            r"the derivative of 'wave' is not its slope, for one at h = -\d.\d\d: mend it",
        ),
    ],
)
def test_what_cannot_be_registered_is_refused_with_a_sentence(name, derivative, sentence):
    with pytest.raises(ValueError, match=sentence):
        activations.register(name, lambda h, xp: xp.sin(h), derivative)
    assert "wave" not in ACTIVATIONS
