"""Layouts, samples and instruction sets that the tests of the ops share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from pixfold import _core
from pixfold.arrays import cuda as _cuda_arrays
from pixfold.arrays import cuda_extension as _cuda_extension
from pixfold.layout import Layout

# Below a sanitizer, which is slow, only the instruction set that would be chosen; tests/cpp has all of them there.
ISAS = [_core.isa()] if os.environ.get("PIXFOLD_TEST_ONE_ISA") else _core.isas()


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once with the kernels of each instruction set this machine has."""
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


KINDS = ["natural", "shuffled", "rectangular", "channels", "gaps", "coordinates", "many", "keep", "shuffled keep"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Run the test once with each kind of layout that `make_layout` builds; a test may name some of its own."""
    return str(request.param)


def _layout(kind: str, n: int, seed: int = 0) -> Layout:
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n)))
    if kind == "natural":
        return Layout.natural(n)
    if kind == "shuffled":
        return Layout.shuffled(n, seed=seed)
    if kind == "rectangular":
        return Layout.natural(n, shape=(2, n // 2 + 3))
    if kind == "channels":
        return Layout.shuffled(n, seed=seed, channels=3)
    if kind == "gaps":
        # Twice the pixels that are needed, every feature anywhere among them.
        index = rng.permutation(2 * side * side)[:n]
        return Layout.from_index(index, shape=(2 * side, side))
    if kind == "coordinates":
        index = rng.permutation(side * side)[:n]
        return Layout.from_coordinates(index // side, index % side, (side, side))
    if kind == "many":
        # About four features per pixel, so some pixels are shared, some single, some empty.
        small = max(1, side // 2)
        return Layout.from_coordinates(rng.integers(0, small, n), rng.integers(0, small, n), (small + 1, small))
    keep = rng.random(n) < 0.7
    keep[rng.integers(n)] = True
    if kind == "keep":
        return Layout.natural(n, keep=keep)
    if kind == "shuffled keep":
        return Layout.shuffled(n, seed=seed, keep=keep)
    raise KeyError(kind)


def _samples(n: int, n_features: int, dtype: str = "float32", storage: str = "C", seed: int = 0) -> Any:
    """Non-negative samples with zeros, up to 60 (8-bit integers hold them), in the storage asked for."""
    rng = np.random.default_rng(seed)
    values = np.minimum(rng.gamma(0.7, 8.0, (n, n_features)), 60.0)
    values[rng.random((n, n_features)) < 0.3] = 0.0
    if dtype == "bool":
        values = values > 3.0
    x = values.astype(dtype)
    if storage == "C":
        return x
    if storage == "Fortran":
        return np.asfortranarray(x)
    if storage == "read-only":
        x.setflags(write=False)
        return x
    if storage in ("csr32", "csr64"):
        x[rng.random((n, n_features)) < 0.7] = 0
        index = "int32" if storage == "csr32" else "int64"
        matrix = scipy.sparse.csr_array(x)
        return scipy.sparse.csr_array(
            (matrix.data, matrix.indices.astype(index), matrix.indptr.astype(index)), shape=x.shape
        )
    if storage == "every second row":
        wide = np.full((2 * n, n_features), 7, dtype=dtype)
        wide[::2] = x
        return wide[::2]
    if storage == "every third column":
        wide = np.full((n, 3 * n_features), 7, dtype=dtype)
        wide[:, ::3] = x
        return wide[:, ::3]
    if storage == "rows reversed":
        return np.ascontiguousarray(x[::-1])[::-1]
    if storage == "columns reversed":
        return np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    if storage == "padded rows":
        wide = np.full((n, n_features + 5), 7, dtype=dtype)
        wide[:, :n_features] = x
        return wide[:, :n_features]
    if storage == "broadcast":
        return np.broadcast_to(x[:1], x.shape)
    raise KeyError(storage)


@pytest.fixture(scope="session")
def make_layout() -> Callable[..., Layout]:
    """Build a layout of n features by the name of its kind."""
    return _layout


@pytest.fixture(scope="session")
def make_samples() -> Callable[..., Any]:
    """Build seeded samples by dtype and storage."""
    return _samples


@pytest.fixture(scope="session")
def simulated() -> bool:
    """Whether the CUDA extension is the one whose kernels run on the host."""
    return _cuda_extension.is_built() and _cuda_extension.load().archs == ["simt"]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, simulated: bool) -> Iterator[str]:
    """Where tensors go to come to the CUDA kernels.

    With a card and the extension they run on it. Under `make sanitize-address` the extension is the one of
    tests/cpp/simt, whose kernels run on the host: then tensors of the CPU go the way of a card's.
    """
    torch = pytest.importorskip("torch")
    if not _cuda_extension.is_built():
        pytest.skip("pixfold was built without the CUDA extension")
    # Both sets with fused multiply-add have the device's bits; see csrc/include/pixfold/fold.hpp.
    before = _core.isa()
    if "avx2" in _core.isas():
        _core.set_isa("avx2")
    if simulated:
        for question in ("is_on_cuda", "has_kernels"):
            monkeypatch.setattr(_cuda_arrays, question, lambda x: isinstance(x, torch.Tensor))
        yield "cpu"
    elif torch.cuda.is_available():
        yield "cuda"
    else:
        pytest.skip("torch finds no CUDA device")
    _core.set_isa(before)
