"""What is trained: a Run, its five presets, and the words that refuse a bad one."""

import base64
import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, get_args, get_origin

from .activations import trained

P_MIN, P_MAX, P_GROK = 3, 199, 19
WIDTH_MAX, EPOCHS_MAX = 200_000, 2_000_000
# The least and the greatest value of each setting that is a number; whole where the bounds are.
BOUNDS = {
    "d_mlp": (1, WIDTH_MAX), "epochs": (1, EPOCHS_MAX), "seed": (0, 2**31 - 1), "init_scale": (1e-6, 10.0),
    "lr": (1e-8, 10.0), "weight_decay": (0.0, 100.0), "frac_train": (0.01, 1.0), "d_model": (0, 1024),
    "layers": (1, 8), "heads": (1, 64), "batch": (0, 2**24),
}  # fmt: skip
LONGEST = 200  # characters of a setting in JSON
PUBLISHED_STEPS = 5_000  # of the single-frequency presets in the paper; its code, and ours, go on for as long again
WARMUP = 10  # the learning rate of step s is lr * min(s / WARMUP, 1)

Init = Literal["random", "single-freq", "equal"]
Optimizer = Literal["adamw", "sgd"]
Split = Literal["ordered", "unordered"]
Precision = Literal["fp32", "tf32"]
Model = Literal["mlp", "transformer", "pre-ln"]
Task = Literal["addition", "addpow", "add3"]
PARENT = re.compile(r"p\d{3}-[a-z0-9_]{1,40}-[0-9a-f]{10}@\d{1,7}(/weights)?", re.ASCII)
ORIGIN = re.compile(r"[0-9a-f]{16}")
TRAINED = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def width(p: int) -> int:
    """Hidden neurons for modulus p: the ratio of p = 23 and 512 neurons, never fewer than 512."""
    return max(512, math.ceil(512 / 529 * p * p))


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that decides the numbers of one training run, and nothing else.

    The defaults are the `standard` preset at p = 23.  `d_mlp=None` means `width(p)` for the MLP and
    4 d_model for a transformer.  Raises ValueError with one sentence that names the value and the
    remedy.

    `model`: the two-layer `mlp`; the one-layer `transformer` of arXiv:2301.05217; or `pre-ln`, a
    transformer with layer norms, which also learns the other tasks, (a + b)^c and a + b + c.
    `d_model` of an MLP is the width of a trainable embedding, 0 for none.  `batch` is the number of
    examples a step, 0 for all.  `parent` names where a fork left its parent: "ID@STEP", with "/weights"
    where only the weights were taken along and the optimiser began anew.  `origin` is how the SHA-256 of the
    files begins that an imported run was read from (`importing`); such a run cannot be trained, but forked.
    `trained` names the training pairs of an imported run themselves, where its files do (`data.written`): then
    they decide `frac_train`, and `split` says nothing.

    Source of the defaults: arXiv:2602.16849, experimental setup.
    """

    p: int = 23
    d_mlp: int | None = None
    activation: str = "relu"
    init: Init = "random"
    init_scale: float = 0.1
    optimizer: Optimizer = "adamw"
    lr: float = 5e-5
    weight_decay: float = 0.0
    frac_train: float = 1.0
    split: Split = "ordered"
    epochs: int = 5000
    plateau: bool = False
    seed: int = 42
    precision: Precision = "fp32"
    model: Model = "mlp"
    task: Task = "addition"
    d_model: int = 0
    layers: int = 1
    heads: int = 4
    batch: int = 0
    parent: str = ""
    origin: str = ""
    trained: str = ""

    def __post_init__(self):
        check_p(self.p)
        if self.d_mlp is None:
            object.__setattr__(self, "d_mlp", _usual_width(self))
        for field in fields(self):
            value = getattr(self, field.name)
            options = get_args(field.type) if get_origin(field.type) is Literal else None
            if options and value not in options:
                raise ValueError(f"{field.name} must be one of {', '.join(options)}, got {value!r:.80}")
        trained(self.activation)
        for name, (low, high) in BOUNDS.items():
            if isinstance(low, int):
                _whole(name, getattr(self, name), low, high)
                continue
            _real(name, getattr(self, name), low, high)
            object.__setattr__(self, name, float(getattr(self, name)))  # 1 and 1.0 are one run, also in JSON
        if not isinstance(self.plateau, bool):
            raise ValueError(f"plateau must be true or false, got {self.plateau!r}")
        if not isinstance(self.parent, str) or (self.parent and not PARENT.fullmatch(self.parent)):
            raise ValueError(f"parent must name a run and a step as ID@STEP, got {self.parent!r:.80}")
        if not isinstance(self.origin, str) or (self.origin and not ORIGIN.fullmatch(self.origin)):
            raise ValueError(f"origin must be 16 hexadecimal digits, got {self.origin!r}")
        if self.trained:
            self._check_trained()
        self._check_model()
        if math.floor(self.frac_train * self.p**2) < 1:
            raise ValueError(f"frac_train = {self.frac_train} leaves no training pair at p = {self.p}: raise it")

    def _check_trained(self):
        if not isinstance(self.trained, str) or not TRAINED.fullmatch(self.trained) or self.model == "pre-ln":
            raise ValueError(f"trained must be the pairs of a table in base64, got {self.trained!r:.80}")
        if not self.parent and not self.origin:
            raise ValueError("trained is for imported networks and their forks: say frac_train and split")
        table = base64.urlsafe_b64decode(self.trained + "=" * (-len(self.trained) % 4))
        bits = int.from_bytes(table, "big")
        if len(table) != -(-(self.p**2) // 8) or bits % 2 ** (-(self.p**2) % 8) or not bits:
            raise ValueError(f"trained must name pairs of a table of {self.p} by {self.p}")
        object.__setattr__(self, "frac_train", bits.bit_count() / self.p**2)
        _real("share of the pairs that trained names", self.frac_train, *BOUNDS["frac_train"])

    def __repr__(self) -> str:
        usual = {f.name: f.default for f in fields(self)} | {"p": None, "d_mlp": _usual_width(self)}
        settings = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return f"Run({', '.join(f'{name}={value!r}' for name, value in settings.items())})"

    def _check_model(self):
        if self.model == "mlp":
            if self.task != "addition" or self.batch or self.layers > 1:
                raise ValueError("the mlp has one hidden layer and learns addition from all pairs at once")
            if self.heads != Run.heads:
                raise ValueError(f"the mlp has no heads, got {self.heads}: leave heads at {Run.heads}")
            if self.d_model and self.init != "random":
                raise ValueError("a trainable embedding starts from random weights: choose init random")
            return
        if not self.d_model or self.d_model % self.heads:
            raise ValueError(f"d_model of a {self.model} must be a multiple of {self.heads} heads, got {self.d_model}")
        if self.optimizer != "adamw" or self.init != "random":
            raise ValueError(f"a {self.model} trains with adamw from random weights")
        if self.init_scale != Run.init_scale:
            raise ValueError(f"a {self.model} has scales of its own: leave init_scale at {Run.init_scale}")
        if self.model == "transformer" and (self.task != "addition" or self.batch or self.layers > 1):
            raise ValueError("the transformer has one layer and learns addition from all pairs: choose pre-ln")
        if self.model == "pre-ln" and (self.plateau or (self.split == "unordered" and self.task != "addition")):
            raise ValueError("a pre-ln trains all its steps, and only addition has an unordered split")
        if self.model == "transformer" and self.activation != "relu":
            raise ValueError(f"the neurons of the transformer are relu, got {self.activation}")

    @property
    def K(self) -> int:
        """Number of frequencies, (p - 1) / 2."""
        return (self.p - 1) // 2

    @property
    def preset(self) -> str:
        """Name of the preset with these settings at any p, seed and length, else "fork", "imported" or "custom"."""
        if self.parent or self.origin:
            return "fork" if self.parent else "imported"
        free = {"p", "d_mlp", "epochs", "plateau", "seed", "precision"}
        for name, settings in (PRESETS | TRANSFORMERS).items():
            same = all(
                getattr(self, f.name) == settings.get(f.name, f.default) for f in fields(self) if f.name not in free
            )
            if same and self.d_mlp == _usual_width(self):
                return name
        return "custom"

    @property
    def weights(self) -> int:
        """How many numbers are trained."""
        P, M, d = self.p, self.d_mlp, self.d_model
        if self.model == "mlp":
            return 2 * M * P if not d else d * P + d * M + M * P
        block = 4 * d * d + 2 * d * M + M + d
        if self.model == "transformer":
            return (P + 1) * d + 3 * d + block + d * P  # embedding with "=", positions, block, unembedding
        length = 2 if self.task == "addition" else 3
        return P * d + length * d + self.layers * (block + 4 * d) + 2 * d + d * P  # and the layer norms

    @property
    def id(self) -> str:
        """A name for this run, equal in app, scripts, cache and URL."""
        return f"p{self.p:03d}-{self.preset}-{_digest(self)}"

    @property
    def trajectory(self) -> str:
        """A digest of what decides the path of the weights: two runs that differ only in how
        long they train share it, and the longer one can go on where the shorter one stopped."""
        return _digest(replace(self, epochs=Run.epochs, plateau=False))

    def to_json(self) -> str:
        """Canonical JSON of every setting."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Run":
        """The run whose `to_json` is `text`; raises ValueError on anything else."""
        try:
            settings = json.loads(text)
        except RecursionError:
            raise ValueError("not the settings of a run: its JSON is nested too deeply") from None
        if not isinstance(settings, dict):
            raise ValueError(f"not the settings of a run: they are a JSON object, got a {type(settings).__name__}")
        if unknown := settings.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"not the settings of a run: it has none called {min(unknown)[:40]!r}")
        if long := [name for name, value in settings.items() if len(str(value)) > LONGEST and name != "trained"]:
            raise ValueError(f"not the settings of a run: its {long[0]} is longer than {LONGEST} characters")
        return cls(**settings)


