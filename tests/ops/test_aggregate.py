"""AttributionAccumulator against its reference, in double, in any number of parts."""

from __future__ import annotations

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.ops import AttributionAccumulator, reference


def batch(layout, n, n_classes, channels=None, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    shape = (n, channels or layout.channels, layout.height, layout.width)
    attributions = rng.normal(size=shape).astype(dtype)
    return attributions, rng.integers(0, n_classes, n), rng.random(n) < 0.75


def assert_aggregated(result, attributions, labels, keep, layout, n_classes):
    expected = reference.aggregate(attributions, labels, keep, layout, n_classes)
    np.testing.assert_array_equal(result.count, expected["count"])
    assert result.count.dtype == np.int64
    n = max(1, len(np.asarray(labels)))
    channels = np.asarray(attributions).shape[1]
    top = np.abs(np.asarray(attributions, np.float64)).sum(axis=1).max(initial=0.0)
    # Double throughout: each value carries the roundings of its channel sum and of the division by the
    # features of a pixel, each mean those of sums of n numbers no larger than 2 top, and four per batch.
    mean_bound = (channels + 2 + 6 * n) * 2.0**-53 * top
    # m2 moves by twice the deviation times the error of the value and of the mean, per term; the sum of squares about
    # the pivot and the square of the sum, of n terms up to 4 top^2 each, round n times.
    m2_bound = n * (4 * top * 2 * mean_bound + 6 * n * 2.0**-53 * 4 * top**2)
    for name, bound in (("mean", mean_bound), ("mean_abs", mean_bound), ("m2", m2_bound)):
        actual = getattr(result, name)
        assert actual.dtype == np.float64
        assert actual.shape == (n_classes, layout.n_features)
        np.testing.assert_allclose(actual, expected[name], rtol=0, atol=bound, err_msg=name)
    there = result.count > 0
    std = np.sqrt(result.m2[there] / result.count[there, None])
    # One square root and one division: an ulp each, however they are ordered.
    np.testing.assert_allclose(result.std[there], std, rtol=2.0**-51)
    importance = expected["mean_abs"][there].mean(axis=0) if there.any() else np.zeros(layout.n_features)
    np.testing.assert_allclose(result.importance, importance, rtol=0, atol=2 * mean_bound + 8 * 2.0**-53 * top)


@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_layouts(isa, make_layout, kind, n_classes):
    layout = make_layout(kind, 83)
    attributions, labels, keep = batch(layout, 23, n_classes)
    accumulator = AttributionAccumulator(layout, n_classes)
    accumulator.update(attributions, labels, keep=keep)
    assert_aggregated(accumulator.result(), attributions, labels, keep, layout, n_classes)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["shuffled", "many"])
def test_channels_are_summed(isa, make_layout, dtype, channels, kind):
    layout = make_layout(kind, 83)
    attributions, labels, keep = batch(layout, 9, 2, channels, dtype)
    accumulator = AttributionAccumulator(layout, 2)
    accumulator.update(attributions, labels, keep=keep)
    assert_aggregated(accumulator.result(), attributions, labels, keep, layout, 2)


@pytest.mark.parametrize("n_features", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 1025, 18_225])
def test_sizes(isa, make_layout, n_features):
    layout = make_layout("shuffled", n_features)
    for n in (1, 2, 3, 17) if n_features < 2_000 else (3,):
        attributions, labels, keep = batch(layout, n, 2)
        accumulator = AttributionAccumulator(layout, 2)
        accumulator.update(attributions, labels, keep=keep)
        assert_aggregated(accumulator.result(), attributions, labels, keep, layout, 2)


@pytest.mark.parametrize("kind", ["shuffled", "channels", "many"])
def test_batches_and_merge(isa, make_layout, kind):
    layout = make_layout(kind, 83)
    attributions, labels, keep = batch(layout, 40, 3)
    one, other = AttributionAccumulator(layout, 3), AttributionAccumulator(layout, 3)
    for first, last, accumulator in (
        (0, 7, one),
        (7, 8, other),
        (8, 8, other),
        (8, 30, one),
        (30, 40, other),
    ):
        accumulator.update(attributions[first:last], labels[first:last], keep=keep[first:last])
    one.merge(other)
    assert_aggregated(one.result(), attributions, labels, keep, layout, 3)


