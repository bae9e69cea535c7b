"""Loss and gradient of the one-layer transformer in closed form, without autograd.

What the last position reads of an input is a weighted sum of table rows.  With e = W_E[=] + W_pos[2],

    x_t  =  W_E[t] + W_pos[0] - e  for t read as a,      W_E[t] + W_pos[1] - e  for t read as b,

and because attention sums to one, so that what "=" reads of itself may be subtracted from all three,

    r  =  e + sum_h (e + A_ha x_a + A_hb x_b) W_V[h] W_O[h].

The rows go on through everything linear, into the neurons and past them into the logits:

    T[h, t]           =  x_t W_V[h] W_O[h] [W_in | W_U]
    [inputs | direct] =  common + sum_h (A_ha T[h, a] + A_hb T[h, b])
    logits            =  relu(inputs) W_out W_U + direct

A pair costs 2 H + 1 table rows and one product with the [M, P] matrix W_out W_U; the gradient costs
two more such products and the transposes of the sum.  The rest is as small as the tables.  At
p = 113 that is 1.6 GFLOP a step, where three positions with autograd take 14.6.

Precision.  The published loss is a log-softmax in float64, because in float32 a memorised pair has
p(right) = 1: its loss and the gradient at the right answer become 0 while those at the wrong answers
do not, and the run is thrown off now and then ("slingshots").  Here the wrong answers are summed
apart from the right one, loss = log1p(wrong / right) and dloss/dlogit(right) = -p(wrong), which loses
nothing in float32.  Measured at p = 31 with weight decay 1: where the loss is 7e-8, the gradient is
off by 1e-5 of its length with this softmax and with the one in float64, by 1.5 with the plain one in
float32; over 6,000 steps the plain one's loss jumps above five times its running median at 106
steps, up to 1, the others' never, and these two agree to three digits at the end.

Shapes, beside those of `model`: R = 2 P + 1 table rows a head (as a, as b, "=" itself), W columns of
the table (M neurons, P answers, zeros up to a round number), X = 2 H rows that a pair reads.
"""

import warnings

import numpy as np
import torch
import torch.nn.functional as F

from ... import data
from ...runs import Run

_aten = torch.ops.aten
_GROUP_KINDS = (
    (data.COMMON, data.RARE), (data.MIRRORED, data.HELD_OUT), (data.HELD_OUT,), (data.COMMON,), (data.RARE,)
)  # fmt: skip  # the kinds of pairs in each of data.GROUPS


