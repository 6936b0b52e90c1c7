"""ImagePool: memory of images that is used again, so that it is paid for once."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pixfold.errors import InputError
from pixfold.util.text import short_repr

Array = NDArray[Any]

# Below this, malloc has memory at hand faster than a pool can look for it.
_LEAST_BYTES = 1 << 20
# Blocks come in multiples of a huge page, so that images of nearly one size share them.
_GRAIN = 2 << 20
_ALIGNMENT = 64
# A block serves images of at least half its size: a small array that lives long must not hold a large block.
_SLACK = 2


class ImagePool:
    """Memory for images, used again as soon as nothing refers to them any more.

    New memory is slow: the system clears every page when it is first written, which for a large output takes about as
    long as folding into it. A pool keeps the memory of images that are gone and hands it out for the next ones::

        pool = pixfold.ImagePool()
        for X in blocks:
            images = pixfold.fold(X, layout, normalizer, out=pool)
            ...

    From the second turn on no new memory is touched, provided that the images of an earlier turn are gone by then
    (here, those of the turn before the last: `images` still names the last ones while the next are folded).

    Memory in use is never handed out: whatever keeps an array alive (a view of it, a torch tensor or a memoryview made
    from it) keeps its memory too. Images outlive the pool without harm. A pool may be used by several threads at once;
    a forked child starts with an empty one; a copy, or a pickle, is an empty pool with the same bound.

    Parameters
    ----------
    max_bytes : int
        What the pool may hold at one time, memory in use and memory waiting together. Waiting memory is given up to
        make room, oldest first; where that is not enough, images get ordinary memory that does not come back.

    Raises
    ------
    InputError
        When `max_bytes` is not a positive integer.
    """

    max_bytes: int

    def __init__(self, max_bytes: int = 4 << 30) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int | np.integer) or max_bytes < 1:
            raise InputError(f"ImagePool: max_bytes must be a positive integer, got {short_repr(max_bytes)}")
        self.max_bytes = int(max_bytes)
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._blocks: list[_Block] = []  # the one that was handed out last stands last

    def empty(self, shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        """Give an array of any content, as numpy.empty does, C-contiguous and aligned to 64 bytes.

        Parameters
        ----------
        shape : int or sequence of int
        dtype : NumPy dtype

        Returns
        -------
        array of `shape` and `dtype`
            Arrays below 1 MiB, and those for which the pool has no room, are ordinary new ones.
        """
        sizes = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(size) for size in shape)
        element = np.dtype(dtype)
        n_bytes = math.prod(sizes) * element.itemsize
        if not _LEAST_BYTES <= n_bytes <= self.max_bytes or element.hasobject:
            return np.empty(sizes, dtype=element)
        lease = _Lease()
        if self._process != os.getpid():
            # The parent's memory would be copied page by page here, and its lock may be held by a thread that is not.
            self._start()
        with self._lock:
            block = self._block_for(n_bytes)
            if block is None:
                return np.empty(sizes, dtype=element)
            block.lease = weakref.ref(lease)
            lease.hold(block.memory[:n_bytes])
        return np.asarray(lease).view(element).reshape(sizes)

    def clear(self) -> None:
        """Give memory that is not in use back to the system."""
        with self._lock:
            self._blocks = [block for block in self._blocks if block.in_use]

    @property
    def held_bytes(self) -> int:
        """Bytes that the pool holds, in use or waiting."""
        return sum(block.memory.nbytes for block in self._blocks)

    @property
    def used_bytes(self) -> int:
        """Those of them that some array still refers to."""
        return sum(block.memory.nbytes for block in self._blocks if block.in_use)

    def _block_for(self, n_bytes: int) -> _Block | None:
        """Find or make a block that nobody uses, and let it stand last; None where there is no room for one."""
        waiting = [block for block in self._blocks if not block.in_use]
        fitting = [block for block in waiting if n_bytes <= block.memory.nbytes <= _SLACK * n_bytes]
        if fitting:
            # Of equal ones the last that was handed out: it may still be in the caches.
            block = min(reversed(fitting), key=lambda b: b.memory.nbytes)
            self._blocks.remove(block)
        else:
            capacity = min(-(-n_bytes // _GRAIN) * _GRAIN, self.max_bytes)
            for oldest in waiting:
                if self.held_bytes + capacity <= self.max_bytes:
                    break
                self._blocks.remove(oldest)
            if self.held_bytes + capacity > self.max_bytes:
                return None
            block = _Block(capacity)
        self._blocks.append(block)
        return block

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.max_bytes,)

    def __repr__(self) -> str:
        return f"ImagePool(max_bytes={self.max_bytes}, held_bytes={self.held_bytes}, used_bytes={self.used_bytes})"


class _Block:
    """Bytes of the pool, and a weak reference to what arrays of them refer to."""

    __slots__ = ("lease", "memory")

    def __init__(self, n_bytes: int) -> None:
        # numpy.empty asks the system for huge pages where the block is large (torch.empty does not).
        memory: Array = np.empty(n_bytes + _ALIGNMENT, dtype=np.uint8)
        first = -memory.ctypes.data % _ALIGNMENT
        self.memory = memory[first : first + n_bytes]
        self.lease: weakref.ref[_Lease] | None = None

    @property
    def in_use(self) -> bool:
        return self.lease is not None and self.lease() is not None


class _Lease:
    """What every array of a block refers to in the end: gone when the last of them is.

    Not an array itself, because NumPy lets a view refer past the array that it was made from to that array's base, and
    past that as long as bases are arrays.
    """

    __slots__ = ("__array_interface__", "__weakref__", "memory")

    def hold(self, memory: Array) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__
