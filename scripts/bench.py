"""How fast is a step?  Ours against a plain reading of the paper, and against the machine's matrix products.

    python scripts/bench.py --p 23 53 97 --device cpu --markdown
    python scripts/bench.py --p 113 --preset transformer

The plain trainer feeds one-hot inputs through two einsums, differentiates with autograd, updates
with torch.optim.AdamW and makes four forward passes an epoch: training loss, test loss, training
accuracy, test accuracy.  Ours does the same and more (metrics of five groups of pairs) through
modadd.training.engine.  The two and a large square matrix product take turns within one run, so that a
slow spell of the machine meets all three; each time is the median of its turns.  Where others use the machine
too, `ratio_fastest`, between the fastest turn of each, is the better guide.
"""

import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass, field

import cli
import torch
from rich.table import Table

from modadd.data import train_mask
from modadd.networks.activations import function
from modadd.networks.device import pick_device
from modadd.networks.mlp.model import initial_weights
from modadd.networks.transformer.model import initial_weights as start
from modadd.runs import WARMUP, Precision, Run, preset, step_flop
from modadd.training.cost import free_memory, usual_threads
from modadd.training.engine import Engine, engine


@dataclass(kw_only=True)
class Flags:
    p: list[int] = field(default_factory=lambda: [23, 53, 97])
    """Moduli."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Precision = "fp32"
    """tf32 needs a CUDA device."""
    preset: str = "standard"
    """Settings of the run: a preset of the MLP, or transformer."""
    seconds: float = 10.0
    """Time to spend on each modulus, about."""
    cpu_time: bool = False
    """On a CPU that others use too: processor time instead of the clock on the wall, and one thread for each."""
    json: bool = False
    """Print one JSON object on stdout."""
    markdown: bool = False
    """Print a Markdown table on stdout."""


class Plain:
    """The trainer as one writes it down from the paper."""

    def __init__(self, run: Run, device: torch.device):
        p = run.p
        self.act = function(run.activation)
        theta_MP, xi_MP = initial_weights(run)
        self.w_in = torch.nn.Parameter(torch.tensor(theta_MP, device=device))
        self.w_out = torch.nn.Parameter(torch.tensor(xi_MP.T.copy(), device=device))
        options = {"lr": run.lr, "betas": (0.9, 0.98), "weight_decay": run.weight_decay}
        self.optimizer = torch.optim.AdamW([self.w_in, self.w_out], **options)
        train = torch.tensor(train_mask(run).ravel(), device=device)
        x, y = torch.meshgrid(torch.arange(p, device=device), torch.arange(p, device=device), indexing="ij")
        pairs_N2 = torch.stack((x.ravel(), y.ravel()), 1)
        test = ~train if not train.all() else train
        self.train, self.test = (
            (torch.nn.functional.one_hot(pairs, p).sum(1).float(), pairs.sum(1) % p)
            for pairs in (pairs_N2[train], pairs_N2[test])
        )

    def logits(self, input_NP):
        hidden = self.act(torch.einsum("np,mp->nm", input_NP, self.w_in))
        return torch.einsum("nm,pm->np", hidden, self.w_out)

    def accuracy(self, inputs, labels):
        return (self.logits(inputs).argmax(1) == labels).float().mean()

    def advance(self, n: int):
        for _ in range(n):
            self.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.logits(self.train[0]), self.train[1])
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                numbers = [torch.nn.functional.cross_entropy(self.logits(self.test[0]), self.test[1])]
                numbers += [self.accuracy(*self.train), self.accuracy(*self.test)]
            [loss.item(), *(number.item() for number in numbers)]

    @staticmethod
    def memory(run: Run) -> int:
        """Bytes at the peak: hidden values, activations and their gradient for all ordered pairs, and the weights."""
        return 4 * (run.p**2 * (3 * run.d_mlp + 6 * run.p) + 12 * run.p * run.d_mlp)


class PlainTransformer:
    """The one-layer transformer as one writes it down from the paper: three positions all the way, autograd,
    torch.optim.AdamW with a schedule, losses in float64, and the test set at every step."""

    def __init__(self, run: Run, device: torch.device):
        p, self.C = run.p, run.d_model // run.heads
        self.w = {name: torch.nn.Parameter(torch.tensor(value, device=device)) for name, value in start(run).items()}
        options = {"lr": run.lr, "betas": (0.9, 0.98), "weight_decay": run.weight_decay}
        self.optimizer = torch.optim.AdamW(self.w.values(), **options)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: min(step / WARMUP, 1))
        self.hidden_II = torch.ones(3, 3, dtype=torch.bool, device=device).triu(1)
        train_N = torch.tensor(train_mask(run).ravel(), device=device)
        a, b = torch.meshgrid(torch.arange(p, device=device), torch.arange(p, device=device), indexing="ij")
        token_N3 = torch.stack((a.ravel(), b.ravel(), torch.full_like(a.ravel(), p)), 1)
        self.train, self.test = ((token_N3[inside], token_N3[inside].sum(1) % p) for inside in (train_N, ~train_N))

    def logits(self, token_N3):
        w = self.w
        x = w["W_E"][token_N3] + w["W_pos"]
        q, k, v = (torch.einsum("nid,hdc->nhic", x, w[name]) for name in ("W_Q", "W_K", "W_V"))
        scores = (q @ k.transpose(2, 3) / self.C**0.5).masked_fill(self.hidden_II, -torch.inf)
        x = x + torch.einsum("nhic,hcd->nid", scores.softmax(3) @ v, w["W_O"])
        x = x + torch.relu(x @ w["W_in"] + w["b_in"]) @ w["W_out"] + w["b_out"]
        return (x @ w["W_U"])[:, -1]

    def numbers(self, tokens, labels):
        logits = self.logits(tokens)
        loss = torch.nn.functional.cross_entropy(logits.double(), labels)
        return loss, (logits.argmax(1) == labels).float().mean()

    def advance(self, n: int):
        for _ in range(n):
            self.optimizer.zero_grad()
            loss, accuracy = self.numbers(*self.train)
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            with torch.no_grad():
                numbers = [loss, accuracy, *self.numbers(*self.test)]
            [number.item() for number in numbers]

    @staticmethod
    def memory(run: Run) -> int:
        """Bytes at the peak: three positions of the residual stream and of the neurons, for all ordered pairs."""
        return 4 * (run.p**2 * 3 * (3 * run.d_mlp + 10 * run.d_model + 2 * run.p) + 6 * run.weights)


class Matmul:
    """A square matrix product, large enough to show the machine at its best."""

    def __init__(self, device: torch.device):
        n = self.n = 8192 if device.type == "cuda" else 1536
        self.a, self.b, self.c = (torch.rand(n, n, device=device) for _ in range(3))

    def advance(self, n: int):
        for _ in range(n):
            torch.mm(self.a, self.b, out=self.c)


def machine(device: torch.device) -> str:
    """The machine's name for a table."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    return f"{model}, {torch.get_num_threads()} threads"


