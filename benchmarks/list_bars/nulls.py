"""Data without any signal: how often is a feature called, or anything ranked?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.list_bars.bench import Bench
from benchmarks.list_bars.data import background, real_sets
from benchmarks.list_bars.methods import FDR, Ours
from benchmarks.list_bars.numbers import interval
from benchmarks.list_bars.results import Row, skipped
from numpy.typing import NDArray

LEVEL = 0.05  # of the test that decides whether anything is ranked
SAMPLES = 80
DONORS = 5  # of each class

Data = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]


def rows(bench: Bench) -> list[Row]:
    settings = bench.settings
    sets, reason = real_sets(settings)
    width = settings.null_features

    def real(seed: int) -> Data:
        rng = np.random.default_rng([seed, 1])
        return *background(sets[seed % len(sets)], settings.features, rng, settings.scale), None

    name = f"noise, {SAMPLES} x {width:,}"
    table = kind(bench, name, lambda seed: noise(seed, width))
    backgrounds = " ".join([*(each.name for each in sets), str(settings.features), settings.scale])
    title = f"real backgrounds ({len(sets)}), permuted labels"
    table += kind(bench, title, real, backgrounds) if sets else unmeasured(title, reason)
    title = f"{DONORS} donors per class with effects of their own, groups given"
    if bench.ours.takes_groups:
        table += kind(bench, title, lambda seed: donors(seed, width), str(width))
    else:
        table += unmeasured(title, "fit takes no groups")
    return table


def kind(bench: Bench, name: str, make: Callable[[int], Data], more: str = "") -> list[Row]:
    of = bench.settings.nulls
    jobs = [bench.unit(("nulls", name, more, seed), job, bench.ours, make, seed) for seed in range(of)]
    refused = sum(each["refused"] for each in jobs)
    note = f"; {refused} refused" if refused else ""
    table = []
    for what, key, level in (("any feature called", "called", FDR), ("anything ranked", "ranked", LEVEL)):
        wanted = f"{level:g} or less within the interval"
        if any(each[key] is None for each in jobs):
            table.append(skipped(f"{name}: {what}", "findings_ has no column called", wanted))
            continue
        count = sum(each[key] for each in jobs)
        low, high = interval(count, of)
        text = f"{count} of {of} jobs (95 %: {low:.3f} to {high:.3f}){note}"
        # All jobs refused say nothing about the level.
        passed = None if refused == of else low <= level
        table.append(Row(f"{name}: {what}", text, wanted, passed))
    return table


def unmeasured(name: str, reason: str) -> list[Row]:
    return [
        skipped(f"{name}: {what}", reason, f"{level:g} or less within the interval")
        for what, level in (("any feature called", FDR), ("anything ranked", LEVEL))
    ]


def job(ours: Ours, make: Callable[[int], Data], seed: int) -> dict[str, Any]:
    X, y, groups = make(seed)
    fit = ours.fit(X, y, seed, groups)
    called = None if fit.called is None else bool(fit.called.any())
    return {"called": called, "ranked": fit.ranked, "refused": int(fit.model is None)}


def noise(seed: int, width: int) -> Data:
    rng = np.random.default_rng([seed, 0])
    return rng.standard_normal((SAMPLES, width), dtype=np.float32), rng.permutation(np.arange(SAMPLES) % 2), None


def donors(seed: int, width: int) -> Data:
    """Samples of one donor resemble each other as much as they differ, and have one class."""
    rng = np.random.default_rng([seed, 2])
    groups = rng.permutation(np.arange(SAMPLES) % (2 * DONORS))
    effects = rng.standard_normal((2 * DONORS, width), dtype=np.float32)
    return effects[groups] + rng.standard_normal((SAMPLES, width), dtype=np.float32), groups % 2, groups
