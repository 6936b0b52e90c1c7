"""Table 1 and Fig. 5: the needle in a haystack at full size: accuracy, and the ranks of both needles."""

from __future__ import annotations

import time
import warnings
from functools import partial
from typing import Any

import numpy as np
from benchmarks.list_bars.methods import ranks_of
from benchmarks.list_bars.settings import at_least
from benchmarks.paper.results import Units, counted, interval, parser, run_command, save, table, within

import pixfold as pf
from pixfold.examples.synthetic import nihs

BLOCKS = 300  # stretches of variables that the figure tells apart


def main(arguments: list[str] | None = None) -> int:
    from scipy.stats import binomtest

    options = parser("nihs", __doc__, seeds=10, seconds=1800)
    options.add_argument("--samples", type=at_least(1), default=10_000)
    options.add_argument("--features", type=at_least(1), default=18_225)
    options.add_argument("--backbone", default="patchnet")
    given = options.parse_args(arguments)
    unit = Units(given)
    rows: list[dict[str, Any]] = [
        unit((seed,), partial(one_seed, given, seed)) for seed in within(given.seeds, given.time)
    ]
    first = sum(sorted(row["ranks"]) == [1.0, 2.0] for row in rows)
    share = binomtest(first, len(rows)).proportion_ci()
    lines = [
        (row["seed"], f"{row['accuracy']:.4f}", *(f"{rank:,.0f}" for rank in row["ranks"]), f"{row['seconds']:.0f}")
        for row in rows
    ]
    text = (
        f"# Needle in a haystack (Table 1, Fig. 5)\n\n{given.samples:,} samples x {given.features:,} variables, of "
        f"which two differ between two classes; 3 of 8 samples are held out (as in the paper); {given.backbone}, one "
        f"run for each of {counted(len(rows), given.seeds)}, which makes data of its own.\n\n"
        + table(("seed", "accuracy, held out", "rank of needle 1", "rank of needle 2", "seconds"), lines)
        + f"\n\nBoth needles are first and second in {first} of {len(rows)} (95 % interval of the share: "
        f"{share.low:.2f} to {share.high:.2f}, Clopper and Pearson); accuracy "
        f"{interval([row['accuracy'] for row in rows], 4)} (± is half of the 95 % interval of the mean, Student's t).\n"
    )

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
        first_row = rows[0]
        variables, height = zip(*first_row["strongest"], strict=True)
        left.vlines(variables, 0, height, lw=0.8, color="0.5")
        left.plot(first_row["needles"], first_row["evidence"], "o", color="C3", label="needles")
        left.set(xlabel="variable", ylabel="importance (largest is 1)", title=f"seed {first_row['seed']}")
        left.legend()
        for number in range(2):
            right.plot([row["evidence"][number] for row in rows], "o", label=f"needle {number + 1}")
        right.plot([row["best_other"] for row in rows], "s", color="0.5", label="best other variable")
        right.set(xlabel="seed", xticks=range(len(rows)), ylim=(-0.05, 1.05))
        figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=3)

    kept = [{name: value for name, value in row.items() if name != "strongest"} for row in rows]
    save(given.out, "nihs", text, kept, draw, arguments)
    return 0


def one_seed(given: Any, seed: int) -> dict[str, Any]:
    """Accuracy, ranks and importance of the needles; importance is relative to the largest."""
    data = nihs(given.samples, given.features, seed=seed)
    test = np.arange(given.samples) % 8 < 3  # the labels lie in random order
    model = pf.DeepMapperClassifier(given.backbone, n_runs=1, baselines=False, pair_screen=False, random_state=seed)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data.X[~test], data.y[~test])
    seconds = time.perf_counter() - started
    importance = np.nan_to_num(np.asarray(model.feature_importances_, dtype=float))
    importance /= importance.max() or 1.0
    blocks = np.array_split(np.arange(given.features), min(given.features, BLOCKS))
    strongest = [int(block[importance[block].argmax()]) for block in blocks]
    return {
        "seed": seed,
        "accuracy": float((model.predict(data.X[test]) == data.y[test]).mean()),
        "ranks": ranks_of(importance, data.needles),
        "seconds": seconds,
        "needles": data.needles.tolist(),
        "evidence": importance[data.needles].tolist(),
        "best_other": float(np.delete(importance, data.needles).max()),
        # For the figure: the strongest variable of each stretch.
        "strongest": [(j, round(float(importance[j]), 4)) for j in strongest],
    }


if __name__ == "__main__":
    run_command(main)
