"""Features that were made from the label, or count the samples: found before anything is learned, in one pass."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.entry import cpu_samples
from pixfold.ops.stats import ColumnStats, stats_of
from pixfold.sources.base import Source, as_values
from pixfold.stream.blocks import blocks
from pixfold.util.progress import Progress
from pixfold.util.text import counted, listed

# What comes about by chance less often than this is said.
SURPRISING = 1e-3
# Classes whose ranges of values are kept: those of the most samples. Each takes 24 bytes per feature.
_CLASSES_KEPT = 8
# Nearly no feature rises through so many samples by chance: the others need not be looked at any more.
_FIRST_ROWS = 4
# Statistics of each feature, and merging them.
_BYTES_PER_FEATURE = 160
# Names that an option to paste holds.
_MOST_PASTED = 20
# Of fewer samples whole numbers without gaps are no surprise.
_LEAST_NUMBERED = 20
# Relative difference of steps that are the same but for rounding.
_SAME_STEP = 1e-5


def leaks(
    source: Source,
    rows: NDArray[np.int64],
    labels: NDArray[Any] | None,
    *,
    keep: NDArray[np.bool_] | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Find features that were made from the label or count the samples, in one pass over the values.

    A feature alone tells classes apart where their ranges of values do not overlap. With few samples and very many
    features some do by chance, and are not named: n samples of k classes of n1, n2, ... samples stand in such an order
    with a probability of k! n1! n2! ... / n!, and that times the number of features must be below 0.001.

    Parameters
    ----------
    source : Source
        Where values are read from.
    rows : int64 array (n,)
        Samples that are used, sorted.
    labels : array (n,), or None
        Their classes (integers), or a measurement (floats).
    keep : bool array (n_features,), optional
        Features that are used.
    memory, progress
        See :func:`messages_of_data`.
    """
    kept = np.ones(source.n_features, dtype=bool) if keep is None else keep
    n_kept = int(np.count_nonzero(kept))
    is_class = labels is not None and labels.dtype.kind in "iu"
    ranges = _Ranges(labels, source.n_features) if labels is not None and is_class else None
    copies = _Copies(labels, kept) if labels is not None and not is_class else None
    counting, numbered = _Counting(kept), _Numbered(kept)
    read = blocks(
        source,
        None if len(rows) == source.n_samples else rows,
        memory=memory,
        fixed=source.n_features * (_BYTES_PER_FEATURE + (0 if ranges is None else ranges.bytes_per_feature)),
        op="leaks",
        progress=progress,
        task="looking for leaks",
    )
    start = 0
    for block in read():
        stop = start + block.shape[0]
        for one in (counting, copies):
            if one is not None:
                one.add(block, start)
        stats = None if ranges is None else ranges.add(block, start)
        numbered.add(stats_of(cpu_samples("leaks", block)) if stats is None else stats)
        start = stop
        del block
    messages, said = counting.messages(source.feature_names, len(rows))
    found = numbered.found(read, len(rows), said)
    if len(found):
        names = [source.feature_names[at] for at in found.tolist()]
        messages.append(
            f"{_have(names, 'consecutive numbers, each once', 'holds', 'hold')} ({listed(names)}): {_it(names)} may be "
            f"{_verb(names, 'an identifier', 'identifiers')} of samples; leave {_it(names)} out: {_drop(names)}"
        )
        said = np.concatenate([said, found])
    if copies is not None:
        messages += copies.messages(source.feature_names)
    if ranges is not None:
        others = kept.copy()
        others[said] = False
        messages += ranges.messages(source.feature_names, others, n_kept)
    return messages


