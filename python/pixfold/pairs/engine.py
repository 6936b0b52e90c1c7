"""All pairs in tiles: a matrix product of each, of which only what is above the threshold is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixfold.pairs.features import Features
from pixfold.pairs.target import Target, pieces
from pixfold.pairs.top import TopPairs
from pixfold.pairs.transform import Operand
from pixfold.util.progress import Progress, SilentProgress

# A tile of float32 fits into a core's second cache, and is looked through there.
_CPU_TILE = 512
# A larger first tile would have all its pairs above a threshold that is not known yet: so many features are first.
_FIRST = 1024
CUDA_TILE = 20_000
# Pairs whose products are computed again at a time.
_RECHECK_BYTES = 32 * 2**20
# Sums that differ by rounding alone are ties.
_TIE_DIGITS = 9


def has_fast_int8() -> bool:
    """Whether the CPU multiplies int8 faster than float32."""
    probe = getattr(torch.cpu, "_is_vnni_supported", None)  # torch's private ones may go
    return probe is not None and bool(probe()) and hasattr(torch, "_int_mm")


@contextmanager
def workers(count: int) -> Iterator[Executor]:
    """Threads that each compute with one core.

    A tile per thread has no barriers, where threads that share one product wait for each other on a busy machine.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        count, thread_name_prefix="pixfold-pairs", initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        torch.set_num_threads(1)
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)


class _Held:
    """A block of features on the device."""

    def __init__(self, start: int, operand: Operand, device: torch.device, dtype: torch.dtype) -> None:
        self.start = start
        values = torch.from_numpy(operand.values)
        self.values = values.to(device) if values.dtype == torch.int8 else values.to(device=device, dtype=dtype)
        self.means = None if operand.means is None else torch.from_numpy(operand.means).to(device)

    def part(self, first: int, last: int) -> tuple[Any, Any]:
        return self.values[first:last], None if self.means is None else self.means[first:last]


