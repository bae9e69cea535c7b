"""The Transformer page and its printed figures: a run that groks, an empty cache, bare records, other models."""

import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL as MLP
from conftest import finish

from modadd import Run, preset, ui
from modadd.analysis import phases
from modadd.figures import transformer as draw
from modadd.figures.print import transformer
from modadd.frames import one_layer
from pages import charts, drawn, move, press

PAGE = "pages/Transformer.py"
TINY = Run(
    model="transformer", p=7, d_model=10, heads=2, d_mlp=11, lr=1e-3, weight_decay=1.0, frac_train=0.6, epochs=128
)
GROKS = preset("transformer", 23, d_model=64, d_mlp=128, weight_decay=5.0, frac_train=0.75, epochs=600, seed=0)
TRAINING = {"embed_norms", "map_norms", "progress", "loss", "accuracy", "squared", "shares"}


@pytest.fixture(scope="module")
def tiny(one_thread):
    return finish(TINY)


@pytest.fixture(scope="module")
def grokked(one_thread):
    """A circuit of two or three frequencies after some 300 steps; 70 % of the logits or more are theirs at the end."""
    return finish(GROKS)


@pytest.fixture
def app(app):
    """Opens a page, this one if no other is named, without the atlas unless it is asked for."""
    return lambda page=PAGE, atlas=False, **query: app(page, atlas, **query)


def bare(record, *unwanted):
    """The record without arrays whose names begin so, and without state."""
    frames = tuple({n: a for n, a in frame.items() if not n.startswith(unwanted)} for frame in record.frames)
    return replace(record, frames=frames, state=None)


# The progress of a run that groks


def test_progress_finds_the_circuit_of_a_run_that_groks(grokked):
    keys = phases.final_keys(grokked)
    assert 1 <= keys.sum() <= 6
    found = phases.progress(grokked, keys)
    assert found["fve"][-1] > 0.5
    assert found["restricted_test"][-1] < 0.1 * np.log(23) < found["restricted_test"][0]
    assert found["excluded"][-1] > 100 * grokked.history["train_loss"][-1]
    assert found["trig"][-1] < 0.1 < found["trig"][0]
    assert phases.phases(grokked, found)[1] is not None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_phases_of_a_run_that_groks_follow_each_other():
    """At p = 53 and weight decay 5 (seed 42: steps 1,600, 4,200 and 5,850)."""
    record = finish(preset("transformer", 53, weight_decay=5.0, epochs=9000))
    memorised, formed, clean = phases.phases(record, phases.progress(record, phases.final_keys(record)))
    assert 500 < memorised < formed < clean
    assert [*phases.spans(record, (memorised, formed, clean))] == [*phases.PHASES]
    assert record.frames[-1]["fve"] > 0.9
    assert record.frames[-1]["single"] > 0.6


def test_stricter_criteria_end_a_phase_later_and_impossible_ones_never(grokked):
    found = phases.progress(grokked, phases.final_keys(grokked))
    usual, strict = phases.phases(grokked, found), phases.phases(grokked, found, 1e9, fall=1e-2, done=1e-3)
    assert strict[0] is None
    assert strict[1] >= usual[1]
    assert phases.phases(grokked, found, 1e9, 1e-12, 1e-12) == (None, None, None)


def test_a_phase_without_an_end_lasts_and_the_next_is_not_entered(grokked):
    assert phases.spans(grokked, (100, None, 500)) == {
        "memorisation": (0, 100), "circuit formation": (100, grokked.step)
    }  # fmt: skip
    assert phases.spans(grokked, (None, 200, 300)) == {"memorisation": (0, grokked.step)}
    assert phases.spans(grokked, (300, 200, 500))["cleanup"] == (300, 500)


def planted(excluded, restricted, test_loss):
    """(record, progress) with these curves at steps 0, 10, 20, ..."""
    steps = 10 * np.arange(len(excluded))
    record = replace(finish(replace(TINY, epochs=3)), steps=steps, history={"test_loss": np.array(test_loss)})
    return record, {"step": steps, "excluded": np.array(excluded), "restricted_test": np.array(restricted)}


def test_phases_end_where_planted_curves_turn():
    chance = np.log(TINY.p)
    record, found = planted([2, 0.1, 0.01, 0.05, 1, 1], [2, 2, 2, 1, 0.09 * chance, 0], [3, 3, 3, 3, 1, 0.009 * chance])
    assert phases.phases(record, found) == (20, 40, 50)
    assert phases.phases(record, found, rise=101)[0] is None
    record, found = planted([np.nan] * 3, [np.nan] * 3, [np.nan] * 3)
    assert phases.phases(record, found) == (None, None, None)


