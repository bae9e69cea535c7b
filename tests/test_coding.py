"""The coding of shipped records: within its tolerances, exact where it says so, and unmoved by hostile bytes."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL, SMALL_SGD, finish
from hypothesis import given
from hypothesis import strategies as st

from modadd.frames import schema
from modadd.frames.schema import Coded, Field
from modadd.records import coding
from modadd.records.record import Record
from modadd.runs import Run

ROOM = 1.005  # of a tolerance: rounding of float32
WIDE = Run(p=11, d_mlp=40, lr=2e-3, frac_train=0.75, weight_decay=0.5, epochs=1500)


@pytest.fixture(scope="module")
def trained(one_thread):
    return {run: finish(run).without_state() for run in (SMALL, SMALL_SGD, WIDE)}


@pytest.fixture(scope="module")
def pair(trained):
    """A record and its compact form."""
    return trained[WIDE], trained[WIDE].compact()


@pytest.mark.parametrize("run", [SMALL, SMALL_SGD, WIDE], ids=["adamw", "sgd", "wide"])
def test_no_array_is_farther_from_the_record_than_its_tolerance(trained, run):
    whole, small = trained[run], trained[run].compact()
    fields = schema.fields(run)
    assert small.frames[-1].keys() == whole.frames[-1].keys()
    for name in whole.frames[-1]:
        there = [frame for frame in small.frames if name in frame]
        again = np.stack([frame[name] for frame in there])
        exact = {step: frame for step, frame in zip(whole.frame_steps, whole.frames, strict=True)}
        held = [step for step, frame in zip(small.frame_steps, small.frames, strict=True) if name in frame]
        stack = np.stack([exact[step][name][: len(again[0])] if again[0].ndim else exact[step][name] for step in held])
        assert again.dtype == stack.dtype
        assert coding.error(stack, again, fields[name]) <= ROOM * fields[name].coded.size, name


def test_every_answer_and_the_largest_vote_of_every_row_are_exact(pair):
    whole, small = pair
    at = dict(zip(whole.frame_steps, whole.frames, strict=True))
    for step, frame in zip(small.frame_steps, small.frames, strict=True):
        np.testing.assert_array_equal(frame["correct"], at[step]["correct"])
        np.testing.assert_array_equal(frame["frequency"], at[step]["frequency"])
        np.testing.assert_array_equal(frame["logits0"].argmax(-1), at[step]["logits0"].argmax(-1))


reals = st.floats(-1e3, 1e3, width=16)


@given(st.data(), st.integers(1, 9), st.integers(1, 6))
@pytest.mark.parametrize("form", ["linear", "votes", "log", "share", "part", "angle"])
def test_any_numbers_are_within_their_tolerance(form, data, S, N):
    values = data.draw(st.lists(reals, min_size=S * N, max_size=S * N))
    stack = np.array(values, np.float32).reshape(S, 1, N)
    stack = {
        "log": np.abs,
        "share": lambda x: np.abs(np.sin(x)),
        "angle": np.sin,
        "part": lambda x: np.where(x < 0, np.nan, np.abs(np.sin(x))),
    }.get(form, np.asarray)(stack)
    field = Field("anything", "1 N", coded=Coded(form, 0.01))
    again = coding.decode(coding.encode(stack, "anything", field), "anything", field, stack.shape)
    assert coding.error(stack, again, field) <= 0.01 * ROOM
    if form == "votes":
        best = np.take_along_axis(stack, again.argmax(-1, keepdims=True), -1)[..., 0]
        np.testing.assert_array_equal(best, stack.max(-1))


@given(st.data(), st.integers(1, 7), st.integers(1, 3))
def test_any_spectrum_is_within_its_tolerance(data, S, m):
    stack = np.array(data.draw(st.lists(reals, min_size=S * m * 5, max_size=S * m * 5)), np.float32).reshape(S, m, 5)
    field = Field("anything", "m P", coded=Coded("spectrum", 0.03))
    again = coding.decode(coding.encode(stack, "anything", field), "anything", field, stack.shape)
    assert coding.error(stack, again, field) <= 0.03 * ROOM


@given(st.lists(st.integers(0, 2**32 - 1), min_size=12, max_size=12))
def test_exact_means_every_bit(values):
    for name, stack in {
        "counts_K": np.array(values, np.uint32).view(np.int32).reshape(4, 3),
        "ipr_in": np.array(values, np.uint32).view(np.float32),
        "correct": np.array(values).reshape(3, 4) % 2 == 1,
        "frequency": np.array(values).astype(np.uint8).reshape(2, 6),
    }.items():
        field = schema.FIELDS["mlp"][name]
        again = coding.decode(coding.encode(stack, name, field), name, field, stack.shape)
        assert again.tobytes() == stack.tobytes()
        assert again.dtype == stack.dtype


def test_only_what_is_asked_for_is_decoded_and_only_once(pair, monkeypatch):
    small, asked = Record.from_arrays(pair[1].to_arrays()), []
    plain = coding.decode
    monkeypatch.setattr(coding, "decode", lambda blob, name, *rest: asked.append(name) or plain(blob, name, *rest))
    for frame in small.frames:
        assert "logits0" in frame
        assert frame["ipr_in"] > 0
    small.series("ipr_in")
    assert asked == ["ipr_in"]


def test_a_coded_frame_is_a_mapping_like_any_other(pair):
    frame = pair[1].frames[0]
    assert "theta" not in frame
    assert frame.get("theta") is None
    with pytest.raises(KeyError):
        frame["theta"]
    assert set(dict(frame)) == set(frame) == pair[0].frames[0].keys() - {"theta", "xi"}
    assert isinstance(pair[1].frames[1:], tuple)


# -- hostile bytes ------------------------------------------------------------------------------


def look(blob: bytes):
    """Read everything there is."""
    film = coding.Film(blob, WIDE)
    for frame in film:
        dict(frame)


@given(st.data())
def test_a_changed_film_is_read_or_refused(pair, data):
    blob = bytearray(pair[1].frames.blob)
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        look(bytes(blob))


@given(st.data())
def test_a_cut_film_is_refused(pair, data):
    blob = pair[1].frames.blob
    with pytest.raises(ValueError, match=r"cut off|none|no index"):
        coding.Film(blob[: data.draw(st.integers(0, len(blob) - 1))], WIDE)


@given(st.binary(max_size=200))
def test_noise_is_no_film_and_no_curves(noise):
    for read in (lambda: coding.Film(noise, WIDE), lambda: coding.uncurved(noise)):
        with pytest.raises(ValueError, match="coded"):
            read()


def forged(steps, rows, parts=b""):
    head = coding.deflated(json.dumps([steps, rows]).encode())
    return len(head).to_bytes(4, "little") + head + parts


@pytest.mark.parametrize(
    "rows",
    [
        [["alpha", [10**9], None, 0]], [["logits0", [11, 11, 11], None, 0]], [["alpha", [-1], None, 0]],
        [["nonsense", [3], None, 0]], [["alpha", [3], [5], 0]], [["alpha", [3], [0, 0], 0]], [["alpha", [3], [], 0]],
        [["alpha", [3], None, 10**9]], [["alpha", [3], None]], [["alpha", "3", None, 0]], ["alpha"], {"alpha": 3}, 7,
        [["alpha", [3], None, 0]] * 2,
    ],
)  # fmt: skip
def test_an_index_that_lies_is_refused_before_anything_is_unpacked(rows):
    with pytest.raises(ValueError, match=r"."):
        coding.Film(forged([0, 1], rows), WIDE)


def test_what_would_unpack_to_more_than_it_may_is_not_unpacked():
    bomb = coding.deflated(bytes(50 << 20))
    assert len(bomb) < 20_000
    with pytest.raises(ValueError, match="not of its size"):
        coding.inflated(bomb, size=1000)
    with pytest.raises(ValueError, match="no index"):
        coding.Film(len(bomb).to_bytes(4, "little") + bomb, WIDE)
    huge = Field("anything", "m P", coded=Coded("linear", 0.01))
    with pytest.raises(ValueError, match="would take"):
        coding.decode(b"", "anything", huge, (1000, 1000, 1000))
    wide = replace(WIDE, p=199, d_mlp=2000)
    rows = [["theta_hat", [64, 199], None, len(bomb)]]
    with pytest.raises(ValueError, match=r"would take|size|large|no coded"):
        coding.Film(forged(list(range(90_000)), rows, bomb), wide).stack("theta_hat")


def test_a_script_prints_the_error_of_every_array(capsys):
    import tolerances

    tolerances.main(tolerances.Flags(p=[5], presets=["standard"], epochs=40, device="cpu"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| array | error in | tolerance | p = 5, standard |"
    told = {line.split("`")[1]: [cell.strip() for cell in line.split("|")[3:5]] for line in lines[2:]}
    assert {"logits0", "theta", "correct", "phi"} <= told.keys()
    for name, (allowed, found) in told.items():
        assert float(found.split(",")[0]) <= ROOM * float(allowed), name
