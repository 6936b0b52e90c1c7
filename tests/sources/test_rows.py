from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pixfold.sources.disk import rows
from pixfold.sources.disk.rows import read_csr, read_dense, rising


class Counted:
    """An array that counts what is read of it."""

    def __init__(self, array: Any, chunks: tuple[int, ...] | None = None) -> None:
        self.array, self.chunks = array, chunks
        self.shape, self.dtype = array.shape, array.dtype
        self.parts: list[tuple[int, int]] = []

    def __getitem__(self, part: slice) -> Any:
        self.parts.append((part.start, part.stop))
        return self.array[part]


def test_rising_order() -> None:
    for wanted in (slice(1, 4), np.array([1, 5, 9])):
        assert rising(wanted) == (wanted, None) or rising(wanted)[0] is wanted
    once, order = rising(np.array([5, 1, 5]))
    assert order is not None
    assert np.asarray(once)[order].tolist() == [5, 1, 5]


WANTED = np.array([0, 2, 3, 9, 10, 30, 39])


@pytest.mark.parametrize(
    ("chunks", "gap", "block", "parts"),
    [
        (None, 1, 10**6, [(0, 1), (2, 4), (9, 11), (30, 31), (39, 40)]),
        (None, 40 * 4, 10**6, [(0, 11), (30, 40)]),
        (None, 10**6, 10**6, [(0, 40)]),
        (None, 10**6, 4 * 4 * 5, [(0, 4), (9, 11), (30, 31), (39, 40)]),
        ((20, 4), 1, 10**6, [(0, 40)]),
    ],
)
def test_near_rows_are_read_together(
    monkeypatch: pytest.MonkeyPatch, chunks: Any, gap: int, block: int, parts: Any
) -> None:
    monkeypatch.setattr(rows, "_GAP_BYTES", gap)
    monkeypatch.setattr(rows, "BLOCK_BYTES", block)
    X = np.arange(160, dtype=np.float32).reshape(40, 4)
    array = Counted(X, chunks)
    np.testing.assert_array_equal(read_dense(array, WANTED, X.dtype), X[WANTED])
    assert array.parts == parts


@pytest.mark.parametrize("gap", [1, 40, 10**6])
@pytest.mark.parametrize("block", [8, 200, 10**6])
@pytest.mark.parametrize("wanted", [slice(3, 20), slice(4, 4), WANTED, np.array([7])], ids=str)
def test_sparse_rows(monkeypatch: pytest.MonkeyPatch, gap: int, block: int, wanted: Any) -> None:
    monkeypatch.setattr(rows, "_GAP_BYTES", gap)
    monkeypatch.setattr(rows, "BLOCK_BYTES", block)
    X: Any = sparse.random(40, 30, 0.2, format="csr", dtype=np.float32, rng=np.random.default_rng(1))
    X.data[X.indptr[9] : X.indptr[10]] = 0
    X.eliminate_zeros()
    parts = read_csr(X.indptr.astype(np.int64), Counted(X.indices), Counted(X.data), wanted, np.dtype(np.float64))
    assert parts[0].dtype == np.float64
    result = sparse.csr_matrix(parts, shape=(len(parts[2]) - 1, 30))
    np.testing.assert_array_equal(result.toarray(), X[wanted].toarray())
