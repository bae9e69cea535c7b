"""A run taken along opens elsewhere as the same run, and a bundle that was tampered with becomes one sentence."""

import contextlib
import csv
import hashlib
import io
import json
import shlex
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace

import cli
import import_run
import numpy as np
import pytest
import safetensors.numpy
from conftest import SMALL, SMALL_SGD, assert_same_training, finish
from serving import ROOT

from modadd import ui
from modadd.exchange import bundle, importing, reading, tensors
from modadd.exchange.files import File
from modadd.jobs.lab import carry_out
from modadd.records.store import Store
from modadd.runs import PRESETS, TRANSFORMERS, Run, preset
from modadd.training.forks import fork
from pages import press

SMALL_TRANSFORMERS = [preset(name, 7, epochs=20, d_model=16, d_mlp=20) for name in TRANSFORMERS]


@pytest.fixture(scope="module")
def packed(record):
    """SMALL as a bundle without figures, which take seconds."""
    return bundle.write(record, with_figures=False)


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes], how=zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def resealed(files: dict[str, bytes]) -> bytes:
    """These files as a bundle whose checksums are right."""
    files = {name: content for name, content in files.items() if name != "SHA256SUMS"}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    return zipped(files | {"SHA256SUMS": sums.encode()})


def refused(content: bytes, name: str = "run.zip") -> str:
    """The sentence that refuses these bytes."""
    with pytest.raises(ValueError, match=r"\w") as error:
        bundle.read(content, name)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


# -- there and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("run", [SMALL_SGD, Run(p=3, d_mlp=1, epochs=3), *SMALL_TRANSFORMERS], ids=lambda run: run.id)
def test_every_kind_of_run_comes_back_as_it_was(run):
    there = finish(run)
    again = bundle.read(bundle.write(there, with_figures=False))
    assert_same_training(again, there)
    assert again.provenance == there.provenance
    assert again.summary == there.summary
    assert_same_training(tensors.from_safetensors(tensors.to_safetensors(there.without_state())), there.without_state())


def test_imports_and_forks_travel_as_well(store, record):
    tensors = {"theta": record.frames[-1]["theta"], "xi": record.frames[-1]["xi"]}
    content = safetensors.numpy.save(tensors)
    imported = importing.record(reading.find([File("9.safetensors", lambda: content)]), "mine", frac_train=0.7)
    store.put(record)
    forked = carry_out(fork(SMALL, 200, weight_decay=1.0, epochs=220), store, "cpu")
    for one in (imported, forked):
        assert_same_training(bundle.read(bundle.write(one, with_figures=False)), one)


def test_records_of_the_atlas_pass_the_look_at_strangers(tmp_path):
    shelf = Store(tmp_path)
    for run_id in [run_id for run_id in shelf.cards_of_atlas() if run_id[:4] in ("p003", "p031", "p053", "p097")]:
        record = shelf.get(run_id)
        assert tensors.from_safetensors(tensors.to_safetensors(record)).run == record.run
    shelf.close()


def test_a_run_goes_on_elsewhere_as_if_it_had_never_left(record):
    begun = finish(replace(SMALL, epochs=150))
    carried = bundle.read(bundle.write(begun, with_figures=False))
    assert_same_training(finish(SMALL, carried), record)