def test_merge_leaves_the_other_alone(make_layout):
    layout = make_layout("shuffled", 20)
    attributions, labels, keep = batch(layout, 10, 2)
    one, other = AttributionAccumulator(layout, 2), AttributionAccumulator(layout, 2)
    one.update(attributions[:4], labels[:4], keep=keep[:4])
    other.update(attributions[4:], labels[4:], keep=keep[4:])
    before = other.result()
    one.merge(other)
    one.update(attributions, labels, keep=keep)
    after = other.result()
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(after.count, before.count)


def test_a_state_is_the_accumulator(make_layout):
    """A state that went somewhere else merges there as the accumulator would; a class without samples has none."""
    layout = make_layout("shuffled", 20)
    attributions, labels, keep = batch(layout, 30, 2)
    parts = [AttributionAccumulator(layout, 3) for _ in range(2)]
    for accumulator, at in zip(parts, (slice(0, 12), slice(12, 30)), strict=True):
        accumulator.update(attributions[at], labels[at], keep=keep[at])
    states = [accumulator.state() for accumulator in parts]
    assert set(states[0]) == {"count", "moments_0", "moments_1"}
    merged = AttributionAccumulator.of_state(layout, states[0])
    merged.merge(AttributionAccumulator.of_state(layout, states[1]))
    assert_aggregated(merged.result(), attributions, labels, keep, layout, 3)
    # Neither shares memory with what it came from.
    before = parts[0].result()
    again = AttributionAccumulator.of_state(layout, parts[0].state())
    again.update(attributions, labels, keep=keep)
    np.testing.assert_array_equal(parts[0].result().mean, before.mean)
    empty = AttributionAccumulator.of_state(layout, AttributionAccumulator(layout, 2).state())
    assert empty.result().count.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": np.array([1.0, 2.0])}, r"count must be the int64 samples of each class, got float64"),
        ({"count": np.array([-1, 2])}, r"count must be the int64 samples of each class, got"),
        ({"moments_1": np.zeros((3, 7))}, r"moments_1 must have shape \(3, 25\), got \(3, 7\)"),
        ({"count": np.array([1, 2, 3])}, r"moments_2 must have shape \(3, 25\), got \(0,\)"),
    ],
)
def test_states_of_something_else(make_layout, changes, said):
    layout = make_layout("shuffled", 25)
    attributions, labels, _ = batch(layout, 10, 2)
    accumulator = AttributionAccumulator(layout, 2)
    accumulator.update(attributions, labels)
    with pytest.raises(InputError, match=said):
        AttributionAccumulator.of_state(layout, accumulator.state() | changes)


def test_result_does_not_change_afterwards(make_layout):
    layout = make_layout("shuffled", 20)
    attributions, labels, keep = batch(layout, 10, 2)
    accumulator = AttributionAccumulator(layout, 2)
    accumulator.update(attributions, labels, keep=keep)
    result = accumulator.result()
    mean, count = result.mean.copy(), result.count.copy()
    accumulator.update(attributions, labels, keep=keep)
    np.testing.assert_array_equal(result.mean, mean)
    np.testing.assert_array_equal(result.count, count)


def test_class_without_samples(isa, make_layout):
    layout = make_layout("natural", 20)
    attributions, _, _ = batch(layout, 6, 1)
    labels, keep = np.array([0, 0, 2, 2, 1, 0]), np.array([True, True, True, True, False, True])
    accumulator = AttributionAccumulator(layout, 4)
    accumulator.update(attributions, labels, keep=keep)
    result = accumulator.result()
    np.testing.assert_array_equal(result.count, [3, 0, 2, 0])
    assert not np.isnan(result.importance).any()
    # Classes 1 and 3 have no samples: the importance is the mean over classes 0 and 2.
    expected = result.mean_abs[[0, 2]].mean(axis=0)
    np.testing.assert_allclose(result.importance, expected, rtol=2.0**-51)
    assert_aggregated(result, attributions, labels, keep, layout, 4)


