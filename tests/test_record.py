"""What a record holds, what it says it does not hold, and that storing it loses nothing."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import EXACT, FLOAT32, HALF, PHASE, SMALL, assert_same_training, finish, plain_logits, weights
from hypothesis import given
from hypothesis import strategies as st

import modadd.records.record
from modadd import data
from modadd.data import METRICS
from modadd.figures import many
from modadd.frames import schema
from modadd.frames.schema import frame_steps, pack, unpack, weight_stride
from modadd.maths import fourier, measures
from modadd.records.record import Record, thin_rows
from modadd.records.store import from_bytes, to_bytes
from modadd.runs import Run, preset

# `train.py --json` prints at least these.
SUMMARY = {
    "run_id", "p", "preset", "d_mlp", "seed", "device", "precision", "steps", "stop_reason", "seconds",
    "steps_per_second", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "held_out_accuracy",
    "mirrored_accuracy", "ipr_in", "ipr_out", "ipr", "mean_abs_sin_D", "mean_cos_D", "frequency_counts", "stage1_end",
    "stage2_end", "param_norm",
}  # fmt: skip


@pytest.fixture(scope="module")
def sparing(one_thread):
    """A record that keeps few spectra, few neurons and the weights of some frames only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modadd.frames.mlp, "SPECTRUM_NEURONS", 3)
        patch.setattr(modadd.frames.mlp, "TABLE_NEURONS", 5)
        patch.setattr(modadd.frames.schema, "WEIGHT_BYTES", 2 * 2 * 11 * 7 * 10)
        return finish(SMALL)


def bare(record):
    """The same run with a history and no frames."""
    return replace(record, frames=(), frame_steps=())


def without(record, *names):
    """The same record, its frames robbed of some arrays."""
    return replace(record, frames=tuple({k: v for k, v in frame.items() if k not in names} for frame in record.frames))


# -- storing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [lambda r: r, Record.without_state, bare, lambda r: without(r, "theta", "xi")])
def test_a_record_survives_bytes(record, change):
    record = change(record)
    again = from_bytes(to_bytes(record))
    assert_same_training(again, record)
    assert again.provenance == record.provenance
    assert again.summary == record.summary


def test_equal_records_are_equal_bytes(record):
    blob = to_bytes(record)
    assert to_bytes(record) == blob
    assert to_bytes(from_bytes(blob)) == blob


def test_frames_that_hold_different_things_survive_bytes(sparing):
    assert len({frozenset(frame) for frame in sparing.frames}) == 2  # with weights and without
    assert_same_training(from_bytes(to_bytes(sparing)), sparing)


@pytest.mark.parametrize("schema", [0, 2, None])
def test_another_schema_is_refused_by_number(record, schema):
    arrays = record.to_arrays()
    card = json.loads(bytes(arrays["card"])) | {"schema": schema}
    arrays["card"] = np.frombuffer(json.dumps(card).encode(), np.uint8)
    with pytest.raises(ValueError, match=f"^this record has schema {schema}, this program reads 1$"):
        Record.from_arrays(arrays)


@pytest.mark.parametrize("missing", ["card", "steps", "frame_steps"])
def test_arrays_that_are_no_record_are_refused(record, missing):
    arrays = record.to_arrays()
    del arrays[missing]
    with pytest.raises(ValueError, match=f"^not a record: .*{missing}"):
        Record.from_arrays(arrays)


def test_a_column_too_short_is_refused(record):
    arrays = record.to_arrays()
    arrays["frames/alpha"] = arrays["frames/alpha"][:-1]
    with pytest.raises(ValueError, match="shorter"):
        Record.from_arrays(arrays)


@given(st.lists(st.floats(-np.pi, np.pi), min_size=1, max_size=9), st.lists(st.floats(-6e4, 6e4), max_size=9))
def test_packing_rounds_once(phases, reals):
    phases, reals = np.array(phases, np.float32), np.array(reals, np.float32)
    for name, value, bound in (("phi", phases, PHASE), ("psi", phases, PHASE), ("alpha", reals, None)):
        kept = unpack(name, pack(name, value))
        assert kept.dtype == np.float32
        np.testing.assert_array_equal(unpack(name, pack(name, kept)), kept)
        np.testing.assert_allclose(kept, value, rtol=0 if bound else HALF, atol=bound or 1e-7)
        assert pack(name, value).itemsize == 2


