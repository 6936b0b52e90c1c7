"""Backbones x normalisers on the needle in a haystack and on real data: what the defaults were chosen from.

    python benchmarks/choose_defaults.py --data ../shared/data --out benchmarks/results/defaults.csv

Writes one row per data set, backbone and normaliser, after each of them, and prints them as a Markdown table. Rows
that the file holds already are not measured again, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import pixfold as pf
from pixfold.examples.synthetic import nihs
from pixfold.sources.base import Source

NORMALIZERS = ("log1p-zscore", "zscore", "log1p-minmax", "minmax")
REAL = ("chowdary.h5ad", "golub.csv.gz", "nakayama.h5ad", "subramanian.csv.gz")
# Runs per data set: the plain network takes minutes for each, on two cores.
RUNS = {"patchnet": (1, 5), "resnet18": (1, 3), "resnet18-plain": (1, 1)}
COLUMNS = (
    *("data", "backbone", "normalize", "runs", "test_accuracy", "test_accuracy_sd", "balanced_accuracy"),
    *("chance", "accepted", "needle_ranks", "training_seconds"),
)


def sources(data: Path, names: list[str]) -> Iterator[tuple[str, Source, list[int]]]:
    """Each data set with the positions of its needles (none in real data)."""
    if "nihs" in names:
        made = nihs()
        yield "nihs", pf.open_source(made.X, y=made.y), [int(j) for j in made.needles]
    for file in REAL:
        if file.partition(".")[0] in names:
            yield file.partition(".")[0], pf.open_source(data / file, label="label"), []


def measure(name: str, source: Source, needles: list[int], backbone: str, normalize: str) -> dict[str, Any]:
    classifier = pf.DeepMapperClassifier(
        backbone=backbone,
        normalize=normalize,
        negative="auto",
        n_runs=RUNS[backbone][name != "nihs"],
        random_state=0,
        # All runs count, so that every cell is a mean over as many of them; `accepted` says how many passed.
        min_accuracy=0.0,
    ).fit_source(source)
    metrics = classifier.metrics_
    ranks = pf.rank(classifier.feature_importances_)
    return {
        "data": name,
        "backbone": backbone,
        "normalize": normalize,
        "runs": metrics["n_runs"],
        "test_accuracy": round(metrics["test_accuracy"], 3),
        "test_accuracy_sd": round(metrics["test_accuracy_std"], 3) if metrics["n_runs"] > 1 else "",
        "balanced_accuracy": round(metrics["balanced_accuracy"], 3),
        "chance": round(metrics["chance_accuracy"], 3),
        "accepted": sum(run["p_value"] <= 0.05 for run in metrics["runs"]),
        "needle_ranks": " ".join(f"{ranks[j]:g}" for j in needles),
        "training_seconds": round(float(np.mean([run["training_seconds"] for run in metrics["runs"]])), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data sets")
    parser.add_argument("--out", type=Path, required=True, help="CSV file; measured rows are kept")
    parser.add_argument("--only", nargs="*", default=["nihs", *(file.partition(".")[0] for file in REAL)])
    parser.add_argument("--backbones", nargs="*", default=list(RUNS))
    parser.add_argument("--normalizers", nargs="*", default=list(NORMALIZERS))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    if options.out.exists():
        with options.out.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {(row["data"], row["backbone"], row["normalize"]) for row in rows}
    for name, source, needles in sources(options.data, options.only):
        for backbone in options.backbones:
            for normalize in options.normalizers:
                if (name, backbone, normalize) in done:
                    continue
                started = time.perf_counter()
                rows.append(measure(name, source, needles, backbone, normalize))
                print(f"{time.perf_counter() - started:.0f} s", rows[-1], flush=True)
                with options.out.open("w", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    writer.writeheader()
                    writer.writerows(rows)
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(str(row[column]) for column in COLUMNS) + " |")


if __name__ == "__main__":
    main()
