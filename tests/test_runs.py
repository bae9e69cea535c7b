"""A run is named by its settings, and a bad setting is refused in one sentence."""

import json
import re
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modadd import data
from modadd.runs import PRESETS, Run, preset, presets_at, stand_ins, width
from modadd.training.forks import fork

OTHER = dict(
    p=29, d_mlp=513, activation="gelu", init="single-freq", init_scale=0.2, optimizer="sgd", lr=1e-3,
    weight_decay=0.5, frac_train=0.5, split="unordered", epochs=5001, plateau=True, seed=7, precision="tf32",
    model="transformer", task="add3", d_model=64, layers=2, heads=2, batch=64, parent="p023-standard-fd1222771d@100",
    origin="0123456789abcdef", trained="_" * 44 + "A" * 46,
)  # fmt: skip
# Some settings exist for a transformer only.
PRE_LN = Run(model="pre-ln", d_model=16)
START = {name: PRE_LN if name in ("model", "task", "layers", "heads", "batch") else Run(d_mlp=512) for name in OTHER}
START["trained"] = Run(origin="0123456789abcdef")

runs = st.builds(
    Run,
    p=st.integers(1, 99).map(lambda k: 2 * k + 1),
    d_mlp=st.none() | st.integers(1, 200_000),
    activation=st.sampled_from(["relu", "quad", "gelu", "identity"]),
    lr=st.floats(1e-8, 10) | st.integers(1, 10),
    weight_decay=st.floats(0, 100),
    frac_train=st.floats(0.2, 1),
    split=st.sampled_from(["ordered", "unordered"]),
    epochs=st.integers(1, 2_000_000),
    plateau=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)


# -- names --------------------------------------------------------------------------------------


def test_the_default_run_is_the_standard_preset():
    assert Run() == preset("standard", 23)


def test_an_id_says_modulus_and_preset_and_is_fit_for_a_url():
    assert re.fullmatch(r"p023-standard-[0-9a-f]{10}", Run().id)
    assert re.fullmatch(r"p199-quad_random-[0-9a-f]{10}", preset("quad_random", 199).id)
    assert re.fullmatch(r"p007-custom-[0-9a-f]{10}", Run(p=7, lr=0.01).id)


@pytest.mark.parametrize(
    ("name", "run_id"),
    [
        ("standard", "p023-standard-fd1222771d"),
        ("grokking", "p023-grokking-86c923d2f0"),
        ("quad_random", "p023-quad_random-d7b35a1a8c"),
        ("quad_single_freq", "p023-quad_single_freq-fd2a1c4d94"),
        ("relu_single_freq", "p023-relu_single_freq-64623e9e8f"),
    ],
)
def test_an_id_never_changes_between_versions(name, run_id):
    # People keep records and links under these names: a new setting must not rename an old run.
    assert preset(name).id == run_id


def test_what_stands_in_for_a_preset_is_its_first_half_or_its_run_in_tf32():
    fast = replace(preset("standard"), precision="tf32").id
    assert stand_ins(preset("standard").id) == [fast]
    named = stand_ins(preset("quad_single_freq").id)
    assert "p023-quad_single_freq-ce825ee0a2" in named  # its 5,000 steps, as the paper has them
    assert len(named) == 3
    assert stand_ins(preset("standard", seed=1).id) == []
    assert stand_ins(fast) == []


def test_every_setting_is_tried_below():
    assert OTHER.keys() == {field.name for field in fields(Run)}


@pytest.mark.parametrize("name", OTHER)
def test_changing_any_setting_changes_the_id(name):
    run = START[name]
    other = replace(run, **{name: OTHER[name]})
    assert other.id != run.id
    assert other.id.rpartition("-")[2] != run.id.rpartition("-")[2]


@pytest.mark.parametrize("name", OTHER)
def test_only_length_is_no_part_of_the_trajectory(name):
    run = START[name]
    same = replace(run, **{name: OTHER[name]}).trajectory == run.trajectory
    assert same == (name in ("epochs", "plateau"))