def test_counts_flags_and_scalars_are_kept_whole():
    for value in (np.arange(5, dtype=np.int32), np.array([True, False]), np.float32(0.1), np.uint8([99])):
        kept = unpack("anything", pack("anything", value))
        assert kept.dtype == value.dtype
        np.testing.assert_array_equal(kept, value)


# -- the schedule -------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 199, 200, 201, 1000, 5000, 50_000])
def test_frames_run_from_the_first_step_to_the_last(epochs):
    steps = frame_steps(epochs)
    assert steps[0] == 0
    assert steps[-1] == epochs
    assert all(0 < b - a <= 200 for a, b in pairwise(steps))


def test_frames_are_dense_early():
    steps = frame_steps(5000)
    assert set(range(9)) <= set(steps)
    # Up to step 200, a gap is at most a fifth of the step at which it ends.
    assert all(b - a <= max(1, 0.2 * b) for a, b in pairwise(step for step in steps if step <= 200))
    assert set(range(200, 5001, 200)) <= set(steps)


def test_a_longer_run_has_the_frames_of_a_shorter_one():
    assert set(frame_steps(1000)[:-1]) <= set(frame_steps(5000))


@pytest.mark.parametrize("name", ["standard", "grokking"])
@pytest.mark.parametrize("p", [23, 53, 97, 199])
def test_the_weights_of_all_frames_fit_their_budget(p, name):
    run = preset(name, p)
    frames, stride, each = len(frame_steps(run.epochs)), weight_stride(run), 2 * 2 * run.d_mlp * p
    assert -(-frames // stride) * each <= modadd.frames.schema.WEIGHT_BYTES + each
    if stride > 1:  # and the budget is used
        assert frames / (stride - 1) * each > modadd.frames.schema.WEIGHT_BYTES


def test_only_some_frames_keep_weights_and_the_last_one_does(sparing):
    held = ["theta" in frame for frame in sparing.frames]
    assert held == ["xi" in frame for frame in sparing.frames]
    assert held[0]
    assert held[-1]
    assert held[:-1] == [i % 4 == 0 for i in range(len(held) - 1)]
    assert (len(held) - 1) % 4 != 0  # the last keeps them because it is the last


# -- a frame ------------------------------------------------------------------------------------


def test_a_frame_measures_the_network_it_was_taken_of(record):
    theta, xi = (w.astype(float) for w in weights(record))
    frame, neuron = record.frames[-1], measures.neurons(theta, xi)
    p, (x, y) = 7, data.pairs(7)
    np.testing.assert_array_equal(frame["frequency"], neuron["frequency_M"])
    np.testing.assert_array_equal(frame["counts_K"], measures.frequency_counts(neuron["frequency_M"], 3))
    for name in ("alpha", "beta"):
        np.testing.assert_allclose(frame[name], neuron[f"{name}_M"], rtol=HALF)
    for name in ("phi", "psi"):
        np.testing.assert_allclose(frame[name], neuron[f"{name}_M"], atol=PHASE)
    np.testing.assert_allclose(frame["theta_hat"], neuron["theta_hat_MP"], rtol=HALF, atol=1e-7)
    np.testing.assert_allclose(frame["xi_hat"], neuron["xi_hat_MP"], rtol=HALF, atol=1e-7)
    for name, value in measures.scalars(neuron).items():
        assert frame[name] == pytest.approx(value, rel=FLOAT32)

    f = plain_logits(theta, xi, "relu").numpy()
    np.testing.assert_allclose(frame["logits0"], f[0] - f[0].mean(-1, keepdims=True), rtol=HALF, atol=HALF)
    answer = (x + y) % p
    np.testing.assert_array_equal(frame["correct"], f[x, y].argmax(-1) == answer)
    probability = np.exp(f[x, y]) / np.exp(f[x, y]).sum(-1, keepdims=True)
    np.testing.assert_allclose(frame["probability"], probability[np.arange(28), answer], rtol=HALF)


def test_a_frame_is_stored_small(record, sparing):
    frame = sparing.frames[-1]
    assert len(frame["alpha"]) == len(frame["phi"]) == len(frame["frequency"]) == 5
    assert frame["theta_hat"].shape == frame["xi_hat"].shape == (3, 7)
    assert frame["counts_K"].sum() == 11  # of all neurons, not of those in the table
    assert frame["ipr_in"] == record.frames[-1]["ipr_in"]


def test_a_moment_is_at_or_before_its_step_and_tells_which_it_is(record):
    assert record.at() == (record.frame_steps[-1], record.frames[-1])
    assert record.at(0).frame is record.frames[0]
    at = record.frame_steps.index(200)
    for step, i in ((200, at), (214, at), (199, at - 1), (10**9, -1)):
        moment = record.at(step)
        assert moment.step == record.frame_steps[i]
        assert moment.frame is record.frames[i]


def test_nothing_is_before_the_first_frame(record):
    late = replace(record, frames=record.frames[3:], frame_steps=record.frame_steps[3:])
    assert late.at(0) is None
    assert late.at(0, rule="nearest").step == record.frame_steps[3]


def test_asking_for_what_some_frames_hold_skips_the_others(sparing):
    held = [i for i, frame in enumerate(sparing.frames) if "theta" in frame]
    between = held[1] + 1
    assert "theta" not in sparing.frames[between]
    step = sparing.frame_steps[between]
    assert sparing.at(step).frame is sparing.frames[between]
    assert sparing.at(step, holding="theta").frame is sparing.frames[held[1]]
    assert sparing.at(step, holding="theta", rule="exact") is None
    steps, theta = sparing.series("theta")
    assert steps.tolist() == [sparing.frame_steps[i] for i in held]
    assert theta.shape == (len(held), 11, 7)


def test_a_frame_far_from_a_step_does_not_stand_for_it(record):
    two = replace(record, frames=(record.frames[0], record.frames[-1]), frame_steps=(0, 300))
    assert two.at(100, rule="nearest").step == 0
    assert two.at(200, rule="nearest").step == 300
    assert two.at(200, rule="near") is None
    assert two.at(280, rule="near").step == 300
    assert two.at(280, rule="exact") is None
    assert two.at(0, rule="near").step == two.at(0, rule="exact").step == 0
    assert two.at(1, rule="near") is None


def test_a_series_is_its_frames_in_order(record):
    steps, alpha = record.series("alpha")
    assert tuple(steps) == record.frame_steps
    for i, frame in enumerate(record.frames):
        np.testing.assert_array_equal(alpha[i], frame["alpha"])


# -- the race -----------------------------------------------------------------------------------


def test_a_race_follows_every_frequency_of_a_neuron(record):
    race = record.race(4)
    steps, theta = record.series("theta")
    xi = record.series("xi")[1]
    (alpha, phi), (beta, psi) = (fourier.cosines(fourier.dft(layer[:, 4])) for layer in (theta, xi))
    np.testing.assert_array_equal(race["step_S"], steps)
    assert race["alpha_SK"].shape == race["beta_SK"].shape == race["D_SK"].shape == (len(steps), 3)
    # The spectrum and the weights were each rounded to float16 on their own.
    np.testing.assert_allclose(race["alpha_SK"], alpha, atol=3 * HALF * alpha.max())
    np.testing.assert_allclose(race["beta_SK"], beta, atol=3 * HALF * beta.max())
    big = np.minimum(alpha, beta) > 0.02
    assert big.sum() > 20
    np.testing.assert_allclose(np.exp(1j * race["D_SK"])[big], np.exp(1j * (2 * phi - psi))[big], atol=50 * HALF)


def test_beyond_the_spectra_a_race_is_read_from_the_weights(record, sparing):
    race = sparing.race(4)
    held = [i for i, frame in enumerate(sparing.frames) if "theta" in frame]
    assert race["step_S"].tolist() == [sparing.frame_steps[i] for i in held]
    np.testing.assert_allclose(race["alpha_SK"], record.race(4)["alpha_SK"][held], atol=3 * HALF)


def test_a_neuron_that_is_not_held_has_no_race(record, sparing):
    assert record.race(11) is None
    assert sparing.race(11) is None
    assert without(sparing, "theta", "xi").race(3) is None
    assert without(sparing, "theta", "xi").race(2) is not None


@pytest.mark.parametrize("poor", [bare, lambda r: without(r, "theta_hat", "xi_hat", "theta", "xi")])
def test_a_record_without_spectra_has_no_race(record, poor):
    assert poor(record).race(0) is None


# -- absence ------------------------------------------------------------------------------------


def test_what_a_record_does_not_hold_is_none(record):
    assert record.at(holding="attention") is None
    assert bare(record).at() is None
    steps, values = record.series("attention")
    assert len(steps) == len(values) == 0


def test_a_summary_has_every_published_name(record):
    assert set(record.summary) >= SUMMARY
    json.dumps(record.summary, allow_nan=False)


def test_a_summary_is_the_last_row_and_the_last_frame(record):
    said, history, frame = record.summary, record.history, record.frames[-1]
    for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "held_out_accuracy"):
        assert said[name] == history[name][-1]
    assert said["mirrored_accuracy"] == history["rare_accuracy"][-1]
    assert said["param_norm"] == history["norm"][-1]
    for name in ("ipr_in", "ipr_out", "mean_abs_sin_D", "mean_cos_D"):
        assert said[name] == frame[name]
    assert said["ipr"] == pytest.approx((frame["ipr_in"] + frame["ipr_out"]) / 2, rel=EXACT)
    assert said["frequency_counts"] == frame["counts_K"].tolist()
    assert sum(said["frequency_counts"]) == said["d_mlp"] == 11
    assert (said["run_id"], said["p"], said["seed"], said["preset"]) == (SMALL.id, 7, 42, "custom")
    assert (said["steps"], said["stop_reason"]) == (300, "epochs")