def test_a_bundle_tells_all_of_a_run(record, monkeypatch):
    every = bundle.figures(SMALL)
    assert {"phase_relationship", "grokk_loss", "dft_heatmap_in", "lottery_mech_phase"} <= every.keys()
    few = {name: every[name] for name in ("phase_relationship", "magnitude_distribution")}
    monkeypatch.setattr(bundle, "figures", lambda run: few)
    content = bundle.write(record, "http://there/Weights?run=1")
    files = members(content)
    assert Run.from_json(files["run.json"].decode()) == SMALL
    rows = list(csv.DictReader(io.StringIO(files["log.csv"].decode())))
    assert [int(row["step"]) for row in rows] == record.steps.tolist()
    np.testing.assert_array_equal(
        np.array([row["train_loss"] for row in rows], np.float32), record.history["train_loss"]
    )
    about = json.loads(files["about.json"])
    assert about["summary"] == record.summary
    assert about["provenance"] == record.provenance
    assert about["written_with"].keys() == {"modadd", "sources_sha256", "packages", "python", "platform"}
    readme = files["README.txt"].decode()
    assert "http://there/Weights?run=1" in readme
    assert bundle.command(SMALL) in readme
    drawn = {name: data for name, data in files.items() if name.startswith("figures/")}
    assert drawn.keys() == {f"figures/{name}.{form}" for name in few for form in ("svg", "png")}
    assert all(data.startswith((b"<?xml", b"\x89PNG")) for data in drawn.values())
    assert_same_training(bundle.read(content), record)


@pytest.mark.slow
@pytest.mark.parametrize(
    "run", [SMALL, SMALL_SGD, Run(p=3, d_mlp=1, epochs=3), *SMALL_TRANSFORMERS], ids=lambda r: r.id
)
def test_every_figure_is_drawn_or_the_bundle_says_why_not(run):
    files = members(bundle.write(finish(run)))
    readme = files["README.txt"].decode()
    for name in bundle.figures(run):
        assert f"figures/{name}.svg" in files or f"Not drawn: {name}: " in readme
    assert sum(name.endswith(".png") for name in files) > 3


def test_a_figure_that_a_record_does_not_give_is_named_with_the_reason(record, monkeypatch):
    def lacking(record):
        raise ValueError("it holds no weights")

    monkeypatch.setattr(bundle, "figures", lambda run: {"weights": lacking})
    assert "Not drawn: weights: it holds no weights." in members(bundle.write(record))["README.txt"].decode()


def test_the_sums_are_those_of_sha256sum(packed, tmp_path):
    for name, content in members(packed).items():
        (tmp_path / name).write_bytes(content)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_any_language_reads_the_record(record):
    stored = safetensors.numpy.load(tensors.to_safetensors(record))
    np.testing.assert_array_equal(stored["history/train_loss"], record.history["train_loss"])
    np.testing.assert_array_equal(stored["frames/theta"][-1], record.frames[-1]["theta"])


COMMANDS = [
    SMALL, SMALL_SGD, preset("grokking", 7 + 16, epochs=900), preset("grokking", 23, plateau=False, seed=7),
    replace(preset("grokking", 23), p=7, d_mlp=None), Run(p=5, d_model=3, precision="tf32"), *SMALL_TRANSFORMERS,
    *(preset(name, 23) for name in PRESETS), preset("add3", 7, layers=1, heads=2, batch=64, weight_decay=0.0),
]  # fmt: skip


@pytest.mark.parametrize("run", COMMANDS, ids=lambda run: run.id)
def test_the_command_of_a_bundle_trains_this_very_run(run, monkeypatch):
    words = shlex.split(bundle.command(run))
    assert words[:2] == ["python", "scripts/train.py"]
    monkeypatch.setattr(sys, "argv", words[1:])
    assert cli.flags(cli.RunFlags, "").run() == run


def test_what_cannot_be_trained_by_a_command_says_so(record):
    assert bundle.command(fork(SMALL, 100, lr=1e-4)) is None
    assert bundle.command(replace(SMALL, origin="0" * 16)) is None
    left = replace(record, run=fork(SMALL, 100, lr=1e-4))
    assert f"It left {SMALL.id}@100: bring that run too" in bundle.readme(left, "", {})
    assert "whose training is not known here" in bundle.readme(
        replace(record, run=replace(SMALL, origin="0" * 16)), "", {}
    )


# -- on another machine -------------------------------------------------------------------------


