"""Does the top of the list of one half of the samples replicate in the other half?

For stratified halves A and B, both ways: a method ranks features on A alone; the score is the share of its top 50 that
differ between the first class and the others in B (Welch t, p < 0.01), and the Jaccard index of the two halves' tops. A
list that is empty, because nothing was better than chance or the samples were refused, scores 0.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from benchmarks.list_bars.bench import Bench
from benchmarks.list_bars.data import RealSet, real_sets
from benchmarks.list_bars.methods import Ours, f_test, top
from benchmarks.list_bars.results import Row, skipped
from numpy.typing import NDArray

TOP = 50
SHARE = "at least 0.9 of the F test's"
MEAN = "above the F test's"
JACCARD = "at least 0.8 of the F test's"


def rows(bench: Bench) -> list[Row]:
    sets, reason = real_sets(bench.settings)
    if not sets:
        return [skipped("share of the top 50, and Jaccard", reason, SHARE)]
    table, means = [], []
    for real in sets:
        splits = [
            bench.unit(("replication", real.name, s), split, bench.ours, real, s) for s in range(bench.settings.splits)
        ]
        f, ours, chance = (float(np.mean([each[key] for each in splits])) for key in ("f", "ours", "any"))
        empty = sum(each["empty"] for each in splits)
        note = f"; {empty} of {2 * len(splits)} lists empty" if empty else ""
        text = f"ours {ours:.2f}, F test {f:.2f}, any feature {chance:.2f}{note}"
        table.append(Row(f"{real.name}: share of the top {TOP} that replicate", text, SHARE, ours >= 0.9 * f))
        jaccard = [float(np.mean([each[key] for each in splits])) for key in ("ours_jaccard", "f_jaccard")]
        text = f"ours {jaccard[0]:.3f}, F test {jaccard[1]:.3f}"
        table.append(Row(f"{real.name}: Jaccard of the halves", text, JACCARD, jaccard[0] >= 0.8 * jaccard[1]))
        means.append((ours, f))
    ours, f = np.mean(means, axis=0)
    table.append(Row(f"mean share over {len(sets)} sets", f"ours {ours:.3f}, F test {f:.3f}", MEAN, bool(ours > f)))
    return table


def split(ours: Ours, real: RealSet, number: int) -> dict[str, Any]:
    from sklearn.model_selection import StratifiedShuffleSplit

    X, y = real.X, real.y
    # Split `number` of as many as it takes: the splits of one generator, as wherever replication is measured.
    halves = list(StratifiedShuffleSplit(number + 1, test_size=0.5, random_state=0).split(X, y))[number]
    tops: dict[str, list[NDArray[np.intp]]] = {"f": [], "ours": []}
    shares: dict[str, list[float]] = {"f": [], "ours": [], "any": []}
    for first, second in (halves, halves[::-1]):
        replicates = welch(X[second], y[second]) < 0.01
        shares["any"].append(float(replicates.mean()))
        lists = {"f": f_test(X[first], y[first])[0], "ours": ours.fit(X[first], y[first], number).importance}
        for name, importance in lists.items():
            best = top(importance, TOP)
            tops[name].append(best)
            shares[name].append(float(replicates[best].sum()) / min(TOP, X.shape[1]))
    return {
        **{name: float(np.mean(values)) for name, values in shares.items()},
        **{f"{name}_jaccard": jaccard(*pair) for name, pair in tops.items()},
        "empty": sum(len(best) == 0 for best in tops["ours"]),
    }


def welch(X: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    from scipy.stats import ttest_ind

    first = y == np.unique(y)[0]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        p = ttest_ind(X[first], X[~first], axis=0, equal_var=False)[1]
    return np.asarray(np.nan_to_num(p, nan=1.0), dtype=np.float64)


def jaccard(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    either = len(np.union1d(a, b))
    return len(np.intersect1d(a, b)) / either if either else 0.0