class _Ranges:
    """Smallest and largest value of each feature in each of the largest classes."""

    def __init__(self, labels: NDArray[np.integer[Any]], n_features: int) -> None:
        classes, sizes = np.unique(labels, return_counts=True)
        self._classes = classes[np.argsort(-sizes, kind="stable")[:_CLASSES_KEPT]]
        self._n_classes = len(classes)
        self._labels = labels
        shape = (len(self._classes), n_features)
        self._count = np.zeros(shape, dtype=np.int64)
        self._min, self._max = np.full(shape, np.inf), np.full(shape, -np.inf)
        self.bytes_per_feature = 24 * len(self._classes) + 80

    def add(self, block: Any, start: int) -> ColumnStats | None:
        """Take samples; return the statistics of all of them, or None where some are in none of the classes."""
        labels, of_all = self._labels[start : start + block.shape[0]], None
        for i, code in enumerate(self._classes):
            of_class = np.flatnonzero(labels == code)
            if len(of_class):
                stats = stats_of(cpu_samples("leaks", block[of_class]))
                self._count[i] += stats.count
                np.fmin(self._min[i], stats.min, out=self._min[i])
                np.fmax(self._max[i], stats.max, out=self._max[i])
                of_all = stats if of_all is None else of_all.merge(stats)
        return of_all if self._n_classes == len(self._classes) else None

    def messages(self, names: Sequence[str], kept: NDArray[np.bool_], n_features: int) -> list[str]:
        if self._n_classes < 2:
            return []
        order = np.argsort(self._min, axis=0)
        low, high = np.take_along_axis(self._min, order, axis=0), np.take_along_axis(self._max, order, axis=0)
        apart = kept & (self._count > 0).all(axis=0) & (high[:-1] < low[1:]).all(axis=0)
        copies, tell = list[str](), list[str]()
        for at in np.flatnonzero(apart).tolist():
            counts = self._count[:, at]
            # k! n1! n2! ... / n!
            chance = math.lgamma(len(counts) + 1) - math.lgamma(float(counts.sum()) + 1)
            chance += math.fsum(math.lgamma(float(count) + 1) for count in counts)
            if chance + math.log(max(1, n_features)) < math.log(SURPRISING):
                is_copy = bool((self._min[:, at] == self._max[:, at]).all())
                (copies if is_copy else tell).append(names[at])
        which = "" if self._n_classes == len(self._classes) else f" (the {len(self._classes)} largest ones)"
        messages = []
        if copies:
            messages.append(
                f"{_have(copies, 'one value in each class', 'has', 'have')}{which} and may be the label itself "
                f"({listed(copies)}); if so, leave {_it(copies)} out: "
                f"{_drop(copies)}"
            )
        if tell:
            messages.append(
                f"{counted(len(tell), 'feature')} alone {_verb(tell, 'tells', 'tell')} the classes apart{which} "
                f"({listed(tell)}); if {_verb(tell, 'it was', 'they were')} made from the label, leave {_it(tell)} "
                f"out: {_drop(tell)}"
            )
        return messages


class _Counting:
    """Features that rise, or fall, from each sample to the next: running numbers and identifiers."""

    def __init__(self, kept: NDArray[np.bool_]) -> None:
        self._alive = np.flatnonzero(kept)
        self._last: NDArray[np.float64] | None = None
        self._step = np.zeros(0)
        self._even = np.zeros(0, dtype=bool)
        self._whole = np.zeros(0, dtype=bool)

    def add(self, block: Any, start: int) -> None:
        # After a few samples nearly no feature is left, so that only these samples are ever made dense as a whole.
        for part in (block[:_FIRST_ROWS], block[_FIRST_ROWS:]) if start == 0 else (block,):
            if part.shape[0] and len(self._alive):
                self._add(_columns(part, self._alive))

    def _add(self, values: NDArray[np.float64]) -> None:
        if self._last is None:
            self._last, values = values[0], values[1:]
            self._even = np.ones(len(self._alive), dtype=bool)
            self._whole = self._last == np.floor(self._last)
            self._step = values[0] - self._last if len(values) else np.zeros(len(self._alive))
        if not len(values):
            return
        steps = np.diff(values, axis=0, prepend=self._last[None])
        if not self._step.any():
            self._step = steps[0]
        rises = ((steps > 0) & (self._step > 0)).all(axis=0) | ((steps < 0) & (self._step < 0)).all(axis=0)
        even = self._even & (np.abs(steps - self._step) <= _SAME_STEP * np.abs(self._step)).all(axis=0)
        whole = self._whole & (values == np.floor(values)).all(axis=0)
        stay = rises & (even | whole)
        self._alive, self._last, self._step = self._alive[stay], values[-1, stay], self._step[stay]
        self._even, self._whole = even[stay], whole[stay]

    def messages(self, names: Sequence[str], n_samples: int) -> tuple[list[str], NDArray[np.int64]]:
        """Sentences, and the positions of the features that they are about."""
        # Any order is as likely: of n samples two of n! orders rise or fall all the way.
        chance = math.log(2) - math.lgamma(n_samples + 1) + math.log(max(1, len(names)))
        if not len(self._alive) or chance > math.log(SURPRISING):
            return [], np.empty(0, dtype=np.int64)
        messages = []
        for what, chosen in (("a running number", self._even), ("an identifier", ~self._even)):
            found = [names[at] for at in self._alive[chosen].tolist()]
            if found:
                looks = f"{counted(len(found), 'feature')} {_verb(found, 'looks', 'look')} like {what}"
                how = "by one step from sample to sample" if what == "a running number" else "from sample to sample"
                messages.append(
                    f"{looks}, rising or falling {how} ({listed(found)}): it says where a sample stands in the file; "
                    f"leave {_it(found)} out: {_drop(found)}"
                )
        return messages, self._alive


