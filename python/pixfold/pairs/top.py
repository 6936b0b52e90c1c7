"""The strongest pairs so far, kept while tiles stream past."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

# Beyond k, this many pairs are kept that rounding may have put below the k-th.
_NEAR_TIES = 65_536

# And so many beside 2 k before the strongest are picked out.
_AT_ONCE = 4096

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


class TopPairs:
    """The k strongest pairs of a stream, and those that rounding error may have put below them.

    Parameters
    ----------
    k : int
        Pairs that are wanted.
    floor : float
        Pairs of no larger abs(z) are of no interest.
    margin, relative : float
        abs(z) of the stream may be wrong by ``margin + relative * abs(z)``: pairs so little below the k-th stay.
    """

    def __init__(self, k: int, floor: float = -1.0, *, margin: float = 0.0, relative: float = 0.0) -> None:
        self._k, self._floor, self._margin, self._relative = k, floor, margin, relative
        self._most = k + _NEAR_TIES
        self._held: list[Pairs] = []
        self._count = 0
        self._lock = threading.Lock()
        # Read without the lock: it only rises, and an old value lets a few more pairs through.
        self.threshold = self._lowered(floor)

    def add(self, a: NDArray[np.int64], b: NDArray[np.int64], z: NDArray[np.float32]) -> None:
        """Add pairs above :attr:`threshold`; one that comes again, of another contrast, counts as its strongest."""
        with self._lock:
            self._held.append((a, b, np.abs(z).astype(np.float64)))
            self._count += len(z)
            if self._count > 2 * self._k + _AT_ONCE:
                self._prune()

    def pairs(self) -> Pairs:
        """Feature a, feature b and approximate abs(z) of what was kept, one line per pair, in that order."""
        with self._lock:
            self._prune()
            return self._held[0]

    def _prune(self) -> None:
        """Leave the k strongest pairs and those close below, in the order of their features."""
        empty = np.zeros(0, dtype=np.int64)
        parts = self._held or [(empty, empty, np.zeros(0))]
        a, b, z = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((-z, b, a))
        a, b, z = a[order], b[order], z[order]
        first = np.ones(len(a), dtype=bool)
        first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
        a, b, z = a[first], b[first], z[first]
        if len(z) > self._k:
            cut = self._lowered(np.partition(z, -self._k)[-self._k])
            keep = np.flatnonzero(z > cut)
            if len(keep) > self._most:
                # More ties than there is room for: those of the first features stay.
                keep = np.sort(keep[np.lexsort((b[keep], a[keep], -z[keep]))[: self._most]])
                cut = max(cut, np.nextafter(z[keep].min(), -1))
            a, b, z = a[keep], b[keep], z[keep]
            self.threshold = max(self.threshold, cut)
        self._held = [(a, b, z)]
        self._count = 0  # the next pruning is due when as many have come again

    def _lowered(self, z: float) -> float:
        return float(z - (self._margin + self._relative * abs(z))) if z >= 0 else float(z)
