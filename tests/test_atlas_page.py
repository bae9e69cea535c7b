"""The Atlas page, and the table under it: kept rows, shadows, what composite p change, and what is missing."""

import random
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import SMALL
from serving import ROOT

from modadd import preset, ui
from modadd.analysis import claims
from modadd.analysis import shipped as shipped_numbers
from modadd.analysis.shipped import SCALARS
from modadd.figures import atlas as figures
from modadd.figures import over_p
from modadd.many import atlas, replicas, survey
from modadd.records.store import ATLAS, write_atlas
from modadd.runs import PRESETS
from pages import charts, drawn, errors, said

PAGE = "pages/Atlas.py"
KEPT = 1e-3  # a kept number, rounded to six digits, against one measured on another machine, relative
CHARTS = {"atlas-presence", "atlas-big", "atlas-judged", *(f"atlas-{name}" for name in over_p.EVERY)}
SAMPLE = 8


@pytest.fixture(scope="module")
def rows(shipped):
    return atlas.table(shipped)[0]


@pytest.fixture
def app(app):
    """Opens this page."""
    return partial(app, PAGE)


def dated(record, finished: str, **changes):
    """The record as if trained at another time, or as another run."""
    run = replace(record.run, **changes)
    return replace(record, run=run, provenance=record.provenance | {"finished": finished})


def row(p: int, **values) -> dict:
    """A planted row of the table."""
    gcd_K = atlas.shared(p)
    count_K = values.pop("counts_K", np.full(len(gcd_K), 12))
    return {
        "p": p, "preset": "standard", "run_id": f"p{p:03d}", "where": "atlas", "precision": "fp32",
        "composite": bool((gcd_K > 1).any()), "counts_K": count_K, "neurons": int(count_K.sum()),
        "shared_neurons": int(count_K[gcd_K > 1].sum()), "shared_frequencies": float((gcd_K > 1).mean()),
        **dict.fromkeys(over_p.EVERY), **values,
    }  # fmt: skip


# --- the table


def test_every_record_of_the_atlas_is_coded_and_tells_what_was_measured_of_the_whole_one(shipped):
    cards = shipped.cards_of_atlas() | shipped.cards_of_seeds()
    for card in cards.values():
        assert {"device", "torch", "finished", "stop_reason"} <= card["provenance"].keys()
        if atlas.standing(card["run"]):
            assert card["measured"].keys() >= set(SCALARS)
    for run_id in random.Random(2).sample(sorted(shipped.cards_of_atlas()), 60):
        record = shipped.get(run_id)
        assert record.coded
        if len(record.frames) >= 33 and record.run.model == "mlp":
            for name in ("theta_hat", "logits0", "probability", "phi"):
                assert len(record.series(name)[0]) >= 24, (run_id, name)


def test_the_atlas_is_not_large():
    assert sum(file.stat().st_size for file in ATLAS.rglob("*.npz")) < 60_000_000


@pytest.mark.parametrize(("name", "p"), [("quad_random", 5), ("standard", 23), ("quad_random", 97)])
def test_a_shipped_record_is_judged_as_the_atlas_judges_it(shipped, rows, name, p):
    record = shipped.get(preset(name, p).id)
    told = {row["claim"]: row for row in survey.verdicts(r for r in rows if r["run_id"] == record.run.id)}
    judged = {row["name"]: row for row in claims.judge(record)}
    assert told.keys() == judged.keys()
    for claim, row in judged.items():
        value = told[claim]["value"]
        assert row["verdict"] == told[claim]["verdict"]
        assert row["value"] == (value if value is None else pytest.approx(value, rel=KEPT))


def test_a_row_repeats_its_card_and_adds_what_follows_from_it(shipped, rows):
    by_id = {row["run_id"]: row for row in rows}
    for run_id, card in list(shipped.cards_of_atlas().items())[::40]:
        summary, found = card["summary"], by_id[run_id]
        assert all(found[name] == summary[name] for name in ("ipr", "train_loss", "stage2_end", "seconds"))
        assert found["neurons"] == sum(summary["frequency_counts"]) == card["run"].d_mlp
        assert (found["plateau"] is not None) == (summary["stop_reason"] == "plateau")


