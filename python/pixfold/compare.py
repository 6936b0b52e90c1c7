"""Runs side by side: their scores, their lists, how far the lists agree, and the settings that differ."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.learn.agreement import rank_biased_overlap
from pixfold.util.checks import whole_number
from pixfold.util.optional import require
from pixfold.util.outputs import MARK, RUN, kind_of

if TYPE_CHECKING:
    import pandas as pd

# Of metrics.json, in this order; a run has those of its task.
_SCORES = (
    *("test_accuracy", "test_accuracy_std", "balanced_accuracy", "chance_accuracy", "test_r2", "spearman"),
    *("explained_variance", "test_p", "n_called", "n_features_used", "n_runs", "agreement"),
)
# What a run has of each feature, for the table of all features.
_COLUMNS = ("rank", "importance", "q", "called")


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Several runs beside each other.

    Parameters
    ----------
    names : list of str
        What each run is called: its folder, with as much of the path as tells them apart.
    scores : pandas.DataFrame
        One row per run: ``task``, the means of ``metrics.json``, ``best_linear`` (the better balanced accuracy of the
        two linear models on the same splits).
    features : pandas.DataFrame
        One row per feature of any run, best mean rank first: ``feature``, ``mean_rank``, ``n_ranked`` (runs that rank
        it), ``n_called``, and for each run ``rank_NAME``, ``importance_NAME``, ``q_NAME`` and ``called_NAME``. A
        feature without a rank counts as last in ``mean_rank``.
    overlap : pandas.DataFrame
        One row per two runs: ``run``, ``other``, ``rank_biased_overlap`` of the lists, ``jaccard_called`` (features
        that both call, as a share of those that either does; NaN where neither calls any or one tests none),
        ``n_called_in_both``, ``n_features_in_both``.
    settings : pandas.DataFrame
        The settings that differ: index ``setting``, a column per run; empty where none does.
    """

    names: list[str]
    scores: pd.DataFrame
    features: pd.DataFrame
    overlap: pd.DataFrame
    settings: pd.DataFrame


def side_by_side(folders: Sequence[str | os.PathLike[str]], *, k: int = 50) -> SideBySide:
    """Put runs side by side.

    Parameters
    ----------
    folders : sequence of paths
        Output folders of ``pixfold run``, two or more. Features are matched by name.
    k : int
        Depth of the rank-biased overlap: the first `k` ranks have about 86 % of the weight
        (:func:`pixfold.learn.agreement.rank_biased_overlap`). Features that a run does not rank share its last place.

    Returns
    -------
    SideBySide

    Raises
    ------
    InputError
        When there are fewer than two folders, or one of them is not a run's or damaged; the message names it.
    MissingDependencyError
        When pandas is not installed.

    Notes
    -----
    The overlap of the called features is Jaccard's index (1912): what both have over what either has.

    Examples
    --------
    >>> from pixfold.compare import side_by_side
    >>> side_by_side(["out/cells"])
    Traceback (most recent call last):
        ...
    pixfold.errors.InputError: compare: folders must be two or more, got 1
    """
    whole_number(1)("compare", "k", k)
    paths = [Path(folder) for folder in folders]
    if len(paths) < 2:
        raise InputError(f"compare: folders must be two or more, got {len(paths)}")
    twice = next((path for i, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:i]}), None)
    if twice is not None:
        raise InputError(f"compare: folders must be different ones, got {twice} twice")
    runs = [_Run(path) for path in paths]
    names = _names(paths)
    pandas = require("pandas", "train", "comparing runs")
    return SideBySide(
        names=names,
        scores=pandas.DataFrame([run.scores() for run in runs], index=pandas.Index(names, name="run"), dtype=object),
        features=_features(pandas, runs, names),
        overlap=_overlap(pandas, runs, names, k),
        settings=_settings(pandas, runs, names),
    )


