"""What maps features to the plane, by name or as an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pixfold.util.checks import choice
from pixfold.util.optional import require

_NAMED: dict[str, Callable[[], Any]] = {
    "tsne": lambda: require("sklearn.manifold", "train", "t-SNE").TSNE(n_components=2, metric="cosine"),
    "pca": lambda: require("sklearn.decomposition", "train", "PCA").PCA(n_components=2),
    "kpca": lambda: require("sklearn.decomposition", "train", "kernel PCA").KernelPCA(n_components=2, kernel="rbf"),
}


def feature_extractor_of(given: Any) -> Any:
    """Give the object with ``fit_transform`` that a name stands for, or the one that was given.

    Raises
    ------
    InputError
        For an unknown name.
    TypeError
        For an object without such a method.
    """
    if isinstance(given, str):
        name = given.casefold()
        choice(_NAMED)("ImageTransformer", "feature_extractor", name)
        return _NAMED[name]()
    if isinstance(given, type) or not callable(getattr(given, "fit_transform", None)):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise TypeError(
            "ImageTransformer: feature_extractor must be 'tsne', 'pca', 'kpca' or an object with fit_transform, "
            f"got {what}"
        )
    return given
