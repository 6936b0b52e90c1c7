"""pydeepmapper's statistics over passes.

Its rule for ties: of equal importances, the feature with the lower index comes first. `pixfold.rank` and
`pixfold.top_k` treat ties as ties, and so cannot stand in here. Lists come out, as there; lists and arrays go in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.util.checks import number, whole_number
from pixfold.util.text import must_be


def accept_pass(accuracy: float, min_accuracy: float) -> bool:
    """Whether a pass counts: its accuracy is at least the least one."""
    return accuracy >= min_accuracy


def ranks_from_importances(importances: Sequence[float]) -> list[int]:
    """Rank of each feature, 1 for the most important one; of equal importances, the lower index ranks first.

    Raises
    ------
    InputError
        When the importances are not one-dimensional or hold NaN, which has no rank.
    """
    order = _descending(_vector("ranks_from_importances", "importances", importances))
    ranks = np.empty(order.size, dtype=np.int64)
    ranks[order] = np.arange(1, order.size + 1)
    return _list(ranks)


def top_k_set(importances: Sequence[float], k: int) -> list[int]:
    """Indices of the `k` most important features, by decreasing importance; of equal ones, the lower index first.

    All of them where there are fewer than `k`.

    Raises
    ------
    InputError
        When the importances are not one-dimensional or hold NaN, or `k` is no integer of 0 or more.
    """
    values = _vector("top_k_set", "importances", importances)
    whole_number(0)("top_k_set", "k", k)
    if k == 0:
        return []
    if k >= values.size:
        return _list(_descending(values))
    least = np.partition(values, values.size - k)[values.size - k]
    candidates = np.flatnonzero(values >= least)
    return _list(candidates[_descending(values[candidates])[:k]])


def selection_frequency(top_sets: Sequence[Sequence[int]], n_features: int) -> list[float]:
    """Share of the passes that selected each feature; 0 for all where there is no pass.

    Raises
    ------
    InputError
        When an index lies outside ``[0, n_features)`` or `n_features` is no integer of 0 or more.
    """
    op = "selection_frequency"
    whole_number(0)(op, "n_features", n_features)
    if not hasattr(top_sets, "__len__"):
        raise InputError(must_be(op, "top_sets", "sequences of indices", top_sets))
    if len(top_sets) == 0:
        return [0.0] * int(n_features)
    selected = np.concatenate([_indices(op, indices) for indices in top_sets])
    outside = (selected < 0) | (selected >= n_features)
    if outside.any():
        raise InputError(f"{op}: top_sets must hold indices in [0, {n_features}), got {selected[outside][0]}")
    shares = np.bincount(selected, minlength=int(n_features)) / len(top_sets)
    return _list(shares)


def mean_rank(rank_lists: Sequence[Sequence[float]]) -> list[float]:
    """Mean rank of each feature over the passes (Borda), lower is better.

    Raises
    ------
    InputError
        When there is no pass, or passes differ in their number of features.
    """
    rows = _rows("mean_rank", "rank_lists", rank_lists)
    # Passes are added one after the other, as there: another order would round differently.
    total = np.zeros(rows[0].size, dtype=np.float64)
    for row in rows:
        total += row
    return _list(total / len(rows))


def median_importance(importance_lists: Sequence[Sequence[float]]) -> list[float]:
    """Median importance of each feature over the passes; of an even number of them, the mean of the middle two.

    Raises
    ------
    InputError
        When there is no pass, passes differ in their number of features, or an importance is NaN.
    """
    op = "median_importance"
    rows = _rows(op, "importance_lists", importance_lists)
    values = np.stack(rows, axis=1)
    if np.isnan(values).any():
        feature, at = np.argwhere(np.isnan(values))[0]
        raise InputError(f"{op}: importance_lists must hold no NaN, got it for feature {feature} of pass {at}")
    middle = len(rows) // 2
    if len(rows) % 2:
        values.partition(middle, axis=1)
        return _list(values[:, middle])
    values.partition((middle - 1, middle), axis=1)
    with np.errstate(invalid="ignore", over="ignore"):  # inf and -inf have no mean; Python says so without a warning
        return _list(0.5 * (values[:, middle - 1] + values[:, middle]))


def stability_selection_bound(pi_thr: float, q: float, n_features: int) -> float:
    """Bound of the expected number of false selections, ``q^2 / ((2 pi_thr - 1) n_features)``.

    Meinshausen and Buehlmann (2010). Unlike the bounds of ``pixfold run --fdr``, it is not cut off at `n_features`.

    Raises
    ------
    InputError
        When `pi_thr` is not above 0.5 and at most 1, `q` is negative, or `n_features` is no positive integer.
    """
    op = "stability_selection_bound"
    if isinstance(pi_thr, str) or not 0.5 < pi_thr <= 1.0:
        raise InputError(must_be(op, "pi_thr", "above 0.5 and at most 1", pi_thr))
    number()(op, "q", q)
    whole_number(1)(op, "n_features", n_features)
    return float((q * q) / ((2.0 * pi_thr - 1.0) * n_features))


def _list(values: NDArray[Any]) -> list[Any]:
    """Python numbers, as pydeepmapper gives."""
    numbers: list[Any] = values.tolist()
    return numbers


def _descending(values: NDArray[Any]) -> NDArray[np.int64]:
    """Order by decreasing value, equal ones by index. Reversed, so that unsigned integers need no sign."""
    ascending = np.argsort(values[::-1], kind="stable")
    return (values.size - 1 - ascending)[::-1]


def _vector(op: str, name: str, given: Any) -> NDArray[Any]:
    """Numbers in one dimension, without NaN."""
    values = _numbers(op, name, given)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise InputError(f"{op}: {name} must hold no NaN, got it for feature {int(np.isnan(values).argmax())}")
    return values


def _numbers(op: str, name: str, given: Any) -> NDArray[Any]:
    try:
        values = np.asarray(given)
    except ValueError as error:  # nested lists of unequal lengths
        raise InputError(must_be(op, name, "a sequence of numbers", given)) from error
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise InputError(must_be(op, name, "a sequence of numbers", given))
    return values


def _indices(op: str, given: Any) -> NDArray[np.int64]:
    if not hasattr(given, "__iter__"):
        raise InputError(must_be(op, "top_sets", "sequences of indices", given))
    values = np.asarray(given if isinstance(given, np.ndarray) else list(given))
    if values.size == 0:
        return np.empty(0, dtype=np.int64)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise InputError(must_be(op, "top_sets", "sequences of indices", given))
    return values.astype(np.int64, copy=False)


def _rows(op: str, name: str, given: Sequence[Any]) -> list[NDArray[np.float64]]:
    """One row of numbers per pass, all of one length."""
    if len(given) == 0:
        raise InputError(f"{op}: {name} must hold a pass or more, got none")
    rows = [_numbers(op, name, row).astype(np.float64, copy=False) for row in given]
    for at, row in enumerate(rows):
        if row.size != rows[0].size:
            raise InputError(
                f"{op}: {name} must have {rows[0].size} features in each pass, got {row.size} in pass {at}"
            )
    return rows
