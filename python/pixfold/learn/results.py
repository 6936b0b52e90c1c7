"""What a job hands over when it is done, and the numbers that sum its runs up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold.util.optional import require

if TYPE_CHECKING:
    import pandas as pd

    from pixfold.layout import Layout

# What summarise() averages: key of a run -> key of the summary.
_AVERAGED = {
    "accuracy": "test_accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "macro_f1": "macro_f1",
    "chance_accuracy": "chance_accuracy",
    "loss": "test_loss",
    "r2": "test_r2",
    "spearman": "spearman",
    "pearson": "pearson",
    "explained_variance": "explained_variance",
    "completeness_delta": "completeness_delta",
    "completeness_delta_relative": "completeness_delta_relative",
}


@dataclass(frozen=True)
class FeatureValues:
    """Normalised values of some features in some samples, to show how they are distributed.

    Parameters
    ----------
    features : int64[n_shown]
        Positions of the features in the data.
    values : float32[n_samples, n_shown]
        What the network saw.
    labels : int64[n_samples] or float64[n_samples] or None
        Class or quantity of each sample; None without labels.
    """

    features: NDArray[np.int64]
    values: NDArray[np.float32]
    labels: NDArray[Any] | None


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that the report and the output folder are made from.

    Parameters
    ----------
    task : {"classification", "regression", "self-supervised"}
        Whether classes were learned, a quantity, or the input itself.
    findings : pandas.DataFrame
        From :func:`pixfold.learn.tables.findings_table`: one row per feature in rank order; its index is the
        position of the feature in the data.
    history : pandas.DataFrame
        From :func:`pixfold.learn.tables.history_table`: one row per epoch of every run.
    metrics : dict
        From :func:`summarise`, and what else belongs beside it (times, versions).
    config : dict
        All that is needed to repeat the job.
    layout : Layout
        Feature -> pixel; of the first run when every run has its own arrangement.
    class_names : list of str
        In code order; empty without classes.
    predictions : pandas.DataFrame or None
        From :func:`pixfold.learn.tables.predictions_table` or :func:`pixfold.learn.tables.values_table`: held-out
        samples of every run.
    class_means : float64[n_classes, n_features] or None
        Mean normalised value per class, in feature order.
    latent : pandas.DataFrame or None
        Samples x latent dimensions; the index holds the sample names.
    clusters : pandas.Series or None
        Cluster of each sample of ``latent``, where clusters were asked for.
    groups : pandas.DataFrame or None
        From :func:`pixfold.learn.tables.groups_table`: one row per group of features that was ablated.
    pairs : pandas.DataFrame or None
        Significant pairs of features, where pairs were screened.
    messages : list of str
        What the user was told.
    dropped : dict
        ``features`` and ``samples``: names of what was left out as empty.
    shown_names : list of str or None
        What report, figures and summary call the features, in feature order; None for their names. Several may
        have one name.
    annotation : list of str
        Columns of the findings that the input has of its features.
    top_values : FeatureValues or None
        Values of the best features.
    class_evidence : float64[n_classes, n_features] or None
        Signed mean attribution in held-out samples of each class, in feature order.
    """

    task: Literal["classification", "regression", "self-supervised"]
    findings: pd.DataFrame
    history: pd.DataFrame
    metrics: dict[str, Any]
    config: dict[str, Any]
    layout: Layout
    class_names: list[str] = field(default_factory=list)
    predictions: pd.DataFrame | None = None
    class_means: NDArray[np.float64] | None = None
    latent: pd.DataFrame | None = None
    clusters: pd.Series | None = None
    groups: pd.DataFrame | None = None
    pairs: pd.DataFrame | None = None
    messages: list[str] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    shown_names: list[str] | None = None
    annotation: list[str] = field(default_factory=list)
    top_values: FeatureValues | None = None
    class_evidence: NDArray[np.float64] | None = None

    @property
    def shown_findings(self) -> pd.DataFrame:
        """The findings, their features called as they are shown."""
        if self.shown_names is None:
            return self.findings
        shown = np.asarray(self.shown_names, dtype=object)
        return self.findings.assign(feature=shown[self.findings.index.to_numpy()])

    def shown(self, feature: str) -> str:
        """What a feature of this name is called where it is shown."""
        if self.shown_names is None:
            return feature
        at = self.findings.index[self.findings["feature"] == feature]
        return self.shown_names[int(at[0])] if len(at) else feature


