"""Real sets, and backgrounds made from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.list_bars.settings import Settings
from numpy.typing import NDArray

ENDINGS = (".h5ad", ".csv", ".csv.gz")


class RealSet(NamedTuple):
    name: str
    X: NDArray[np.float32]
    y: NDArray[Any]


def real_sets(settings: Settings) -> tuple[list[RealSet], str]:
    """Every set of the folder that has labels (or those that are named), and why there is none where there is none."""
    if not settings.data.is_dir():
        return [], f"the real sets are not at {settings.data.name}/ beside the checkout (--data)"
    sets = list(_sets(settings.data, settings.sets))
    missing = set(settings.sets) - {each.name for each in sets}
    if missing:
        return [], f"no set is called {', '.join(sorted(missing))}"
    return sets, "" if sets else "the folder has no .h5ad or .csv with a label"


@lru_cache(maxsize=1)
def _sets(folder: Path, names: tuple[str, ...]) -> tuple[RealSet, ...]:
    return tuple(_read(folder, names))


def _read(folder: Path, names: tuple[str, ...]) -> Iterator[RealSet]:
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if ending is None:
            continue
        name = path.name.removesuffix(ending)
        if names and name not in names:
            continue
        values = _anndata(path) if ending == ".h5ad" else _table(path)
        if values is not None:
            yield RealSet(name, *values)


def _anndata(path: Path) -> tuple[NDArray[np.float32], NDArray[Any]] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata announces its own future on import
        import anndata

        data = anndata.read_h5ad(path)
    if "label" not in data.obs:
        return None
    X = data.X.toarray() if hasattr(data.X, "toarray") else data.X
    return np.asarray(X, dtype=np.float32), data.obs["label"].astype(str).to_numpy()


def _table(path: Path) -> tuple[NDArray[np.float32], NDArray[Any]] | None:
    import pandas as pd

    table = pd.read_csv(path)
    if "label" not in table:
        return None
    y = table.pop("label").astype(str).to_numpy()
    return table.select_dtypes("number").to_numpy(dtype=np.float32), y


def log_values(X: NDArray[Any], like: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """log1p, of features with negative values after a shift that makes their least value (in `like`) 0."""
    least = np.minimum((X if like is None else like).min(axis=0), 0)
    return np.asarray(np.log1p(np.maximum(X - least, 0).astype(np.float64)))


def normal_scores(X: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Each feature's values by their order as a normal distribution has them, equal ones in any order.

    On the scale of logarithms the standard deviation of a feature with outliers, or with many values at a floor, is far
    wider than most of its values lie: a shift of half of it then tells the classes apart for whatever looks at
    thresholds, and not for the F test.
    """
    from scipy.special import ndtri

    order = np.lexsort((rng.random(X.shape), X), axis=0)
    ranks = np.argsort(order, axis=0)
    return np.asarray(ndtri((ranks + 0.5) / len(X)))


class Background(NamedTuple):
    """Real values, log1p and standardised, whose labels were permuted: nothing tells the classes apart."""

    X: NDArray[np.float32]
    y: NDArray[np.int64]


def background(real: RealSet, features: int, rng: np.random.Generator, scale: str = "log") -> Background:
    """Features that vary (so many, drawn; 0 for all), and labels: those of two classes permuted, else two halves."""
    X = log_values(real.X)
    varies = np.flatnonzero(X.std(axis=0) > 1e-6)
    if 0 < features < len(varies):
        varies = np.sort(rng.choice(varies, features, replace=False))
    X = X[:, varies]
    if scale == "normal":
        X = normal_scores(X, rng)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    classes, y = np.unique(real.y, return_inverse=True)
    if len(classes) != 2:
        y = np.arange(len(y)) % 2
    return Background(X.astype(np.float32), rng.permutation(y).astype(np.int64))