def rivals(run: Run, device: torch.device) -> tuple[dict, str | None]:
    """What takes turns, by name, and why the plain trainer is not among them."""
    subjects = {"ours": engine([run], device), "matmul": Matmul(device)}
    if subjects["ours"].program.startswith("compiled"):
        subjects["torch"] = Engine([run], device, [None])
    plain = PlainTransformer if run.model == "transformer" else Plain
    need, free = plain.memory(run), free_memory(str(device))
    if need > 0.8 * free:
        return subjects, f"the plain trainer needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
    return subjects | {"plain": plain(run, device)}, None


def take_turns(subjects: dict, run: Run, device: torch.device, seconds: float, now) -> dict[str, list[float]]:
    """Seconds of a step of each, by the clock `now`, turn by turn."""
    everything = torch.get_num_threads()
    usual = min(everything, usual_threads(run))

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def timed(name, n):
        # Ours trains small runs on one thread, as the lab does; the plain trainer has all that torch takes.
        torch.set_num_threads(usual if name in ("ours", "torch") else everything)
        wait()
        began = now()
        subjects[name].advance(n)
        wait()
        return (now() - began) / n

    # A turn of each lasts at least a tenth of a second where the time allows, and there are at least three.
    turn, turns = min(0.1, seconds / 12), {}
    for name in subjects:
        timed(name, 1)
        few = max(1, min(50, int(turn / timed(name, 1))))
        turns[name] = max(1, int(turn / timed(name, few)))  # a call of many steps is not so many calls
    times, left = {name: [] for name in subjects}, run.epochs - 100
    began = time.perf_counter()
    while (len(times["ours"]) < 3 or time.perf_counter() - began < seconds) and left > 4 * turns["ours"]:
        for name in subjects:
            times[name].append(timed(name, turns[name]))
        left -= turns["ours"]
    torch.set_num_threads(everything)
    return times