def test_nothing_kept(make_layout):
    layout = make_layout("natural", 20)
    attributions, labels, _ = batch(layout, 6, 2)
    accumulator = AttributionAccumulator(layout, 2)
    accumulator.update(attributions, labels, keep=np.zeros(6, dtype=bool))
    result = accumulator.result()
    np.testing.assert_array_equal(result.count, 0)
    assert not np.isnan(result.importance).any()


@pytest.mark.parametrize("kind", ["many", "shuffled", "gaps", "channels"])
def test_attribution_is_conserved(isa, make_layout, kind):
    layout = make_layout(kind, 200)
    attributions, labels, _ = batch(layout, 5, 1, dtype="float64")
    flat = attributions.reshape(5, -1)
    flat[:, layout.feature_of_pixel < 0] = 0.0
    accumulator = AttributionAccumulator(layout, 1)
    accumulator.update(attributions, labels, keep=np.ones(5, dtype=bool))
    # Every feature's mean has about 40 roundings of values below 5; the two sums have 200 more each.
    np.testing.assert_allclose(
        accumulator.result().mean.sum(), flat.sum(axis=1).mean(), rtol=0, atol=200 * 240 * 5 * 2.0**-53
    )


def test_large_common_attribution(isa):
    # Naive sums of squares would lose all of m2: 1 beside 1e16.
    layout = Layout.natural(64)
    values = 1e8 + np.random.default_rng(0).normal(size=(50, 1, 8, 8))
    accumulator = AttributionAccumulator(layout, 1)
    accumulator.update(values, np.zeros(50, dtype=np.int64), keep=np.ones(50, dtype=bool))
    exact = (np.var(values.astype(np.longdouble), axis=0) * 50).ravel().astype(np.float64)
    # Each difference from the first value, below 10, is exact but for the rounding of the values themselves, and each
    # term moves by twice its deviation (below 5) times no more than 300 roundings of 1e8.
    np.testing.assert_allclose(accumulator.result().m2[0], exact, rtol=0, atol=50 * 2 * 5 * 300 * 1e8 * 2.0**-53)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_torch(make_layout, dtype):
    torch = pytest.importorskip("torch")
    layout = make_layout("shuffled", 50)
    attributions, labels, keep = batch(layout, 12, 3, channels=3)
    tensor = torch.from_numpy(attributions).to(getattr(torch, dtype))
    accumulator = AttributionAccumulator(layout, 3)
    accumulator.update(tensor, torch.from_numpy(labels), keep=torch.from_numpy(keep))
    assert_aggregated(accumulator.result(), tensor.double().numpy(), labels, keep, layout, 3)


def test_torch_channels_last(make_layout):
    torch = pytest.importorskip("torch")
    layout = make_layout("shuffled", 50)
    attributions, labels, keep = batch(layout, 12, 3, channels=3)
    tensor = torch.from_numpy(attributions).to(memory_format=torch.channels_last)
    accumulator = AttributionAccumulator(layout, 3)
    accumulator.update(tensor, torch.from_numpy(labels), keep=torch.from_numpy(keep))
    assert_aggregated(accumulator.result(), attributions, labels, keep, layout, 3)


def test_torch_with_a_gradient_is_refused(make_layout):
    torch = pytest.importorskip("torch")
    layout = make_layout("shuffled", 50)
    attributions, labels, keep = batch(layout, 12, 3)
    with pytest.raises(ValueError, match=r"attributions.*gradient.*detach"):
        AttributionAccumulator(layout, 3).update(torch.from_numpy(attributions).requires_grad_(), labels, keep=keep)


def test_strided(isa, make_layout):
    layout = make_layout("shuffled", 50)
    attributions, labels, keep = batch(layout, 12, 3)
    accumulator = AttributionAccumulator(layout, 3)
    accumulator.update(attributions[::2], labels[::2], keep=keep[::2])
    accumulator.update(np.asfortranarray(attributions[1::2]), labels[1::2], keep=keep[1::2])
    order = np.r_[0:12:2, 1:12:2]
    assert_aggregated(accumulator.result(), attributions[order], labels[order], keep[order], layout, 3)


