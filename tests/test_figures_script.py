"""scripts/figures.py: every published file by name, true steps in every table, and what is missing said."""

import json
import subprocess
import sys
from dataclasses import replace

import figures as script
import pytest
from conftest import finish
from PIL import Image
from serving import ROOT

from modadd import Run, preset
from modadd.figures.print import paper, published, tasks, transformer
from modadd.frames.schema import FIELDS, frame_steps
from modadd.records.store import Store

PUBLISHED = [
    "overview_loss_ipr.png", "overview_phase_scatter.png", "overview.json", "full_training_para_origin.png",
    "lineplot_in.png", "lineplot_out.png", "neuron_spectra.json", "phase_distribution.png",
    "phase_relationship.png", "magnitude_distribution.png", "output_logits.png", "logits_interactive.json",
    "lottery_mech_magnitude.png", "lottery_mech_phase.png", "lottery_beta_contour.png", "grokk_loss.json",
    "grokk_acc.json", "grokk_abs_phase_diff.png", "grokk_avg_ipr.png", "grokk_memorization_accuracy.png",
    "grokk_memorization_common_to_rare.png", "grokk_decoded_weights_dynamic.png", "grokk_epoch_data.json",
    "phase_align_quad.png", "single_freq_quad.png", "phase_align_relu.png", "single_freq_relu.png",
    "phase_align_approx1.png", "phase_align_approx2.png", "metadata.json", "grokk_loss.png", "grokk_acc.png",
    "dft_heatmap_in.png", "dft_heatmap_out.png", "training_log.json",
]  # fmt: skip

TOGETHER = pytest.mark.xdist_group("drawn")  # what they look at is made once, for one worker


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of p = 23, drawn from the atlas alone."""
    out, cache = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("cache")
    command = [sys.executable, "scripts/figures.py", "--p", "23", "--out", out, "--cache", cache, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out, cache


@TOGETHER
def test_every_published_file_is_there_and_nothing_else(drawn):
    names = {file.name for file in (drawn[0] / "p_023").iterdir()}
    assert names == {f"p023_{name}" for name in PUBLISHED}
    for file in (drawn[0] / "p_023").glob("*.png"):
        with Image.open(file) as image:
            image.verify()
        assert min(image.size) > 300


@TOGETHER
def test_tables_hold_true_steps(drawn, tmp_path):
    record = Store(tmp_path).get(preset("grokking", 23).id)
    table = lambda name: json.loads((drawn[0] / "p_023" / f"p023_{name}.json").read_text())  # noqa: E731
    loss, epochs, meta = table("grokk_loss"), table("grokk_epoch_data"), table("metadata")
    assert loss["step"] == record.steps.tolist()
    assert loss["step"][-1] == record.step == meta["runs"]["grokking"]["summary"]["steps"]
    assert loss["stage1_end"] == record.summary["stage1_end"]
    assert epochs["steps"] == list(record.frame_steps)
    assert sum(step <= epochs["stage1_end"] for step in epochs["steps"]) >= 5
    assert len(epochs["grids"]) == len(epochs["steps"])
    assert len(epochs["grids"][0]) == len(epochs["grids"][0][0]) == 23
    assert set(meta["runs"]) == set(table("training_log")) == {
        "standard", "grokking", "quad_random", "quad_single_freq", "relu_single_freq",
    }  # fmt: skip
    spectra, off = table("neuron_spectra"), FIELDS["mlp"]["theta_hat"].coded.size
    assert spectra["frequencies"] == list(range(1, 12))
    for neuron in spectra["neurons"]:
        assert neuron["input"][neuron["frequency"] - 1] >= (1 - 2 * off) * max(neuron["input"])
    right = [
        max(range(23), key=pair["logits"].__getitem__) == pair["correct"]
        for pair in table("logits_interactive")["pairs"]
    ]
    assert all(right)


@TOGETHER
def test_verify_passes_and_fails_when_a_file_is_gone(drawn, run_script):
    out, cache = drawn
    assert run_script(script, "--p", 23, "--out", out, "--cache", cache, "--verify")[0] == 0
    gone = out / "p_023" / "p023_lineplot_in.png"
    kept = gone.read_bytes()
    gone.unlink()
    status, result, stderr = run_script(script, "--p", 23, "--out", out, "--cache", cache, "--verify")
    gone.write_bytes(kept)
    assert status == 1
    assert list(result["moduli"][0]["missing"]) == ["p023_lineplot_in.png"]
    assert "p023_lineplot_in.png" in stderr


def test_a_small_modulus_has_no_grokking_files(tmp_path):
    shelf = Store(tmp_path / "cache", tmp_path / "atlas")
    for name in ("standard", "quad_random", "quad_single_freq", "relu_single_freq"):
        # A short stand-in for the preset's run: as if the preset had been stopped early.
        run = preset(name, 7)
        record = finish(preset(name, 7, epochs=60))
        assert record.frame_steps[-1] in frame_steps(60)
        shelf.put(type(record)(run, *(getattr(record, n) for n in (
            "steps", "history", "frames", "frame_steps", "provenance"))))  # fmt: skip
    result = published.publish(7, shelf, tmp_path, ("svg",))
    shelf.close()
    assert result["missing"] == {}
    names = {file.name for file in (tmp_path / "p_007").iterdir()}
    assert {"p007_phase_relationship.svg", "p007_metadata.json"} <= names
    assert not any("grokk" in name for name in names)
    assert len(result["not_applicable"]) == 7 + 3
    assert any("grokking starts at p = 19" in line for line in published.told(result))


def test_a_missing_run_is_named_with_its_remedy(tmp_path, run_script):
    nowhere = ("--cache", tmp_path / "cache", "--atlas", tmp_path)
    status, result, _ = run_script(script, "--p", 29, "--out", tmp_path, *nowhere)
    assert status == 1
    why = result["moduli"][0]["missing"]["p029_grokk_acc.png"]
    assert preset("grokking", 29).id in why
    assert "scripts/precompute.py --p 29" in why
    assert "p029_lottery_beta_contour.png" not in result["moduli"][0]["missing"]


@pytest.mark.parametrize("flags", [("--p", 24), ("--p", 201), ()])
def test_a_bad_modulus_is_one_sentence(tmp_path, run_script, flags):
    status, result, stderr = run_script(script, *flags, "--out", tmp_path, "--cache", tmp_path / "cache")
    assert status == 2
    assert result is None
    assert stderr.count("\n") == 1
    assert "Traceback" not in stderr


# The transformers


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A store with a brief transformer of each kind at p = 5."""
    how = dict(p=5, d_model=6, d_mlp=24, heads=2, lr=1e-2, epochs=64)
    runs = (
        Run(model="transformer", frac_train=0.6, **how),
        Run(model="pre-ln", activation="gelu", batch=8, frac_train=0.6, **how),
    )
    shelf = Store(tmp_path_factory.mktemp("networks"), None)
    records = [finish(run) for run in runs]
    for record in records:
        shelf.put(record)
    yield shelf, records
    shelf.close()