class Pairs:
    """Ordered pairs that go through the network together: what each reads, answers and counts for.

    `decides` are the places in `data.GROUPS` of the groups that lie within these pairs.
    """

    def __init__(self, run: Run, inside_PP: np.ndarray, decides: tuple[int, ...], device, dtype):
        a_N, b_N = np.nonzero(inside_PP)
        P, H, self.N, self.X = run.p, run.heads, len(a_N), 2 * run.heads
        R = 2 * P + 1
        rows_NX = ((np.arange(H) * R)[:, None] + np.stack((a_N, P + b_N), 1)[:, None]).reshape(self.N, self.X)
        # The transpose: the (pair, place) entries of each table row, one row after the other.
        order = np.argsort(rows_NX, axis=None, kind="stable")
        start = np.searchsorted(rows_NX.ravel()[order], np.arange(H * R))
        on = lambda array: torch.as_tensor(array, device=device)  # noqa: E731
        self.rows_NX, self.order, self.start, self.member = on(rows_NX), on(order), on(start), on(order // self.X)
        self.rivals_NX = on(rows_NX[:, np.arange(self.X) ^ 1])  # b beside a and a beside b
        self.rows_and_common = on(np.column_stack((rows_NX, np.full(self.N, 2 * P))))
        self.weight_and_common = torch.ones(self.N, self.X + 1, device=device, dtype=dtype)
        bounds = torch.arange(0, rows_NX.size + 1, self.X, device=device)
        self.first, self.pair = bounds[:-1], on(np.arange(self.N).repeat(self.X))
        self.read = None
        if torch.device(device).type == "cpu":  # the one-threaded kernel for embedding bags takes six times as long
            with warnings.catch_warnings(action="ignore"):  # "in beta state"
                self.read = torch.sparse_csr_tensor(
                    bounds,
                    self.rows_NX.flatten(),
                    torch.zeros(rows_NX.size, dtype=dtype),
                    (self.N, H * R),
                    check_invariants=False,
                )
        self.one_N1 = torch.ones(self.N, 1, device=device, dtype=dtype)
        self.right_N1 = on((a_N + b_N) % P)[:, None]
        kind_N = data.kinds(run)[a_N, b_N]
        count_NG = np.stack([np.isin(kind_N, kinds) for kinds in _GROUP_KINDS], 1)
        self.count_NG = torch.tensor(count_NG, device=device, dtype=dtype)
        self.total_G = self.count_NG.sum(0)
        self.decides_G = on(np.isin(np.arange(len(data.GROUPS)), decides))

    def gather(self, weight_NX, t_HRW):
        """The common row plus the weighted rows of each pair, [N, W]."""
        self.weight_and_common[:, :-1] = weight_NX
        weights = self.weight_and_common
        return F.embedding_bag(self.rows_and_common, t_HRW.flatten(0, 1), per_sample_weights=weights, mode="sum")

    def scatter(self, weight_NX, y_NW):
        """The transpose in the table: for each of its H R rows the weighted sum over the pairs that read it."""
        weights = weight_NX.flatten()[self.order]
        return F.embedding_bag(self.member, y_NW, self.start, per_sample_weights=weights, mode="sum")

    def correlate(self, y_NW, t_HRW):
        """The transpose in the weights: y of each pair times each row that the pair reads, [N, X]."""
        table = t_HRW.flatten(0, 1)
        if self.read is not None:
            return torch.sparse.sampled_addmm(self.read, y_NW, table.T, beta=0).values().view(self.N, self.X)
        return _aten._embedding_bag_per_sample_weights_backward(
            y_NW, table, self.rows_NX.flatten(), self.first, self.pair, 0
        ).view(self.N, self.X)


class OneLayerStep:
    """The closed-form step of one run on one device."""

    def __init__(self, run: Run, device: torch.device | str = "cpu", dtype=torch.float32):
        self.P, self.M, self.D, self.H = run.p, run.d_mlp, run.d_model, run.heads
        self.C, self.R = self.D // self.H, 2 * self.P + 1
        self.W = -(-(self.M + self.P) // 16) * 16
        train_PP = data.train_mask(run)
        self.train = Pairs(run, train_PP, (0, 3, 4), device, dtype)
        self.test = None if train_PP.all() else Pairs(run, ~train_PP, (1, 2), device, dtype)
        self.inner, self.answers = slice(0, self.M), slice(self.M, self.M + self.P)
        like = {"device": device, "dtype": dtype}
        self.x_RD = torch.empty(self.R, self.D, **like)
        self.o_HCW = torch.zeros(self.H, self.C, self.W, **like)
        self.dy_NW = torch.zeros(self.train.N, self.W, **like)

    def tables(self, w):
        """Everything that does not depend on the pair: scores_HR, values v_HRC, table t_HRW and l_MP."""
        P, M = self.P, self.M
        x_RD, o = self.x_RD, self.o_HCW.flatten(0, 1)
        self.e_D = torch.add(w["W_E"][P], w["W_pos"][2], out=x_RD[-1])
        torch.add(w["W_E"][:P], w["W_pos"][0] - self.e_D, out=x_RD[:P])
        torch.add(w["W_E"][:P], w["W_pos"][1] - self.e_D, out=x_RD[P:-1])
        self.q_H1C = torch.matmul(self.e_D, w["W_Q"])[:, None] / self.C**0.5
        self.k_HD = (w["W_K"] * self.q_H1C).sum(2)
        self.scores_HR = self.k_HD @ x_RD.T
        self.v_HRC = torch.matmul(x_RD, w["W_V"])
        torch.mm(w["W_O"].flatten(0, 1), w["W_in"], out=o[:, self.inner])
        torch.mm(w["W_O"].flatten(0, 1), w["W_U"], out=o[:, self.answers])
        self.t_HRW = torch.bmm(self.v_HRC, self.o_HCW)
        # The row of "=" in head 0 becomes the common row.
        common_W = self.t_HRW[:, -1].sum(0)
        common_W[:M] += torch.addmv(w["b_in"], w["W_in"].T, self.e_D)
        common_W[self.answers] += (self.e_D + w["b_out"]) @ w["W_U"]
        self.t_HRW[0, -1] = common_W
        self.l_MP = w["W_out"] @ w["W_U"]

    def forward(self, pairs: Pairs):
        """(attention to a and b of each head [N, X], neurons [N, M], logits [N, P]) from the tables."""
        # Of three shares with scores s, t and 0 the first is sigmoid(s - log(1 + exp t)).
        rivals_HR = F.softplus(self.scores_HR, threshold=40)
        own_NX, rival_NX = self.scores_HR.flatten()[pairs.rows_NX], rivals_HR.flatten()[pairs.rivals_NX]
        attention_NX = own_NX.sub_(rival_NX).sigmoid_()
        y_NW = pairs.gather(attention_NX, self.t_HRW)
        neurons_NM = y_NW[:, self.inner].relu_()
        return attention_NX, neurons_NM, torch.addmm(y_NW[:, self.answers], neurons_NM, self.l_MP)

    def _record(self, pairs: Pairs, loss_N1, right_N1, row_C):
        both_2N = torch.cat((loss_N1, right_N1.to(loss_N1.dtype)), 1).T
        row_2G = row_C[:-1].view(2, -1)
        row_2G.copy_(torch.where(pairs.decides_G, both_2N @ pairs.count_NG / pairs.total_G, row_2G))

    def gradient(self, w, g, row_C):
        """The gradient of the training loss into g; of row_C the columns of the groups within training."""
        pairs, X = self.train, self.train.X
        self.tables(w)
        attention_NX, neurons_NM, logits_NP = self.forward(pairs)
        loss_N1, right_N1, slope_NP = cross_entropy_(logits_NP, pairs.right_N1)
        self._record(pairs, loss_N1, right_N1, row_C)

        # Back from the logits to the table.
        dy_NW = self.dy_NW
        dlogits_NP = torch.div(slope_NP, pairs.N, out=dy_NW[:, self.answers])
        dinputs_NM = torch.mm(dlogits_NP, self.l_MP.T, out=dy_NW[:, self.inner])
        _aten.threshold_backward.grad_input(dinputs_NM, neurons_NM, 0, grad_input=dinputs_NM)
        dl_PM = dlogits_NP.T @ neurons_NM
        dcommon_W = dy_NW.sum(0)
        dt_HRW = pairs.scatter(attention_NX, dy_NW).view(self.t_HRW.shape)
        dt_HRW[:, -1] = dcommon_W
        share_NHI, value_NHI = (z.view(-1, self.H, 2) for z in (attention_NX, pairs.correlate(dy_NW, self.t_HRW)))
        dscores_NHI = share_NHI * (value_NHI - (share_NHI * value_NHI).sum(2, keepdim=True))
        dscores_HR = pairs.scatter(dscores_NHI.reshape(-1, X), pairs.one_N1).view(self.H, self.R)

        # Back from the table to the weights.
        dcommon_M, dcommon_P = dcommon_W[self.inner], dcommon_W[self.answers]
        dv_HRC = torch.bmm(dt_HRW, self.o_HCW.transpose(1, 2))
        do = torch.bmm(self.v_HRC.transpose(1, 2), dt_HRW).flatten(0, 1)
        w_O, x_RD, e_D = w["W_O"].flatten(0, 1), self.x_RD, self.e_D
        torch.mm(do[:, self.inner], w["W_in"].T, out=g["W_O"].flatten(0, 1)).addmm_(do[:, self.answers], w["W_U"].T)
        torch.mm(w_O.T, do[:, self.inner], out=g["W_in"]).addr_(e_D, dcommon_M)
        torch.mm(w_O.T, do[:, self.answers], out=g["W_U"]).addr_(e_D + w["b_out"], dcommon_P)
        g["W_U"].addmm_(w["W_out"].T, dl_PM.T)
        torch.mm(dl_PM.T, w["W_U"].T, out=g["W_out"])
        g["b_in"].copy_(dcommon_M)
        torch.mv(w["W_U"], dcommon_P, out=g["b_out"])
        torch.matmul(x_RD.T, dv_HRC, out=g["W_V"])
        dk_HD = dscores_HR @ x_RD
        dq_HC = (dk_HD[:, None] @ w["W_K"])[:, 0] / self.C**0.5
        torch.mul(dk_HD[:, :, None], self.q_H1C, out=g["W_K"])
        torch.mul(e_D[:, None], dq_HC[:, None], out=g["W_Q"])
        dx_RD = torch.addbmm(dscores_HR.T @ self.k_HD, dv_HRC, w["W_V"].transpose(1, 2))
        da_D, db_D = dx_RD[: self.P].sum(0), dx_RD[self.P : -1].sum(0)
        de_D = dx_RD[-1] - da_D - db_D + g["b_out"] + w["W_in"] @ dcommon_M
        de_D += (w["W_Q"] * dq_HC[:, None]).sum((0, 2))
        torch.add(dx_RD[: self.P], dx_RD[self.P : -1], out=g["W_E"][: self.P])
        g["W_E"][self.P] = de_D
        torch.stack((da_D, db_D, de_D), out=g["W_pos"])

    def evaluate(self, w, row_C):
        """The columns of the groups within the test pairs."""
        if self.test is not None:
            self.tables(w)
            self._measure(self.test, row_C)

    def measure(self, w, row_C):
        """All columns but the norm."""
        self.tables(w)
        self._measure(self.train, row_C)
        if self.test is not None:
            self._measure(self.test, row_C)

    def _measure(self, pairs, row_C):
        loss_N1, right_N1, _ = cross_entropy_(self.forward(pairs)[2], pairs.right_N1)
        self._record(pairs, loss_N1, right_N1, row_C)


def cross_entropy_(logits_NP, right_N1):
    """(loss [N, 1] in nats, right or not [N, 1], dloss/dlogits [N, P]); overwrites the logits.

    Exact to rounding however small the loss: nothing is subtracted from 1.
    """
    top_N1 = logits_NP.amax(1, keepdim=True)
    behind_N1 = top_N1 - logits_NP.gather(1, right_N1)
    right_e_N1 = torch.exp(-behind_N1)
    wrong_NP = logits_NP.sub_(top_N1).exp_().scatter_(1, right_N1, 0)
    wrong_N1 = wrong_NP.sum(1, keepdim=True)
    loss_N1 = torch.log1p(wrong_N1 + (right_e_N1 - 1)) + behind_N1
    slope_NP = wrong_NP.scatter_(1, right_N1, -wrong_N1).div_(wrong_N1 + right_e_N1)
    return loss_N1, behind_N1 == 0, slope_NP
