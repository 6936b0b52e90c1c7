"""Without labels: does the list hold the features in which hidden groups of samples differ?

Groups of samples are hidden in noise, or in real values as normal scores: a few features have a mean of their own in
each group. Then every feature gets a scale of its own, as measured values have, so that a large variance says nothing.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from benchmarks.list_bars.bench import Bench
from benchmarks.list_bars.data import RealSet, background, real_sets
from benchmarks.list_bars.methods import top
from benchmarks.list_bars.numbers import mean_se
from benchmarks.list_bars.results import Row
from numpy.typing import NDArray

import pixfold as pf
from pixfold.errors import PixfoldError

SAMPLES, FEATURES, GROUPS, PLANTED = 100, 2_000, 3, 50
EFFECT = 2.0  # standard deviation of a planted feature's group means; the values themselves have 1
COMPONENTS = 10
BETTER = "ours - variance above 0 by 2 standard errors, or the job says that such groups do not stand out"
SAID = "does not stand out"


def rows(bench: Bench) -> list[Row]:
    sets = {"noise": None} | {real.name: real for real in real_sets(bench.settings)[0]}
    table = []
    for name, real in sets.items():
        jobs = [
            bench.unit(("structure", name, seed), measure, real, seed) for seed in range(bench.settings.structure_seeds)
        ]
        difference = [each["ours"] - each["variance"] for each in jobs]
        mean, error = mean_se(difference)
        lists = ", ".join(f"{label} {mean_se([each[label] for each in jobs])[0]:.2f}" for label in LISTS)
        empty = sum(each["empty"] for each in jobs)
        text = f"{lists}; two seeds share {mean_se([each['jaccard'] for each in jobs])[0]:.2f} (Jaccard)"
        text += f"; nothing ranked in {empty} of {len(jobs)}" if empty else ""
        what = f"{PLANTED} features of {GROUPS} hidden groups in {name}: precision at {PLANTED}"
        is_better, is_said = mean - 2 * error > 0, all(each["said"] for each in jobs)
        text += "" if is_better else "; said" if is_said else "; not said"
        table.append(Row(what, text, BETTER, is_better or is_said))
    return table


LISTS = ("ours", "variance", "pca")


def measure(real: RealSet | None, seed: int) -> dict[str, Any]:
    X, planted = data(real, np.random.default_rng([seed, PLANTED]))
    truth = np.zeros(X.shape[1], dtype=bool)
    truth[planted] = True
    (first_list, said), (second_list, _) = ours(X, seed), ours(X, seed + 1_000)
    importances = [first_list, second_list]
    first, second = (set(top(each, PLANTED)) for each in importances)
    lists = {"ours": importances[0], "variance": X.var(axis=0, dtype=np.float64), "pca": loadings(X)}
    found: dict[str, Any] = {
        name: float(truth[top(importance, PLANTED)].sum()) / PLANTED for name, importance in lists.items()
    }
    return found | {"jaccard": len(first & second) / max(1, len(first | second)), "empty": int(not first), "said": said}


def data(real: RealSet | None, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Samples, and the features that were planted."""
    if real is None:
        X = rng.standard_normal((SAMPLES, FEATURES), dtype=np.float32)
    else:
        X = background(real, FEATURES, rng, "normal").X
    groups = rng.integers(0, GROUPS, len(X))
    planted = rng.choice(X.shape[1], PLANTED, replace=False)
    X[:, planted] += (EFFECT * rng.standard_normal((GROUPS, PLANTED)))[groups].astype(np.float32)
    return X * np.exp(rng.normal(0, 0.7, X.shape[1])).astype(np.float32), planted


def ours(X: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float64], bool]:
    """Give the evidence of a self-supervised job (none where it was refused or ranks nothing), and whether it warns."""
    model = pf.DeepMapperAutoencoder(normalize="zscore", random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X)
    except PixfoldError:
        return np.full(X.shape[1], np.nan), False
    said = any(SAID in message for message in model.results_.messages)
    return np.asarray(model.feature_importances_, dtype=np.float64), said


def loadings(X: NDArray[np.float32]) -> NDArray[np.float64]:
    """Variance of each standardised feature that the first principal components hold."""
    Z = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float64)
    _, values, directions = np.linalg.svd(Z, full_matrices=False)
    return np.asarray((values[:COMPONENTS, None] ** 2 * directions[:COMPONENTS] ** 2).sum(axis=0))