@pytest.mark.parametrize("batches", [[1], [1, 1, 8], [9, 23, 5], [60]])
def test_any_cut_in_batches_is_close(isa, make_layout, batches):
    layout = make_layout("shuffled", 300)
    attributions, labels, keep = batch(layout, 60, 4)
    whole, parts = AttributionAccumulator(layout, 4), AttributionAccumulator(layout, 4)
    whole.update(attributions, labels, keep=keep)
    ends = np.cumsum(batches)
    for part in np.split(np.arange(60), ends):
        parts.update(attributions[part], labels[part], keep=keep[part])
    for name in ("mean", "m2", "mean_abs"):
        np.testing.assert_allclose(
            getattr(parts.result(), name), getattr(whole.result(), name), rtol=1e-6, atol=1e-12, err_msg=name
        )
    assert_aggregated(parts.result(), attributions, labels, keep, layout, 4)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("channels", [1, 2])
def test_same_bits_for_any_threads(isa, dtype, channels):
    # 1.5 MB and more: three threads. Two batches, so that moments before are read, too.
    layout = Layout.shuffled(30_000)
    attributions, labels, keep = batch(layout, 26, 3, channels, dtype)
    states = []
    for threads in (1, 2, 3, 7):
        accumulator = AttributionAccumulator(layout, 3)
        accumulator.update(attributions, labels, keep=keep, threads=threads)
        accumulator.update(attributions[::-1], labels[::-1], threads=threads)
        states.append(accumulator.result())
    for state in states[1:]:
        for name in ("mean", "m2", "mean_abs"):
            assert getattr(state, name).tobytes() == getattr(states[0], name).tobytes()


def test_samples_that_do_not_count_are_not_read(isa, make_layout):
    layout = make_layout("shuffled", 83)
    attributions, labels, keep = batch(layout, 23, 2)
    spoiled = attributions.copy()
    spoiled[~keep] = np.nan
    clean, marked = AttributionAccumulator(layout, 2), AttributionAccumulator(layout, 2)
    clean.update(attributions, labels, keep=keep)
    marked.update(spoiled, labels, keep=keep)
    for name in ("count", "mean", "m2", "mean_abs"):
        np.testing.assert_array_equal(getattr(marked.result(), name), getattr(clean.result(), name))


def test_bad_batch_between_good_ones(isa):
    # New classes, seen ones, and values at the end of the last tile: nothing of a refused batch stays.
    layout = Layout.natural(10_000)
    attributions, labels, _ = batch(layout, 20, 3)
    clean, tried = AttributionAccumulator(layout, 3), AttributionAccumulator(layout, 3)
    clean.update(attributions[:10], labels[:10])
    clean.update(attributions[10:], labels[10:])
    bad = attributions.copy()
    bad[0, 0, 99, 99] = np.inf
    with pytest.raises(ValueError, match="attributions must be finite"):
        tried.update(bad, labels)
    tried.update(attributions[:10], labels[:10])
    with pytest.raises(ValueError, match="attributions must be finite"):
        tried.update(bad, labels)
    tried.update(attributions[10:], labels[10:])
    for name in ("count", "mean", "m2", "mean_abs"):
        np.testing.assert_array_equal(getattr(tried.result(), name), getattr(clean.result(), name))


def test_squares_beyond_float64_are_refused(isa):
    layout = Layout.natural(4)
    accumulator = AttributionAccumulator(layout, 1)
    values = np.ones((3, 1, 2, 2))
    values[1, 0, 0, 1] = 1e200
    with pytest.raises(ValueError, match="attributions must be finite, with squares that float64 holds"):
        accumulator.update(values, np.zeros(3, dtype=np.int64))
    np.testing.assert_array_equal(accumulator.result().count, 0)


