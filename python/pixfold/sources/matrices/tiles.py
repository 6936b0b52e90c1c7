"""A dense matrix that arrives a few features at a time, kept so that samples can be read from it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.sources.disk import limits
from pixfold.sources.disk.row_store import RowFile
from pixfold.sources.disk.rows import Rows

# Of one tile while it is filled. Reading samples takes one access to each tile.
TILE_BYTES = 64 * 2**20
# Floating types hold all integers up to this.
_WHOLE = 2.0**53


class TileStore:
    """Collect features, each with its value in every sample.

    Features are gathered to tiles: all samples of some neighbouring features, sample by sample. So a tile is written
    once, as it comes, and neighbouring samples are one read of each tile. In memory and in files a tile takes the
    smallest type that holds its values exactly. Files are used above
    :func:`pixfold.sources.disk.limits.held`.

    Parameters
    ----------
    name : str
        The source, for messages.
    n_samples : int
        Values per feature.
    """

    def __init__(self, name: str, n_samples: int) -> None:
        self._name, self._n_samples = name, n_samples
        self._tiles: list[Any] = []
        self._n_bytes = 0
        self._on_disk = False
        self._capacity = max(1, min(TILE_BYTES, limits.held() // 4) // (8 * n_samples))
        self._tile = np.empty((n_samples, self._capacity), dtype=np.float64)
        self._filled = 0

    def append(self, block: NDArray[np.float64]) -> None:
        """Add features: an array of shape (n_samples, n), missing values as NaN."""
        done = 0
        while done < block.shape[1]:
            n = min(block.shape[1] - done, self._capacity - self._filled)
            self._tile[:, self._filled : self._filled + n] = block[:, done : done + n]
            self._filled += n
            done += n
            if self._filled == self._capacity:
                self._end_tile()

    def finish(self) -> NDArray[Any] | TileFiles:
        """Return all features, shape (n_samples, n_features): in memory, or in files where they are many.

        Raises
        ------
        OutputError
            When there is no room for the files.
        """
        self._end_tile()
        self._tile = np.empty((0, 0))
        if self._on_disk:
            return TileFiles(self._name, self._tiles)
        if len(self._tiles) == 1:
            matrix: NDArray[Any] = self._tiles[0]
            return matrix
        dtype = np.result_type(*(tile.dtype for tile in self._tiles))
        matrix = np.empty((self._n_samples, sum(tile.shape[1] for tile in self._tiles)), dtype=dtype)
        start = 0
        while self._tiles:  # each is let go when it is copied
            tile = self._tiles.pop(0)
            matrix[:, start : start + tile.shape[1]] = tile
            start += tile.shape[1]
        return matrix

    def discard(self) -> None:
        """Let go of all that was collected."""
        for tile in self._tiles:
            if isinstance(tile, RowFile):
                tile.close()
        self._tiles = []

    def _end_tile(self) -> None:
        if not self._filled:
            return
        values = _smallest(self._tile[:, : self._filled])
        if values.base is self._tile:
            self._tile = np.empty_like(self._tile)
        self._filled = 0
        self._n_bytes += values.nbytes
        self._tiles.append(self._written(values) if self._on_disk else values)
        if self._n_bytes > limits.held() and not self._on_disk:
            self._on_disk = True
            for at, held in enumerate(self._tiles):
                self._tiles[at] = self._written(held)

    def _written(self, values: NDArray[Any]) -> RowFile:
        file = RowFile(self._name, values.shape[1])
        file.append(values)
        file.end()
        return file


def _smallest(tile: NDArray[np.float64]) -> NDArray[Any]:
    """Return a tile in the smallest type that holds its values exactly."""
    if not np.array_equal(tile[0], np.rint(tile[0])):  # most tiles that are not whole show it soon
        low, high = -np.inf, np.inf
    else:
        low, high = float(tile.min()), float(tile.max())
    if low > -_WHOLE and high < _WHOLE and np.array_equal(tile, np.rint(tile)):  # NaN is in no range
        return tile.astype(np.promote_types(np.min_scalar_type(int(low)), np.min_scalar_type(int(high))))
    single = _single(tile[:1])
    if single is not None and (single := _single(tile)) is not None:
        return single
    return tile


def _single(values: NDArray[np.float64]) -> NDArray[np.float32] | None:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return single if np.array_equal(single, values, equal_nan=True) else None


class TileFiles:
    """Tiles in temporary files, read by samples; see :class:`TileStore`.

    As :class:`RowFile`, of which each tile is one, they may be read from several threads, after a fork and by way of a
    pickle, and are removed with the process that made them.

    Parameters
    ----------
    name : str
        The source, for messages.
    tiles : list of RowFile
        Files of as many rows, one per sample.
    """

    is_sparse = False
    chunk = 1

    def __init__(self, name: str, tiles: list[RowFile]) -> None:
        self.name, self._tiles = name, tiles
        self.dtype = np.dtype(np.result_type(*(tile.dtype for tile in tiles)))
        self.shape = (tiles[0].shape[0], sum(tile.shape[1] for tile in tiles))
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize

    def read(self, wanted: Rows) -> NDArray[Any]:
        """Read rows; index arrays must rise."""
        n_rows = wanted.stop - wanted.start if isinstance(wanted, slice) else len(wanted)
        out = np.empty((n_rows, self.shape[1]), dtype=self.dtype)
        start = 0
        for tile in self._tiles:
            out[:, start : start + tile.shape[1]] = tile.read(wanted)
            start += tile.shape[1]
        return out

    def reading(self, what: str = "") -> AbstractContextManager[None]:
        """Context to read in."""
        return self._tiles[0].reading(what)

    def close(self) -> None:
        """Remove the files; nothing can be read any more."""
        for tile in self._tiles:
            tile.close()
