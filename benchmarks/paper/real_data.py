"""Real sets with labels, repeated stratified splits: accuracy, and how far the top features of two splits agree."""

from __future__ import annotations

import itertools
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from benchmarks.list_bars.data import RealSet, log_values, real_sets
from benchmarks.list_bars.methods import top
from benchmarks.list_bars.settings import Settings
from benchmarks.paper.results import Units, counted, interval, parser, run_command, save, table, within

import pixfold as pf

LIST = 50  # features whose overlap is counted
TEST = 0.3  # of the samples


def _ours(train: Any, y: Any, test: Any, seed: int) -> tuple[Any, Any]:
    model = pf.DeepMapperClassifier(n_runs=5, normalize="zscore", baselines=False, pair_screen=False, random_state=seed)
    model.fit(train, y)
    return model.predict(test), np.asarray(model.feature_importances_, dtype=float)


def _logistic(l1: bool) -> Callable[..., tuple[Any, Any]]:
    def run(train: Any, y: Any, test: Any, seed: int) -> tuple[Any, Any]:
        from sklearn.linear_model import LogisticRegression

        options: dict[str, Any] = {"C": 0.1, "l1_ratio": 1.0, "solver": "saga", "max_iter": 50} if l1 else {"C": 0.01}
        model = LogisticRegression(random_state=seed, **options).fit(train, y)
        return model.predict(test), np.abs(model.coef_).mean(axis=0)

    return run


def _forest(train: Any, y: Any, test: Any, seed: int) -> tuple[Any, Any]:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(300, random_state=seed, n_jobs=2).fit(train, y)
    return model.predict(test), model.feature_importances_


def _boosting(train: Any, y: Any, test: Any, seed: int) -> tuple[Any, Any]:
    from xgboost import XGBClassifier

    classes, codes = np.unique(y, return_inverse=True)
    options = {"n_estimators": 50, "max_depth": 3, "max_bin": 32, "importance_type": "total_gain", "n_jobs": 2}
    model = XGBClassifier(random_state=seed, **options).fit(train, codes)
    return classes[model.predict(test)], model.feature_importances_


METHODS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "pixfold": _ours,
    "logistic, L1": _logistic(True),
    "logistic, L2": _logistic(False),
    "random forest": _forest,
    "XGBoost": _boosting,
}


def jaccard(lists: list[set[int]]) -> list[float]:
    """Overlap of each two lists: what they share, of what is in either."""
    return [len(a & b) / max(len(a | b), 1) for a, b in itertools.combinations(lists, 2)]


