"""Real sets with labels, repeated stratified splits: accuracy, and how far the top features of two splits agree."""

from __future__ import annotations

import itertools
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from benchmarks.list_bars.data import RealSet, log_values, real_sets
from benchmarks.list_bars.methods import top
from benchmarks.list_bars.settings import Settings
from benchmarks.paper.results import parser, save, spread, table, within

import pixfold as pf

LIST = 50  # features whose overlap is counted


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
    model = XGBClassifier(n_estimators=50, max_depth=3, max_bin=32, random_state=seed, n_jobs=2).fit(train, codes)
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


def one_split(real: RealSet, methods: list[str], seed: int) -> dict[str, dict[str, Any]]:
    """Accuracy, top features and seconds of each method; values are standardised by the training samples."""
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    classes, counts = np.unique(real.y, return_counts=True)
    kept = np.isin(real.y, classes[counts >= 4])  # a class needs samples on every side of a split
    X, y = real.X[kept], real.y[kept]
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(log_values(X[train]))
    values = [scaler.transform(log_values(X[part], like=X[train])).astype(np.float32) for part in (train, test)]
    found = {}
    for name in methods:
        started = time.perf_counter()
        try:
            predicted, importance = METHODS[name](values[0], y[train], values[1], seed)
        except (pf.PixfoldError, ImportError) as error:
            print(f"{real.name} {name}: {error}", file=sys.stderr)
            continue
        positive = np.where(np.asarray(importance) > 0, importance, np.nan)
        found[name] = {
            "accuracy": float((np.asarray(predicted) == y[test]).mean()),
            "top": [int(j) for j in top(positive, LIST)],
            "seconds": time.perf_counter() - started,
        }
        print(real.name, seed, name, found[name]["accuracy"], f"{found[name]['seconds']:.1f} s", flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    options = parser("real_data", __doc__, seeds=5, seconds=250)
    options.add_argument("--sets", nargs="*", default=[], help="names of sets; default: all of the folder")
    options.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    given = options.parse_args(arguments)
    settings = replace(Settings(), data=given.data_folder, sets=tuple(given.sets))
    sets, reason = real_sets(settings)
    if not sets:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    values: dict[str, list[dict[str, dict[str, Any]]]] = {real.name: [] for real in sets}
    for seed in within(given.seeds, given.time):
        for real in sets:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values[real.name].append(one_split(real, given.methods, seed))
    lines = []
    for real in sets:
        splits = values[real.name]
        what = f"{real.name}, {real.X.shape[0]} x {real.X.shape[1]:,}, {len(np.unique(real.y))} classes"
        for name in given.methods:
            done = [split[name] for split in splits if name in split]
            if not done:
                lines.append((what, name, "refused", "", "", ""))
                continue
            stable = jaccard([set(each["top"]) for each in done])
            shared = [
                jaccard([set(split[name]["top"]), set(split["pixfold"]["top"])])[0]
                for split in splits
                if name in split and "pixfold" in split and name != "pixfold"
            ]
            lines.append(
                (
                    what,
                    name,
                    spread([each["accuracy"] for each in done]) + f" of {len(done)}",
                    spread(stable, 2) if stable else "-",
                    spread(shared, 2) if shared else "-",
                    f"{np.mean([each['seconds'] for each in done]):.1f}",
                )
            )
    head = ("set", "method", "accuracy, held out", f"top {LIST} of two splits: overlap", "with pixfold's", "seconds")
    text = (
        "# Real sets\n\nStratified splits, 30 % held out; log1p and standardised by the training samples; mean (lowest "
        "to highest). Classes of fewer than 4 samples are left out. Overlap: features in both lists, of those in "
        "either; 'of N': splits in which the method gave an answer.\n\n" + table(head, lines) + "\n"
    )

    def draw(figure: Any) -> None:
        axes = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for axis, real in zip(axes, sets, strict=True):
            for place, name in enumerate(given.methods):
                points = [split[name]["accuracy"] for split in values[real.name] if name in split]
                axis.plot([place] * len(points), points, "o", color=f"C{place}", alpha=0.7)
            axis.set_xticks(range(len(given.methods)), given.methods, rotation=60, ha="right", fontsize=8)
            axis.set_title(real.name, fontsize=9)
        axes[0].set_ylabel("accuracy, held out")

    save(given.out, "real_data", text, values, draw, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
