"""Beyond the paper: how many needles each method finds, by number of features, effect, needles, and as pure pairs.

Precision at k, k being the number of needles, is recall at k too.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.list_bars.methods import f_test, top
from benchmarks.paper.results import parser, save, spread, table, within

import pixfold as pf


def data(samples: int, features: int, needles: int, effect: float, seed: int, *, xor: bool) -> Any:
    """Normal values, two classes. A needle's mean moves by `effect` standard deviations; or two features have one sign
    in class 1 and unlike signs in class 0, and neither says anything alone."""
    rng = np.random.default_rng([seed, features, samples, xor])
    X = rng.standard_normal((samples, features), dtype=np.float32)
    y = rng.permutation(np.arange(samples) % 2)
    planted = rng.choice(features, needles, replace=False)
    if xor:
        X[:, planted[1]] = np.abs(X[:, planted[1]]) * np.sign(X[:, planted[0]]) * np.where(y == 1, 1, -1)
    else:
        X[:, planted] += (effect * y[:, None]).astype(np.float32)
    return X, y, planted


def _network(backbone: str) -> Callable[..., Any]:
    def importance(X: Any, y: Any, seed: int) -> Any:
        model = pf.DeepMapperClassifier(
            backbone,
            n_runs=5,
            normalize="zscore",
            baselines=False,
            pair_screen=False,
            min_accuracy=0.0,
            random_state=seed,
        )
        model.fit(X, y)
        return np.nan_to_num(np.asarray(model.feature_importances_, dtype=float))

    return importance


def _pairs(X: Any, y: Any, seed: int) -> Any:
    """Best |z| of a pair that a feature is in."""
    found = pf.pair_screen(X, y, top_k=20, threads=2).table()
    score = np.zeros(X.shape[1])
    names = [str(name) for name in range(X.shape[1])]
    place = {name: number for number, name in enumerate(names)}
    for column in ("feature_a", "feature_b"):
        where = [place[str(name).removeprefix("feature_")] for name in found[column]]
        np.maximum.at(score, where, np.abs(found["z"].to_numpy()))
    return score


def _linear(X: Any, y: Any, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return np.abs(LogisticRegression(C=0.01, max_iter=200).fit(X, y).coef_).mean(axis=0)


def _mutual(X: Any, y: Any, seed: int) -> Any:
    from sklearn.feature_selection import mutual_info_classif

    return mutual_info_classif(X, y, random_state=seed)


def _boosting(X: Any, y: Any, seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(
        n_estimators=50, max_depth=3, tree_method="hist", max_bin=32, random_state=seed, n_jobs=2
    ).fit(X, y).feature_importances_  # fmt: skip


# Each with the most features that it is run on.
METHODS: dict[str, tuple[Callable[..., Any], int]] = {
    "pixfold, additive": (_network("additive"), 1_000_000),
    "pixfold, patchnet": (_network("patchnet"), 1_000),
    "pixfold, pair screen": (_pairs, 20_000),
    "F test": (lambda X, y, seed: f_test(X, y)[0], 1_000_000),
    "mutual information": (_mutual, 1_000),
    "L2 logistic regression": (_linear, 100_000),
    "XGBoost": (_boosting, 20_000),
}


def main(arguments: list[str] | None = None) -> int:
    options = parser("recovery", __doc__, seeds=3, seconds=250)
    options.add_argument("--samples", type=int, default=200)
    options.add_argument("--features", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options.add_argument("--effects", type=float, nargs="+", default=[0.5, 1.0])
    options.add_argument("--needles", type=int, nargs="+", default=[2, 20])
    options.add_argument("--base", type=int, default=1_000, help="features where effect or number of needles varies")
    options.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    given = options.parse_args(arguments)
    settings = [("features", n, 10, 1.0, False) for n in given.features]
    settings += [("effect", given.base, 10, effect, False) for effect in given.effects]
    settings += [("needles", given.base, k, 1.0, False) for k in given.needles]
    settings += [("pure pair (XOR)", n, 2, 0.0, True) for n in given.features[:2]]
    settings = list({setting[1:]: setting for setting in reversed(settings)}.values())[::-1]
    values: dict[tuple[Any, ...], dict[str, list[tuple[float, float]]]] = {
        setting[1:]: {name: [] for name in given.methods} for setting in settings
    }
    for seed in within(given.seeds, given.time):
        for _, features, needles, effect, xor in settings:
            X, y, planted = data(given.samples, features, needles, effect, seed, xor=xor)
            for name in given.methods:
                method, most = METHODS[name]
                if features > most:
                    continue
                started = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    score = method(X, y, seed)
                share = len(set(top(score, needles)) & set(planted)) / needles
                values[features, needles, effect, xor][name].append((share, time.perf_counter() - started))
                print(seed, features, needles, effect, xor, name, values[features, needles, effect, xor][name][-1])
            # After each setting, so that a run that is ended keeps what it has.
            report({key: found for key, found in values.items() if any(found.values())}, given, arguments)
    return 0


def report(values: Any, given: Any, arguments: list[str] | None) -> None:
    """Write what is measured so far."""
    lines = []
    for key, found in values.items():
        features, needles, effect, xor = key
        what = f"{features:,} features, " + ("a pure pair" if xor else f"{needles} needles, effect {effect:g}")
        done = {name: each for name, each in found.items() if each}
        best = max(np.mean([share for share, _ in each]) for each in done.values())
        for name, each in done.items():
            shares, seconds = zip(*each, strict=True)
            text = spread(shares, 2)
            lines.append((what, name, f"**{text}**" if np.mean(shares) == best else text, f"{np.mean(seconds):.2g}"))
    count = max(len(each) for found in values.values() for each in found.values())
    said = "1 seed, so without intervals" if count == 1 else f"up to {count} seeds"
    text = (
        f"# Recovery of needles\n\n{given.samples} samples, two classes, normal values, {said}. "
        "Precision at k, where k is the number of needles, equals recall at k: mean (lowest to highest); the best of "
        "each setting is bold. A method is left out where its number of features is beyond what is run here.\n\n"
        + table(("setting", "method", "precision and recall at k", "seconds"), lines)
        + "\n\n"
        + verdict(values)
        + "\n"
    )

    def draw(figure: Any) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        for axis, xor, title in zip(axes, (False, True), ("10 needles, effect 1", "a pure pair"), strict=True):
            for number, name in enumerate(given.methods):
                keys = [key for key in values if key[3] == xor and (xor or key[1:3] == (10, 1.0)) and values[key][name]]
                means = [np.mean([share for share, _ in values[key][name]]) for key in keys]
                axis.plot([key[0] for key in keys], means, "o-", label=name, lw=6 - number, ms=14 - 2 * number)
            axis.set(xscale="log", xlabel="features", title=title, ylim=(-0.05, 1.05))
        axes[0].set_ylabel("precision = recall at k")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", fontsize=8)

    flat = [{"setting": key, "found": found} for key, found in values.items()]
    save(given.out, "recovery", text, flat, draw, arguments)


def verdict(values: Any) -> str:
    """Say in words where a simpler method is at least as good as every network, and where none is."""
    words = []
    for (features, needles, effect, xor), found in values.items():
        means = {name: float(np.mean([share for share, _ in each])) for name, each in found.items() if each}
        ours = {name: mean for name, mean in means.items() if name.startswith("pixfold")}
        others = {name: mean for name, mean in means.items() if name not in ours}
        if not ours or not others:
            continue
        a, b = max(ours, key=ours.__getitem__), max(others, key=others.__getitem__)
        what = f"{features:,} features, " + ("a pure pair" if xor else f"{needles} needles, effect {effect:g}")
        who = "ours is best" if ours[a] > others[b] else "a simpler method wins" if others[b] > ours[a] else "a tie"
        words.append(f"- {what}: {who} ({a} {ours[a]:.2f}, {b} {others[b]:.2f}).")
    return "\n".join(words)


if __name__ == "__main__":
    sys.exit(main())
