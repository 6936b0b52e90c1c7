"""Properties that hold for every layout and every cut of the data, searched by Hypothesis."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator, column_stats, fold, rank, reference, top_k, unfold

# The isa fixture only selects kernels: it need not be set up again for each example.
searched = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def one_to_one(draw, max_features=90):
    n = draw(st.integers(1, max_features))
    seed = draw(st.integers(0, 2**32 - 1))
    kind = draw(st.sampled_from(["natural", "shuffled", "index", "coordinates", "channels", "keep"]))
    height = draw(st.integers(1, 12))
    width = -(-n // height) + draw(st.integers(0, 3))
    rng = np.random.default_rng(seed)
    if kind == "natural":
        return Layout.natural(n, shape=(height, width))
    if kind == "shuffled":
        return Layout.shuffled(n, seed=seed, shape=(height, width))
    if kind == "index":
        return Layout.from_index(rng.permutation(height * width)[:n], shape=(height, width))
    if kind == "coordinates":
        index = rng.permutation(height * width)[:n]
        return Layout.from_coordinates(index // width, index % width, (height, width))
    if kind == "channels":
        return Layout.shuffled(n, seed=seed, channels=draw(st.integers(1, 5)))
    keep = rng.random(n) < 0.8
    keep[0] = True
    return Layout.shuffled(n, seed=seed, keep=keep)


@st.composite
def samples_of(draw, n_features, max_samples=9):
    dtype = draw(st.sampled_from([np.float32, np.int16, np.uint8, np.float16]))
    shape = (draw(st.integers(0, max_samples)), n_features)
    if np.issubdtype(dtype, np.floating):
        width = np.dtype(dtype).itemsize * 8
        return draw(npst.arrays(dtype, shape, elements=st.floats(width=width)))
    return draw(npst.arrays(dtype, shape))


@st.composite
def partition(draw, n):
    """Cut 0..n-1, in any order, into parts, some of them empty."""
    order = draw(st.permutations(range(n)))
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    return [np.array(part, dtype=np.int64) for part in np.split(np.array(order, dtype=np.int64), cuts)]


@searched
@given(st.data())
def test_unfold_of_fold_is_the_sample(isa, data):
    layout = data.draw(one_to_one())
    x = data.draw(samples_of(layout.n_features))
    back = unfold(fold(x, layout), layout)
    placed = layout.pixel_of_feature >= 0
    np.testing.assert_array_equal(back[:, placed], x[:, placed].astype(np.float32))
    np.testing.assert_array_equal(back[:, ~placed], 0.0)


@searched
@given(st.data())
def test_unfold_is_the_adjoint_of_fold(isa, data):
    """<fold(x), images> == <x, unfold(images)>, exactly: small integers have exact sums."""
    layout = data.draw(one_to_one())
    rng = np.random.default_rng(data.draw(st.integers(0, 1_000)))
    x = rng.integers(-50, 50, (3, layout.n_features)).astype(np.float32)
    images = rng.integers(-50, 50, (3, *layout.shape)).astype(np.float32)
    assert np.vdot(fold(x, layout), images) == np.vdot(x, unfold(images, layout))


@searched
@given(st.data())
def test_permuted_features_under_the_permuted_layout_fold_alike(isa, data):
    n = data.draw(st.integers(1, 80))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    index = rng.permutation(n + 5)[:n]
    layout = Layout.from_index(index, shape=(1, n + 5))
    order = rng.permutation(n)
    x = rng.gamma(0.7, 8.0, (6, n)).astype(np.float32)
    permuted = Layout.from_index(index[order], shape=(1, n + 5))
    np.testing.assert_array_equal(fold(x[:, order], permuted), fold(x, layout))
    preset = data.draw(st.sampled_from(["log1p", "minmax", "zscore", "log1p-zscore"]))
    one, other = Normalizer(preset).fit(x), Normalizer(preset).fit(x[:, order])
    np.testing.assert_array_equal(fold(x[:, order], permuted, other), fold(x, layout, one))


@st.composite
def sparse_form(draw, x):
    """`x` as compressed sparse rows of any form: entries in any order, zeros stored, values in several parts."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    stored = (x != 0) | (rng.random(x.shape) < draw(st.sampled_from([0.0, 0.2])))
    samples, features = np.nonzero(stored)
    values = x[samples, features]
    if draw(st.booleans()):
        # Halves of even integers, whose sums are exact.
        samples, features, values = (np.concatenate([part, part]) for part in (samples, features, values // 2))
    if draw(st.booleans()):
        order = rng.permutation(samples.size)
        order = order[np.argsort(samples[order], kind="stable")]
    else:
        order = np.lexsort((features, samples))
    index = draw(st.sampled_from([np.int32, np.int64]))
    row_start = np.concatenate([[0], np.cumsum(np.bincount(samples, minlength=x.shape[0]))]).astype(index)
    form = scipy.sparse.csr_array(x.shape, dtype=x.dtype)
    form.data, form.indices, form.indptr = values[order], features[order].astype(index), row_start
    return form


@searched
@given(st.data())
def test_sparse_and_dense_fold_alike(isa, data):
    layout = data.draw(one_to_one())
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    shape = (data.draw(st.integers(1, 6)), layout.n_features)
    x = np.where(rng.random(shape) < 0.3, 2 * rng.integers(1, 60, shape), 0)
    x = x.astype(data.draw(st.sampled_from([np.float32, np.float64, np.int32, np.uint8])))
    sparse = data.draw(sparse_form(x))
    np.testing.assert_array_equal(fold(sparse, layout), fold(x, layout))
    preset = data.draw(st.sampled_from(["log1p", "minmax", "zscore", "log1p-zscore", "cp10k-log1p", "norm2"]))
    # The totals of samples, which cp10k divides by, are exact: they are sums of small integers.
    normalizer = Normalizer(preset).fit(x)
    np.testing.assert_array_equal(fold(sparse, layout, normalizer), fold(x, layout, normalizer))


@searched
@given(st.data())
def test_statistics_merge_in_any_partition(isa, data):
    n, n_features = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    x = rng.normal(data.draw(st.sampled_from([0.0, 1e3])), 1.0, (n, n_features))
    x[rng.random(x.shape) < 0.1] = np.nan
    parts = data.draw(partition(n))
    merged = column_stats(x[parts[0]])
    for part in parts[1:]:
        merged = merged.merge(column_stats(x[part]))
    expected, bound = reference.column_stats(x), reference.stats_bound(x)
    for name in ("count", "missing", "zeros", "min", "max"):
        np.testing.assert_array_equal(getattr(merged, name), expected[name])
    for name in ("mean", "m2"):
        there = expected["count"] > 0
        error = np.abs(getattr(merged, name) - expected[name])
        # A handful of merges rounds no more often than the samples do.
        assert np.all(error[there] <= 2 * bound[name][there])


@searched
@given(st.data())
def test_normalizer_fits_alike_in_any_partition(isa, data):
    preset = data.draw(st.sampled_from(["minmax", "norm2", "zscore", "log1p-zscore", "log1p-minmax"]))
    n, n_features = data.draw(st.integers(2, 40)), data.draw(st.integers(1, 20))
    x = np.random.default_rng(data.draw(st.integers(0, 10_000))).gamma(0.7, 8.0, (n, n_features))
    merged = Normalizer(preset)
    for part in data.draw(partition(n)):
        if part.size:
            one = Normalizer(preset).partial_fit(x[part])
            merged.merge(one) if data.draw(st.booleans()) else merged.partial_fit(x[part])
    whole, parts = Normalizer(preset).fit(x).parameters(), merged.parameters()
    for name in ("offset", "shift", "scale", "fill"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-6, atol=1e-9)


@searched
@given(st.data())
def test_aggregation_by_class_in_any_partition(isa, data):
    layout = data.draw(one_to_one(40))
    n, n_classes = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    attributions = rng.normal(size=(n, *layout.shape)).astype(np.float32)
    labels, keep = rng.integers(0, n_classes, n), rng.random(n) < 0.8
    total = AttributionAccumulator(layout, n_classes)
    for part in data.draw(partition(n)):
        if data.draw(st.booleans()):
            total.update(attributions[part], labels[part], keep=keep[part])
        else:
            other = AttributionAccumulator(layout, n_classes)
            other.update(attributions[part], labels[part], keep=keep[part])
            total.merge(other)
    result = total.result()
    expected = reference.aggregate(attributions, labels, keep, layout, n_classes)
    np.testing.assert_array_equal(result.count, expected["count"])
    # Values below 6, 40 updates and 5 merges of at most 8 operations each; m2 sums 40 squares of them.
    mean_bound = 8 * 45 * 6 * 2.0**-53
    np.testing.assert_allclose(result.mean, expected["mean"], rtol=0, atol=mean_bound)
    np.testing.assert_allclose(result.mean_abs, expected["mean_abs"], rtol=0, atol=mean_bound)
    np.testing.assert_allclose(result.m2, expected["m2"], rtol=0, atol=40 * 4 * 6 * mean_bound)


@searched
@given(
    npst.arrays(np.float64, st.integers(1, 60), elements=st.sampled_from([-2.0, -0.0, 0.0, 0.5, 3.0, 9.0])),
    st.integers(0, 70),
)
def test_ranks_and_selection(importance, k):
    np.testing.assert_array_equal(rank(importance), reference.rank(importance))
    selected = top_k(importance, k)
    np.testing.assert_array_equal(selected, reference.top_k(importance, k))
    # Nothing left out is as important as anything selected.
    left = np.setdiff1d(np.arange(importance.size), selected)
    if selected.size and left.size:
        assert importance[left].max() < importance[selected].min()


@searched
@given(npst.arrays(np.float64, st.integers(1, 200), elements=st.floats(allow_nan=False) | st.sampled_from([0.0, 1.0])))
def test_ranks_are_those_of_scipy(importance):
    np.testing.assert_array_equal(rank(importance), scipy.stats.rankdata(-importance, method="average"))


@searched
@given(st.data())
def test_ranks_follow_a_permutation(data):
    importance = data.draw(npst.arrays(np.float64, st.integers(1, 60), elements=st.floats(allow_nan=False)))
    order = np.array(data.draw(st.permutations(range(importance.size))))
    np.testing.assert_array_equal(rank(importance[order]), rank(importance)[order])
