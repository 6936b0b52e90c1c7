from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.sources import ArraySource
from pixfold.stream.blocks import sample_bytes
from pixfold.stream.scan import scan

N, F = 37, 301


def matrix(dtype: str, seed: int = 0) -> np.ndarray:
    """Values with empty samples and features, and where the type has them, missing ones in both."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, (N, F)).astype(np.float64)
    x[rng.random((N, F)) < 0.6] = 0
    x[[2, 11, 30]] = 0
    x[:, [0, 7, 300]] = 0
    # A sample whose only value stands last, and one whose values add up to zero.
    x[5] = 0
    x[5, F - 1] = 1
    x[6] = 0
    x[6, 100], x[6, 200] = -2, 2
    if np.dtype(dtype).kind == "f":
        x[rng.random((N, F)) < 0.1] = np.nan
        x[11] = np.nan
        x[5, F - 1] = 1
    if np.dtype(dtype).kind == "u":
        x = abs(x)
    return x.astype(dtype)


def check(source: ArraySource, x: np.ndarray, rows: np.ndarray, memory: int | None) -> None:
    found = scan(source, rows, memory=memory)
    used = x[rows].astype(np.float64)
    there = (used != 0) & ~np.isnan(used)
    empty = ~there.any(axis=1)
    np.testing.assert_array_equal(found.nonzero, there.sum(axis=0))
    np.testing.assert_array_equal(found.empty_samples, empty)
    np.testing.assert_array_equal(found.missing, np.isnan(used[~empty]).sum(axis=0))
    with np.errstate(invalid="ignore"):
        lowest, highest = np.fmin.reduce(used, axis=0), np.fmax.reduce(used, axis=0)
    np.testing.assert_array_equal(found.varies, highest > lowest)
    values = used[~np.isnan(used)]
    assert found.facts.whole == bool(np.all(values == np.floor(values)))
    assert (found.facts.smallest, found.facts.largest) == (values.min(), values.max())
    assert found.facts.n_negative == np.count_nonzero(values < 0)
    np.testing.assert_array_equal(found.facts.negative_features, np.flatnonzero((used < 0).any(axis=0)))
    known = found.varies & ((~np.isnan(used)).sum(axis=0) >= 8)
    if known.any():
        mean = np.nanmean(used[:, known], axis=0)
        expected = np.median((highest[known] - mean) / (mean - lowest[known]))
        assert found.facts.right_tail == pytest.approx(expected, rel=1e-12)
    else:
        assert np.isnan(found.facts.right_tail)


@pytest.mark.parametrize("rows_at_once", [1, 4, None])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8"])
@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sparse.csr_matrix], ids=lambda f: f.__name__)
def test_it_is_what_numpy_counts(form, dtype, rows_at_once):
    x = matrix(dtype)
    source = ArraySource(form(x))
    memory = None if rows_at_once is None else 184 * F + 3 * sample_bytes(source) * rows_at_once
    check(source, x, np.arange(N), memory)
    check(source, x, np.array([1, 2, 5, 6, 11, 36]), memory)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fractions_anywhere_are_seen(dtype):
    x = np.ones((40, 20_000), dtype=dtype)  # several pieces
    assert scan(ArraySource(x), np.arange(40)).facts.whole
    x[39, 19_999] = 1.5
    assert not scan(ArraySource(x), np.arange(40)).facts.whole
    assert not scan(ArraySource(sparse.csr_matrix(x)), np.arange(40)).facts.whole


def test_stored_zeros_of_sparse_samples_are_zeros():
    x = sparse.csr_matrix((np.array([0.0, 0.0, np.nan, 0.0, 3.0]), np.array([0, 1, 2, 0, 1]), [0, 2, 3, 5, 5]), (4, 3))
    found = scan(ArraySource(x), np.arange(4))
    assert found.empty_samples.tolist() == [True, True, False, True]
    assert found.nonzero.tolist() == [0, 1, 0]
    assert found.missing.tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_features", [1, 3, 4, 5, 8, 301])
@pytest.mark.parametrize("count_first", [True, False])
def test_packed_genotypes(n_features, count_first):
    rng = np.random.default_rng(n_features)
    g = rng.choice([0.0, 1.0, 2.0, np.nan], (60, n_features), p=[0.6, 0.1, 0.1, 0.2]).astype(np.float32)
    g[:4] = [[0.0], [np.nan], [1.0], [2.0]]
    packed = PackedGenotypes.pack(g, count_first=count_first)
    noisy = packed.bits.copy()
    spare = 4 * noisy.shape[1] - n_features
    noisy[:, -1] |= (0xFF00 >> 2 * spare) & 0xFF if spare else 0  # bits of no feature say nothing
    for bits in (packed.bits, noisy):
        source = ArraySource(PackedGenotypes(bits, n_features, count_first=count_first))
        check(source, g, np.arange(60), None)
        check(source, g, np.arange(0, 60, 2), 184 * n_features + 3 * bits.shape[1] * 7)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_infinite_values_of_many_blocks(form):
    x = np.ones((30, 5), dtype=np.float32)
    x[3, 1] = x[29, 1] = np.inf
    x[29, 4] = -np.inf
    source = ArraySource(form(x))
    with pytest.raises(
        InputError,
        match=r"array: values must be finite, got 3 infinite in 2 features \('feature_1', 'feature_4'\) and 2 samples "
        r"\('sample_3', 'sample_29'\)$",
    ):
        scan(source, np.arange(30), memory=184 * 5 + 3 * sample_bytes(source) * 2)


def test_a_budget_that_is_too_small():
    with pytest.raises(InputError, match=r"^scan: memory must be at least 1,040 bytes for array, .*, got 99 bytes"):
        scan(ArraySource(np.ones((4, 5))), np.arange(4), memory=99)