# Source: arXiv:2602.16849 and its published configurations; the table in section "presets".
PRESETS: dict[str, dict] = {
    "standard": dict(
        activation="relu", init="random", optimizer="adamw", lr=5e-5, weight_decay=0.0,
        frac_train=1.0, epochs=5000, init_scale=0.1, split="ordered", plateau=False,
    ),
    "grokking": dict(
        activation="relu", init="random", optimizer="adamw", lr=1e-4, weight_decay=2.0,
        frac_train=0.75, epochs=50_000, init_scale=0.1, split="ordered", plateau=True,
    ),
    "quad_random": dict(
        activation="quad", init="random", optimizer="adamw", lr=5e-5, weight_decay=0.0,
        frac_train=1.0, epochs=5000, init_scale=0.1, split="ordered", plateau=False,
    ),
    "quad_single_freq": dict(
        activation="quad", init="single-freq", optimizer="sgd", lr=0.1, weight_decay=0.0,
        frac_train=1.0, epochs=2 * PUBLISHED_STEPS, init_scale=0.02, split="ordered", plateau=False,
    ),
    "relu_single_freq": dict(
        activation="relu", init="single-freq", optimizer="sgd", lr=0.01, weight_decay=0.0,
        frac_train=1.0, epochs=2 * PUBLISHED_STEPS, init_scale=0.002, split="ordered", plateau=False,
    ),
}  # fmt: skip


