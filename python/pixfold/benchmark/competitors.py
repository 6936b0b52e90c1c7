"""What is compared: each competitor makes images of samples in memory, and says how to check that it did.

``COMPETITORS[name].make(X, folder)`` imports what the competitor needs and returns a :class:`Job`. ``Job.run`` is what
is timed: everything is fitted, every feature gets its pixel, images are made.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixfold.image_pool import ImagePool
from pixfold.layout import Layout
from pixfold.normalize import Normalizer
from pixfold.ops.fold import fold

Floats = NDArray[np.float32]
_CHECKED = 8  # samples of which images are computed again
_TOLERANCE = 2e-6  # a few steps of float32 in [0, 1]


class Result(NamedTuple):
    """Images, and the pixel (in an image read row by row) of each feature."""

    images: Any
    pixel_of_feature: NDArray[np.int64]


class Job(NamedTuple):
    """A conversion, and its check: it raises AssertionError where the result is not what it claims to be."""

    run: Callable[[], Result]
    check: Callable[[Result], None]


@dataclass(frozen=True)
class Competitor:
    """A way to make images. `package` is what must be installed, `work` what it does with each value."""

    package: str
    work: str
    make: Callable[[Floats, Path], Job]
    quick: bool = True


def data(samples: int, features: int, seed: int) -> Floats:
    """Exponential values, as expression levels are; the same seed gives the same values."""
    X: Floats = np.random.default_rng(seed).standard_exponential((samples, features), dtype=np.float32)
    X *= 10
    return X


def side_of(features: int) -> int:
    """Of the smallest square that holds the features."""
    return math.isqrt(features - 1) + 1


def sharing(pixel_of_feature: NDArray[np.int64]) -> int:
    """Count the features that have no pixel of their own."""
    _, inverse, counts = np.unique(pixel_of_feature, return_inverse=True, return_counts=True)
    return int((counts[inverse] > 1).sum())


def _mean_images(values: NDArray[Any], pixels: NDArray[np.int64], n_pixels: int) -> NDArray[np.float64]:
    """Reference for every layout: each pixel has the mean of its features, in float64."""
    count = np.maximum(np.bincount(pixels, minlength=n_pixels), 1)
    return np.stack([np.bincount(pixels, row, minlength=n_pixels) / count for row in values.astype(np.float64)])


def _same(images: Any, wanted: NDArray[Any]) -> None:
    found = np.asarray(images[:_CHECKED]).reshape(len(wanted), -1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=_TOLERANCE)


def _log_minmax(X: Floats) -> NDArray[np.float64]:
    """Formula of the common work in float64, of the first samples."""
    low, high = np.log1p(X.min(axis=0).astype(np.float64)), np.log1p(X.max(axis=0).astype(np.float64))
    return np.asarray((np.log1p(X[:_CHECKED].astype(np.float64)) - low) / np.where(high > low, high - low, 1))


def _check_log_minmax(X: Floats) -> Callable[[Result], None]:
    def check(result: Result) -> None:
        assert len(result.images) == len(X)
        _same(result.images, _mean_images(_log_minmax(X), result.pixel_of_feature, side_of(X.shape[1]) ** 2))

    return check


def _pixfold(X: Floats, folder: Path, device: str = "cpu", pool: ImagePool | None = None) -> Job:
    def run() -> Result:
        layout = Layout.natural(X.shape[1])
        images = fold(samples, layout, Normalizer("log1p-minmax").fit(samples), out=pool)
        if device != "cpu":
            torch.cuda.synchronize()
        return Result(images, layout.pixel_of_feature)

    if device == "cpu":
        samples: Any = X
        return Job(run, _check_log_minmax(X))
    torch = importlib.import_module("torch")
    samples = torch.from_numpy(X).to(device)
    check = _check_log_minmax(X)
    return Job(run, lambda result: check(Result(result.images.cpu(), result.pixel_of_feature)))


def _numpy(X: Floats, folder: Path) -> Job:
    n, side = X.shape[1], side_of(X.shape[1])

    def run() -> Result:
        y = np.log1p(X)
        low = y.min(axis=0)
        spread = y.max(axis=0) - low
        y -= low
        y /= np.where(spread > 0, spread, 1)
        images = np.zeros((len(X), side * side), dtype=np.float32)
        images[:, :n] = y
        return Result(images.reshape(-1, 1, side, side), np.arange(n))

    return Job(run, _check_log_minmax(X))


def _torch(X: Floats, folder: Path, *, compiled: bool) -> Job:
    torch = importlib.import_module("torch")
    x = torch.from_numpy(X)
    n, side = X.shape[1], side_of(X.shape[1])

    def steps(x: Any) -> Any:
        y = torch.log1p(x)
        low, high = y.amin(0), y.amax(0)
        y = (y - low) / torch.where(high > low, high - low, 1)
        return torch.nn.functional.pad(y, (0, side * side - n)).view(-1, 1, side, side)

    steps = torch.compile(steps, dynamic=False) if compiled else steps
    return Job(lambda: Result(steps(x), np.arange(n)), _check_log_minmax(X))


def _pydeepmapper(X: Floats, folder: Path) -> Job:
    transform = importlib.import_module("pydeepmapper.transform")
    n, side = X.shape[1], side_of(X.shape[1])

    def check(result: Result) -> None:
        wanted = np.zeros((len(X[:_CHECKED]), side * side), dtype=np.float32)
        wanted[:, :n] = X[:_CHECKED]
        np.testing.assert_array_equal(np.asarray(result.images[:_CHECKED]).reshape(wanted.shape), wanted)

    return Job(lambda: Result(transform.to_images(X), np.arange(n)), check)


def reducer(name: str) -> Any:
    """Make the map of features of one of DeepInsight's reductions, seeded."""
    if name == "PCA":
        return importlib.import_module("sklearn.decomposition").PCA(n_components=2, random_state=0)
    if name == "t-SNE":
        return importlib.import_module("sklearn.manifold").TSNE(n_components=2, metric="cosine", random_state=0)
    return importlib.import_module("umap").UMAP(n_components=2, metric="cosine", random_state=0)


