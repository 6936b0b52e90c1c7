"""The tables of the output folder, as pandas data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold.errors import InputError
from pixfold.util.optional import require

if TYPE_CHECKING:
    import pandas as pd

    from pixfold.learn.consensus import ConsensusResult
    from pixfold.learn.significance import Significance


def findings_table(
    consensus: ConsensusResult,
    feature_names: Sequence[str],
    class_names: Sequence[str] | None = None,
    *,
    dropped: ArrayLike | None = None,
    significance: Significance | None = None,
    stability: NDArray[np.float64] | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    directions: Sequence[str] | None = None,
    annotation: Mapping[str, ArrayLike] | None = None,
) -> pd.DataFrame:
    """Make one row per feature, best rank first.

    Parameters
    ----------
    consensus : ConsensusResult
        What the runs agree on.
    feature_names : sequence of str, n_features long
        In feature order.
    class_names : sequence of str, optional
        In code order; none (self-supervised) leaves the class columns out.
    dropped : bool array (n_features,), optional
        Features that were left out because all their values are zero or missing. Default: none.
    significance : Significance, optional
        Error control. Without it, or in a job whose labels cannot be learned, nothing is called.
    stability : float64 (n_features,), optional
        Share of halves of the samples on which the feature was chosen.
    baselines : mapping of str to float64 (n_features,), optional
        Further columns by name: what simpler methods say.
    directions : sequence of str, optional
        Names of the directions 0, 1, ... Default: the classes.
    annotation : mapping of str to array (n_features,), optional
        What else is known of the features: the last columns, under their own names; ``annotation_<name>`` where another
        column has that name.

    Returns
    -------
    pandas.DataFrame
        ``feature``, ``rank``, ``importance`` (evidence), ``importance_se``, ``direction`` (what a high value speaks
        for: a class, a higher or lower quantity), ``p``, ``q``, ``called``, ``selection_frequency``, ``mean_rank``,
        ``saliency``, ``stability`` (where it was done), ``dropped``, the baselines, then per class ``mean_<class>``
        (signed) and ``mean_abs_<class>``, then the annotation. Sorted by rank, features without a rank last,
        equal ranks in feature order.
        The index is the position of the feature in the data, so ``sort_index()`` gives feature order back.

    Raises
    ------
    InputError
        When the names do not fit the result.
    """
    pandas = require("pandas", "train", "the findings table")
    n_features = len(consensus.importance)
    if len(feature_names) != n_features:
        raise InputError(
            f"findings_table: feature_names must be {n_features} names, one per feature, got {len(feature_names)}"
        )
    classes = [str(name) for name in class_names or ()]
    columns: dict[str, Any] = {
        "feature": np.asarray([str(name) for name in feature_names], dtype=object),
        "rank": consensus.rank,
        "importance": consensus.importance,
        "importance_se": consensus.importance_se,
        "direction": _named(consensus.direction, classes if directions is None else directions),
        "p": np.full(n_features, np.nan) if significance is None else significance.p,
        "q": np.full(n_features, np.nan) if significance is None else significance.q,
        "called": np.zeros(n_features, dtype=bool) if significance is None else significance.called,
        "selection_frequency": consensus.selection_frequency,
        "mean_rank": consensus.mean_rank,
        "saliency": consensus.saliency,
        **({} if stability is None else {"stability": stability}),
        "dropped": np.zeros(n_features, dtype=bool) if dropped is None else np.asarray(dropped, dtype=bool),
        **{name: np.asarray(values) for name, values in (baselines or {}).items()},
    }
    if columns["dropped"].shape != (n_features,):
        raise InputError(f"findings_table: dropped must be of shape ({n_features},), got {columns['dropped'].shape}")
    if classes:
        means, means_abs = consensus.class_mean, consensus.class_mean_abs
        if consensus.n_runs == 0:
            # No accepted run: the number of classes is not known there, the columns stay.
            means = means_abs = np.full((len(classes), n_features), np.nan)
        if len(means) != len(classes):
            raise InputError(
                f"findings_table: class_names must be {len(means)} names, one per class, got {len(classes)}"
            )
        for name, mean, mean_abs in zip(classes, means, means_abs, strict=True):
            columns[_free(f"mean_{name}", columns)] = mean
            columns[_free(f"mean_abs_{name}", columns)] = mean_abs
    for name, values in (annotation or {}).items():
        columns[_free(name if name not in columns else f"annotation_{name}", columns)] = np.asarray(values)
    order = np.argsort(consensus.rank, kind="stable")  # NaN sorts last
    table: pd.DataFrame = pandas.DataFrame(columns).iloc[order]
    return table


def _named(direction: NDArray[np.int64], classes: Sequence[str]) -> NDArray[Any]:
    """Names for codes; "" for -1, and without names."""
    names = np.asarray([*classes, ""], dtype=object)
    return np.asarray(names[np.where(direction < len(classes), direction, -1)])


def groups_table(
    names: Sequence[str],
    sizes: Sequence[int],
    falls: Sequence[NDArray[np.float64]],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """Make one row per group of features that was ablated, the one that counts most first.

    Parameters
    ----------
    names, sizes : sequences, n_groups long
        Name of each group, and number of its features.
    falls : sequence of float64 (n_groups, n_classes)
        Of each run: mean fall of the output of a class for its samples when the group is set to the baseline.
    class_names : sequence of str
        In code order.

    Returns
    -------
    pandas.DataFrame
        ``group``, ``n_features``, ``fall`` (mean over classes and runs), ``fall_se`` (its standard error over runs; NaN
        for one), ``fall_<class>``.
    """
    table = np.stack(falls)
    with np.errstate(invalid="ignore"):
        of_run = np.nanmean(table, axis=2)
    n = len(table)
    spread = of_run.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(names), np.nan)
    columns: dict[str, Any] = {
        "group": np.asarray(names, dtype=object),
        "n_features": np.asarray(sizes),
        "fall": of_run.mean(axis=0),
        "fall_se": spread,
        **{f"fall_{name}": table[:, :, at].mean(axis=0) for at, name in enumerate(class_names)},
    }
    frame = require("pandas", "train", "the table of groups").DataFrame(columns)
    ordered: pd.DataFrame = frame.sort_values("fall", ascending=False, kind="stable", ignore_index=True)
    return ordered


def history_table(epochs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Make one row per epoch of every run: ``run`` and ``epoch`` first, then the other keys in order."""
    pandas = require("pandas", "train", "the history table")
    names = list(dict.fromkeys(key for row in epochs for key in row))
    first = [name for name in ("run", "epoch") if name in names or not names]
    table: pd.DataFrame = pandas.DataFrame(
        [dict(row) for row in epochs], columns=first + [name for name in names if name not in first]
    )
    return table


