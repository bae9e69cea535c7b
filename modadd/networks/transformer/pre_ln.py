"""The general transformer: pre-LN blocks that read a, b and perhaps c, and answer at the last token.

    x_i    = W_E[token i] + W_pos[i]
    x     += attention(LN(x)) W_O            causal, H heads, no biases
    x     += act(LN(x) W_in + b_in) W_out + b_out           of each layer; GELU in the presets
    logits = LN(x_last) W_U

Two savings over the plain reading, with the same answer.  Attention is causal, so what happens at the
first token depends on that token alone: it is a table over the p residues, not over the examples.  And
only the last token is read, so the last layer makes keys and values of the others and nothing else.

Training: AdamW on batches drawn without repetition, cross-entropy in float64, no gradient longer than 1,
a constant learning rate after the warm-up.  A network that has found the rule may lose a few answers in a
thousand again, here and there, for as long as it trains: `analysis.solved.solved_at` asks for more than a moment.

Shapes, beside those of the package: B examples of a batch, L tokens, Y layers, D model width, H heads.

Source: the pre-LN transformer of Xiong et al., arXiv:2002.04745; the initial scales are those of
Nanda et al., arXiv:2301.05217.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from ... import tasks
from ...data import METRICS
from ...runs import Run
from ...tasks import EPS
from ..activations import function

LOOK_EVERY = 100  # steps between two looks at the test examples
LOOK_MOST = 2**15  # examples of a look: all test examples, or this many of them, drawn once; all at the end
ROWS = 2**13  # examples that are evaluated at once
CLIP = 1.0  # the longest gradient

TRAIN_LOSS, TRAIN_ACCURACY = METRICS.index("train_loss"), METRICS.index("train_accuracy")


def shapes(run: Run) -> dict[str, tuple[int, ...]]:
    """The trained arrays in the order they lie in the flat buffer, one entry a layer in front."""
    P, M, D, Y = run.p, run.d_mlp, run.d_model, run.layers
    return {
        "W_E": (P, D),
        "W_pos": (tasks.length(run), D),
        "gain_1": (Y, D),
        "shift_1": (Y, D),
        "W_Q": (Y, D, D),
        "W_K": (Y, D, D),
        "W_V": (Y, D, D),
        "W_O": (Y, D, D),
        "gain_2": (Y, D),
        "shift_2": (Y, D),
        "W_in": (Y, D, M),
        "b_in": (Y, M),
        "W_out": (Y, M, D),
        "b_out": (Y, D),
        "gain_3": (D,),
        "shift_3": (D,),
        "W_U": (D, P),
    }


def initial_weights(run: Run) -> dict[str, np.ndarray]:
    """The weights at step 0, float32, the same on every device: N(0, 1) / sqrt(inputs), embeddings
    N(0, 1) / sqrt(D), drawn in the order of `shapes`; gains 1, shifts and biases 0."""
    draw = torch.Generator().manual_seed(run.seed)
    weights = {}
    for name, shape in shapes(run).items():
        if name[0] == "W":
            inputs = run.d_model if name in ("W_E", "W_pos") else shape[-2]
            weights[name] = torch.randn(shape, generator=draw).numpy() * np.float32(inputs**-0.5)
        else:
            weights[name] = np.full(shape, name.startswith("gain"), np.float32)
    return weights


def forward(run: Run, w: Mapping[str, torch.Tensor], token_BL: torch.Tensor) -> torch.Tensor:
    """The logits [B, P] of these examples; `w` as in `shapes`."""
    L, D, H, act = token_BL.shape[1], run.d_model, run.heads, function(run.activation)
    # A product with a one-hot row is a look-up whose gradient is a product too: exact, and the same in every run.
    hot_LBP = (token_BL.T[:, :, None] == torch.arange(run.p, device=token_BL.device)).to(w["W_E"].dtype)
    first_PD = w["W_E"] + w["W_pos"][0]
    rest_LBD = hot_LBP[1:] @ w["W_E"] + w["W_pos"][1:, None]
    layers = [dict(zip(LAYER, of_layer, strict=True)) for of_layer in zip(*(w[n].unbind() for n in LAYER), strict=True)]
    hidden = torch.ones(L - 1, L, dtype=torch.bool, device=token_BL.device).triu(2)[:, :, None, None]

    for layer in layers:
        last = layer is layers[-1]
        asks = slice(L - 2, None) if last else slice(None)  # the places that go on
        norm_PD, norm_LBD = (
            F.layer_norm(x, (D,), layer["gain_1"], layer["shift_1"], EPS) for x in (first_PD, rest_LBD)
        )
        key, value = (
            torch.cat([(hot_LBP[0] @ (norm_PD @ layer[name]))[None], norm_LBD @ layer[name]]).unflatten(2, (H, D // H))
            for name in ("W_K", "W_V")
        )
        query = (norm_LBD[asks] @ layer["W_Q"]).unflatten(2, (H, D // H))[:, None]
        score = ((query * key).sum(-1) * (D // H) ** -0.5).masked_fill(hidden[asks], -torch.inf)
        mixed = (torch.softmax(score, 1)[..., None] * value).sum(1).flatten(2)
        rest_LBD = _mlp(rest_LBD[asks] + mixed @ layer["W_O"], layer, act)
        if not last:
            first_PD = _mlp(first_PD + norm_PD @ layer["W_V"] @ layer["W_O"], layer, act)
    return F.layer_norm(rest_LBD[-1], (D,), w["gain_3"], w["shift_3"], EPS) @ w["W_U"]


LAYER = ("gain_1", "shift_1", "W_Q", "W_K", "W_V", "W_O", "gain_2", "shift_2", "W_in", "b_in", "W_out", "b_out")


def _mlp(x, layer, act):
    norm = F.layer_norm(x, x.shape[-1:], layer["gain_2"], layer["shift_2"], EPS)
    return x + act(norm @ layer["W_in"] + layer["b_in"]) @ layer["W_out"] + layer["b_out"]


class Examples:
    """Training batches and test examples on a device; what the engine's `before_step` and graphs read."""

    def __init__(self, run: Run, device: torch.device):
        self.run = run
        train = tasks.train_maps(run).ravel()
        numbers = lambda mask: torch.from_numpy(np.flatnonzero(mask)).to(device)  # noqa: E731
        self.train_N, self.test_N = numbers(train), numbers(~train)
        self.held_out_N = torch.from_numpy(tasks.held_out_maps(run).ravel()).to(device)
        self.answer_CP = torch.from_numpy(tasks.answers(run)).to(device)
        N = len(self.train_N)
        self.size = run.batch if 0 < run.batch < N else N
        self.batch_B = self.train_N[: self.size].clone()
        # The examples of a look are a part of the test examples in an order that no training depends on.
        drawn = np.random.default_rng([run.seed, 3]).permutation(len(self.test_N))[:LOOK_MOST]
        self.look_N = self.test_N[torch.from_numpy(np.sort(drawn)).to(device)]
        self.epoch, self.order_N = -1, self.train_N

    def place(self, step: int):
        """Put the batch of this step where the graph reads it.  It depends on seed and step alone: each epoch
        goes through the training examples in an order of its own and leaves out what fills no batch."""
        N, B = len(self.train_N), self.size
        if B == N:
            return
        epoch, place = divmod(step, N // B)
        if epoch != self.epoch:
            self.epoch, self.order_N = epoch, self.train_N[shuffled(N, (self.run.seed, 2, epoch), self.train_N.device)]
        self.batch_B.copy_(self.order_N[place * B : (place + 1) * B])

    def labels(self, token_BL) -> torch.Tensor:
        """The right answers of these examples."""
        c = token_BL[:, 2] if token_BL.shape[1] == 3 else torch.zeros_like(token_BL[:, 0])
        return self.answer_CP[c, (token_BL[:, 0] + token_BL[:, 1]) % self.run.p]


def shuffled(n: int, seed: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """0 .. n - 1 in an order that is the same on every device: sorted by a hash of seed and number.  n < 2^24."""
    one, other = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))
    number = torch.arange(n, device=device)
    key = _hash(_hash(number ^ one) ^ other)
    return (key << 24 | number).sort().values & (1 << 24) - 1


