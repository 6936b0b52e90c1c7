"""ImageTransformer: features laid out by what they have in common, samples as images of them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixfold.compat.deepinsight import discretise
from pixfold.compat.deepinsight.extractors import feature_extractor_of
from pixfold.compat.deepinsight.images import images, samples
from pixfold.compat.deepinsight.rectangle import Upright, upright
from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.ops.unfold import unfold
from pixfold.util.checks import choice, is_whole
from pixfold.util.optional import require
from pixfold.util.text import must_be

Shape = tuple[int, int]

_RECTANGLES = ("pyDeepInsight", "smallest")


class ImageTransformer:
    """Images of samples, in which features stand where a map of the features puts them (DeepInsight).

    Signatures and results are those of pyDeepInsight's class of this name, with these differences: images are float32;
    images need not be square; features on one line are laid out along it; and there is ``discretization="fast"``.

    Parameters
    ----------
    feature_extractor : {"tsne", "pca", "kpca"} or object
        What maps features to the plane: an object with ``fit_transform``, which gets the transposed samples and gives
        two numbers for each feature.
    discretization : {"bin", "qtb", "lsa", "sla", "ags", "ags_batched", "fast"}
        How places become pixels.

        - ``"bin"``: a grid over the map. Features in one cell share a pixel, which shows their mean.
        - ``"qtb"``: the same after each axis was spread by its quantiles.
        - ``"lsa"``: a pixel for each feature, with the least sum of squared distances (exactly). All distances are
          held in memory: 8 bytes * n_features * n_pixels.
        - ``"sla"``: pyDeepInsight looks at the nearest third of the pixels of each feature alone, and fails where
          these have no room for all. Here it is ``"lsa"``: the matching of sparse graphs that SciPy has did not end on
          some maps.
        - ``"ags"``, ``"ags_batched"``: pyDeepInsight solves these by a random greedy search. Here they are ``"lsa"``
          where that takes about a second, and ``"fast"`` beyond.
        - ``"fast"``: a pixel for each feature, of tens of thousands of features in seconds. It is not exact:
          :mod:`pixfold.compat.deepinsight.nearest_pixels` says how it works and how close it comes.

        Where there are more features than pixels, the assignments use every pixel and share as few as they can
        without moving features away; ``"fast"`` shares evenly. (pyDeepInsight clusters the features at random.)
    pixels : int or tuple of int
        ``(height, width)``, or the side of a square.
    rectangle : {"pyDeepInsight", "smallest"}
        Which rectangle around the features comes to stand upright: by default pyDeepInsight's, so that images equal
        its images; ``"smallest"`` is the smallest rectangle, as in DeepInsight's paper
        (:mod:`pixfold.compat.deepinsight.rectangle` says how they differ).

    Raises
    ------
    InputError
        For an argument that cannot be used. It is a ValueError.
    TypeError
        When `feature_extractor` has no method ``fit_transform``.
    """

    DISCRETIZATION_OPTIONS = {  # noqa: RUF012 -- subclasses of pyDeepInsight's class add to it
        "bin": "coordinate_binning",
        "qtb": "coordinate_quantile_transformation",
        "lsa": "coordinate_exact_assignment",
        "sla": "coordinate_exact_assignment",
        "ags": "coordinate_greedy_assignment",
        "ags_batched": "coordinate_greedy_assignment",
        "fast": "coordinate_fast_assignment",
    }

    def __init__(
        self,
        feature_extractor: Any = "tsne",
        discretization: str = "bin",
        pixels: int | Shape = (224, 224),
        *,
        rectangle: str = "pyDeepInsight",
    ) -> None:
        self._fe = feature_extractor_of(feature_extractor)
        choice(self.DISCRETIZATION_OPTIONS)("ImageTransformer", "discretization", discretization)
        self._dm = getattr(self, self.DISCRETIZATION_OPTIONS[discretization])
        self._pixels = shape_of(pixels)
        choice(_RECTANGLES)("ImageTransformer", "rectangle", rectangle)
        self._rectangle = rectangle
        self._xrot: NDArray[Any] | None = None
        self._layout: Layout | None = None

    @staticmethod
    def scale_coordinates(coords: NDArray[Any], dim_max: Any) -> NDArray[Any]:
        """Scale each axis of ``(n, 2)`` places from 0 to its maximum; a constant axis stands in the middle."""
        return discretise.scaled(coords, dim_max)

    @staticmethod
    def calculate_pixel_centroids(px_size: Shape) -> NDArray[np.float64]:
        """Centres of the pixels, row by row, ``(height * width, 2)``."""
        return discretise.centres(px_size)

    @classmethod
    def coordinate_binning(cls, position: NDArray[Any], px_size: Shape) -> NDArray[np.int64]:
        """Pixels ``(n, 2)`` of places ``(n, 2)``: the cells of a grid over them."""
        return discretise.binned(position, px_size)

    @classmethod
    def coordinate_quantile_transformation(cls, position: NDArray[Any], px_size: Shape) -> NDArray[np.int64]:
        """Pixels of places: the cells of a grid over the quantiles of each axis."""
        return discretise.binned_quantiles(position, px_size)

    @classmethod
    def coordinate_assignment(cls, position: NDArray[Any], px_size: Shape, solver: Any) -> NDArray[np.int64]:
        """Pixels of places by a solver of yours: it gets the costs and gives rows and the column of each."""
        return discretise.assigned(position, px_size, solver)

    @classmethod
    def coordinate_exact_assignment(cls, position: NDArray[Any], px_size: Shape) -> NDArray[np.int64]:
        """Pixels of places for ``"lsa"`` and ``"sla"``."""
        return discretise.exact(position, px_size)

    @classmethod
    def coordinate_greedy_assignment(cls, position: NDArray[Any], px_size: Shape) -> NDArray[np.int64]:
        """Pixels of places for ``"ags"``."""
        return discretise.greedy(position, px_size)

    @classmethod
    def coordinate_fast_assignment(cls, position: NDArray[Any], px_size: Shape) -> NDArray[np.int64]:
        """Pixels of places for ``"fast"``."""
        return discretise.near(position, px_size)

    def fit(self, X: Any, y: Any = None, plot: bool = False) -> Self:
        """Learn where features stand.

        Parameters
        ----------
        X : array (n_samples, n_features)
            Training data, from 0 to 1 as a rule.
        y
            Ignored.
        plot : bool
            Draw the map, its convex hull and the rectangle into matplotlib's current axes.

        Raises
        ------
        InputError
            When `X` is not two-dimensional, or the map is not two finite numbers for each feature.
        """
        X = X if hasattr(X, "T") else np.asarray(X)
        if len(X.shape) != 2 or X.shape[1] == 0:
            raise InputError(f"ImageTransformer.fit: X must have the shape (n_samples, n_features), got {X.shape}")
        places = _map_of(self._fe.fit_transform(X.T), X.shape[1])
        turned = upright(places, smallest=self._rectangle == "smallest")
        # Kept, so that another size of the image needs no other map.
        self._xrot = turned.points
        self._calculate_coords()
        if plot:
            _draw(places, turned)
        return self

    @property
    def pixels(self) -> Shape:
        """Size of the image, ``(height, width)``; where it is set after `fit`, features get pixels anew."""
        return self._pixels

    @pixels.setter
    def pixels(self, pixels: int | Shape) -> None:
        self._pixels = shape_of(pixels)
        if self._xrot is not None:
            self._calculate_coords()

    def _calculate_coords(self) -> None:
        coords = self._dm(self._xrot, self._pixels)
        self._layout = Layout.from_coordinates(coords[:, 0], coords[:, 1], self._pixels_and_channel())

    def _pixels_and_channel(self) -> tuple[int, int, int]:
        return (1, *self._pixels)

    def _fitted(self, method: str) -> Layout:
        if self._layout is None:
            raise InputError(f"ImageTransformer.{method}: the transformer is not fitted, call fit first")
        return self._layout

    @property
    def layout(self) -> Layout:
        """The same map as a :class:`pixfold.Layout`, for ``pixfold.fold`` and the estimators."""
        return self._fitted("layout")

    def transform(self, X: Any, img_format: str = "rgb", empty_value: float = 0) -> Any:
        """Turn samples into float32 images.

        Parameters
        ----------
        X : array (n_samples, n_features)
            NumPy array, DataFrame, or SciPy sparse matrix, which is not made dense.
        img_format : {"rgb", "scalar", "pytorch"}
            An array ``(n, height, width, 3)``, an array ``(n, height, width)``, or a torch tensor
            ``(n, 3, height, width)``.
        empty_value : float
            Of pixels without a feature.

        Raises
        ------
        InputError
            Before `fit`, for another number of features, or an unknown format.
        """
        layout = self._fitted("transform")
        return images(samples("ImageTransformer.transform", X, layout.n_features), layout, img_format, empty_value)

    def fit_transform(self, X: Any, y: Any = None, **kwargs: Any) -> Any:
        """Call :meth:`fit`, then :meth:`transform` with its arguments by name."""
        return self.fit(X).transform(X, **kwargs)

    def inverse_transform(self, img: Any) -> Any:
        """Read the pixel of each feature.

        Parameters
        ----------
        img : array
            ``(height, width)``, ``(n, height, width)``, ``(height, width, channels)`` or
            ``(n, height, width, channels)``; or ``(n, channels, height, width)``, as ``img_format="pytorch"`` gives.

        Returns
        -------
        array
            Features stand in the place of height and width. Features that share a pixel all get its value.

        Raises
        ------
        InputError
            Before `fit`, or for another shape.
        """
        layout = self._fitted("inverse_transform")
        img = img if hasattr(img, "shape") else np.asarray(img)
        rows, columns = np.divmod(layout.pixel_of_feature, layout.width)
        shape = tuple(img.shape)
        if shape == self._pixels:
            return img[rows, columns]
        if len(shape) == 3 and shape[1:] == self._pixels:
            return unfold(img[:, None], layout)
        if len(shape) == 3 and shape[:2] == self._pixels:
            return img[rows, columns, :]
        if len(shape) == 4 and shape[1:3] == self._pixels:
            return img[:, rows, columns, :]
        if len(shape) == 4 and shape[2:] == self._pixels:
            return img[:, :, rows, columns]
        height, width = self._pixels
        raise InputError(
            f"ImageTransformer.inverse_transform: img must have the shape (n, {height}, {width}, channels), n and "
            f"channels being optional, got {shape}"
        )

    def feature_density_matrix(self) -> NDArray[np.float64]:
        """Count the features on each pixel, ``(height, width)``."""
        layout = self._fitted("feature_density_matrix")
        return layout.features_per_pixel.reshape(self._pixels).astype(np.float64)

    def coords(self) -> NDArray[np.int64]:
        """Row and column of the pixel of each feature, ``(n_features, 2)``."""
        layout = self._fitted("coords")
        return discretise.on_grid(layout.pixel_of_feature, self._pixels)


def shape_of(pixels: Any) -> Shape:
    """Height and width, from both or from the side of a square."""
    sizes = (pixels, pixels) if is_whole(pixels, 1) else pixels
    if not isinstance(sizes, tuple | list) or len(sizes) != 2 or not all(is_whole(size, 1) for size in sizes):
        expected = "a positive integer or (height, width), both positive integers"
        raise InputError(must_be("ImageTransformer", "pixels", expected, pixels))
    return int(sizes[0]), int(sizes[1])


def _map_of(given: Any, n_features: int) -> NDArray[Any]:
    """Two numbers for each feature. Their precision stays: another one would move features at edges of pixels."""
    places = np.asarray(given)
    if places.shape != (n_features, 2):
        raise InputError(
            "ImageTransformer.fit: feature_extractor must give two numbers for each of the "
            f"{n_features} features (n_components=2), got shape {places.shape}"
        )
    if places.dtype.kind != "f":
        places = places.astype(np.float64)
    if not np.isfinite(places).all():
        at = int(np.flatnonzero(~np.isfinite(places).all(axis=1))[0])
        raise InputError(
            f"ImageTransformer.fit: feature_extractor must give finite numbers, got {places[at]} for feature {at}"
        )
    return places


def _draw(places: NDArray[Any], turned: Upright) -> None:
    pyplot = require("matplotlib.pyplot", "train", "fit(plot=True)")
    pyplot.scatter(places[:, 0], places[:, 1], s=1, alpha=0.2)
    pyplot.fill(places[turned.hull, 0], places[turned.hull, 1], edgecolor="r", fill=False)
    pyplot.fill(turned.corners[:, 0], turned.corners[:, 1], edgecolor="g", fill=False)