def test_it_opens_on_another_machine_once(store, packed, record):
    kept = bundle.keep(bundle.read(packed), store, "my <run>.zip")
    there = store.get(SMALL.id)
    assert_same_training(there, record)
    assert there.provenance == record.provenance | {"bundle": "my ?run?.zip"}
    assert kept.run == there.run
    with pytest.raises(ValueError, match="is among your runs already: delete that one first"):
        bundle.keep(bundle.read(packed), store, "run.zip")
    store.delete(SMALL.id)
    with store.lock(SMALL.id), pytest.raises(ValueError, match="is trained on this machine now"):
        bundle.keep(bundle.read(packed), Store(store.folder, None), "run.zip")


def test_the_script_opens_a_bundle(packed, record, tmp_path):
    (tmp_path / "run.zip").write_bytes(packed)
    command = [sys.executable, "scripts/import_run.py", str(tmp_path / "run.zip"), "--cache", str(tmp_path / "cache")]
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == record.summary
    assert SMALL.id in done.stderr
    store = Store(tmp_path / "cache", None)
    assert_same_training(store.get(SMALL.id), record)
    store.close()


def test_a_foreign_record_commands_no_terminal(record, tmp_path, run_script):
    loud = replace(record, provenance=record.provenance | {"device": "cpu\x1b[2J\x1b]0;owned\x07", "torch": "[red]2"})
    name = tmp_path / "a\x1b[31mb.safetensors"
    name.write_bytes(tensors.to_safetensors(loud))
    status, _, err = run_script(import_run, name, "--cache", tmp_path / "cache")
    assert status == 0
    status, _, refusal = run_script(import_run, name, "--cache", tmp_path / "cache")
    assert status == 2
    assert "\x1b" not in (err + refusal)
    assert "\x07" not in (err + refusal)


def test_the_page_opens_a_bundle_or_a_record(app, packed, record):
    files = {"run.zip": packed, f"{SMALL.id}.safetensors": tensors.to_safetensors(record)}
    for name, content in files.items():
        test = app("Import")
        test.file_uploader[0].set_value((name, content, "")).run()
        assert any("a custom run at p = 7, 300 steps" in text.value for text in test.markdown)
        assert any("Its checksums are right" in text.value for text in test.markdown) == name.endswith(".zip")
        assert not [box for box in test.selectbox if box.key == "import-activation"]  # nothing is left to tell
        press(test, "Import")
        assert not test.exception
        assert not test.error
        assert any(f"is here as {SMALL.id}" in text.value for text in test.success)
        assert_same_training(ui.lab().store.get(SMALL.id), record)
        ui.lab().store.delete(SMALL.id)


def test_strangers_cannot_put_numbers_under_a_known_name(app, packed, monkeypatch):
    monkeypatch.setenv("MODADD_HOSTED", "1")
    monkeypatch.setattr(bundle, "read", lambda *_: pytest.fail("it was unpacked before it was refused"))
    test = app("Import")
    test.file_uploader[0].set_value(("run.zip", packed, "")).run()
    assert "under the name of the real one" in test.error[0].value
    assert not [button for button in test.button if button.label == "Import"]


def test_a_bundle_comes_alone(packed):
    files = [File("run.zip", lambda: packed), File("1.safetensors", lambda: b"")]
    assert importing.whole_run(files) is None
    with pytest.raises(ValueError, match=r"run\.zip is a whole run: give it alone"):
        reading.find(files)
    assert importing.whole_run(files[1:]) is None
    assert importing.whole_run([]) is None


# -- hostile bundles ----------------------------------------------------------------------------


def test_members_that_are_not_of_a_bundle_are_refused(packed):
    files = members(packed)
    for name in ("../../etc/cron.d/x", "/etc/passwd", "figures/../../x.svg", "record.pkl", "figures/a/b.svg", "a\nb",
                 "C:\\x.txt", "figures/x.html"):  # fmt: skip
        assert "which is none of a bundle's files" in refused(resealed(files | {name: b"x"}))
    twice = io.BytesIO(packed)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("run.json", b"{}")
    assert "each once" in refused(twice.getvalue())
    for name in ("SHA256SUMS", "run.json", "record.safetensors"):
        assert f"it lacks {name}" in refused(zipped({n: c for n, c in files.items() if n != name}))


