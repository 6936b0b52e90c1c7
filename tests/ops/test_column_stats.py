"""column_stats against its reference, within the derived bound of the kernel's roundings."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from pixfold.ops import column_stats, reference

DTYPES = [
    "float32", "float64", "float16", "bool",
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
]  # fmt: skip
STORAGES = [
    "C", "Fortran", "read-only", "csr32", "csr64", "every second row", "every third column",
    "rows reversed", "columns reversed", "padded rows", "broadcast",
]  # fmt: skip
EDGES = [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 511, 512, 513, 1000]


def assert_described(stats, x, **options):
    expected = reference.column_stats(x, **options)
    bound = reference.stats_bound(x, **options)
    for name in ("count", "missing", "zeros"):
        assert getattr(stats, name).dtype == np.int64
        np.testing.assert_array_equal(getattr(stats, name), expected[name], err_msg=name)
    for name in ("min", "max", "mean", "m2"):
        actual = getattr(stats, name)
        assert actual.dtype == np.float64
        assert actual.shape == expected[name].shape
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected[name]), err_msg=name)
        error = np.nan_to_num(np.abs(actual - expected[name]))
        assert np.all(error <= bound[name]), f"{name}: {np.max(error - bound[name])} over the bound"
    present = np.maximum(stats.count, 1)
    np.testing.assert_array_equal(stats.variance[stats.count > 0], (stats.m2 / present)[stats.count > 0])
    np.testing.assert_array_equal(stats.std[stats.count > 0], np.sqrt(stats.m2 / present)[stats.count > 0])


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(isa, make_samples, dtype, log):
    x = make_samples(37, 70, dtype)
    assert_described(column_stats(x, log=log), x, log=log)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_storages(isa, make_samples, storage, dtype, log):
    x = make_samples(19, 70, dtype, storage)
    assert_described(column_stats(x, log=log), x, log=log)


@pytest.mark.parametrize("n_features", EDGES)
def test_widths(isa, make_samples, n_features):
    for n in (1, 2, 3, 17):
        x = make_samples(n, n_features, seed=n)
        assert_described(column_stats(x, log=True), x, log=True)


@pytest.mark.parametrize("n", [127, 128, 129, 256, 1_000])
@pytest.mark.parametrize("storage", ["C", "csr32"])
def test_lengths(isa, make_samples, n, storage):
    x = make_samples(n, 20, storage=storage)
    assert_described(column_stats(x), x)


def test_wide(isa, make_samples):
    x = make_samples(3, 18_225)
    assert_described(column_stats(x), x)


@pytest.mark.parametrize("storage", ["C", "csr32", "csr64"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("given", ["offset", "row_scale"])
@pytest.mark.parametrize("log", [False, True])
def test_offset_and_row_scale(isa, make_samples, storage, dtype, given, log):
    rng = np.random.default_rng(4)
    x = make_samples(21, 60, dtype, storage)
    options = {"offset": rng.uniform(0, 3, 60)} if given == "offset" else {"row_scale": rng.uniform(0.1, 50, 21)}
    assert_described(column_stats(x, log=log, **options), x, log=log, **options)


def test_offset_with_row_scale(isa, make_samples):
    rng = np.random.default_rng(4)
    x = make_samples(21, 60)
    options = {"log": True, "offset": rng.uniform(0, 3, 60), "row_scale": rng.uniform(0.1, 50, 21)}
    assert_described(column_stats(x, **options), x, **options)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_missing(isa, make_samples, sparse, dtype):
    x = make_samples(40, 65, dtype)
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    x[:, 5] = np.nan
    x[:-1, 6], x[-1, 6] = np.nan, 4.0
    x[0, 7], x[1:, 7] = 4.0, np.nan
    x = scipy.sparse.csr_array(x) if sparse else x
    stats = column_stats(x)
    assert_described(stats, x)
    assert stats.count[5] == 0
    assert stats.count[6] == stats.count[7] == 1
    assert stats.m2[6] == stats.m2[7] == 0.0


@pytest.mark.parametrize("storage", ["C", "csr32"])
def test_no_samples(isa, make_samples, storage):
    stats = column_stats(make_samples(0, 6, storage=storage))
    np.testing.assert_array_equal(stats.count, 0)
    np.testing.assert_array_equal(stats.m2, 0.0)
    assert np.all(np.isnan(stats.mean))


def test_explicit_zeros_and_negative_zero(isa):
    x = scipy.sparse.csr_array(
        (
            np.array([0.0, 2.0, -0.0], np.float32),
            np.array([0, 1, 1], np.int32),
            np.array([0, 2, 3], np.int32),
        ),
        shape=(2, 3),
    )
    stats = column_stats(x)
    np.testing.assert_array_equal(stats.zeros, [2, 1, 2])
    assert_described(stats, x)


def test_duplicate_entries_add_up(isa):
    x = scipy.sparse.csr_array(
        (np.array([1.0, 2.0, 3.0], np.float32), np.array([2, 0, 2], np.int32), np.array([0, 3], np.int32)),
        shape=(1, 4),
    )
    assert_described(column_stats(x), x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["as drawn", "sorted"])
def test_small_spread_about_a_large_mean(isa, dtype, order):
    # Sums of squares about 0 would lose everything here: m2 about 300 beside sums of 3e15.
    x = (1e6 + np.random.default_rng(0).normal(size=(300, 20))).astype(dtype)
    x = np.sort(x, axis=0) if order == "sorted" else x
    stats = column_stats(x)
    assert_described(stats, x)
    exact = (np.var(x.astype(np.longdouble), axis=0) * 300).astype(np.float64)
    # About 2e-5, where sums of squares about 0 would be off by 0.1.
    bound = reference.stats_bound(x)["m2"]
    assert bound.max() < 1e-4
    np.testing.assert_array_less(np.abs(stats.m2 - exact), bound)


def test_constant_features_have_no_spread(isa):
    x = np.full((300, 40), 0.1, dtype=np.float32)
    np.testing.assert_array_equal(column_stats(x).m2, 0.0)
    np.testing.assert_array_equal(column_stats(scipy.sparse.csr_array(x)).m2, 0.0)
    np.testing.assert_array_equal(column_stats(x, log=True).m2, 0.0)


@pytest.mark.parametrize("storage", ["C", "Fortran", "csr32"])
@pytest.mark.parametrize("log", [False, True])
def test_threads_give_the_same_bits(isa, make_samples, storage, log):
    x = make_samples(150, 3_000, storage=storage)
    one, two = column_stats(x, log=log, threads=1), column_stats(x, log=log, threads=2)
    for name in ("count", "missing", "zeros", "min", "max", "mean", "m2"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_merge(isa, make_samples):
    x = make_samples(50, 30, "float64")
    x[:20, 3] = np.nan
    whole = column_stats(x)
    merged = column_stats(x[:20]).merge(column_stats(x[20:20])).merge(column_stats(x[20:]))
    assert_described(merged, x)
    np.testing.assert_array_equal(merged.count, whole.count)


def test_merge_refuses_other_features(make_samples):
    with pytest.raises(ValueError, match=r"(?s)(5.*6|6.*5)"):
        column_stats(make_samples(3, 5)).merge(column_stats(make_samples(3, 6)))


def test_result_is_frozen(make_samples):
    stats = column_stats(make_samples(3, 5))
    with pytest.raises(AttributeError):
        stats.mean = stats.min


def test_torch(make_samples):
    torch = pytest.importorskip("torch")
    x = make_samples(20, 30)
    assert_described(column_stats(torch.from_numpy(x)), x)


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        (np.ones(16, np.float32), {}, r"X.*(\(16,\)|1)"),
        (np.ones((2, 4, 4), np.float32), {}, r"X.*(\(2, 4, 4\)|3)"),
        (np.ones((2, 4), object), {}, "X.*object"),
        (np.ones((2, 4), complex), {}, "X.*complex128"),
        (np.full((2, 4), "a"), {}, "X.*(str|<U1)"),
        (np.ones((2, 4)), {"offset": np.ones(3)}, "offset.*4.*3"),
        (np.ones((2, 4)), {"offset": np.ones((4, 1))}, "offset"),
        (np.ones((2, 4)), {"row_scale": np.ones(3)}, "row_scale.*2.*3"),
    ],
)
def test_refused(x, options, words):
    with pytest.raises((ValueError, TypeError), match=r"(?s)" + words) as caught:
        column_stats(x, **options)
    assert "column_stats" in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("indices", [0, 99, 1]), ("indices", [-1, 1, 1]), ("indptr", [0, 3, 1])])
def test_broken_csr(isa, field, value):
    x = scipy.sparse.csr_array((np.ones(3), np.array([0, 1, 1], np.int32), np.array([0, 2, 3], np.int32)), shape=(2, 4))
    setattr(x, field, np.array(value, np.int32))
    with pytest.raises(ValueError, match=r"(?i)X|CSR|indices|indptr"):
        column_stats(x)