def _hash(x):
    # 32 bits in 64, so that no product overflows.
    for _ in range(2):
        x = (x >> 16 ^ x) * 0x45D9F3B & 0xFFFFFFFF
    return x >> 16 ^ x


class PreLN:
    """The network as the engine trains it: gradients by autograd, the loss in float64."""

    def __init__(self, run: Run, examples: Examples):
        self.run, self.examples = run, examples
        self.whole = False  # are all test examples looked at, or `look_N` of them?

    @property
    def looked_N(self) -> torch.Tensor:
        """The test examples of a look."""
        return self.examples.test_N if self.whole else self.examples.look_N

    def _answers(self, w, example_B):
        """(loss [B] in float64, answer [B], right [B]) of these examples."""
        token_BL = tasks.tokens(self.run, example_B)
        label_B, logits_BP = self.examples.labels(token_BL), forward(self.run, w, token_BL)
        answer_B = logits_BP.argmax(1)
        return F.cross_entropy(logits_BP.double(), label_B, reduction="none"), answer_B, answer_B == label_B

    @torch.no_grad()
    def answers(self, w, example_N):
        """The same of many examples, some at a time."""
        parts = zip(*(self._answers(w, part) for part in example_N.split(ROWS)), strict=True)
        return tuple(torch.cat(part) for part in parts)

    def gradient(self, w, g, row_C):
        # One leaf an array: they share memory with the flat buffer, and no gradient is kept on them.
        leaves = {name: value.detach().requires_grad_() for name, value in w.items()}
        with torch.enable_grad(), torch.autograd.set_multithreading_enabled(False):
            loss_B, _, right_B = self._answers(leaves, self.examples.batch_B)
            loss = loss_B.mean()
            gradients = torch.autograd.grad(loss, list(leaves.values()))
        torch._foreach_copy_(list(g.values()), gradients)
        row_C[TRAIN_LOSS], row_C[TRAIN_ACCURACY] = loss.detach(), right_B.float().mean()

    def evaluate(self, w, row_C):
        loss_N, _, self.right_N = self.answers(w, self.looked_N)
        of_group = {"test": torch.ones_like(loss_N), "held_out": self.examples.held_out_N[self.looked_N].double()}
        for group, count_N in of_group.items():
            for what, value_N in (("loss", loss_N), ("accuracy", self.right_N.double())):
                row_C[METRICS.index(f"{group}_{what}")] = (value_N * count_N).sum() / count_N.sum()

    def measure(self, w, row_C):
        loss_B, _, right_B = self.answers(w, self.examples.batch_B)
        row_C[TRAIN_LOSS], row_C[TRAIN_ACCURACY] = loss_B.mean(), right_B.float().mean()
        self.evaluate(w, row_C)
