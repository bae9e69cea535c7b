"""A film on its way to the browser: what every chart shows at every moment, sent ahead of its time.

A chart of a film is a function from the moment to a drawing.  Its specification goes to the page once, and its data
of all moments to the player there (player.js), each column of numbers once; the player then needs no server to draw
the next frame, and the server has time for the words and numbers around the charts.
"""

import base64
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

WHOLE = ("u1", "i2", "i4")  # how whole numbers travel: the first that holds them, else as reals
BUDGET = 0.5  # seconds of processor time that one answer may spend on frames to come

_takes = itertools.count(1)
_now = threading.local()


class Reel:
    """One chart of a film: what stands on the page, and which moments have been sent."""

    def __init__(self, number: int, make: Callable, spec: dict):
        self.number, self.make, self.spec = number, make, spec
        self.sent: dict[int, dict] = {}


class Film:
    """All charts of a film of something, and the parcels that the browser has not yet said to have."""

    def __init__(self, of=None):
        self.of = of
        self.take = next(_takes)
        self.reels: dict[str, Reel] = {}
        self.plain: set[str] = set()  # charts whose specification changes with time
        self._columns: dict[int, object] = {}  # all that were sent, by number
        self._at: dict[tuple, list[int]] = {}  # the first and the last of each column of a table
        self._numbers = itertools.count()
        self._parcels: list[dict] = []
        self._next = {"columns": [], "frames": []}

    def shows(self, key: str, make: Callable[[int], dict], moment: int) -> dict:
        """The specification to put on the page at this moment: the first one for as long as the film has the chart."""
        spec = make(moment)
        reel = self.reels.get(key)
        if key in self.plain:
            return spec
        if reel is None or not _alike(reel.spec, spec) or self._differs(key, reel, moment, spec["datasets"]):
            reel = self.reels[key] = Reel(next(self._numbers), make, spec)
        reel.make = make
        return reel.spec

    def _differs(self, key, reel, moment, tables) -> bool:
        """Is this not what was sent of the moment?"""
        if moment not in reel.sent:
            return False
        sent = reel.sent[moment]
        if {name: len(table) for name, table in tables.items()} != {name: length for name, (length, _) in sent.items()}:
            return True
        return not all(
            _begins(self._columns[number], _values(tables[name][column])[0])
            for name, (_, columns) in sent.items()
            for column, number in columns.items()
        )

    def received(self, parcel: int):
        """The browser has everything up to this parcel."""
        self._parcels = [other for other in self._parcels if other["parcel"] > parcel]

    def parcel(self, moments: list[int], at: int, budget: float = BUDGET, inorder: bool = True) -> dict:
        """All that the browser has not said to have, with as many new frames as the budget allows: from `at` on if
        it plays `inorder`, or else first some from everywhere, for one who may go anywhere.

        The last moment comes first: curves that grow with time are all a beginning of what they are then.
        """
        end, here = time.thread_time() + budget, moments.index(at)
        order = [*moments[here:], *moments[:here]] if inorder else [at, *_coarse_to_fine(moments)]
        for moment in [moments[-1], *order]:
            for key, reel in list(self.reels.items()):
                if moment not in reel.sent:
                    self._shoot(key, reel, moment)
            if time.thread_time() > end:
                break
        number = self._parcels[-1]["parcel"] + 1 if self._parcels else next(self._numbers) + 1
        if self._next["columns"] or self._next["frames"]:
            self._parcels.append(self._next | {"parcel": number})
            self._next = {"columns": [], "frames": []}
        return {
            "take": self.take,
            "parcel": self._parcels[-1]["parcel"] if self._parcels else 0,
            "reels": {key: reel.number for key, reel in self.reels.items()},
        } | {name: [item for parcel in self._parcels for item in parcel[name]] for name in ("columns", "frames")}

    def _shoot(self, key: str, reel: Reel, moment: int):
        spec = reel.make(moment)
        if not _alike(reel.spec, spec):
            del self.reels[key]
            self.plain.add(key)
            return
        reel.sent[moment] = self._packed(key, spec["datasets"])
        self._next["frames"].append([key, reel.number, moment, reel.sent[moment]])

    def _packed(self, key: str, tables: dict[str, pa.Table]) -> dict[str, tuple[int, dict[str, int]]]:
        """Each table as its length and the numbers of its columns."""
        return {
            name: (len(table), {each: self._number((key, name, each), table[each]) for each in table.schema.names})
            for name, table in tables.items()
        }

    def _number(self, place: tuple, column: pa.ChunkedArray) -> int:
        """The number of a column that begins like this one, which is new if there is none."""
        values, kind = _values(column)
        known = self._at.setdefault(place, [])
        for number in known:
            if _begins(self._columns[number], values):
                return number
        number = next(self._numbers)
        self._columns[number] = values
        known[1 if known else 0 :] = [number]
        packed = values
        if kind:
            packed = {"kind": kind, "bytes": base64.b64encode(values.astype(f"<{kind}").tobytes()).decode()}
        self._next["columns"].append([number, packed])
        return number


def _coarse_to_fine(moments: list[int]) -> list[int]:
    """The moments in an order in which those so far are always spread over all of them."""
    step = 1 << max(len(moments) - 1, 1).bit_length()
    order = []
    while step:
        order += [moment for moment in moments[::step] if moment not in order]
        step //= 2
    return order


def _alike(one: dict, other: dict) -> bool:
    return one is other or {**one, "datasets": None} == {**other, "datasets": None}


def _values(column: pa.ChunkedArray) -> tuple[Any, str | None]:
    """A column as an array with the type in which it travels, or as a list."""
    if column.null_count == 0 and pa.types.is_floating(column.type):
        return column.to_numpy(), "f4"
    if column.null_count == 0 and pa.types.is_integer(column.type):
        values = column.to_numpy()
        ends = values.min(initial=0), values.max(initial=0)
        return values, next((kind for kind in WHOLE if np.array_equal(np.array(ends).astype(kind), ends)), "f8")
    return column.to_pylist(), None


def _begins(long, short) -> bool:
    if type(long) is not type(short):
        return False
    if isinstance(long, list):
        return long[: len(short)] == short
    return len(short) <= len(long) and np.array_equal(long[: len(short)], short, equal_nan=long.dtype.kind == "f")


@contextmanager
def showing(moment: int | None, film: Film | None) -> Iterator[None]:
    """Within: the charts of a film show this moment; `film` is None unless it plays."""
    before = getattr(_now, "showing", (None, None))
    _now.showing = (moment, film)
    try:
        yield
    finally:
        _now.showing = before


def now() -> tuple[int | None, Film | None]:
    """The moment in view, and the film that plays."""
    return getattr(_now, "showing", (None, None))
