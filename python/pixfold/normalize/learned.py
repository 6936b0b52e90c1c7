"""What a normaliser has learned from samples: statistics that are measured block by block and merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.dask import reduce_blocks
from pixfold.arrays.dense import computes_in_double
from pixfold.arrays.entry import Samples, samples
from pixfold.errors import InputError
from pixfold.normalize.recipe import Recipe
from pixfold.ops.formula_arguments import row_scale_to
from pixfold.ops.refusals import refuse, refuse_missing
from pixfold.ops.stats import ColumnStats, column_stats, stats_of
from pixfold.util.text import counted

Float64Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
# Takes the arrays of this process, gives those of all.
Shared = Callable[[Arrays], Iterable[Arrays]]

# Per feature: the seven statistics of eight bytes, and all that is alive while those of a block are merged into them.
_STATS_BYTES = 56
_FITTING_BYTES = 240


@dataclass(frozen=True, eq=False)
class Learned:
    """Statistics of the samples seen so far, at least one.

    Attributes
    ----------
    raw : ColumnStats or None
        Of x.
    transformed : ColumnStats or None
        Of g(x * row_scale), or g(x + offset) after a second pass.
    in_double : bool
        Whether the kernels computed any of the samples in double.
    offset : float64 array (n_features,) or None
        What a second pass added to the features.
    """

    raw: ColumnStats | None
    transformed: ColumnStats | None
    in_double: bool
    offset: Float64Array | None = None

    @property
    def counts(self) -> ColumnStats:
        """Statistics whose counts are those of x: the logarithm turns values below -1 into missing ones."""
        stats = self.transformed if self.raw is None else self.raw
        assert stats is not None
        return stats

    def lifts(self) -> Float64Array:
        """By how much each feature must be lifted for its training minimum not to be negative."""
        if self.raw is None:
            return np.zeros(self.counts.count.size)
        return np.maximum(0.0, -np.nan_to_num(self.raw.min, nan=0.0))


@dataclass(frozen=True)
class Learner:
    """How samples are measured.

    Attributes
    ----------
    op : str
        For messages.
    recipe : Recipe
        What is to be learned.
    feature_names : list of str or None
        For messages.
    keep : bool array (n_features,) or None
        Features whose values matter; None for all.
    """

    op: str
    recipe: Recipe
    feature_names: list[str] | None = None
    keep: NDArray[np.bool_] | None = None

    def learn(self, blocks: Iterable[Any], before: Learned | None = None) -> Learned | None:
        """Measure arrays of samples, and merge them into what was learned before."""
        learned = before
        for block in blocks:
            learned = self.merged(learned, self.measured(block))
            del block  # a reader waits for its memory
        return learned

    def learn_dask(self, X: Any, before: Learned | None = None) -> Learned | None:
        """As :meth:`learn`, the blocks measured by Dask."""
        return self.merged(before, reduce_blocks(self.op, X, self.measured, self.merged))

    def measured(self, block: Any) -> Learned | None:
        """Measure one array of samples: None when it has none."""
        x = samples(self.op, block)
        self._check_features(x.shape[1])
        if x.shape[0] == 0:
            return None
        parts, logarithms = self.recipe.parts, self.recipe.measures_logarithms
        row_scale = row_scale_to(parts.library_size, x)
        stats = stats_of(x, logarithms, None, row_scale, False, 0)
        plain = not logarithms and row_scale is None
        # The logarithm of values below -1 is NaN and a negative total scales to 0, so the values themselves say which
        # features are negative.
        hidden = not plain and parts.log and stats.n_negative > 0
        raw = _plain_stats(x) if hidden or self.recipe.measures_twice else stats
        # What is missing is known when all samples were seen: a feature may have no value at all.
        accepted = replace(self.recipe.accepted(self.feature_names), missing=True)
        refuse(self.op, x, raw if hidden else stats, accepted, self.keep)
        in_double = computes_in_double(x.dtype)
        if logarithms:
            return Learned(raw if self.recipe.measures_twice else None, stats, in_double)
        return Learned(stats, None, in_double)

    def merged(self, a: Learned | None, b: Learned | None) -> Learned | None:
        """Merge what was learned from two sets of samples; refuse missing values of features that also have others."""
        if a is None or b is None:
            both = a if b is None else b
        else:
            n, m = a.counts.count.size, b.counts.count.size
            if n != m:
                raise InputError(f"{self.op}: X must have {n} features, got {m}")
            both = Learned(
                _merged(a.raw, b.raw), _merged(a.transformed, b.transformed), a.in_double or b.in_double, a.offset
            )
        if both is not None and self.recipe.missing == "error":
            refuse_missing(self.op, both.counts, self.feature_names, self.keep)
        return both

    def merged_all(self, parts: Iterable[Learned | None]) -> Learned | None:
        """Merge what was learned from many sets of samples."""
        learned = None
        for part in parts:
            learned = self.merged(learned, part)
        return learned

    def lifted(self, learned: Learned, again: Iterable[Any]) -> Learned:
        """Measure logarithms in a second pass, now that it is known by how much features are lifted."""
        offset, transformed = learned.lifts(), None
        for block in again:
            x = samples(self.op, block)
            transformed = _merged(transformed, stats_of(x, True, offset, None, True, 0))
            del block, x
        return replace(learned, transformed=transformed, offset=offset)

    def lifted_dask(self, learned: Learned, X: Any) -> Learned:
        """As :meth:`lifted`, the blocks measured by Dask."""
        offset = learned.lifts()
        measure = partial(column_stats, log=True, offset=offset, clip_below_zero=True, threads=1)
        return replace(learned, transformed=reduce_blocks(self.op, X, measure, ColumnStats.merge), offset=offset)

    def needs_second_pass(self, learned: Learned) -> bool:
        """Whether negative values were met that change the mean of the logarithms by being lifted."""
        if not self.recipe.lifts or learned.raw is None or not np.any(learned.lifts() > 0):
            return False
        if self.recipe.parts.library_size is not None:
            raise InputError(
                f"{self.op}: X must not be negative where samples are scaled to a library size, got "
                f"{counted(learned.raw.n_negative, 'negative value')}"
            )
        return not self.recipe.extremes_suffice

    def _check_features(self, n: int) -> None:
        if self.feature_names is not None and len(self.feature_names) != n:
            raise InputError(f"{self.op}: feature_names must have {n} entries, got {len(self.feature_names)}")
        if self.keep is not None and self.keep.shape != (n,):
            raise InputError(f"{self.op}: keep must have shape ({n},), got {self.keep.shape}")


def fitting_bytes(recipe: Recipe, n_features: int) -> int:
    """Bytes that learning takes beside the samples: what was learned, that of a block, and merging them."""
    return n_features * (_FITTING_BYTES + (_STATS_BYTES if recipe.measures_twice else 0))


def _plain_stats(x: Samples) -> ColumnStats:
    return stats_of(x, False, None, None, False, 0)


def _merged(a: ColumnStats | None, b: ColumnStats | None) -> ColumnStats | None:
    if a is None or b is None:
        return a if b is None else b
    return a.merge(b)


def merged_stats(parts: Iterable[Learned | None]) -> ColumnStats | None:
    """Merge the statistics of g(x) alone: those of x are merged already."""
    found = None
    for part in parts:
        found = _merged(found, None if part is None else part.transformed)
    return found


def packed(learned: Learned | None) -> Arrays:
    """Give what was learned as arrays; none where nothing was."""
    if learned is None:
        return {}
    found: Arrays = {"in_double": np.array(learned.in_double)}
    for part, stats in (("raw", learned.raw), ("transformed", learned.transformed)):
        if stats is not None:
            found |= {f"{part}.{name}": np.asarray(value) for name, value in vars(stats).items()}
    return found if learned.offset is None else found | {"offset": learned.offset}


def unpacked(arrays: Arrays) -> Learned | None:
    """Read what :func:`packed` gave."""
    if not arrays:
        return None
    parts: dict[str, ColumnStats | None] = {}
    for part in ("raw", "transformed"):
        own = {name.removeprefix(f"{part}."): value for name, value in arrays.items() if name.startswith(f"{part}.")}
        values: dict[str, Any] = {name: value if value.ndim else int(value) for name, value in own.items()}
        parts[part] = ColumnStats(**values) if own else None
    return Learned(parts["raw"], parts["transformed"], bool(arrays["in_double"]), arrays.get("offset"))
