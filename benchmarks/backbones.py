"""Backbones side by side: time, accuracy and replication on real sets, and the speed of a training step.

``python -m benchmarks.backbones`` writes benchmarks/results/backbones.csv and backbones.md. Replication is the measure
of benchmarks/list_bars/replication.py: on one half of the samples a job ranks features; the share of its top 50 that
differ between the classes in the other half (Welch t, p < 0.01), both ways. Accuracy is that of the held-out samples of
the same jobs. A job that ranks nothing scores 0.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from benchmarks.list_bars.data import RealSet, real_sets
from benchmarks.list_bars.methods import Fit, Ours, f_test, top
from benchmarks.list_bars.replication import TOP, welch
from benchmarks.list_bars.settings import DATA, Settings
from numpy.typing import NDArray

RESULTS = Path(__file__).resolve().parent / "results"
BACKBONES = ("additive", "linear", "mlp", "patchnet", "resnet18", "vit", "resnet18-plain")
# Of the step's speed: images of 10^6 pixels.
SIDE = 1000
STEPS = f"{SIDE} x {SIDE}"
COLUMNS = ("set", "backbone", "seed", "seconds", "accuracy", "replication", "empty", "parameters", "samples_per_second")


def replication(real: RealSet, backbone: str, seed: int, runs: int, epochs: int) -> dict[str, Any]:
    """Fit a job on each half of a split, and look at its list in the other."""
    from sklearn.model_selection import StratifiedShuffleSplit

    options: dict[str, Any] = {"backbone": backbone, "n_runs": runs, "baselines": False, "pair_screen": False}
    if backbone != "additive":
        options["epochs"] = epochs
    else:
        del options["n_runs"]  # its runs take a fraction of a second, and end by themselves
    ours = Ours(None, options)
    halves = list(StratifiedShuffleSplit(seed + 1, test_size=0.5, random_state=0).split(real.X, real.y))[seed]
    shares, accuracies, empty, started = [], [], 0, time.perf_counter()
    for first, second in (halves, halves[::-1]):
        fit = ours.fit(real.X[first], real.y[first], seed)
        shares.append(share_of(fit.importance if fit.ranked else np.full(real.X.shape[1], np.nan), real, second))
        accuracies.append(accuracy(fit))
        empty += not fit.ranked
    return {
        "set": real.name,
        "backbone": backbone,
        "seed": seed,
        "seconds": round((time.perf_counter() - started) / 2, 2),
        "accuracy": round(float(np.mean(accuracies)), 4),
        "replication": round(float(np.mean(shares)), 4),
        "empty": empty,
    }


def share_of(importance: NDArray[np.float64], real: RealSet, half: NDArray[np.intp]) -> float:
    best = top(importance, TOP)
    replicates = welch(real.X[half], real.y[half]) < 0.01
    return float(replicates[best].sum()) / TOP


def accuracy(fit: Fit) -> float:
    return float(fit.model.metrics_["test_accuracy"]) if fit.model is not None else float("nan")


def of_the_f_test(real: RealSet, seed: int) -> dict[str, Any]:
    from sklearn.model_selection import StratifiedShuffleSplit

    halves = list(StratifiedShuffleSplit(seed + 1, test_size=0.5, random_state=0).split(real.X, real.y))[seed]
    pairs = (halves, halves[::-1])
    shares = [share_of(f_test(real.X[first], real.y[first])[0], real, second) for first, second in pairs]
    return {"set": real.name, "backbone": "(F test)", "seed": seed, "replication": round(float(np.mean(shares)), 4)}


def step(backbone: str, seconds: float = 5.0) -> dict[str, Any]:
    """Samples a second of training on images of 1000 x 1000, batches of 16, after a step to warm up."""
    import torch

    from pixfold.learn.backbones import build

    module = build(backbone, shape=(1, SIDE, SIDE), n_outputs=2, seed=0).train()
    images, labels = torch.randn(16, 1, SIDE, SIDE), torch.arange(16) % 2
    optimiser = torch.optim.AdamW(module.parameters())

    def one() -> None:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(images), labels).backward()
        optimiser.step()

    one()
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        one()
        n += len(images)
    return {
        "set": STEPS,
        "backbone": backbone,
        "parameters": sum(p.numel() for p in module.parameters()),
        "samples_per_second": round(n / (time.perf_counter() - started), 2),
    }


def measured(arguments: argparse.Namespace, known: set[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    """Give the rows that are not known, by set, backbone and seed."""
    sets, reason = real_sets(Settings(data=arguments.data, sets=tuple(arguments.sets)))
    if not sets:
        sys.exit(f"benchmarks.backbones: {reason}")
    for seed in range(arguments.seeds):
        for real in sets:
            if (real.name, "(F test)", str(seed)) not in known:
                yield of_the_f_test(real, seed)
        for backbone in arguments.backbones:
            for real in sets:
                if (real.name, backbone, str(seed)) not in known:
                    yield replication(real, backbone, seed, arguments.runs, arguments.epochs)
    for backbone in arguments.backbones:
        if backbone != "additive" and (STEPS, backbone, "") not in known:  # that one is solved, not trained
            yield step(backbone)


def kept(path: Path) -> list[dict[str, Any]]:
    """Rows of an earlier run, numbers as numbers."""
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))

    def value(name: str, text: str) -> Any:
        return text if name in ("set", "backbone") else int(text) if text.isdecimal() else float(text)

    return [{name: value(name, text) for name, text in row.items() if text != ""} for row in found]


def table(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """Means over seeds, a line per set and backbone."""
    import torch

    lines = [
        "# Backbones",
        "",
        f"`python -m benchmarks.backbones --seeds {arguments.seeds} --runs {arguments.runs} --epochs "
        f"{arguments.epochs}`: splits into halves, a job on each half of each; runs of each trained network: "
        f"{arguments.runs}, {arguments.epochs} epochs at most; threads: {torch.get_num_threads()}, on "
        f"{os.cpu_count()} cores that other jobs used as well, so that times are no more than a guide.",
        "",
        "| set | backbone | seconds a job | accuracy | replication of the top 50 | jobs without a list |",
        "|---|---|---|---|---|---|",
    ]
    jobs = [row for row in rows if "replication" in row]
    for name, backbone in dict.fromkeys((row["set"], row["backbone"]) for row in jobs):
        here = [row for row in jobs if (row["set"], row["backbone"]) == (name, backbone)]
        mean = {key: np.mean([row[key] for row in here]) for key in ("seconds", "accuracy") if key in here[0]}
        empty = f"{sum(row['empty'] for row in here)} of {2 * len(here)}" if mean else ""
        lines.append(
            f"| {name} | {backbone} | {shown(mean.get('seconds'), 1)} | {shown(mean.get('accuracy'), 3)} | "
            f"{np.mean([row['replication'] for row in here]):.2f} | {empty} |"
        )
    lines += [
        "",
        f"Training steps on images of {SIDE} x {SIDE} pixels, batches of 16, the same threads:",
        "",
        "| backbone | parameters | samples a second |",
        "|---|---|---|",
    ]
    for row in rows:
        if "samples_per_second" in row:
            lines.append(f"| {row['backbone']} | {row['parameters']:,} | {row['samples_per_second']:.1f} |")
    return "\n".join(lines) + "\n"


def shown(value: Any, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backbones", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real sets")
    parser.add_argument("--sets", nargs="+", default=["golub", "chowdary"], help="names of the sets")
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), help="names of backbones")
    parser.add_argument("--seeds", type=int, default=1, help="splits into halves")
    parser.add_argument("--runs", type=int, default=2, help="runs of each trained network")
    parser.add_argument("--epochs", type=int, default=15, help="epochs of each run at most")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of backbones.csv and backbones.md")
    parser.add_argument(
        "--go-on", action="store_true", help="keep the rows of backbones.csv, add those that are missing"
    )
    arguments = parser.parse_args()
    rows = kept(arguments.out / "backbones.csv") if arguments.go_on else []
    known = {(row["set"], row["backbone"], str(row.get("seed", ""))) for row in rows}
    for row in measured(arguments, known):
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
        # Written after each row: a run that is ended has what it measured.
        with (arguments.out / "backbones.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        (arguments.out / "backbones.md").write_text(table(rows, arguments))


if __name__ == "__main__":
    main()
