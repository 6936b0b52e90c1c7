"""Beyond the paper: how many needles each method finds, by number of features, effect, needles, and as pure pairs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from benchmarks.list_bars.methods import f_test, listed, top
from benchmarks.list_bars.settings import at_least
from benchmarks.paper.results import Units, counted, half_width, interval, parser, run_command, save, table, within

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
        n_estimators=50, max_depth=3, tree_method="hist", max_bin=32, importance_type="total_gain", random_state=seed,
        n_jobs=2,
    ).fit(X, y).feature_importances_  # fmt: skip


class Method(NamedTuple):
    run: Callable[..., Any]
    most: int  # features that it is run on where needles differ in their means
    most_of_pairs: int  # and where a pure pair is planted


METHODS = {
    "pixfold, additive": Method(_network("additive"), 1_000_000, 100_000),
    "pixfold, patchnet": Method(_network("patchnet"), 10_000, 10_000),
    "pixfold, pair screen": Method(_pairs, 10_000, 100_000),
    "F test": Method(lambda X, y, seed: f_test(X, y)[0], 1_000_000, 1_000_000),
    "mutual information": Method(_mutual, 10_000, 1_000),
    "L2 logistic regression": Method(_linear, 1_000_000, 1_000_000),
    "XGBoost": Method(_boosting, 100_000, 10_000),
}


class Setting(NamedTuple):
    features: int
    needles: int
    effect: float
    xor: bool

    def __str__(self) -> str:
        kind = "a pure pair" if self.xor else f"{self.needles} needles, effect {self.effect:g}"
        return f"{self.features:,} features, {kind}"

    def most(self, name: str) -> int:
        return METHODS[name].most_of_pairs if self.xor else METHODS[name].most


Found = dict[Setting, dict[str, list[dict[str, float]]]]


def main(arguments: list[str] | None = None) -> int:
    options = parser("recovery", __doc__, seeds=5, seconds=7200)
    options.add_argument("--samples", type=at_least(1), default=200)
    options.add_argument("--features", type=at_least(1), nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    options.add_argument("--pair-features", type=at_least(1), nargs="+", default=[1_000, 10_000, 100_000])
    options.add_argument("--effects", type=float, nargs="+", default=[0.25, 0.5, 0.75, 1.0])
    options.add_argument("--needles", type=at_least(1), nargs="+", default=[2, 10, 50])
    options.add_argument(
        "--base", type=at_least(1), default=1_000, help="features where effect or number of needles varies"
    )
    options.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    given = options.parse_args(arguments)
    fewest, most = min(*given.features, given.base, *given.pair_features), max(*given.needles, 10)
    if fewest < most:
        options.error(f"there must be more features than needles, got {fewest} features and {most} needles")
    settings = [Setting(n, 10, 1.0, xor=False) for n in given.features]
    settings += [Setting(given.base, 10, effect, xor=False) for effect in given.effects]
    settings += [Setting(given.base, k, 1.0, xor=False) for k in given.needles]
    settings += [Setting(n, 2, 0.0, xor=True) for n in given.pair_features]
    settings = list(dict.fromkeys(settings))
    unit = Units(given)
    values: Found = {setting: {name: [] for name in given.methods} for setting in settings}
    for seed in within(given.seeds, given.time):
        for setting in settings:
            measure = partial(one_setting, setting, given.samples, seed)
            for name in given.methods:
                if setting.features <= setting.most(name):
                    values[setting][name].append(unit((name, seed, *setting), partial(measure, name)))
            # After each setting, so that a run that is ended keeps what it has.
            report({key: found for key, found in values.items() if any(found.values())}, given, arguments)
    return 0


def one_setting(setting: Setting, samples: int, seed: int, name: str) -> dict[str, float]:
    """What a method finds in data of this seed: shares of the needles and of the list."""
    X, y, planted = data(samples, *setting[:3], seed, xor=setting.xor)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = listed(METHODS[name].run(X, y, seed))
    seconds = time.perf_counter() - started
    k, half = setting.needles, max(setting.needles // 2, 1)

    def hits(length: int) -> int:
        return len(set(top(score, length)) & set(planted))

    return {"at_k": hits(k) / k, "precision_half": hits(half) / half, "recall_5": hits(5 * k) / k, "seconds": seconds}


def of(each: list[dict[str, float]], what: str) -> list[float]:
    return [one[what] for one in each]


def shown_seconds(value: Any) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def report(values: Found, given: Any, arguments: list[str] | None) -> None:
    """Write what is measured so far."""
    lines = []
    for setting, found in values.items():
        done = {name: each for name, each in found.items() if each}
        best = max(np.mean(of(each, "at_k")) for each in done.values())
        for name, each in done.items():
            text = interval(of(each, "at_k"), 2)
            more = (interval(of(each, what), 2) for what in ("precision_half", "recall_5"))
            bold = f"**{text}**" if np.mean(of(each, "at_k")) == best else text
            lines.append((setting, name, bold, *more, shown_seconds(np.mean(of(each, "seconds"))), len(each)))
    count = max(len(each) for found in values.values() for each in found.values())
    limits = [
        f"{name} is run on up to {most:,} features ({pairs:,} for pairs)"
        for name in given.methods
        for _, most, pairs in (METHODS[name],)
        if most < max(given.features) or pairs < max(given.pair_features)
    ]
    said = f" Left out, as they would take too long: {'; '.join(limits)}." if limits else ""
    text = (
        f"# Recovery of needles\n\n{given.samples} samples, two classes, normal values; "
        f"{counted(count, given.seeds)}, each with data of its own. k is the number of needles. Precision at k, the "
        "share of the first k features of the list that are needles, equals recall at k, the share of the needles "
        "among the first k features. ± is half of the 95 % interval of the mean over seeds (Student's t; 0.00: all "
        f"seeds agree). The best of each setting is bold.{said}\n\n"
        + table(
            ("setting", "method", "precision = recall at k", "precision at k/2", "recall at 5k", "seconds", "seeds"),
            lines,
        )
        + "\n\nWho is best at k; a difference within its own 95 % interval is a tie:\n\n"
        + verdict(values)
        + "\n"
    )

    def draw(figure: Any) -> None:
        figure.set_size_inches(11, 3.8)
        axes = figure.subplots(1, 3, sharey=True)
        panels = [
            ("features", lambda s: not s.xor and s[1:3] == (10, 1.0), "10 needles, effect 1"),
            (
                "effect",
                lambda s: not s.xor and s.features == given.base and s.needles == 10,
                f"{given.base:,} features",
            ),
            ("features", lambda s: s.xor, "a pure pair"),
        ]
        for axis, (along, shown, title) in zip(axes, panels, strict=True):
            for number, name in enumerate(given.methods):
                keys = sorted((s for s in values if shown(s) and values[s][name]), key=lambda s: getattr(s, along))
                means = [np.mean(of(values[s][name], "at_k")) for s in keys]
                bars = np.nan_to_num([half_width(of(values[s][name], "at_k")) for s in keys])
                # Lines that lie on each other stay apart by their widths.
                axis.errorbar(
                    [getattr(s, along) for s in keys], means, bars, fmt="o-", color=f"C{number}", label=name,
                    lw=7 - number, ms=13 - 1.5 * number, elinewidth=1, capsize=3,
                )  # fmt: skip
            axis.set(xlabel=along, title=title, ylim=(-0.05, 1.05))
            if along == "features" and any(shown(s) for s in values):
                axis.set_xscale("log")
        axes[0].set_ylabel("precision = recall at k")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", fontsize=8)

    flat = [{"setting": setting, "found": found} for setting, found in values.items()]
    save(given.out, "recovery", text, flat, draw, arguments)


def verdict(values: Found) -> str:
    """Say in words where a simpler method is at least as good as ours, and where none is."""
    words, no_worse, faster = [], 0, 0
    for setting, found in values.items():
        means = {name: float(np.mean(of(each, "at_k"))) for name, each in found.items() if each}
        ours = {name: mean for name, mean in means.items() if name.startswith("pixfold")}
        others = {name: mean for name, mean in means.items() if name not in ours}
        if not ours or not others:
            continue
        a, b = max(ours, key=ours.__getitem__), max(others, key=others.__getitem__)
        pairs = zip(of(found[a], "at_k"), of(found[b], "at_k"), strict=False)
        differences = [one - other for one, other in pairs]
        mean, width = float(np.mean(differences)), half_width(differences)
        tie = mean == 0 or abs(mean) <= width  # one seed has no interval: NaN
        who = "a tie" if tie else "ours is best" if mean > 0 else "a simpler method wins"
        times = {name: np.mean(of(found[name], "seconds")) for name in (a, b)}
        each = ", ".join(f"{name} {means[name]:.2f} in {shown_seconds(time)} s" for name, time in times.items())
        words.append(f"- {setting}: {who} ({each}).")
        if tie or mean < 0:
            no_worse += 1
            faster += times[b] < times[a]
    end = (
        f"\n\nIn {no_worse} of {len(words)} settings a method without a network is at least as good as ours, and "
        f"faster in {faster} of these."
    )
    return "\n".join(words) + (end if no_worse else "")


if __name__ == "__main__":
    run_command(main)
