"""When a pair is known for good, and which signals lead, on planted records."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL

from modadd import data
from modadd.analysis import knowing
from modadd.figures import knowing as figures

AT = (0, 10, 40, 100)
N = SMALL.p * (SMALL.p + 1) // 2


def of_kind(number: int) -> np.ndarray:
    """Which unordered pairs have an ordered one of this kind, [N]."""
    x, y = data.pairs(SMALL.p)
    kind = data.kinds(SMALL)
    return (kind[x, y] == number) | (kind[y, x] == number)


@pytest.fixture(scope="module")
def planted(record):
    """Common pairs are known from step 10 on, rare ones from 40 on, held-out ones never; pair 0, whatever its kind,
    from the start but for a lapse at step 40."""
    right_SN = np.zeros((4, N), bool)
    right_SN[1:, of_kind(data.COMMON)] = right_SN[2:, of_kind(data.RARE)] = True
    right_SN[:, 0] = [True, True, False, True]
    frames = tuple(
        {"correct": right, "ipr_in": ipr, "ipr_out": ipr, "mean_abs_sin_D": sin}
        for right, ipr, sin in zip(right_SN, (0.1, 0.2, 0.6, 0.9), (0.64, 0.3, 0.2, 0.0), strict=True)
    )
    steps = np.arange(0, 101, 5)
    history = {name: np.zeros(len(steps), np.float32) for name in record.history}
    history["train_accuracy"] = np.where(steps >= 15, 1.0, 0.0)
    history["held_out_accuracy"] = np.where(steps >= 80, 0.6, 0.1)
    history["norm"] = np.where(steps == 30, 7.0, 5.0)
    return replace(record, steps=steps, history=history, frames=frames, frame_steps=AT, state=None)


def test_a_pair_is_known_from_the_frame_after_its_last_wrong_one(planted):
    found = knowing.known(planted)
    spans = list(zip(found.after.tolist(), found.by.tolist(), strict=True))
    rest = np.arange(N) > 0
    assert spans[0] == (40, 100)
    for number, span in ((data.COMMON, (0, 10)), (data.RARE, (10, 40)), (data.HELD_OUT, (100, np.inf))):
        assert {spans[n] for n in np.flatnonzero(of_kind(number) & rest)} == {span}


def test_means_by_kind_are_spans_and_what_is_never_known_is_counted_apart(planted):
    always = replace(planted, frames=tuple(f | {"correct": np.ones(N, bool)} for f in planted.frames))
    assert {(row["after"], row["by"], row["never"]) for row in knowing.by_kind(knowing.known(always), always)} == {
        (0, 0, 0)
    }
    rows = {row["kind"]: row for row in knowing.by_kind(knowing.known(planted), planted)}
    assert (rows["rare"]["after"], rows["rare"]["by"]) == (rows["mirrored"]["after"], rows["mirrored"]["by"])
    assert rows["held out"]["never"] >= rows["held out"]["pairs"] - 1
    assert rows["common"]["by"] < rows["rare"]["by"]
    assert sum(row["pairs"] for row in rows.values()) == SMALL.p**2


def test_signals_come_between_the_frames_or_rows_beside_them(planted):
    found = knowing.signals(planted)
    assert list(found.values()) == [(10, 15), (25, 35), (10, 40), (0, 10), (75, 80)]
    assert list(knowing.leads(found).values()) == [(60, 70), (40, 55), (35, 70), (65, 80)]


def test_what_does_not_come_is_none(planted):
    flat = {name: np.full(len(planted.steps), np.nan) for name in planted.history}
    flat["norm"] = np.arange(len(planted.steps), dtype=float)
    found = knowing.signals(replace(planted, history=flat))
    assert found[knowing.GOAL] is found["norm of the weights at its largest"] is None
    assert set(knowing.leads(found).values()) == {None}
    assert knowing.half_way(np.array([0, 1]), np.array([2.0, 2.0])) is None
    assert knowing.known(replace(planted, frames=(), frame_steps=())) is None
    assert {row["steps ahead"] for row in figures.lead_rows(replace(planted, history=flat))} == {"", "not reached"}


def test_the_picture_crosses_what_is_never_known_and_tells_its_resolution(planted):
    chart = figures.settled(knowing.known(planted), planted)
    never = ~np.isfinite(data.grid(knowing.known(planted).by, SMALL.p))
    tables = chart.drawing.tables
    assert {(int(m["y"]), int(m["x"])) for m in tables["marks"].to_pylist()} == set(
        zip(*map(np.ndarray.tolist, np.nonzero(never)), strict=True)
    )
    cells = {(c["row"], c["column"]): c["value"] for c in tables["cells"].to_pylist()}
    rows = chart.table().to_pylist()
    for row in rows:
        assert cells[row["x"], row["y"]] == pytest.approx(np.log10(1 + (100 if row["by"] is None else row["by"])))
    assert f"{never.sum()} of 49 are wrong at the end, crossed" in chart.caption
    assert "the worst to within 60" in chart.caption
