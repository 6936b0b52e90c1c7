"""The ops of this package as literal NumPy, in float64: what every kernel is compared with.

Nothing here is fast. Each function follows its formula line by line, so that a reader can check
it by eye; `fold_bound` and `stats_bound` say how far a kernel, which computes in the precision of its
contract, may be from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold.genotypes import PackedGenotypes

if TYPE_CHECKING:
    from pixfold.formula import Fitted, Formula
    from pixfold.layout import Layout

# A kernel rounds these inputs into float64; every other dtype is computed in float32.
_DOUBLE = frozenset({"float64", "int32", "int64", "uint32", "uint64"})

# Unit roundoff (half an ulp of 1) and smallest subnormal of the output dtypes.
_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_SMALLEST = {"float64": 2.0**-1074, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}


def dense(x: Any) -> NDArray[np.float64]:
    """Return x as a dense float64 matrix.

    Parameters
    ----------
    x : array_like, scipy.sparse matrix or PackedGenotypes, shape (n, F)
        Samples by features.

    Returns
    -------
    ndarray of float64, shape (n, F)
    """
    if isinstance(x, PackedGenotypes):
        return _unpacked(x)
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x).astype(np.float64)


def _unpacked(x: PackedGenotypes) -> NDArray[np.float64]:
    """Read the bits of PLINK's codes one by one: high and low bit give 0, missing, heterozygous or 3."""
    bits = np.unpackbits(np.ascontiguousarray(x.bits), axis=1, bitorder="little")[:, : 2 * x.n_features]
    low, high = bits[:, 0::2], bits[:, 1::2]
    second = np.select([(high == 0) & (low == 0), (high == 1) & (low == 0), (high == 1) & (low == 1)], [0.0, 1.0, 2.0])
    copies = 2.0 - second if x.count_first else second
    return np.where((high == 0) & (low == 1), np.nan, copies)


def row_scale(x: Any, library_size: float | None) -> NDArray[np.float64]:
    """Return the factor that brings every sample to the same sum.

    ``row_scale[i] = library_size / sum_j x[i, j]``, missing values left out of the sum, and 0 where the sum
    is 0.

    Parameters
    ----------
    x : array_like or scipy.sparse matrix, shape (n, F)
        Samples by features, before any offset.
    library_size : float or None
        The sum to reach; None leaves the samples as they are.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    matrix = dense(x)
    if library_size is None:
        return np.ones(matrix.shape[0])
    factors = np.zeros(matrix.shape[0])
    for i, sample in enumerate(matrix):
        total = np.nansum(sample)
        if total != 0.0:
            factors[i] = library_size / total
    return factors


def normalize(x: Any, normalizer: Fitted | None = None, needed: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Normalise samples, in feature order.

    ``y = clip((g((x + offset) * row_scale) - shift) * scale, lo, hi)`` with g log1p or the identity; a
    missing value becomes 0 (``missing="zero"``) or the normalised training mean ``fill``
    (``missing="mean"``).

    Parameters
    ----------
    x : array_like or scipy.sparse matrix, shape (n, F)
        Samples by features.
    normalizer : Normalizer, optional
        Fitted; None returns x.
    needed : ndarray of bool, shape (F,), optional
        The features whose values are looked at; a missing value of another one is not an error.

    Returns
    -------
    ndarray of float64, shape (n, F)

    Raises
    ------
    ValueError
        When a value is missing and the normaliser was told ``missing="error"``.
    """
    matrix = dense(x)
    if normalizer is None:
        return matrix
    p = normalizer.parameters()
    missing = np.isnan(matrix)
    looked_at = missing if needed is None else missing & needed
    if p.missing == "error" and looked_at.any():
        raise ValueError(f"fold: X has {looked_at.sum()} missing values and the normaliser has missing='error'")
    moved = matrix + p.offset
    if p.clip_below_zero:
        moved = np.maximum(moved, 0.0)
    scaled = moved * row_scale(matrix, p.library_size)[:, None]
    g = np.log1p(scaled) if p.log else scaled
    y = np.clip((g - p.shift) * p.scale, p.lo, p.hi)
    fill = p.fill if p.missing == "mean" else np.zeros(matrix.shape[1])
    return np.where(missing, fill, y)