def predictions_table(
    *,
    run: ArrayLike,
    samples: Sequence[str],
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
) -> pd.DataFrame:
    """Make one row per held-out sample of every run.

    Parameters
    ----------
    run : int or int[n]
        Number of the run; one for all rows, or one per row.
    samples : sequence of str, n long
        Sample names.
    labels : int[n]
        Codes of the true classes; -1 where there is none.
    probabilities : float[n, n_classes]
        Predicted probabilities; the largest is the predicted class.
    class_names : sequence of str
        In code order.

    Returns
    -------
    pandas.DataFrame
        ``run``, ``sample``, ``label``, ``predicted``, ``correct``, ``probability_<class>`` per class.

    Raises
    ------
    InputError
        When the shapes do not fit.
    """
    pandas = require("pandas", "train", "the predictions table")
    names = np.asarray([str(name) for name in class_names], dtype=object)
    codes, chances = np.asarray(labels, dtype=np.int64), np.asarray(probabilities)
    expected = (len(samples), len(names))
    if chances.shape != expected or codes.shape != expected[:1]:
        raise InputError(
            f"predictions_table: labels and probabilities must be of shapes {expected[:1]} and {expected}, "
            f"got {codes.shape} and {chances.shape}"
        )
    if codes.size and (codes.min() < -1 or codes.max() >= len(names)):
        raise InputError(
            f"predictions_table: labels must be in -1 .. {len(names) - 1}, got {codes.min()} .. {codes.max()}"
        )
    predicted = chances.argmax(axis=1) if len(names) else np.zeros(0, dtype=np.int64)
    known = codes >= 0
    label = np.full(len(codes), None, dtype=object)
    correct = np.full(len(codes), None, dtype=object)
    label[known] = names[codes[known]]
    correct[known] = (predicted == codes)[known]
    columns: dict[str, Any] = {
        "run": np.broadcast_to(np.asarray(run), codes.shape).copy(),
        "sample": np.asarray([str(name) for name in samples], dtype=object),
        "label": label,
        "predicted": names[predicted],
        "correct": correct.astype(bool) if known.all() else correct,
    }
    for name, column in zip(names, chances.T, strict=True):
        columns[_free(f"probability_{name}", columns)] = column
    table: pd.DataFrame = pandas.DataFrame(columns)
    return table


def values_table(*, run: ArrayLike, samples: Sequence[str], targets: ArrayLike, predicted: ArrayLike) -> pd.DataFrame:
    """Make one row per held-out sample of every run: ``run``, ``sample``, ``target`` (a quantity), ``predicted``.

    Parameters
    ----------
    run : int or int[n]
        Number of the run; one for all rows, or one per row.
    samples : sequence of str, n long
        Sample names.
    targets, predicted : float[n]
        What is so, and what the run says.

    Raises
    ------
    InputError
        When the shapes do not fit.
    """
    pandas = require("pandas", "train", "the predictions table")
    true, said = np.asarray(targets, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if true.shape != (len(samples),) or said.shape != true.shape:
        raise InputError(
            f"values_table: targets and predicted must be of shape ({len(samples)},), got {true.shape} and {said.shape}"
        )
    table: pd.DataFrame = pandas.DataFrame(
        {
            "run": np.broadcast_to(np.asarray(run), true.shape).copy(),
            "sample": np.asarray([str(name) for name in samples], dtype=object),
            "target": true,
            "predicted": said,
        }
    )
    return table


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Return ``name``, or with a number where a class name such as "abs_x" makes two columns collide."""
    number, candidate = 2, name
    while candidate in taken:
        candidate = f"{name}_{number}"
        number += 1
    return candidate
