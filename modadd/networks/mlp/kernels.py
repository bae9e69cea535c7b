"""The closed-form step as Triton kernels: the hidden activations [N, M] are never stored.

Rows.  The unordered pairs are dealt into squares of 8 x 8 residues, X <= Y: row 64 u + 8 i + j is
the pair (8 X_u + i, 8 Y_u + j).  A tile of 64 hidden rows then needs only 8 + 8 rows of theta,
and both sums over rows that d theta asks for (over j for x, over i for y) stay inside a tile: no
atomics, no fourth matrix product, equal bits in every run.  Rows with i > j on the diagonal and
residues beyond p carry weight 0; at p = 199 they are 5 % of the rows.

Columns.  The P answers are padded to PP, a sum of up to three powers of two (199 -> 128 + 64 +
16): a single tile would be 256 wide and waste a fifth of the arithmetic.  Weights are copied once
a step into arrays padded with zeros, whose rows are aligned; both operands of every product lie
contiguous along the summed axis, which the TF32 units demand.

A Plan says for each of the three matrix products whether a kernel here does it ("fused") or the
library does, on hidden activations of a chunk of neurons that stays in cache; full float32 at
large p is left to the library.  Everything is batched over E members (seeds) that share p, width
and activation, and every buffer is allocated in advance, so that a step fits in a CUDA graph.
Shapes: E members, R rows, S partial sums, and PP, MP for P, M padded; the rest as everywhere.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ...data import GROUPS, group_weights, pairs
from ...runs import WARMUP, Run
from ..optim import BETA1, BETA2, EPS

SIDE, ROWS = 8, 64  # residues and pairs of a square
CHUNK_BYTES = 256 << 20  # of hidden activations that exist at a time, where the library multiplies
ACTIVATIONS = ("relu", "quad", "gelu", "identity")  # that the kernels below know
tl = None  # triton.language, once a kernel is asked for
_SOURCES = []


def available() -> bool:
    """Can the kernels run here: Triton is installed and there is a CUDA device."""
    return importlib.util.find_spec("triton") is not None and torch.cuda.is_available()


def _kernel(function):
    _SOURCES.append(function)
    return function


@lru_cache(maxsize=1)
def compile_kernels() -> None:
    """Turn the functions below into Triton kernels; importing this module must not need Triton."""
    import triton

    globals()["tl"] = triton.language
    for function in _SOURCES:
        globals()[function.__name__] = triton.jit(function)


# ---------------------------------------------------------------------------------------------
# Kernels.  ACT is the activation's name, PREC "tf32" or "ieee", J1 + J2 + J3 >= P the widths of
# a row of tiles of answers.


@_kernel
def _act(h, ACT: tl.constexpr):
    a = h
    if ACT == "relu":
        a = tl.maximum(h, 0.0, propagate_nan=tl.PropagateNan.ALL)
    elif ACT == "quad":
        a = h * h
    elif ACT == "gelu":
        a = 0.5 * h * (1.0 + tl.erf(h * 0.7071067811865476))
    return a


@_kernel
def _back(d, h, ACT: tl.constexpr):
    """d * act'(h)"""
    if ACT == "relu":
        d = tl.where(h > 0.0, d, 0.0)
    elif ACT == "quad":
        d = 2.0 * h * d
    elif ACT == "gelu":
        phi = 0.3989422804014327 * tl.exp(-0.5 * h * h)
        d = d * (0.5 * (1.0 + tl.erf(h * 0.7071067811865476)) + h * phi)
    return d


@_kernel
def _settle(x):
    """x, behind a move that the compiler cannot see through.

    At the end of a turn of a loop it makes the products of that turn finish together; without it the
    assembler finds products in flight across turns and waits after every single instruction.
    """
    return tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1)