def fold(x: Any, layout: Layout, normalizer: Fitted | None = None) -> NDArray[np.float64]:
    """Normalise samples and put every feature on its pixel.

    A pixel that several features share holds their mean; a pixel without a feature holds 0.

    Parameters
    ----------
    x : array_like or scipy.sparse matrix, shape (n, F)
        Samples by features.
    layout : Layout
        Which pixel each of the F features gets.
    normalizer : Normalizer, optional
        Fitted; None folds the values as they are.

    Returns
    -------
    ndarray of float64, shape (n, C, H, W)
    """
    return _place(normalize(x, normalizer, layout.pixel_of_feature >= 0), layout)


def fold_bound(x: Any, layout: Layout, normalizer: Fitted | None = None, dtype: str = "float32") -> NDArray[np.float64]:
    """Bound, per pixel, how far a kernel's fold may be from `fold`.

    The kernel rounds every parameter and every operation of the formula once, in float32 (float64 for float64
    and 32- or 64-bit integer x), takes log1p to 2 ulp, and rounds the result to dtype. With u the unit
    roundoff, an operation with the result r adds at most u * abs(r), an error already there passes through
    addition as it is, through multiplication times the factor, through log1p times its derivative and through
    clipping at most as it is.

    Parameters
    ----------
    x : array_like or scipy.sparse matrix, shape (n, F)
        Samples by features, in the dtype the kernel gets.
    layout : Layout
        Which pixel each of the F features gets.
    normalizer : Normalizer, optional
        Fitted; None for plain folding.
    dtype : {"float32", "float16", "bfloat16"}
        The kernel's output.

    Returns
    -------
    ndarray of float64, shape (n, C, H, W)
    """
    kind = str(x.dtype)
    y = normalize(x, normalizer, layout.pixel_of_feature >= 0)
    if normalizer is None:
        error = np.zeros_like(y)
    else:
        error = _formula_bound(dense(x), kind, normalizer.parameters())
    sharing = np.maximum(_place_count(layout), 1)
    # The mean of k values: k - 1 additions and one division (or product with a rounded 1/k) of partial sums
    # that are at most the sum of the absolute values. One value is stored as it is.
    steps = np.where(sharing > 1, sharing + 1, 0)
    size = _place(np.abs(y) + error, layout)
    inner = _place(error, layout) + steps * _compute_roundoff(kind) * size
    # Rounding to the output: half an ulp, or half the spacing of the subnormals.
    rounded = inner + _ROUNDOFF[dtype] * (size + inner) + 0.5 * _SMALLEST[dtype]
    exact = (inner == 0.0) & (size == 0.0)
    return np.where(exact, 0.0, rounded)


def fold_gradient(gradient: ArrayLike, x: Any, layout: Layout, normalizer: Fitted | None = None) -> NDArray[np.float64]:
    """Bring a gradient with respect to the images of `fold` back to the samples.

    With ``a = (x + offset) * r`` and r the row's factor, the value of feature j at pixel p, which k features
    share, moves with its own x by ``D_j = gradient_p / k * scale_j * g'(a_j)`` for every unit of ``a``; D is 0
    where x is missing, `a` was raised to 0, y was clipped, or the feature has no pixel. r moves with every x by
    ``-r / sum(x)``, so that

        out_j = D_j r - (r / sum(x)) sum_l D_l (x_l + offset_l)

    where the second term is there for a library size alone.

    Parameters
    ----------
    gradient : array_like, shape (n, C, H, W)
        With respect to the images.
    x : array_like, shape (n, F)
        The samples that were folded.
    layout : Layout
        Which pixel each of the F features has.
    normalizer : Normalizer, optional
        Fitted; None for plain folding.

    Returns
    -------
    ndarray of float64, shape (n, F)
    """
    matrix = dense(x)
    derivative, moves = _derivative(gradient, matrix, layout, normalizer)
    derivative = np.where(moves, derivative, 0.0)
    if normalizer is None:
        return derivative
    p = normalizer.parameters()
    factors = row_scale(matrix, p.library_size)
    result = derivative * factors[:, None]
    if p.library_size is not None:
        for i, sample in enumerate(matrix):
            if factors[i] != 0.0:
                lifted = np.nan_to_num(sample + p.offset)
                common = factors[i] / np.nansum(sample) * np.sum(derivative[i] * lifted)
                result[i] -= np.where(np.isnan(sample), 0.0, common)
    return result