class _Numbered:
    """Features that hold the whole numbers from a first to a last one, each once, in any order of the samples."""

    def __init__(self, kept: NDArray[np.bool_]) -> None:
        self._kept = kept
        self._stats: ColumnStats | None = None

    def add(self, stats: ColumnStats) -> None:
        self._stats = stats if self._stats is None else self._stats.merge(stats)

    def found(self, read: Callable[[], Iterator[Any]], n: int, said: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of these features, but those that something was said of; read again where there may be some."""
        stats = self._stats
        if stats is None or n < _LEAST_NUMBERED:
            return np.empty(0, dtype=np.int64)
        with np.errstate(invalid="ignore"):
            # Numbers without a gap have this range, this mean and this sum of squares; hardly any others do.
            fits = self._kept & (stats.count == n) & (stats.max - stats.min == n - 1)
            fits &= np.isclose(stats.mean, (stats.min + stats.max) / 2, rtol=1e-9, atol=1e-6)
            fits &= np.isclose(stats.m2, n * (n * n - 1.0) / 12, rtol=1e-6)
        fits[said] = False
        maybe = np.flatnonzero(fits)[:_MOST_PASTED]
        if not len(maybe):
            return maybe
        values = np.concatenate([_columns(block, maybe) for block in read()])
        whole = np.sort(values, axis=0)
        numbered: NDArray[np.bool_] = (np.diff(whole, axis=0) == 1).all(axis=0) & (whole[0] == np.floor(whole[0]))
        return np.asarray(maybe[numbered])


class _Copies:
    """Features that are a measurement itself."""

    def __init__(self, labels: NDArray[Any], kept: NDArray[np.bool_]) -> None:
        self._labels, self._alive = labels, np.flatnonzero(kept)

    def add(self, block: Any, start: int) -> None:
        for part in (block[:_FIRST_ROWS], block[_FIRST_ROWS:]) if start == 0 else (block,):
            if part.shape[0] and len(self._alive):
                wanted = self._labels[start : start + part.shape[0], None].astype(np.float64)
                # Values may be of fewer digits than labels.
                same = np.isclose(_columns(part, self._alive), wanted, rtol=1e-6, atol=0)
                self._alive = self._alive[same.all(axis=0)]
                start += part.shape[0]

    def messages(self, names: Sequence[str]) -> list[str]:
        found = [names[at] for at in self._alive.tolist()]
        if not found or len(np.unique(self._labels)) < 2:
            return []
        return [
            f"{_have(found, 'the values of the label', 'has', 'have')} ({listed(found)}); "
            f"leave {_it(found)} out: {_drop(found)}"
        ]


def _columns(block: Any, columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Some columns of a block, dense."""
    values = as_values(block)
    picked = values if len(columns) == values.shape[1] else values[:, columns]
    return np.asarray(picked if isinstance(picked, np.ndarray) else picked.toarray(), dtype=np.float64)


def _have(names: Sequence[str], what: str, one: str, several: str) -> str:
    return f"{counted(len(names), 'feature')} {_verb(names, one, several)} {what}"


def _verb(names: Sequence[str], one: str, several: str) -> str:
    return one if len(names) == 1 else several


def _drop(names: Sequence[str]) -> str:
    """The option that leaves features out, to be pasted into a shell."""
    shown = [name for name in names[:_MOST_PASTED] if "," not in name]
    return f"--drop {shlex.quote(','.join(shown))}" + (", ..." if len(names) > len(shown) else "")


def _it(names: Sequence[str]) -> str:
    return _verb(names, "it", "them")