@dataclass
class Engine:
    """Computes z of all pairs of features, tile by tile.

    Attributes
    ----------
    features : Features
        Transformed.
    target : Target
        Contrasts.
    device : torch.device
        Where products are computed.
    dtype : torch.dtype
        float32 or bfloat16; signs are multiplied as int8.
    permuted : float64 array (n_permutations, n_contrasts, n), or None
        Contrasts of permuted labels; of these only the largest abs(z) is kept.
    tile : int, optional
        Features on a side of a tile.
    """

    features: Features
    target: Target
    device: torch.device
    dtype: torch.dtype = torch.float32
    permuted: NDArray[np.float64] | None = None
    tile: int | None = None

    def __post_init__(self) -> None:
        target = self.target
        self._side = self.tile or (CUDA_TILE if self.device.type == "cuda" else _CPU_TILE)
        self._buffers = threading.local()
        self._lock = threading.Lock()
        self.largest = np.zeros(0 if self.permuted is None else len(self.permuted))
        self._weights = torch.from_numpy(target.y * target.scale[:, None]).float().to(self.device)
        self._permuted = None if self.permuted is None else torch.from_numpy(self.permuted).float().to(self.device)
        # A class contrast is one number for samples of the class and one for all others.
        self._by_class = not target.adjusted and self.dtype == torch.float32
        if self._by_class:
            weights = target.y * target.scale[:, None]
            self._coefficients = np.stack([[row[part][0] for part in target.classes] for row in weights])
            sizes = np.array([part.stop - part.start for part in target.classes])
            self._mean_weights = torch.from_numpy(-self._coefficients * sizes).float().to(self.device)

    def run(self, top: TopPairs, pool: Executor, progress: Progress | None = None) -> None:
        """Go through all pairs; `top` keeps the strongest, :attr:`largest` the maxima under permutations."""
        features = self.features
        blocks = range(len(features.starts))
        total = sum(
            len(self._tiles(features.size(i), features.size(j), same=i == j)) for i in blocks for j in blocks[i:]
        )
        with torch.inference_mode(), (progress or SilentProgress()).task("screening pairs", total) as counter:
            for i in blocks:
                left = self._load(i)
                for j in blocks[i:]:
                    right = left if i == j else self._load(j)
                    if i == j == 0 and self._side > _FIRST and top.threshold < 0:
                        first = min(_FIRST, features.size(0))
                        self._tile(left, left, (0, first, 0, first), top)

                    def work(tile: tuple[int, int, int, int], left: _Held = left, right: _Held = right) -> None:
                        # Inference mode is one of the thread.
                        with torch.inference_mode():
                            self._tile(left, right, tile, top)

                    tiles = self._tiles(features.size(i), features.size(j), same=i == j)
                    # A card works on one tile after the other, and has room for one.
                    for _ in (pool.map if self.device.type == "cpu" else map)(work, tiles):
                        counter.advance(1)
                    del right, work

    def recheck(
        self, top: TopPairs, k: int, floor: float = -1.0
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Compute z of the kept pairs in float64 from the transformed features, and order them.

        Returns
        -------
        a, b, contrast : int64 array (at most k,)
            The contrast is the strongest one of the pair.
        z : float64 array
            Signed.
        """
        a, b, _ = top.pairs()
        wanted, place = np.unique(np.concatenate([a, b]), return_inverse=True)
        rows = self.features.rows(wanted, self.target)
        at_a, at_b = place[: len(a)], place[len(a) :]
        z, contrast = np.empty(len(a)), np.empty(len(a), dtype=np.int64)
        weights = self.target.y * self.target.scale[:, None]
        step = max(1, _RECHECK_BYTES // (8 * self.target.n_samples))
        for first, last in pieces(len(a), step):
            products = rows[at_a[first:last]].astype(np.float64)
            products *= rows[at_b[first:last]]
            # Sums of a row depend on the row alone, as those of a matrix product do not.
            of_all = np.stack([(products * row).sum(axis=1) for row in weights], axis=1)
            best = np.round(np.abs(of_all), _TIE_DIGITS).argmax(axis=1)
            contrast[first:last], z[first:last] = best, of_all[np.arange(last - first), best]
        strength = np.round(np.abs(z), _TIE_DIGITS)
        order = np.lexsort((b, a, -strength))
        order = order[np.abs(z[order]) > floor][:k]
        return a[order], b[order], contrast[order], z[order]

    def margins(self) -> dict[str, float]:
        """How far abs(z) of a tile may be from the exact one: absolute and relative to it.

        Rounding errors of n products add up to less than lambda * sqrt(n) * u * sum(abs(products)) with probability
        1 - 2 exp(-lambda^2 / 2) each (Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J
        Sci Comput 2019); the sum is at most n, and z is it over sqrt(n). In bfloat16 factors are rounded and errors of
        factors are independent: lambda * u * sqrt(3), and the result is rounded once more.
        """
        if self.dtype == torch.bfloat16:
            return {"margin": 10 * 2.0**-9 * 3**0.5, "relative": 2.0**-8}
        return {"margin": 10 * self.target.n_samples * 2.0**-24, "relative": 2.0**-20}

    def _load(self, block: int) -> _Held:
        return _Held(self.features.starts[block], self.features.load(block), self.device, self.dtype)

    def _tiles(self, n_left: int, n_right: int, *, same: bool) -> list[tuple[int, int, int, int]]:
        lefts, rights = list(pieces(n_left, self._side)), list(pieces(n_right, self._side))
        return [(*left, *right) for left in lefts for right in rights if not same or right[0] >= left[0]]

    def _tile(self, left: _Held, right: _Held, tile: tuple[int, int, int, int], top: TopPairs) -> None:
        first_a, last_a, first_b, last_b = tile
        a, b = left.part(first_a, last_a), right.part(first_b, last_b)
        start_a, start_b = left.start + first_a, right.start + first_b
        # On the diagonal the upper half is the pairs; the other one is the same again.
        diagonal = start_a == start_b
        for z in self._products(a, b):
            rows, columns, found = self._above(z, top.threshold, diagonal=diagonal)
            if len(found):
                top.add(rows + start_a, columns + start_b, found)
        if self._permuted is not None:
            self._maxima(a[0], b[0], diagonal=diagonal)

    def _products(self, a: tuple[Any, Any], b: tuple[Any, Any]) -> Iterator[Any]:
        """Tile of z of each contrast, in memory that the next one overwrites."""
        (left, left_means), (right, right_means) = a, b
        out = self._buffer("product", left.shape[0], right.shape[0])
        contrasts = range(len(self._weights))
        if not self._by_class:
            for contrast in contrasts:
                yield torch.mm(left * self._weights[contrast].to(left.dtype), right.T, out=out)
            return
        classes = self.target.classes
        if left_means is not None:
            sums = [_int_product(left[:, part], right[:, part]) for part in classes]
            together = sums[0] if len(sums) == 2 else torch.stack(sums).sum(dim=0, dtype=torch.int32)
            for contrast in contrasts:
                k, (inside, outside) = self._contrast(contrast)
                torch.mm(left_means * self._mean_weights[contrast], right_means.T, out=out)
                out.add_(together, alpha=outside)
                yield out.add_(sums[k], alpha=inside if len(sums) == 2 else inside - outside)
            return
        if len(classes) == 2:
            _, (inside, outside) = self._contrast(0)
            torch.addmm(out, left[:, classes[0]], right[:, classes[0]].T, beta=0, alpha=outside, out=out)
            yield out.addmm_(left[:, classes[1]], right[:, classes[1]].T, alpha=inside)
            return
        everything = torch.mm(left, right.T, out=self._buffer("all", left.shape[0], right.shape[0]))
        for contrast in contrasts:
            k, (inside, outside) = self._contrast(contrast)
            part = classes[k]
            alpha = inside - outside
            yield torch.addmm(everything, left[:, part], right[:, part].T, beta=outside, alpha=alpha, out=out)

    def _contrast(self, contrast: int) -> tuple[int, tuple[float, float]]:
        """Class of a contrast, and what samples in it and others count."""
        k = int(self.target.class_of[contrast])
        row = self._coefficients[contrast]
        return k, (float(row[k]), float(row[0 if k else 1]))

    def _maxima(self, left: Any, right: Any, *, diagonal: bool) -> None:
        assert self._permuted is not None
        out = self._buffer("product", left.shape[0], right.shape[0])
        largest = np.zeros(len(self._permuted))
        for number, labels in enumerate(self._permuted):
            for weights in labels:
                torch.mm(left * weights.to(left.dtype), right.T, out=out)
                if diagonal:
                    out.triu_(1)
                low, high = out.aminmax()
                largest[number] = max(largest[number], float(high), -float(low))
        with self._lock:
            np.maximum(self.largest, largest, out=self.largest)

    def _above(
        self, z: Any, threshold: float, *, diagonal: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Rows, columns and values of a tile that are above the threshold."""
        if z.device.type != "cpu" or z.dtype != torch.float32:
            above = z.abs() > threshold
            if diagonal:
                above.triu_(1)
            found = above.nonzero()
            values = z[found[:, 0], found[:, 1]].float().cpu().numpy()
            at = found.cpu().numpy()
            return at[:, 0], at[:, 1], values
        values = z.numpy()
        size = np.abs(values, out=self._buffer("size", z.shape[0], z.shape[1]).numpy())
        above = np.greater(size, threshold, out=self._buffer("above", z.shape[0], z.shape[1], torch.bool).numpy())
        found = np.flatnonzero(above)
        rows, columns = np.divmod(found, z.shape[1])
        if diagonal:
            upper = columns > rows
            rows, columns = rows[upper], columns[upper]
        return rows, columns, values[rows, columns]

    def _buffer(self, name: str, rows: int, columns: int, dtype: torch.dtype | None = None) -> Any:
        """Memory of this thread that every tile uses again: new pages cost as much as a product."""
        if dtype is None:
            dtype = self.dtype if name in ("product", "all") else torch.float32
        held = getattr(self._buffers, name, None)
        if held is None or held.numel() < rows * columns:
            held = torch.empty(rows * columns, dtype=dtype, device=self.device)
            setattr(self._buffers, name, held)
        return held[: rows * columns].view(rows, columns)


def _int_product(left: Any, right: Any) -> Any:
    return torch._int_mm(left, right.T)
