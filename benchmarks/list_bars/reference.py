"""What is called, beside hidimstat's model-X knockoffs: power and realised false discovery rate at one declared rate.

Features are independent and normal, since knockoffs ask of each feature what it says beside all others, and the F test
what it says alone: only there do both ask the same.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np
from benchmarks.list_bars.bench import Bench
from benchmarks.list_bars.methods import FDR, Mask, Ours, benjamini_hochberg, f_test
from benchmarks.list_bars.numbers import mean_se, shown
from benchmarks.list_bars.results import Row, skipped
from numpy.typing import NDArray

FEATURES, PLANTED = 300, 10
SCENARIOS = ((100, 1.5), (400, 0.6))  # samples, standard deviations between the classes
WANTED = "ours - knockoffs at least -0.05"
RATE = f"ours at most {FDR}, within 2 standard errors"


def rows(bench: Bench) -> list[Row]:
    if importlib.util.find_spec("hidimstat") is None:
        return [skipped("knockoffs of hidimstat", "hidimstat is not installed", WANTED)]
    table = []
    for samples, effect in SCENARIOS:
        jobs = [
            bench.unit(("reference", samples, effect, seed), measure, bench.ours, samples, effect, seed)
            for seed in range(bench.settings.reference_seeds)
        ]
        what = f"{effect:g} sd in {PLANTED} of {FEATURES} features, {samples} samples"
        for kind in ("power", "fdp"):
            values = {name: [each[f"{name}_{kind}"] for each in jobs] for name in ("ours", "f", "knockoffs")}
            text = f"ours {shown(values['ours'])}, F {shown(values['f'])}, knockoffs {shown(values['knockoffs'])}"
            mean, error = mean_se(values["ours"])
            if kind == "power":
                passed = mean - mean_se(values["knockoffs"])[0] >= -0.05
                table.append(Row(f"{what}: power at FDR {FDR}", f"{text} ({len(jobs)} sets)", WANTED, passed))
            else:
                table.append(Row(f"{what}: realised FDR", text, RATE, mean - 2 * error <= FDR))
    return table


def measure(ours: Ours, samples: int, effect: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, samples])
    X = rng.standard_normal((samples, FEATURES), dtype=np.float32)
    y = rng.permutation(np.arange(samples) % 2)
    truth = np.zeros(FEATURES, dtype=bool)
    truth[rng.choice(FEATURES, PLANTED, replace=False)] = True
    X[np.ix_(y == 1, truth)] += effect
    called = {
        "ours": ours.fit(X, y, seed).called,
        "f": benjamini_hochberg(f_test(X, y)[1]),
        "knockoffs": knockoffs(X, y, seed),
    }
    found: dict[str, Any] = {}
    for name, mask in called.items():
        assert mask is not None
        found[f"{name}_power"] = float(mask[truth].mean())
        found[f"{name}_fdp"] = float((mask & ~truth).sum() / max(1, mask.sum()))
    return found


def knockoffs(X: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> Mask:
    """Give the features that one draw of second-order knockoffs with a Lasso selects."""
    from hidimstat import ModelXKnockoff

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ModelXKnockoff(random_state=seed)
        model.fit_importance(X.astype(np.float64), y.astype(np.float64))
        return np.asarray(model.fdr_selection(fdr=FDR), dtype=bool)
