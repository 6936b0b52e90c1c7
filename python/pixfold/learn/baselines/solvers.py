"""Linear models of a matrix in memory, at a cost that hardly grows with the number of features.

With fewer samples than features, the L2 penalty is solved exactly in as many dimensions as there are samples, and the
L1 penalty on a working set of features, which grows until no other feature would enter the model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.util.optional import require

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
Ints = NDArray[np.int64]

# Variance that the L2 penalty allows the outputs a priori, of which one is chosen by cross-validation on the training
# samples: a coefficient has a prior variance of this over the mean squared norm of a sample.
PRIOR_VARIANCES = (0.01, 1.0, 100.0)
# Without cross-validation, where a fit is not cheap.
PRIOR_VARIANCE = 10.0
# The L1 penalty is this part of the smallest one that leaves no feature in the model.
L1_SHARE = 0.1

_FOLDS = 3
# Cross-validation where so many samples are reduced to as many dimensions.
_MOST_FOR_FOLDS = 500
_FEATURES_AT_ONCE = 1000
_ROUNDS = 8
# By how much a feature outside of the working set may miss the condition of the optimum.
_VIOLATION = 0.01


@dataclass(frozen=True)
class Linear:
    """A linear model: ``values @ coefficients.T + intercept``.

    Attributes
    ----------
    coefficients : float64 array (n_outputs, n_features)
        One output for two classes and for a quantity, one per class for more.
    intercept : float64 array (n_outputs,)
        Of the values as they come.
    classes : int64 array, or None
        Codes of the classes that were seen; None for a quantity.
    """

    coefficients: Floats
    intercept: Floats
    classes: Ints | None

    def predict(self, values: NDArray[Any]) -> NDArray[Any]:
        """Predict classes or quantities of samples (n, n_features)."""
        outputs = values @ self.coefficients.T.astype(values.dtype, copy=False) + self.intercept
        if self.classes is None:
            return np.asarray(outputs[:, 0])
        if len(self.classes) == 1:
            return np.full(len(values), self.classes[0])
        named = (outputs[:, 0] > 0).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        return np.asarray(self.classes[named])


def solve(values: Matrix, target: NDArray[Any], penalty: str, seed: int) -> Linear:
    """Fit a logistic regression of classes (integers), or a linear one of a quantity (floats).

    Parameters
    ----------
    values : float32 array (n_samples, n_features)
        Training samples, with a mean of 0 in each feature.
    target : int64 or float64 array (n_samples,)
        Classes or quantities.
    penalty : {"l2", "l1"}
        Of the coefficients.
    seed : int
        Of the folds of cross-validation and of the solver.

    Returns
    -------
    Linear
        Of centred values.
    """
    n_features = values.shape[1]
    if target.dtype.kind == "f":
        coefficients = _ridge(values, target) if penalty == "l2" else _lasso(values, target)
        return Linear(coefficients[None], np.array([target.mean()]), None)
    classes = np.unique(target)
    if len(classes) == 1:
        return Linear(np.zeros((1, n_features)), np.zeros(1), classes)
    if penalty == "l2":
        return _l2(values, target, classes, seed)
    outputs = classes[1:] if len(classes) == 2 else classes
    fitted = [_l1_binary(values, target == code, seed) for code in outputs]
    return Linear(np.stack([c for c, _ in fitted]), np.array([b for _, b in fitted]), classes)


@contextmanager
def few_iterations() -> Any:
    """Let solvers stop before the last digit: a baseline needs no more."""
    exceptions = require("sklearn.exceptions", "train", "linear models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        yield


def _reduced(values: Matrix) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Give samples in as few dimensions as hold them all, with the same inner products, and the way back.

    The L2 penalty and the outputs depend on inner products alone: the coefficients lie in the span of the samples.
    """
    n, n_features = values.shape
    if n >= n_features:
        return values.astype(np.float64), lambda coefficients: coefficients
    gram = np.asarray(values @ values.T, dtype=np.float64)
    size, vectors = np.linalg.eigh(gram)
    # Directions below float32's rounding of the products are none.
    real = size > size[-1] * n * np.finfo(np.float32).eps
    root, vectors = np.sqrt(size[real]), vectors[:, real]

    def back(coefficients: Floats) -> Floats:
        return np.asarray((coefficients / root) @ vectors.T @ values, dtype=np.float64)

    return vectors * root, back


def _mean_square(values: NDArray[Any]) -> float:
    """Mean squared norm of the samples; 1 where all are 0."""
    return float(np.einsum("ij,ij->", values, values, dtype=np.float64)) / len(values) or 1.0


def _l2(values: Matrix, target: Ints, classes: Ints, seed: int) -> Linear:
    models = require("sklearn.linear_model", "train", "linear models")
    points, back = _reduced(values)
    scale = _mean_square(points)

    def fitted(rows: Ints | slice, variance: float) -> Any:
        return models.LogisticRegression(C=variance / scale, max_iter=300).fit(points[rows], target[rows])

    with few_iterations():
        variance = PRIOR_VARIANCE
        if len(values) <= min(_MOST_FOR_FOLDS, values.shape[1]):
            correct = dict.fromkeys(PRIOR_VARIANCES, 0)
            fold = _folds(target, seed)
            for number in range(_FOLDS):
                train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
                if len(np.unique(target[train])) < 2 or not len(test):
                    continue
                for candidate in PRIOR_VARIANCES:
                    predicted = fitted(train, candidate).predict(points[test])
                    correct[candidate] += int(np.sum(predicted == target[test]))
            # The strongest penalty of those that do equally well.
            variance = max(correct, key=lambda candidate: correct[candidate])
        model = fitted(slice(None), variance)
    return Linear(back(model.coef_), model.intercept_.astype(np.float64), classes)