def test_a_summary_says_none_where_a_number_does_not_apply(record):
    said = bare(record).summary
    assert [said[n] for n in ("ipr_in", "ipr_out", "ipr", "mean_abs_sin_D", "mean_cos_D", "frequency_counts")] == (
        [None] * 6
    )
    whole = finish(Run(p=7, d_mlp=11, epochs=5)).summary
    tests = ("test_loss", "test_accuracy", "held_out_accuracy", "mirrored_accuracy", "stage2_end")
    assert [whole[name] for name in tests] == [None] * 5
    assert whole["train_loss"] is not None


def test_a_stage_not_reached_is_none(record):
    assert finish(replace(SMALL, epochs=10)).summary["stage1_end"] is None
    assert measures.stages(record, threshold=1.01) == (None, None)


def test_a_stage_that_is_reached_is_the_first_step_there():
    done = finish(replace(SMALL, lr=0.02))
    end, accuracy = done.summary["stage1_end"], done.history["train_accuracy"]
    assert accuracy[end] >= 0.95
    assert (accuracy[:end] < 0.95).all()
    tested = done.history["test_accuracy"] >= 0.95
    assert done.summary["stage2_end"] == (tested.argmax() if tested.any() else None)


def test_a_growing_or_stopped_record_is_not_finished(record):
    for reason, finished in [
        (None, False), ("stopped", False), ("epochs", True), ("plateau", True), ("diverged", True),
    ]:  # fmt: skip
        grown = replace(record, provenance=record.provenance | {"stop_reason": reason})
        assert grown.finished is finished


