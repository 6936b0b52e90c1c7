"""Values of features as what is multiplied: signs, normal scores or standardised values, free of main effects."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pixfold.pairs.target import Target

Transform = Literal["auto", "sign", "rank", "standard"]
TRANSFORMS = ("auto", "sign", "rank", "standard")

# A feature of which projections leave a smaller share of its variance is rounding of float32, and counts as constant.
_NOTHING = 1e-9


class Operand(NamedTuple):
    """Features that are ready to be multiplied.

    Either float32 (p, n) free of the target's basis, with `means` None; or int8 signs (p, n) and their means in each
    class, float32 (p, n_classes): then the feature is the sign less the mean of its class.
    """

    values: NDArray[Any]
    means: NDArray[np.float32] | None

    def centred(self, target: Target) -> NDArray[np.float32]:
        """Float32 (p, n), free of class means."""
        if self.means is None:
            return np.asarray(self.values)
        out = self.values.astype(np.float32)
        for number, part in enumerate(target.classes):
            out[:, part] -= self.means[:, number, None]
        return out


def operand_of(values: NDArray[np.float32], transform: str, target: Target, *, signs: bool) -> Operand:
    """Transform features.

    Parameters
    ----------
    values : float32 array (p, n)
        Samples in the target's order; NaN is missing and takes the mean of its feature. Overwritten.
    transform : {"sign", "rank", "standard"}
        ``"sign"``: above the median of its class or not, which neither the location nor the scale of a class moves.
        ``"rank"``: the normal quantile of (rank - 1/2) / n, ties at their mean rank, then freed of the target's basis
        and brought to unit variance. ``"standard"``: the same of the values themselves.
    target : Target
        The samples' classes, and what is projected out.
    signs : bool
        Whether signs stay int8.

    Returns
    -------
    Operand
        Constant features are 0, and so is what is missing before means are taken.
    """
    missing = np.isnan(values)
    gaps = bool(missing.any())
    if gaps:
        # Most blocks have none, and nanmean warns of features that have nothing else.
        count = np.maximum((~missing).sum(axis=1), 1)
        mean = np.where(missing, 0, values).sum(axis=1, dtype=np.float64) / count
        values[missing] = np.repeat(mean.astype(np.float32), missing.sum(axis=1))
    if transform == "sign":
        if target.adjusted:
            values = _projected(_unit(values), target.basis)
        found = _signs(values, missing if gaps else None, target)
        if signs:
            return found
        out = found.centred(target)
        return Operand(_projected(out, target.basis) if target.adjusted else out, None)
    if transform == "rank":
        values = normal_scores(values)
    else:
        values = _unit(values)
    if gaps:
        values[missing] = 0
    left = _projected(values, target.basis) if target.adjusted else _without_class_means(values, target)
    return Operand(_unit(left), None)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre features and bring them to unit variance; constant ones become 0."""
    mean = values.mean(axis=1, dtype=np.float64, keepdims=True)
    centred = values - mean.astype(np.float32)
    # The rounding of the mean stays in every sample.
    centred -= centred.mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)
    largest = np.abs(centred).max(axis=1, keepdims=True)
    centred /= np.where(largest > 0, largest, 1)  # squares of large values must not overflow
    spread = np.sqrt((centred**2).mean(axis=1, dtype=np.float64, keepdims=True))
    scaled: NDArray[np.float32] = centred / np.where(spread > 0, spread, 1).astype(np.float32)
    scaled[(largest <= 1e-6 * np.abs(mean)).ravel()] = 0
    return scaled


def _projected(values: NDArray[np.float32], basis: NDArray[np.float64]) -> NDArray[np.float32]:
    """Take the basis out of features; those of which nothing is left become 0."""
    q = torch.from_numpy(basis.astype(np.float32))
    x = torch.from_numpy(values)
    before = (x * x).sum(dim=1)
    x = x - (x @ q) @ q.T
    x = x - (x @ q) @ q.T  # twice is enough: what is left is orthogonal to float32's rounding
    x[(x * x).sum(dim=1) <= _NOTHING * before] = 0
    return np.asarray(x.numpy())


def _without_class_means(values: NDArray[np.float32], target: Target) -> NDArray[np.float32]:
    """Centre features within classes; those that are constant there become 0."""
    before = (values**2).sum(axis=1)
    for part in target.classes:
        values[:, part] -= values[:, part].mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)
    values[(values**2).sum(axis=1) <= _NOTHING * before] = 0
    return values


def _signs(values: NDArray[np.float32], missing: NDArray[np.bool_] | None, target: Target) -> Operand:
    """Signs at the median of each class, and their means there.

    Where samples share the median, they go to the side that makes the halves more equal.
    """
    signs = np.empty(values.shape, dtype=np.int8)
    means = np.empty((len(values), len(target.classes)), dtype=np.float32)
    for number, part in enumerate(target.classes):
        of_class = values[:, part]
        n = of_class.shape[1]
        middle = (n - 1) // 2
        cut = np.partition(of_class, middle, axis=1)[:, middle, None]
        above = of_class > cut
        upper = above.sum(axis=1)
        tied = np.flatnonzero(np.abs(2 * upper - n) > 1)  # halves cannot be more equal than by one sample
        if len(tied):
            reached = of_class[tied] >= cut[tied]
            better = np.abs(2 * reached.sum(axis=1) - n) < np.abs(2 * upper[tied] - n)
            above[tied[better]] = reached[better]
        np.subtract(2 * above.view(np.int8), 1, out=signs[:, part], dtype=np.int8)
        if missing is not None:
            signs[:, part][missing[:, part]] = 0
        means[:, number] = signs[:, part].sum(axis=1, dtype=np.int64) / n
    return Operand(signs, means)


def normal_scores(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rank-based inverse normal scores of features (p, n): the normal quantile of (rank - 1/2) / n, ties averaged."""
    p, n = values.shape
    order = np.argsort(values, axis=1)
    ranked = np.take_along_axis(values, order, axis=1)
    new = np.ones((p, n), dtype=bool)
    np.not_equal(ranked[:, 1:], ranked[:, :-1], out=new[:, 1:])
    place = np.arange(n, dtype=np.int32)
    first = np.maximum.accumulate(np.where(new, place, np.int32(0)), axis=1)
    ends = np.ones((p, n), dtype=bool)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, np.int32(n))[:, ::-1], axis=1)[:, ::-1]
    # The mean rank of a tie is a multiple of a half: one quantile for each.
    halves = torch.arange(2 * n - 1, dtype=torch.float64)
    quantiles = torch.special.ndtri((halves / 2 + 0.5) / n).float().numpy()
    scores = np.empty((p, n), dtype=np.float32)
    np.put_along_axis(scores, order, quantiles[first + last], axis=1)
    return scores
