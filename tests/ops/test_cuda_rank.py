"""rank and top_k on CUDA give the CPU's results: see `device` in conftest.py for where these tests run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pixfold
from pixfold.errors import InputError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.gpu

IMPORTANCES: dict[str, Callable[[Any, int], Any]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "float32": lambda rng, n: rng.normal(size=n).astype(np.float32),
    "tied": lambda rng, n: rng.integers(0, 5, n) / 3.0,
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.random(n)),
    "equal": lambda rng, n: np.full(n, 0.25),
    "infinite": lambda rng, n: rng.choice([np.inf, -np.inf, 0.0, -0.0, 1e308, 5e-324], n),
    "int64": lambda rng, n: rng.integers(-3, 1000, n),
    "bool": lambda rng, n: rng.random(n) < 0.5,
}


@pytest.mark.parametrize("n", [1, 2, 17, 256, 3000])
@pytest.mark.parametrize("kind", sorted(IMPORTANCES))
def test_rank_and_top_k(device: str, kind: str, n: int):
    importance = IMPORTANCES[kind](np.random.default_rng(n), n)
    on_device = torch.from_numpy(importance).to(device)
    ranks = pixfold.rank(on_device)
    assert ranks.dtype == torch.float64
    assert ranks.device == on_device.device
    np.testing.assert_array_equal(ranks.cpu().numpy(), pixfold.rank(importance))
    for k in (0, 1, 3, n // 2, n - 1, n, n + 5, 2**70):
        positions = pixfold.top_k(on_device, k)
        assert positions.dtype == torch.int64
        assert positions.device == on_device.device
        np.testing.assert_array_equal(positions.cpu().numpy(), pixfold.top_k(importance, k))


def test_no_importances(device: str):
    empty = torch.ones(0, device=device)
    assert pixfold.rank(empty).shape == (0,)
    assert pixfold.top_k(empty, 3).shape == (0,)


def test_every_second(device: str):
    importance = np.random.default_rng(0).normal(size=40)
    ranks = pixfold.rank(torch.from_numpy(importance).to(device)[::2])
    np.testing.assert_array_equal(ranks.cpu().numpy(), pixfold.rank(importance[::2]))


@pytest.mark.parametrize("op", [pixfold.rank, lambda x: pixfold.top_k(x, 2)])
def test_bad_importances(device: str, op: Callable[[Any], Any]):
    values = torch.ones(50, device=device)
    values[31:] = torch.nan
    with pytest.raises(InputError, match="importance must be free of NaN, got NaN at position 31"):
        op(values)
    with pytest.raises(InputError, match=r"importance must be one-dimensional, got shape \(2, 3\)"):
        op(torch.ones((2, 3), device=device))
    with pytest.raises(TypeError, match="importance must be of a real dtype"):
        op(torch.ones(3, dtype=torch.complex64, device=device))
    with pytest.raises(InputError, match="importance requires a gradient"):
        op(torch.ones(3, device=device, requires_grad=True))
