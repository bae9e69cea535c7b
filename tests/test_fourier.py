"""The real discrete Fourier transform on Z_p, and its cosines."""

import numpy as np
import pytest
import torch
from conftest import EXACT
from hypothesis import given
from hypothesis import strategies as st

from modadd.maths import fourier

SIZES = [3, 5, 7, 23, 97]


def some_rows(p, M=11, seed=0):
    return np.random.default_rng(seed).normal(size=(M, p))


@pytest.mark.parametrize("p", [*SIZES, 199])
def test_the_basis_is_orthonormal(p):
    basis = fourier.basis(p)
    np.testing.assert_allclose(basis @ basis.T, np.eye(p), atol=EXACT)


@pytest.mark.parametrize("p", SIZES)
def test_the_basis_rows_are_what_their_names_say(p):
    names, j = fourier.mode_names(p), np.arange(p)
    assert names[:3] == ["Const", "cos 1", "sin 1"]
    assert len(names) == len(set(names)) == p
    for name, row in zip(names, fourier.basis(p), strict=True):
        function, _, k = name.partition(" ")
        expected = np.full(p, 1 / np.sqrt(p))
        if k:
            expected = np.sqrt(2 / p) * getattr(np, function)(2 * np.pi * int(k) / p * j)
        np.testing.assert_allclose(row, expected, atol=EXACT)


@pytest.mark.parametrize("p", SIZES)
def test_energy_is_kept(p):
    rows = some_rows(p)
    np.testing.assert_allclose((fourier.dft(rows) ** 2).sum(-1), (rows**2).sum(-1), rtol=EXACT)


@pytest.mark.parametrize("p", SIZES)
def test_cosines_rebuild_the_row(p):
    rows = some_rows(p)
    coef = fourier.dft(rows)
    rebuilt = fourier.from_cosines(*fourier.cosines(coef)) + rows.mean(-1, keepdims=True)
    np.testing.assert_allclose(rebuilt, rows, atol=EXACT)


@pytest.mark.parametrize("p", SIZES)
def test_a_cosine_row_is_read_by_its_formula(p):
    K = (p - 1) // 2
    j = np.arange(p)
    for k in range(1, K + 1):
        row = 1.7 * np.cos(2 * np.pi * k / p * j + 0.3)
        magnitude, phase = fourier.cosines(fourier.dft(row[None]))
        expected = np.zeros((1, K))
        expected[0, k - 1] = 1.7
        np.testing.assert_allclose(magnitude, expected, atol=EXACT)
        assert phase[0, k - 1] == pytest.approx(0.3, abs=EXACT)
        np.testing.assert_allclose(fourier.from_cosines(magnitude, phase)[0], row, atol=EXACT)


def test_amplitude_and_magnitude_differ_by_the_norm_of_a_cosine():
    coef = fourier.dft(some_rows(7))
    np.testing.assert_allclose(fourier.cosines(coef)[0], fourier.amplitudes(coef) * np.sqrt(2 / 7), rtol=EXACT)


def test_float32_rows_are_transformed_in_float64():
    rows = some_rows(23).astype(np.float32)
    for array in (rows, torch.tensor(rows)):
        coef = fourier.dft(array)
        assert str(coef.dtype).endswith("float64")
        np.testing.assert_allclose(np.asarray(coef), rows.astype(float) @ fourier.basis(23).T, atol=EXACT)


def test_torch_and_numpy_agree():
    rows = some_rows(23)
    coef, coef_t = fourier.dft(rows), fourier.dft(torch.tensor(rows))
    for one, other in [
        (coef, coef_t),
        *zip(fourier.cosines(coef), fourier.cosines(coef_t), strict=True),
        (fourier.ipr(fourier.amplitudes(coef)), fourier.ipr(fourier.amplitudes(coef_t))),
        (fourier.wrap(3 * rows), fourier.wrap(3 * torch.tensor(rows))),
    ]:
        assert isinstance(one, np.ndarray)
        assert isinstance(other, torch.Tensor)
        np.testing.assert_allclose(one, other.numpy(), atol=EXACT)


def test_nobody_can_write_into_the_shared_basis():
    with pytest.raises(ValueError, match="read-only"):
        fourier.basis(7)[0, 0] = 1
    fourier.dft(torch.zeros(2, 7)).add_(1)
    np.testing.assert_allclose(fourier.basis(7)[0], 1 / np.sqrt(7), atol=EXACT)


# -- wrap ---------------------------------------------------------------------------------------


@given(st.floats(-100, 100))
def test_wrapping_keeps_the_angle_and_lands_in_one_turn(angle):
    wrapped = fourier.wrap(np.array([angle]))[0]
    assert -np.pi < wrapped <= np.pi
    assert np.exp(1j * wrapped) == pytest.approx(np.exp(1j * angle), abs=100 * EXACT)


def test_the_half_turn_is_positive():
    np.testing.assert_array_equal(fourier.wrap(np.array([np.pi, -np.pi])), [np.pi, np.pi])
    assert fourier.wrap(torch.tensor([-np.pi], dtype=torch.float64)).item() == np.pi


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("turns", [-3, -1, 0, 1, 40])
def test_angles_a_rounding_error_away_from_a_half_turn_stay_above_minus_pi(dtype, turns):
    half = dtype((2 * turns + 1) * np.pi)
    angles = np.array([np.nextafter(half, dtype(-1e9)), half, np.nextafter(half, dtype(1e9))], dtype)
    for wrapped in (fourier.wrap(angles), fourier.wrap(torch.tensor(angles)).numpy()):
        assert wrapped.dtype == dtype
        assert (wrapped > -dtype(np.pi)).all()
        assert (wrapped <= dtype(np.pi)).all()


def test_small_angles_stay():
    angles = np.array([-3.1, -0.5, 0.0, 0.5, 3.1])
    np.testing.assert_allclose(fourier.wrap(angles), angles, atol=EXACT)
    np.testing.assert_allclose(fourier.wrap(angles + 6 * np.pi), angles, atol=100 * EXACT)
