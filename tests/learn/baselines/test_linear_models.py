from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Lasso, LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score

from pixfold.errors import InputError
from pixfold.learn.baselines import linear_models
from pixfold.learn.baselines.solvers import L1_SHARE, PRIOR_VARIANCES, solve
from pixfold.learn.split import split

SIGNAL = 5


def classes(n_classes: int = 3, n: int = 90, p: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Five features per class are higher in it; all others are noise."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % n_classes)
    values = rng.standard_normal((n, p)).astype(np.float32)
    for k in range(n_classes):
        values[labels == k, k * SIGNAL : (k + 1) * SIGNAL] += 2.0
    return values, labels


def quantity(n: int = 90, p: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, p)).astype(np.float32)
    target = values[:, :SIGNAL].sum(axis=1) + 0.3 * rng.standard_normal(n)
    return values, np.arange(n) % 2, target


def splits_of(labels: np.ndarray, n: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = [split(len(labels), labels, seed=seed) for seed in range(n)]
    return [(np.concatenate([part.train, part.validation]), part.test) for part in parts]


def n_found(importance: np.ndarray, n: int) -> int:
    return int(np.sum(np.argsort(-importance)[:n] < n))


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("streamed", [False, True])
def test_classes_are_told_apart_by_their_features(job_of, n_classes, streamed):
    values, labels = classes(n_classes)
    job = job_of(values, labels)
    models = linear_models(job, splits_of(labels), streamed=streamed)
    assert [model.penalty for model in models] == ["l2", "l1"]
    for model in models:
        assert set(model.scores) == {"accuracy", "balanced_accuracy"}
        assert all(len(scores) == 3 for scores in model.scores.values())
        assert model.scores["balanced_accuracy"].mean() > 1.5 / n_classes  # half as good again as by chance
        assert n_found(model.importance, n_classes * SIGNAL) >= 0.8 * n_classes * SIGNAL
        assert model.importance.sum() == pytest.approx(1.0)
        assert (model.n_splits, model.n_done, model.streamed) == (3, 3, streamed)
        assert model.seconds > 0


@pytest.mark.parametrize("streamed", [False, True])
def test_quantity(job_of, streamed):
    # Steps along the gradient need more samples to find what the exact solution does.
    values, labels, target = quantity(n=1000 if streamed else 90)
    job = job_of(values, labels, batch_size=64)
    ridge, lasso = linear_models(job, splits_of(labels), target, streamed=streamed)
    assert (ridge.name, lasso.name) == ("ridge regression (L2)", "lasso (L1)")
    assert set(ridge.scores) == {"r2", "spearman"}
    assert lasso.scores["r2"].mean() > 0.8
    assert lasso.scores["spearman"].mean() > 0.8
    assert ridge.scores["spearman"].mean() > 0.3
    assert n_found(lasso.importance, SIGNAL) == SIGNAL
    assert n_found(ridge.importance, SIGNAL) >= 4


def test_scores_are_of_test_samples_that_training_has_not_seen(job_of):
    values, labels = classes()
    job = job_of(values, labels)
    ((train, test),) = splits_of(labels, 1)
    (model,) = linear_models(job, [(train, test)], penalties=["l2"], seed=4)
    normalised = job.fitted(train).transform(values)
    mean = normalised[train].mean(axis=0)
    fitted = solve(normalised[train] - mean, labels[train], "l2", 4)
    predicted = fitted.predict(normalised[test] - mean)
    assert model.scores["accuracy"][0] == np.mean(predicted == labels[test])
    assert model.scores["balanced_accuracy"][0] == pytest.approx(balanced_accuracy_score(labels[test], predicted))
    weights = np.abs(fitted.coefficients).mean(axis=0)
    np.testing.assert_allclose(model.importance, weights / weights.sum(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_reduced_l2_is_that_of_all_features(n_classes):
    values, labels = classes(n_classes, n=40, p=200)
    values = centred(values)
    ours = solve(values, labels, "l2", 0).coefficients
    scale = (values.astype(float) ** 2).sum() / len(values)
    theirs = [
        LogisticRegression(C=variance / scale, max_iter=2000, tol=1e-8).fit(values.astype(float), labels).coef_
        for variance in PRIOR_VARIANCES
    ]
    # lbfgs stops at gradients of 1e-4.
    assert min(np.abs(ours - coef).max() / np.abs(coef).max() for coef in theirs) < 1e-2


def test_ridge_is_that_of_all_features():
    values, _, target = quantity(n=40, p=200)
    values = centred(values)
    scale = float((values**2).sum()) / len(values)
    theirs = RidgeCV(alphas=[scale / v for v in (0.01, 0.1, 1.0, 10.0, 100.0)]).fit(values.astype(float), target)
    np.testing.assert_allclose(solve(values, target, "l2", 0).coefficients[0], theirs.coef_, rtol=1e-3, atol=1e-5)


def test_l1_on_a_working_set_meets_the_conditions_of_all_features():
    values, labels = classes(2, n=80, p=5000)
    values = centred(values)
    model = solve(values, labels, "l1", 0)
    truth = (labels == 1).astype(float)
    limit = L1_SHARE * np.abs((truth - truth.mean()) @ values).max()
    outputs = values @ model.coefficients[0] + model.intercept[0]
    product = np.abs((truth - 1 / (1 + np.exp(-outputs))) @ values)
    assert product.max() <= limit * 1.02
    used = model.coefficients[0] != 0
    assert 5 <= used.sum() <= 80
    np.testing.assert_allclose(product[used], limit, rtol=0.02)


def test_lasso_on_a_working_set_is_that_of_all_features():
    values, _, target = quantity(n=60, p=4000)
    values = centred(values)
    limit = L1_SHARE * np.abs((target - target.mean()) @ values).max()
    theirs = Lasso(alpha=limit / 60, tol=1e-6, max_iter=10_000).fit(values.astype(float), target)
    ours = solve(values, target, "l1", 0).coefficients[0]
    np.testing.assert_allclose(ours, theirs.coef_, atol=0.02 * np.abs(theirs.coef_).max())


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_streamed_ranks_as_in_memory(job_of, penalty):
    values, labels = classes(2, n=400, p=60)
    values[:, SIGNAL : 2 * SIGNAL] = np.random.default_rng(8).standard_normal((400, SIGNAL))
    values[:, :SIGNAL] -= np.linspace(0, 1.5, SIGNAL) * labels[:, None]
    job = job_of(values, labels)
    splits = splits_of(labels)
    (held,) = linear_models(job, splits, penalties=[penalty], streamed=False)
    (streamed,) = linear_models(job, splits, penalties=[penalty], streamed=True)
    assert abs(held.scores["accuracy"].mean() - streamed.scores["accuracy"].mean()) < 0.05
    assert np.corrcoef(held.importance, streamed.importance)[0, 1] > 0.95
    assert stats.spearmanr(held.importance[:SIGNAL], streamed.importance[:SIGNAL]).statistic > 0.8


def test_no_split_begins_after_the_time(job_of):
    values, labels = classes()
    job = job_of(values, labels)
    for streamed in (False, True):
        models = linear_models(job, splits_of(labels), seconds=0, streamed=streamed)
        assert [(model.n_splits, model.n_done) for model in models] == [(3, 1)] * 2
        assert all(len(model.scores["accuracy"]) == 1 for model in models)


def test_small_memory_is_streamed(job_of):
    values, labels = classes(2, n=200, p=2000)
    splits = splits_of(labels, 1)
    assert linear_models(job_of(values, labels, memory=2_000_000), splits, penalties=["l1"])[0].streamed
    assert not linear_models(job_of(values, labels, memory=20_000_000), splits, penalties=["l1"])[0].streamed


@pytest.mark.parametrize("streamed", [False, True])
def test_degenerate_features_and_classes(job_of, streamed):
    values, labels = classes(3)
    values = np.abs(values)
    values[:, 20] = 0.0  # left out
    values[:, 21] = 3.0  # constant
    values[4, 22] = np.nan
    labels[:] = np.where(labels == 2, 0, labels)
    labels[7] = 2  # a class of one sample
    job = job_of(values, labels, normalize="log1p-zscore", missing="mean")
    for model in linear_models(job, splits_of(labels), streamed=streamed):
        assert np.isfinite(model.importance).all()
        assert model.importance[20] == 0.0
        assert model.importance[21] < 1e-6
        assert np.isfinite(model.scores["balanced_accuracy"]).all()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("constant", [False, True])
def test_training_samples_of_one_class_or_value(job_of, streamed, constant):
    values, labels = classes(2, n=30, p=20)
    one = np.flatnonzero(labels == 1)
    target = np.where(labels == 1, 2.5, np.linspace(0, 1, 30)) if constant else None
    models = linear_models(job_of(values, labels), [(one[:10], np.flatnonzero(labels == 0))], target, streamed=streamed)
    for model in models:
        name = "spearman" if constant else "accuracy"
        assert model.scores[name][0] == 0.0
        np.testing.assert_array_equal(model.importance, 0.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"splits": []}, "linear_models: splits must be one split or more, got []"),
        ({"splits": [([0, 1], [1, 2])]}, "linear_models: splits must share no sample between train and test, got 1"),
        ({"splits": [([0, 90], [1])]}, "linear_models: splits must be positions from 0 to 89, some in each part, got"),
        ({"splits": [([], [1])]}, "linear_models: splits must be positions from 0 to 89, some in each part, got"),
        ({"splits": [3]}, "linear_models: splits must be pairs of positions (train, test), got 3"),
        ({"penalties": ["l3"]}, "linear_models: penalties must be some of 'l2', 'l1', got ['l3']"),
        ({"seconds": -1}, "linear_models: seconds must be a finite number of 0 or more, got -1"),
        ({"streamed": 1}, "linear_models: streamed must be True or False, got 1"),
        ({"seed": -1}, "linear_models: seed must be an integer of 0 or more, got -1"),
        ({"labels": [1.0]}, "linear_models: labels must be 90, one per sample, got 1"),
    ],
)
def test_wrong_arguments(job_of, given, message):
    values, labels = classes()
    arguments = {"splits": [([0, 1, 2], [3, 4])]} | given
    with pytest.raises(InputError) as raised:
        linear_models(job_of(values, labels), **arguments)
    assert str(raised.value).startswith(message)
