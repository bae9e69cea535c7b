"""The tasks of the general transformer: what is asked, the right answer, and what is held back.

    addition   a, b       (a + b) mod p
    addpow     a, b, c    (a + b)^c mod p,  c = 0 .. 32 (below p), 0^0 = 1
    add3       a, b, c    (a + b + c) mod p

An example is a number, (c p + a) p + b, so that a table over all examples is a stack of maps over
(a, b), one for each c; addition has one map.  Every answer depends on c and on (a + b) mod p alone.
"""

from functools import lru_cache

import numpy as np

from .data import train_mask
from .runs import Run, Split, Task

EXPONENTS = 33
EPS = 1e-5  # of the layer norms of the network that learns them
SHOWN_POWERS = (0, 1, 2, 5, 16, 32)  # c whose maps every frame keeps: trivial, the sum, a pair, all, and the coarsest
SHOWN_SUMMANDS = 5


def length(run: Run) -> int:
    """Tokens of an example."""
    return 2 if run.task == "addition" else 3


def maps(run: Run) -> int:
    """How many values c takes: 1 for addition, which has none."""
    return {"addition": 1, "addpow": min(EXPONENTS, run.p), "add3": run.p}[run.task]


def shown_maps(run: Run) -> np.ndarray:
    """The values of c whose maps over (a, b) every frame keeps, [S]; 0 alone for addition."""
    C = maps(run)
    if run.task == "addpow":
        return np.array([c for c in SHOWN_POWERS if c < C])
    return np.unique(np.linspace(0, C - 1, min(C, SHOWN_SUMMANDS)).round().astype(int))


def count(run: Run) -> int:
    """How many examples there are."""
    return maps(run) * run.p**2


def answers(run: Run) -> np.ndarray:
    """The right answer for c and s = (a + b) mod p, int64 [C, P]."""
    s_P, c_C1 = np.arange(run.p), np.arange(maps(run))[:, None]
    if run.task == "addpow":
        return np.array([[pow(s, c, run.p) for s in range(run.p)] for c in range(maps(run))])  # pow(0, 0, p) is 1
    return (s_P + c_C1) % run.p


def answer(run: Run, token: list[int]) -> int:
    """The right answer to the question of these tokens, in the order they are read."""
    a, b, c = (*token, 0)[:3]
    return int(answers(run)[c, (a + b) % run.p])


def tokens(run: Run, example):
    """The tokens [.., L] of these examples, in the order they are read; numpy or torch in, numpy or torch out."""
    pair, b = example // run.p, example % run.p
    parts = (pair, b) if run.task == "addition" else (pair % run.p, b, pair // run.p)
    read = np.empty if isinstance(example, np.ndarray) else example.new_empty
    out = read((*example.shape, len(parts)), dtype=example.dtype)
    for place, part in enumerate(parts):
        out[..., place] = part
    return out


def truth(run: Run) -> np.ndarray:
    """The right answer of every example as maps, uint8 [C, P, P]."""
    a, b = np.ogrid[: run.p, : run.p]
    return answers(run).astype(np.uint8)[:, (a + b) % run.p]


@lru_cache(maxsize=2)
def _split(p: int, task: Task, frac_train: float, split: Split, seed: int) -> np.ndarray:
    run = Run(p=p, model="pre-ln", d_model=4, task=task, frac_train=frac_train, split=split, seed=seed)
    if task == "addition":
        return train_mask(run)[None]
    # A stream of its own, so that a split never depends on what else is drawn.
    order = np.random.default_rng([seed, 1]).permutation(count(run))
    train = np.zeros(count(run), bool)
    train[order[: int(np.floor(frac_train * count(run)))]] = True
    train.setflags(write=False)
    return train.reshape(maps(run), p, p)


def train_maps(run: Run) -> np.ndarray:
    """Which examples are trained, bool [C, P, P]: floor(frac_train count), drawn evenly.

    Of addition, the pairs that every other network of this seed trains on.
    """
    return _split(run.p, run.task, run.frac_train, run.split, run.seed)


def held_out_maps(run: Run) -> np.ndarray:
    """Test examples of which no reordering with the same answer is trained, bool [C, P, P]."""
    train = train_maps(run)
    seen = train | train.transpose(0, 2, 1)
    for order in ((1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)) if run.task == "add3" else ():
        seen |= train.transpose(order)
    return ~seen


def distinct(run: Run) -> np.ndarray:
    """How many different answers each c has, int64 [C]; (p - 1) / gcd(c, p - 1) + 1 for addpow at prime p, c > 0."""
    return np.array([len(np.unique(row)) for row in answers(run)])


def best_constant(run: Run) -> np.ndarray:
    """The accuracy of the best single answer for each c, [C]: what costs no understanding."""
    return np.array([np.bincount(row).max() for row in answers(run)]) / run.p