def _folds(target: Ints, seed: int) -> Ints:
    """Deal the samples of each class out to the folds in turn, (n,)."""
    order = np.random.default_rng(seed).permutation(len(target))
    order = order[np.argsort(target[order], kind="stable")]
    fold = np.empty(len(target), dtype=np.int64)
    fold[order] = np.arange(len(target)) % _FOLDS
    return fold


def _ridge(values: Matrix, target: Floats) -> Floats:
    models = require("sklearn.linear_model", "train", "linear models")
    points, back = _reduced(values)
    scale = _mean_square(points)
    # Leave-one-out cross-validation, which costs no more than one fit.
    model = models.RidgeCV(alphas=[scale / variance for variance in (0.01, 0.1, 1.0, 10.0, 100.0)])
    return np.asarray(back(np.atleast_2d(model.fit(points, target).coef_))[0])


def _l1_binary(values: Matrix, is_class: NDArray[np.bool_], seed: int) -> tuple[Floats, float]:
    """Coefficients and intercept of a class against all others."""
    models = require("sklearn.linear_model", "train", "linear models")
    special = require("scipy.special", "train", "linear models")
    # scikit-learn 1.8 takes the kind of penalty from l1_ratio.
    old = models.LogisticRegression().get_params()["penalty"] == "l2"
    kind = {"penalty": "l1"} if old else {"l1_ratio": 1.0}
    truth = is_class.astype(np.float64)
    intercept = 0.0

    def fit(columns: Ints, limit: float) -> tuple[Floats, Floats]:
        nonlocal intercept
        # liblinear penalises the intercept as it does coefficients: as one of a large constant, hardly.
        model = models.LogisticRegression(
            C=1.0 / limit, solver="liblinear", max_iter=100, intercept_scaling=100.0, random_state=seed, **kind
        )
        model.fit(values[:, columns], is_class)
        intercept = float(model.intercept_[0])
        outputs = values[:, columns] @ model.coef_[0] + intercept
        return model.coef_[0].astype(np.float64), truth - special.expit(outputs)

    with few_iterations():
        coefficients = _on_working_set(values, truth - truth.mean(), fit)
    return coefficients, intercept


def _lasso(values: Matrix, target: Floats) -> Floats:
    models = require("sklearn.linear_model", "train", "linear models")
    centred = target - target.mean()

    def fit(columns: Ints, limit: float) -> tuple[Floats, Floats]:
        own = np.asfortranarray(values[:, columns], dtype=np.float64)
        model = models.Lasso(alpha=limit / len(values), fit_intercept=False, max_iter=300, tol=1e-3).fit(own, centred)
        return model.coef_, centred - own @ model.coef_

    with few_iterations():
        return _on_working_set(values, centred, fit)


def _on_working_set(values: Matrix, residual: Floats, fit: Callable[[Ints, float], tuple[Floats, Floats]]) -> Floats:
    """Solve an L1 penalised model on the features that may enter it.

    At the optimum, the product of a feature with the residual is at most the penalty, and less for a feature that is
    left out (Tibshirani et al., 2012, Strong rules for discarding predictors in lasso-type problems, JRSS B 74,
    245-266). So features are added that do not meet this, those with the largest products first.

    Parameters
    ----------
    values : float32 array (n_samples, n_features)
        Centred.
    residual : float64 array (n_samples,)
        Of the model without any feature.
    fit : callable
        Of the columns and the penalty: coefficients of these, and the residual.

    Returns
    -------
    float64 array (n_features,)
    """
    coefficients = np.zeros(values.shape[1])
    product = np.abs(residual.astype(np.float32) @ values)
    limit = L1_SHARE * float(product.max())
    if limit == 0.0:
        return coefficients
    columns = _largest(product, _FEATURES_AT_ONCE)
    for _ in range(_ROUNDS):
        found, residual = fit(columns, limit)
        product = np.abs(residual.astype(np.float32) @ values)
        product[columns] = 0.0
        product[product <= limit * (1.0 + _VIOLATION)] = 0.0
        more = _largest(product, _FEATURES_AT_ONCE)
        if not more.size:
            break
        # Features that the last fit left out make room: the set stays small.
        columns = np.union1d(columns[found != 0.0] if columns.size > 4 * _FEATURES_AT_ONCE else columns, more)
    else:
        found, _ = fit(columns, limit)
    coefficients[columns] = found
    return coefficients


def _largest(product: NDArray[np.float32], most: int) -> Ints:
    """Positions of the largest products above 0, sorted."""
    positions = np.flatnonzero(product > 0.0)
    if positions.size > most:
        positions = positions[np.argpartition(-product[positions], most)[:most]]
    return np.sort(positions)
