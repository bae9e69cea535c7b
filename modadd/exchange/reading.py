"""What the files of somebody's training hold: networks at steps, the split, the losses; with an account of it all."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import data
from ..runs import EPOCHS_MAX, Run, check_p
from . import bundle, one_layer, two_layers
from .checkpoint import SUFFIXES, load, shown
from .files import FILES, File
from .layouts import Network, bare
from .split_pairs import Use, split_of
from .two_layers import Orientation
from .unwrapping import PAIRS, State, Unwrapped, side, unwrap

ALL_BYTES = 4_000_000_000
NAMED = 3  # files by name in a line of the account
BEST_LABELS = ("global", "step", "it", "ep")  # of several numbers in a name, the best first
LABEL = re.compile(
    r"(?:^|[^a-z])(global_?step|steps?|iter(?:ation)?s?|it|epochs?|ep|checkpoint|ckpt|params?|model|weights|state|"
    r"snapshot|net|run)[_\-=. ]*(\d{1,7})(?![0-9a-z])", re.I | re.ASCII
)  # fmt: skip
INITIAL = re.compile(r"(.*[_-])?(init(ial|iali[sz]ed|iali[sz]ation)?|untrained)([_-].*)?", re.I)


class Moment(NamedTuple):
    """A step, the file and the place in it where its weights are, a digest of these, and what the file tells of its
    losses and accuracies at this step."""

    step: int | None
    file: File
    place: int
    digest: str
    told: dict[str, float]


@dataclass(frozen=True)
class Found:
    """What was understood: a network (one of them), its moments in order, how their matrices are read, whether
    some answers have a bias, the SHA-256 of the file (of several: of their SHA-256 in that order), the training pairs
    as `Run.trained` has them, the files' own curves by metric, what had to be assumed, in a sentence, and the account
    of every file."""

    network: Network
    moments: tuple[Moment, ...]
    orientation: Orientation
    biased: bool
    sha256: str
    trained: str
    curves: dict[str, np.ndarray]
    assumed: str | None
    account: tuple[Use, ...]

    @property
    def p(self) -> int:
        return self.network.p

    @property
    def model(self) -> str:
        return "transformer" if self.network.heads else "mlp"

    @property
    def d_mlp(self) -> int:
        return len(self.network.weights["W_out" if self.network.heads else "theta"]) + self.biased

    @property
    def embedding(self) -> int:
        return self.network.embedding

    @property
    def steps(self) -> list[int]:
        return [moment.step for moment in self.moments]

    def run(self, **settings) -> Run:
        """The run that this network is, with the settings that weights cannot tell."""
        if self.trained:
            settings = {name: value for name, value in settings.items() if name != "frac_train"}
            settings["trained"] = self.trained
        if self.model == "transformer":
            settings |= {"model": "transformer", "heads": self.network.heads,
                         "d_model": self.network.weights["W_E"].shape[1]}  # fmt: skip
        epochs = max(1, self.steps[-1])
        return Run(p=self.p, d_mlp=self.d_mlp, epochs=epochs, origin=self.sha256[:16], **settings)


# -- what they hold -----------------------------------------------------------------------------


def find(
    files: Iterable[File], p: int | None = None, orientation: Orientation = "by shape", last_step: int | None = None
) -> Found:
    """Read every file once and say what they hold.

    A step comes from the file's name ("200.pth", "epoch=3-step=200.ckpt"), else from what the file notes; one file
    without either is the last, at `last_step`.  Raises ValueError with one sentence.
    """
    reading = _Reading(p, orientation)
    total = count = 0
    for count, file in enumerate(files, 1):
        if Path(file.name).suffix.lower() in SUFFIXES:
            content = file.read()
            total += len(content)
            reading.take(file, content)
        else:
            reading.leave_out(file, _foreign(file.name))
        if total > ALL_BYTES or count > FILES:
            raise ValueError(f"these are more than {FILES:,} files or {ALL_BYTES:,} bytes: import fewer checkpoints")
    if not count:
        raise ValueError("no file was given: choose a checkpoint or several")
    return reading.found(last_step)


def _foreign(name: str) -> str:
    if name.lower().endswith(bundle.SUFFIX):
        return "is a whole run: give it alone"
    return f"is no checkpoint: its name must end with {', '.join(SUFFIXES)}"


def network_of(state: State, ordered: bool, p: int | None, orientation: Orientation) -> Network:
    """The network that a state is.  Raises ValueError with the rest of a sentence that begins with the file's name."""
    arrays = bare(state.tensors)
    if not one_layer.is_one(arrays):
        return two_layers.read(arrays, p, orientation, ordered)
    found = one_layer.read(arrays)
    if p not in (None, check_p(found.p)):
        raise ValueError(f"is a network of p = {found.p}, not {p}")
    return found


