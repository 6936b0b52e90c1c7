"""The needle in a haystack at full size, and with effects that are made smaller until the F test begins to miss."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.list_bars.bench import Bench
from benchmarks.list_bars.methods import Ours, f_test, ranks_of
from benchmarks.list_bars.results import Row

from pixfold.examples.synthetic import RANGES, NihsData, nihs

ACCURACY = 0.99


def rows(bench: Bench) -> list[Row]:
    settings = bench.settings
    size = (settings.haystack_samples, settings.haystack_features)

    def jobs(factor: float, seeds: int) -> list[dict[str, Any]]:
        return [
            bench.unit(("haystack", *size, factor, seed), job, bench.ours, size, factor, seed) for seed in range(seeds)
        ]

    full = jobs(1.0, settings.seeds)
    accuracies = [each["accuracy"] for each in full]
    first = sum(each["ours"] == [1.0, 2.0] for each in full)
    name = f"{size[0]:,} x {size[1]:,}, {len(full)} seeds"
    table = [
        Row(
            f"{name}: accuracy",
            f"{min(accuracies):.4f} to {max(accuracies):.4f}",
            f"at least {ACCURACY} in all",
            min(accuracies) >= ACCURACY,
        ),
        Row(f"{name}: needles", f"first and second in {first}", "ranks 1 and 2 in all", first == len(full)),
    ]
    for factor in sorted(settings.factors, reverse=True):
        found = full if factor == 1 else jobs(factor, settings.curve_seeds)
        lists = [
            f"{method} {' / '.join(pair(each[key]) for each in found)}"
            for method, key in (("ours", "ours"), ("F test", "f"))
        ]
        table.append(Row(f"effects x {factor:g}: ranks of the needles, seed by seed", "; ".join(lists)))
    return table


def pair(ranks: list[float]) -> str:
    return " ".join(f"{rank:,.0f}" for rank in ranks)


def shrink(data: NihsData, factor: float) -> None:
    """Bring the classes' means of each needle together, in place; the spread within a class stays."""
    for number, feature in enumerate(data.needles):
        (a, b), (c, d) = RANGES[number % len(RANGES)]
        half = ((c + d) - (a + b)) / 4  # of the distance of the means
        data.X[:, feature] += (np.where(data.y == 0, 1, -1) * half * (1 - factor)).astype(np.float32)


def job(ours: Ours, size: tuple[int, int], factor: float, seed: int) -> dict[str, Any]:
    data = nihs(*size, seed=seed)
    shrink(data, factor)
    fit = ours.fit(data.X, data.y, seed)
    metrics = {} if fit.model is None else fit.model.metrics_
    accuracy = metrics.get("test_accuracy", metrics.get("balanced_accuracy"))
    return {
        "accuracy": 0.0 if accuracy is None or np.isnan(accuracy) else float(accuracy),
        "ours": sorted(ranks_of(fit.importance, data.needles)),
        "f": sorted(ranks_of(f_test(data.X, data.y)[0], data.needles)),
    }
