"""Judge whether a run is good enough for its attributions to mean anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pixfold.util.optional import require

_TABLES = 999


def chance_p_value(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int, seed: int) -> float:
    """How often predictions of the same class sizes, dealt out at random, reach this balanced accuracy.

    A permutation test: 999 random contingency tables with the margins of the observed one (the distribution that
    permuting the predictions gives), drawn by Boyett's or Patefield's algorithm (SciPy's ``random_table``).

    Parameters
    ----------
    labels, predicted : int64 array (n,)
        True and predicted classes of held-out samples.
    n_classes : int
        Number of classes.
    seed : int
        Of the random tables.

    Returns
    -------
    float
        ``(1 + tables at least as good) / (1 + 999)``; 1 when only one class occurs or is ever predicted.
    """
    table = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(table, (labels, predicted), 1)
    of_class, named = table.sum(axis=1), table.sum(axis=0)
    seen = of_class > 0
    if seen.sum() < 2 or (named > 0).sum() < 2:
        return 1.0
    stats = require("scipy.stats", "train", "judging a run against chance")
    tables = stats.random_table(of_class, named).rvs(size=_TABLES, random_state=np.random.default_rng(seed))
    recall = np.diagonal(table)[seen] / of_class[seen]
    at_random = np.diagonal(tables, axis1=1, axis2=2)[:, seen] / of_class[seen]
    # The same sums in the same order give the same mean, but a last-bit difference must not hide a tie.
    reached = at_random.mean(axis=1) >= recall.mean() - 1e-12
    return float((1 + int(reached.sum())) / (1 + _TABLES))


def correlation_p_value(values: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """How often predictions that have nothing to do with a quantity rise with it as much (Spearman's test, one-sided).

    Parameters
    ----------
    values, predicted : float64 array (n,)
        Quantity of held-out samples, and what is predicted.

    Returns
    -------
    float
        1 for fewer than three samples, and where either is the same for all.
    """
    if len(values) < 3 or np.ptp(values) == 0.0 or np.ptp(predicted) == 0.0:
        return 1.0
    stats = require("scipy.stats", "train", "judging a run against chance")
    return float(stats.spearmanr(values, predicted, alternative="greater").pvalue)


def by_group(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take each group of one label as one sample, whose prediction is its commonest: its samples are one witness.

    Labels that differ within a group are compared within it, and stay as they are.
    """
    if groups is None:
        return labels, predicted
    names, of_sample = np.unique(groups, return_inverse=True)
    shared = np.zeros((len(names), int(max(labels.max(), predicted.max())) + 1), dtype=np.int64)
    np.add.at(shared, (of_sample, labels), 1)
    if (np.count_nonzero(shared, axis=1) > 1).any():
        return labels, predicted
    named = np.zeros_like(shared)
    np.add.at(named, (of_sample, predicted), 1)
    return shared.argmax(axis=1), named.argmax(axis=1)
