from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pixfold.errors import InputError
from pixfold.learn.baselines import simple_test, simple_test_of

FIELDS = ("statistic", "p", "q", "direction")


def samples(n_classes: int, n: int = 60, p: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % n_classes)
    values = rng.standard_normal((n, p)) * (1 + labels[:, None])
    values[:, :5] += 2.0 * labels[:, None]
    return values, labels


def test_welch_against_scipy():
    values, labels = samples(2)
    found = simple_test_of(values, labels)
    expected = stats.ttest_ind(values[labels == 0], values[labels == 1], equal_var=False)
    np.testing.assert_allclose(found.statistic, expected.statistic, rtol=1e-10)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-6)
    np.testing.assert_allclose(found.q, stats.false_discovery_control(expected.pvalue), rtol=1e-6)
    np.testing.assert_array_equal(found.direction, expected.statistic < 0)
    assert found.name == "Welch's t test"


@pytest.mark.parametrize("n_classes", [3, 7])
def test_anova_against_scipy(n_classes):
    values, labels = samples(n_classes)
    found = simple_test_of(values, labels)
    groups = [values[labels == k] for k in range(n_classes)]
    expected = stats.f_oneway(*groups)
    np.testing.assert_allclose(found.statistic, expected.statistic, rtol=1e-9)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-6)
    np.testing.assert_array_equal(found.direction, np.argmax([group.mean(axis=0) for group in groups], axis=0))


def test_correlation_against_scipy():
    values, _ = samples(2)
    target = values[:, 0] - 0.5 * values[:, 1] + np.random.default_rng(1).standard_normal(60)
    found = simple_test_of(values, target)
    expected = stats.pearsonr(values, target[:, None], axis=0)
    r = expected.statistic
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-6)
    np.testing.assert_allclose(found.statistic, r * np.sqrt(58 / (1 - r**2)), rtol=1e-9)
    np.testing.assert_array_equal(found.direction, r > 0)


def test_far_tail_and_large_offset():
    # Variances far below the means, and p values near the smallest doubles.
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    values = 1e6 + rng.standard_normal((400, 3)) + np.array([0.0, 3.0, 30.0]) * labels[:, None]
    found = simple_test_of(values, labels)
    expected = stats.ttest_ind(values[labels == 0], values[labels == 1], equal_var=False)
    np.testing.assert_allclose(found.statistic, expected.statistic, rtol=1e-7)
    np.testing.assert_allclose(found.p[:2], expected.pvalue[:2], rtol=1e-6)


@pytest.mark.parametrize("labels", [np.arange(12) % 2, np.arange(12) % 3, np.linspace(0.0, 1.0, 12)])
def test_constant_features_say_nothing(labels):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((12, 4))
    values[:, 1] = 0.1  # whose sums of twelve are not exact
    values[:, 3] = 0.0
    found = simple_test_of(values, labels)
    for j in (1, 3):
        assert (found.statistic[j], found.p[j], found.q[j], found.direction[j]) == (0.0, 1.0, 1.0, -1)
    np.testing.assert_allclose(found.q[[0, 2]], stats.false_discovery_control(found.p[[0, 2]]))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_constant_within_classes(n_classes):
    labels = np.arange(12) % n_classes
    found = simple_test_of(0.1 * labels[:, None], labels)
    assert np.isinf(found.statistic[0])
    assert (found.p[0], found.q[0], found.direction[0]) == (0.0, 0.0, n_classes - 1)
    if n_classes == 2:
        assert found.statistic[0] == -np.inf  # the first class has the lower mean


def test_perfect_correlation():
    target = np.arange(8.0)
    found = simple_test_of(np.stack([target, -target], axis=1), target)
    # r is 1 to within rounding, which t turns into the root of its inverse.
    assert np.all(found.p < 1e-30)
    np.testing.assert_array_equal(found.direction, [1, 0])


