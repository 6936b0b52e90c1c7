"""From what was learned to the formula: shift, scale and fill of each feature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixfold.arrays.dense import Dense
from pixfold.formula import Formula
from pixfold.normalize.learned import Learned
from pixfold.normalize.recipe import Recipe
from pixfold.ops.stats import stats_of

Float64Array = NDArray[np.float64]


def formula_of(recipe: Recipe, learned: Learned, feature_names: Sequence[str] | None) -> Formula:
    """Derive the formula of a recipe from statistics."""
    stats = learned.raw if learned.transformed is None else learned.transformed
    assert stats is not None
    n = stats.count.size
    offset = learned.lifts() if recipe.lifts else np.zeros(n)
    low, high = stats.min, stats.max
    if recipe.parts.log and recipe.parts.scale is not None and recipe.extremes_suffice:
        # The kernel takes these logarithms in the type in which it computes the samples: the training minimum then
        # becomes exactly 0, and the maximum 1 within the roundings of one difference, reciprocal and product.
        ends = np.stack([low, high]).astype(np.float64 if learned.in_double else np.float32)
        of_ends = stats_of(Dense(ends), True, offset, None, recipe.lifts, 0)
        low, high = of_ends.min, of_ends.max
    shift, scale = _shift_and_scale(recipe.parts.scale, low, high, stats.mean, stats.m2, stats.count)
    fill = np.zeros(n)
    if recipe.missing == "mean":
        fill = np.clip((np.nan_to_num(stats.mean) - shift) * scale, *recipe.clip)
    return formula_with(recipe, feature_names, offset=offset, shift=shift, scale=scale, fill=fill)


def mean_of(recipe: Recipe, learned: Learned, formula: Formula) -> Float64Array:
    """Normalised training mean of each feature, (n_features,); 0 where it was never seen.

    It is the mean of g(x) where that was measured, and else g of the mean of x.
    """
    stats = learned.raw if learned.transformed is None else learned.transformed
    assert stats is not None
    mean = np.nan_to_num(stats.mean)
    if recipe.parts.log and learned.transformed is None:
        mean = np.log1p(np.maximum(mean + formula.offset, 0.0))
    return np.clip((mean - formula.shift) * formula.scale, *recipe.clip)


def formula_with(recipe: Recipe, feature_names: Sequence[str] | None, **arrays: Float64Array) -> Formula:
    """Complete the arrays of a formula by what its recipe says."""
    return Formula(
        log=recipe.parts.log,
        library_size=recipe.parts.library_size,
        lo=recipe.clip[0],
        hi=recipe.clip[1],
        clip_below_zero=recipe.lifts,
        missing=recipe.missing,
        negative=recipe.negative,
        accepted=recipe.accepted(feature_names),
        **arrays,
    )


def _shift_and_scale(
    kind: str | None,
    low: Float64Array,
    high: Float64Array,
    mean: Float64Array,
    m2: Float64Array,
    count: NDArray[np.int64],
) -> tuple[Float64Array, Float64Array]:
    n = low.size
    # A feature that never varies where its range counts, or that was never seen, gets scale 0 and so the value 0.
    seen, varies = count > 0, high > low
    if kind is None:
        return np.zeros(n), seen.astype(np.float64)
    if kind == "minmax":
        return np.nan_to_num(low), np.divide(1.0, high - low, out=np.zeros(n), where=varies)
    if kind == "max":
        largest = float(np.nanmax(high)) if seen.any() else 0.0
        return np.zeros(n), np.where(seen, 1.0 / largest if largest > 0 else 0.0, 0.0)
    if kind == "zscore":
        deviation = np.sqrt(m2 / np.maximum(count, 1))
    else:
        p = np.nan_to_num(mean) / 2.0
        deviation = np.sqrt(np.maximum(2.0 * p * (1.0 - p), 0.0))
    return np.nan_to_num(mean), np.divide(1.0, deviation, out=np.zeros(n), where=varies & (deviation > 0))
