"""Checkpoints as people save them, each with what a right reader finds in it.

The networks are planted (p = 11, 24 neurons) and evaluated here by a plain forward pass in float64.
"""

import io
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch

P, M, D, H = 11, 24, 8, 2
C, F = D // H, 20
PAIRS = [(a, b) for a in range(P) for b in range(P)]
DRAW = torch.Generator().manual_seed(3)


class Case(NamedTuple):
    """Files by name; the logits [P, P, P] that they hold, or the words that the refusal says; the steps; words of
    the account; the training pairs; and the activation."""

    files: dict[str, bytes]
    logits: np.ndarray | None = None
    refused: tuple[str, ...] = ()
    steps: tuple[int, ...] | None = None
    says: tuple[str, ...] = ()
    trained: frozenset | None = None
    activation: str = "relu"


def normal(*shape, size=0.5) -> torch.Tensor:
    return size * torch.randn(*shape, generator=DRAW)


def saved(content, **how) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def zipped(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


# -- two layers ---------------------------------------------------------------------------------

frequency, turn = torch.arange(M) % 5 + 1, 2 * torch.pi * torch.rand(M, generator=DRAW)
angle = 2 * torch.pi * frequency[:, None] * torch.arange(P) / P
THETA, XI = torch.cos(angle + turn[:, None]), torch.cos(angle + 2 * turn[:, None])
OTHER = THETA + normal(M, P, size=0.1)
B_IN, B_OUT = normal(M), normal(P)
W_E, W_IN = normal(D, P), normal(M, D)
LINEAR = {"fc1.weight": THETA, "fc2.weight": XI.T.contiguous()}
PUBLISHED = {"mlp.W_in": THETA, "mlp.W_out": XI.T.contiguous()}
OPTIMISER = {"state": {i: {"exp_avg": THETA, "exp_avg_sq": THETA} for i in range(2)}, "param_groups": [{"lr": 1e-3}]}
WEAK, HALF = ({name: size * value for name, value in PUBLISHED.items()} for size in (0.01, 0.5))


def two_layers(theta=THETA, xi=XI, other=None, b_in=0.0, b_out=0.0, act=torch.relu) -> np.ndarray:
    """The logits of act(theta_x + other_y + b_in) xi + b_out."""
    theta, xi, other, b_in, b_out = (
        torch.as_tensor(v).double() for v in (theta, xi, theta if other is None else other, b_in, b_out)
    )
    return (act(theta.T[:, None] + other.T[None] + b_in) @ xi + b_out).numpy()


def judged(logits: np.ndarray, pairs=PAIRS) -> tuple[float, float]:
    """(mean cross-entropy in nats, accuracy) over these pairs."""
    a, b = np.array(sorted(pairs)).T
    rows, right = torch.from_numpy(logits[a, b]), torch.from_numpy((a + b) % P)
    loss = torch.nn.functional.cross_entropy(rows, right)
    return loss.item(), (rows.argmax(1) == right).double().mean().item()


# -- the transformer ----------------------------------------------------------------------------

ONE_LAYER = {
    "embed.W_E": normal(D, P + 1), "pos_embed.W_pos": normal(3, D),
    "blocks.0.attn.W_K": normal(H, C, D), "blocks.0.attn.W_Q": normal(H, C, D), "blocks.0.attn.W_V": normal(H, C, D),
    "blocks.0.attn.W_O": normal(D, H * C), "blocks.0.attn.mask": torch.tril(torch.ones(3, 3)),
    "blocks.0.mlp.W_in": normal(F, D), "blocks.0.mlp.b_in": normal(F), "blocks.0.mlp.W_out": normal(D, F),
    "blocks.0.mlp.b_out": normal(D), "unembed.W_U": normal(D, P + 1),
}  # fmt: skip


def attends(w=ONE_LAYER) -> np.ndarray:
    """The logits of the transformer in its published layout, all three positions computed as one writes it down."""
    w = {name.rpartition(".")[2]: value.double() for name, value in w.items()}
    logits = torch.empty(P, P, P, dtype=torch.float64)
    for a, b in PAIRS:
        x = w["W_E"][:, [a, b, P]].T + w["W_pos"]
        mixed = torch.zeros_like(x)
        for head in range(H):
            q, k, v = (x @ w[name][head].T for name in ("W_Q", "W_K", "W_V"))
            scores = (q @ k.T / C**0.5).masked_fill(w["mask"] == 0, -torch.inf)
            mixed += scores.softmax(1) @ v @ w["W_O"][:, head * C : (head + 1) * C].T
        x = x + mixed
        x = x + torch.relu(x @ w["W_in"].T + w["b_in"]) @ w["W_out"].T + w["b_out"]
        logits[a, b] = (x[2] @ w["W_U"])[:P]
    return logits.numpy()


def lens(**changes) -> dict[str, torch.Tensor]:
    """The same transformer as a HookedTransformer of TransformerLens keeps it."""
    block, w = "blocks.0", ONE_LAYER
    kept = {
        "embed.W_E": w["embed.W_E"].T, "pos_embed.W_pos": w["pos_embed.W_pos"],
        **{f"{block}.attn.W_{n}": w[f"{block}.attn.W_{n}"].transpose(1, 2) for n in "QKV"},
        f"{block}.attn.W_O": w[f"{block}.attn.W_O"].T.reshape(H, C, D),
        **{f"{block}.attn.b_{n}": torch.zeros(H, C) for n in "QKV"}, f"{block}.attn.b_O": torch.zeros(D),
        f"{block}.attn.mask": torch.tril(torch.ones(3, 3, dtype=torch.bool)),
        f"{block}.attn.IGNORE": torch.tensor(-torch.inf),
        f"{block}.mlp.W_in": w[f"{block}.mlp.W_in"].T, f"{block}.mlp.b_in": w[f"{block}.mlp.b_in"],
        f"{block}.mlp.W_out": w[f"{block}.mlp.W_out"].T, f"{block}.mlp.b_out": w[f"{block}.mlp.b_out"],
        "unembed.W_U": w["unembed.W_U"], "unembed.b_U": torch.zeros(P + 1),
    }  # fmt: skip
    return {name: value.contiguous() for name, value in (kept | changes).items()}


# -- the cases ----------------------------------------------------------------------------------


def published_runs() -> dict[str, Case]:
    """Folders of a run as the published code leaves them."""
    order = torch.randperm(P * P, generator=DRAW).tolist()
    train, test = ([PAIRS[i] for i in part] for part in (order[:90], order[90:]))
    whole = two_layers()
    (train_loss, train_acc), (test_loss, _) = judged(whole, train), judged(whole, test)
    end = {"train_loss": train_loss, "test_loss": test_loss}
    curve = {"train_losses": [2.4] * 400 + [train_loss], "test_losses": [2.4] * 400 + [test_loss],
             "train_accs": [0.1] * 400 + [train_acc]}  # fmt: skip
    files = {
        "train_data.pth": saved(train), "test_data.pth": saved(test),
        "init.pth": saved({"model": WEAK, "train_data": train, "test_data": test}),
        "0.pth": saved({"model": WEAK, "epoch": 0}), "200.pth": saved({"model": HALF, "epoch": 200}),
        "final.pth": saved({"model": PUBLISHED, "epoch": 400} | end | curve),
        "curves.json": b"{}",
    }  # fmt: skip
    split = frozenset(train)
    tensors = saved((torch.tensor(train), torch.tensor([sum(pair) % P for pair in train])))
    places = {"train_indices": torch.tensor(order[:90]), "test_indices": torch.tensor(order[90:])}
    with_equals = torch.tensor([[a, b, P] for a, b in train])
    return {
        "published run": Case(files, whole, (), (0, 200, 400), ("curves.json", "init.pth: left out"), split),
        "no step 0 but init": Case(
            {"init.pth": files["init.pth"], "200.pth": files["200.pth"]}, two_layers(0.5 * THETA, 0.5 * XI), (),
            (0, 200), (), split,
        ),
        "split as tensors, optimiser beside": Case(
            {"train_data.pth": tensors, "final.pth": saved({"model": PUBLISHED, "epoch": 400}),
             "optimizer.pt": saved({"optimizer": {"state": {0: {"exp_avg": THETA}}}})},
            whole, (), (400,), ("optimizer.pt: left out",), split,
        ),
        "split as places": Case({"9.pth": saved({"model": PUBLISHED} | places)}, whole, (), (9,), (), split),
        "split of three tokens": Case(
            {"9.pth": saved({"model": PUBLISHED, "train_data": with_equals})}, whole, (), (9,), (), split
        ),
        "data of another task": Case(
            {"train_data.pth": saved((torch.tensor(train), torch.tensor([(a - b) % P for a, b in train]))),
             "1.pth": saved(PUBLISHED)},
            whole, (), (1,), ("left out: its answers are not the sums mod 11",),
        ),
    }  # fmt: skip


def named_files() -> dict[str, Case]:
    """Names that tell the step."""
    stems = ("checkpoint_epoch_{:05d}", "iter{}", "params_{}", "epoch={0}-step={1}", "{:04d}", "model.step-{1}",
             "p11_seed3_epoch{}", "checkpoint-{}/model")  # fmt: skip
    made = {}
    for stem in stems:
        files = {f"{stem.format(step, step)}.pth": saved({"model": what})
                 for step, what in ((100, HALF), (500, PUBLISHED))}  # fmt: skip
        made[f"named {stem.replace('/', ' ')}"] = Case(files, two_layers(), (), (100, 500))
    beside = {"trainer_state.json": b"{}", "optimizer.pt": saved(OPTIMISER),
              "training_args.bin": saved(torch.nn.Linear(3, 4))}  # fmt: skip
    files = {f"checkpoint-{step}/{name}": content for step in (100, 500) for name, content in beside.items()}
    for step, what in ((100, HALF), (500, PUBLISHED)):
        named = {name.rpartition(".")[2]: value for name, value in what.items()}
        files[f"checkpoint-{step}/model.safetensors"] = safetensors.torch.save(named, {"format": "pt"})
    made["folders of checkpoints"] = Case(
        files, two_layers(), (), (100, 500), ("loading it would call", "optimizer.pt")
    )
    return made


def wrapped() -> dict[str, Case]:
    """One network in many wrappers, and many networks in one file."""
    whole, last = two_layers(), {"state_dicts": [WEAK, HALF, PUBLISHED]}
    wrappers = {
        "compiled": {"model": {f"_orig_mod.{name}": value for name, value in PUBLISHED.items()}, "epoch": 7},
        "parallel and compiled": {f"module._orig_mod.{name}": value for name, value in LINEAR.items()} | {"step": 7},
        "state_dict": {"state_dict": PUBLISHED, "epoch": torch.tensor(7)},
        "model_state_dict": {"model_state_dict": LINEAR, "epoch": 7.0, "P": P, "args": {"lr": 1e-3}},
        "lightning": {
            "epoch": 3, "global_step": 7, "pytorch-lightning_version": "2.5.0", "loops": {"fit_loop": {}},
            "state_dict": {f"model.{name}": value for name, value in LINEAR.items()}, "callbacks": {},
            "optimizer_states": [{"state": {0: {"exp_avg": THETA, "step": torch.tensor(7.0)}}}], "lr_schedulers": [],
            "hyper_parameters": {"p": P, "lr": 1e-3},
        },
        "average beside": {"model": PUBLISHED, "model_ema": HALF, "epoch": 7},
        "with an optimiser": {"net": LINEAR, "optim": {"state": {0: {"exp_avg": THETA}}}, "epoch": 7},
        "nested": {"params": {"Dense_0": {"kernel": THETA.T}, "Dense_1": {"kernel": XI}}, "step": 7},
        "within a checkpoint": {"checkpoint": {"model": PUBLISHED, "epoch": 7}},
    }  # fmt: skip
    made = {name: Case({"net.pth": saved(what)}, whole, (), (7,)) for name, what in wrappers.items()}
    return made | {
        "many in one": Case({"all.pth": saved(last | {"epochs": [0, 50, 100]})}, whole, (), (0, 50, 100)),
        "many without steps": Case({"all.pth": saved(last)}, whole, (), (0, 1, 2), ("assumed",)),
        "many by step": Case({"all.pth": saved({0: WEAK, 50: HALF, 100: PUBLISHED})}, whole, (), (0, 50, 100)),
        "many by name": Case(
            {"all.pt": saved({"epoch_0": WEAK, "epoch_100": PUBLISHED, "config": {"lr": 1}})}, whole, (), (0, 100)
        ),
        "checkpoints beside the model": Case(
            {"demo.pth": saved({"model": PUBLISHED, "checkpoints": [WEAK, HALF], "checkpoint_epochs": [0, 50],
                                "epoch": 100})},
            whole, (), (0, 50, 100),
        ),
        "two networks": Case({"1.pth": saved({"student": LINEAR, "other": LINEAR})}, refused=("other.fc1.weight",)),
        "only an optimiser": Case({"opt.pth": saved(OPTIMISER)}, refused=("opt.pth", "no weights")),
    }  # fmt: skip


def layouts() -> dict[str, Case]:
    """Names, transposes, formats and precisions of two layers."""
    whole, half = two_layers(), lambda value: value.to(torch.bfloat16)
    rounded = [half(value).double() for value in (THETA, XI)]
    embedding = {"embed.weight": W_E.T.contiguous(), "hidden.weight": W_IN, "head.weight": XI.T.contiguous()}
    through = two_layers(W_IN.double() @ W_E.double())
    network = torch.nn.Sequential(torch.nn.Linear(P, M), torch.nn.ReLU(), torch.nn.Linear(M, P))
    with torch.no_grad():
        for part, value in (("0.weight", THETA), ("0.bias", B_IN), ("2.weight", XI.T), ("2.bias", B_OUT)):
            network.get_parameter(part).copy_(value)
    biased = two_layers(b_in=B_IN, b_out=B_OUT)
    made = {
        "theta and xi": ("5.npz", zipped(theta=THETA.numpy(), xi=XI.numpy(), step=5), whole),
        "transposed": ("5.pth", saved({"mlp.W_in": THETA.T.contiguous(), "mlp.W_out": XI}), whole),
        "sequential with biases": ("5.pth", saved(network.state_dict()), biased),
        "published with biases": (
            "5.ckpt", saved({"model": PUBLISHED | {"mlp.b_in": B_IN, "mlp.b_out": B_OUT}}), biased
        ),
        "zero biases": ("5.pt", saved(PUBLISHED | {"mlp.b_in": 0 * B_IN, "mlp.b_out": 0 * B_OUT}), whole),
        "numbered": ("5.bin", saved({"W1": THETA.T, "W2": XI, "b1": B_IN, "b2": B_OUT}), biased),
        "by order": ("5.pth", saved({"alpha": THETA, "omega": XI.T}), whole),
        "embedding": ("5.safetensors", safetensors.torch.save(embedding), through),
        "embedding as the first layer": ("5.pth", saved({"embed.weight": THETA.T, "head.weight": XI.T}), whole),
        "equals token": (
            "5.pth", saved({"embed.W_E": torch.cat((torch.eye(P), normal(P, 1)), 1)} | PUBLISHED), whole
        ),
        "double": ("5.pth", saved({name: value.double() for name, value in LINEAR.items()}), whole),
        "bfloat16": ("5.safetensors", safetensors.torch.save({"theta": half(THETA), "xi": half(XI)}),
                     two_layers(*rounded)),
        "equal halves": ("5.pth", saved({"W_in.weight": torch.cat((THETA, THETA), 1), "W_out.weight": XI.T}), whole),
        "equal twins": ("5.pth", saved({"W_x": THETA, "W_y": THETA, "W_out": XI.T}), whole),
        "counters": ("5.pth", saved(LINEAR | {"n_averaged": torch.tensor(4)}), whole),
    }  # fmt: skip
    return {name: Case({file: content}, logits, (), (5,)) for name, (file, content, logits) in made.items()}


def refusals() -> dict[str, Case]:
    """What this program cannot represent, or will not open."""
    wrong = {
        "attention beside": (PUBLISHED | {"blocks.0.attn.W_Q": normal(H, D, C)}, ("blocks.0.attn.W_Q",)),
        "halves apart": ({"W_in.weight": torch.cat((THETA, OTHER), 1), "W_out.weight": XI.T},
                         ("two first layers", "W_in.weight")),
        "twins apart": ({"W_x": THETA, "W_y": OTHER, "W_out": XI}, ("two first layers", "W_x", "W_y")),
        "embeddings apart": ({"embed_a.weight": W_E.T, "embed_b.weight": 2 * W_E.T} | LINEAR,
                             ("two first layers", "embed_a.weight", "embed_b.weight")),
        "concatenated": ({"embed.weight": W_E.T, "fc1.weight": normal(M, 2 * D), "fc2.weight": XI.T},
                         ("two first layers", "fc1.weight")),
        "three layers": (LINEAR | {"fc3.weight": normal(P, P)}, ("fc3.weight", "two layers")),
        "layer norm": (LINEAR | {"norm.weight": torch.ones(M)}, ("norm.weight",)),
        "a temperature": (LINEAR | {"temperature": torch.tensor(2.0)}, ("temperature",)),
        "one layer": ({"fc1.weight": THETA}, ("fc1.weight", "no network of two layers")),
        "quantised": ({name: value.to(torch.int8) for name, value in LINEAR.items()}, ("int8", "fc1.weight")),
        "a bias that does not fit": (LINEAR | {"fc1.bias": normal(M + 1)}, ("fc1.weight", "25", "24")),
    }  # fmt: skip
    made = {name: Case({"1.pth": saved(what)}, refused=("1.pth", *words)) for name, (what, words) in wrong.items()}
    both = {name: value.contiguous() for name, value in {"alpha": THETA, "omega": XI.T}.items()}
    return made | {
        "old format": Case({"old.pth": saved(PUBLISHED, _use_new_zipfile_serialization=False)},
                           refused=("old.pth", "save it again", "torch.save(torch.load(")),
        "a whole model": Case({"1.pth": saved(torch.nn.Linear(3, 4))}, refused=("linear Linear", "state_dict()")),
        "numbers of numpy": Case({"1.pth": saved(LINEAR | {"loss": np.float64(1)})}, refused=("numpy", "scalar")),
        "names without order": Case({"1.safetensors": safetensors.torch.save(both)},
                                    refused=("alpha", "omega", "W_in and W_out")),
    }  # fmt: skip


def transformers() -> dict[str, Case]:
    whole = attends()
    biased = {"blocks.0.attn.b_V": torch.ones(H, C)}
    no_bias = {name: value for name, value in ONE_LAYER.items() if ".b_" not in name}
    zero = attends(ONE_LAYER | {name: 0 * value for name, value in ONE_LAYER.items() if ".b_" in name})
    return {
        "transformer": Case({"run.pth": saved({"model": ONE_LAYER, "epoch": 90})}, whole, (), (90,), ("mask",)),
        "transformer without biases": Case({"90.pth": saved(no_bias)}, zero, (), (90,)),
        "TransformerLens": Case({"90.pth": saved(lens())}, whole, (), (90,), ("IGNORE", "b_V")),
        "TransformerLens, safetensors": Case({"90.safetensors": safetensors.torch.save(lens())}, whole, (), (90,)),
        "TransformerLens, states": Case(
            {"full.pth": saved({"state_dicts": [lens(), lens()], "epochs": [0, 90]})}, whole, (), (0, 90)
        ),
        "TransformerLens with biases": Case({"m.pth": saved(lens(**biased))}, refused=("blocks.0.attn.b_V",)),
        "with layer norm": Case({"m.pth": saved(lens(**{"ln_final.w": torch.ones(D)}))}, refused=("ln_final.w",)),
        "of two layers": Case({"m.pth": saved(lens(**{"blocks.1.attn.W_Q": normal(H, D, C)}))},
                              refused=("blocks.1.attn.W_Q", "one layer")),
        "without an unembedding": Case({"m.pth": saved({n: v for n, v in lens().items() if "W_U" not in n})},
                                       refused=("W_U",)),
    }  # fmt: skip


CASES = published_runs() | named_files() | wrapped() | layouts() | refusals() | transformers()
CASES["square"] = Case(
    {"9.pth": saved({"model": PUBLISHED, "train_loss": judged(two_layers(act=torch.square))[0]})},
    two_layers(act=torch.square), (), (9,), activation="quad",
)  # fmt: skip