@_kernel
def _prepare(theta, xi, stride_theta, stride_xi, theta_pad, xi_pad, xit_pad, P, M, PB, MP,
             PP: tl.constexpr, BM: tl.constexpr, BP: tl.constexpr):  # fmt: skip
    """theta [P, M] -> theta_pad [PB, MP]; xi [M, P] -> xi_pad [MP, PP] and xit_pad [PP, MP]."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    j = tl.program_id(1) * BP + tl.arange(0, BP)
    e = tl.program_id(2).to(tl.int64)
    t = tl.load(
        theta + e * stride_theta + j[:, None] * M + m[None, :],
        mask=(j[:, None] < P) & (m[None, :] < M), other=0.0,
    )  # fmt: skip
    tl.store(theta_pad + e * PB * MP + j[:, None] * MP + m[None, :], t, mask=j[:, None] < PB)
    w = tl.load(
        xi + e * stride_xi + m[:, None] * P + j[None, :],
        mask=(m[:, None] < M) & (j[None, :] < P), other=0.0,
    )  # fmt: skip
    tl.store(xi_pad + e * MP * PP + m[:, None] * PP + j[None, :], w, mask=j[None, :] < PP)
    tl.store(xit_pad + e * PP * MP + j[:, None] * MP + m[None, :], tl.trans(w), mask=j[:, None] < PP)


@_kernel
def _logits(theta, xit, squares, out, PB, MP, R, per,
            U: tl.constexpr, BK: tl.constexpr, GATHER: tl.constexpr, ACT: tl.constexpr, PREC: tl.constexpr,
            SETTLE: tl.constexpr, PP: tl.constexpr, J1: tl.constexpr, J2: tl.constexpr, J3: tl.constexpr):  # fmt: skip
    """out[s, e, r, j] = sum over the neurons of part s of act(theta[x] + theta[y]) xi[., j]."""
    tile = tl.program_id(0)
    s = tl.program_id(1)
    e = tl.program_id(2).to(tl.int64)
    E = tl.num_programs(2)
    k = tl.arange(0, BK)
    if GATHER:
        # Every row fetches its own two rows of theta: more loads, simpler registers.
        r = tl.arange(0, U * 64)
        square = tile * U + r // 64
        x = tl.load(squares + 2 * square) * 8 + r // 8 % 8
        y = tl.load(squares + 2 * square + 1) * 8 + r % 8
        at_x = theta + e * PB * MP + x[:, None] * MP + k[None, :]
        at_y = theta + e * PB * MP + y[:, None] * MP + k[None, :]
    else:
        square = tile * U + tl.arange(0, U)
        i = tl.arange(0, 8)
        x = tl.load(squares + 2 * square)[:, None] * 8 + i[None, :]
        y = tl.load(squares + 2 * square + 1)[:, None] * 8 + i[None, :]
        at_x = theta + e * PB * MP + x[:, :, None] * MP + k[None, None, :]
        at_y = theta + e * PB * MP + y[:, :, None] * MP + k[None, None, :]
    xit += e * PP * MP
    j1 = tl.arange(0, J1)
    at1 = xit + j1[None, :] * MP + k[:, None]
    sum1 = tl.zeros([U * 64, J1], tl.float32)
    if J2 > 0:
        j2 = J1 + tl.arange(0, J2)
        at2 = xit + j2[None, :] * MP + k[:, None]
        sum2 = tl.zeros([U * 64, J2], tl.float32)
    if J3 > 0:
        j3 = J1 + J2 + tl.arange(0, J3)
        at3 = xit + j3[None, :] * MP + k[:, None]
        sum3 = tl.zeros([U * 64, J3], tl.float32)
    for m in range(s * per, tl.minimum((s + 1) * per, MP), BK):
        hx = tl.load(at_x + m)
        hy = tl.load(at_y + m)
        if not GATHER:
            hx = tl.reshape(hx[:, :, None, :] + hy[:, None, :, :], [U * 64, BK])
        else:
            hx += hy
        a = _act(hx, ACT)
        sum1 = tl.dot(a, tl.load(at1 + m), sum1, input_precision=PREC)
        if J2 > 0:
            sum2 = tl.dot(a, tl.load(at2 + m), sum2, input_precision=PREC)
        if J3 > 0:
            sum3 = tl.dot(a, tl.load(at3 + m), sum3, input_precision=PREC)
        if SETTLE:
            sum1 = _settle(sum1)
            if J2 > 0:
                sum2 = _settle(sum2)
            if J3 > 0:
                sum3 = _settle(sum3)
    rows = tile * (U * 64) + tl.arange(0, U * 64)
    out += (s * E + e) * R * PP
    tl.store(out + rows[:, None] * PP + j1[None, :], sum1)
    if J2 > 0:
        tl.store(out + rows[:, None] * PP + j2[None, :], sum2)
    if J3 > 0:
        tl.store(out + rows[:, None] * PP + j3[None, :], sum3)


@_kernel
def _softmax(part, label, row_n, count, total, g, gt, logp, sums, P, R, N, S,
             PP: tl.constexpr, JW: tl.constexpr, BR: tl.constexpr, LOGP: tl.constexpr):  # fmt: skip
    """Add the partial logits; metrics; then g = (softmax - right answer) * weight, or log-probabilities.

    g [R, PP] and gt, its transpose, feed the two gradients; logp [N, P] is in the order of `pairs`.
    sums [blocks, 16] holds the loss and the number right in each group, of this block of rows.
    """
    block = tl.program_id(0)
    e = tl.program_id(1).to(tl.int64)
    E = tl.num_programs(1)
    r = block * BR + tl.arange(0, BR)
    j = tl.arange(0, JW)
    f = tl.zeros([BR, JW], tl.float32)
    for s in range(0, S):
        f += tl.load(part + (s * E + e) * R * PP + r[:, None] * PP + j[None, :], mask=j[None, :] < PP, other=0.0)
    f = tl.where(j[None, :] < P, f, float("-inf"))
    right = tl.load(label + r)
    top = tl.max(f, 1)
    answer = tl.min(tl.where(f == top[:, None], j[None, :], JW), 1)
    correct = (answer == right).to(tl.float32)
    z = tl.sum(tl.exp(f - top[:, None]), 1)
    # In this order: next to a large top, log z of a sure answer would be lost.
    lp = (f - top[:, None]) - tl.log(z)[:, None]
    hit = j[None, :] == right[:, None]
    loss = -tl.sum(tl.where(hit, lp, 0.0), 1)

    group = tl.arange(0, 8)
    n_RG = tl.load(count + e * R * 8 + r[:, None] * 8 + group[None, :])
    # A padded row must not spoil a sum, whatever its loss is.
    real = n_RG > 0.0
    at = sums + (e * tl.num_programs(0) + block) * 16 + group
    tl.store(at, tl.sum(tl.where(real, n_RG * loss[:, None], 0.0), 0))
    tl.store(at + 8, tl.sum(n_RG * correct[:, None], 0))
    if LOGP:
        n = tl.load(row_n + r)
        tl.store(
            logp + e * N * P + n[:, None] * P + j[None, :], lp, mask=(n[:, None] >= 0) & (j[None, :] < P)
        )  # fmt: skip
    else:
        weight = tl.load(count + e * R * 8 + r * 8) / tl.load(total + e * 8)
        d = (tl.exp(lp) - tl.where(hit, 1.0, 0.0)) * weight[:, None]
        d = tl.where(j[None, :] < P, d, 0.0)
        tl.store(g + e * R * PP + r[:, None] * PP + j[None, :], d, mask=j[None, :] < PP)
        tl.store(gt + e * PP * R + j[:, None] * R + r[None, :], tl.trans(d), mask=j[:, None] < PP)


@_kernel
def _finish(sums, total, out, stride_out, blocks, G: tl.constexpr, BB: tl.constexpr):
    """Metrics [2 G] from the sums of all blocks of rows; a group without pairs gives 0 / 0 = NaN."""
    e = tl.program_id(0).to(tl.int64)
    b = tl.arange(0, BB)
    c = tl.arange(0, 16)
    add = tl.zeros([BB, 16], tl.float32)
    for start in range(0, blocks, BB):
        add += tl.load(
            sums + (e * blocks + start + b[:, None]) * 16 + c[None, :], mask=start + b[:, None] < blocks, other=0.0
        )
    # Rounded division: the fast one makes 0.99999994 of a full score.
    value = tl.div_rn(tl.sum(add, 0), tl.load(total + e * 8 + c % 8))
    tl.store(out + e * stride_out + (c // 8) * G + c % 8, value, mask=c % 8 < G)


@_kernel
def _dxi(theta, gt, squares, out, stride_out, PB, MP, R, per, last, M, P,
         BM: tl.constexpr, PART: tl.constexpr, ACT: tl.constexpr, PREC: tl.constexpr, SETTLE: tl.constexpr,
         PP: tl.constexpr, J1: tl.constexpr, J2: tl.constexpr, J3: tl.constexpr):  # fmt: skip
    """d xi = act(h)^T g over the squares of part s; into partial sums [S, E, MP, PP] or at once into d xi."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    s = tl.program_id(1)
    e = tl.program_id(2).to(tl.int64)
    E = tl.num_programs(2)
    r = tl.arange(0, 64)
    i = tl.arange(0, 8)
    theta += e * PB * MP
    gt += e * PP * R
    j1 = tl.arange(0, J1)
    at1 = gt + j1[None, :] * R + r[:, None]
    sum1 = tl.zeros([BM, J1], tl.float32)
    if J2 > 0:
        j2 = J1 + tl.arange(0, J2)
        at2 = gt + j2[None, :] * R + r[:, None]
        sum2 = tl.zeros([BM, J2], tl.float32)
    if J3 > 0:
        j3 = J1 + J2 + tl.arange(0, J3)
        at3 = gt + j3[None, :] * R + r[:, None]
        sum3 = tl.zeros([BM, J3], tl.float32)
    at_h = theta + i[None, :] * MP + m[:, None]
    for u in range(s * per, tl.minimum((s + 1) * per, last)):
        x = tl.load(squares + 2 * u) * 8
        y = tl.load(squares + 2 * u + 1) * 8
        hx = tl.load(at_h + x * MP)
        hy = tl.load(at_h + y * MP)
        a = tl.reshape(_act(hx[:, :, None] + hy[:, None, :], ACT), [BM, 64])
        sum1 = tl.dot(a, tl.load(at1 + u * 64), sum1, input_precision=PREC)
        if J2 > 0:
            sum2 = tl.dot(a, tl.load(at2 + u * 64), sum2, input_precision=PREC)
        if J3 > 0:
            sum3 = tl.dot(a, tl.load(at3 + u * 64), sum3, input_precision=PREC)
        if SETTLE:
            sum1 = _settle(sum1)
            if J2 > 0:
                sum2 = _settle(sum2)
            if J3 > 0:
                sum3 = _settle(sum3)
    if PART:
        out += (s * E + e) * MP * PP
        tl.store(out + m[:, None] * PP + j1[None, :], sum1)
        if J2 > 0:
            tl.store(out + m[:, None] * PP + j2[None, :], sum2)
        if J3 > 0:
            tl.store(out + m[:, None] * PP + j3[None, :], sum3)
    else:
        out += e * stride_out
        inside = m[:, None] < M
        tl.store(out + m[:, None] * P + j1[None, :], sum1, mask=inside & (j1[None, :] < P))
        if J2 > 0:
            tl.store(out + m[:, None] * P + j2[None, :], sum2, mask=inside & (j2[None, :] < P))
        if J3 > 0:
            tl.store(out + m[:, None] * P + j3[None, :], sum3, mask=inside & (j3[None, :] < P))


