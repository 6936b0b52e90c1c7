"""The ways to make a list that are compared: ours, the F test, L1 logistic regression, a random forest."""

from __future__ import annotations

import inspect
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pixfold as pf
from pixfold.errors import PixfoldError

FDR = 0.1  # declared by `called`, and the level of the F test's Benjamini-Hochberg

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Fit:
    """A fitted estimator. Where the data were refused there is none, the list is empty, and `refused` says why."""

    model: Any
    importance: Floats
    called: Mask | None  # None: the findings have no such column
    refused: str = ""

    @property
    def ranked(self) -> bool:
        findings = getattr(self.model, "findings_", {})
        places = findings.get("rank", self.importance)
        return bool(np.isfinite(places).any())


class Ours:
    """Makes the estimator with its defaults, or with those options that the command was given."""

    def __init__(self, estimator: Any, options: dict[str, Any]) -> None:
        self._class: Any = pf.DeepMapperClassifier if estimator is None else estimator
        self.name = f"{self._class.__module__}.{self._class.__name__}"
        self._said: set[str] = set()
        wanted: dict[str, Any] = {"backbone": "auto", "negative": "shift", "fdr": FDR} | options
        known = inspect.signature(self._class).parameters
        self._options = {name: value for name, value in wanted.items() if name in known}
        for name in wanted.keys() - self._options.keys():
            self._say(f"the estimator has no option {name}: left out")
        if wanted["backbone"] == "auto" and not self._takes_auto():
            self._say("the estimator knows no backbone='auto': its default is measured")
            del self._options["backbone"]
        self.takes_groups = "groups" in inspect.signature(self._class.fit).parameters

    def _takes_auto(self) -> bool:
        if "backbone" not in self._options:
            return True
        try:
            getattr(self._class(**self._options), "check_arguments", lambda: None)()
        except PixfoldError as error:
            if "backbone" in str(error):
                return False
            raise
        return True

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            print(f"note: {message}", file=sys.stderr, flush=True)

    def fit(self, X: NDArray[Any], y: NDArray[Any], seed: int, groups: NDArray[Any] | None = None) -> Fit:
        model = self._class(random_state=seed, **self._options)
        more = {} if groups is None else {"groups": groups}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(X, y, **more)
        except PixfoldError as error:
            self._say(f"refused: {error}")
            return Fit(None, np.full(X.shape[1], np.nan), np.zeros(X.shape[1], dtype=bool), str(error))
        importance = np.asarray(model.feature_importances_, dtype=np.float64)
        findings = model.findings_
        if "called" not in findings:
            self._say("findings_ has no column `called`: what needs it is not measured")
            return Fit(model, importance, None)
        called = (
            findings["called"].sort_index().fillna(False).to_numpy(dtype=bool)
        )  # the index is the feature's position
        return Fit(model, importance, called)


def top(importance: Floats, k: int) -> NDArray[np.intp]:
    """Return the best k features, best first; those without a rank (NaN) are in no list, ties keep their order."""
    order = np.argsort(-importance, kind="stable")  # NaN sorts last
    return order[: min(k, int(np.isfinite(importance).sum()))]


def ranks_of(importance: Floats, features: NDArray[np.int64]) -> list[float]:
    """Rank of each of the features, 1 the best; those in no list share the mean of the ranks that are left."""
    order = top(importance, len(importance))
    places = np.full(len(importance), (len(order) + 1 + len(importance)) / 2)
    places[order] = np.arange(1, len(order) + 1)
    return [float(places[j]) for j in features]


def f_test(X: NDArray[Any], y: NDArray[Any]) -> tuple[Floats, Floats]:
    """F statistic and p value of each feature; 0 and 1 where a feature is constant."""
    from sklearn.feature_selection import f_classif

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        scores, p = f_classif(X, y)
    return np.nan_to_num(scores, nan=0.0), np.nan_to_num(p, nan=1.0)


def benjamini_hochberg(p: Floats, level: float = FDR) -> Mask:
    order = np.argsort(p, kind="stable")
    within = p[order] <= level * np.arange(1, len(p) + 1) / len(p)
    called = np.zeros(len(p), dtype=bool)
    if within.any():
        called[order[: np.flatnonzero(within)[-1] + 1]] = True
    return called


def l1_logistic(X: NDArray[Any], y: NDArray[Any], seed: int) -> Floats:
    """Absolute coefficients at C = 1 on standardised values; NaN where they are 0: such a feature is in no list."""
    import sklearn
    from sklearn.linear_model import LogisticRegression

    newer = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)
    kind: dict[str, Any] = {"l1_ratio": 1.0} if newer else {"penalty": "l1"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged is of no matter to a list
        model = LogisticRegression(C=1.0, solver="liblinear", random_state=seed, **kind).fit(X, y)
    return listed(np.abs(model.coef_).mean(axis=0))


def random_forest(X: NDArray[Any], y: NDArray[Any], seed: int) -> Floats:
    from sklearn.ensemble import RandomForestClassifier

    return listed(RandomForestClassifier(500, n_jobs=1, random_state=seed).fit(X, y).feature_importances_)


def listed(importance: Floats) -> Floats:
    return np.where(importance > 0, importance, np.nan)