# The one-layer transformer of arXiv:2301.05217, and the three tasks of the general one.
TRANSFORMERS: dict[str, dict] = {
    "transformer": dict(model="transformer", d_model=128, lr=1e-3, weight_decay=1.0, frac_train=0.3, epochs=40_000),
    "addition": dict(
        model="pre-ln", task="addition", activation="gelu", d_model=128, layers=2, batch=2048,
        lr=1e-3, weight_decay=0.1, frac_train=0.5, epochs=20_000,
    ),
    "addpow": dict(
        model="pre-ln", task="addpow", activation="gelu", d_model=128, layers=2, batch=4096,
        lr=3e-4, weight_decay=0.1, frac_train=0.2, epochs=60_000,
    ),
    "add3": dict(
        model="pre-ln", task="add3", activation="gelu", d_model=128, layers=2, batch=4096,
        lr=3e-4, weight_decay=0.3, frac_train=0.5, epochs=40_000,
    ),
}  # fmt: skip


def preset(name: str, p: int = 23, **changes) -> Run:
    """The run of a preset at modulus p, with any setting changed.

    Raises ValueError for an unknown name, and for `grokking` below p = 19, where too few pairs
    are left to test on.
    """
    known = PRESETS | TRANSFORMERS
    if name not in known:
        raise ValueError(f"preset must be one of {', '.join(known)}, got {name!r:.80}")
    check_p(p)
    if name == "grokking" and p < P_GROK:
        raise ValueError(f"grokking needs p >= {P_GROK} (too few test pairs below), got {p}")
    return Run(p=p, **(known[name] | {key: value for key, value in changes.items() if value is not None}))