@pytest.mark.parametrize("value", [0.1, -3e7, 1e-30])
def test_constant_attributions_have_no_spread(isa, value):
    layout = Layout.natural(100)
    accumulator = AttributionAccumulator(layout, 1)
    for n in (1, 7, 20):
        accumulator.update(np.full((n, 1, 10, 10), value, np.float32), np.zeros(n, dtype=np.int64))
    np.testing.assert_array_equal(accumulator.result().m2, 0.0)
    np.testing.assert_array_equal(accumulator.result().mean, np.float64(np.float32(value)))


GOOD = (np.ones((4, 1, 4, 4), np.float32), np.array([0, 1, 0, 1]), np.ones(4, dtype=bool))


def with_nan(value):
    attributions = GOOD[0].copy()
    attributions[2, 0, 1, 1] = value
    return attributions


@pytest.mark.parametrize(
    ("attributions", "labels", "keep", "words"),
    [
        (np.ones((4, 16), np.float32), GOOD[1], GOOD[2], r"attributions.*\(4, 16\)"),
        (np.ones((4, 1, 4, 5), np.float32), GOOD[1], GOOD[2], r"attributions.*4, 4.*4, 5"),
        (np.ones((4, 4, 4), np.float32), GOOD[1], GOOD[2], r"attributions.*\(4, 4, 4\)"),
        (np.ones((4, 0, 4, 4), np.float32), GOOD[1], GOOD[2], r"attributions"),
        (GOOD[0].astype(complex), GOOD[1], GOOD[2], "attributions.*complex128"),
        (GOOD[0].astype(object), GOOD[1], GOOD[2], "attributions.*object"),
        (with_nan(np.nan), GOOD[1], GOOD[2], "attributions.*NaN"),
        (with_nan(np.inf), GOOD[1], GOOD[2], "attributions.*(inf|finite)"),
        (GOOD[0], np.array([0, 1, 0]), GOOD[2], "labels.*4.*3"),
        (GOOD[0], np.array([0, 1, 0, 2]), GOOD[2], "labels.*2"),
        (GOOD[0], np.array([0, -1, 0, 1]), GOOD[2], "labels.*-1"),
        (GOOD[0], np.array([0.5, 1.0, 0.0, 1.0]), GOOD[2], "labels.*float64"),
        (GOOD[0], np.zeros((4, 1), np.int64), GOOD[2], "labels"),
        (GOOD[0], GOOD[1], np.ones(3, dtype=bool), "keep.*4.*3"),
        (GOOD[0], GOOD[1], np.ones(4), "keep.*(bool|float64)"),
    ],
)
def test_refused_and_unchanged(isa, attributions, labels, keep, words):
    accumulator = AttributionAccumulator(Layout.natural(16), 2)
    accumulator.update(*GOOD[:2], keep=GOOD[2])
    before = accumulator.result()
    with pytest.raises((ValueError, TypeError), match=r"(?is)" + words):
        accumulator.update(attributions, labels, keep=keep)
    after = accumulator.result()
    for name in ("count", "mean", "m2", "mean_abs"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_channels_that_fit_neither_way_refused(make_layout):
    layout = make_layout("channels", 40)
    assert layout.channels == 3
    attributions, labels, keep = batch(layout, 4, 2, channels=2)
    with pytest.raises(ValueError, match=r"(?s)attributions.*3.*2"):
        AttributionAccumulator(layout, 2).update(attributions, labels, keep=keep)


@pytest.mark.parametrize("n_classes", [0, -1])
def test_classes_refused(n_classes):
    with pytest.raises(ValueError, match=f"(?s)n_classes.*{n_classes}"):
        AttributionAccumulator(Layout.natural(16), n_classes)


def test_merge_refused(make_layout):
    accumulator = AttributionAccumulator(make_layout("shuffled", 16), 2)
    with pytest.raises(ValueError, match=r"(?s)(2.*3|3.*2|class)"):
        accumulator.merge(AttributionAccumulator(make_layout("shuffled", 16), 3))
    with pytest.raises(ValueError, match=r"(?s)layout"):
        accumulator.merge(AttributionAccumulator(make_layout("natural", 16), 2))
