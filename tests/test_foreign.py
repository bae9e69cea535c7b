"""Checkpoints as people save them are read exactly, or refused in a sentence that names what is in the way."""

import io
import re
from pathlib import Path

import foreign
import import_run
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import FLOAT32
from foreign import CASES, Case, P
from hypothesis import given
from hypothesis import strategies as some

from modadd import data, ui
from modadd.exchange import importing, reading
from modadd.exchange.files import File, files_at
from modadd.records.store import Store
from pages import press

READ = [name for name, case in CASES.items() if not case.refused]
REFUSED = [name for name, case in CASES.items() if case.refused]


def laid_out(case: Case) -> list[File]:
    return [File(name, lambda content=content: content) for name, content in case.files.items()]


def laid(case: Case, folder: Path) -> Path:
    """The files of a case on disk."""
    for name, content in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def account(found: reading.Found) -> str:
    return "\n".join(": ".join(filter(None, use)) for use in reading.table(found))


def assert_same_losses(history, run, case: Case):
    """The last losses and accuracies of a record are those of these logits."""
    trained = data.train_mask(run)
    for group, mask in (("train", trained), ("test", ~trained)):
        if mask.any():
            loss, accuracy = foreign.judged(case.logits, list(zip(*np.nonzero(mask), strict=True)))
            assert history[f"{group}_loss"][-1] == pytest.approx(loss, rel=FLOAT32, abs=1e-6)
            assert history[f"{group}_accuracy"][-1] == pytest.approx(accuracy, rel=FLOAT32)


@pytest.mark.parametrize("name", READ)
def test_a_file_as_people_save_it_is_read_exactly(name):
    case = CASES[name]
    found = reading.find(laid_out(case))
    assert case.steps is None or tuple(found.steps) == case.steps
    record = importing.record(found, name, activation=case.activation)
    assert_same_losses(record.history, record.run, case)
    assert record.frame_steps == tuple(found.steps)
    for words in case.says:
        assert words in account(found)
    if case.trained is not None:
        assert set(zip(*np.nonzero(data.train_mask(record.run)), strict=True)) == case.trained


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_represented_is_named(name):
    with pytest.raises(ValueError, match=r"\w") as error:
        reading.find(laid_out(CASES[name]))
    assert "\n" not in str(error.value)
    for words in CASES[name].refused:
        assert words in str(error.value)


@pytest.mark.parametrize("name", CASES)
def test_the_script_reads_and_refuses_the_same(tmp_path, run_script, name):
    case = CASES[name]
    folder = laid(case, tmp_path / "files")
    flags = (folder, "--activation", case.activation, "--cache", tmp_path / "cache")
    status, summary, err = run_script(import_run, *flags)
    if case.refused:
        assert (status, summary) == (2, None)
        assert all(words in err for words in case.refused), err
        return
    assert status == 0, err
    assert summary["steps"] == case.steps[-1]
    store = Store(tmp_path / "cache", None)
    assert_same_losses(store.get(summary["run_id"]).history, store.get(summary["run_id"]).run, case)
    store.close()


# -- any layout ---------------------------------------------------------------------------------

names = some.sampled_from([
    ("theta", "xi"), ("mlp.W_in.weight", "mlp.W_out.weight"), ("fc1.weight", "fc2.weight"), ("0.weight", "2.weight"),
    ("W_in", "W_out"), ("net.hidden.weight", "net.output.weight"), ("encoder.weight", "decoder.weight"),
    ("layers.0.kernel", "layers.1.kernel"), ("w1", "w2"), ("lin_a1", "lin_a2"), ("first", "last"), ("foo", "bar"),
    ("foo.weight", "head.weight"), ("embed.weight", "unembed.weight"), ("up_proj.weight", "down_proj.weight"),
])  # fmt: skip
around = some.lists(some.sampled_from(["module.", "_orig_mod.", "model.", "net."]), max_size=3).map("".join)
wrapper = some.sampled_from(
    ["", "model", "state_dict", "model_state_dict", "params", "checkpoint/model", "0", "epoch_3"]
)
beside = some.fixed_dictionaries({}, optional={
    "optimizer": some.just({"state": {0: {"exp_avg": foreign.OTHER}}, "param_groups": [{"lr": 1e-3}]}),
    "model_ema": some.just(foreign.HALF), "rng_state": some.just(torch.zeros(5, dtype=torch.uint8)),
    "config": some.just({"p": foreign.P}), "train_losses": some.lists(some.floats(0, 9), max_size=3),
    "epoch": some.integers(0, 9) | some.just("3"), "note": some.just("text"), "lr": some.just(torch.tensor(0.1)),
})  # fmt: skip
kind = some.sampled_from([torch.float32, torch.float64])