def test_constant_quantity():
    found = simple_test_of(np.random.default_rng(0).standard_normal((6, 3)), np.full(6, 2.5))
    np.testing.assert_array_equal(found.p, 1.0)


def test_class_of_one_sample():
    values, labels = samples(2, n=12)
    labels[:] = 0
    labels[3] = 1
    found = simple_test_of(values, labels)
    expected = stats.ttest_ind(values[labels == 0], values[labels == 1])
    assert found.name == "Student's t test"
    np.testing.assert_allclose(found.statistic, expected.statistic, rtol=1e-10)
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-6)
    labels[4] = 2
    found = simple_test_of(values, labels)
    expected = stats.f_oneway(*(values[labels == k] for k in range(3)))
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-6)


def test_codes_that_do_not_occur():
    values, labels = samples(2)
    shifted = simple_test_of(values, labels * 3 + 1)
    plain = simple_test_of(values, labels)
    np.testing.assert_array_equal(shifted.p, plain.p)
    np.testing.assert_array_equal(shifted.direction, plain.direction * 3 + 1)


@pytest.mark.parametrize("kind", ["two", "four", "quantity"])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_streamed_is_as_in_memory(job_of, kind, batch_size):
    values, labels = samples(4 if kind == "four" else 2)
    values = np.abs(values).astype(np.float32)
    values[:, 7] = 0.0  # left out
    values[:, 9] = 0.3  # constant
    job = job_of(values, labels, batch_size=batch_size, normalize="log1p")
    target = job.prepared.labels
    if kind == "quantity":
        target = np.random.default_rng(3).standard_normal(60) + values[:, 2]
    normalizer = job.fitted(np.arange(60))
    found = simple_test(job, normalizer, target)
    expected = simple_test_of(normalizer.transform(values), target)
    assert found.name == expected.name
    for field in FIELDS:
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-9, atol=0, err_msg=field)
    assert found.p[7] == found.p[9] == 1.0


def test_labels_of_the_job_are_the_default(job_of):
    values, labels = samples(3)
    job = job_of(values, labels)
    normalizer = job.fitted(np.arange(60))
    np.testing.assert_array_equal(simple_test(job, normalizer).p, simple_test(job, normalizer, labels).p)


def test_missing_values_are_replaced_by_the_normaliser(job_of):
    values, labels = samples(2)
    values[3, 4] = values[10, 4] = np.nan
    job = job_of(values, labels, missing="mean")
    normalizer = job.fitted(np.arange(60))
    found = simple_test(job, normalizer)
    expected = simple_test_of(normalizer.transform(values), labels)
    np.testing.assert_allclose(found.p, expected.p, rtol=1e-9)


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (np.ones(3), [0, 1, 0], "simple_test_of: values must be a matrix of numbers, got float64 of shape (3,)"),
        ([[np.nan], [1], [2]], [0, 1, 0], "simple_test_of: values must be finite, got 1 that are not"),
        (np.ones((3, 1)), [0, 1], "simple_test_of: labels must be 3, one per sample, got 2"),
        (np.ones((3, 1)), [0, -1, 0], "simple_test_of: labels must be classes 0, 1, 2, ... or floats, got int64"),
        (np.ones((3, 1)), list("aba"), "simple_test_of: labels must be classes 0, 1, 2, ... or floats, got <U1"),
        (np.ones((3, 1)), [0.0, np.inf, 1.0], "simple_test_of: labels must be finite, got 1 that are not"),
        (np.ones((2, 1)), [0.0, 1.0], "simple_test_of: labels must be quantities of 3 samples or more, got 2"),
        (
            np.ones((3, 1)),
            [0, 1, 2],
            "simple_test_of: labels must be of two classes or more and of more samples than classes, "
            "got 3 classes of 3 samples",
        ),
    ],
)
def test_wrong_arguments(values, labels, message):
    with pytest.raises(InputError) as raised:
        simple_test_of(values, labels)
    assert str(raised.value) == message
