"""Weights of samples: to the solver, to trained networks, to a whole job and in scikit-learn's routing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

import pixfold as pf
from pixfold.errors import InputError
from pixfold.learn.additive import solver
from pixfold.learn.additive.pixels import Pixels
from pixfold.learn.additive.solver import RIDGE_OF_PREDICTIONS, SQUARES, Targets
from pixfold.learn.additive.temperature import temperature
from pixfold.learn.backbones.additive import CLIP
from pixfold.learn.objectives import Classification, Quantity
from pixfold.learn.sample_weights import relative, within_classes

QUICK = {"random_state": 0, "baselines": False, "threads": 1, "device": "cpu"}
# float32 sums of some hundred products, through a matrix of a condition of some hundred.
CLOSE = 5e-5


def close(found, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=CLOSE * np.abs(expected).max())


class Solved:
    """A small problem with 24 training and 16 held-out samples, solved with some weights."""

    def __init__(self, weights: NDArray[np.float64] | None, kind: str, repeat: NDArray[np.int64] | None = None) -> None:
        rng = np.random.default_rng(3)
        labels = np.stack([np.arange(40) % 3, rng.permutation(np.arange(40) % 3)])
        images = rng.normal(size=(40, 60)).astype(np.float32)
        images[:, 0] += labels[0]
        at = np.arange(40) if repeat is None else np.repeat(np.arange(40), repeat)
        self.images, self.labels, self.at = images[at], labels[:, at], at
        given = None if weights is None else torch.from_numpy(weights)
        self.train, self.held = (torch.from_numpy(np.flatnonzero(part)) for part in (at < 24, at >= 24))
        codes = torch.from_numpy(self.labels)
        if kind == "classes":
            self.targets = Targets(torch.nn.functional.one_hot(codes, 3).float(), codes, given)
        else:
            self.targets = Targets((codes.float() + 0.1 * torch.from_numpy(self.images[:, 1]))[..., None], None, given)
        self.pixels = Pixels.standardise(torch.from_numpy(self.images.copy()), self.train, given)
        folds = None if kind == "classes" else torch.from_numpy(at[at < 24] % 4)
        self.solution = solver.solve(self.pixels, self.train, self.targets, folds)
        self.said = solver.evidence(self.pixels, self.train, self.held, self.targets, self.solution)
        self.scores = solver.scores(self.held, self.targets, self.solution)


@pytest.mark.parametrize("kind", ["classes", "quantity"])
def test_a_weight_of_two_is_a_sample_that_comes_twice(kind):
    times = np.random.default_rng(5).integers(1, 4, 40)
    weighted, repeated = Solved(times.astype(float), kind), Solved(None, kind, repeat=times)
    for name in ("center", "scale", "square_center", "square_scale"):
        close(getattr(weighted.pixels, name), getattr(repeated.pixels, name))
    for name in ("evidence", "class_mean", "class_mean_abs", "class_gradient"):
        close(getattr(weighted.said, name), getattr(repeated.said, name))
    first = np.unique(repeated.at, return_index=True)[1]
    if kind == "quantity":
        # Classes are named by what is said of samples that are left out: one of two copies is another thing than both.
        close(weighted.solution.outputs, repeated.solution.outputs[:, first])
        close(weighted.said.saliency, repeated.said.saliency)
        close(weighted.scores, repeated.scores)
        # The ridge by folds in which all copies are left out together.
        close(weighted.solution.predicting.outputs, repeated.solution.predicting.outputs[:, first])


def test_classes_meet_half_way_between_weighted_samples_that_are_left_out():
    """Everything feature by feature in double precision, each training sample left out by another fit."""
    weights = np.random.default_rng(6).uniform(0.2, 3.0, 40)
    found = Solved(weights, "classes").solution.predicting
    one = Solved(None, "classes")
    train, labels = np.arange(24), one.labels[0]
    share = weights[train] / weights[train].sum()

    def standard(values):
        mean = share @ values[train]
        return (values - mean) / np.sqrt(share @ (values[train] - mean) ** 2)

    z = np.clip(standard(one.images.astype(np.float64)), -CLIP, CLIP)
    features = np.hstack([z, np.sqrt(SQUARES) * standard(z**2)]) / np.sqrt(z.shape[1])
    wanted = np.eye(3)[labels]

    def fit(rows, ridge=None):
        w = weights[rows] / weights[rows].sum()
        center, level = w @ features[rows], w @ wanted[rows]
        x = np.sqrt(weights[rows])[:, None] * (features[rows] - center)
        t = np.sqrt(weights[rows])[:, None] * (wanted[rows] - level)
        if ridge is None:
            ridge = RIDGE_OF_PREDICTIONS * np.trace(x.T @ x) / weights[rows].sum()
        beta = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ t)
        return (features - center) @ beta, level, ridge

    f, level, ridge = fit(train)
    left_out = []
    for i in train:
        said, without, _ = fit(np.setdiff1d(train, [i]), ridge)
        left_out.append(said[i] + without - level)
    means, centroids = (
        np.stack([np.average(values[labels[train] == k], axis=0, weights=weights[train][labels[train] == k])
                  for k in range(3)])
        for values in (np.stack(left_out), f[train])
    )  # fmt: skip
    rest = np.stack(left_out) - means[labels[train]]
    spread = (weights[train] * rest.T) @ rest / (weights[train].sum() * (1 - 3 / 24))

    def threshold(k, j):
        """As far from the one between the centroids as the left-out samples, of their effective number, are sure."""
        line, trained = centroids[k] - centroids[j], (centroids[k] + centroids[j]) @ (centroids[k] - centroids[j]) / 2
        move = (means[k] + means[j]) @ line / 2 - trained
        shares = [weights[train][labels[train] == each] for each in (k, j)]
        error2 = line @ spread @ line * sum((w**2).sum() / w.sum() ** 2 for w in shares) / 4
        return trained + (max(0.0, 1 - 9 * error2 / move**2) * move if move else 0.0)

    scores = f @ centroids.T
    for k in range(3):
        scores[:, k] -= np.mean([threshold(k, j) for j in range(3)])
    close(found.outputs[0], scores - scores.mean(1, keepdims=True))


def test_weights_whose_scale_goes_with_the_labels_change_the_length_of_the_evidence():
    """The p-values compare labellings by evidence over length."""
    weights = np.where(np.arange(40) % 3 == 0, 9.0, 1.0)
    length = Solved(weights, "classes").said.length
    # True labels: the weights of a class are all the same, the shortest there is; permuted ones mix them.
    held = np.bincount(np.arange(24, 40) % 3)
    assert float(length[0]) == pytest.approx(np.sqrt((1 / held).sum()), rel=1e-5)
    assert length[1] > 1.1 * length[0]


def test_temperature_counts_by_weights():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), torch.from_numpy(rng.normal(size=(60, 2)).astype(np.float32))
    scores[np.arange(60), labels] += 1.0
    times = rng.integers(1, 4, 60)
    at = np.repeat(np.arange(60), times)
    weighted = temperature([(np.arange(60), scores)], labels, times.astype(float))
    # The scale of the search is the mean score, which the copies change; the bound of the search is 1e-3 of its log.
    assert weighted == pytest.approx(temperature([(np.arange(len(at)), scores[at])], labels[at]), rel=5e-3)


def test_losses_are_weighted_means():
    outputs, labels = torch.randn(5, 3, generator=torch.manual_seed(0)), torch.tensor([0, 1, 2, 1, 0])
    times = torch.tensor([1, 2, 3, 1, 2])
    weighted = outputs, torch.empty(0), labels, times.float()
    at = torch.repeat_interleave(torch.arange(5), times)
    repeated = outputs[at], torch.empty(0), labels[at]
    for loss in (
        Classification(3, None),
        Classification(3, torch.tensor([1.0, 2.0, 0.5])),
        Quantity(torch.arange(3.0)),
    ):
        for found, expected in zip(loss(*weighted), loss(*repeated), strict=True):
            assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_weights_within_classes():
    found = within_classes(np.array([1.0, 3.0, 5.0, 5.0, 10.0]), np.array([0, 0, 2, 2, 2]))
    np.testing.assert_allclose(found, [0.5, 1.5, 0.75, 0.75, 1.5])
    np.testing.assert_allclose(relative(np.array([1e300, 3e300])), [0.5, 1.5])
    assert relative(np.full(3, 0.1)) is None


# Jobs


@pytest.fixture(scope="module")
def two_signals():
    """Feature 2 tells the classes of even pairs of samples apart, feature 5 those of odd ones; quantities likewise."""
    rng = np.random.default_rng(0)
    n = 80
    X, y, even = rng.random((n, 10)).astype(np.float32), np.arange(n) % 2, (np.arange(n) // 2) % 2 == 0
    X[even, 2] += y[even]
    X[~even, 5] += y[~even]
    return X, y, even


def classifier(backbone="additive", **changes) -> pf.DeepMapperClassifier:
    return pf.DeepMapperClassifier(backbone, **{**QUICK, "normalize": "zscore", "n_runs": 4, **changes})


def first(estimator) -> str:
    return str(estimator.findings_["feature"].iloc[0])


@pytest.mark.parametrize("changes", [{}, {"backbone": "patchnet", "n_runs": 1, "epochs": 20, "batch_size": 16}])
def test_the_list_is_that_of_the_samples_that_weigh(two_signals, changes):
    X, y, even = two_signals
    for heavy, feature in ((even, "feature_2"), (~even, "feature_5")):
        clf = classifier(min_accuracy=0.0, **changes).fit(X, y, sample_weight=np.where(heavy, 20.0, 1.0))
        assert first(clf) == feature
        assert any("samples were weighted" in said for said in clf.results_.messages)


@pytest.mark.parametrize("changes", [{}, {"backbone": "patchnet", "n_runs": 1, "epochs": 60, "batch_size": 16}])
def test_of_a_quantity_too(two_signals, changes):
    X, y, even = two_signals
    for heavy, feature in ((even, "feature_2"), (~even, "feature_5")):
        reg = pf.DeepMapperRegressor(**{**QUICK, "normalize": "zscore", "n_runs": 4, **changes})
        reg.fit(X, y + 0.01 * X[:, 0], sample_weight=np.where(heavy, 20.0, 1.0))
        assert first(reg) == feature


def test_samples_of_weight_zero_are_as_if_they_were_not_there(two_signals):
    X, y, even = two_signals
    found = classifier().fit(X, y, sample_weight=even * 0.3)
    expected = classifier().fit(X[even], y[even])
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(found.feature_importances_, expected.feature_importances_)
    assert "40 samples of weight 0 left out" in found.results_.messages


def test_weights_that_are_all_the_same_are_none(two_signals):
    X, y, _ = two_signals
    found, expected = classifier().fit(X, y, sample_weight=np.full(len(y), 0.1)), classifier().fit(X, y)
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def test_only_ratios_count(two_signals):
    X, y, even = two_signals
    weights = np.where(even, 3.0, 1.0)
    found = [classifier().fit(X, y, sample_weight=weights * factor).feature_importances_ for factor in (1.0, 1024.0)]
    np.testing.assert_array_equal(*found)


def test_weights_of_whole_classes_change_no_p_value(two_signals):
    """Classes count the same: labels are permuted while weights stay, and must be parted as evenly as the true ones."""
    X, y, _ = two_signals
    found, expected = (classifier().fit(X, y, sample_weight=weights) for weights in (np.where(y == 1, 9.0, 1.0), None))
    assert found.metrics_["test_p"] == expected.metrics_["test_p"]
    np.testing.assert_array_equal(found.findings_["p"], expected.findings_["p"])
    close(found.feature_importances_, expected.feature_importances_)


def test_weights_follow_their_samples_through_empty_ones_and_missing_labels(two_signals):
    X, y, even = two_signals
    weights, labels = np.where(even, 3.0, 1.0), np.array(["a", "b"], dtype=object)[y]
    kept = np.ones(len(y), dtype=bool)
    kept[[1, 6]] = False
    expected = classifier().fit(X[kept], labels[kept], sample_weight=weights[kept])
    spoilt = X.copy()
    spoilt[1], labels[6] = 0.0, None
    found = classifier().fit(spoilt, labels, sample_weight=weights)
    np.testing.assert_array_equal(found.feature_importances_, expected.feature_importances_)


def test_another_job_has_other_weights(two_signals, tmp_path, monkeypatch):
    X, y, even = two_signals
    stop = RuntimeError("stopped")
    net = {"backbone": "patchnet", "n_runs": 2, "epochs": 2, "batch_size": 16}

    def fail(*_, **__):
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr("pixfold.learn.fit.finished", fail)
        with pytest.raises(RuntimeError, match="stopped"):
            classifier(**net).fit(X, y, sample_weight=1.0 + even, checkpoint=tmp_path / "kept")
    with pytest.raises(InputError, match="other weights of samples"):
        classifier(**net).fit(X, y, sample_weight=2.0 - even, checkpoint=tmp_path / "kept")


@pytest.mark.parametrize(
    ("weights", "changes", "message"),
    [
        (np.ones(7), {}, "DeepMapperClassifier: sample_weight must be 80, one per sample, got 7"),
        (np.ones((80, 2)), {}, "sample_weight must be 1-D"),
        (np.r_[np.ones(79), -1.0], {}, "finite numbers of 0 or more, not all of them zero, got -1.0 for sample 79"),
        (np.r_[np.ones(79), np.nan], {}, "got nan for sample 79"),
        (np.zeros(80), {}, "got 0 for all 80 samples"),
        (["heavy"] * 80, {}, "sample_weight must be finite numbers"),
        (np.ones(80), {"method": "saliency"}, "method must be None with sample_weight, got 'saliency'"),
        (np.ones(80), {"pair_screen": True}, "pair_screen must be False with sample_weight, got True"),
    ],
)
def test_bad_weights(two_signals, weights, changes, message):
    X, y, _ = two_signals
    backbone = "patchnet" if "method" in changes else "additive"
    with pytest.raises(InputError, match=message):
        classifier(backbone, **changes).fit(X, y, sample_weight=weights)


def test_score_takes_weights(two_signals):
    X, y, even = two_signals
    clf = classifier().fit(X, y)
    right = clf.predict(X) == y
    assert clf.score(X, y, sample_weight=1.0 + even) == pytest.approx(np.average(right, weights=1.0 + even))


# scikit-learn's routing


@pytest.fixture
def seen(monkeypatch):
    """Weights that fits were given, under metadata routing."""
    given = []
    fit = pf.DeepMapperClassifier.fit

    def watched(self, X, y=None, *, sample_weight=None):
        given.append((len(X), np.asarray(sample_weight)))
        return fit(self, X, y, sample_weight=sample_weight)

    monkeypatch.setattr(pf.DeepMapperClassifier, "fit", watched)
    with sklearn.config_context(enable_metadata_routing=True):
        yield given


def test_weights_are_routed_to_fit_and_score(two_signals, seen):
    X, y, even = two_signals
    weights = np.where(even, 20.0, 1.0) + np.arange(len(y)) * 1e-3
    step = classifier(normalize="none", n_runs=2).set_fit_request(sample_weight=True)
    step.set_score_request(sample_weight=True)
    pipeline = make_pipeline(pf.FoldTransformer("zscore", images=False), step)
    params = {"sample_weight": weights}
    found = cross_validate(pipeline, X, y, params=params, cv=2, error_score="raise", return_estimator=True)
    assert [first(estimator[-1]) for estimator in found["estimator"]] == ["feature_2", "feature_2"]
    for n, given in seen:
        assert n == len(given)
    np.testing.assert_array_equal(np.sort(np.concatenate([given for _, given in seen])), np.sort(weights))
    seen.clear()
    grid = {"deepmapperclassifier__fdr": [0.1, 0.2]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(pd.DataFrame(X), y, **params)
    assert first(search.best_estimator_[-1]) == "feature_2"
    np.testing.assert_array_equal(seen[-1][1], weights)


def test_without_a_request_routing_refuses(two_signals, seen):
    X, y, even = two_signals
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
        make_pipeline(classifier()).fit(X, y, sample_weight=1.0 + even)