def test_a_bundle_that_would_explode_is_refused_before_it_is_unpacked(packed, monkeypatch):
    monkeypatch.setattr(bundle, "EXPANDED", 10**6)
    bomb = resealed(members(packed) | {"figures/bomb.svg": b" " * 10**7})
    assert len(bomb) < 10**6
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    assert "it would unpack to 10 MB, the most is 1" in refused(bomb)
    monkeypatch.setattr(bundle, "MEMBERS", 3)
    assert "at most 3 files" in refused(packed)
    monkeypatch.setattr(bundle, "BYTES", 100)
    assert "larger than 100 bytes" in refused(packed)


def test_a_size_that_lies_is_found_out(packed):
    # What the directory says of record.safetensors, halved: the bytes that are read do not match its checksum.
    size = struct.pack("<I", len(members(packed)["record.safetensors"]))
    assert size in packed
    assert "no bundle of a run" in refused(packed.replace(size, struct.pack("<I", 1000)))


def test_a_changed_byte_is_found_by_the_checksums(packed):
    files = members(packed)
    assert "checksum of run.json does not match" in refused(zipped(files | {"run.json": files["run.json"] + b" "}))
    assert "does not list its files" in refused(zipped(files | {"SHA256SUMS": b"nonsense"}))
    other = json.dumps(json.loads(files["run.json"]) | {"seed": 7}).encode()
    assert "are not of the same run" in refused(resealed(files | {"run.json": other}))
    assert "no bundle of a run" in refused(resealed(files | {"run.json": b"["}))
    assert "no bundle of a run" in refused(resealed(files | {"run.json": b"[" * 100_000}))


