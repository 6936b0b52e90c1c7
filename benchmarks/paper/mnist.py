"""Fig. 3 and 4: MNIST as it is and with its pixels shuffled by one seed, the same network: test error of both."""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.paper.results import parser, save, spread, table, within

import pixfold as pf
from pixfold.examples.mnist_idx import read_idx

KINDS = ("plain", "shuffled")


def main(arguments: list[str] | None = None) -> int:
    options = parser("mnist", __doc__, seeds=3, seconds=200)
    options.add_argument("--images", type=Path, nargs="+", help="IDX files; several are joined, as train and test")
    options.add_argument("--labels", type=Path, nargs="+")
    options.add_argument("--samples", type=int, help="use the first ones only")
    options.add_argument("--backbone", default="patchnet")
    options.add_argument("--epochs", type=int, default=8)
    given = options.parse_args(arguments)
    images = given.images or [given.data_folder / "mnist-t10k-images-idx3-ubyte.gz"]
    labels = given.labels or [given.data_folder / "mnist-t10k-labels-idx1-ubyte.gz"]
    X = np.concatenate([read_idx(path) for path in images])[: given.samples]
    y = np.concatenate([read_idx(path) for path in labels])[: given.samples].astype(np.int64)
    flat = X.reshape(len(X), -1).astype(np.float32)
    order = np.random.default_rng(1).permutation(flat.shape[1])
    values: dict[str, list[float]] = {kind: [] for kind in KINDS}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in within(given.seeds, given.time):
        rng = np.random.default_rng(seed)
        shuffled = rng.permutation(len(y))
        test, train = shuffled[: len(y) // 4], shuffled[len(y) // 4 :]
        for kind in KINDS:
            started = time.perf_counter()
            data = flat if kind == "plain" else flat[:, order]
            values[kind].append(error(data, y, train, test, given, seed))
            seconds[kind].append(time.perf_counter() - started)
            print(f"seed {seed} {kind}: test error {values[kind][-1]:.4f}, {seconds[kind][-1]:.0f} s", flush=True)
    count = len(values["plain"])
    loss = [100 * (s - p) for s, p in zip(values["shuffled"], values["plain"], strict=True)]
    rows = [(kind, spread(values[kind], 4), f"{np.mean(seconds[kind]):.0f}") for kind in KINDS]
    text = (
        f"# MNIST, plain and shuffled (Fig. 3 and 4)\n\n{len(y):,} images of 28 x 28, a quarter of them held out; "
        f"{given.backbone}, {given.epochs} epochs, the same network, splits and seeds; {count} seeds; mean (lowest to "
        f"highest).\nOne permutation (seed 1) shuffles all images.\n\n"
        + table(("pixels", "test error", "seconds"), rows)
        + f"\n\nShuffling costs {spread(loss, 2)} points of test error; the paper says about 2, with 60,000 training "
        "images.\n"
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
        for place, kind in enumerate(KINDS):
            axis.bar(place, 100 * np.mean(values[kind]), color=f"C{place}", alpha=0.6)
            axis.plot([place] * count, 100 * np.asarray(values[kind]), "ko", ms=4)
        axis.set_xticks(range(len(KINDS)), KINDS)
        axis.set_ylabel("test error, % (points: seeds)")

    save(given.out, "mnist", text, {"error": values, "seconds": seconds}, draw, arguments)
    return 0


def error(X: Any, y: Any, train: Any, test: Any, given: Any, seed: int) -> float:
    model = pf.DeepMapperClassifier(
        given.backbone,
        n_runs=1,
        epochs=given.epochs,
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
    return float((model.predict(X[test]) != y[test]).mean())


if __name__ == "__main__":
    sys.exit(main())
