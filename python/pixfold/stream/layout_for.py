"""The layout that a source asks for: one image of all features, or each group of them in a channel of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.sources.base import Source


def layout_for(
    source: Source,
    *,
    arrangement: str = "natural",
    seed: int = 0,
    keep: NDArray[np.bool_] | None = None,
    shape: Sequence[int] | None = None,
    channels: int = 1,
) -> Layout:
    """Lay out the features of a source.

    Parameters
    ----------
    source : Source
        One with ``channel_sizes`` (sequences, inputs that are stacked) has that many features in each channel. There
        a feature that is dropped leaves its pixel empty, and an arrangement is the same in channels of equal size: a
        pixel means the same position in each of them.
    arrangement : {"natural", "shuffled"}
        Features in their own order, or in one drawn from `seed`.
    seed : int
        Of the arrangement.
    keep : bool array, shape (n_features,), optional
        Features that get a pixel.
    shape : (int, int), optional
        Height and width; by default the smallest square that has room.
    channels : int
        For sources without ``channel_sizes``.

    Returns
    -------
    Layout

    Raises
    ------
    InputError
        For a shape without room, and for `channels` where the source says how many there are.
    """
    n = source.n_features
    sizes = source.channel_sizes
    if sizes is None:
        if arrangement == "shuffled":
            return Layout.shuffled(n, seed=seed, shape=shape, channels=channels, keep=keep)
        return Layout.natural(n, shape=shape, channels=channels, keep=keep)
    if channels not in (1, len(sizes)):
        raise InputError(f"{source.name}: channels must be the {len(sizes)} of its features, got {channels}")
    parts = [
        Layout.shuffled(size, seed=seed, shape=shape) if arrangement == "shuffled" else Layout.natural(size, shape)
        for size in sizes
    ]
    stacked = Layout.stacked(parts)
    if keep is None or keep.all():
        return stacked
    return Layout(np.where(keep, stacked.pixel_of_feature, -1), stacked.shape)
