"""Features folded into small images: what the report keeps of importance and class means, whatever the width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixfold.layout import Layout

# A single pixel must survive on paper: images with longer sides are pooled down to at most this many pixels.
_LONGEST_SIDE = 280


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a layout lie in the images that are kept.

    Parameters
    ----------
    height, width : int
        Of the layout.
    factor : int
        Side of the blocks of pixels that one kept pixel stands for.
    """

    height: int
    width: int
    factor: int

    @classmethod
    def of(cls, layout: Layout) -> Grid:
        """Give the grid of a layout; its channels are averaged."""
        return cls(layout.height, layout.width, -(-max(layout.height, layout.width) // _LONGEST_SIDE))

    @property
    def is_square(self) -> bool:
        """Whether pixels are drawn as squares: not those of strips."""
        return 1 / 3 <= self.height / self.width <= 3


def kept_image(values: NDArray[np.float64], layout: Layout) -> NDArray[np.float32]:
    """Fold values of all features, (n_features,), into the image that is kept; NaN where there is no feature."""
    return pooled(folded(values, layout), Grid.of(layout).factor).astype(np.float32)


def folded(values: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Fold features into (height, width): the mean over channels and features of a pixel, or NaN."""
    n = layout.height * layout.width
    placed = layout.pixel_of_feature >= 0
    place = layout.pixel_of_feature[placed] % n
    own = np.nan_to_num(values[placed])
    count = np.bincount(place, minlength=n)
    total = np.bincount(place, weights=own, minlength=n)
    with np.errstate(invalid="ignore"):
        return (total / np.where(count > 0, count, np.nan)).reshape(layout.height, layout.width)


def pooled(image: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Shrink an image by keeping the most extreme value of each block."""
    if factor == 1:
        return image
    height, width = image.shape
    padded = np.full((-(-height // factor) * factor, -(-width // factor) * factor), np.nan)
    padded[:height, :width] = image
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor).swapaxes(1, 2)
    flat = blocks.reshape(*blocks.shape[:2], factor * factor)
    extreme = np.argmax(np.nan_to_num(np.abs(flat), nan=-1.0), axis=2)
    kept: NDArray[np.float64] = np.take_along_axis(flat, extreme[..., None], axis=2)[..., 0]
    return kept


def place_of(features: NDArray[np.int64], layout: Layout) -> NDArray[np.int64]:
    """Row and column of features in the layout, (n, 2); -1 for those without a pixel."""
    pixel = layout.pixel_of_feature[features]
    place = pixel % (layout.height * layout.width)
    found = np.stack([place // layout.width, place % layout.width], axis=1)
    found[pixel < 0] = -1
    return found.astype(np.int64)