def measure(run: Run, device: torch.device, seconds: float, now=time.perf_counter) -> dict:
    """The numbers of one modulus."""
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = run.precision == "tf32"
    try:
        subjects, skipped = rivals(run, device)
        times = take_turns(subjects, run, device, seconds, now)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
    median = {name: statistics.median(column) for name, column in times.items()}
    ours, plain, calls = median["ours"], median.get("plain"), median.get("torch")
    matmul = 2 * subjects["matmul"].n ** 3 / median["matmul"]
    return {
        "p": run.p,
        "d_mlp": run.d_mlp,
        "step": subjects["ours"].program,
        "plain_ms": plain and 1e3 * plain,
        "plain_skipped": skipped,
        "torch_ms": calls and 1e3 * calls,
        "ours_ms": 1e3 * ours,
        "ratio": plain and plain / ours,
        "ratio_fastest": plain and min(times["plain"]) / min(times["ours"]),
        "ratio_torch": plain and calls and plain / calls,
        "useful_gflops": step_flop(run) / ours / 1e9,
        "matmul_gflops": matmul / 1e9,
        "fraction_of_matmul": step_flop(run) / ours / matmul,
        "threads": min(torch.get_num_threads(), usual_threads(run)) if device.type == "cpu" else None,
        "turns": len(times["ours"]),
    }


COLUMNS = {
    "p": "d", "plain_ms": ".3g", "torch_ms": ".3g", "ours_ms": ".3g", "ratio": ".1f", "ratio_fastest": ".1f",
    "ratio_torch": ".1f", "useful_gflops": ",.0f", "matmul_gflops": ",.0f", "fraction_of_matmul": ".2f", "step": "",
}  # fmt: skip


def cells(row: dict) -> list[str]:
    return ["–" if row[name] is None else format(row[name], form) for name, form in COLUMNS.items()]


def main(args: Flags):
    device = pick_device(args.device)
    if args.precision == "tf32" and device.type != "cuda":
        raise ValueError("precision tf32 needs a CUDA device: choose fp32")
    rows, now = [], time.process_time if args.cpu_time else time.perf_counter
    if args.cpu_time and device.type != "cpu":
        raise ValueError("--cpu-time is for a CPU: leave it out")
    if args.cpu_time:
        torch.set_num_threads(1)  # several would be charged for waiting for each other
    if (load := os.getloadavg()[0]) > 0.5 and not args.cpu_time:
        cli.say([f"others use this machine (load {load:.1f}): the ratio of the fastest turns is the better guide"])
    # The engine keeps one row of history a step: allow for many more steps than a preset takes.
    for run in [preset(args.preset, p, precision=args.precision, epochs=1_000_000) for p in args.p]:
        with cli.stderr.status(f"p = {run.p}"):
            rows.append(measure(run, device, args.seconds, now))
        if rows[-1]["plain_skipped"]:
            cli.stderr.print(f"p = {run.p}: {rows[-1]['plain_skipped']}")
    title = f"{machine(device)}, {args.precision}, {args.preset}" + ", processor time" * args.cpu_time
    table = Table(*(name.replace("_", " ") for name in COLUMNS), title=title)
    for row in rows:
        table.add_row(*cells(row))
    cli.stderr.print(table)
    if args.markdown:
        print(f"{title}, torch {torch.__version__}\n")
        print("| " + " | ".join(COLUMNS) + " |\n|" + " ---: |" * len(COLUMNS))
        for row in rows:
            print("| " + " | ".join(cells(row)) + " |")
    if args.json:
        settings = {key: value for key, value in asdict(args).items() if key not in ("json", "markdown", "p")}
        about = {"machine": machine(device), "torch": torch.__version__, "threads": torch.get_num_threads()}
        cli.print_json(settings | about | {"device": str(device), "rows": rows})


if __name__ == "__main__":
    with cli.one_sentence():
        main(cli.flags(Flags, __doc__))
