"""Checkpoints from elsewhere become records like any other, and hostile files become one sentence."""

import contextlib
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from conftest import FLOAT32, HALF, SMALL, assert_same_arrays, finish, weights
from serving import ROOT

from modadd import ui
from modadd.exchange import checkpoint, files, importing, reading
from modadd.exchange.files import File
from modadd.jobs.lab import Lab, carry_out
from modadd.records.store import Store, from_bytes, to_bytes
from modadd.training import loop
from modadd.training.forks import fork
from pages import charts, press

THETA, XI = (np.random.default_rng(0).normal(size=(11, 7)).astype(np.float32) for _ in range(2))


def safe(theta=THETA, xi=XI, **metadata) -> bytes:
    tensors = {"theta": np.ascontiguousarray(theta), "xi": np.ascontiguousarray(xi)}
    return safetensors.numpy.save(tensors, {name: str(value) for name, value in metadata.items()} or None)


def pth(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def published(theta=THETA, xi=XI, W_E=None, turned=False) -> dict:
    """The published names for these layers; with an embedding, theta is what goes behind it."""
    matrices = {"mlp.W_in": theta, "mlp.W_out": xi.T} | ({"embed.W_E": W_E} if W_E is not None else {})
    return {n: torch.from_numpy(np.ascontiguousarray(m.T if turned else m)) for n, m in matrices.items()}


def one(name: str, data: bytes, *how, **settings):
    """The record of a single file."""
    return importing.record(reading.find([File(name, lambda: data)], *how), name, **settings)


def told(data: bytes, name: str = "1.pth", **how) -> str:
    """The sentence that refuses a file."""
    with pytest.raises(ValueError, match=r"\w") as error:
        reading.find([File(name, lambda: data)], **how)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert 10 < len(sentence) < 300
    return sentence


# -- what is read -------------------------------------------------------------------------------

SPLIT = {"frac_train": SMALL.frac_train, "lr": SMALL.lr}
FORMS = {
    "300.safetensors": lambda theta, xi: safe(theta, xi),
    "step_0000300.safetensors": lambda theta, xi: safetensors.torch.save(published(theta, xi)),
    "mine.safetensors": lambda theta, xi: safe(theta, xi, step=300),
    "300.pth": lambda theta, xi: pth(published(theta, xi)),
    "final.pth": lambda theta, xi: pth({"model": published(theta, xi), "epoch": 300, "train_losses": [0.5, 0.25]}),
    "epoch-300.pt": lambda theta, xi: pth(published(theta, xi, turned=True)),
    "checkpoint300.pth": lambda theta, xi: pth(published(theta.astype(np.float64), xi.astype(np.float64))),
    "model_300.pth": lambda theta, xi: pth(published(theta, xi, np.eye(7, dtype=np.float32))),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_trained_run_comes_back_as_it_was(record, name):
    again = one(name, FORMS[name](*weights(record)), 7, **SPLIT)
    assert again.step == 300
    assert again.provenance["imported"] == name
    for metric, column in record.history.items():
        np.testing.assert_allclose(again.history[metric], column[-1:], rtol=FLOAT32)
    assert again.frames[-1].keys() == record.frames[-1].keys()
    for field, value in record.frames[-1].items():  # the step that trained may sum in another order than the one here
        np.testing.assert_allclose(again.frames[-1][field], value, rtol=HALF, atol=FLOAT32, err_msg=field)
    told, before = again.summary, record.summary
    for key in ("ipr", "mean_cos_D", "frequency_counts", "held_out_accuracy", "mirrored_accuracy"):
        assert told[key] == before[key]


def test_an_imported_record_is_kept_like_any_other(store):
    record = one("5.safetensors", safe())
    assert re.fullmatch(r"p007-imported-[0-9a-f]{10}", record.run.id)
    again = from_bytes(to_bytes(record))
    assert again.run == record.run
    assert_same_arrays(again.frames[0], record.frames[0])
    store.put(record)
    assert store.cards()[record.run.id]["provenance"]["sha256"].startswith(record.run.origin)


@pytest.mark.parametrize("turned", [False, True])
def test_an_embedding_is_multiplied_in(turned):
    rng = np.random.default_rng(1)
    W_in, W_E = rng.normal(size=(11, 4)).astype(np.float32), rng.normal(size=(4, 7)).astype(np.float32)
    found = reading.find([File("1.pth", lambda: pth(published(W_in, XI, W_E, turned)))], 7)
    assert (found.p, found.d_mlp, found.embedding) == (7, 11, 4)
    record = importing.record(found, "1.pth")
    np.testing.assert_allclose(record.frames[0]["theta"], W_in @ W_E, rtol=1e-3, atol=1e-3)
    assert record.frames[0]["xi"].shape == (11, 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_read_as_they_are(dtype):
    tensors = {"theta": torch.from_numpy(THETA).to(dtype), "xi": torch.from_numpy(XI).to(dtype)}
    for name, data in (("1.safetensors", safetensors.torch.save(tensors)), ("1.pth", pth(tensors))):
        theta, xi = reading.find([File(name, lambda data=data: data)]).network.weights.values()
        np.testing.assert_array_equal(theta, tensors["theta"].float().numpy())
        np.testing.assert_array_equal(xi, tensors["xi"].float().numpy())


def test_matrices_that_fit_both_ways_need_a_word():
    data = pth(published())  # 11 neurons and p = 7, or 7 neurons and p = 11
    assert "more than one way: name p" in told(data)
    assert reading.find([File("1.pth", lambda: data)], 11).d_mlp == 7
    assert reading.find([File("1.pth", lambda: data)], orientation="published").d_mlp == 11
    assert reading.find([File("1.pth", lambda: data)], orientation="transposed").d_mlp == 7
    square = pth(published(THETA[:7], XI[:7]))
    assert "say whether they are as published or transposed" in told(square, p=7)
    found = reading.find([File("1.pth", lambda: square)], 7, "transposed")
    np.testing.assert_array_equal(found.network.weights["theta"], THETA[:7].T)
    wide = pth(published(np.ones((512, 23), np.float32), np.ones((512, 23), np.float32)))
    assert reading.find([File("1.pth", lambda: wide)]).p == 23


def folder_of(tmp_path, files: dict) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_folder_of_epochs_is_a_training(tmp_path):
    history = {at: weights(finish(replace(SMALL, epochs=at))) for at in (1, 100, 200, 300)}
    names = {1: "0.pth", 100: "100.pth", 200: "200.pth", 300: "final.pth"}
    folder = folder_of(tmp_path, {names[at]: pth({"model": published(*history[at])}) for at in names})
    (folder / "curves.json").write_text("{}")
    found = reading.find(files.files_at(folder), 7)
    assert found.steps == [0, 100, 200, 300]
    assert "final.pth does not say its step: counted as step 300" in found.assumed
    seen = []
    record = importing.record(found, folder.name, seen.append, **SPLIT)
    assert seen == [1, 2, 3, 4]
    assert record.frame_steps == (0, 100, 200, 300)
    assert list(record.steps) == [0, 100, 200, 300]
    whole = finish(SMALL)
    for metric, column in whole.history.items():
        np.testing.assert_allclose(record.history[metric][1:], column[[100, 200, 300]], rtol=FLOAT32)
    assert all("theta" in frame for frame in record.frames)


def test_other_bytes_and_other_settings_are_other_runs():
    ids = {
        one(name, data, None, **settings).run.id
        for name, data, settings in (
            ("1.safetensors", safe(), {}), ("1.safetensors", safe(2 * THETA), {}), ("9.safetensors", safe(), {}),
            ("1.safetensors", safe(), {"activation": "gelu"}), ("1.safetensors", safe(), {"frac_train": 0.5}),
        )
    }  # fmt: skip
    assert len(ids) == 5
    assert one("1.safetensors", safe()).run.id == one("step-1.safetensors", safe()).run.id


def test_steps_that_collide_or_run_backwards_are_refused():
    def two(one: str, other: str):
        return [File(one, safe), File(other, lambda: safe(2 * THETA))]

    with pytest.raises(ValueError, match=r"1.safetensors and step_1.safetensors are both of step 1"):
        reading.find(two("1.safetensors", "step_1.safetensors"))
    with pytest.raises(ValueError, match="are both without a step in the name"):
        reading.find(two("a.safetensors", "b.safetensors"))
    with pytest.raises(ValueError, match="its step must be above 9, got 4"):
        reading.find([File(name, safe) for name in ("9.safetensors", "final.safetensors")], last_step=4)
    with pytest.raises(ValueError, match="steps must lie between 0 and 2,000,000, got 9,999,999"):
        reading.find([File("9999999.safetensors", safe)])
    with pytest.raises(ValueError, match=r"networks of 1.safetensors and 2.safetensors are of different shapes"):
        reading.find([File("1.safetensors", safe), File("2.safetensors", lambda: safe(THETA[:9], XI[:9]))])
    with pytest.raises(ValueError, match="no file was given"):
        reading.find([])


# -- what comes after ---------------------------------------------------------------------------


def test_an_imported_network_cannot_be_trained_but_forked_from_its_weights(store, record):
    mine = one("100.safetensors", safe(*weights(record)), **SPLIT)
    store.put(mine)
    with pytest.raises(ValueError, match="imported network without a past to train: fork it from its weights"):
        next(loop.train(mine.run, device="cpu"))
    with pytest.raises(ValueError, match="without a past"):
        carry_out(fork(mine.run, 50, epochs=150), store, "cpu", lambda update: False)
    lab = Lab(store)
    with pytest.raises(ValueError, match="without a past"):
        lab.submit(mine.run, "cpu")
    lab.close()
    child = carry_out(fork(mine.run, 100, weights_only=True, epochs=150), store, "cpu", lambda update: False)
    assert child.step == 150
    assert child.run.preset == "fork"
    began = child.history["train_loss"][list(child.steps).index(100)]
    assert began == pytest.approx(mine.history["train_loss"][0], rel=5e-3)
    assert child.history["train_loss"][-1] < began


# -- hostile files ------------------------------------------------------------------------------


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, protocol, tried):
    trap, file = tmp_path / "sprung", io.BytesIO()
    torch.save(published() | {"bomb": Bomb(trap)}, file, pickle_protocol=protocol)
    torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    assert trap.is_dir()  # it would have
    trap.rmdir()
    sentence = told(file.getvalue(), p=7)
    assert "1.pth is refused" in sentence
    assert protocol != 2 or "loading it would call posix mkdir" in sentence
    old = io.BytesIO()
    torch.save(published() | {"bomb": Bomb(trap)}, old, _use_new_zipfile_serialization=False)
    for data in (pickle.dumps(Bomb(trap)), old.getvalue()):
        assert "1.pth is refused" in told(data)
    assert not trap.exists()
    tried("code in a checkpoint that is imported, old and new formats", 3, "refused in one sentence, never run")


def test_torch_itself_would_not_run_it_either(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_inspect", lambda name, data: None)
    assert "cannot be read" in told(pth(published() | {"bomb": Bomb(tmp_path / "sprung")}), p=7)
    assert not (tmp_path / "sprung").exists()


def rezipped(data: bytes, change=lambda name, content: content, how=zipfile.ZIP_STORED, more=()) -> bytes:
    """The archive of a .pth, its members changed or packed, and others added."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", how) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, content in more:
            new.writestr(name, content)
    return file.getvalue()


def test_archives_within_archives_and_packed_ones_are_refused():
    data = pth(published())
    assert reading.find([File("1.pth", lambda: rezipped(data))], 7)
    bomb = pth({"mlp.W_in": torch.zeros(200_000, 199), "mlp.W_out": torch.zeros(199, 11)})
    packed = rezipped(bomb, how=zipfile.ZIP_DEFLATED)
    assert len(packed) < len(bomb) / 500
    assert "it declares more than it holds" in told(packed)
    assert "packed or foreign files" in told(rezipped(data, more=[("archive/inner.zip", data)]))
    assert "packed or foreign files" in told(rezipped(data, more=[("../../etc/passwd", b"x")]))
    assert "one data.pkl" in told(rezipped(data, more=[("other/data.pkl", b"\x80\x02N.")]))


def test_what_declares_more_than_it_holds_is_refused_before_it_is_allocated():
    endless = torch.zeros(1).expand(200_000, 199)
    data = pth({"mlp.W_in": endless, "mlp.W_out": torch.zeros(199, 11)})
    assert "holds mlp.W_in, said to be of 39,800,000 numbers, more than the file holds" in told(data)
    assert "said to be of 7,000,000,000" in told(pth({"theta": torch.zeros(1).expand(10**9, 7), "xi": endless}))
    # The storage of 77 numbers, said to be of 120.
    larger = rezipped(pth(published()), lambda name, content: content.replace(b"KMt", b"Kxt"))
    assert "cannot be read" in told(larger, p=7)
    header = b'{"theta":{"dtype":"F32","shape":[200000,199],"data_offsets":[0,159200000]}}'
    assert "cannot be read" in told(struct.pack("<Q", len(header)) + header + b"\0" * 64, "1.safetensors")
    assert "cut off" in told(b"\xff" * 7 + b"\x7f{}{}{}", "1.safetensors")
    wide = b'{"theta":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,64]}}'
    assert "cannot be read" in told(struct.pack("<Q", len(wide)) + wide + b"\0" * 64, "1.safetensors")


def test_a_file_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(checkpoint, "FILE_BYTES", 100)
    assert "larger than 100 bytes" in told(safe(), "1.safetensors")
    monkeypatch.undo()
    monkeypatch.setattr(reading, "ALL_BYTES", 100)
    assert "or 100 bytes" in told(safe(), "1.safetensors")
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "TENSORS", 1)
    assert "more than 1 tensors" in told(safe(), "1.safetensors")
    monkeypatch.setattr(checkpoint, "LEAVES", 2)
    assert "more than 2 numbers and names" in told(pth(published()))


@pytest.mark.parametrize("end", [0, 1, 7, 8, 40, 200, -1, -30])
def test_files_cut_off_are_refused(end):
    assert told(safe()[:end], "1.safetensors")
    assert told(pth(published())[:end])


def test_any_damaged_byte_is_a_sentence_or_another_network(tried):
    rng = np.random.default_rng(3)
    for name, data in (("1.pth", pth(published())), ("1.safetensors", safe())):
        for _ in range(150):
            torn = bytearray(data)
            for place in rng.integers(0, len(data), 3):
                torn[place] = rng.integers(256)
            with contextlib.suppress(ValueError):  # and no other
                importing.record(reading.find([File(name, lambda torn=torn: bytes(torn))], 7), name)
    tried("checkpoints with damaged bytes", 300, "one sentence, or another network")


def nan(array):
    return np.where(np.arange(array.size).reshape(array.shape) == 5, np.nan, array).astype(np.float32)


@pytest.mark.parametrize(
    ("data", "name", "sentence"),
    [
        (safe(nan(THETA)), "1.safetensors", "holds theta with weights that are no number"),
        (safe(THETA, nan(XI)), "1.safetensors", "holds xi with weights that are no number"),
        (safe(1e5 * THETA), "1.safetensors", "or beyond 65,504"),
        (safe(THETA[:, :6], XI[:, :6]), "1.safetensors", "p must be odd and between 3 and 199, got 6"),
        (
            safe(THETA, XI[:9]),
            "1.safetensors",
            "which do not fit together: both must be [neurons, p]",
        ),
        (safe(THETA[0], XI[0]), "1.safetensors", "theta [7], which must be a matrix of 1 to 200,000 a side"),
        (safe(THETA[:0], XI[:0]), "1.safetensors", "theta [0, 7], which must be a matrix"),
        (safe(np.ones((5, 201)), np.ones((5, 201))), "1.safetensors", "p must be odd and between 3 and 199, got 201"),
        (
            safe(THETA.astype(int), XI),
            "1.safetensors",
            "theta of int64; weights are float16",
        ),
        (safetensors.numpy.save({"theta": THETA}), "1.safetensors", "holds no network of two layers: theta [11, 7]"),
        (pth(published(nan(THETA))), "1.pth", "holds mlp.W_in with weights that are no number"),
        (pth(published(THETA[:, :6], XI[:, :6])), "1.pth", "network of p = 11, not 7"),
        (pth(published(np.ones((12, 6), np.float32), np.ones((12, 6), np.float32))), "1.pth", "p must be odd"),
        (pth(published(THETA, XI[:9])), "1.pth", "do not fit together"),
        (
            pth(published(THETA, XI, np.ones((5, 5), np.float32))),
            "1.pth",
            "W_E [5, 5], which do not fit together",
        ),
        (pth({"theta": torch.ones(11, 7).to_sparse(), "xi": torch.ones(11, 7)}), "1.pth", "is refused"),
        (pth({"theta": [1, 2], "xi": "a"}), "1.pth", "1.pth holds no weights"),
        (pth({"theta": torch.ones(11, 7, dtype=torch.int64), "xi": torch.ones(11, 7)}), "1.pth", "theta of int64"),
        (pth([torch.ones(3)]), "1.pth", "holds no network of two layers: no matrix"),
        (pth({"model": 3}), "1.pth", "holds no weights"),
        (pth({}), "1.pth", "holds no weights"),
        (pth(torch.nn.Linear(3, 4)), "1.pth", "save its state_dict() alone"),
        (b"The weights are in another file.", "1.pth", "1.pth is refused"),
        (b"The weights are in another file.", "1.safetensors", "no safetensors file"),
        (b"The weights are in another file.", "notes.txt", "notes.txt is no checkpoint"),
        (b"", "1.pth", "1.pth is refused"),
        (b"", "1.safetensors", "no safetensors file"),
    ],
)
def test_what_is_no_network_is_one_sentence(data, name, sentence):
    assert sentence in told(data, name, p=7 if "p = 11, not 7" in sentence or "1.pth" in name else None)


def test_a_network_that_says_nothing_or_shouts_is_measured_all_the_same():
    silent = one("1.safetensors", safe(0 * THETA, 0 * XI))
    assert silent.summary["train_loss"] == pytest.approx(np.log(7), rel=FLOAT32)
    loud = one("1.safetensors", safe(6e4 * np.sign(THETA), 6e4 * np.sign(XI)), activation="quad")
    assert np.isfinite(loud.summary["train_loss"])
    assert from_bytes(to_bytes(loud)).run == loud.run


@pytest.mark.parametrize("name", ["[/red]<script>.pth", "a\nb\x1b[31m.pth", "../../x.pth", "$x^2$ `a`.pth", "x" * 5000])
def test_a_hostile_name_is_cut_and_cleaned(name):
    sentence = told(b"", name)
    assert not re.search(r"[\[\]<>`$\x1b\n/]", sentence)
    clean = importing.record(reading.find([File("1.safetensors", safe)]), name).provenance["imported"]
    assert len(clean) <= 80
    assert not re.search(r"[\[\]<>`$\x1b\n/]", clean)


def test_folders_are_bounded_and_links_do_not_lead_out(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, {})
    with pytest.raises(ValueError, match="checkpoints holds no checkpoint"):
        files.files_at(folder)
    (folder / "1.safetensors").write_bytes(safe())
    (folder / "2.safetensors").symlink_to(folder / "1.safetensors")
    (folder / "3.pth").mkdir()
    os.mkfifo(folder / "4.pth")
    assert [file.name for file in sorted(files.files_at(folder))] == ["1.safetensors", "2.safetensors"]
    (tmp_path / "secret.pth").write_bytes(safe())
    (folder / "5.pth").symlink_to(tmp_path / "secret.pth")
    with pytest.raises(ValueError, match=r"5\.pth is a link out of its folder"):
        files.files_at(folder)
    (folder / "5.pth").unlink()
    monkeypatch.setattr(files, "FILES", 3)
    with pytest.raises(ValueError, match="holds more than 3 entries"):
        files.files_at(folder)
    for nowhere in (tmp_path / "nowhere", "/dev/zero", "a\0b"):
        with pytest.raises(ValueError, match="neither a file nor a folder"):
            files.files_at(nowhere)


# -- the script ---------------------------------------------------------------------------------


def script(*flags):
    """(exit status, the JSON object or None, stderr) of scripts/import_run.py."""
    done = subprocess.run(
        [sys.executable, "scripts/import_run.py", *map(str, flags)], cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_the_script_puts_a_run_into_the_cache_and_prints_its_numbers(tmp_path, record):
    folder = folder_of(tmp_path, {"0.safetensors": safe(), "300.safetensors": safe(*weights(record))})
    status, summary, err = script(
        folder, "--act_type", "ReLU", "--frac-train", 0.7, "--name", "mine", "--cache", tmp_path / "cache", "--json"
    )
    assert status == 0, err
    assert "A network of p = 7 with 11 neurons, at 2 steps: 0 to 300." in err
    assert summary.keys() == record.summary.keys()
    assert summary["train_loss"] == pytest.approx(record.summary["train_loss"], rel=FLOAT32)
    store = Store(tmp_path / "cache", None)
    assert store.get(summary["run_id"]).provenance["imported"] == "mine"
    store.close()


def test_the_script_refuses_in_one_sentence(tmp_path):
    (tmp_path / "[b]notes.txt").write_text("hello")
    status, summary, err = script(tmp_path / "[b]notes.txt", "--cache", tmp_path / "cache", "--json")
    assert status == 2
    assert summary is None
    assert re.fullmatch(r"error: \?b\?notes.txt is no checkpoint: [^\n]+\.\n", err)


# -- the page -----------------------------------------------------------------------------------

CHARTS = {"Live": 6, "Overview": 1, "Weights": 8, "Phases": 8, "Logits": 5, "Surgery": 5}


def test_uploads_are_understood_and_imported(app, record):
    test = app("Import")
    assert not test.exception
    mime = "application/octet-stream"
    test.file_uploader[0].set_value(
        [("0.safetensors", safe(), mime), ("300.safetensors", safe(*weights(record)), mime)]
    )
    test.number_input(key="import-share").set_value(0.7)
    test.run()
    assert any("A network of p = 7 with 11 neurons, at 2 steps" in text.value for text in test.markdown)
    assert not ui.lab().store.cards_of_cache()
    press(test, "Import")
    assert not test.exception
    assert not test.error
    (card,) = ui.lab().store.cards_of_cache().values()
    assert card["summary"]["train_loss"] == pytest.approx(record.summary["train_loss"], rel=FLOAT32)
    assert any("is here as p007-imported" in text.value for text in test.success)
    assert len(test.get("page_link")) >= len(ui.lookup.WITH_A_RUN["mlp"])
    assert any("first layer" in str(table.value) for table in test.dataframe)


def test_a_path_of_the_server_is_read_unless_strangers_are_served(app, tmp_path, monkeypatch):
    folder = folder_of(tmp_path, {"7.safetensors": safe()})
    test = app("Import")
    test.text_input(key="import-path").set_value(str(folder)).run()
    press(test, "Import")
    assert not test.exception
    (card,) = ui.lab().store.cards_of_cache().values()
    assert card["provenance"]["imported"] == "checkpoints"
    monkeypatch.setenv("MODADD_HOSTED", "1")
    test = app("Import")
    assert not test.exception
    assert not [box for box in test.text_input if box.key == "import-path"]


def test_a_server_for_strangers_keeps_its_limits(app, monkeypatch):
    monkeypatch.setenv("MODADD_HOSTED", "1")
    monkeypatch.setenv("MODADD_HOSTED_D_MLP", "10")
    test = app("Import")
    test.file_uploader[0].set_value(("1.safetensors", safe(), "")).run()
    press(test, "Import")
    assert any("this server allows 10" in text.value for text in test.error)
    assert not ui.lab().store.cards_of_cache()


@pytest.mark.parametrize(
    ("name", "data"), [("1.pth", b"text"), ("[b](http://x).pth", b""), ("1.safetensors", safe(nan(THETA)))]
)
def test_a_bad_upload_is_one_sentence_on_the_page(app, name, data):
    test = app("Import")
    test.file_uploader[0].set_value((name, data, "")).run()
    assert not test.exception
    assert len(test.error) == 1
    assert "](http" not in test.error[0].value
    assert not [button for button in test.button if button.label == "Import"]


@pytest.mark.parametrize("steps", [(5,), (0, 20, 300)])
@pytest.mark.parametrize("page", CHARTS)
def test_every_mechanism_page_opens_on_an_imported_network(app, record, page, steps):
    files = [File(f"{at}.safetensors", lambda at=at: safe(THETA + 0.01 * at, XI)) for at in steps[:-1]]
    files.append(File(f"{steps[-1]}.safetensors", lambda: safe(*weights(record))))
    mine = importing.record(reading.find(files), "mine", **SPLIT)
    ui.lab().store.put(mine)
    test = app(page, p="7", run=mine.run.id)
    assert not test.exception
    assert not test.error
    assert len(charts(test)) >= CHARTS[page]