@pytest.mark.parametrize("name", ["lr", "init_scale", "weight_decay"])
def test_a_whole_number_and_its_float_name_the_same_run(name):
    assert Run(**{name: 2}).id == Run(**{name: 2.0}).id
    assert Run(**{name: 2}) == Run(**{name: 2.0})
    assert Run(**{name: 2}).to_json() == Run(**{name: 2.0}).to_json()


def test_width_left_open_is_the_width_of_p():
    assert Run(p=53).d_mlp == width(53)
    assert Run(p=53) == Run(p=53, d_mlp=width(53))


@given(runs)
def test_a_run_survives_json(run):
    again = Run.from_json(run.to_json())
    assert again == run
    assert again.id == run.id
    assert json.loads(run.to_json()).keys() == {field.name for field in fields(Run)}


def test_a_run_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Run().lr = 1.0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (dict(task="add3"), "the mlp has one hidden layer"),
        (dict(batch=32), "the mlp has one hidden layer"),
        (dict(d_model=8, init="single-freq"), "a trainable embedding starts from random weights"),
        (dict(model="transformer"), "d_model of a transformer must be a multiple of 4 heads, got 0"),
        (dict(model="pre-ln", d_model=10), "d_model of a pre-ln must be a multiple of 4 heads, got 10"),
        (dict(model="pre-ln", d_model=8, optimizer="sgd"), "a pre-ln trains with adamw"),
        (dict(model="transformer", d_model=8, task="addpow"), "choose pre-ln"),
        (dict(parent="../../etc"), "parent must name a run and a step as ID@STEP, got '../../etc'"),
        (dict(parent=3), "parent must name a run and a step as ID@STEP, got 3"),
        (dict(origin="<b>"), "origin must be 16 hexadecimal digits, got '<b>'"),
        (dict(trained="_w"), "trained is for imported networks and their forks"),
        (
            dict(trained="A" * 88 + "gA", origin="0" * 16),
            "trained names must be a number between 0.01 and 1",
        ),
        (dict(trained="A" * 90, origin="0" * 16), "trained must name pairs of a table of 23 by 23"),
        (dict(trained="_" * 90, origin="0" * 16), "trained must name pairs of a table of 23 by 23"),
        (dict(trained="_w", origin="0" * 16), "trained must name pairs of a table of 23 by 23"),
        (dict(trained="<b>", origin="0" * 16), "trained must be the pairs of a table in base64, got '<b>'"),
        (dict(origin=12), "origin must be 16 hexadecimal digits, got 12"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Run(p=23, **settings)


def test_the_transformer_of_the_paper_has_its_number_of_weights():
    assert preset("transformer", 113).weights == 226_688


def test_a_fork_is_called_one():
    assert re.fullmatch(r"p023-fork-[0-9a-f]{10}", Run(parent="p023-standard-fd1222771d@100").id)


def test_an_imported_run_is_called_one_and_never_has_the_id_of_a_trained_run():
    run = Run(origin="0123456789abcdef")
    assert re.fullmatch(r"p023-imported-[0-9a-f]{10}", run.id)
    assert run.id[-10:] != Run().id[-10:]


def test_the_pairs_of_an_imported_run_decide_its_share():
    table = np.zeros((5, 5), bool)
    table[0, :3] = table[4, 4] = True
    run = Run(p=5, origin="0123456789abcdef", trained=data.written(table), frac_train=0.9)
    assert run.frac_train == 4 / 25
    np.testing.assert_array_equal(data.train_mask(run), table)
    assert Run.from_json(run.to_json()) == run
    assert fork(run, 10, weights_only=True, weight_decay=1.0).trained == run.trained
    assert not fork(run, 10, weights_only=True, frac_train=0.5).trained


# -- presets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", range(3, 200, 2))
def test_width_keeps_the_ratio_of_the_paper_and_never_falls_below_512(p):
    assert width(p) == max(512, -(-512 * p * p // 529))


@pytest.mark.parametrize(("p", "neurons"), [(3, 512), (23, 512), (53, 2719), (97, 9107), (199, 38329)])
def test_width_of_the_examples(p, neurons):
    assert width(p) == neurons


@pytest.mark.parametrize(
    ("name", "activation", "init", "optimizer", "lr", "weight_decay", "frac_train", "epochs", "init_scale"),
    [
        ("standard", "relu", "random", "adamw", 5e-5, 0, 1.0, 5_000, 0.1),
        ("grokking", "relu", "random", "adamw", 1e-4, 2.0, 0.75, 50_000, 0.1),
        ("quad_random", "quad", "random", "adamw", 5e-5, 0, 1.0, 5_000, 0.1),
        ("quad_single_freq", "quad", "single-freq", "sgd", 0.1, 0, 1.0, 10_000, 0.02),
        ("relu_single_freq", "relu", "single-freq", "sgd", 0.01, 0, 1.0, 10_000, 0.002),
    ],
)
def test_presets_are_those_of_the_paper(
    name, activation, init, optimizer, lr, weight_decay, frac_train, epochs, init_scale
):
    run = preset(name, 31)
    assert (run.activation, run.init, run.optimizer, run.lr) == (activation, init, optimizer, lr)
    assert (run.weight_decay, run.frac_train, run.epochs) == (weight_decay, frac_train, epochs)
    assert (run.init_scale, run.seed, run.precision, run.split) == (init_scale, 42, "fp32", "ordered")
    assert run.plateau == (name == "grokking")
    assert run.d_mlp == width(31)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_recognised_at_any_modulus_seed_and_length(name):
    assert preset(name, 41, seed=5, epochs=77).preset == name
    assert preset(name, 41, lr=0.012).preset == "custom"
    assert preset(name, 41, d_mlp=width(41) + 1).preset == "custom"


def test_a_change_of_none_changes_nothing():
    assert preset("standard", 23, seed=None, d_mlp=None) == preset("standard", 23)


def test_grokking_is_offered_from_19_on():
    assert "grokking" in presets_at(19)
    assert "grokking" not in presets_at(17)
    assert set(presets_at(17)) | {"grokking"} == set(PRESETS)


# -- refusals -----------------------------------------------------------------------------------

ACTIVATION = "activation must be one of relu, quad, gelu, identity"
REGISTER = "register another with modadd.activations.register"
NUMBER = "must be a number between"
WHOLE = "must be a whole number between"


@pytest.mark.parametrize("p", [24, 0, -7, 1, 2, 201, 10**9, 22.5, "23", None, True, [23], float("nan"), float("inf")])
def test_a_bad_modulus_is_refused(p):
    with pytest.raises(ValueError, match="^" + re.escape(f"p must be odd and between 3 and 199, got {p}") + "$"):
        Run(p=p)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("d_mlp", 0, f"d_mlp {WHOLE} 1 and 200,000, got 0"),
        ("d_mlp", 200_001, f"d_mlp {WHOLE} 1 and 200,000, got 200001"),
        ("d_mlp", 11.0, f"d_mlp {WHOLE} 1 and 200,000, got 11.0"),
        ("d_mlp", True, f"d_mlp {WHOLE} 1 and 200,000, got True"),
        ("d_mlp", "wide", f"d_mlp {WHOLE} 1 and 200,000, got wide"),
        ("epochs", 0, f"epochs {WHOLE} 1 and 2,000,000, got 0"),
        ("epochs", -1, f"epochs {WHOLE} 1 and 2,000,000, got -1"),
        ("epochs", 2_000_001, f"epochs {WHOLE} 1 and 2,000,000, got 2000001"),
        ("epochs", 1e3, f"epochs {WHOLE} 1 and 2,000,000, got 1000.0"),
        ("epochs", None, f"epochs {WHOLE} 1 and 2,000,000, got None"),
        ("seed", -1, f"seed {WHOLE} 0 and 2,147,483,647, got -1"),
        ("seed", 2**31, f"seed {WHOLE} 0 and 2,147,483,647, got 2147483648"),
        ("seed", 0.5, f"seed {WHOLE} 0 and 2,147,483,647, got 0.5"),
        ("lr", 0, f"lr {NUMBER} 1e-08 and 10, got 0"),
        ("lr", -0.1, f"lr {NUMBER} 1e-08 and 10, got -0.1"),
        ("lr", 11, f"lr {NUMBER} 1e-08 and 10, got 11"),
        ("lr", float("nan"), f"lr {NUMBER} 1e-08 and 10, got nan"),
        ("lr", float("inf"), f"lr {NUMBER} 1e-08 and 10, got inf"),
        ("lr", "fast", f"lr {NUMBER} 1e-08 and 10, got fast"),
        ("lr", True, f"lr {NUMBER} 1e-08 and 10, got True"),
        ("lr", None, f"lr {NUMBER} 1e-08 and 10, got None"),
        ("init_scale", 0.0, f"init_scale {NUMBER} 1e-06 and 10, got 0.0"),
        ("init_scale", 10.5, f"init_scale {NUMBER} 1e-06 and 10, got 10.5"),
        ("weight_decay", -1.0, f"weight_decay {NUMBER} 0 and 100, got -1.0"),
        ("weight_decay", 101, f"weight_decay {NUMBER} 0 and 100, got 101"),
        ("weight_decay", float("nan"), f"weight_decay {NUMBER} 0 and 100, got nan"),
        ("frac_train", 0.0, f"frac_train {NUMBER} 0.01 and 1, got 0.0"),
        ("frac_train", 1.01, f"frac_train {NUMBER} 0.01 and 1, got 1.01"),
        ("frac_train", 75, f"frac_train {NUMBER} 0.01 and 1, got 75"),
        ("activation", "tanh", f"{ACTIVATION}, got 'tanh': {REGISTER}"),
        ("activation", "ReLU", f"{ACTIVATION}, got 'ReLU': {REGISTER}"),
        ("activation", "x4", f"{ACTIVATION}, got 'x4': {REGISTER}"),
        ("activation", None, f"{ACTIVATION}, got None: {REGISTER}"),
        ("init", "single_freq", "init must be one of random, single-freq, equal, got 'single_freq'"),
        ("optimizer", "adam", "optimizer must be one of adamw, sgd, got 'adam'"),
        ("split", 0.75, "split must be one of ordered, unordered, got 0.75"),
        ("split", ["ordered"], "split must be one of ordered, unordered, got ['ordered']"),
        ("precision", "bf16", "precision must be one of fp32, tf32, got 'bf16'"),
        ("plateau", 1, "plateau must be true or false, got 1"),
        ("plateau", "yes", "plateau must be true or false, got 'yes'"),
        ("plateau", None, "plateau must be true or false, got None"),
    ],
)
def test_a_bad_setting_is_refused_by_name_value_and_remedy(name, value, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        Run(**{name: value})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (dict(heads=2), "the mlp has no heads, got 2: leave heads at 4"),
        (dict(model="transformer", d_model=16, init_scale=0.2),
         "a transformer has scales of its own: leave init_scale at 0.1"),
        (dict(model="pre-ln", d_model=16, init_scale=1), "a pre-ln has scales of its own: leave init_scale at 0.1"),
        (dict(model="transformer", d_model=16, activation="gelu"), "the neurons of the transformer are relu, got gelu"),
    ],
)  # fmt: skip
def test_a_setting_that_would_change_nothing_is_refused(settings, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        Run(**settings)


def test_a_split_without_a_training_pair_is_refused():
    with pytest.raises(ValueError, match=r"^frac_train = 0\.1 leaves no training pair at p = 3: raise it$"):
        Run(p=3, frac_train=0.1)
    assert Run(p=3, frac_train=0.2).frac_train == 0.2


def test_an_unknown_preset_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"^preset must be one of standard, grokking, .*, got 'groking'$"):
        preset("groking", 23)


def test_grokking_below_19_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"^grokking needs p >= 19 \(too few test pairs below\), got 17$"):
        preset("grokking", 17)
    with pytest.raises(ValueError, match=r"^p must be odd"):
        preset("grokking", 24)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "not the settings of a run"),
        ("null", "not the settings of a run"),
        ("3", "not the settings of a run"),
        ('"p"', "not the settings of a run"),
        ('{"p": "23"}', "p must be odd and between 3 and 199, got 23"),
        ('{"p": 24}', "p must be odd and between 3 and 199, got 24"),
    ],
)
def test_text_that_is_no_run_is_refused(text, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        Run.from_json(text)


def test_a_setting_nobody_knows_is_named():
    with pytest.raises(ValueError, match=r"not the settings of a run: .*'modulus'"):
        Run.from_json('{"modulus": 23}')
