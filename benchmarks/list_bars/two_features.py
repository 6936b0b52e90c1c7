"""Two features that differ by 3 sd, among few and among many: are they first and second?"""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.list_bars.bench import Bench
from benchmarks.list_bars.methods import Ours, ranks_of
from benchmarks.list_bars.results import Row

WIDTHS = (200, 2_000)
SAMPLES = 80
EFFECT = 3.0
WANTED = "ranks 1 and 2 in all"


def rows(bench: Bench) -> list[Row]:
    table = []
    for width in WIDTHS:
        jobs = [
            bench.unit(("two-features", width, seed), job, bench.ours, width, seed)
            for seed in range(bench.settings.pair_seeds)
        ]
        first = sum(each["ranks"] == [1.0, 2.0] for each in jobs)
        worst = max(each["ranks"][1] for each in jobs)
        empty = sum(not each["ranked"] for each in jobs)
        text = f"{first} of {len(jobs)}; the worst rank {worst:g}" + (f"; nothing ranked in {empty}" if empty else "")
        table.append(Row(f"2 of {width:,} features, {SAMPLES} samples", text, WANTED, first == len(jobs)))
    return table


def job(ours: Ours, width: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, width])
    y = rng.permutation(np.arange(SAMPLES) % 2)
    X = rng.standard_normal((SAMPLES, width), dtype=np.float32)
    planted = rng.choice(width, 2, replace=False)
    X[np.ix_(y == 1, planted)] += EFFECT
    fit = ours.fit(X, y, seed)
    return {"ranks": sorted(ranks_of(fit.importance, planted)), "ranked": fit.ranked}