def test_a_record_knows_every_metric(record):
    assert set(record.history) == set(METRICS)


# -- thinning -----------------------------------------------------------------------------------


def test_thinning_keeps_both_ends_and_every_spike():
    curve = np.sin(np.arange(20_000) / 7 + 0.5)  # neither end is an extreme of its neighbourhood
    curve[[3, 777, 12_345]] = 9, -8, 7
    rows = thin_rows([curve], 400)
    assert {0, 3, 777, 12_345, 19_999} <= set(rows.tolist())
    assert (np.diff(rows) > 0).all()
    assert len(rows) <= 2 * 400 + 2
    assert np.diff(rows).max() <= 200  # nowhere a long gap


def test_a_short_curve_is_kept_whole():
    np.testing.assert_array_equal(thin_rows([np.zeros(10)], 10), np.arange(10))
    assert len(thin_rows([], 10)) == 0


@pytest.fixture(scope="module")
def long(one_thread):
    return finish(replace(SMALL, lr=0.02, frac_train=0.6, epochs=3000))


def test_a_compact_record_draws_the_same_curves(long):
    small = long.compact()
    assert len(small.steps) < len(long.steps) / 2
    assert small.state is None
    assert small.step == long.step
    assert small.summary == long.summary
    for row, step in enumerate(small.steps):
        assert small.history["test_loss"][row] == pytest.approx(long.history["test_loss"][step], rel=2**-8)
        assert small.history["test_accuracy"][row] == long.history["test_accuracy"][step]
    for threshold in (0.5, 0.9, 0.95, 1.0):
        assert measures.stages(small, threshold) == measures.stages(long, threshold)
    assert_same_training(from_bytes(to_bytes(small)), small)
    assert len(to_bytes(small)) < len(to_bytes(long.without_state())) / 2


