"""What is kept of a run: its history, frames, provenance and, if it may go on, its state.

A live run, a finished one, one from the atlas and an imported one are the same thing here.  A
Record never changes; a growing run publishes a new one, which shares the arrays of the last.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from .. import data
from ..frames.schema import Frame, is_weight, pack, unpack
from ..maths import fourier, measures
from ..runs import EPOCHS_MAX, PUBLISHED_STEPS, Run
from . import coding

SCHEMA = 1
State = dict[str, np.ndarray]  # all that the next update of a run depends on
PROVENANCE = {"steps": int, "seconds": int | float, "device": str, "torch": str, "finished": str,
              "stop_reason": str | None, "steps_per_second": int | float | None}  # fmt: skip
STOPS = (None, "stopped", "epochs", "plateau", "diverged")
NEAR = 0.25  # a frame stands for a named moment if it is no further from it than this share of its step

# A compact record keeps about so many rows of the history, frames, and neurons in the tables and in the spectra; and
# the last weights of a layer if they are at most so many, which is up to p = 31.
ROWS, FRAMES, NEURONS, SPECTRA, WEIGHTS = 400, 36, 512, 24, 30_000
OUTLINE_ROWS, OUTLINE_FRAMES = 60, 24  # and an outline so many rows and frames; of every frame but the last these:
FOLLOWED = ("ipr_in", "ipr_out", "mean_abs_sin_D", "mean_cos_D")

Rule = Literal["before", "nearest", "near", "exact"]


class Moment(NamedTuple):
    """A frame and the step that it is of."""

    step: int
    frame: Frame

    def __repr__(self) -> str:
        return f"Moment(step {self.step:,}, {len(self.frame)} arrays)"


def thin_rows(columns: list[np.ndarray], count: int) -> np.ndarray:
    """Rows that draw these curves well: about `count` buckets, half of them even and half geometric
    in the row, the extremes of each curve in each bucket, and both ends.  A curve may be NaN wherever it
    was not measured.  Sorted row numbers."""
    length = len(columns[0]) if columns else 0
    if length <= count:
        return np.arange(length)
    even, early = np.linspace(0, length, count // 2), np.geomspace(1, length, count // 2)
    edges = np.unique(np.concatenate([even, early]).astype(int))
    rows = {0, length - 1}
    for column in columns:
        known = np.isfinite(column)
        low, high = np.where(known, column, np.inf), np.where(known, column, -np.inf)
        for start, stop in pairwise(edges):
            if known[start:stop].any():
                rows |= {start + int(low[start:stop].argmin()), start + int(high[start:stop].argmax())}
    return np.array(sorted(rows))


@dataclass(frozen=True)
class Record:
    """A run and what was seen of it.

    `steps` [T] are the steps of the history rows; `history` maps each of `data.METRICS` to float32
    [T], NaN where a group has no pairs.  `provenance` holds device, versions, seconds, steps and
    stop_reason (None while it can go on).  `state` lets it go on.  `measured` are numbers by name that
    were taken from the whole record before it became this compact one.
    """

    run: Run
    steps: np.ndarray
    history: Mapping[str, np.ndarray]
    frames: tuple[Frame, ...]
    frame_steps: tuple[int, ...]
    provenance: dict
    state: State | None = field(default=None, repr=False)
    measured: Mapping[str, float | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        end = self.provenance.get("stop_reason") or "not finished"
        return f"Record({self.run.id}, step {self.step:,} of {self.run.epochs:,}, {len(self.frames)} frames, {end})"

    @property
    def finished(self) -> bool:
        return self.provenance.get("stop_reason") not in (None, "stopped")

    @property
    def coded(self) -> bool:
        """Is this a compact record, or an outline?"""
        return isinstance(self.frames, coding.Film)

    @property
    def step(self) -> int:
        """Updates made."""
        return self.provenance["steps"]

    def at(self, step: int | None = None, holding: str | None = None, rule: Rule = "before") -> Moment | None:
        """The frame that stands for `step`, and the step it really is of, among those that hold the array `holding`.

        `rule` says which one: the last at or "before" the step; the "nearest"; the nearest if it is "near", within
        the share NEAR of the step; the one of "exact"ly this step.  Without a step: the last.  None if there is none.
        """
        there = [i for i, frame in enumerate(self.frames) if holding is None or holding in frame]
        if step is not None and rule == "before":
            there = [i for i in there if self.frame_steps[i] <= step]
        if not there:
            return None
        goal = self.frame_steps[there[-1]] if step is None else step
        i = min(there, key=lambda i: abs(self.frame_steps[i] - goal))
        most = {"near": NEAR * goal, "exact": 0}.get(rule, np.inf)
        return Moment(self.frame_steps[i], self.frames[i]) if abs(self.frame_steps[i] - goal) <= most else None

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps [S], values [S, ...]) of a frame array over the frames that hold it."""
        there = [i for i, frame in enumerate(self.frames) if name in frame]
        return np.array([self.frame_steps[i] for i in there], int), np.array([self.frames[i][name] for i in there])

    def race(self, neuron: int) -> dict[str, np.ndarray] | None:
        """All K frequencies of one neuron over training: step_S, alpha_SK, beta_SK, D_SK; or None
        if neither its spectrum nor its weights are held."""
        spectrum = self.at(holding="theta_hat")
        if spectrum is not None and neuron < len(spectrum.frame["theta_hat"]):
            step_S, theta_hat = self.series("theta_hat")
            theta_hat, xi_hat = theta_hat[:, neuron], self.series("xi_hat")[1][:, neuron]
        else:
            step_S, theta = self.series("theta")
            if not len(step_S) or neuron >= theta.shape[1]:
                return None
            theta_hat, xi_hat = fourier.dft(theta[:, neuron]), fourier.dft(self.series("xi")[1][:, neuron])
        (alpha, phi), (beta, psi) = fourier.cosines(theta_hat), fourier.cosines(xi_hat)
        return {"step_S": step_S, "alpha_SK": alpha, "beta_SK": beta, "D_SK": fourier.wrap(2 * phi - psi)}

    @cached_property
    def summary(self) -> dict:
        """The final numbers of the run by name; None where one does not apply."""
        last = {name: self._latest(column) for name, column in self.history.items()}
        frame = self.frames[-1] if self.frames else {}
        scalar = {name: _number(frame.get(name)) for name in ("ipr_in", "ipr_out", "mean_abs_sin_D", "mean_cos_D")}
        stage1_end, stage2_end = measures.stages(self)
        both = None not in (scalar["ipr_in"], scalar["ipr_out"])
        seconds = self.provenance.get("seconds")
        return {
            "run_id": self.run.id, "p": self.run.p, "preset": self.run.preset, "d_mlp": self.run.d_mlp,
            "seed": self.run.seed, "device": self.provenance.get("device"), "precision": self.run.precision,
            "steps": self.step, "stop_reason": self.provenance.get("stop_reason"), "seconds": seconds,
            "steps_per_second": self.provenance.get("steps_per_second"),
            "train_loss": last["train_loss"], "test_loss": last["test_loss"],
            "train_accuracy": last["train_accuracy"], "test_accuracy": last["test_accuracy"],
            "held_out_accuracy": last["held_out_accuracy"],
            "mirrored_accuracy": self._mirrored_accuracy(last),
            "ipr_in": scalar["ipr_in"], "ipr_out": scalar["ipr_out"],
            "ipr": (scalar["ipr_in"] + scalar["ipr_out"]) / 2 if both else None,
            "mean_abs_sin_D": scalar["mean_abs_sin_D"], "mean_cos_D": scalar["mean_cos_D"],
            "frequency_counts": [int(n) for n in frame["counts_K"]] if "counts_K" in frame else None,
            "stage1_end": stage1_end, "stage2_end": stage2_end, "param_norm": last["norm"],
        }  # fmt: skip

    def _latest(self, column: np.ndarray) -> float | None:
        """The last number that was measured, or None; a lost loss is where every column ends."""
        measured = np.flatnonzero(~np.isnan(column) | ~np.isfinite(self.history["train_loss"]))
        return _number(column[measured[-1]]) if len(measured) else None

    def _mirrored_accuracy(self, last: dict) -> float | None:
        if self.run.model == "mlp":
            return last["rare_accuracy"]  # a mirrored pair is a rare pair read backwards
        if self.run.model != "transformer" or last["test_accuracy"] is None:
            return None
        counts = np.bincount(data.kinds(self.run).ravel(), minlength=4)
        mirrored, held_out = int(counts[data.MIRRORED]), int(counts[data.HELD_OUT])
        right = round(last["test_accuracy"] * (mirrored + held_out))
        right -= round((last["held_out_accuracy"] or 0) * held_out)
        return right / mirrored if mirrored else None

    def compact(self, measured: Mapping[str, float | None] | None = None) -> "Record":
        """A small record that still draws every curve and plays every film, coded as the schema says.

        Of the history stay the rows that `thin_rows` picks, every first step at a whole percent of accuracy, so
        that a stage ends where it did, and the last times that every answer was right or ceased to be.  Of the frames
        stay those of `_story`.  `measured` are numbers that were taken from this record, and travel with it.
        """
        return self._coded(ROWS, FRAMES, _small, measured)

    def outline(self, measured: Mapping[str, float | None] | None = None) -> "Record":
        """A few kilobytes of a run: fewer rows of its history; of the frames the means that are followed over training,
        and of the last one every number and the counts of the frequencies."""
        return self._coded(OUTLINE_ROWS, OUTLINE_FRAMES, _outlined, measured)

    def _coded(self, rows: int, most: int, kept, measured) -> "Record":
        columns = [column for column in self.history.values() if np.isfinite(column).any()]
        keep = set(thin_rows(columns[:4], rows).tolist())
        for name, column in self.history.items():
            if name.endswith("accuracy") and len(column):
                best = np.floor(np.maximum.accumulate(np.nan_to_num(column)) * 100)
                keep |= set(np.flatnonzero(np.diff(best, prepend=-1)).tolist())
                looked = np.flatnonzero(np.isfinite(column))
                turned = looked[np.diff(column[looked] == 1, prepend=False)]
                keep |= set(turned[-rows:].tolist())
        row = np.array(sorted(keep), int)
        story = self._story(most)
        frames = [kept(self.frames[i], self.run, i == len(self.frames) - 1) for i in story]
        film = coding.film(frames, [self.frame_steps[i] for i in story], self.run)
        history = {
            name: column[row] if name.endswith("accuracy") else coding.rounded(column[row])
            for name, column in self.history.items()
        }
        return replace(
            self, steps=self.steps[row], history=history, frames=film, frame_steps=film.steps, state=None,
            measured=self.measured if measured is None else measured,
        )  # fmt: skip

    def _story(self, most: int) -> list[int]:
        """Places of at most so many frames: the first, the last, half-way through memorisation, the ends of both
        stages, and the step at which the paper leaves a single-frequency run; then always the one farthest from those
        chosen, on a way that counts steps, their logarithm, and what the accuracies gained."""
        if not self.frames:
            return []
        at = np.array(self.frame_steps)
        ends = [end for end in measures.stages(self) if end is not None]
        judged = [PUBLISHED_STEPS] if self.run.init == "single-freq" else []
        turns = (*(end // 2 for end in ends[:1]), *ends, *judged)
        chosen = {0, len(at) - 1} | {int(np.abs(at - step).argmin()) for step in turns}
        rows, ways = np.searchsorted(self.steps, at, side="right") - 1, [at, np.log1p(at)]
        for name in ("train_accuracy", "test_accuracy") if len(self.steps) else ():
            ways.append(np.maximum.accumulate(np.nan_to_num(self.history[name]))[rows])
        way = np.sum([(one - one[0]) / max(one[-1] - one[0], 1e-9) for one in ways], axis=0)
        distance = np.abs(way[:, None] - way[sorted(chosen)]).min(1)
        while len(chosen) < min(most, len(at)):
            chosen.add(far := int(np.where(np.isin(np.arange(len(at)), [*chosen]), -1, distance).argmax()))
            distance = np.minimum(distance, np.abs(way - way[far]))
        return sorted(chosen)

    def without_state(self) -> "Record":
        return replace(self, state=None)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays; the inverse of `from_arrays`.  A compact record stays coded."""
        if not self.coded:
            return self.plain_arrays()
        arrays = {"curves": coding.curves(self.steps, self.history), "film": self.frames.blob}  # type: ignore[attr-defined]  # frames that are coded are a Film
        arrays = {name: np.frombuffer(blob, np.uint8) for name, blob in arrays.items()}
        return arrays | {f"state/{name}": value for name, value in (self.state or {}).items()} | {"card": self._card()}

    def plain_arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, none of them coded."""
        arrays = {"steps": self.steps.astype(np.int32), "frame_steps": np.array(self.frame_steps, np.int32)}
        arrays |= {f"history/{name}": column for name, column in self.history.items()}
        for name in sorted({name for frame in self.frames for name in frame}):
            held = [i for i, frame in enumerate(self.frames) if name in frame]
            arrays[f"frames/{name}"] = np.stack([pack(name, self.frames[i][name]) for i in held])
            if len(held) < len(self.frames):
                arrays[f"held/{name}"] = np.array(held, np.int32)
        arrays |= {f"state/{name}": value for name, value in (self.state or {}).items()}
        return arrays | {"card": self._card()}

    def _card(self) -> np.ndarray:
        measured = {name: "inf" if value == np.inf else value for name, value in self.measured.items()}
        card = {"schema": SCHEMA, "run": json.loads(self.run.to_json()), "provenance": self.provenance,
                "summary": self.summary} | ({"measured": measured} if measured else {})  # fmt: skip
        return np.frombuffer(json.dumps(card).encode(), np.uint8)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Record":
        """Raises ValueError if the arrays are not those of a Record of this schema."""
        try:
            card = read_card(arrays["card"])
            pick = lambda folder: {k.removeprefix(folder): arrays[k] for k in arrays if k.startswith(folder)}  # noqa: E731
            known = {"run": card["run"], "provenance": card["provenance"], "state": pick("state/") or None,
                     "measured": card["measured"]}  # fmt: skip
            if "film" in arrays:
                film = coding.Film(arrays["film"].tobytes(), card["run"])
                steps, history = coding.uncurved(arrays["curves"].tobytes())
                return cls(steps=steps, history=history, frames=film, frame_steps=film.steps, **known)
            columns: list[Frame] = [{} for _ in arrays["frame_steps"]]
            for key in arrays:
                if key.startswith("frames/"):
                    name = key.removeprefix("frames/")
                    held = arrays[f"held/{name}"] if f"held/{name}" in arrays else range(len(columns))
                    for i, value in zip(held, unpack(name, arrays[key]), strict=True):
                        columns[i][name] = value
            return cls(
                steps=arrays["steps"].astype(np.int64), history=pick("history/"), frames=tuple(columns),
                frame_steps=tuple(int(s) for s in arrays["frame_steps"]), **known,
            )  # fmt: skip
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"not a record: {error!r}") from None


def _moment(text: str) -> bool:
    """Is this a time as records tell it, such as 2026-01-31T23:59:59Z?"""
    try:
        return len(text) == 20 and time.strptime(text, "%Y-%m-%dT%H:%M:%SZ").tm_year >= 1970
    except ValueError:
        return False


def read_card(array: np.ndarray) -> dict:
    """The front page of a stored record: run, provenance and summary, without the arrays.

    Raises ValueError with a sentence if it is none, or of another schema.
    """
    try:
        card = json.loads(bytes(array))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a record: its card is no JSON ({str(error)[:80]})") from None
    if not isinstance(card, dict):
        raise ValueError(f"not a record: its card is a {type(card).__name__}")
    if card.get("schema") != SCHEMA:
        raise ValueError(f"this record has schema {str(card.get('schema'))[:40]}, this program reads {SCHEMA}")
    seen = card.get("provenance")
    told = isinstance(seen, dict) and all(isinstance(seen.get(name), kind) for name, kind in PROVENANCE.items())
    told = told and isinstance(seen.get("machines", []), list)
    told = told and all(isinstance(machine, dict) for machine in seen.get("machines", []))
    told = told and _moment(seen["finished"]) and seen["stop_reason"] in STOPS
    if not told or not 0 <= seen["steps"] <= EPOCHS_MAX:
        raise ValueError("not a record: its card does not say where it comes from")
    if not isinstance(card.get("run"), dict) or not isinstance(card.get("summary"), dict):
        raise ValueError("not a record: its card lacks its run or its summary")
    card["run"] = Run.from_json(json.dumps(card["run"]))
    card["measured"] = _measured(card.get("measured", {}))
    return card


def _measured(told) -> dict[str, float | None]:
    """The numbers of a card; ValueError where it tells anything else."""
    number = lambda value: value is None or value == "inf" or type(value) in (int, float)  # noqa: E731
    if not isinstance(told, dict) or len(told) > 200 or not all(map(number, told.values())):
        raise ValueError("not a record: what was measured of it are no numbers")
    return {name: None if value is None else float(value) for name, value in told.items()}


def _small(frame: Frame, run: Run, last: bool) -> Frame:
    """What a compact record keeps of a frame: of the neurons the first; weights at the end, where there are few."""
    weights = last and (run.model != "mlp" or run.d_mlp * run.p <= WEIGHTS)
    few = {"frequency": NEURONS, "alpha": NEURONS, "phi": NEURONS, "beta": NEURONS, "psi": NEURONS,
           "theta_hat": SPECTRA, "xi_hat": SPECTRA}  # fmt: skip
    return {name: frame[name][: few[name]] if name in few else frame[name]
            for name in frame if weights or not is_weight(name)}  # fmt: skip


def _outlined(frame: Frame, run: Run, last: bool) -> Frame:
    """What an outline keeps of a frame."""
    return {name: value for name, value in frame.items()
            if name in FOLLOWED or (last and (np.ndim(value) == 0 or name == "counts_K"))}  # fmt: skip


def _number(value) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
