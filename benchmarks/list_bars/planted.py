"""Planted effects on real backgrounds: which method finds them, and how much of what it calls is not planted.

Backgrounds are real values (log1p, standardised) with permuted labels. A scenario is planted with several seeds on each
of them; the difference to the F test is taken data set by data set.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from benchmarks.list_bars.bench import Bench
from benchmarks.list_bars.data import RealSet, background, real_sets
from benchmarks.list_bars.methods import FDR, Ours, benjamini_hochberg, f_test, l1_logistic, random_forest, top
from benchmarks.list_bars.numbers import mean_se, shown
from benchmarks.list_bars.results import Row, skipped
from numpy.typing import NDArray

NOISE = 0.1  # share of samples whose class is not what a pair says
SUBGROUP = 0.35  # share of one class that has an effect
MAIN = "ours - F test at least -0.05"
CLEARLY = "ours - F test above 0 by 2 standard errors"
RATE = f"at most {FDR}, within 2 standard errors"


class Scenario(NamedTuple):
    kind: str  # main, pairs or subgroup
    size: float  # in standard deviations; nothing for pairs
    number: int  # of features; of pairs

    @property
    def name(self) -> str:
        features = "feature" if self.number == 1 else "features"
        if self.kind == "pairs":
            return f"{self.number} {'pair' if self.number == 1 else 'pairs'}, no main effect"
        where = f", {SUBGROUP:.0%} of one class" if self.kind == "subgroup" else ""
        return f"{self.size:g} sd in {self.number} {features}{where}"


SCENARIOS = (
    *(Scenario("main", size, number) for size in (0.5, 1.0, 2.0) for number in (1, 5, 20)),
    Scenario("pairs", 0.0, 1),
    Scenario("pairs", 0.0, 2),
    Scenario("subgroup", 3.0, 10),
)


def rows(bench: Bench) -> list[Row]:
    sets, reason = real_sets(bench.settings)
    if not sets:
        return [skipped("planted effects on real backgrounds", reason, MAIN)]
    table = []
    for scenario in SCENARIOS:
        measured = [
            bench.unit(
                ("planted", scenario.name, real.name, bench.settings.features, bench.settings.scale, seed),
                measure,
                bench.ours,
                scenario,
                real,
                bench.settings.features,
                seed,
                bench.settings.scale,
            )
            for real in sets
            for seed in range(bench.settings.planted_seeds)
        ]
        table += compared(scenario, measured)
    return table


def compared(scenario: Scenario, measured: list[dict[str, Any]]) -> list[Row]:
    """Rows of one scenario: precision, power, and the share of what was called that is not planted."""
    name, main = scenario.name, scenario.kind == "main"
    wanted = MAIN if main else CLEARLY
    lists = {"F": "f", "L1": "l1", "forest": "forest"}
    difference = [each["ours_precision"] - each["f_precision"] for each in measured]
    refused = sum(each["refused"] for each in measured)
    others = ", ".join(
        f"{label} {mean_se([each[f'{key}_precision'] for each in measured])[0]:.2f}" for label, key in lists.items()
    )
    own = mean_se([each["ours_precision"] for each in measured])[0]
    text = f"ours {own:.2f}, {others}; ours - F {shown(difference, sign=True)} ({len(measured)} sets)"
    text += f"; {refused} refused" if refused else ""
    found = [Row(f"{name}: precision at k", text, wanted, good(difference, main))]
    if any(each["ours_power"] is None for each in measured):
        reason = "findings_ has no column called"
        return [
            *found,
            skipped(f"{name}: power at FDR {FDR}", reason, MAIN)
            if main
            else Row(f"{name}: power at FDR {FDR}", reason),
            skipped(f"{name}: realised FDR", reason, RATE),
        ]
    difference = [each["ours_power"] - each["f_power"] for each in measured]
    own, f = (mean_se([each[f"{key}_power"] for each in measured])[0] for key in ("ours", "f"))
    text = f"ours {own:.2f}, F {f:.2f}; ours - F {shown(difference, sign=True)}"
    bar = (MAIN, good(difference, main)) if main else ("", None)
    found.append(Row(f"{name}: power at FDR {FDR}", text, *bar))
    proportions = [each["ours_fdp"] for each in measured]
    mean, error = mean_se(proportions)
    text = f"ours {shown(proportions)}, F {shown([each['f_fdp'] for each in measured])}"
    found.append(Row(f"{name}: realised FDR", text, RATE, mean - 2 * error <= FDR))
    return found


def good(difference: list[float], main: bool) -> bool:
    mean, error = mean_se(difference)
    return mean >= -0.05 if main else mean - 2 * error > 0


def measure(ours: Ours, scenario: Scenario, real: RealSet, features: int, seed: int, scale: str) -> dict[str, Any]:
    rng = np.random.default_rng([seed, *real.name.encode(), *scenario.name.encode()])
    X, y = background(real, features, rng, scale)
    planted = plant(X, y, scenario, rng)
    truth = np.zeros(X.shape[1], dtype=bool)
    truth[planted] = True
    scores, p = f_test(X, y)
    fit = ours.fit(X, y, seed)
    lists = {
        "ours": fit.importance,
        "f": scores,
        "l1": l1_logistic(X, y, seed),
        "forest": random_forest(X, y, seed),
    }
    result: dict[str, Any] = {
        f"{name}_precision": float(truth[top(importance, len(planted))].sum()) / len(planted)
        for name, importance in lists.items()
    }
    for name, called in (("ours", fit.called), ("f", benjamini_hochberg(p))):
        result[f"{name}_power"] = None if called is None else float(called[truth].mean())
        result[f"{name}_fdp"] = None if called is None else float((called & ~truth).sum() / max(1, called.sum()))
    return result | {"refused": int(fit.model is None)}


def plant(
    X: NDArray[np.float32], y: NDArray[np.int64], scenario: Scenario, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Change X in place, and return the features that were planted."""
    pairs = scenario.kind == "pairs"
    chosen = rng.choice(X.shape[1], scenario.number * (2 if pairs else 1), replace=False)
    if pairs:
        for first, second in chosen.reshape(-1, 2):
            plant_pair(X, y, first, second, rng)
        return chosen
    has = y == 1
    if scenario.kind == "subgroup":
        ones = np.flatnonzero(has)
        has = np.zeros(len(y), dtype=bool)
        has[rng.choice(ones, max(1, round(SUBGROUP * len(ones))), replace=False)] = True
    signs = rng.choice([-1.0, 1.0], len(chosen))
    X[np.ix_(has, chosen)] += (scenario.size * signs).astype(np.float32)
    return chosen


def plant_pair(X: NDArray[np.float32], y: NDArray[np.int64], first: int, second: int, rng: np.random.Generator) -> None:
    """Permute the values of two features: both lie high or both low in class 1, and on different sides in class 0.

    A tenth of each class does the contrary. In each class half of the samples lie high in either feature, so that
    neither tells the classes apart by itself.
    """
    high_first = np.zeros(len(y), dtype=bool)
    contrary = np.zeros(len(y), dtype=bool)
    for code in (0, 1):
        members = rng.permutation(np.flatnonzero(y == code))
        sides = members[: len(members) // 2], members[len(members) // 2 :]
        high_first[sides[0]] = True
        for side in sides:
            contrary[side[: round(NOISE * len(side))]] = True
    high_second = high_first == ((y == 1) != contrary)
    for feature, high in ((first, high_first), (second, high_second)):
        values = np.sort(X[:, feature])
        lows = len(values) - int(high.sum())
        X[~high, feature] = rng.permutation(values[:lows])
        X[high, feature] = rng.permutation(values[lows:])