def one_split(real: RealSet, seed: int) -> tuple[Any, Any, Any, Any]:
    """Training values, their labels, test values, theirs; values are standardised by the training samples."""
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    classes, counts = np.unique(real.y, return_counts=True)
    kept = np.isin(real.y, classes[counts >= 4])  # a class needs samples on every side of a split
    X, y = real.X[kept], real.y[kept]
    train, test = train_test_split(np.arange(len(y)), test_size=TEST, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(log_values(X[train]))
    values = [scaler.transform(log_values(X[part], like=X[train])).astype(np.float32) for part in (train, test)]
    return values[0], y[train], values[1], y[test]


def measured(name: str, split: tuple[Any, Any, Any, Any], seed: int) -> dict[str, Any]:
    """Accuracy, top features and seconds of a method, or why it gave no answer."""
    train, y, test, wanted = split
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predicted, importance = METHODS[name](train, y, test, seed)
    except (pf.PixfoldError, ImportError) as error:
        return {"refused": str(error)}
    positive = np.where(np.asarray(importance) > 0, importance, np.nan)
    return {
        "accuracy": float((np.asarray(predicted) == wanted).mean()),
        "top": [int(j) for j in top(positive, LIST)],
        "seconds": time.perf_counter() - started,
    }


def main(arguments: list[str] | None = None) -> int:
    options = parser("real_data", __doc__, seeds=10, seconds=3600)
    options.add_argument("--sets", nargs="*", default=[], help="names of sets; default: all of the folder")
    options.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    given = options.parse_args(arguments)
    settings = replace(Settings(), data=given.data_folder, sets=tuple(given.sets))
    sets, reason = real_sets(settings)
    if not sets:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    unit = Units(given)
    values: dict[str, list[dict[str, dict[str, Any]]]] = {real.name: [] for real in sets}
    for seed in within(given.seeds, given.time):
        for real in sets:
            split = one_split(real, seed)
            found = {
                name: unit((real.name, name, seed), partial(measured, name, split, seed)) for name in given.methods
            }
            values[real.name].append(found)
    lines = [row for real in sets for row in rows(real, values[real.name], given.methods)]
    seeds = len(values[sets[0].name])
    head = (
        "set",
        "method",
        "accuracy, held out",
        "n",
        f"top {LIST} of two splits: overlap",
        "with pixfold's",
        "seconds",
    )
    text = (
        f"# Real sets\n\n{counted(seeds, given.seeds, 'stratified split')}, 30 % held out; log1p and standardised by "
        "the training samples. Classes of fewer than 4 samples are left out. n: splits in which the method gave an "
        "answer. ± is half of the 95 % interval of the mean accuracy (Student's t; its variance allows for splits that "
        "share samples: Nadeau and Bengio, 2003). Overlap: features in both lists, of those in either; of "
        "two splits of one method, and of two methods in one split; means.\n\n"
        + table(head, lines)
        + "\n\n"
        + "\n".join(verdict(real, values[real.name]) for real in sets)
        + "\n"
    )

    def draw(figure: Any) -> None:
        axes = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for axis, real in zip(axes, sets, strict=True):
            for place, name in enumerate(given.methods):
                points = [split[name]["accuracy"] for split in values[real.name] if "accuracy" in split[name]]
                spots = place + np.linspace(-0.2, 0.2, len(points))
                axis.plot(spots, points, "o", color=f"C{place}", alpha=0.5, ms=4)
                if points:
                    axis.plot([place - 0.35, place + 0.35], [np.mean(points)] * 2, color="k", lw=1.5)
            axis.set_xticks(range(len(given.methods)), given.methods, rotation=60, ha="right", fontsize=8)
            axis.set_title(real.name, fontsize=9)
            axis.axhline(np.unique(real.y, return_counts=True)[1].max() / len(real.y), color="0.6", lw=0.8, ls=":")
        axes[0].set_ylabel("accuracy, held out")

    save(given.out, "real_data", text, values, draw, arguments)
    return 0


def rows(real: RealSet, splits: list[dict[str, dict[str, Any]]], methods: list[str]) -> list[tuple[str, ...]]:
    """Lines of the table, one per method."""
    what = f"{real.name}, {real.X.shape[0]} x {real.X.shape[1]:,}, {len(np.unique(real.y))} classes"
    lines = []
    for name in methods:
        done = [split[name] for split in splits if "accuracy" in split[name]]
        if not done:
            lines.append((what, name, splits[0][name]["refused"].splitlines()[0], "0", "", "", ""))
            continue
        stable = jaccard([set(each["top"]) for each in done])
        shared = [
            jaccard([set(split[name]["top"]), set(split["pixfold"]["top"])])[0]
            for split in splits
            if name != "pixfold" and "top" in split[name] and "top" in split.get("pixfold", {})
        ]
        lines.append(
            (
                what,
                name,
                interval([each["accuracy"] for each in done], shared=TEST / (1 - TEST)),
                f"{len(done)}",
                f"{np.mean(stable):.2f}" if stable else "-",
                f"{np.mean(shared):.2f}" if shared else "-",
                f"{np.mean([each['seconds'] for each in done]):.1f}",
            )
        )
    return lines


def verdict(real: RealSet, splits: list[dict[str, dict[str, Any]]]) -> str:
    """Say who predicts best on the splits in which all that gave any answer gave one, against the commonest class."""
    names = [name for name in splits[0] if any("accuracy" in split[name] for split in splits)]
    common = [split for split in splits if all("accuracy" in split[name] for name in names)]
    chance = np.unique(real.y, return_counts=True)[1].max() / len(real.y)
    if not common:
        return f"- {real.name}: no split in which all methods gave an answer."
    means = {name: float(np.mean([split[name]["accuracy"] for split in common])) for name in names}
    order = sorted(means, key=means.__getitem__, reverse=True)
    words = "; ".join(f"{name} {means[name]:.3f}" for name in order)
    said = f"- {real.name} (commonest class {chance:.3f}), {len(common)} splits that all have: {words}."
    others = [name for name in order if name != "pixfold"]
    if not others or "pixfold" not in order:
        return said
    best = others[0]
    differences = [split["pixfold"]["accuracy"] - split[best]["accuracy"] for split in common]
    return f"{said} pixfold less {best}, split by split: {interval(differences, 3, TEST / (1 - TEST))}."


if __name__ == "__main__":
    run_command(main)
