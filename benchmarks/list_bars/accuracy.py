"""Accuracy in repeated 5-fold cross-validation, beside L2 logistic regression on the same folds."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from benchmarks.list_bars.bench import Bench
from benchmarks.list_bars.data import RealSet, log_values, real_sets
from benchmarks.list_bars.methods import Ours
from benchmarks.list_bars.numbers import mean_se, shown
from benchmarks.list_bars.results import Row, skipped

FOLDS = 5
STRENGTHS = (1.0, 0.01)  # C; the better of them counts
WANTED = "at least logistic regression's minus its standard error"


def rows(bench: Bench) -> list[Row]:
    sets, reason = real_sets(bench.settings)
    if not sets:
        return [skipped("cross-validation", reason, WANTED)]
    table = []
    for real in sets:
        repeats = [
            bench.unit(("accuracy", real.name, repeat), fold_by_fold, bench.ours, real, repeat)
            for repeat in range(bench.settings.repeats)
        ]
        ours = [each["ours"] for each in repeats]
        strengths = {c: [each[f"C={c:g}"] for each in repeats] for c in STRENGTHS}
        best = max(STRENGTHS, key=lambda c: mean_se(strengths[c])[0])
        mean, error = mean_se(strengths[best])
        refused = sum(each["refused"] for each in repeats)
        text = f"ours {shown(ours)}, L2 logistic (C = {best:g}) {shown(strengths[best])}"
        balanced = {key: mean_se([each[f"{key} balanced"] for each in repeats])[0] for key in ("ours", f"C={best:g}")}
        text += "; balanced " + " and ".join(f"{value:.3f}" for value in balanced.values())
        text += f"; {refused} of {FOLDS * len(repeats)} folds refused" if refused else ""
        what = f"{real.name}: {len(repeats)} x {FOLDS}-fold, {len(real.y)} samples, {len(np.unique(real.y))} classes"
        table.append(Row(what, text, WANTED, mean_se(ours)[0] >= mean - error))
    return table


def fold_by_fold(ours: Ours, real: RealSet, repeat: int) -> dict[str, Any]:
    """Share of all samples that are classified correctly when they are held out, and its mean over classes.

    A fold that is refused has none.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    X, y = real.X, real.y
    correct = {name: np.zeros(len(y), dtype=bool) for name in ("ours", *(f"C={c:g}" for c in STRENGTHS))}
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes of fewer samples than folds; a solver that stopped
        for number, (train, test) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(X, y)):
            fit = ours.fit(X[train], y[train], FOLDS * repeat + number)
            if fit.model is None:
                refused += 1
            else:
                correct["ours"][test] = fit.model.predict(X[test]) == y[test]
            scaler = StandardScaler().fit(log_values(X[train]))
            values = [scaler.transform(log_values(X[part], like=X[train])) for part in (train, test)]
            for c in STRENGTHS:
                model = LogisticRegression(C=c, max_iter=1_000).fit(values[0], y[train])
                correct[f"C={c:g}"][test] = model.predict(values[1]) == y[test]
    shares: dict[str, Any] = {"refused": refused}
    for name, right in correct.items():
        shares[name] = float(right.mean())
        shares[f"{name} balanced"] = float(np.mean([right[y == k].mean() for k in np.unique(y)]))
    return shares