@_kernel
def _sum_dxi(part, out, stride_out, M, P, MP, S, PP: tl.constexpr, JW: tl.constexpr, BM: tl.constexpr):
    """d xi [M, P] from its partial sums [S, E, MP, PP]."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    e = tl.program_id(1).to(tl.int64)
    E = tl.num_programs(1)
    j = tl.arange(0, JW)
    inside = (m[:, None] < M) & (j[None, :] < P)
    add = tl.zeros([BM, JW], tl.float32)
    for s in range(0, S):
        add += tl.load(part + (s * E + e) * MP * PP + m[:, None] * PP + j[None, :], mask=inside, other=0.0)
    tl.store(out + e * stride_out + m[:, None] * P + j[None, :], add, mask=inside)


@_kernel
def _dtheta(theta, xi, g, out, stride_out, x_part, y_part, PB, MP, R, M, P, nb, squares,
            BM: tl.constexpr, V: tl.constexpr, TWICE: tl.constexpr, ACT: tl.constexpr, PREC: tl.constexpr,
            PP: tl.constexpr, J1: tl.constexpr, J2: tl.constexpr, J3: tl.constexpr):  # fmt: skip
    """d theta of the 8 residues of X: dh^T = xi g^T a tile at a time, masked by act', summed over the other residue.

    TWICE: each square is computed from both of its sides, and d theta is complete here.  Otherwise
    X meets only Z >= X, its own sums go to x_part [PB, MP] and those of the others to
    y_part [squares, 8, MP], half the arithmetic for one more pass over memory.
    Neurons are the rows of the product so that a thread holds whole sums over i and a quarter of those over j.
    """
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    X = tl.program_id(1)
    e = tl.program_id(2).to(tl.int64)
    theta += e * PB * MP
    xi += e * MP * PP
    g += e * R * PP
    i = tl.arange(0, 8)
    c = tl.arange(0, V * 64)
    v = tl.arange(0, V)
    j1 = tl.arange(0, J1)
    w1 = tl.load(xi + m[:, None] * PP + j1[None, :])
    if J2 > 0:
        j2 = J1 + tl.arange(0, J2)
        w2 = tl.load(xi + m[:, None] * PP + j2[None, :])
    if J3 > 0:
        j3 = J1 + J2 + tl.arange(0, J3)
        w3 = tl.load(xi + m[:, None] * PP + j3[None, :])
    hx = tl.load(theta + (X * 8 + i)[None, :] * MP + m[:, None])
    add = tl.zeros([BM, 8], tl.float32)
    first = X
    if TWICE:
        first = 0
    for start in range(first, nb, V):
        Z_C = tl.minimum(start + c // 64, nb - 1)
        lo = tl.minimum(X, Z_C)
        row = (lo * nb - lo * (lo - 1) // 2 + tl.maximum(X, Z_C) - lo) * 64 + c % 64
        dh = tl.dot(w1, tl.load(g + row[None, :] * PP + j1[:, None]), input_precision=PREC)
        if J2 > 0:
            dh = tl.dot(w2, tl.load(g + row[None, :] * PP + j2[:, None]), dh, input_precision=PREC)
        if J3 > 0:
            dh = tl.dot(w3, tl.load(g + row[None, :] * PP + j3[:, None]), dh, input_precision=PREC)
        d = tl.reshape(dh, [BM, V, 8, 8])
        Z = tl.minimum(start + v, nb - 1)
        real = start + v < nb
        hz = tl.load(theta + (Z[:, None] * 8 + i[None, :])[None, :, :] * MP + m[:, None, None])
        if TWICE:
            # Squares are stored with the smaller side first.
            below = (Z < X)[None, :, None]
            ha = tl.where(below, hz, hx[:, None, :])
            hb = tl.where(below, hx[:, None, :], hz)
            d = _back(d, ha[:, :, :, None] + hb[:, :, None, :], ACT)
            mine = tl.where((real & (Z >= X))[None, :, None], tl.sum(d, 3), 0.0)
            mine += tl.where((real & (Z <= X))[None, :, None], tl.sum(d, 2), 0.0)
        else:
            d = _back(d, hx[:, None, :, None] + hz[:, :, None, :], ACT)
            mine = tl.where(real[None, :, None], tl.sum(d, 3), 0.0)
            u = X * nb - X * (X - 1) // 2 + start + v - X
            tl.store(
                y_part + (e * squares + u[None, :, None]) * 8 * MP + i[None, None, :] * MP + m[:, None, None],
                tl.sum(d, 2), mask=real[None, :, None] & (m[:, None, None] < MP),
            )  # fmt: skip
        add += tl.sum(mine, 1)
    x = X * 8 + i
    if TWICE:
        tl.store(
            out + e * stride_out + x[None, :] * M + m[:, None], add, mask=(x[None, :] < P) & (m[:, None] < M)
        )  # fmt: skip
    else:
        tl.store(x_part + e * PB * MP + x[None, :] * MP + m[:, None], add)


@_kernel
def _sum_dtheta(x_part, y_part, out, stride_out, PB, MP, M, P, nb, squares, BM: tl.constexpr):
    """d theta [P, M]: what the residues of Y collected themselves, and what every X <= Y collected for them."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    Y = tl.program_id(1)
    e = tl.program_id(2).to(tl.int64)
    i = tl.arange(0, 8)
    y = Y * 8 + i
    inside = (y[:, None] < P) & (m[None, :] < M)
    add = tl.load(x_part + e * PB * MP + y[:, None] * MP + m[None, :], mask=inside, other=0.0)
    for X in range(0, Y + 1):
        u = X * nb - X * (X - 1) // 2 + Y - X
        add += tl.load(
            y_part + (e * squares + u) * 8 * MP + i[:, None] * MP + m[None, :], mask=inside, other=0.0
        )  # fmt: skip
    tl.store(out + e * stride_out + y[:, None] * M + m[None, :], add, mask=inside)


