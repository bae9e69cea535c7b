"""Checkpoints as people save them are read exactly, or refused in a sentence that names what is in the way."""

import re
from pathlib import Path

import foreign
import import_run
import numpy as np
import pytest
from conftest import FLOAT32
from foreign import CASES, Case, P

from modadd import data, ui
from modadd.exchange import importing, reading
from modadd.exchange.files import File, files_at
from modadd.records.store import Store
from pages import press

READ = [name for name, case in CASES.items() if not case.refused]
REFUSED = [name for name, case in CASES.items() if case.refused]


def given(case: Case) -> list[File]:
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
    found = reading.find(given(case))
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
        reading.find(given(CASES[name]))
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


# -- what an import tells -----------------------------------------------------------------------


def test_an_account_names_every_file_and_every_tensor():
    case = CASES["published run"]
    told = account(reading.find(given(case)))
    for line in ("4 files: model: mlp.W_in: first layer", "curves.json: left out", "init.pth: left out",
                 "2 files: train pairs: the split: 90 of 121"):  # fmt: skip
        assert line in told
    told = account(reading.find(given(CASES["lightning"])))
    for name in ("optimizer_states", "hyper_parameters", "state_dict: model.fc1.weight"):
        assert name in told


def test_losses_of_the_file_become_the_history_where_they_agree_with_ours():
    case = CASES["published run"]
    record = importing.record(reading.find(given(case)), "run")
    assert "agree with ours" not in record.provenance["own_losses"]  # 2.4 at step 200 is not what half the weights do
    files = {name: case.files[name] for name in ("train_data.pth", "final.pth")}
    record = importing.record(reading.find(given(Case(files))), "run")
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


@pytest.mark.parametrize("page", ui.lookup.WITH_A_RUN["transformer"])
def test_every_page_of_a_transformer_opens_on_an_imported_one(app, page):
    record = importing.record(reading.find(given(CASES["TransformerLens, states"])), "mine")
    ui.lab().store.put(record)
    test = app(page, p=str(P), run=record.run.id)
    assert not test.exception
    assert not test.error