def stand_ins(run_id: str) -> list[str]:
    """The ids of what may be shown for this preset run in float32 where it is not held, the best first: the run in
    TF32, and of a single-frequency preset the first half of the same training.  None for any other id."""
    name, p = run_id[5:-11], int(run_id[1:4])
    if name not in PRESETS or p not in range(P_MIN, P_MAX + 1, 2) or name not in presets_at(p):
        return []
    run = preset(name, p)
    lengths = [run.epochs] if run.init == "random" else [run.epochs, PUBLISHED_STEPS]
    every = [replace(run, epochs=n, precision=precision).id for n in lengths for precision in ("fp32", "tf32")]
    return every[1:] if run.id == run_id else []


def presets_at(p: int) -> list[str]:
    """Names of the MLP's presets that exist at modulus p."""
    return [name for name in PRESETS if name != "grokking" or p >= P_GROK]


def step_flop(run: Run) -> int:
    """Multiplications and additions of the matrix products of a step."""
    P, M, D = run.p, run.d_mlp, run.d_model
    if run.model == "mlp":
        return 3 * P * (P + 1) * M * P + 6 * P * D * M
    if run.model == "transformer":  # neurons to logits for each pair, and tables over residues: transformer.step
        return 6 * (examples(run) * M * P + D * ((2 * P + D + 1) * (M + P) + (2 * P + 1) * D + M * P))
    # Every block but the last at all tokens but the first, which is a table; the last at the last token, with the
    # keys and values of the others: transformer.preln.
    before, block = (1 if run.task == "addition" else 2), 4 * D * D + 2 * D * M
    once = before * ((run.layers - 1) * block + 2 * D * D + P * D) + block - 2 * D * D + (2 * run.layers + 1) * P * D
    return 6 * once * examples(run)


def examples(run: Run) -> int:
    """Examples that a step of a transformer learns from."""
    inputs = {"addition": run.p**2, "addpow": min(33, run.p) * run.p**2, "add3": run.p**3}[run.task]
    every = math.floor(run.frac_train * inputs)
    return min(run.batch or every, every)


def check_p(p) -> int:
    """p itself, if it is an odd integer from 3 to 199; otherwise ValueError."""
    if isinstance(p, bool) or not isinstance(p, int) or not P_MIN <= p <= P_MAX or p % 2 == 0:
        raise ValueError(f"p must be odd and between {P_MIN} and {P_MAX}, got {p!s:.80}")
    return p


def check_start(run: Run):
    """ValueError with one sentence if there is no step 0 to train this run from."""
    if run.preset == "imported":
        raise ValueError(f"{run.id} is an imported network without a past to train: fork it from its weights")


def _whole(name, value, low, high):
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number between {low:,} and {high:,}, got {value!s:.80}")


def _real(name, value, low, high):
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number between {low:g} and {high:g}, got {value!s:.80}")


def _usual_width(run: Run) -> int:
    return width(run.p) if run.model == "mlp" else 4 * run.d_model or 1


def _digest(run) -> str:
    # A setting at its default is left out, so that a new setting does not rename old runs.
    changed = {f.name: getattr(run, f.name) for f in fields(run) if getattr(run, f.name) != f.default}
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:10]
