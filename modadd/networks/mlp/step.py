"""Loss and gradient of the whole training set in closed form, without autograd.

With h = theta[x] + theta[y], a = act(h), f = a xi and g = dL/df, the gradients are
dxi = a^T g and dtheta[j] = sum of (g xi^T) * act'(h) over the pairs that contain j.

Five savings over the plain reading: unordered pairs are computed once (half of the work); the
first layer is an add; one forward pass serves the gradient and the metrics of every group of
pairs; neurons go through in blocks that stay in cache, so no [N, M] array exists; and logits are
kept with the pairs contiguous, [P, N], because a CPU multiplies faster when the long side of a
result is contiguous: at p = 23 the product for dxi in half of the time.
"""

import numpy as np
import torch
import torch.nn.functional as F

from ...data import group_weights, labels, pairs
from ...runs import Run
from ..activations import in_place

L2_BYTES = 1 << 20


class Step:
    """The closed-form step of one run on one device.

    Works on theta_PM (transposed, so that a residue's neurons are contiguous) and xi_MP.
    """

    def __init__(self, run: Run, device: torch.device | str = "cpu", dtype=torch.float32, block: int | None = None):
        self.p, self.M, self.K = run.p, run.d_mlp, run.K
        self.act = in_place(run.activation)
        self.N = self.p * (self.K + 1)
        self.block = min(self.M, block or self._block(torch.device(device)))
        like = {"device": device, "dtype": dtype}

        counts_NG = group_weights(run)
        self.count_NG = torch.tensor(counts_NG, **like)
        self.total_G = torch.tensor(counts_NG.sum(0), **like)
        self.train_N = self.count_NG[:, 0] / self.total_G[0]
        self.label_N = torch.tensor(labels(self.p), device=device)
        self.right_PN = F.one_hot(self.label_N, self.p).T.to(dtype).contiguous()
        # Row j lists the pairs that contain residue j; a pair (j, j) stands there twice.
        members = np.argsort(np.concatenate(pairs(self.p)), kind="stable").reshape(self.p, self.p + 1) % self.N
        self.members_PR = torch.tensor(members, device=device)

        self.logits_PN = torch.empty(self.p, self.N, **like)
        self.g_PN = torch.empty(self.p, self.N, **like)
        self.dxi_PB = torch.empty(self.p, self.block, **like)
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
        """The logits of every unordered pair, [P, N]; overwritten by the next call."""
        for i, m in enumerate(self._blocks()):
            self.kept = self._hidden(theta_PM, m, keep_input=self.block == self.M)
            a = self.kept[1]
            if i == 0:
                torch.mm(xi_MP[m].T, a.T, out=self.logits_PN)
            else:
                self.logits_PN.addmm_(xi_MP[m].T, a.T)
        return self.logits_PN

    def metrics(self, theta_PM, xi_MP, out=None):
        """Forward pass and METRICS (but the norm) as [10]; leaves `log_probabilities_NP`."""
        logits_PN = self.forward(theta_PM, xi_MP)
        correct_N = logits_PN.max(0).indices == self.label_N
        torch.log_softmax(logits_PN, 0, out=self.g_PN)
        loss_N = self.g_PN.gather(0, self.label_N[None])[0].neg_()
        both_2N = torch.stack((loss_N, correct_N.to(loss_N.dtype)))
        return torch.div(torch.mm(both_2N, self.count_NG), self.total_G, out=out if out is None else out.view(2, -1))

    @property
    def log_probabilities_NP(self) -> torch.Tensor:
        """Of every unordered pair, as of the last `metrics`; a view, overwritten by the next call."""
        return self.g_PN.T

    def gradient(self, theta_PM, xi_MP, dtheta_PM, dxi_MP, out=None):
        """Metrics of these weights, and the gradient of the training loss into dtheta_PM, dxi_MP."""
        metrics = self.metrics(theta_PM, xi_MP, out)
        g_PN = self.g_PN.exp_().sub_(self.right_PN).mul_(self.train_N)
        for m in self._blocks():
            # One block of all neurons is still there from the logits.
            h, a = self.kept if self.block == self.M else self._hidden(theta_PM, m, keep_input=True)
            B = m.stop - m.start
            dxi_MP[m] = torch.mm(g_PN, a, out=self.dxi_PB.view(-1)[: self.p * B].view(self.p, B)).T
            dh = torch.mm(g_PN.T, xi_MP[m].T, out=self.dh.view(-1)[: a.numel()].view(a.shape))
            dtheta_PM[:, m] = F.embedding_bag(self.members_PR, self.act.back_(dh, h, a), mode="sum")
        return metrics
