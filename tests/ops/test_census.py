"""census against its reference: exact counts, whatever the storage, the dtype and the place of what is counted."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import census, fold, reference

FLOATS = ["float16", "float32", "float64"]
SIGNED = ["int8", "int16", "int32", "int64"]
UNSIGNED = ["bool", "uint8", "uint16", "uint32", "uint64"]
STORAGES = [
    "C", "Fortran", "read-only", "csr32", "csr64", "every second row", "every third column",
    "rows reversed", "columns reversed", "padded rows", "broadcast",
]  # fmt: skip
# Around a register, and around what is looked at together (4,096) and by one thread (65,536).
SIZES = [
    (1, 1), (1, 15), (3, 16), (2, 17), (1, 33), (17, 65), (1, 4_095), (1, 4_097), (5, 4_096), (3, 65_537),
    (0, 4), (4, 0),
]  # fmt: skip


def spoiled(x, rng, share=0.02):
    """Put NaN, both infinities, -0 and negative numbers, the smallest included, among the values."""
    kinds = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, -1.5, -6e-8], dtype=x.dtype)
    chosen = rng.random(x.shape) < share
    return np.where(chosen, rng.choice(kinds, x.shape), x).astype(x.dtype)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_floats(isa, make_samples, shape, dtype):
    x = spoiled(make_samples(*shape, dtype), np.random.default_rng(shape[1]))
    assert census(x) == reference.census(x)


@pytest.mark.parametrize(
    ("dtype", "storage"),
    # SciPy has no sparse float16.
    [
        (dtype, storage)
        for dtype in (*FLOATS, *SIGNED, *UNSIGNED)
        for storage in STORAGES
        if not (dtype == "float16" and storage.startswith("csr"))
    ],
)
def test_storages(isa, make_samples, storage, dtype):
    x = make_samples(19, 70, dtype, storage)
    if dtype in UNSIGNED:
        assert census(x) == (0, 0, 0)
        return
    rng = np.random.default_rng(0)
    memory = x.data if scipy.sparse.issparse(x) else (x if x.base is None else x.base)
    memory.setflags(write=True)
    bad = rng.random(memory.shape) < 0.1
    kinds = [np.nan, np.inf, -np.inf, -0.0, -2.0] if dtype in FLOATS else [-1, -100]
    memory[bad] = rng.choice(np.array(kinds, dtype=dtype), memory.shape)[bad]
    expected = reference.census(x)
    assert sum(expected) > 0
    assert census(x) == expected


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int32"])
@pytest.mark.parametrize("place", [0, 1, 63, 4_095, 4_096, 65_535, 65_536, 69_999])
def test_one_among_many(isa, dtype, place):
    for value, counts in ((np.nan, (1, 0, 0)), (np.inf, (0, 1, 0)), (-np.inf, (0, 1, 1)), (-3, (0, 0, 1))):
        if dtype.startswith("int") and value != -3:
            continue
        x = np.ones((7, 10_000), dtype=dtype)
        x.reshape(-1)[place] = value
        assert census(x) == counts


@pytest.mark.parametrize("dtype", FLOATS)
def test_largest_and_smallest_numbers_are_neither(isa, dtype):
    limits = np.finfo(dtype)
    x = np.array([[limits.max, limits.tiny, limits.smallest_subnormal, 0.0, -0.0]], dtype=dtype)
    assert census(x) == (0, 0, 0)
    x = -x
    assert census(x) == (0, 0, 3)


def test_bfloat16(isa):
    torch = pytest.importorskip("torch")
    x = torch.tensor([[1.0, float("nan"), -2.0], [float("inf"), -0.0, float("-inf")]], dtype=torch.bfloat16)
    assert census(x) == (1, 2, 2)


@pytest.mark.parametrize("order", ["C", "F"])
def test_threads(isa, make_samples, order):
    x = np.asarray(spoiled(make_samples(300, 2_000), np.random.default_rng(1)), order=order)
    expected = reference.census(x)
    for threads in (1, 2, 3, 7):
        assert census(x, threads=threads) == expected


def test_fields(make_samples):
    found = census(np.array([[np.nan, np.nan, np.nan, np.inf, np.inf, -1.0]]))
    assert (found.missing, found.infinite, found.negative) == (3, 2, 1)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.ones(16, np.float32), r"X.*\(16,\)"),
        (np.ones((2, 4), object), "X.*object"),
        (np.full((2, 4), "a"), "X.*<U1"),
    ],
)
def test_refused(x, words):
    with pytest.raises((ValueError, TypeError), match=r"(?s)census.*" + words):
        census(x)


class TestCheckBeforeFolding:
    """fold(..., out=) looks before it writes: at the counts, and at the features only if there is something."""

    @pytest.fixture
    def statistics(self, monkeypatch):
        from pixfold.ops import refusals

        calls, stats_of = [], refusals.stats_of
        monkeypatch.setattr(refusals, "stats_of", lambda *args, **how: calls.append(args) or stats_of(*args, **how))
        return calls

    @pytest.mark.parametrize("sparse", [False, True])
    def test_nothing_to_refuse(self, make_samples, statistics, sparse):
        x = make_samples(9, 30)
        x[2, 3] = np.inf
        x[2, 4] = -0.0
        normalizer, layout = Normalizer("log1p").fit(np.abs(make_samples(9, 30))), Layout.natural(30)
        out = np.empty((9, *layout.shape), np.float32)
        statistics.clear()
        fold(scipy.sparse.csr_array(x) if sparse else x, layout, normalizer, out=out)
        assert not statistics

    @pytest.mark.parametrize("sparse", [False, True])
    @pytest.mark.parametrize("value", [np.nan, -2.0])
    def test_refused(self, make_samples, statistics, sparse, value):
        x = make_samples(9, 30)
        normalizer, layout = Normalizer("log1p").fit(x), Layout.natural(30)
        x[2, 3] = value
        out = np.full((9, *layout.shape), 7.0, np.float32)
        statistics.clear()
        with pytest.raises(ValueError, match=r"number 3\b"):
            fold(scipy.sparse.csr_array(x) if sparse else x, layout, normalizer, out=out)
        assert len(statistics) == 1
        assert np.all(out == 7.0)

    @pytest.mark.parametrize("value", [np.nan, -2.0])
    def test_a_feature_without_a_pixel_is_not_looked_at(self, make_samples, statistics, value):
        x = make_samples(9, 30)
        keep = np.arange(30) != 3
        normalizer, layout = Normalizer("log1p").fit(x), Layout.natural(30, keep=keep)
        out = np.empty((9, *layout.shape), np.float32)
        expected = fold(x, layout, normalizer)
        x[2, 3] = value
        statistics.clear()
        fold(x, layout, normalizer, out=out)
        assert len(statistics) == 1
        np.testing.assert_array_equal(out, expected)