@dataclass
class _Reading:
    """What was understood of the files so far."""

    p: int | None
    orientation: Orientation
    network: Network | None = None
    first: str = ""
    biased: bool = False
    placed: dict[int | None, Moment] = field(default_factory=dict)  # by step; None for the one without
    account: list[Use] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    pairs: list[tuple[str, Use, object]] = field(default_factory=list)  # train or test, whose, and what they are
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def leave_out(self, file: File, why: str):
        self.reasons.append(f"{shown(file.name)} {why}")
        self.account.append(Use(shown(file.name), "", f"left out: it {why}"))

    def take(self, file: File, content: bytes):
        """Read one file."""
        name = shown(file.name)
        try:
            loaded = load(file.name, content)
        except ValueError as error:
            return self.leave_out(file, str(error).removeprefix(f"{name} "))
        self.hashes[file.name] = hashlib.sha256(content).hexdigest()
        if split := PAIRS.fullmatch(Path(file.name).stem):
            self.pairs.append((side(split[1]), Use(name, "", ""), loaded.tree))
            return None
        held = unwrap(loaded)
        self.pairs += [(which, Use(name, where, ""), value) for which, where, value in held.pairs]
        networks = self._networks(file, held, loaded.ordered)
        self.account += [Use(name, where, f"left out: {why}") for where, why in held.left.items()]
        for metric, curve in held.curves.items():  # of two the longer one
            if len(curve) >= len(self.curves.get(metric, ())):
                self.curves[metric] = curve
        return self._place(file, held, networks)

    def _networks(self, file: File, held: Unwrapped, ordered: bool) -> dict[int, Network]:
        """The networks in a file by their place in it."""
        name, networks = shown(file.name), {}
        for place, state in enumerate(held.states):
            try:
                found = network_of(state, ordered, self.p, self.orientation)
            except ValueError as error:
                if sum(getattr(value, "ndim", 0) > 1 for value in state.tensors.values()) > 1:
                    raise ValueError(f"{name} {error}") from None
                self.leave_out(file, str(error))
                continue
            self.network, before = found, self.network
            self.first = self.first or name
            if before is not None and before.sizes != found.sizes:
                both = " and ".join(dict.fromkeys((self.first, name)))
                raise ValueError(f"the networks of {both} are of different shapes")
            self.biased |= found.bias_P is not None
            networks[place] = found
            where = f"{state.where}: " if state.where else ""
            self.account += [Use(name, where + shown(key), use) for key, use in found.uses.items()]
        if not held.states:
            self.leave_out(file, "holds no weights")
        return networks

    def _place(self, file: File, held: Unwrapped, networks: dict[int, Network]):
        """Put the networks of a file at their steps."""
        steps = [held.states[place].step for place in networks]
        if len(steps) == 1:
            steps = [_step(file.name, steps[0])]
        elif None in steps:
            steps = list(range(len(steps)))
            self.account.append(Use(shown(file.name), "", f"assumed: its states are the steps 0 to {len(steps) - 1}"))
        for step, (place, network) in zip(steps, networks.items(), strict=True):
            moment = Moment(step, file, place, network.digest, held.states[place].told)
            if there := self.placed.get(step):
                moment, spare = self._which(there, moment)
                at = "" if step is None else f", as step {step:,}"
                self.leave_out(spare.file, f"is not needed: {shown(moment.file.name)} is there{at}")
            self.placed[step] = moment

    def _which(self, one: Moment, other: Moment) -> tuple[Moment, Moment]:
        """(the one that counts, the one that is left out) of two at the same step."""
        initial = [bool(INITIAL.fullmatch(Path(moment.file.name).stem)) for moment in (one, other)]
        if one.digest != other.digest and initial[0] == initial[1]:
            at = "without a step in the name" if one.step is None else f"of step {one.step:,}"
            both = " and ".join(dict.fromkeys(shown(moment.file.name) for moment in (one, other)))
            raise ValueError(f"{both} are both {at}: rename one")
        return (other, one) if initial[0] and not initial[1] else (one, other)

    def found(self, last_step: int | None) -> Found:
        """All of it; ValueError with one sentence where there is no network, or a step that cannot be."""
        if self.network is None:
            raise ValueError(self.reasons[0] if self.reasons else "these are training pairs without a network")
        assumed = self._last(last_step) if None in self.placed else None
        order = sorted(self.placed)
        if not 0 <= order[0] <= order[-1] <= EPOCHS_MAX:
            raise ValueError(f"steps must lie between 0 and {EPOCHS_MAX:,}, got {order[-1 if order[0] >= 0 else 0]:,}")
        moments = tuple(self.placed[step] for step in order)
        digests = [self.hashes[name] for name in dict.fromkeys(moment.file.name for moment in moments)]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        trained, uses = split_of(self.pairs, self.network.p)
        if self.biased:
            uses.append(Use("", "", "the bias of the answers is kept as one more neuron, which is always on"))
        return Found(self.network, moments, self.orientation, self.biased, digest, trained, self.curves, assumed,
                     (*self.account, *uses))  # fmt: skip

    def _last(self, step: int | None) -> str | None:
        """Give the file without a step its place; what had to be assumed, in a sentence."""
        last, steps, assumed = self.placed.pop(None), sorted(self.placed), None
        name = shown(last.file.name)
        if step is None:
            step = 2 * steps[-1] - steps[-2] if steps[1:] else steps[-1] + 1 if steps else 1
            assumed = f"{name} does not say its step: counted as step {step:,}"
        if steps and step <= steps[-1]:
            raise ValueError(f"{name} is the last: its step must be above {steps[-1]}, got {step}")
        self.placed[step] = last._replace(step=step)
        return assumed