@given(names, around, wrapper, beside, kind, *[some.booleans()] * 5)
def test_any_layout_is_read_exactly_or_named(
    names, prefix, wrapper, beside, kind, turned, turned_too, swapped, biased, safe
):
    first, last = names
    layers = {first: foreign.THETA.T if turned else foreign.THETA, last: foreign.XI if turned_too else foreign.XI.T}
    if names[0] == "theta":
        layers = {"theta": foreign.THETA, "xi": foreign.XI}
    if biased:
        layers |= {re.sub("(weight|kernel)$", "bias", first) if "." in first else f"{first}_bias": foreign.B_IN}
    layers = {prefix + name: value.to(kind).contiguous() for name, value in layers.items()}
    layers = dict(reversed(layers.items())) if swapped else layers
    tree = layers
    for part in reversed(wrapper.split("/") if wrapper else []):
        tree = {part: tree}
    flat = safe and not wrapper
    content = safetensors.torch.save(layers) if flat else foreign.saved(tree | ({} if flat else beside))
    file = File("net.safetensors" if flat else "net.pth", lambda: content)
    try:
        found = reading.find([file])
    except ValueError as error:
        told = str(error)
        assert "net." in told
        assert any(name in told for name in (first, last, "lr [")), told
        assert "foo" in names or "lr [" in told or turned != turned_too, told
        return
    theta = foreign.THETA + (foreign.B_IN[:, None] / 2 if biased else 0)
    by_order = {first, last} == {"foo", "bar"}
    if by_order and swapped:
        assert "by its place in the file" in account(found)
        return
    np.testing.assert_array_equal(found.network.weights["theta"], theta.numpy())
    np.testing.assert_array_equal(found.network.weights["xi"], foreign.XI.numpy())


def tensors_in(node, path=()) -> list[tuple]:
    """The places of all tensors in what a file holds."""
    if isinstance(node, torch.Tensor):
        return [path]
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    return [place for key, value in inner for place in tensors_in(value, (*path, key))]


def changed(node, path: tuple):
    """The same with the tensor at this place changed."""
    if not path:
        return node + 1 if node.dtype != torch.bool else ~node
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = changed(node[path[0]], path[1:])
    return copy


def outcome(name: str, content: bytes) -> tuple[object, str]:
    """(what an import makes of a file, or None; all that is told of it)."""
    try:
        found = reading.find([File(name, lambda: content)])
    except ValueError as error:
        return None, str(error)
    return ([moment.digest for moment in found.moments], found.trained, found.steps), account(found)


WHOLE = [
    name
    for name in READ
    if len(CASES[name].files) == 1 and next(iter(CASES[name].files)).endswith(("pth", "pt", "ckpt", "bin"))
]


@pytest.mark.parametrize("name", WHOLE)
def test_no_tensor_of_a_file_is_passed_over_in_silence(name):
    ((file, content),) = CASES[name].files.items()
    tree = torch.load(io.BytesIO(content), weights_only=True)
    before, _ = outcome(file, content)
    for path in tensors_in(tree):
        after, told = outcome(file, foreign.saved(changed(tree, path)))
        told_of = any(
            (f"{part}" in line and "left out" in line) or (f"{part}" in told and after is None)
            for line in told.splitlines()
            for part in path
            if isinstance(part, str)
        )
        assert after != before or told_of, (path, told)


# -- what an import tells -----------------------------------------------------------------------