class _Run:
    """What an output folder says: findings, scores and settings."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"compare: {folder} must be the output folder of a run, got no folder")
        if kind_of(folder) != RUN:
            raise InputError(f"compare: {folder} must be the output folder of a run, got another folder")
        self.metrics, self.config = _json(folder / "metrics.json"), _json(folder / "config.json")
        pandas = require("pandas", "train", "comparing runs")
        file = folder / "findings.csv"
        try:
            found = pandas.read_csv(file, dtype={"feature": str}, keep_default_na=False, na_values=[""])
        except (OSError, ValueError) as error:  # what pandas raises of a damaged table is a ValueError
            raise InputError(f"compare: {file} cannot be read: {' '.join(str(error).split())}") from None
        missing = [name for name in ("feature", "rank", "importance") if name not in found]
        if missing:
            raise InputError(f"compare: {file} must have the column {missing[0]!r}, got {', '.join(found.columns[:5])}")
        self.findings: pd.DataFrame = found.set_index("feature")
        self.findings = self.findings[~self.findings.index.duplicated()]
        called = self.findings.get("called")
        # None: nothing was tested.
        self.called: set[str] | None = None
        if called is not None and self.task != "self-supervised":
            self.called = set(self.findings.index[called.astype(str) == "True"])

    @property
    def task(self) -> str:
        by_estimator = {"DeepMapperClassifier": "classification", "DeepMapperRegressor": "regression"}
        return by_estimator.get(str(self.config.get("estimator")), "self-supervised")

    def scores(self) -> dict[str, Any]:
        linear = [
            one.get("balanced_accuracy") for one in self.metrics.get("baselines", {}).values() if isinstance(one, dict)
        ]
        known = [score for score in linear if score is not None]
        return {
            "task": self.task,
            **{name: self.metrics.get(name) for name in _SCORES},
            "best_linear": max(known) if known else None,
        }

    def standing(self, features: list[str]) -> NDArray[np.float64]:
        """A score of each feature that orders them as the list does; those without a rank are last, all alike."""
        ranks = self.findings["rank"].reindex(features).to_numpy(dtype=np.float64)
        return np.where(np.isnan(ranks), -np.inf, -ranks)

    def settings(self) -> dict[str, Any]:
        """What was asked for, and what was chosen where the choice was left to pixfold."""
        given = self.config.get("options") or self.config.get("parameters") or {}
        chosen = {
            "estimator": self.config.get("estimator"),
            "network": self.config.get("backbone"),
            "pixfold": self.config.get(MARK),
        }
        normaliser = self.config.get("normalizer")
        parts = normaliser.items() if isinstance(normaliser, dict) else ()
        return {**given, **chosen, **{f"normaliser: {name}": value for name, value in parts}}


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"compare: {file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise InputError(f"compare: {file} must be a JSON object, got {type(found).__name__}")
    return found


def _names(paths: list[Path]) -> list[str]:
    """Return the last parts of the paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _features(pandas: Any, runs: list[_Run], names: list[str]) -> pd.DataFrame:
    features = list(dict.fromkeys(itertools.chain.from_iterable(run.findings.index for run in runs)))
    columns: dict[str, Any] = {}
    ranks = np.empty((len(runs), len(features)))
    called = np.zeros(len(features), dtype=np.int64)
    for i, (run, name) in enumerate(zip(runs, names, strict=True)):
        found = run.findings.reindex(features)
        ranks[i] = found["rank"].to_numpy(dtype=np.float64)
        called += np.isin(features, list(run.called or ()))
        columns |= {f"{column}_{name}": found[column].to_numpy() for column in _COLUMNS if column in found}
    last = np.where(np.isnan(ranks), np.float64(len(features)), ranks)
    table = {
        "feature": features,
        "mean_rank": last.mean(axis=0),
        "n_ranked": (~np.isnan(ranks)).sum(axis=0),
        "n_called": called,
        **columns,
    }
    found = pandas.DataFrame(table).sort_values("mean_rank", kind="stable", ignore_index=True)
    return found


def _overlap(pandas: Any, runs: list[_Run], names: list[str], k: int) -> pd.DataFrame:
    rows = []
    for i, j in itertools.combinations(range(len(runs)), 2):
        one, other = runs[i], runs[j]
        features = list(dict.fromkeys([*one.findings.index, *other.findings.index]))
        a, b = one.standing(features), other.standing(features)
        ranked = np.isfinite(a).any() and np.isfinite(b).any()
        tested = one.called is not None and other.called is not None
        mine, others = one.called or set(), other.called or set()
        either = mine | others
        rows.append(
            {
                "run": names[i],
                "other": names[j],
                "rank_biased_overlap": rank_biased_overlap(a, b, k) if ranked else np.nan,
                "jaccard_called": len(mine & others) / len(either) if tested and either else np.nan,
                "n_called_in_both": len(mine & others),
                "n_features_in_both": int(one.findings.index.isin(other.findings.index).sum()),
            }
        )
    return pandas.DataFrame(rows)


def _settings(pandas: Any, runs: list[_Run], names: list[str]) -> pd.DataFrame:
    given = [run.settings() for run in runs]
    keys = list(dict.fromkeys(itertools.chain.from_iterable(given)))
    rows = {
        key: ["" if one.get(key) is None else json.dumps(one[key], ensure_ascii=False).strip('"') for one in given]
        for key in keys
    }
    differ = {key: values for key, values in rows.items() if len(set(values)) > 1}
    table = pandas.DataFrame.from_dict(differ, orient="index", columns=names)
    return table.rename_axis("setting")
