"""Table 2: DeepInsight's images and pixfold's: conversion, training, accuracy, with one backbone, epochs and splits."""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.paper.results import parser, save, table

import pixfold as pf

SHAPE = (6_216, 19_319)


def generated(samples: int, features: int, classes: int, seed: int) -> tuple[Any, Any]:
    """Counts as of expression, in classes of which each has raised levels in 50 features of its own."""
    rng = np.random.default_rng(seed)
    level = rng.gamma(0.5, 40, features).astype(np.float32)
    y = rng.permutation(np.arange(samples) % classes)
    X = rng.standard_exponential((samples, features), dtype=np.float32)
    X *= level
    for label in range(classes):
        own = rng.choice(features, min(50, features), replace=False)
        X[np.ix_(y == label, own)] *= 2
    return np.floor(X, out=X), y


def from_file(path: Path, label: str) -> tuple[Any, Any]:
    """All samples of a file that pixfold reads, in memory."""
    source = pf.open_source(path, label=label)
    rows = source.read(np.arange(source.n_samples))
    X = np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float32)
    return X, np.unique(np.asarray(source.labels).astype(str), return_inverse=True)[1]


def _ours(X: Any, train: Any) -> Any:
    return pf.fold(X, pf.Layout.natural(X.shape[1]), pf.Normalizer("log1p-minmax").fit(X[train]))


def _deepinsight(X: Any, train: Any, reduction: str) -> Any:
    from pyDeepInsight import ImageTransformer
    from pyDeepInsight.utils import Norm2Scaler

    from pixfold.benchmark.competitors import reducer, side_of

    scaler = Norm2Scaler().fit(X[train])
    it = ImageTransformer(reducer(reduction), pixels=side_of(X.shape[1])).fit(scaler.transform(X[train]))
    return it.transform(scaler.transform(X), img_format="scalar").astype(np.float32)[:, None]


def trained(images: Any, y: Any, parts: tuple[Any, Any], epochs: int, seed: int) -> dict[str, float]:
    """Train torchvision's ResNet18 (one channel) from the same seed, and score both parts."""
    import torch
    from torchvision.models import resnet18

    torch.manual_seed(seed)
    model = resnet18(num_classes=int(y.max()) + 1)
    model.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    x, labels = torch.from_numpy(images), torch.from_numpy(y.astype(np.int64))
    train, test = map(torch.from_numpy, parts)
    started = time.perf_counter()
    model.train()
    for _ in range(epochs):
        for batch in train[torch.randperm(len(train))].split(32):
            if len(batch) < 2:  # batch normalisation needs two
                continue
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), labels[batch]).backward()
            optimizer.step()
    seconds = time.perf_counter() - started
    model.eval()
    scores = {}
    with torch.no_grad():
        for name, part in (("train", train), ("test", test)):
            right = sum(int((model(x[b]).argmax(1) == labels[b]).sum()) for b in part.split(64))
            scores[name] = right / len(part)
    return scores | {"training_s": seconds}


def main(arguments: list[str] | None = None) -> int:
    options = parser("table2", __doc__, seeds=1, seconds=400)
    options.add_argument("--samples", type=int, default=SHAPE[0])
    options.add_argument("--features", type=int, default=SHAPE[1])
    options.add_argument("--train-on", type=int, help="samples that the networks use; default: all")
    options.add_argument("--classes", type=int, default=8)
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument("--reduction", choices=("PCA", "t-SNE", "UMAP"), default="PCA")
    options.add_argument("--data", type=Path, help="a file that pixfold reads, instead of generated data")
    options.add_argument("--label", help="its column of classes")
    given = options.parse_args(arguments)
    if (given.data is None) != (given.label is None):
        options.error("--data and --label go together")
    if given.data is None:
        X, y = generated(given.samples, given.features, given.classes, seed=0)
    else:
        X, y = from_file(given.data, given.label)
    order = np.random.default_rng(0).permutation(len(y))
    train = np.sort(order[len(y) // 5 :])
    used = len(y) if given.train_on is None else min(given.train_on, len(y))
    # Neither the normalisers nor the networks see a sample of the test.
    parts = (train[np.random.default_rng(1).permutation(len(train))][: used - used // 5], order[: used // 5])
    converters = {
        f"DeepInsight ({given.reduction})": lambda X, train: _deepinsight(X, train, given.reduction),
        "pixfold": _ours,
    }
    values: dict[str, dict[str, Any]] = {}
    for name, convert in converters.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                convert(X[:32, :64], np.arange(32))  # what is loaded or compiled on first use
                started = time.perf_counter()
                images = convert(X, train)
            except ImportError as error:
                values[name] = {"failed": str(error)}
                continue
            took = time.perf_counter() - started
            values[name] = {"conversion_s": took, "image": list(images.shape[-2:])}
            values[name] |= trained(images, y, parts, given.epochs, 0)
            del images
        print(name, values[name], flush=True)
    lines = []
    for name, of in values.items():
        if "failed" in of:
            lines.append((name, of["failed"], "", "", "", ""))
            continue
        image = " x ".join(map(str, of["image"]))
        scores = (f"{of['train']:.3f}", f"{of['test']:.3f}")
        lines.append((name, f"{of['conversion_s']:.2f} s", image, f"{of['training_s']:.0f} s", *scores))
    origin = "generated" if given.data is None else "read from a file"
    text = (
        f"# DeepInsight and pixfold (Table 2)\n\n{len(X):,} samples x {X.shape[1]:,} features, {int(y.max()) + 1} "
        f"classes, {origin}. Conversion of all samples. ResNet18 on both, {given.epochs} epochs, on {len(parts[0]):,} "
        f"samples, tested on {len(parts[1]):,}; the same splits and seed.\n\n"
        + table(("images", "conversion", "image", "training", "accuracy, train", "accuracy, test"), lines)
        + "\n\nIn print (Table 2 of the paper): conversion 94 s and 334 ms, training 23 min 37 s (224 x 224) and 8 min "
        "56 s (139 x 139), accuracy 0.976 and 0.975.\n"
    )
    save(given.out, "table2", text, values, None, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