def test_a_transformer_gets_a_folder_with_every_published_name(networks, tmp_path):
    shelf, (record, _) = networks
    draw = lambda **how: published.publish(5, shelf, tmp_path, ("svg",), models=["transformer"], **how)  # noqa: E731
    result, here = draw(), tmp_path / "p_005" / record.run.id
    assert result["missing"] == result["not_kept"] == {}
    assert {file.name for file in here.iterdir()} == {
        "training_curves.svg", "embedding_fourier.svg", "neuron_logit_fourier.svg", "neuron_activations.svg",
        "attention_patterns.svg", "logits_2d_fourier.svg",
    }  # fmt: skip
    assert result["expected"] == result["written"] == 6
    assert draw(verify=True)["missing"] == {}
    (here / "logits_2d_fourier.svg").unlink()
    assert list(draw(verify=True)["missing"]) == [f"{record.run.id}/logits_2d_fourier.svg"]


def test_another_network_gets_a_folder_of_its_own(networks, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "DPI", 40)
    shelf, (_, record) = networks
    result = published.publish(5, shelf, tmp_path, models=["pre-ln"])
    assert result["missing"] == result["not_kept"] == {}
    names = {file.stem for file in (tmp_path / "p_005" / record.run.id).iterdir()}
    assert names == set(tasks.figures(record.run))
    assert {"training", "error_map", "tables", "embedding_circuit_gallery", "attention"} <= names


def test_a_figure_is_saved_in_every_format(networks, tmp_path):
    _, (record, _) = networks
    figure = transformer.embedding_fourier(record)
    for form, begins in {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}.items():
        paper.save(figure, tmp_path / f"figure.{form}")
        assert (tmp_path / f"figure.{form}").read_bytes().startswith(begins)
    assert len([*tmp_path.iterdir()]) == 3


def test_what_a_record_does_not_keep_is_told_and_not_missing(networks, tmp_path):
    _, (record, _) = networks
    frames = tuple({n: a for n, a in f.items() if n not in ("maps", "attention")} for f in record.frames)
    bare = Store(tmp_path / "cache", None)
    bare.put(replace(record, frames=frames))
    for verify in (False, True):
        result = published.publish(5, bare, tmp_path, models=["transformer"], verify=verify)
        assert result["missing"] == {}
        assert set(result["not_kept"][record.run.id]) == {"neuron_activations", "attention_patterns"}
        assert any("keeps no maps: train the run here to its end" in line for line in published.told(result))
    bare.close()


def test_a_transformer_that_is_asked_for_and_not_there_is_missing_with_its_remedy(networks, tmp_path):
    shelf, _ = networks
    result = published.publish(7, shelf, tmp_path, models=["transformer"])
    assert "scripts/train.py --p 7 --preset transformer" in result["missing"]["transformer/"]
    drawn = published.publish(7, shelf, tmp_path)  # not asked for, none is missed
    assert not any("transformer" in name for name in drawn["missing"])
