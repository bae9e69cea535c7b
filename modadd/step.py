"""Loss and gradient of the whole training set in closed form, without autograd.

With h = theta[x] + theta[y], a = act(h), f = a xi and g = dL/df, the gradients are
dxi = a^T g and dtheta[j] = sum of (g xi^T) * act'(h) over the pairs that contain j.

Four savings over the plain reading: unordered pairs are computed once (half of the work); the
first layer is an add; one forward pass serves the gradient and the metrics of every group of
pairs; and neurons go through in blocks that stay in cache, so no [N, M] array exists.
Where the time goes at p = 97 on two cores: three matrix products 90 %, softmax and metrics 4 %,
the sum over rows 3 %, activations 3 %.
"""

import numpy as np
import torch
import torch.nn.functional as F

from .data import GROUPS, group_weights, labels, pairs
from .model import ACTIVATIONS
from .runs import Run

# The rows of the history; a group without pairs holds NaN.
METRICS = tuple(f"{group}_{what}" for what in ("loss", "accuracy") for group in GROUPS) + ("norm",)
L2_BYTES = 1 << 20


class Step:
    """The closed-form step of one run on one device.

    Works on theta_PM (transposed, so that a residue's neurons are contiguous) and xi_MP.
    """

    def __init__(self, run: Run, device: torch.device | str = "cpu", dtype=torch.float32, block: int | None = None):
        self.p, self.M, self.K = run.p, run.d_mlp, run.K
        self.act = ACTIVATIONS[run.activation]
        self.N = self.p * (self.K + 1)
        self.block = min(self.M, block or self._block(torch.device(device)))
        like = {"device": device, "dtype": dtype}

        counts_NG = group_weights(run)
        self.count_NG = torch.tensor(counts_NG, **like)
        self.total_G = torch.tensor(counts_NG.sum(0), **like)
        self.train_N1 = self.count_NG[:, :1] / self.total_G[0]
        self.label_N = torch.tensor(labels(self.p), device=device)
        self.label_N1 = self.label_N[:, None]
        self.row_N = torch.arange(self.N, device=device)
        self.right_NP = torch.zeros(self.N, self.p, **like)
        self.right_NP[self.row_N, self.label_N] = 1
        # Row j lists the pairs that contain residue j; a pair (j, j) stands there twice.
        members = np.argsort(np.concatenate(pairs(self.p)), kind="stable").reshape(self.p, self.p + 1) % self.N
        self.members_PR = torch.tensor(members, device=device)

        self.logits_NP = torch.empty(self.N, self.p, **like)
        self.g_NP = torch.empty(self.N, self.p, **like)
        self.theta2 = torch.empty(2 * self.p, self.block, **like)
        self.h = torch.empty(self.N, self.block, **like)
        self.dh = torch.empty(self.N, self.block, **like)

    def _block(self, device) -> int:
        # Up to a hidden tile of a few L2 caches; measured flat between 128 and 512 on a CPU. Blocks do not
        # help a GPU, which only has to bound its memory.
        if device.type == "cuda":
            return max(128, (512 << 20) // (4 * self.N))
        return 512 if self.N * 512 * 4 < 8 * L2_BYTES else 128

    def _hidden(self, theta_PM, m: slice, keep_input: bool):
        """(h, a) of a block of neurons, [N, B]; h is None unless the activation needs it back."""
        B = m.stop - m.start
        theta2 = self.theta2[:, :B]
        theta2[: self.p] = theta_PM[:, m]
        theta2[self.p :] = theta_PM[:, m]
        step = theta2.stride(0)
        shifted = theta2.as_strided((self.K + 1, self.p, B), (step, step, 1))
        h = self.h.view(-1)[: self.N * B].view(self.K + 1, self.p, B)
        torch.add(theta2[: self.p], shifted, out=h)
        h = h.view(self.N, B)
        return (h, self.act.apply_(h)) if keep_input and self.act.needs_input else (None, self.act.apply_(h))

    def _blocks(self):
        for start in range(0, self.M, self.block):
            yield slice(start, min(start + self.block, self.M))

    def forward(self, theta_PM, xi_MP):
        """The logits of every unordered pair, [N, P]; overwritten by the next call."""
        for i, m in enumerate(self._blocks()):
            _, a = self._hidden(theta_PM, m, keep_input=False)
            if i == 0:
                torch.mm(a, xi_MP[m], out=self.logits_NP)
            else:
                self.logits_NP.addmm_(a, xi_MP[m])
        return self.logits_NP

    def metrics(self, theta_PM, xi_MP, out=None):
        """Forward pass and METRICS (but the norm) as [10]; leaves log-probabilities in `logits_NP`."""
        logits = self.forward(theta_PM, xi_MP)
        correct = logits.argmax(1) == self.label_N
        torch.log_softmax(logits, 1, out=self.g_NP)
        loss = self.g_NP.gather(1, self.label_N1)[:, 0].neg_()
        both_2N = torch.stack((loss, correct.to(loss.dtype)))
        return torch.div(torch.mm(both_2N, self.count_NG), self.total_G, out=out if out is None else out.view(2, -1))

    def gradient(self, theta_PM, xi_MP, dtheta_PM, dxi_MP, out=None):
        """Metrics of these weights, and the gradient of the training loss into dtheta_PM, dxi_MP."""
        metrics = self.metrics(theta_PM, xi_MP, out)
        g = self.g_NP.exp_().sub_(self.right_NP).mul_(self.train_N1)
        for m in self._blocks():
            h, a = self._hidden(theta_PM, m, keep_input=True)
            torch.mm(a.T, g, out=dxi_MP[m])
            dh = torch.mm(g, xi_MP[m].T, out=self.dh.view(-1)[: a.numel()].view(a.shape))
            dtheta_PM[:, m] = F.embedding_bag(self.members_PR, self.act.back_(dh, h, a), mode="sum")
        return metrics
