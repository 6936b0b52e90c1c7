"""column_stats against its reference, within the derived bound of the kernel's roundings."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from pixfold.arrays.entry import samples
from pixfold.ops import column_stats, reference
from pixfold.ops.stats import row_sums

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


FIELDS = ("count", "missing", "zeros", "min", "max", "mean", "m2", "n_negative", "n_infinite")


def assert_same_bits(one, other):
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def in_parts(x, cuts, **options):
    parts = [column_stats(part, **options) for part in np.split(x, cuts)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    return merged


def rough(n, n_features, seed=0):
    """Features of every kind: around 0, far from it, constant, rare, missing here and there, and negative."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_features)).astype(np.float32)
    x[:, 1::7] += 1e4
    x[:, 2::7] = 0.1
    x[:, 3::7] = np.where(rng.random(x[:, 3::7].shape) < 0.05, np.abs(x[:, 3::7]), 0.0)
    x[:, 4::7][rng.random(x[:, 4::7].shape) < 0.2] = np.nan
    x[:, 5::7] = np.abs(x[:, 5::7])
    return x


@pytest.mark.parametrize("n", [128, 129, 600])
def test_blocks_merged_in_order_are_the_whole(isa, n):
    x = rough(n, 40)
    assert_same_bits(in_parts(x, range(128, n, 128)), column_stats(x))


def test_segments_merged_in_order_are_the_whole(isa):
    x = rough(2 * 8_192 + 300, 14)
    assert_same_bits(in_parts(x, [8_192, 16_384]), column_stats(x))


@pytest.mark.parametrize("sparse", [False, True])
def test_any_cut_is_the_whole_to_one_in_a_million(isa, sparse):
    x = rough(1_000, 40)
    whole = column_stats(scipy.sparse.csr_array(x) if sparse else x)
    for cuts in ([1], [77, 78, 500], [128, 300, 999], range(10, 1_000, 10)):
        merged = in_parts(x, list(cuts))
        for name in ("count", "missing", "zeros", "min", "max"):
            np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(merged.m2, whole.m2, rtol=1e-6)


@pytest.mark.parametrize("log", [False, True])
def test_few_features_of_many_samples(isa, make_samples, log):
    x = make_samples(20_000, 3)
    one = column_stats(x, log=log, threads=1)
    assert_described(one, x, log=log)
    for threads in (2, 3, 8):
        assert_same_bits(column_stats(x, log=log, threads=threads), one)


def test_bits_are_those_of_the_feature_alone(isa):
    """Neither what other features hold nor how memory is laid out may show."""
    x = rough(300, 530)
    whole = column_stats(x)
    wide = np.zeros((300, 3 * 530), np.float32)
    wide[:, ::3] = x
    for same in (np.asfortranarray(x), wide[:, ::3], np.ascontiguousarray(x[:, ::-1])[:, ::-1], x.astype(">f4")):
        assert_same_bits(column_stats(same), whole)
    for j in (*range(14), 255, 256, 511, 512, 529):
        alone = column_stats(x[:, [j]])
        for name in FIELDS[:7]:
            np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name)[[j]], err_msg=f"{name} of {j}")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32"])
@pytest.mark.parametrize("sparse", [False, True])
def test_counts_wherever_they_begin(isa, make_samples, dtype, sparse):
    """Negative, missing and infinite values that show up in the third block, and go away again."""
    x = make_samples(700, 300, dtype)
    x[300:420, 7] = -1
    x[::50, 290] = -2
    if dtype.startswith("float"):
        x[310, 7] = x[310:600, 20] = np.nan
        x[400, 30] = np.inf
        x[401, 31] = -np.inf
    stats = column_stats(scipy.sparse.csr_array(x) if sparse else x)
    matrix = x.astype(np.float64)
    assert stats.n_negative == np.count_nonzero(matrix < 0)
    assert stats.n_infinite == np.count_nonzero(np.isinf(matrix))
    finite = ~np.isinf(matrix).any(axis=0)
    np.testing.assert_array_equal(stats.missing, np.isnan(matrix).sum(axis=0))
    np.testing.assert_array_equal(stats.zeros, (matrix == 0).sum(axis=0))
    np.testing.assert_array_equal(stats.min, np.nanmin(matrix, axis=0))
    np.testing.assert_array_equal(stats.max, np.nanmax(matrix, axis=0))
    assert not np.any(np.isfinite(stats.mean[~finite]))
    assert not np.any(np.isfinite(stats.m2[~finite]))
    expected, bound = reference.column_stats(x[:, finite]), reference.stats_bound(x[:, finite])
    assert np.all(np.abs(stats.mean[finite] - expected["mean"]) <= bound["mean"])
    assert np.all(np.abs(stats.m2[finite] - expected["m2"]) <= bound["m2"])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_clipped_values_are_counted_as_they_came(isa, make_samples, sparse, log):
    x = make_samples(300, 40)
    x[200, 3], x[201, 4], x[202, 5], x[203, 6] = -np.inf, np.inf, -4.0, np.nan
    stats = column_stats(scipy.sparse.csr_array(x) if sparse else x, log=log, clip_below_zero=True)
    assert (stats.n_negative, stats.n_infinite) == (2, 2)
    assert stats.min[3] == stats.min[5] == 0.0
    assert stats.missing[6] == 1
    np.testing.assert_array_equal(stats.zeros, (x == 0).sum(axis=0))
    assert np.isfinite(stats.mean[3])
    assert not np.isfinite(stats.mean[4])