def _derivative(
    gradient: ArrayLike, matrix: NDArray[np.float64], layout: Layout, normalizer: Fitted | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Differentiate by the argument of g, as if nothing were clipped, and say which values do move their pixel."""
    sharing = np.maximum(_place_count(layout), 1)
    arriving = unfold(np.asarray(gradient).astype(np.float64) / sharing, layout)
    moves = np.broadcast_to(layout.pixel_of_feature >= 0, matrix.shape)
    if normalizer is None:
        return arriving, moves
    p = normalizer.parameters()
    argument = (matrix + p.offset) * row_scale(matrix, p.library_size)[:, None]
    raised = np.maximum(argument, 0.0) if p.clip_below_zero else argument
    y = ((np.log1p(raised) if p.log else raised) - p.shift) * p.scale
    slope = 1.0 / (1.0 + raised) if p.log else 1.0
    clipped = (y < p.lo) | (y > p.hi) | ((argument < 0.0) & p.clip_below_zero)
    moves = moves & ~np.isnan(matrix) & ~clipped & (p.scale != 0.0)
    return np.where(np.isnan(matrix), 0.0, arriving * p.scale * slope), moves


def fold_gradient_bound(
    gradient: ArrayLike, x: Any, layout: Layout, normalizer: Fitted | None = None
) -> NDArray[np.float64]:
    """Bound, per value, how far a kernel's gradient of fold may be from `fold_gradient`.

    The kernel computes in float32 (float64 for float64 x) with unit roundoff u. D takes at most four roundings of
    its own size (the division by k, the rounded scale and its product, the division by 1 + a), one of 1 + a, and
    the error of `a` over 1 + a. The term of the library size adds D times (x + offset), each with its own error,
    in float64, and is rounded once; the factor, its product and the difference are three roundings more. Last, the
    result is rounded to the dtype of x. Where the error of y, or of the argument, reaches over a limit that the
    kernel clips at, the kernel may find the other side of it, and the whole of D is allowed.

    Parameters
    ----------
    gradient, x, layout, normalizer
        As in `fold_gradient`, x in the dtype the kernel gets.

    Returns
    -------
    ndarray of float64, shape (n, F)
    """
    kind, matrix = str(x.dtype), dense(x)
    u, u_sum = _compute_roundoff(kind), _ROUNDOFF["float64"]
    tiny = _SMALLEST["float64" if kind in _DOUBLE else "float32"]
    derivative, moves = _derivative(gradient, matrix, layout, normalizer)
    shared = unfold(_place_count(layout)[None], layout)[0] > 1
    exact = np.where(moves, np.abs(derivative), 0.0)
    if normalizer is None:
        error = exact * u * shared + tiny * shared
        return _rounded(fold_gradient(gradient, x, layout), error, kind)
    p = normalizer.parameters()
    factors = row_scale(matrix, p.library_size)
    lifted = np.nan_to_num(matrix) + p.offset
    argument = lifted * factors[:, None]
    plain = p.library_size is None and not np.any(p.offset)
    a_error = _g_bound(np.nan_to_num(matrix), kind, False, np.asarray(p.offset), factors, plain)
    relative = u * (shared + 2.0 * (p.scale != 1.0))
    if p.log:
        room = 1.0 + np.maximum(argument, 0.0) if p.clip_below_zero else 1.0 + argument
        relative = relative + 2.0 * u + a_error / (room - a_error)
    undecided = _undecided(matrix, kind, p, argument, a_error)
    error = np.where(moves | undecided, np.abs(derivative) * relative + 3.0 * tiny, 0.0)
    error = _second_order(np.where(undecided, np.abs(derivative) + error, error))
    if p.library_size is not None:
        n = matrix.shape[1]
        sizes = np.abs(lifted)
        # x + offset is rounded where there is an offset.
        terms = error * sizes + (exact + error) * sizes * 2.0 * u * np.any(p.offset)
        summed = terms.sum(axis=1) + 2.0 * (n + 4) * u_sum * ((exact + error) * sizes).sum(axis=1)
        weight = factors * factors / p.library_size
        common = np.abs((np.where(moves, derivative, 0.0) * lifted).sum(axis=1)) * weight
        common_error = _second_order(summed * weight + u * common + tiny)
        own = error * factors[:, None] + 3.0 * u * (exact + error) * factors[:, None] + tiny
        result = np.abs(exact * factors[:, None]) + common[:, None]
        error = own + common_error[:, None] + u * (result + own + common_error[:, None])
        error = _second_order(np.where(np.isnan(matrix) | (factors[:, None] == 0.0), 0.0, error))
    return _rounded(fold_gradient(gradient, x, layout, normalizer), error, kind)


def _rounded(value: NDArray[np.float64], error: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Bound an error after the last rounding, which leaves what is exactly 0 as it is."""
    last = _ROUNDOFF[kind] * (np.abs(value) + error) + 0.5 * _SMALLEST[kind]
    return np.where((value == 0.0) & (error == 0.0), 0.0, error + last)


def _undecided(
    matrix: NDArray[np.float64],
    kind: str,
    p: Formula,
    argument: NDArray[np.float64],
    a_error: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Where a kernel's rounding may decide whether a value is clipped; never at a sum of 0, which is exact."""
    raised = np.maximum(argument, 0.0) if p.clip_below_zero else argument
    y = ((np.log1p(raised) if p.log else raised) - p.shift) * p.scale
    y_error = _formula_bound(matrix, kind, p)
    near = (np.abs(y - p.lo) <= y_error) | (np.abs(y - p.hi) <= y_error)
    zero = (argument == 0.0) & (p.offset == 0.0)
    below = p.clip_below_zero & (np.abs(argument) <= a_error) & ~zero
    undecided = (near & ~(zero & (p.shift == 0.0))) | below
    return np.asarray(undecided & ~np.isnan(matrix) & (p.scale != 0.0))


def unfold(images: ArrayLike, layout: Layout) -> NDArray[np.float64]:
    """Read every feature's pixel.

    Parameters
    ----------
    images : array_like, shape (n, C, H, W)
        Of the layout's shape.
    layout : Layout
        Which pixel each of the F features has; a feature without one reads 0.

    Returns
    -------
    ndarray of float64, shape (n, F)
    """
    pixels = np.asarray(images).astype(np.float64)
    flat = pixels.reshape(pixels.shape[0], layout.n_pixels)
    values = np.zeros((flat.shape[0], layout.n_features))
    for feature, pixel in enumerate(layout.pixel_of_feature):
        if pixel >= 0:
            values[:, feature] = flat[:, pixel]
    return values


def unfold_gradient(gradient: ArrayLike, layout: Layout) -> NDArray[np.float64]:
    """Bring a gradient with respect to what `unfold` gave back to the images: the sum over each pixel's features.

    Parameters
    ----------
    gradient : array_like, shape (n, F)
    layout : Layout
        Which pixel each of the F features has.

    Returns
    -------
    ndarray of float64, shape (n, C, H, W)
    """
    values = np.asarray(gradient).astype(np.float64)
    flat = np.zeros((values.shape[0], layout.n_pixels))
    for feature, pixel in enumerate(layout.pixel_of_feature):
        if pixel >= 0:
            flat[:, pixel] += values[:, feature]
    return flat.reshape(values.shape[0], *layout.shape)


def census(x: Any) -> tuple[int, int, int]:
    """Count the missing, the infinite and the negative values of all features together.

    Parameters
    ----------
    x : array_like or scipy.sparse matrix, shape (n, F)
        Samples by features; NaN is missing.

    Returns
    -------
    tuple of int
        Missing, infinite (of either sign) and negative (-infinity, too; not -0).
    """
    matrix = dense(x)
    return int(np.isnan(matrix).sum()), int(np.isinf(matrix).sum()), int((matrix < 0.0).sum())


def column_stats(
    x: Any,
    log: bool = False,
    offset: NDArray[np.float64] | None = None,
    row_scale: NDArray[np.float64] | None = None,
) -> dict[str, NDArray[Any]]:
    """Describe every feature of ``g((x + offset) * row_scale)``.

    Parameters
    ----------
    x : array_like or scipy.sparse matrix, shape (n, F)
        Samples by features; NaN is missing.
    log : bool
        Whether g is log1p or the identity.
    offset : ndarray of float64, shape (F,), optional
        Added to each feature.
    row_scale : ndarray of float64, shape (n,), optional
        Multiplies each sample after the offset.

    Returns
    -------
    dict
        ``count`` (values present), ``missing``, ``zeros`` (x itself is 0), all int64 of shape (F,); ``min``,
        ``max``, ``mean`` (NaN where count is 0) and ``m2``, the sum of squared distances to the mean, all
        float64 of shape (F,).
    """
    matrix = dense(x)
    moved = matrix if offset is None else matrix + offset
    scaled = moved if row_scale is None else moved * np.asarray(row_scale)[:, None]
    g = np.log1p(scaled) if log else scaled
    n_features = matrix.shape[1]
    count = (~np.isnan(matrix)).sum(axis=0)
    result: dict[str, NDArray[Any]] = {
        "count": count,
        "missing": np.isnan(matrix).sum(axis=0),
        "zeros": (matrix == 0.0).sum(axis=0),
        "min": np.full(n_features, np.nan),
        "max": np.full(n_features, np.nan),
        "mean": np.full(n_features, np.nan),
        "m2": np.zeros(n_features),
    }
    for j in range(n_features):
        present = g[~np.isnan(matrix[:, j]), j]
        if present.size:
            result["min"][j] = present.min()
            result["max"][j] = present.max()
            result["mean"][j] = present.mean()
            result["m2"][j] = np.sum((present - present.mean()) ** 2)
    return result


def stats_bound(
    x: Any,
    log: bool = False,
    offset: NDArray[np.float64] | None = None,
    row_scale: NDArray[np.float64] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Bound, per feature, how far a kernel's column statistics may be from `column_stats`.

    With e the largest error of one g in the kernel's precision: min, max and mean move by at most e, and m2
    by ``2 e sum(abs(g - mean)) + n e**2 <= 2 e sqrt(n m2) + n e**2``. Sums are taken in float64, so n
    additions add at most n unit roundoffs of the largest sum.

    Parameters
    ----------
    x, log, offset, row_scale
        As in `column_stats`, x in the dtype the kernel gets.

    Returns
    -------
    dict
        ``min``, ``max``, ``mean`` and ``m2``, each float64 of shape (F,).
    """
    matrix = dense(x)
    n = matrix.shape[0]
    kind = str(x.dtype)
    stats = column_stats(x, log, offset, row_scale)
    moves = np.zeros(matrix.shape[1]) if offset is None else np.asarray(offset, dtype=np.float64)
    factors = np.ones(n) if row_scale is None else np.asarray(row_scale, dtype=np.float64)
    errors = _g_bound(matrix, kind, log, moves, factors, plain=offset is None and row_scale is None)
    present = np.where(np.isnan(errors), 0.0, errors)
    e = present.max(axis=0, initial=0.0)
    top = np.maximum(np.abs(np.nan_to_num(stats["min"])), np.abs(np.nan_to_num(stats["max"]))) + e
    u = _ROUNDOFF["float64"]
    mean = e + (n + 2) * u * top
    # A merge by parts (or Welford's update) moves m2 by the rounding of the mean as well, whence `mean` for
    # `e`. A kernel may sum the squares of a block of k <= 128 values about the first of them: they are at most
    # k + 1 times m2. It may also sum them about 0, where the first 8 values spread over an eighth of the largest of
    # them, a, or more: then m2 >= (a/8)^2 / 2, and the squares are at most k (2 a)^2 <= 512 k m2, or, where a
    # value beyond 2 a makes them larger, k times the square of a value that is at least half of it away from the
    # first ones, 8 k m2. Their rounding is 2 (k + 2) u of them, and so is that of what is subtracted.
    k = min(n, 128)
    rounding = (1024.0 * (k + 2) ** 2 + 4.0 * (n + 2) ** 2) * u
    m2 = 2.0 * mean * np.sqrt(n * stats["m2"]) + n * mean**2 + rounding * stats["m2"]
    return {"min": e, "max": e, "mean": mean, "m2": m2}


def aggregate(
    attributions: ArrayLike,
    labels: ArrayLike,
    keep: ArrayLike | None,
    layout: Layout,
    n_classes: int,
) -> dict[str, NDArray[Any]]:
    """Describe the attribution of every feature within every class.

    The channels are summed when the layout has one and the attributions have several; a pixel that k features
    share gives each of them 1/k of its attribution, so that the sum over features is the sum over pixels.

    Parameters
    ----------
    attributions : array_like, shape (B, C, H, W)
        One attribution per pixel and sample.
    labels : array_like of int, shape (B,)
        The class of each sample, 0 to n_classes - 1.
    keep : array_like of bool, shape (B,), or None
        Which samples count; None counts all of them.
    layout : Layout
        Which pixel each of the F features has; a feature without one gets 0.
    n_classes : int
        K, the number of classes.

    Returns
    -------
    dict
        ``count``, int64 of shape (K,); ``mean``, ``m2`` (sum of squared distances to the mean) and
        ``mean_abs``, float64 of shape (K, F), in feature order; all 0 for a class without samples.
    """
    pixels = np.asarray(attributions).astype(np.float64)
    if layout.channels == 1:
        pixels = pixels.sum(axis=1, keepdims=True)
    sharing = unfold(_place_count(layout)[None], layout)[0]
    values = unfold(pixels, layout) / np.maximum(sharing, 1)
    classes = np.asarray(labels)
    kept = np.ones(classes.shape[0], dtype=bool) if keep is None else np.asarray(keep, dtype=bool)
    result: dict[str, NDArray[Any]] = {
        "count": np.zeros(n_classes, dtype=np.int64),
        "mean": np.zeros((n_classes, layout.n_features)),
        "m2": np.zeros((n_classes, layout.n_features)),
        "mean_abs": np.zeros((n_classes, layout.n_features)),
    }
    for k in range(n_classes):
        chosen = values[(classes == k) & kept]
        if chosen.shape[0]:
            result["count"][k] = chosen.shape[0]
            result["mean"][k] = chosen.mean(axis=0)
            result["m2"][k] = np.sum((chosen - chosen.mean(axis=0)) ** 2, axis=0)
            result["mean_abs"][k] = np.abs(chosen).mean(axis=0)
    return result


def rank(importance: ArrayLike) -> NDArray[np.float64]:
    """Rank features, the most important first.

    The rank of a feature is the number of features above it, plus the mean of the places 1 to t that the t
    features of its own importance share.

    Parameters
    ----------
    importance : array_like, shape (F,)
        Without NaN.

    Returns
    -------
    ndarray of float64, shape (F,)
        1 is the largest importance; ties get their average rank.
    """
    values = np.asarray(importance)
    ranks = [np.sum(values > value) + (np.sum(values == value) + 1) / 2 for value in values]
    return np.array(ranks, dtype=np.float64)


def top_k(importance: ArrayLike, k: int) -> NDArray[np.int64]:
    """Select the k most important features, never part of a tie.

    Parameters
    ----------
    importance : array_like, shape (F,)
        Without NaN.
    k : int
        How many at most.

    Returns
    -------
    ndarray of int64, shape (at most k,)
        By decreasing importance, and by index within a tie. A tie that would have to be cut to stop at k is
        left out whole; when all features are equal none is selected.
    """
    values = np.asarray(importance)
    if values.size == 0 or np.all(values == values[0]):
        return np.empty(0, dtype=np.int64)
    order = sorted(range(values.size), key=lambda j: (-float(values[j]), j))
    selected = order[:k]
    if 0 < k < values.size:
        below = values[order[k]]
        selected = [j for j in selected if values[j] > below]
    return np.array(selected, dtype=np.int64)


def transpose_packed(bits: ArrayLike, n_codes: int) -> NDArray[np.uint8]:
    """Transpose packed codes of two bits.

    Parameters
    ----------
    bits : uint8 array (n_rows, ceil(n_codes / 4))
        Code j of a row is in byte ``j // 4``, bits ``2 * (j % 4)`` and the next.
    n_codes : int
        Codes of a row.

    Returns
    -------
    uint8 array (n_codes, ceil(n_rows / 4))
        Bits of no code are 0.
    """
    rows = np.asarray(bits, dtype=np.uint8)
    out = np.zeros((n_codes, -(-len(rows) // 4)), dtype=np.uint8)
    for i in range(len(rows)):
        for j in range(n_codes):
            out[j, i // 4] |= (rows[i, j // 4] >> (2 * (j % 4)) & 3) << (2 * (i % 4))
    return out


def _place(values: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Put the mean of its features on every pixel."""
    return unfold_gradient(values, layout) / np.maximum(_place_count(layout), 1)


def _place_count(layout: Layout) -> NDArray[np.int64]:
    """Count the features of every pixel."""
    count = np.zeros(layout.n_pixels, dtype=np.int64)
    for pixel in layout.pixel_of_feature:
        if pixel >= 0:
            count[pixel] += 1
    return count.reshape(layout.shape)


def _compute_roundoff(kind: str) -> float:
    return _ROUNDOFF["float64" if kind in _DOUBLE else "float32"]


def _g_bound(
    x: NDArray[np.float64],
    kind: str,
    log: bool,
    offset: NDArray[np.float64],
    factors: NDArray[np.float64],
    plain: bool,
) -> NDArray[np.float64]:
    """Bound the error of ``g((x + offset) * row_scale)``; plain says that neither is applied."""
    u = _compute_roundoff(kind)
    tiny = _SMALLEST["float64" if kind in _DOUBLE else "float32"]
    moved = x + offset
    scaled = moved * factors[:, None]
    if plain:
        before = np.zeros_like(x)
    else:
        # Rounding the offset and the sum, then the row's factor and the product; the factor itself comes from
        # a sum of F values in float64.
        moved_error = u * (np.abs(offset) * (offset != 0.0) + np.abs(moved) * (offset != 0.0))
        factor_error = 2.0 * u + x.shape[1] * _ROUNDOFF["float64"]
        applied = factors[:, None] != 1.0
        before = moved_error * np.abs(factors[:, None]) + np.where(applied, factor_error * np.abs(scaled), 0.0)
    if not log:
        return _second_order(before)
    # The derivative of log1p, where the argument may be smallest; 2 ulp are at most 4 unit roundoffs.
    slope = 1.0 / (1.0 + np.maximum(scaled - before, -0.5))
    return _second_order(before * slope + 4.0 * u * np.abs(np.log1p(np.maximum(scaled, -0.5))) + tiny)


def _formula_bound(x: NDArray[np.float64], kind: str, p: Formula) -> NDArray[np.float64]:
    """Bound the error of the whole formula, before the output is rounded."""
    u = _compute_roundoff(kind)
    tiny = _SMALLEST["float64" if kind in _DOUBLE else "float32"]
    factors = row_scale(x, p.library_size)
    moved = np.maximum(x + p.offset, 0.0) if p.clip_below_zero else x + p.offset
    scaled = moved * factors[:, None]
    g = np.log1p(scaled) if p.log else scaled
    plain = p.library_size is None and not np.any(p.offset)
    g_error = _g_bound(moved - p.offset, kind, p.log, np.asarray(p.offset), factors, plain)
    shifted = g - p.shift
    # Rounding the shift and the difference, then the scale and the product.
    shift_error = np.where(p.shift != 0.0, u * (np.abs(p.shift) + np.abs(shifted)), 0.0)
    y = shifted * p.scale
    error = (g_error + shift_error) * np.abs(p.scale) + np.where(p.scale != 1.0, 2.0 * u * np.abs(y) + tiny, 0.0)
    # A scale of 0 (a constant feature) gives exactly 0; a missing value is one rounded constant.
    error = np.where(p.scale == 0.0, 0.0, _second_order(error))
    fill = np.abs(p.fill) * u if p.missing == "mean" else np.zeros(x.shape[1])
    return np.where(np.isnan(x), fill, error)


def _second_order(bound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make room for products of errors: with fewer than ten roundings they are below 1e-4 of the sum."""
    return bound * 1.0001
