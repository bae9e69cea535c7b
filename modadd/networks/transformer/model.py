"""The one-layer transformer: its weights, where they start, and the forward pass.

It reads the three tokens a, b and "=", which is token p, and answers at the last position:

    x_i     = W_E[token i] + W_pos[i]
    A_h     = softmax over i of (x_2 W_Q[h]) . (x_i W_K[h]) / sqrt(C)          of each head h
    r       = x_2 + sum_h sum_i A_hi x_i W_V[h] W_O[h]
    n       = relu(r W_in + b_in)                                             the neurons
    logits  = (r + n W_out + b_out) W_U

Only the last position is read and nothing follows the one layer, so what the earlier positions
would compute never matters and the causal mask hides nothing from it.  x_2 is the same for every
input: one query a head, and the keys and values of a depend on a alone.  Everything that attention
needs is therefore a table over residues.

Shapes, beside those of the package: D model width, H heads, C = D / H head width; here N counts
ordered pairs (a, b).

Source: Nanda et al., "Progress measures for grokking via mechanistic interpretability",
arXiv:2301.05217, section 3 and appendix A: no layer norm, untied embeddings, ReLU.
"""

from collections.abc import Mapping

import numpy as np
import torch

from ...runs import Run

Weights = Mapping[str, torch.Tensor]


def shapes(run: Run) -> dict[str, tuple[int, ...]]:
    """The trained arrays in the order they lie in the flat buffer, which is the order they are drawn in."""
    P, M, D, H = run.p, run.d_mlp, run.d_model, run.heads
    C = D // H
    return {
        "W_E": (P + 1, D),
        "W_pos": (3, D),
        "W_Q": (H, D, C),
        "W_K": (H, D, C),
        "W_V": (H, D, C),
        "W_O": (H, C, D),
        "W_in": (D, M),
        "b_in": (M,),
        "W_out": (M, D),
        "b_out": (D,),
        "W_U": (D, P),
    }


def views(flat, of: Mapping[str, tuple[int, ...]]) -> dict:
    """A flat buffer [sum of sizes] as named arrays that share its memory."""
    named, start = {}, 0
    for name, shape in of.items():
        stop = start + int(np.prod(shape))
        named[name] = flat[start:stop].reshape(shape)
        start = stop
    return named


def initial_weights(run: Run) -> dict[str, np.ndarray]:
    """The weights at step 0, float32, the same on every device: N(0, 1) / sqrt(D), the unembedding
    N(0, 1) / sqrt(p + 1), drawn in the order of `shapes` from one generator; biases 0."""
    draw = torch.Generator().manual_seed(run.seed)
    weights = {}
    for name, shape in shapes(run).items():
        scale = np.float32((run.p + 1 if name == "W_U" else run.d_model) ** -0.5)
        weights[name] = (
            np.zeros(shape, np.float32) if name[0] == "b" else scale * torch.randn(shape, generator=draw).numpy()
        )
    return weights


def forward(run: Run, weights: Weights, a, b) -> dict[str, torch.Tensor]:
    """The network at inputs a and b, residues [N]; numpy or torch in, torch out, in the weights' precision.

    logits [N, P]; neurons [N, M] after the ReLU; attention [N, H, 3] from "=" to a, b and itself.
    `weights` are named and shaped as in `shapes`; the widths are read from them, so that a network
    with heads or neurons cut out can be asked too.
    """
    w = {name: torch.as_tensor(value) for name, value in weights.items()}
    a, b = (torch.as_tensor(index, device=w["W_E"].device) for index in (a, b))
    equals_D = w["W_E"][run.p] + w["W_pos"][2]
    query_HC = torch.einsum("d,hdc->hc", equals_D, w["W_Q"])
    ask_DH = torch.einsum("hdc,hc->dh", w["W_K"], query_HC) / w["W_Q"].shape[2] ** 0.5
    give_DHD = torch.einsum("dhc,hce->dhe", w["W_V"].transpose(0, 1), w["W_O"])

    # What each token at its position is asked and gives: [P, H] and [P, H, D], one row for "=".
    tokens = [w["W_E"][: run.p] + w["W_pos"][0], w["W_E"][: run.p] + w["W_pos"][1], equals_D[None]]
    score_a, score_b, score_eq = (x @ ask_DH for x in tokens)
    gift_a, gift_b, gift_eq = (torch.tensordot(x, give_DHD, 1) for x in tokens)
    attention_N3H = torch.softmax(torch.stack((score_a[a], score_b[b], score_eq.expand(len(a), -1)), 1), 1)
    r_ND = equals_D + attention_N3H[:, 2] @ gift_eq[0]
    for h in range(attention_N3H.shape[2]):
        r_ND += attention_N3H[:, 0, h, None] * gift_a[a, h] + attention_N3H[:, 1, h, None] * gift_b[b, h]
    neurons_NM = torch.relu(torch.addmm(w["b_in"], r_ND, w["W_in"]))
    logits_NP = (r_ND + torch.addmm(w["b_out"], neurons_NM, w["W_out"])) @ w["W_U"]
    return {"logits": logits_NP, "neurons": neurons_NM, "attention": attention_N3H.transpose(1, 2)}
