"""Pairs, labels and splits.

The network is symmetric in its inputs, so an unordered pair {x, y} is computed once and counted
as often as its orders occur.  Pairs are laid out by difference: row d * p + x holds
(x, x + d mod p) for d = 0 .. (p-1)/2.  For odd p that meets every unordered pair exactly once,
and makes the table of sums theta[x] + theta[y] a stack of p-row windows that slide over theta:
no gather is needed to build it.
"""

import base64
from functools import lru_cache

import numpy as np

from .runs import Run

# What an ordered pair is to the network. A test pair whose mirror image is trained comes for
# free; only a held-out pair asks for generalisation.
COMMON, RARE, MIRRORED, HELD_OUT = range(4)
KINDS = ("common", "rare", "mirrored", "held out")


@lru_cache(maxsize=8)
def pairs(p: int) -> tuple[np.ndarray, np.ndarray]:
    """The unordered pairs as (x_N, y_N), int64, N = p (p + 1) / 2, in the layout above."""
    d, x = np.divmod(np.arange(p * (p + 1) // 2), p)
    return x, (x + d) % p


def labels(p: int) -> np.ndarray:
    """The right answers (x + y) mod p, [N]."""
    x, y = pairs(p)
    return (x + y) % p


@lru_cache(maxsize=8)
def _train_mask(p: int, frac_train: float, split: str, seed: int, trained: str) -> np.ndarray:
    # The stream is named, so that a split never depends on what initialisation drew.
    rng = np.random.default_rng([seed, 1])
    train = np.zeros((p, p), bool)
    if trained:
        table = np.frombuffer(base64.urlsafe_b64decode(trained + "=" * (-len(trained) % 4)), np.uint8)
        train.ravel()[:] = np.unpackbits(table, count=p * p)
    elif split == "ordered":
        train.ravel()[rng.permutation(p * p)[: int(np.floor(frac_train * p * p))]] = True
    else:
        x, y = pairs(p)
        chosen = rng.permutation(len(x))[: max(1, round(frac_train * len(x)))]
        train[x[chosen], y[chosen]] = train[y[chosen], x[chosen]] = True
    train.setflags(write=False)
    return train


def train_mask(run: Run) -> np.ndarray:
    """Which ordered pairs are trained, bool [P, P].

    `ordered` draws floor(frac_train p^2) ordered pairs, as published; `unordered` keeps both
    orders of a pair on the same side.  Where the run names its pairs (`written`), they are those.
    """
    return _train_mask(run.p, float(run.frac_train), run.split, run.seed, run.trained)


def written(train_PP: np.ndarray) -> str:
    """A table of training pairs as `Run.trained` keeps it: its bits row by row, in base64."""
    return base64.urlsafe_b64encode(np.packbits(train_PP).tobytes()).decode().rstrip("=")


def kinds(run: Run) -> np.ndarray:
    """COMMON, RARE, MIRRORED or HELD_OUT for each ordered pair, int8 [P, P]."""
    train = train_mask(run)
    both = np.where(train.T, COMMON, RARE)
    none = np.where(train.T, MIRRORED, HELD_OUT)
    return np.where(train, both, none).astype(np.int8)


def mirrored_share(run: Run) -> float | None:
    """Share of the test pairs whose mirror image is trained; None without test pairs."""
    kind = kinds(run)
    test = int((kind >= MIRRORED).sum())
    return int((kind == MIRRORED).sum()) / test if test else None


GROUPS = ("train", "test", "held_out", "common", "rare")
# The rows of the history; a group without pairs holds NaN.
METRICS = tuple(f"{group}_{what}" for what in ("loss", "accuracy") for group in GROUPS) + ("norm",)


def group_weights(run: Run) -> np.ndarray:
    """How often each unordered pair counts in each of GROUPS, [N, 5] in {0, 1, 2}.

    A mirrored test pair and the rare training pair it mirrors are one unordered pair, so the
    accuracy on mirrored pairs is the accuracy on rare ones at every step.
    """
    kind = kinds(run)
    x, y = pairs(run.p)
    once = np.where(x == y, 0, 1)

    def count(*members):
        inside = np.isin(kind, members)
        return inside[x, y] + once * inside[y, x]

    return np.stack(
        [count(COMMON, RARE), count(MIRRORED, HELD_OUT), count(HELD_OUT), count(COMMON), count(RARE)], axis=1
    )


def grid(values_N: np.ndarray, p: int) -> np.ndarray:
    """Spread one value a pair over the symmetric table [.., P, P]."""
    x, y = pairs(p)
    table = np.empty((*values_N.shape[:-1], p, p), values_N.dtype)
    table[..., x, y] = table[..., y, x] = values_N
    return table