def test_files_cut_off_or_of_another_kind_are_refused(packed):
    for end in (0, 1, 30, len(packed) // 2, -1, -20):
        assert "run.zip is no bundle of a run" in refused(packed[:end])
    assert "cannot be unpacked" in refused(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    assert "no bundle" in refused(safetensors.numpy.save({"theta": np.ones((3, 3))}), "x.safetensors")


def test_any_damaged_byte_is_a_sentence(packed):
    rng = np.random.default_rng(5)
    plain = zipped(members(packed), zipfile.ZIP_STORED)
    for content in (packed, plain):
        for _ in range(60):
            torn = bytearray(content)
            torn[rng.integers(0, len(content))] ^= 1 << rng.integers(8)
            with contextlib.suppress(ValueError):  # and no other; a byte of a date or a gap may change unseen
                bundle.read(bytes(torn))


LIES = {
    "too many neurons": (lambda a: a | {"frames/alpha": np.ones((len(a["frame_steps"]), 12), np.float16)}, "fit p = 7"),
    "another modulus": (lambda a: a | {"frames/theta": np.ones((1, 11, 9), np.float16)}, "'theta' is float16"),
    "a frequency beyond K": (lambda a: a | {"frames/frequency": a["frames/frequency"] + 9}, "between 1 and 3"),
    "objects": (lambda a: a | {"frames/alpha": a["frames/alpha"].astype(np.float64)}, "of F64"),
    "fewer in the table": (lambda a: a | {"frames/beta": a["frames/beta"][:, :5]}, "not of the same frames"),
    "a missing array": (lambda a: {k: v for k, v in a.items() if k != "frames/correct"}, "lack 'correct'"),
    "an array of no use": (lambda a: a | {"frames/payload": np.ones((1, 5), np.uint8)}, "no array called 'payload'"),
    "a foreign folder": (lambda a: a | {"../x": np.ones(3, np.uint8)}, "no array called"),
    "steps that fall": (lambda a: a | {"steps": a["steps"][::-1].copy()}, "must rise"),
    "frames of the future": (lambda a: a | {"frame_steps": a["frame_steps"] + 9000}, "must rise from 0 to at most 300"),
    "no frames": (lambda a: a | {"frame_steps": a["frame_steps"][:0]}, "at least one moment"),
    "held nowhere": (lambda a: a | {"held/coherence": np.array([999], np.int32)}, "in which of its"),
    "a short history": (lambda a: a | {"history/norm": a["history/norm"][:9]}, "one number a step"),
    "another metric": (lambda a: a | {"history/x": a["history/norm"]}, "must hold 11 metrics"),
    "a foreign state": (lambda a: a | {"state/w": a["state/w"][:5]}, "must be the 154 weights"),
    "a state of no run": (lambda a: {k: v for k, v in a.items() if k != "state/v"}, "needs m, step, v, w"),
    "a state of another step": (lambda a: a | {"state/step": np.int64(7)}, "not that of step 300"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_record_that_cannot_be_is_refused(record, lie):
    change, sentence = LIES[lie]
    arrays = record.to_arrays()
    card = bytes(arrays.pop("card")).decode()
    content = safetensors.numpy.save({k: np.asarray(v, order="C") for k, v in change(arrays).items()}, {"modadd": card})
    assert sentence in refused(content, "record.safetensors")


def _machines(card: dict, told) -> str:
    return json.dumps(card | {"provenance": card["provenance"] | {"machines": told}})


def _dated(card: dict, when: str) -> str:
    return json.dumps(card | {"provenance": card["provenance"] | {"finished": when}})


CARDS = {
    "no JSON": (lambda card: "{", "no JSON"),
    "another schema": (lambda card: json.dumps(card | {"schema": 99}), "schema 99"),
    "another run": (lambda card: json.dumps(card | {"run": card["run"] | {"p": 11}}), "fit p = 11"),
    "an even modulus": (lambda card: json.dumps(card | {"run": card["run"] | {"p": 8}}), "p must be odd"),
    "more steps than asked": (lambda card: json.dumps(card | {"run": card["run"] | {"epochs": 9}}), "says that it"),
    "machines of another kind": (lambda card: _machines(card, "many"), "where it comes from"),
    "a machine that is none": (lambda card: _machines(card, [3]), "where it comes from"),
    "a machine that is a novel": (lambda card: _machines(card, [{"device": "y" * 900}]), "short word"),
    "a novel": (lambda card: json.dumps(card | {"provenance": card["provenance"] | {"x": "y" * 900}}), "short word"),
    "lists": (lambda card: json.dumps(card | {"provenance": card["provenance"] | {"x": [[]]}}), "short word"),
    "no number": (lambda card: json.dumps(card | {"provenance": card["provenance"] | {"x": float("nan")}}), "says nan"),
    "a date that is none": (lambda card: _dated(card, "not-a-date"), "where it comes from"),
    "a date that is nearly one": (lambda card: _dated(card, "2026-02-30T00:00:00Z"), "where it comes from"),
    "a date before all computers": (lambda card: _dated(card, "0001-01-01T00:00:00Z"), "where it comes from"),
    "too deep": (lambda card: "[" * 100_000, "no JSON"),
}  # fmt: skip


@pytest.mark.parametrize("lie", CARDS)
def test_a_card_that_cannot_be_is_refused(record, lie):
    change, sentence = CARDS[lie]
    arrays = record.to_arrays()
    card = change(json.loads(bytes(arrays.pop("card"))))
    content = safetensors.numpy.save({k: np.asarray(v, order="C") for k, v in arrays.items()}, {"modadd": card})
    assert sentence in refused(content, "record.safetensors")


def test_a_compact_record_is_small_in_a_bundle_and_plain_for_other_languages(record):
    small = record.compact({"bets": 11.0})
    content = bundle.write(small, with_figures=False)
    again = bundle.read(content)
    assert_same_training(again, small)
    assert (again.coded, again.measured) == (True, {"bets": 11.0})
    assert len(content) < len(bundle.write(record.without_state(), with_figures=False)) / 2
    named = safetensors.numpy.load(tensors.to_safetensors(small))
    assert named["frames/alpha"].shape == (len(small.frames), 11)
    plain = tensors.from_safetensors(tensors.to_safetensors(small))
    assert plain.frame_steps == small.frame_steps
    np.testing.assert_array_equal(plain.frames[-1]["correct"], record.frames[-1]["correct"])