@_kernel
def _hidden(theta, squares, out, start, B, PB, MP, R, ACT: tl.constexpr, BM: tl.constexpr):
    """The activations of the B neurons from `start` on, [E, R, B], for the library's products."""
    u = tl.program_id(0)
    b = tl.program_id(1) * BM + tl.arange(0, BM)
    e = tl.program_id(2).to(tl.int64)
    i = tl.arange(0, 8)
    x = tl.load(squares + 2 * u) * 8
    y = tl.load(squares + 2 * u + 1) * 8
    at = theta + e * PB * MP + i[:, None] * MP + (start + b)[None, :]
    hx = tl.load(at + x * MP, mask=b[None, :] < B, other=0.0)
    hy = tl.load(at + y * MP, mask=b[None, :] < B, other=0.0)
    a = _act(hx[:, None, :] + hy[None, :, :], ACT)
    row = e * R + u * 64 + i[:, None, None] * 8 + i[None, :, None]
    tl.store(out + row * B + b[None, None, :], a, mask=b[None, None, :] < B)


@_kernel
def _collect(theta, dh, out, stride_out, start, B, PB, MP, R, M, P, nb, ACT: tl.constexpr, BM: tl.constexpr):
    """d theta of the 8 residues of X for a chunk of neurons, from the library's dh = g xi^T [E, R, B]."""
    b = tl.program_id(0) * BM + tl.arange(0, BM)
    X = tl.program_id(1)
    e = tl.program_id(2).to(tl.int64)
    i = tl.arange(0, 8)
    inside = b[None, :] < B
    at = theta + e * PB * MP + i[:, None] * MP + (start + b)[None, :]
    hx = tl.load(at + X * 8 * MP, mask=inside, other=0.0)
    add = tl.zeros([8, BM], tl.float32)
    # A square that lies before X on the other axis holds X along j: load it transposed.
    for Z in range(0, nb):
        lo = tl.minimum(X, Z)
        row = e * R + (lo * nb - lo * (lo - 1) // 2 + tl.maximum(X, Z) - lo) * 64
        step_x = tl.where(Z < X, 1, 8)
        at_d = dh + (row + i[:, None, None] * step_x + i[None, :, None] * (9 - step_x)) * B + b[None, None, :]
        d = tl.load(at_d, mask=b[None, None, :] < B, other=0.0)
        hz = tl.load(at + Z * 8 * MP, mask=inside, other=0.0)
        d = _back(d, hx[:, None, :] + hz[None, :, :], ACT)
        add += tl.sum(d, 1)
        if Z == X:
            # On the diagonal a row stands once for both of its members: (x, x) collects twice.
            add_T = tl.sum(d, 0)
            add += add_T
    x = X * 8 + i
    m = start + b
    tl.store(
        out + e * stride_out + x[:, None] * M + m[None, :], add,
        mask=(x[:, None] < P) & (m[None, :] < M) & inside,
    )  # fmt: skip


@_kernel
def _optimise(w, g, mom, var, count, lr_E, decay_E, sums, length,
              ADAM: tl.constexpr, SINGLE: tl.constexpr, BETA1: tl.constexpr, BETA2: tl.constexpr,
              LOG1: tl.constexpr, LOG2: tl.constexpr, EPS: tl.constexpr, WARMUP: tl.constexpr,
              B: tl.constexpr):  # fmt: skip
    """One update of a member's flat weights; `sums` gets the squares of the weights before it."""
    block = tl.program_id(0)
    e = tl.program_id(1).to(tl.int64)
    at = block * B + tl.arange(0, B)
    inside = at < length
    if not SINGLE:
        w += e * length
        g += e * length
        mom += e * length
        var += e * length
    s = tl.load(count).to(tl.float32)
    lr = tl.load(lr_E + e) * tl.minimum(s / WARMUP, 1.0)
    value = tl.load(w + at, mask=inside, other=0.0)
    slope = tl.load(g + at, mask=inside, other=0.0)
    tl.store(sums + e * tl.num_programs(0) + block, tl.sum(value * value, 0))
    value *= 1.0 - lr * tl.load(decay_E + e)
    if ADAM:
        c1 = 1.0 - tl.exp2(LOG1 * (s + 1.0))
        c2 = 1.0 - tl.exp2(LOG2 * (s + 1.0))
        first = tl.load(mom + at, mask=inside, other=0.0)
        second = tl.load(var + at, mask=inside, other=0.0)
        first += (slope - first) * (1.0 - BETA1)
        second = second * BETA2 + slope * slope * (1.0 - BETA2)
        tl.store(mom + at, first, mask=inside)
        tl.store(var + at, second, mask=inside)
        value -= lr / c1 * (first / (tl.sqrt(second) / tl.sqrt(c2) + EPS))
    else:
        value -= lr * slope
    tl.store(w + at, value, mask=inside)


@_kernel
def _norm(sums, norm, stride_norm, count, blocks, TICK: tl.constexpr, BB: tl.constexpr):
    """The norm of the weights from the sums of squares of all blocks; the last thing an update does is count it."""
    e = tl.program_id(0).to(tl.int64)
    b = tl.arange(0, BB)
    add = tl.zeros([BB], tl.float32)
    for start in range(0, blocks, BB):
        add += tl.load(sums + e * blocks + start + b, mask=start + b < blocks, other=0.0)
    tl.store(norm + e * stride_norm, tl.sqrt(tl.sum(add, 0)))
    if TICK and tl.program_id(0) == 0:
        tl.store(count, tl.load(count) + 1)


# ---------------------------------------------------------------------------------------------
# Plans: who does each product, with which tiles.  `parts` are the widths (J1, J2, J3) of the tiles of
# answers; None takes `parts_of(p)`.


@dataclass(frozen=True)
class Logits:
    """squares (of 64 rows) and neurons a tile; parts of the sum over neurons; see `_logits` and `_settle`."""

    squares: int = 2
    neurons: int = 32
    splits: int = 1
    gather: bool = False
    warps: int = 8
    stages: int = 3
    parts: tuple[int, int, int] | None = None
    settle: bool = True


@dataclass(frozen=True)
class Dxi:
    """neurons a tile; parts of the sum over rows."""

    neurons: int = 128
    splits: int = 1
    warps: int = 8
    stages: int = 2
    parts: tuple[int, int, int] | None = None
    settle: bool = True


@dataclass(frozen=True)
class Dtheta:
    """neurons and squares a tile; `twice` computes a square from both sides instead of keeping partial sums."""

    neurons: int = 128
    squares: int = 1
    twice: bool = True
    warps: int = 8
    stages: int = 2
    parts: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """None for a product means the library does it, on `chunk` neurons at a time (None: all)."""

    logits: Logits | None = None
    dxi: Dxi | None = None
    dtheta: Dtheta | None = None
    chunk: int | None = None


# The first line whose p is not exceeded counts.  Measured best of a few dozen on an H200 at p = 23, 53, 97,
# 149 and 199: a tensor core wants full tiles, and full float32 has none, so the library takes over early.
PLANS: dict[str, tuple[tuple[int, Plan], ...]] = {
    "tf32": (
        (31, Plan(Logits(1, 64, 8, warps=4, stages=2), Dxi(16, 1, 4), Dtheta(64, 1, True, 4))),
        (71, Plan(Logits(1, 32, 8, warps=4), Dxi(64, 5, 4), Dtheta(64, 1, True, 4))),
        (121, Plan(Logits(1, 32, 4, warps=4), Dxi(128, 7), Dtheta(128, 1, False, stages=1))),
        (160, Plan(Logits(1, 32, 4, warps=4), Dxi(64, 3, 4), Dtheta(128, 1, False, stages=3))),
        (199, Plan(Logits(1, 32, 4, warps=4), Dxi(64, 3, 4), Dtheta(128, 1, False))),
    ),
    "fp32": (
        (31, Plan(Logits(1, 32, 24), Dxi(32, 7, 4), Dtheta(32, 1, True, 4, 1))),
        (121, Plan()),
        (199, Plan(chunk=2048)),
    ),
}


def plan_for(p: int, precision: str) -> Plan:
    """The plan for this size."""
    return next(plan for limit, plan in PLANS[precision] if p <= limit)


def parts_of(p: int) -> tuple[int, int, int]:
    """The widths (J1, J2, J3) of the tiles of answers, at least p in all: powers of two from 16 on, or 0."""
    units = -(-p // 16)
    while units.bit_count() > 3:
        units += 1
    widths = [16 << bit for bit in reversed(range(units.bit_length())) if units >> bit & 1]
    return tuple(widths + [0] * (3 - len(widths)))


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def _pow2(n: int) -> int:
    return 1 << (n - 1).bit_length()


class FusedStep:
    """The interface of `step.Step` for one run, or for E runs at once that differ in seed, rates and split.

    Given several runs every array has a leading axis E (metrics too); the members may be strided,
    each must be contiguous.  In tf32 the caller allows it to the library as well.
    """

    def __init__(
        self, runs: Run | Sequence[Run], device="cuda", plan: Plan | None = None, precision: str | None = None
    ):
        compile_kernels()
        self.single = isinstance(runs, Run)
        self.runs = [runs] if self.single else list(runs)
        run = self.runs[0]
        if any((r.p, r.d_mlp, r.activation) != (run.p, run.d_mlp, run.activation) for r in self.runs):
            raise ValueError("the runs of an ensemble must share p, d_mlp and activation")
        self.p, self.M, self.K, self.E = run.p, run.d_mlp, run.K, len(self.runs)
        self.N = self.p * (self.K + 1)
        precision = precision or run.precision
        self.act, self.prec = run.activation, "tf32" if precision == "tf32" else "ieee"
        self.plan = plan = plan or plan_for(self.p, precision)
        widths = [tile.parts for tile in (plan.logits, plan.dxi, plan.dtheta) if tile and tile.parts]
        self.PP = max(map(sum, [parts_of(self.p), *widths]))
        self.MP = _up(self.M, 128)
        self.nb = -(-self.p // SIDE)
        self.PB, self.squares = self.nb * SIDE, self.nb * (self.nb + 1) // 2
        # Whole tiles of up to four squares; the rows of the last, incomplete one repeat square 0 with weight 0.
        self.R = _up(self.squares, 4) * ROWS
        E, like = self.E, {"device": device, "dtype": torch.float32}
        fits = max(128, CHUNK_BYTES // (4 * E * self.R) // 128 * 128)
        self.chunk = min(self.MP, fits, _up(plan.chunk or self.MP, 128))

        square_R2, self.row_n, label_R = (torch.tensor(t, device=device) for t in self._rows())
        self.square = square_R2
        self.label = label_R
        counts = np.stack([group_weights(r) for r in self.runs])
        count_ERG = np.zeros((E, self.R, 8), np.float32)
        inside = self.row_n.cpu().numpy() >= 0
        count_ERG[:, inside, : len(GROUPS)] = counts[:, self.row_n.cpu().numpy()[inside]]
        total_EG = np.ones((E, 8), np.float32)
        total_EG[:, : len(GROUPS)] = counts.sum(1)
        self.count, self.total = torch.tensor(count_ERG, **like), torch.tensor(total_EG, **like)

        self.theta_pad = torch.zeros(E, self.PB, self.MP, **like)
        self.xi_pad = torch.zeros(E, self.MP, self.PP, **like)
        self.xit_pad = torch.zeros(E, self.PP, self.MP, **like)
        self.logits = torch.empty(plan.logits.splits if plan.logits else 1, E, self.R, self.PP, **like)
        self.g = torch.empty(E, self.R, self.PP, **like)
        self.gt = torch.empty(E, self.PP, self.R, **like)
        self.g_ENP = torch.empty(E, self.N, self.p, **like)
        self.BR = 16
        self.sums = torch.empty(E, self.R // self.BR, 16, **like)
        self.metrics_E = torch.empty(E, 2 * len(GROUPS), **like)
        self.dxi_part = self.x_part = self.y_part = self.hidden = self.dh = None
        if plan.dxi is None or plan.dxi.splits > 1:
            self.dxi_part = torch.empty(plan.dxi.splits if plan.dxi else 1, E, self.MP, self.PP, **like)
        if plan.dtheta and not plan.dtheta.twice:
            self.x_part = torch.empty(E, self.PB, self.MP, **like)
            self.y_part = torch.empty(E, self.squares, SIDE, self.MP, **like)
        if plan.logits is None or plan.dxi is None:
            self.hidden = torch.empty(E * self.R * self.chunk, **like)
        if plan.dtheta is None:
            self.dh = torch.empty(E * self.R * self.chunk, **like)

    @property
    def g_NP(self) -> torch.Tensor:
        """Log-probabilities of the last `metrics`, [N, P] (or [E, N, P])."""
        return self.g_ENP[0] if self.single else self.g_ENP

    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Squares (X, Y) [R / 64, 2]; for each row its place in `pairs` or -1, and its label, [R]; int32."""
        X, Y = np.triu_indices(self.nb)
        square = np.zeros((self.R // ROWS, 2), np.int32)
        square[: self.squares] = np.stack([X, Y], 1)
        place = np.full((self.PB, self.PB), -1)
        x, y = pairs(self.p)
        place[np.minimum(x, y), np.maximum(x, y)] = np.arange(self.N)
        i, j = np.divmod(np.arange(ROWS), SIDE)
        rx, ry = square[:, :1] * SIDE + i, square[:, 1:] * SIDE + j
        row_n = place[rx, ry]
        row_n[self.squares :] = -1
        return square, row_n.ravel().astype(np.int32), ((rx + ry) % self.p).ravel().astype(np.int32)

    def _columns(self, tile: Logits | Dxi | Dtheta) -> dict[str, int]:
        J1, J2, J3 = tile.parts or parts_of(self.p)
        return {"PP": self.PP, "J1": J1, "J2": J2, "J3": J3}

    def _settle(self, tile: Logits | Dxi) -> bool:
        # Triton's interpreter, which checks these kernels on a CPU, knows no assembler.
        return tile.settle and self.prec == "tf32" and self.theta_pad.is_cuda

    def _batched(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor[None] if self.single else tensor

    # Each of the following is one stage of a step; `gradient` runs them in turn.

    def prepare(self, theta_PM, xi_MP):
        """Copy the weights into the padded layouts."""
        theta, xi = self._batched(theta_PM), self._batched(xi_MP)
        BM, BP = 64, 32
        grid = (self.MP // BM, -(-max(self.PB, self.PP) // BP), self.E)
        _prepare[grid](
            theta, xi, theta.stride(0), xi.stride(0), self.theta_pad, self.xi_pad, self.xit_pad,
            self.p, self.M, self.PB, self.MP, PP=self.PP, BM=BM, BP=BP, num_warps=4,
        )  # fmt: skip

    def _chunks(self):
        for start in range(0, self.MP, self.chunk):
            yield start, min(self.chunk, self.MP - start)

    def _fill(self, start: int, width: int) -> torch.Tensor:
        BM = 128
        _hidden[(self.R // ROWS, -(-width // BM), self.E)](
            self.theta_pad, self.square, self.hidden, start, width, self.PB, self.MP, self.R,
            ACT=self.act, BM=BM, num_warps=4,
        )  # fmt: skip
        return self.hidden[: self.E * self.R * width].view(self.E, self.R, width)

    def compute_logits(self):
        """Logits of all rows from the padded weights, as partial sums [S, E, R, PP]."""
        plan = self.plan.logits
        if plan is None:
            out = self.logits[0]
            for start, width in self._chunks():
                a, xi = self._fill(start, width), self.xi_pad[:, start : start + width]
                if start == 0:
                    torch.bmm(a, xi, out=out)
                else:
                    out.baddbmm_(a, xi)
            return
        per = _up(-(-self.MP // plan.splits), plan.neurons)
        _logits[(self.R // (ROWS * plan.squares), plan.splits, self.E)](
            self.theta_pad, self.xit_pad, self.square, self.logits, self.PB, self.MP, self.R, per,
            U=plan.squares, BK=plan.neurons, GATHER=plan.gather,
            ACT=self.act, PREC=self.prec, SETTLE=self._settle(plan), **self._columns(plan),
            num_warps=plan.warps, num_stages=plan.stages,
        )  # fmt: skip

    def softmax(self, out=None, log_probabilities: bool = False):
        """Metrics, and the gradient at the logits in both layouts (or log-probabilities, in `g_NP`)."""
        blocks = self.R // self.BR
        _softmax[(blocks, self.E)](
            self.logits, self.label, self.row_n, self.count, self.total, self.g, self.gt, self.g_ENP, self.sums,
            self.p, self.R, self.N, self.logits.shape[0],
            PP=self.PP, JW=_pow2(self.PP), BR=self.BR, LOGP=log_probabilities, num_warps=4,
        )  # fmt: skip
        if out is None:
            out = self.metrics_E[0] if self.single else self.metrics_E
        out_E = self._batched(out)
        _finish[(self.E,)](
            self.sums, self.total, out_E, out_E.stride(0), blocks, G=len(GROUPS), BB=128, num_warps=4
        )  # fmt: skip
        return out

    def compute_dxi(self, dxi_EMP):
        """d xi from the gradient at the logits, by the kernel."""
        plan = self.plan.dxi
        per = -(-self.squares // plan.splits)
        partial = plan.splits > 1
        out = self.dxi_part if partial else dxi_EMP
        _dxi[(-(-self.MP // plan.neurons), plan.splits, self.E)](
            self.theta_pad, self.gt, self.square, out, dxi_EMP.stride(0), self.PB, self.MP, self.R, per, self.squares,
            self.M, self.p, BM=plan.neurons, PART=partial,
            ACT=self.act, PREC=self.prec, SETTLE=self._settle(plan), **self._columns(plan),
            num_warps=plan.warps, num_stages=plan.stages,
        )  # fmt: skip
        if partial:
            self._sum_dxi(dxi_EMP)

    def _sum_dxi(self, dxi_EMP):
        BM = 16
        _sum_dxi[(-(-self.M // BM), self.E)](
            self.dxi_part, dxi_EMP, dxi_EMP.stride(0), self.M, self.p, self.MP, self.dxi_part.shape[0],
            PP=self.PP, JW=_pow2(self.PP), BM=BM, num_warps=4,
        )  # fmt: skip

    def compute_dtheta(self, dtheta_EPM):
        """d theta from the gradient at the logits, by the kernel."""
        plan = self.plan.dtheta
        _dtheta[(-(-self.MP // plan.neurons), self.nb, self.E)](
            self.theta_pad, self.xi_pad, self.g, dtheta_EPM, dtheta_EPM.stride(0), self.x_part, self.y_part,
            self.PB, self.MP, self.R, self.M, self.p, self.nb, self.squares,
            BM=plan.neurons, V=plan.squares, TWICE=plan.twice, ACT=self.act, PREC=self.prec, **self._columns(plan),
            num_warps=plan.warps, num_stages=plan.stages,
        )  # fmt: skip
        if not plan.twice:
            BM = 256
            _sum_dtheta[(-(-self.M // BM), self.nb, self.E)](
                self.x_part, self.y_part, dtheta_EPM, dtheta_EPM.stride(0), self.PB, self.MP, self.M, self.p,
                self.nb, self.squares, BM=BM, num_warps=4,
            )  # fmt: skip

    def compute_by_library(self, dtheta_EPM, dxi_EMP):
        """Whichever of d theta and d xi the plan leaves to the library, a chunk of neurons at a time."""
        for start, width in self._chunks():
            if self.plan.dxi is None:
                # One chunk of all neurons is still there from the logits.
                kept = self.plan.logits is None and width == self.MP
                size = self.E * self.R * width
                a = self.hidden[:size].view(self.E, self.R, width) if kept else self._fill(start, width)
                torch.bmm(a.transpose(1, 2), self.g, out=self.dxi_part[0, :, start : start + width])
            if self.plan.dtheta is None:
                dh = self.dh[: self.E * self.R * width].view(self.E, self.R, width)
                torch.bmm(self.g, self.xi_pad[:, start : start + width].transpose(1, 2), out=dh)
                BM = 64
                _collect[(-(-width // BM), self.nb, self.E)](
                    self.theta_pad, dh, dtheta_EPM, dtheta_EPM.stride(0), start, width, self.PB, self.MP, self.R,
                    self.M, self.p, self.nb, ACT=self.act, BM=BM, num_warps=4,
                )  # fmt: skip
        if self.plan.dxi is None:
            self._sum_dxi(dxi_EMP)

    def forward(self, theta_PM, xi_MP):
        """The logits of every unordered pair in the order of `pairs`, [N, P]; a new tensor."""
        self.prepare(theta_PM, xi_MP)
        self.compute_logits()
        logits_ERP = self.logits.sum(0)[..., : self.p]
        logits_ENP = torch.empty_like(self.g_ENP)
        real = self.row_n >= 0
        logits_ENP[:, self.row_n[real].long()] = logits_ERP[:, real]
        return logits_ENP[0] if self.single else logits_ENP

    def metrics(self, theta_PM, xi_MP, out=None):
        """Forward pass and METRICS (but the norm) as [10]; leaves log-probabilities in `g_NP`."""
        self.prepare(theta_PM, xi_MP)
        self.compute_logits()
        return self.softmax(out, log_probabilities=True)

    def gradient(self, theta_PM, xi_MP, dtheta_PM, dxi_MP, out=None):
        """Metrics of these weights, and the gradient of the training loss into dtheta_PM, dxi_MP."""
        self.prepare(theta_PM, xi_MP)
        self.compute_logits()
        out = self.softmax(out)
        dtheta, dxi = self._batched(dtheta_PM), self._batched(dxi_MP)
        if self.plan.dxi:
            self.compute_dxi(dxi)
        if self.plan.dtheta:
            self.compute_dtheta(dtheta)
        if self.plan.dxi is None or self.plan.dtheta is None:
            self.compute_by_library(dtheta, dxi)
        return out


class FusedOptimizer:
    """`optim.Optimizer` in one pass over memory; w and its gradient are flat, [L] or [E, L].

    Members keep their own rates and share the step.  `update(g, norm)` also writes the norm of the
    weights before the update, which comes free with the pass, into `norm` ([1] or [E]).
    """

    BLOCK = 4096

    def __init__(self, runs: Run | Sequence[Run], w: torch.Tensor):
        compile_kernels()
        self.runs = [runs] if isinstance(runs, Run) else list(runs)
        if len({run.optimizer for run in self.runs}) > 1:
            raise ValueError("the runs of an ensemble must share the optimiser")
        self.w, self.adam = w, self.runs[0].optimizer == "adamw"
        self.m, self.v = (torch.zeros_like(w) for _ in range(2)) if self.adam else (w, w)
        like = {"device": w.device, "dtype": torch.float32}
        self.lr = torch.tensor([run.lr for run in self.runs], **like)
        self.weight_decay = torch.tensor([run.weight_decay for run in self.runs], **like)
        self.count = torch.zeros(1, dtype=torch.int64, device=w.device)
        self.length = w.numel() // len(self.runs)
        self.blocks = -(-self.length // self.BLOCK)
        self.sums = torch.empty(len(self.runs), self.blocks, **like)
        self.norm = torch.empty(len(self.runs), **like)

    @property
    def step(self) -> int:
        """Updates made so far."""
        return int(self.count)

    @step.setter
    def step(self, value: int):
        self.count.fill_(value)

    def moments(self) -> dict[str, torch.Tensor]:
        """What besides the weights decides the next update."""
        return {"m": self.m, "v": self.v} if self.adam else {}

    def update(self, g: torch.Tensor, norm: torch.Tensor | None = None):
        norm = self.norm if norm is None else norm
        E = len(self.runs)
        _optimise[(self.blocks, E)](
            self.w, g, self.m, self.v, self.count, self.lr, self.weight_decay, self.sums, self.length,
            ADAM=self.adam, SINGLE=E == 1, BETA1=BETA1, BETA2=BETA2,
            LOG1=float(np.log2(BETA1)), LOG2=float(np.log2(BETA2)), EPS=EPS, WARMUP=WARMUP,
            B=self.BLOCK, num_warps=8,
        )  # fmt: skip
        _norm[(E,)](
            self.sums, norm, norm.stride(0) if E > 1 else 0, self.count, self.blocks, TICK=True, BB=1024, num_warps=4
        )  # fmt: skip