def classification_metrics(
    y_true: ArrayLike, y_pred: ArrayLike, n_classes: int, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Score the predictions of one run.

    Parameters
    ----------
    y_true, y_pred : int[n_samples]
        Codes in ``0 .. n_classes - 1``.
    n_classes : int
        Classes there are, whether or not they occur here.
    class_names : sequence of str, optional
        Names in code order, kept beside the confusion matrix.

    Returns
    -------
    dict
        ``accuracy``; ``balanced_accuracy`` (mean recall over the classes that occur in ``y_true``);
        ``macro_f1`` (over the classes that occur in either); ``chance_accuracy`` (share of the commonest
        class: what always naming it would score); ``n_samples``; ``confusion_matrix`` (row: true class,
        column: predicted class); ``class_names``.
    """
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    scores = require("sklearn.metrics", "train", "scoring predictions")
    present = np.unique(true)
    return {
        "accuracy": float(scores.accuracy_score(true, predicted)),
        # Not balanced_accuracy_score: it warns when a class that is not in y_true was predicted.
        "balanced_accuracy": float(
            scores.recall_score(true, predicted, labels=present, average="macro", zero_division=0)
        ),
        "macro_f1": float(scores.f1_score(true, predicted, average="macro", zero_division=0)),
        "chance_accuracy": float(np.bincount(true).max() / true.size),
        "n_samples": int(true.size),
        "confusion_matrix": scores.confusion_matrix(true, predicted, labels=np.arange(n_classes)).tolist(),
        "class_names": None if class_names is None else [str(name) for name in class_names],
    }


def areas_under_curve(
    runs: ArrayLike, labels: ArrayLike, probabilities: NDArray[Any], class_names: Sequence[str]
) -> dict[str, Any]:
    """Area under the ROC curve of each class against all others, mean over the runs.

    Parameters
    ----------
    runs, labels : int[n]
        Run and true class of every held-out sample.
    probabilities : float[n, n_classes]
        Of the run that held it out.
    class_names : sequence of str
        In code order.

    Returns
    -------
    dict
        ``auc``, the mean over the classes, and ``class_auc``: class -> area. None where no run held out samples of the
        class and of another one.
    """
    stats = require("scipy.stats", "train", "scoring predictions")
    run_of, true = np.asarray(runs), np.asarray(labels)
    sums, counts = np.zeros(len(class_names)), np.zeros(len(class_names))
    for run in np.unique(run_of):
        own = run_of == run
        for code in range(len(class_names)):
            inside = true[own] == code
            n, m = int(inside.sum()), int((~inside).sum())
            if n and m:
                # Mann and Whitney's U: how often a sample of the class gets the higher probability.
                ranks = stats.rankdata(probabilities[own, code])
                sums[code] += (ranks[inside].sum() - n * (n + 1) / 2) / (n * m)
                counts[code] += 1
    known = counts > 0
    areas = np.where(known, sums / np.maximum(counts, 1), np.nan)
    return {
        "auc": float(areas[known].mean()) if known.any() else None,
        "class_auc": {
            str(name): float(area) if there else None
            for name, area, there in zip(class_names, areas, known, strict=True)
        },
    }


def regression_metrics(y_true: ArrayLike, y_pred: ArrayLike) -> dict[str, Any]:
    """Score the predicted quantity of one run.

    Parameters
    ----------
    y_true, y_pred : float[n_samples]
        In any unit, both in the same.

    Returns
    -------
    dict
        ``r2`` (1 is perfect, 0 what always naming the mean of these samples scores, no lower bound), ``spearman``,
        ``pearson`` and ``n_samples``. None where they are not defined: for one sample, or samples that all have the
        same quantity; a correlation is 0 where all predictions are the same.
    """
    true, predicted = np.asarray(y_true, dtype=np.float64), np.asarray(y_pred, dtype=np.float64)
    stats = require("scipy.stats", "train", "scoring predictions")
    if true.size < 2 or np.ptp(true) == 0.0:
        return {"r2": None, "spearman": None, "pearson": None, "n_samples": int(true.size)}
    # In units of the quantity's spread, whose square may be too large for a number.
    unit = float(np.ptp(true))
    centred, missed = (true - true.mean()) / unit, (true - predicted) / unit
    varies = np.ptp(predicted) > 0.0
    return {
        "r2": 1.0 - float(missed @ missed) / float(centred @ centred),
        "spearman": float(stats.spearmanr(true, predicted).statistic) if varies else 0.0,
        "pearson": float(np.corrcoef(centred, (predicted - predicted.mean()) / unit)[0, 1]) if varies else 0.0,
        "n_samples": int(true.size),
    }


def summarise(per_run: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum several runs up.

    Parameters
    ----------
    per_run : sequence of mappings
        One per run, in order: ``run`` (number), ``accepted`` (bool), and what was measured: the keys of
        :func:`classification_metrics` or :func:`regression_metrics`, or ``loss`` and ``explained_variance`` of held-out
        samples. Anything else (``reason``, ``seconds``, ...) is kept in ``runs``.

    Returns
    -------
    dict
        Means over the accepted runs, each with its standard deviation (n - 1; NaN for one run):
        ``test_accuracy``, ``test_accuracy_std``, ``balanced_accuracy``, ``macro_f1``, ``chance_accuracy`` (or
        ``test_r2``, ``spearman``, ``pearson``; or ``test_loss``, ``explained_variance``); ``confusion_matrix`` summed
        over them; ``n_runs``, ``n_accepted``, ``averaged_over`` ("accepted runs", or "all runs" when none was
        accepted), and ``runs``.
    """
    accepted = [run for run in per_run if run["accepted"]]
    used = accepted or list(per_run)
    summary: dict[str, Any] = {}
    for key, name in _AVERAGED.items():
        values = np.array([run[key] for run in used if run.get(key) is not None], dtype=np.float64)
        if values.size:
            summary[name] = float(values.mean())
            summary[f"{name}_std"] = float(values.std(ddof=1)) if values.size > 1 else float("nan")
    matrices = [np.asarray(run["confusion_matrix"]) for run in used if run.get("confusion_matrix") is not None]
    if matrices:
        summary["confusion_matrix"] = np.sum(matrices, axis=0).tolist()
    summary["averaged_over"] = "accepted runs" if accepted else "all runs"
    summary["n_runs"] = len(per_run)
    summary["n_accepted"] = len(accepted)
    summary["runs"] = [dict(run) for run in per_run]
    return summary