def test_a_compact_record_has_frames_where_the_run_turns(long):
    small, at = long.compact(), np.array(long.frame_steps)
    assert 33 <= len(small.frames) < len(long.frames)
    assert set(small.frame_steps) <= set(long.frame_steps)
    assert {0, 3000} <= set(small.frame_steps)
    end, then = measures.stages(long)
    for turn in (end // 2, end, *([then] if then else [])):
        assert at[np.abs(at - turn).argmin()] in small.frame_steps
    before = [step for step in small.frame_steps if step <= end]
    assert len(before) > 36 * end / 3000 * 2  # accuracy moves there


def test_what_was_measured_of_the_whole_record_travels_with_the_compact_one(long):
    told = {"claim:cleanup": 0.25, "hits_phase": None, "claim:late": np.inf}
    again = from_bytes(to_bytes(long.compact(told)))
    assert again.measured == told
    assert again.compact().measured == told
    assert Record.from_arrays(again.to_arrays()).measured == told


def test_an_outline_keeps_curves_ends_and_the_last_numbers_in_a_few_kilobytes(long):
    told = {"claim:cleanup": 0.25}
    line = from_bytes(to_bytes(long.outline(told)))
    assert len(to_bytes(line)) < 8_000
    assert line.summary == long.summary
    assert line.measured == told
    assert measures.stages(line, 0.8) == measures.stages(long, 0.8)
    assert line.frames[0].keys() == {"ipr_in", "ipr_out", "mean_abs_sin_D", "mean_cos_D"}
    for name, value in long.frames[-1].items():
        if np.ndim(value) == 0 or name == "counts_K":
            np.testing.assert_array_equal(line.frames[-1][name], value)
    steps, followed = line.series("ipr_in")
    known = dict(zip(*map(list, long.series("ipr_in")), strict=True))
    assert len(steps) >= 20
    assert [known[step] for step in steps] == followed.tolist()


def test_stored_and_live_records_stand_in_one_table(record):
    stored = Record.from_arrays(record.to_arrays())
    both = many.curves_of({"stored": stored, "live": record}, "train_loss")
    assert len(both) == 2 * len(many.curves_of({"live": record}, "train_loss"))


def test_a_frame_holds_what_the_schema_says_and_nothing_else(record):
    fields, size = schema.fields(record.run), schema.sizes(record.run)
    for frame in record.frames:
        assert frame.keys() <= fields.keys()
        for name, value in frame.items():
            assert schema.fits(value.shape, fields[name], size), name
            assert pack(name, value).dtype == np.dtype(fields[name].kind), name
    always = {name for name, field in fields.items() if field.held == schema.EVERY}
    assert all(always <= frame.keys() for frame in record.frames)
    beyond = {"peak_third", "peak_fourth", "margin_share", "flawed_ratio", "flawed_r2"}  # p >= 11, x^2, older records
    assert fields.keys() - record.frames[-1].keys() == beyond


@pytest.mark.parametrize("model", schema.FIELDS)
def test_every_array_of_a_frame_is_described(model):
    rows = schema.describe(model)
    assert all(row["says"] and row["held"] in (schema.EVERY, schema.SOME, schema.LAST) for row in rows)
    assert len({row["name"] for row in rows}) == len(rows)
