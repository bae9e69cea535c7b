"""What a file holds beside its weights, taken apart from them: wrappers, steps, losses, the split, the optimiser.

    {"model": {...}, "epoch": 200, "train_losses": [...], "optimizer": {...}}      one state and what was noted of it
    {"state_dicts": [{...}, ...], "epochs": [0, 50, ...]}    {0: {...}, 50: {...}}    many states in one file

A state is a mapping of names to arrays, nested ones with dots between the names.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..runs import EPOCHS_MAX
from .checkpoint import Content, Odd, shown

WRAPPERS = re.compile(
    r"model|net(work)?|module|nn|(model_?|net_?)?state(_?dict)?s?|state_?dicts|weights|param(eter)?s|variables|models|"
    r"checkpoints?|ckpts?|snapshots?",
    re.I,
)
FIRST_STATE = re.compile(
    r"(model_?|state_?|weights_?)?(init(ial)?|untrained)(_?(model|state|state_?dict|weights))?", re.I
)
SECOND_COPY = re.compile(r"(\w+_)?(ema|swa|shadow|averaged?|best|target|teacher)(_\w+)?", re.I)
ASIDE = {
    re.compile(r"(\w+_)?optim(i[sz]er)?s?(_\w+)?|opt(_state)?", re.I): "state of the optimiser",
    re.compile(r"(\w+_)?sched(uler)?s?(_\w+)?|lr_schedulers|(grad_)?scaler|amp|callbacks|loops", re.I): "the trainer's",
    re.compile(r"(\w+_)?rng(_\w+)?|random_state", re.I): "random numbers",
    re.compile(r"config|cfg|args|hparams|hyper_?param(eter)s|settings|metadata", re.I): "settings, which are only told",
}
STEPS = ("global_step", "step", "iteration", "iter", "epoch")
MANY_STEPS = re.compile(r"(checkpoint_|ckpt_|saved_)?(epoch|step|iteration)s", re.I)
CURVES = {
    f"{group}_{what}": re.compile(rf"({names}){words}|{words}_({names})", re.I)
    for group, names in (("train", "(train(ing)?_?)?"), ("test", "(test|val(id(ation)?)?|eval)_?"))
    for what, words in (("loss", "loss(es)?"), ("accuracy", "acc(urac(y|ies)|s)?"))
}
PAIRS = re.compile(r"(train(?:ing)?|test|val)_?(data(?:set)?|pairs|indices|idx|inputs|set)", re.I)
NUMBERED = re.compile(
    r"(?:(?:global_?)?(?:step|epoch|iter(?:ation)?|checkpoint|ckpt|model|state)s?[_=-]?)?0*(\d{1,7})", re.I
)


class State(NamedTuple):
    """One set of weights: where in the file, its step if that is known, its arrays, and its losses and accuracies as
    the file has them."""

    where: str
    step: int | None
    tensors: dict[str, np.ndarray | Odd]
    told: dict[str, float]


class Unwrapped(NamedTuple):
    """The states of a file; what was noted beside them (`curves` by metric, `pairs` with train or test and their
    name); and what was left out, with the reason."""

    states: list[State]
    curves: dict[str, np.ndarray]
    pairs: list[tuple[str, str, object]]
    left: dict[str, str]


def unwrap(content: Content) -> Unwrapped:
    """The states of a file and what is noted beside them."""
    found = Unwrapped([], {}, [], {})
    _collect(content.tree, "", None, found)
    first = [state for state in found.states if not SECOND_COPY.fullmatch(state.where.rpartition("/")[2])]
    if first:
        found.left.update({s.where: "a second copy of the weights" for s in found.states if s not in first})
    return found._replace(states=first or found.states)


def _collect(node: dict | list, where: str, step: int | None, found: Unwrapped):
    """Take the notes of this node aside, and go on to the states in it."""
    items = dict(enumerate(node)) if isinstance(node, list) else node
    if "param_groups" in items:
        found.left[where or "all of it"] = "state of the optimiser"
        return
    step = next((at for name in STEPS if (at := _step(items.get(name))) is not None), step)
    told: dict[str, float] = {}
    rest = {key: value for key, value in items.items() if not _aside(str(key), value, where, found, told)}
    inside = {key: value for key, value in rest.items() if isinstance(value, dict | list) and _wraps(str(key), value)}
    own = {key: value for key, value in rest.items() if key not in inside}
    bare = not inside or _matrices(own) > 1  # the weights stand here, without a wrapper
    for key, value in own.items():
        if not list(_leaves({"": value})):
            found.left[_path(where, key)] = "a note"
        elif not bare:
            found.left[_path(where, key)] = "beside the network"
    if bare and (tensors := dict(_leaves(own))):
        found.states.append(State(where, step, tensors, told))
    for key, value in inside.items():
        at, path = (0 if FIRST_STATE.fullmatch(str(key)) else step), _path(where, key)
        if number := None if isinstance(node, list) else NUMBERED.fullmatch(str(key)):
            at = int(number[1])
        if isinstance(value, list) and all(isinstance(inner, dict | list) for inner in value):
            steps = _named_steps(items, len(value))
            for place, inner in enumerate(value):
                _collect(inner, f"{path}/{place}", steps[place], found)
        else:
            _collect(value, path, at, found)
        for state in found.states[-1:]:
            state.told.update(told)


def _path(where: str, key) -> str:
    return f"{where}/{shown(key)}" if where else shown(key)


def _aside(name: str, value, where: str, found: Unwrapped, told: dict[str, float]) -> bool:
    """Is this a note beside the weights?  Then it is kept as what it is."""
    path = _path(where, name)
    if (curve := _curve(name, value)) is not None:
        metric, numbers = curve
        if len(numbers) > 1:
            found.curves.setdefault(metric, numbers)
        else:
            told.setdefault(metric, float(numbers[0]))
        return True
    if split := PAIRS.fullmatch(name):
        found.pairs.append((side(split[1]), path, value))
        return True
    for pattern, why in ASIDE.items():
        if pattern.fullmatch(name) and (isinstance(value, dict | list | Odd) or not np.ndim(value)):
            found.left[path] = why
            return True
    if name in STEPS or MANY_STEPS.fullmatch(name):
        return not isinstance(value, dict)
    return False


def side(word: str) -> str:
    """train, or test for whatever else files call it."""
    return "train" if word.lower().startswith("train") else "test"


def _curve(name: str, value) -> tuple[str, np.ndarray] | None:
    """(metric, numbers) of losses or accuracies, one or many."""
    metric = next((metric for metric, pattern in CURVES.items() if pattern.fullmatch(name)), None)
    if metric is None or isinstance(value, dict | str | None | Odd):
        return None
    try:
        numbers = np.asarray([np.asarray(v, float).item() for v in np.atleast_1d(np.asarray(value, object))], float)
    except (TypeError, ValueError):
        return None
    return (metric, numbers) if len(numbers) else None


def _wraps(name: str, value: dict | list) -> bool:
    """Does this name hold one or several states, rather than a part of one?"""
    if _matrices(value) < 2:
        return False
    known = (WRAPPERS, FIRST_STATE, SECOND_COPY, NUMBERED)
    return any(pattern.fullmatch(name) for pattern in known)


def _matrices(node) -> int:
    return sum(getattr(value, "ndim", 2) > 1 for _, value in _leaves({"": node}))


def _leaves(node: dict | list, prefix: str = "") -> Iterator[tuple[str, np.ndarray | Odd]]:
    """Every array under a node by its name, with dots."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, np.ndarray | Odd):
            yield name, value
        elif isinstance(value, dict | list):
            yield from _leaves(value, name)


def _named_steps(items: dict, count: int) -> list[int | None]:
    """The steps that stand beside a list of so many states."""
    for name, value in items.items():
        if MANY_STEPS.fullmatch(str(name)) and isinstance(value, list | np.ndarray) and len(value) == count:
            return [_step(at) for at in value]
    return [None] * count


def _step(value) -> int | None:
    """A step as files note it: a whole number, also as a tensor, a float or text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.item() if value.size == 1 else None
    if isinstance(value, str):
        value = int(value) if re.fullmatch(r"\d{1,7}", value, re.ASCII) else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= EPOCHS_MAX else None