def test_an_account_names_every_file_and_every_tensor():
    case = CASES["published run"]
    told = account(reading.find(laid_out(case)))
    for line in ("4 files: model: mlp.W_in: first layer", "curves.json: left out", "init.pth: left out",
                 "train_data.pth: the split: 90 of 121 pairs, trained"):  # fmt: skip
        assert line in told
    told = account(reading.find(laid_out(CASES["lightning"])))
    for name in ("optimizer_states", "hyper_parameters", "state_dict: model.fc1.weight"):
        assert name in told


def test_losses_of_the_file_become_the_history_where_they_agree_with_ours():
    case = CASES["published run"]
    record = importing.record(reading.find(laid_out(case)), "run")
    assert "agree with ours" not in record.provenance["own_losses"]  # 2.4 at step 200 is not what half the weights do
    files = {name: case.files[name] for name in ("train_data.pth", "final.pth")}
    record = importing.record(reading.find(laid_out(Case(files))), "run")
    assert record.provenance["own_losses"] == "The 3 losses and accuracies that the files note agree with ours."
    assert list(record.steps) == list(range(401))
    assert record.frame_steps == (400,)
    np.testing.assert_allclose(record.history["train_loss"][:400], 2.4, rtol=FLOAT32)
    assert np.isnan(record.history["norm"][:400]).all()
    assert record.summary["train_loss"] == pytest.approx(foreign.judged(case.logits, case.trained)[0], rel=FLOAT32)


def test_a_loss_that_disagrees_is_told_with_its_likely_cause():
    (square,), whole = (
        CASES["square"].files.values(),
        foreign.judged(CASES["linear" if "linear" in CASES else "counters"].logits),
    )

    def told(content: bytes, **settings) -> str:
        found = reading.find([File("9.pth", lambda: content)])
        return importing.record(found, "9.pth", **settings).provenance["own_losses"]

    assert "with the activation quad they agree" in told(square)
    assert "agree with ours" in told(square, activation="quad")
    mean = {"train_loss": whole[0], "test_loss": whole[0]}
    assert "our mean over all pairs" in told(foreign.saved({"model": foreign.PUBLISHED} | mean), frac_train=0.3, seed=5)
    apart = {"train_loss": 0.5 * whole[0], "test_loss": 2 * whole[0]}
    assert "their split is likely another" in told(foreign.saved({"model": foreign.PUBLISHED} | apart), frac_train=0.5)
    assert "another kind of loss" in told(foreign.saved({"model": foreign.PUBLISHED, "train_loss": 77.0}))


@pytest.mark.parametrize("form", ["{}", " {}  ", "'{}'", '"{}"', "file://{}", "~/{name}", "' {} '"])
def test_a_path_is_understood_as_it_is_typed(tmp_path, monkeypatch, form):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = laid(CASES["compiled"], tmp_path / "my nets")
    typed = form.format(folder, name=folder.name)
    assert [file.name for file in files_at(typed)] == ["net.pth"]
    with pytest.raises(ValueError, match=re.escape(f"{typed}x is neither a file nor a folder")):
        files_at(f"{typed}x")


# -- the page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["published run", "lightning", "published with biases", "TransformerLens"])
def test_an_upload_shows_what_was_read_and_is_imported_in_one_press(app, name):
    case = CASES[name]
    test = app("Import")
    test.file_uploader[0].set_value([(name, content, "") for name, content in case.files.items() if "json" not in name])
    test.run()
    assert not test.exception
    lines = test.dataframe[0].value
    assert set(lines.columns) == {"file", "name", "use"}
    press(test, "Import")
    assert not test.exception
    assert not test.error
    ((run_id, card),) = ui.lab().store.cards_of_cache().items()
    record = ui.lab().store.get(run_id)
    assert_same_losses(record.history, record.run, case)
    if card["provenance"]["own_losses"]:
        assert any("files note" in box.value for box in (*test.warning, *test.info))


@pytest.mark.parametrize(
    ("model", "name"), [("transformer", "TransformerLens, states"), ("mlp", "published with biases")]
)
def test_every_page_opens_on_an_imported_network(app, model, name):
    record = importing.record(reading.find(laid_out(CASES[name])), "mine", frac_train=0.7)
    ui.lab().store.put(record)
    for page in ui.lookup.WITH_A_RUN[model]:
        test = app(page, p=str(P), run=record.run.id)
        assert not test.exception, page
        assert not test.error, (page, [error.value for error in test.error])