def _step(name: str, noted: int | None) -> int | None:
    """The step of a file with one network: by its name or that of its folder, else what it notes."""
    for stem in (Path(name).stem, Path(name).parent.name):
        if re.fullmatch(r"\d{1,7}", stem, re.ASCII):
            return int(stem)
        labels = {label.lower(): int(number) for label, number in LABEL.findall(stem)}
        if labels:
            return max(labels.items(), key=lambda item: [item[0].startswith(word) for word in BEST_LABELS])[1]
        if INITIAL.fullmatch(stem):
            return 0
    return noted


# -- what is made of them -----------------------------------------------------------------------


def told(found: Found) -> Iterator[str]:
    """What was understood, and what was not, in sentences."""
    steps, first = found.steps, "one step" if len(found.steps) == 1 else f"{len(found.steps):,} steps"
    span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    if found.model == "transformer":
        D = found.network.weights["W_E"].shape[1]
        yield (f"A transformer of one layer for p = {found.p}, of width {D:,} with {found.network.heads} heads and "
               f"{found.d_mlp:,} neurons, at {first}: {span}.")  # fmt: skip
    else:
        through = (
            f", through an embedding of width {found.embedding:,} that is multiplied in" if found.embedding else ""
        )
        yield f"A network of p = {found.p} with {found.d_mlp:,} neurons{through}, at {first}: {span}."
    if found.assumed:
        yield f"{found.assumed}."
    if found.trained:
        share = data.train_mask(found.run()).mean()
        yield f"The files name the training pairs, {share:.1%} of all: these are the split."
    else:
        yield (
            "Weights do not tell which pairs were trained on: train and test are this program's own split of the share "
            "and seed given."
        )


def table(found: Found) -> list[Use]:
    """The account with one line for all files that say the same."""
    files: dict[tuple[str, str], list[str]] = {}
    for use in found.account:
        files.setdefault((re.sub(r"^(.*/)?\d+(?=:)", r"\1*", use.name), use.use), []).append(use.file)
    lines = []
    for (name, what), said in files.items():
        several = list(dict.fromkeys(said))
        few = several if len(several) <= NAMED else [f"{len(several)} files"]
        if not name:  # a file as a whole is named
            few = several[:NAMED] + [f"{len(several) - NAMED} more"] * (len(several) > NAMED)
        lines.append(Use(", ".join(few), name, what))
    return lines


def left_out(found: Found, most: int = 200) -> str | None:
    """What was left out, in so many characters; None where nothing was."""
    names = [use.name or use.file for use in table(found) if use.use.startswith("left out")]
    return ", ".join(names)[:most] or None