@pytest.mark.parametrize("sparse", [False, True])
def test_logarithms_that_are_no_numbers(isa, make_samples, sparse):
    x = make_samples(300, 40) + 1
    x[150, 3], x[150, 4] = -5.0, -0.5
    stats = column_stats(scipy.sparse.csr_array(x) if sparse else x, log=True)
    assert stats.n_negative == 2
    assert stats.count[3] == 300
    assert stats.missing[3] == 0
    assert np.isnan(stats.mean[3])
    others = np.arange(40) != 3
    expected = reference.column_stats(x[:, others], log=True)
    bound = reference.stats_bound(x[:, others], log=True)
    assert np.all(np.abs(stats.mean[others] - expected["mean"]) <= bound["mean"])


def test_worst_pivots(isa):
    """Blocks that begin with an outlier, or with values that say nothing of the others."""
    rng = np.random.default_rng(0)
    x = (1e3 + rng.normal(size=(256, 12))).astype(np.float32)
    x[[0, 128], 0] = -1e6
    x[:8, 1] = np.linspace(-1, 1, 8)
    x[:8, 2] = np.linspace(0, 1, 8)
    x[:8, 3] = 0.0
    x[:9, 4] = np.nan
    x[:8, 5] = x[8, 5]
    assert_described(column_stats(x), x)


@pytest.mark.parametrize("late", [1, 8, 20, 127])
def test_features_that_begin_late(isa, late):
    # Far from 0 with a small spread, and nothing in the samples that a pivot is first looked for in.
    x = 1e9 + np.where(np.arange(300) % 2 == 0, 0.5, -0.5)[:, None]
    x[:late] = np.nan
    assert_described(column_stats(x), x)


@pytest.mark.parametrize("density", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_sparse_features_of_many_blocks(isa, density, index):
    rng = np.random.default_rng(1)
    dense = np.where(rng.random((1_500, 30)) < density, rng.gamma(0.7, 8.0, (1_500, 30)), 0.0).astype(np.float32)
    x = scipy.sparse.csr_array(dense)
    x = scipy.sparse.csr_array((x.data, x.indices.astype(index), x.indptr.astype(index)), shape=x.shape)
    assert_described(column_stats(x), x)
    assert_described(column_stats(x, log=True), x, log=True)


def test_sparse_rows_that_differ(isa):
    """Threads share the features by what a few rows look like; the others need not be like them."""
    rng = np.random.default_rng(2)
    dense = np.zeros((400, 5_000), np.float32)
    for i in range(400):
        first = int(rng.integers(0, 4_900))
        dense[i, first : first + int(rng.integers(0, 100) if i % 3 else 1_000)] = 1.0 + i
    x = scipy.sparse.csr_array(dense)
    one = column_stats(x, threads=1)
    assert_described(one, x)
    for threads in (2, 3, 8):
        assert_same_bits(column_stats(x, threads=threads), one)


@pytest.mark.parametrize(
    ("dtype", "storage"),
    [
        (dtype, storage)
        for dtype in ["float32", "float64", "float16", "int64", "uint8"]
        for storage in ["C", "Fortran", "every third column", "columns reversed", "csr32"]
        if (dtype, storage) != ("float16", "csr32")  # which SciPy cannot make
    ],
)
@pytest.mark.parametrize("shape", [(1, 1), (3, 15), (2, 17), (300, 600), (5, 0)])
def test_row_sums(isa, make_samples, dtype, storage, shape):
    x = make_samples(*shape, dtype, storage)
    if storage == "C" and dtype.startswith("float") and x.size > 2:
        x[-1, ::3] = np.nan
    matrix = np.nan_to_num(reference.dense(x))
    expected = matrix.sum(axis=1)
    found = row_sums(samples("row_sums", x, 1))
    # n additions of numbers that are at most 60.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2.0**-53 * shape[1] ** 2 * 60)
    np.testing.assert_array_equal(row_sums(samples("row_sums", x, 1), 3), found)
    if storage != "csr32":
        np.testing.assert_array_equal(row_sums(samples("row_sums", np.array(x, order="C"), 1)), found)