def _deepinsight(X: Floats, folder: Path, *, reduction: str, ours: bool = False) -> Job:
    name = "pixfold.compat.deepinsight" if ours else "pyDeepInsight"
    transformer = importlib.import_module(name).ImageTransformer
    scaler = importlib.import_module(name if ours else "pyDeepInsight.utils").Norm2Scaler
    reduce, side = reducer(reduction), side_of(X.shape[1])

    def run() -> Result:
        scaled = scaler().fit_transform(X)
        it = transformer(reduce, pixels=side)
        images = it.fit_transform(scaled, img_format="scalar")
        row, column = np.asarray(it.coords()).T
        return Result(images, row.astype(np.int64) * side + column)

    def check(result: Result) -> None:
        assert len(result.images) == len(X)
        # DeepInsight's second norm, by its formula.
        X64 = X.astype(np.float64)
        low = X64.min(axis=0)
        logs = np.log(X64[:_CHECKED] + np.abs(low) + 1)
        top = np.log(X64 + np.abs(low) + 1).max()
        _same(result.images, _mean_images(np.clip(logs / top, 0, 1), result.pixel_of_feature, side * side))

    return Job(run, check)


def _tinto(X: Floats, folder: Path) -> Job:
    tinto = importlib.import_module("TINTOlib.tinto").TINTO
    pandas = importlib.import_module("pandas")
    n, side = X.shape[1], side_of(X.shape[1])
    table = pandas.DataFrame(X, columns=[f"f{i}" for i in range(n)])
    out = folder / "images"

    def run() -> Result:
        model = tinto(problem="unsupervised", algorithm="PCA", pixels=side, format="npy", random_seed=0)
        model.fit_transform(table, str(out))
        places = model._features_mapping[["row", "column"]].to_numpy().astype(np.int64)
        return Result(sorted(out.rglob("*.npy")), places[:, 0] * side + places[:, 1])

    def check(result: Result) -> None:
        assert len(result.images) == len(X)
        low, high = X.min(axis=0), X.max(axis=0)
        image = np.load(result.images[0], allow_pickle=False)
        assert image.shape == (side, side)
        # Of features on one pixel it keeps the last; its first file is its first sample.
        wanted = np.zeros(side * side)
        wanted[result.pixel_of_feature] = (X[0] - low) / (high - low)
        np.testing.assert_allclose(image.ravel(), wanted, rtol=0, atol=1e-5)

    return Job(run, check)


_COMMON = "log1p, min-max, fold"
_INSIGHT = "norm-2, map of features, images"
COMPETITORS: dict[str, Competitor] = {
    "pixfold": Competitor("numpy", _COMMON, _pixfold),
    # New memory costs as much as the work, and on a machine whose memory is in pieces several times as much.
    "pixfold, ImagePool": Competitor("numpy", _COMMON, lambda X, folder: _pixfold(X, folder, pool=ImagePool())),
    "pixfold (GPU)": Competitor("torch", _COMMON, lambda X, folder: _pixfold(X, folder, "cuda")),
    "NumPy": Competitor("numpy", _COMMON, _numpy),
    "torch eager": Competitor("torch", _COMMON, lambda X, folder: _torch(X, folder, compiled=False)),
    "torch.compile": Competitor("torch", _COMMON, lambda X, folder: _torch(X, folder, compiled=True)),
    "pydeepmapper": Competitor("pydeepmapper", "fold alone", _pydeepmapper),
    "pixfold.compat, PCA": Competitor(
        "scikit-learn", _INSIGHT, lambda X, folder: _deepinsight(X, folder, reduction="PCA", ours=True)
    ),
    "pyDeepInsight, PCA": Competitor(
        "pyDeepInsight", _INSIGHT, lambda X, folder: _deepinsight(X, folder, reduction="PCA")
    ),
    "pyDeepInsight, t-SNE": Competitor(
        "pyDeepInsight", _INSIGHT, lambda X, folder: _deepinsight(X, folder, reduction="t-SNE"), quick=False
    ),
    "pyDeepInsight, UMAP": Competitor(
        "umap-learn", _INSIGHT, lambda X, folder: _deepinsight(X, folder, reduction="UMAP"), quick=False
    ),
    "TINTOlib, PCA": Competitor("TINTOlib", "min-max, map of features, files", _tinto, quick=False),
}