def test_excluding_all_at_once_agrees_with_the_frames_own_number(grokked):
    steps, losses = phases.excluded_together(grokked, phases.final_keys(grokked))
    assert steps[-1] == grokked.step
    assert losses[-1] == pytest.approx(float(grokked.frames[-1]["excluded_train"]), rel=0.02)  # weights kept as float16


def test_a_frame_opened_from_its_weights_equals_the_one_taken_in_training(grokked):
    last = grokked.frames[-1]
    again = one_layer.take_frame(GROKS, *phases.opened(GROKS, last), final=True)
    assert again.keys() == {name for name in last if not name.startswith("weights/")}
    for name in ("embed_norms", "map_norms", "attention", "by_sum"):
        np.testing.assert_allclose(again[name], last[name], rtol=0.02, atol=0.02, err_msg=name)
    assert again["circle_frequency"].tolist() == last["circle_frequency"].tolist()


# The page


def test_a_run_that_groks_is_drawn_beside_the_mlp_and_the_player_moves_it(app, grokked):
    ui.lab().store.put(grokked)
    test = app(atlas=True, run=GROKS.id)
    assert not test.exception
    assert not test.error
    keys = int(phases.final_keys(grokked).sum())
    assert TRAINING | {"excluded", "pairs", "neurons", "attention", "logits-2d", f"circle-{keys - 1}"} <= drawn(test)
    assert {"accuracy-input", "accuracy-output", "use-input", "use-output"} <= drawn(test)  # beside the MLP
    before = charts(test)
    move(test, 0)
    assert not test.exception
    assert any("there is no circle to draw yet" in text.value for text in test.markdown)
    assert charts(test)[0] != before[0]


def test_the_rule_of_the_key_frequencies_can_be_changed(app, grokked):
    ui.lab().store.put(grokked)
    test = app(run=GROKS.id)
    named = lambda: next(text.value for text in test.markdown if "the key frequencies are" in text.value)  # noqa: E731
    usual = named()
    test.segmented_control(key="key-rule").set_value("share").run()
    test.slider[0].set_value(1).run()
    assert not test.exception
    assert named() != usual
    test.segmented_control(key="key-rule").set_value("by hand").run()
    assert named().split("**")[1] == usual.split("**")[1]
    test.multiselect[0].set_value([]).run()
    assert not test.exception
    assert "none stands out" in named()
    assert any("no key frequency to take away" in text.value for text in test.info)
    assert any("the excluded loss turns up: **not reached**" in text.value for text in test.markdown)


def test_all_key_frequencies_are_excluded_at_once_on_demand(app, grokked):
    ui.lab().store.put(grokked)
    test = app(run=GROKS.id)
    before = charts(test)
    test.toggle(key="at-once").set_value(True).run()
    assert not test.exception
    after = charts(test)
    assert sum(a != b for a, b in zip(before, after, strict=True)) >= 1


@pytest.mark.parametrize("unwanted", [("weights/",), ("weights/", "maps"), ("by_sum", "weights/")])
def test_a_record_is_drawn_as_far_as_it_goes(app, tiny, unwanted):
    ui.lab().store.put(bare(tiny, *unwanted))
    test = app(run=TINY.id)
    assert not test.exception
    assert not test.error
    assert drawn(test) >= TRAINING
    if "maps" in unwanted:
        assert any("keeps no weights and no maps" in text.value for text in test.info)
    move(test, 0)
    assert not test.exception


def test_a_compact_record_is_drawn(app, tiny):
    ui.lab().store.put(tiny.compact())
    test = app(run=TINY.id)
    assert not test.exception
    assert drawn(test) >= TRAINING


def test_a_run_that_trains_on_every_pair_has_no_test_curves_and_no_end(app):
    record = finish(replace(TINY, frac_train=1.0, epochs=40))
    ui.lab().store.put(record)
    test = app(run=record.run.id)
    assert not test.exception
    assert any("test loss is down to 0.01 ln p: **not reached**" in text.value for text in test.markdown)


def test_an_empty_cache_is_an_invitation_with_a_price_and_training_is_watched(app):
    test = app(p="5")
    assert not test.exception
    assert not charts(test)
    assert any("of memory" in text.value for text in test.caption)
    test.number_input(key="steps-5").set_value(60).run()
    press(test, "Train it")
    assert not test.exception
    run_id = test.query_params["run"]
    ui.lab().job(run_id if isinstance(run_id, str) else run_id[0]).done.wait(60)
    test.run()
    assert not test.exception
    assert drawn(test) >= TRAINING


