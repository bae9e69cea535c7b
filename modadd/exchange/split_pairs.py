"""The training pairs that the files of a run name, as the split of a run here."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .. import data


class Use(NamedTuple):
    """A line of the account: a file, or a name within it, and how it was used or why it was left out."""

    file: str
    name: str
    use: str


def split_of(pairs: Iterable[tuple[str, Use, object]], p: int) -> tuple[str, list[Use]]:
    """(the training pairs as `Run.trained` has them, the account) of what files name as train or test: lists or arrays
    of pairs, perhaps with "=" and with the answers beside, or places in the table of all pairs.

    What is no split of the pairs of residues is left out, with the reason.
    """
    tables, uses = {}, []
    for which, whose, value in pairs:
        try:
            table = _table(value, p)
            if (tables.setdefault(which, table) != table).any():
                raise ValueError(f"other pairs than in {uses[0].file}")
            uses.append(whose._replace(use=f"the split: {table.sum():,} of {p * p:,} pairs, {which}ed"))
        except ValueError as error:
            uses.append(whose._replace(use=f"left out: {error}"))
    train, test = tables.get("train"), tables.get("test")
    if train is None and test is not None:
        train = ~test
    if train is None or not train.any():
        return "", uses
    if test is not None and (train & test).any():
        return "", [*uses, Use("", "", f"the split is left out: {(train & test).sum():,} pairs are trained and tested")]
    if test is not None and not (train | test).all():
        uses.append(Use("", "", f"{(~(train | test)).sum():,} pairs are neither trained nor tested: counted as tested"))
    return data.written(train), uses


def _table(value, p: int) -> np.ndarray:
    """Which ordered pairs these are, bool [P, P]."""
    answers = None
    try:
        if isinstance(value, list) and len(value) == 2 and all(isinstance(part, np.ndarray) for part in value):
            value, answers = value
        rows = np.asarray(value)
        if isinstance(value, list) and rows.dtype == object:
            rows = np.asarray([np.asarray(row).ravel() for row in value])
    except (ValueError, TypeError):
        raise ValueError("these are no pairs of numbers") from None
    if rows.dtype.kind in "iu" and rows.ndim == 1 and len(rows) and 0 <= rows.min() <= rows.max() < p * p:
        rows = np.stack(np.divmod(rows, p), 1)
    if rows.dtype.kind not in "iu" or rows.ndim != 2 or rows.shape[1] not in (2, 3) or not len(rows):
        raise ValueError("these are no pairs of whole numbers")
    if rows[:, :2].min() < 0 or rows[:, :2].max() >= p:
        raise ValueError(f"a residue is not among 0 to {p - 1}")
    right = (rows[:, 0] + rows[:, 1]) % p
    if rows.shape[1] == 3 and (rows[:, 2] != p).any() and (rows[:, 2] != right).any():
        raise ValueError("the third number is neither the token = nor the sum")
    if answers is not None and (answers.ravel().shape != right.shape or (answers.ravel() != right).any()):
        raise ValueError(f"its answers are not the sums mod {p}")
    table = np.zeros((p, p), bool)
    table[rows[:, 0], rows[:, 1]] = True
    return table