def test_reading_the_table_loads_no_torch(tmp_path):
    code = (
        "import sys; from modadd.many import atlas; from modadd.records.store import Store; "
        f"assert atlas.table(Store({str(tmp_path)!r}))[0]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)


def test_a_run_without_a_kept_row_is_measured_once_and_kept(shipped, store, monkeypatch):
    record = replace(dated(shipped.get(preset("quad_random", 15).id), "2001-01-01T00:00:00Z"), measured={})
    write_atlas(store.atlas, 15, [record])
    first = atlas.table(store)[0]
    assert first[0]["bets"] > 0
    monkeypatch.setattr(atlas, "measure", None)  # would fail if called
    assert atlas.table(store)[0][0]["hit_race"] == first[0]["hit_race"]
    monkeypatch.setattr(atlas, "_measured", {})  # as in a new process
    assert atlas.table(store)[0][0]["hit_race"] == first[0]["hit_race"]
    monkeypatch.undo()
    write_atlas(store.atlas, 15, [dated(record, "2002-02-02T00:00:00Z")])
    called = []
    monkeypatch.setattr(atlas, "measure", lambda record: called.append(record.run.id) or {})
    atlas.table(store)
    assert called == [record.run.id]


def test_ones_own_run_shadows_the_atlas_and_float32_shadows_tf32(shipped, store):
    fast = shipped.get(preset("quad_single_freq", 101).id)
    assert fast.run.precision == "tf32"
    write_atlas(store.atlas, 101, [fast])
    mine = dated(fast, "2001-01-01T00:00:00Z", precision="fp32")
    store.put(mine)
    (found,), _ = atlas.table(store)
    assert (found["where"], found["precision"], found["run_id"]) == ("cache", "fp32", mine.run.id)
    store.put(dated(fast, "2001-01-01T00:00:00Z", seed=7, precision="fp32"))
    assert [(r["seed"], r["where"]) for r in atlas.table(store)[0]] == [(7, "cache"), (42, "cache")]


def test_only_a_preset_at_its_own_length_has_a_place():
    assert atlas.standing(preset("grokking", 23, seed=3, precision="tf32")) == (23, "grokking", 3)
    assert atlas.standing(preset("grokking", 23, epochs=100)) is None
    assert atlas.standing(preset("quad_single_freq", 23, epochs=5_000)) == (23, "quad_single_freq", 42)
    assert atlas.standing(preset("standard", 23, epochs=10_000)) is None
    assert atlas.standing(preset("standard", 23, lr=1e-3)) is None
    assert atlas.standing(SMALL) is None


def test_a_stopped_run_is_no_point(shipped, store):
    record = shipped.get(preset("standard", 5).id)
    store.atlas = None
    store.put(replace(record, provenance=record.provenance | {"stop_reason": "stopped"}))
    assert atlas.table(store) == ([], [])


def test_a_damaged_file_is_named_and_the_rest_is_read(shipped, store):
    write_atlas(store.atlas, 3, [shipped.get(preset("standard", 3).id)])
    (store.atlas / "p005.npz").write_bytes(b"no zip at all")
    found, damaged = atlas.table(store)
    assert [row["p"] for row in found] == [3]
    assert damaged == ["p005.npz"]


@pytest.mark.parametrize("text", ["", "no,table\n1,2\n", "run,finished,bytes,bets\na,b,c,d\n", "\x00\xff"])
def test_a_foreign_table_counts_for_nothing(shipped, store, text):
    write_atlas(store.atlas, 3, [replace(shipped.get(preset("quad_single_freq", 3).id), measured={})])
    (store.folder / atlas.TABLE).write_text(text)
    assert len(atlas.table(store)[0]) == 1


def test_a_harmonic_that_is_its_own_frequency_is_left_out(rows):
    here = {row["p"]: row for row in rows if row["preset"] == "relu_single_freq"}
    for name in ("leak_in_5", "leak_out_2"):
        assert here[3][name] is None
        assert 5 * 5 % 15 == 15 - 5  # k = p / 3: 5k = -k
        for p in range(33, 196, 6):
            beside = np.sort([here[p - 2][name], here[p + 2][name]])
            assert 0.8 * beside[0] < here[p][name] < 1.3 * beside[1]


# --- what it says


def test_shared_factors():
    assert atlas.shared(15).tolist() == [1, 1, 3, 1, 5, 3, 1]
    assert (atlas.shared(23) == 1).all()


def test_even_use_is_no_handicap_and_avoidance_is_one():
    even = survey.pooled([row(15), row(21), row(23)])
    assert even["ratio"] == pytest.approx(1)
    assert even["low"] < 1 < even["high"]
    shy = survey.pooled([row(15, counts_K=np.where(atlas.shared(15) > 1, 0, 30))])
    assert shy["ratio"] == 0
    assert shy["high"] < 1
    assert survey.pooled([row(23)]) is None


def test_the_interval_of_random_draws_holds_even_use_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        planted = [row(p, counts_K=rng.multinomial(512, np.full(p // 2, 2 / (p - 1)))) for p in (15, 21, 45)]
        told = survey.pooled(planted)
        held += told["low"] <= 1 <= told["high"]
    assert 0.91 <= held / 300 <= 0.99


def test_neurons_by_factor_add_up_to_all_of_them():
    count_K = np.arange(1, 53)
    groups = survey.by_factor([row(105, counts_K=count_K)], least=0)
    share = {g: (atlas.shared(105) == g).mean() for g in (1, 3, 5, 7, 15, 21, 35)}
    assert {group["gcd"] for group in groups} == share.keys()
    assert sum(g["ratio"] * share[g["gcd"]] for g in groups) == pytest.approx(1)
    assert {g["gcd"] for g in survey.by_factor([row(105, counts_K=count_K)], least=10)} == {1, 3}


def test_planted_misalignment_by_order_is_found_with_an_interval_that_holds_it():
    rng, planted = np.random.default_rng(0), []
    for p in range(9, 200, 6):
        values = {f"off_{q}": None for q in shipped_numbers.ORDERS} | {
            f"counted_{q}": None for q in shipped_numbers.ORDERS
        }
        values |= {"off_q3": 0.1 * 2.0 * rng.lognormal(0, 0.3), "counted_q3": 20.0, "off_coprime": 0.1}
        planted.append(row(p, preset="grokking", **values))
    (told,) = survey.by_order(planted)
    assert (told["preset"], told["q"], told["neurons"]) == ("grokking", "3", 20 * len(planted))
    assert told["low"] < 2.1 < told["high"]
    assert told["high"] - told["low"] < 0.6
    assert survey.by_order(planted[:2]) == []  # too few neurons


def test_misalignment_by_order_of_a_record_counts_the_whole_layer_where_it_is_held(record):
    run = preset("standard", 15, d_mlp=70)
    frame = {"abs_sin_D_K": np.array([0.1, 0.1, 0.3, 0.1, 0.5, 0.3, 0.1]), "counts_K": np.full(7, 10)}
    told = shipped_numbers.misaligned(replace(record, run=run, frames=(frame,), frame_steps=(0,)))
    assert told == pytest.approx({"off_coprime": 0.1, "off_q5": 0.3, "counted_q5": 20, "off_q3": 0.5, "counted_q3": 10})


def test_moduli_in_words():
    assert survey.spans([]) == "none"
    assert survey.spans([21, 3, 5, 7, 7]) == "3–7, 21"


def test_what_is_missing_is_named_and_grokking_is_not_missed_below_19():
    absent = survey.missing([row(p) for p in range(3, 200, 2) if p != 51])
    assert absent["standard"] == [51]
    assert min(absent["grokking"]) == 19
    assert sum(map(len, absent.values())) == 1 + 91 + 3 * 99


def test_clocks_that_overlap_are_counted_once():
    runs = [
        {"device": "card", "seconds": 60.0, "finished": "2026-01-01T00:01:00Z"},
        {"device": "card", "seconds": 60.0, "finished": "2026-01-01T00:01:30Z"},
        {"device": "card", "seconds": 10.0, "finished": "2026-01-01T00:05:00Z"},
        {"device": "other", "seconds": None, "finished": "2026-01-01T00:05:00Z"},
    ]
    assert survey.busy(runs) == {"card": {"runs": 3, "seconds": 130.0, "wall": pytest.approx(100.0)}}


def test_drift_follows_the_order_and_not_the_size():
    p = np.arange(3, 61, 2.0)
    assert survey.drift(p, np.exp(p))["rho"] == pytest.approx(1)
    assert survey.drift(p, -(p**3))["rho"] == pytest.approx(-1)
    assert survey.drift(p, np.ones_like(p))["rho"] == 0
    assert survey.drift(p[:9], p[:9]) is None


def test_a_planted_jump_is_found_and_a_bend_is_not_one():
    p = np.arange(41, 105, 2.0)
    noise = np.random.default_rng(0).normal(0, 0.01, len(p))
    found = survey.seam(p, 1e-3 * p**2 + noise + 0.5 * (p > 72), 72)
    assert found["jump"] == pytest.approx(0.5, abs=0.05)
    assert found["errors"] > 10
    assert abs(survey.seam(p, 1e-3 * p**2 + noise, 72)["errors"]) < 4
    assert survey.seam(p[p < 74], noise[p < 74], 72) is None


def test_a_loss_in_steps_is_told_from_one_that_is_not():
    rng = np.random.default_rng(0)
    exact = [row(p, train_loss=float(rng.uniform(1e-7, 9e-6))) for p in range(51, 151, 2)]
    steps = [row(r["p"], train_loss=round(r["train_loss"] * r["p"] ** 2 / survey.STEP) * survey.STEP / r["p"] ** 2)
             for r in exact]  # fmt: skip
    assert survey.coarse(steps) == (50, 50)
    assert survey.coarse(exact)[1] < 15
    assert survey.coarse([row(15, train_loss=0.1), row(15)]) == (0, 0)


def test_composites_are_compared_with_the_line_through_the_primes():
    planted = [row(p, ipr=0.01 * p * (2 if (atlas.shared(p) > 1).any() else 1)) for p in range(5, 60, 2)]
    assert survey.apart(planted, "ipr", "standard") == pytest.approx(2)
    assert survey.apart(planted, "ipr_in", "standard") is None


def test_verdicts_are_those_of_the_claims_page(shipped):
    record = shipped.get(preset("relu_single_freq", 45).id)
    told = {row["name"]: row["verdict"] for row in claims.judge(record) if row["name"] not in atlas.SLOW}
    found, _ = atlas.table(shipped)
    mine = {v["claim"]: v["verdict"] for v in survey.verdicts(r for r in found if r["run_id"] == record.run.id)}
    assert mine == told


def test_a_number_that_is_lacking_is_no_verdict():
    (told,) = survey.verdicts([row(15, claims={"learns": None})])
    assert told["verdict"] == claims.UNKNOWN
    (words,) = survey.in_words([told])
    assert [words[f"{verdict} at p"] for verdict in claims.VERDICTS[:4]] == ["none"] * 4
    assert survey.effects([told]) == []


def test_a_run_that_has_not_trained_far_enough_is_not_yet_judged():
    planted = [row(23, claims={"phases-locked": 0.2, "learns": 1.0}, train_loss=loss, steps=5000, due=due,
                   stop_reason="epochs") for loss, due in ((3.1, 9000), (0.01, 9000), (0.01, 4000))]  # fmt: skip
    told = [v["verdict"] for v in survey.verdicts(planted) if v["claim"] == "phases-locked"]
    assert told == ["not yet", "not yet", "fails"]
    assert {v["verdict"] for v in survey.verdicts(planted) if v["claim"] == "learns"} == {"holds"}


def test_effects_are_medians_over_p_with_an_interval_that_holds_them():
    values = np.linspace(0.9, 1.0, 21)
    planted = [row(p, claims={"phases-locked": v}, train_loss=0.0, steps=5000, due=None, stop_reason="epochs")
               for p, v in zip(range(5, 47, 2), values, strict=True)]  # fmt: skip
    (told,) = survey.effects(survey.verdicts(planted))
    assert (told["runs"], told["holds"], told["not yet"]) == (21, 21, 0)
    assert told["median"] == pytest.approx(0.95)
    assert told["low"] < 0.95 < told["high"]


# --- the charts


@pytest.mark.parametrize("name", over_p.EVERY)
def test_every_measure_is_drawn_also_without_a_run(rows, name):
    plot = over_p.EVERY[name]
    assert len(over_p.data(rows, plot)) == len(over_p.rows_of(rows, plot))
    for some in (rows, []):
        assert over_p.over_p(some, plot, 72.0, big=True).drawing.to_dict()


def test_what_was_not_reached_is_marked_and_never_a_number():
    plot = over_p.EVERY["stage2_end"]
    planted = [row(19, preset="grokking", stage2_end=None), row(23, preset="grokking", stage2_end=9000)]
    assert over_p.data(planted, plot)["value"].to_pylist() == [None, 9000.0]
    assert "triangle-up" in str(over_p.over_p(planted, plot).drawing.spec)
    assert "triangle-up" not in str(over_p.over_p(planted[1:], plot).drawing.spec)


def test_several_seeds_are_a_median_with_a_bar_that_opens_the_presets_own_run():
    plot = over_p.EVERY["ipr"]
    bets = dict.fromkeys(f"hit_{rule}" for rule in atlas.RULES) | {"bets": None, "claims": {}}
    told = ((1, 0.2), (42, 0.9), (2, 0.3))
    seeds = [row(23, seed=seed, run_id=f"p023-{seed}", ipr=ipr, **bets) for seed, ipr in told]
    drawn = replicas.medians(seeds)
    (point,) = over_p.data(drawn, plot).to_pylist()
    shown = [point[name] for name in ("run_id", "value", "low", "high", "seeds")]
    assert shown == ["p023-42", 0.3, 0.2, 0.9, 3]
    layers = lambda rows: len(over_p.over_p(rows, plot).drawing.spec["layer"])  # noqa: E731
    assert layers(drawn) == layers(seeds[1:2]) + 1


def test_the_fit_of_the_vote_says_nothing_at_p_3(rows):
    assert min(over_p.data(rows, over_p.EVERY["vote_ratio"])["p"].to_pylist()) == 5


def test_presence_tells_ones_own_from_the_atlas_and_the_missing():
    planted = [row(15), row(23, where="cache")]
    here = {(r["preset"], r["p"]): r["here"] for r in figures.present(planted).to_pylist()}
    assert here["standard", 15] == "fp32"
    assert here["standard", 23] == "your own"
    assert here["standard", 25] == "missing"
    assert ("grokking", 17) not in here


def test_bets_come_with_their_interval():
    hits = {"hit_phase": 0.5, "hit_magnitude": None, "hit_drive": None, "hit_race": None}
    (told,) = figures.bets_table([row(23, bets=64.0, **hits)], "standard").to_pylist()
    assert told["low"] < 0.5 < told["high"]
    assert told["neurons"] == 64


# --- the page


def test_the_page_with_the_atlas_alone(app, rows):
    test = app(p="23")
    assert not test.exception
    assert not errors(test)
    assert drawn(test) >= CHARTS
    assert f"**{len(rows)} runs**" in said(test)
    assert "no measure of GPU time" in said(test)


@pytest.mark.parametrize("p", ["3", "5", "7"])
def test_the_smallest_moduli_have_their_numbers(app, p):
    test = app(p=p)
    assert not test.exception
    assert "At p = 3 there is one frequency" in said(test)
    assert f"Every number at p = {p}" in {element.value for element in test.subheader}


def test_without_any_run_it_invites_to_train(app):
    test = app(None)
    assert not test.exception
    assert not charts(test)
    assert "No run of a preset is here yet" in said(test)


def test_a_damaged_atlas_file_is_one_sentence_and_the_rest_is_drawn(app, shipped, tmp_path):
    write_atlas(tmp_path / "broken", 3, [shipped.get(preset("standard", 3).id)])
    (tmp_path / "broken" / "p005.npz").write_bytes(b"PK no more")
    test = app(tmp_path / "broken", p="5")
    assert not test.exception
    assert len(errors(test)) == 1
    assert "p005.npz" in errors(test)[0]
    assert drawn(test) >= CHARTS
    assert "No run of a preset at p = 5 is here" in said(test)


def test_ones_own_runs_are_points_too(app, shipped):
    mine = dated(shipped.get(preset("quad_single_freq", 9).id), "2001-01-01T00:00:00Z", seed=5)
    ui.lab().store.put(mine)
    test = app(None, p="9")
    assert not test.exception
    assert "**1 runs** are here, 1 of them your own" in said(test)
    assert "standard at p = 3–199" in said(test)


def test_a_click_opens_the_run_it_names(app):
    test = app(p="23")
    for name, page in (("grokking", "at a glance"), ("quad_random", "")):
        test.session_state["atlas-open"] = preset(name, 53).id
        test.switch_page(PAGE).run()
        assert not test.exception
        assert page in test.title[0].value
        assert test.session_state["p"] == 53


def test_a_choice_of_presets_and_of_a_measure_is_drawn(app):
    test = app(p="23")
    test.selectbox(key="atlas-close").set_value("gap_ratio")
    test.button_group(key="atlas-presets").set_value(["quad_random"])
    for name in PRESETS:
        test.button_group(key="atlas-claims").set_value([name]).run()
        assert not test.exception