def test_a_run_is_drawn_while_it_trains(app):
    run = replace(TINY, epochs=500_000)
    job = ui.lab().submit(run, "cpu")
    while job.record is None or not job.record.frames:
        time.sleep(0.05)
    test = app(run=run.id)
    assert not test.exception
    assert drawn(test) >= TRAINING
    assert any("open as soon as the run ends or pauses" in text.value for text in test.info)
    press(test, "Pause")
    job.done.wait(60)
    test.run()
    assert not test.exception


@pytest.mark.parametrize("bad", ["p007-transformer-0000000000", "../../etc/passwd", "<script>"])
def test_a_run_id_that_is_not_here_is_one_sentence(app, bad):
    test = app(p="7", run=bad)
    assert not test.exception
    assert len(test.error) == 1
    assert "No run called" in test.error[0].value


def test_a_run_of_another_model_is_sent_to_its_own_page(app, tiny):
    record = finish(MLP)
    ui.lab().store.put(record)
    ui.lab().store.put(tiny)
    for page, run in ((PAGE, MLP), ("pages/Weights.py", TINY)):
        test = app(page, p="7", run=run.id)
        assert not test.exception
        assert any("which this page does not show" in text.value for text in test.info)
        assert not charts(test)


# Charts and print


def test_the_level_parts_key_from_other_and_is_absent_where_they_mix():
    norms, keys = np.array([0.1, 4.0, 0.2]), np.array([False, True, False])
    assert 0.2 < draw.level(norms, keys) < 4
    assert draw.level(norms, ~keys) is None
    assert draw.level(norms, np.zeros(3, bool)) is None


def test_the_strongest_products_of_a_network_that_adds_are_four_a_frequency():
    lengths = np.full((7, 7), 1e-3)
    lengths[0, 0], lengths[3:5, 3:5] = 9.0, 2.0
    found = draw.strongest(lengths, 4)
    assert {(one, other) for one, other, _ in found} == {(a, b) for a in ("cos 2", "sin 2") for b in ("cos 2", "sin 2")}
    assert sum(share for *_, share in found) == pytest.approx(1, abs=1e-4)
    assert draw.decades(lengths)[3, 4] == draw.DECADES
    assert draw.decades(lengths)[0, 0] == 0


@pytest.mark.parametrize("name", transformer.FIGURES)
def test_every_published_figure_is_drawn(grokked, tmp_path, name):
    transformer.FIGURES[name](grokked).savefig(tmp_path / f"{name}.png", dpi=50)
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_what_a_record_does_not_keep_is_named(tiny):
    with pytest.raises(ValueError, match="keeps no maps: train the run here to its end"):
        transformer.neuron_activations(bare(tiny, "maps"))


# Which network


def test_every_network_of_this_modulus_can_be_chosen_and_another_be_trained(app, tiny):
    plain, weak = (replace(tiny.run, weight_decay=decay) for decay in (3.0, 0.5))
    for run in (plain, weak):
        ui.lab().store.put(replace(tiny, run=run))
    test = app(p="7")
    assert not test.exception
    network = test.selectbox(key="network-7")
    assert len(network.options) == 3
    assert all("test accuracy" in label for label in network.options[:2])
    for index in (1, 0):
        decay = network.options[index].partition(",")[0]
        test.selectbox(key="network-7").select_index(index).run()
        assert not test.exception
        assert any(f"with {decay}" in text.value for text in test.markdown)
    test.selectbox(key="network-7").select_index(2).run()
    assert not test.exception
    assert not charts(test)
    assert any(button.label == "Train it" for button in test.button)


def test_the_atlas_opens_p_53_with_the_network_that_generalises_and_the_one_that_does_not(app):
    test = app(atlas=True, p="53")
    assert not test.exception
    first, second, _ = test.selectbox(key="network-53").options
    assert "weight decay 5" in first
    assert "weight decay 1" in second
    assert any("with weight decay 5" in text.value for text in test.markdown)


def test_a_run_of_another_modulus_leaves_the_choice_of_this_one(app, tiny):
    ui.lab().store.put(tiny)
    test = app(atlas=True, p="53", run=TINY.id)
    assert not test.exception
    assert len(test.selectbox(key="network-53").options) == 3
