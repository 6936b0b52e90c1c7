"""MRepImageTransformer: several images of each sample, one for each map of the features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixfold.compat.deepinsight.transformer import ImageTransformer, Shape
from pixfold.errors import InputError
from pixfold.util.checks import choice
from pixfold.util.optional import require
from pixfold.util.text import must_be

_COLLATE = ("manifold", "sample", "random")
_REDUCTIONS = ("mean", "sum")


class MRepImageTransformer:
    """Several representations of each sample: one :class:`ImageTransformer` for each feature extractor.

    Parameters
    ----------
    feature_extractor : iterable
        Feature extractors, or pairs of one and its discretisation.
    discretization : str
        Of the extractors that come without one.
    pixels : int or tuple of int
        ``(height, width)`` of all images, or the side of a square.
    rectangle : {"pyDeepInsight", "smallest"}
        As for :class:`ImageTransformer`.

    Raises
    ------
    InputError
        For an argument that cannot be used.
    """

    def __init__(
        self,
        feature_extractor: Iterable[Any],
        discretization: str = "bin",
        pixels: int | Shape = (224, 224),
        *,
        rectangle: str = "pyDeepInsight",
    ) -> None:
        self.discretization = discretization
        self.pixels = pixels
        self._rectangle = rectangle
        self._data: Any = None
        self._its = [self.initialize_image_transformer(config) for config in feature_extractor]
        if not self._its:
            raise InputError("MRepImageTransformer: feature_extractor must hold one or more, got none")

    def initialize_image_transformer(self, config: Any) -> ImageTransformer:
        """Make the transformer of an extractor, or of a pair of an extractor and its discretisation."""
        pair = config if isinstance(config, tuple | list) else (config, self.discretization)
        if len(pair) != 2:
            raise InputError(must_be("MRepImageTransformer", "feature_extractor", "extractors or pairs", config))
        extractor, discretization = pair
        return ImageTransformer(extractor, discretization, self.pixels, rectangle=self._rectangle)

    def fit(self, X: Any, y: Any = None, plot: bool = False) -> Self:
        """Fit all transformers; with `plot`, each prints its extractor and shows its map.

        The training data are copied: :meth:`extend_fit` needs them.
        """
        self._data = X.copy() if hasattr(X, "copy") else np.array(X)
        for transformer in self._its:
            if plot:
                print(transformer._fe)
            transformer.fit(X, plot=plot)
            if plot:
                require("matplotlib.pyplot", "train", "fit(plot=True)").show()
        return self

    def extend_fit(self, feature_extractor: Iterable[Any]) -> None:
        """Add transformers and fit them on the training data of :meth:`fit`.

        Raises
        ------
        InputError
            Before :meth:`fit`.
        """
        if self._data is None:
            raise InputError("MRepImageTransformer.extend_fit: the transformer is not fitted, call fit first")
        # All of them or none: a map that fails leaves the transformer as it was.
        self._its += [self.initialize_image_transformer(config).fit(self._data) for config in feature_extractor]

    def transform(
        self,
        X: Any,
        img_format: str = "rgb",
        empty_value: float = 0,
        collate: str = "manifold",
        return_index: bool = False,
    ) -> Any:
        """Turn samples into images, as many of each sample as there are feature extractors.

        Parameters
        ----------
        X, img_format, empty_value
            As for :meth:`ImageTransformer.transform`.
        collate : {"manifold", "sample", "random"}
            Order of the images: all samples by the first extractor, then by the next; all images of the first sample,
            then of the next; or at random, by NumPy's global generator (``np.random.seed``).
        return_index : bool
            Give two arrays besides: the extractor and the sample of each image.

        Returns
        -------
        images, or (images, extractor of each, sample of each)

        Raises
        ------
        InputError
            As :meth:`ImageTransformer.transform`, and for an unknown order.
        """
        choice(_COLLATE)("MRepImageTransformer.transform", "collate", collate)
        # The index is worked out once, for the images and for itself.
        n_maps, found = len(self._its), [it.transform(X, img_format, empty_value) for it in self._its]
        n = len(found[0])
        order = np.arange(n_maps * n, dtype=np.int64)
        if collate == "sample":
            order = order.reshape(n_maps, n).T.reshape(-1)
        elif collate == "random":
            order = np.random.permutation(order)  # noqa: NPY002 -- pyDeepInsight's users seed this one
        images = _ordered(found, order if collate != "manifold" else None)
        return (images, order // n, order % n) if return_index else images

    def fit_transform(self, X: Any, y: Any = None, **kwargs: Any) -> Any:
        """Call :meth:`fit`, then :meth:`transform` with its arguments by name."""
        return self.fit(X).transform(X, **kwargs)

    @staticmethod
    def prediction_reduction(y_hat: Any, index: Any, reduction: str = "mean") -> NDArray[Any]:
        """Reduce the predictions of all images of a sample to one.

        Parameters
        ----------
        y_hat : array (n_images,)
        index : array (n_images,)
            The sample of each image, as ``transform(return_index=True)`` gives it last.
        reduction : {"mean", "sum"}

        Returns
        -------
        array (n_samples,)
            By increasing sample. More axes of `y_hat`, such as classes, are reduced with the first one.

        Raises
        ------
        InputError
            For an unknown reduction, or lengths that differ.
        """
        choice(_REDUCTIONS)("prediction_reduction", "reduction", reduction)
        values, of_image = np.asarray(y_hat), np.asarray(index)
        if of_image.shape != values.shape[:1]:
            raise InputError(
                f"prediction_reduction: index must have one entry for each of the {len(values)} predictions, "
                f"got shape {of_image.shape}"
            )
        reduce = np.mean if reduction == "mean" else np.sum
        return np.array([reduce(values[of_image == sample]) for sample in np.unique(of_image)])


def _ordered(found: list[Any], order: NDArray[np.int64] | None) -> Any:
    if isinstance(found[0], np.ndarray):
        together = np.concatenate(found)
    else:
        together = require("torch", "train", "img_format='pytorch'").cat(found)
    return together if order is None else together[order]
