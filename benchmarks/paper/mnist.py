"""Fig. 3 and 4: MNIST as it is and with its pixels shuffled by one seed, the same network: test error of both."""

from __future__ import annotations

import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.list_bars.settings import at_least
from benchmarks.paper.results import Units, counted, interval, parser, run_command, save, table, within

import pixfold as pf
from pixfold.examples.mnist_idx import read_idx

KINDS = ("plain", "shuffled")
SHARED = 1 / 3  # held-out images per image that a split trains on


def main(arguments: list[str] | None = None) -> int:
    options = parser("mnist", __doc__, seeds=5, seconds=3600)
    options.add_argument("--images", type=Path, nargs="+", help="IDX files; several are joined, as train and test")
    options.add_argument("--labels", type=Path, nargs="+")
    options.add_argument("--samples", type=at_least(1), help="use the first ones only")
    options.add_argument("--backbones", nargs="+", default=["patchnet"])
    options.add_argument("--epochs", type=at_least(1), default=20)
    given = options.parse_args(arguments)
    images = given.images or [given.data_folder / "mnist-t10k-images-idx3-ubyte.gz"]
    labels = given.labels or [given.data_folder / "mnist-t10k-labels-idx1-ubyte.gz"]
    X = np.concatenate([read_idx(path) for path in images])[: given.samples]
    y = np.concatenate([read_idx(path) for path in labels])[: given.samples].astype(np.int64)
    flat = X.reshape(len(X), -1).astype(np.float32)
    order = np.random.default_rng(1).permutation(flat.shape[1])
    unit = Units(given)
    values: dict[str, list[dict[str, dict[str, float]]]] = {backbone: [] for backbone in given.backbones}
    started = time.monotonic()
    for backbone in given.backbones:
        for seed in within(given.seeds, given.time - (time.monotonic() - started)):
            shuffled = np.random.default_rng(seed).permutation(len(y))
            test, train = shuffled[: len(y) // 4], shuffled[len(y) // 4 :]
            found = {}
            for kind, data in (("plain", flat), ("shuffled", flat[:, order])):
                measure = partial(trained, data, y, train, test, backbone, given.epochs, seed)
                found[kind] = unit((backbone, seed, kind), measure)
            values[backbone].append(found)
    said = " and ".join(f"{counted(len(of), given.seeds)} for {backbone}" for backbone, of in values.items())
    rows, costs = [], []
    for backbone, of in values.items():
        rows += [
            (
                backbone,
                kind,
                interval([100 * each[kind]["error"] for each in of], 2, SHARED),
                f"{np.mean([each[kind]['seconds'] for each in of]):.0f}",
                len(of),
            )
            for kind in KINDS
        ]
        loss = [100 * (each["shuffled"]["error"] - each["plain"]["error"]) for each in of]
        costs.append(f"{interval(loss, 2, SHARED)} points of {backbone}'s")
    text = (
        f"# MNIST, plain and shuffled (Fig. 3 and 4)\n\n{len(y):,} images of {X.shape[1]} x {X.shape[2]}, a quarter of "
        f"them held out, {len(train) * 8 // 10:,} trained on (the rest chooses the epoch); {given.epochs} epochs. Both "
        f"kinds of pixels have the same network, splits and seeds: {said}, each with a split of its own. ± is half "
        "of the 95 % interval of the mean (Student's t; splits that share images: Nadeau and Bengio, 2003).\nOne "
        "permutation (seed 1) shuffles all images.\n\n"
        + table(("network", "pixels", "test error, %", "seconds", "seeds"), rows)
        + f"\n\nShuffling costs {' and '.join(costs)} test error (differences within a seed). The paper says about 2, "
        "with 60,000 images to train on.\n"
    )

    def draw(figure: Any) -> None:
        samples = [int(np.flatnonzero(y == digit)[0]) for digit in range(3) if (y == digit).any()]
        left, right = figure.subfigures(1, 2, width_ratios=(1.3, 1))
        axes = left.subplots(2, len(samples), squeeze=False)
        for place, sample in enumerate(samples):
            for row, pixels in enumerate((flat[sample], flat[sample][order])):
                axes[row, place].imshow(pixels.reshape(X.shape[1:]), cmap="gray")
                axes[row, place].axis("off")
        axis = right.subplots()
        for place, of in enumerate(values.values()):
            for number, kind in enumerate(KINDS):
                errors = [100 * each[kind]["error"] for each in of]
                x = place + 0.36 * (number - 0.5)
                axis.bar(x, np.mean(errors), 0.32, color=f"C{number}", alpha=0.6, label=None if place else kind)
                axis.plot([x] * len(errors), errors, "ko", ms=4)
        axis.set_xticks(range(len(values)), values)
        axis.set_ylabel("test error, % (points: seeds)")
        axis.legend()

    save(given.out, "mnist", text, values, draw, arguments)
    return 0


def trained(X: Any, y: Any, train: Any, test: Any, backbone: str, epochs: int, seed: int) -> dict[str, float]:
    """Test error, and seconds of the fit."""
    started = time.perf_counter()
    model = pf.DeepMapperClassifier(
        backbone,
        n_runs=1,
        epochs=epochs,
        normalize="minmax",
        baselines=False,
        pair_screen=False,
        min_accuracy=0.0,
        fractions=(0.8, 0.1, 0.1),
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X[train], y[train])
    seconds = time.perf_counter() - started
    return {"error": float((model.predict(X[test]) != y[test]).mean()), "seconds": seconds}


if __name__ == "__main__":
    run_command(main)
