"""Blocks of samples that runs hold out, and labels that are permuted so that blocks and groups stay what they are.

Runs that hold out whole blocks, and permutations within blocks, need every class in every block and no group in two.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import check_labels
from pixfold.stream.labels import group_codes
from pixfold.util.checks import whole_number
from pixfold.util.text import counted, must_be

# Quantile bins of a quantitative target where whole groups are dealt out, and samples that a bin should have.
_MOST_BINS, _BIN_SAMPLES = 10, 2
# Draws for each permutation, before one that was drawn already is taken again.
_TRIES = 50


@dataclass(frozen=True)
class SampleBlocks:
    """A partition of samples.

    Attributes
    ----------
    blocks : int64 array (n,)
        Block of each sample: 0, 1, 2, ..., none of them empty.
    messages : list of str
        What the user should be told.
    """

    blocks: NDArray[np.int64]
    messages: list[str] = field(default_factory=list)

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return int(self.blocks.max()) + 1


@dataclass(frozen=True)
class PermutedLabels:
    """Labels, permuted several times.

    Attributes
    ----------
    labels : array (n_permutations, n_samples)
        Of the labels' type.
    messages : list of str
        What the user should be told.
    """

    labels: NDArray[Any]
    messages: list[str] = field(default_factory=list)


def sample_blocks(
    labels: NDArray[Any],
    groups: NDArray[Any] | None = None,
    *,
    n_blocks: int = 10,
    seed: int,
    class_names: Sequence[str] | None = None,
) -> SampleBlocks:
    """Part samples into blocks that are alike: of every class as many, or of a measurement the same quantiles.

    Without groups the sizes of any two blocks differ by at most one, and so do their counts of any class. With groups,
    which are never parted, scikit-learn's StratifiedGroupKFold comes as close to that as it can; with groups of very
    different sizes that is the same blocks with every seed.

    Parameters
    ----------
    labels : array (n,)
        Integers are classes, floats a measurement.
    groups : array (n,), optional
        Which samples belong together; a missing value is a group of its own.
    n_blocks : int
        Blocks at most. There are no more than the largest class has samples (or groups); a smaller class is missing
        from some of them.
    seed : int
        The same seed gives the same blocks.
    class_names : sequence of str, optional
        Names of the classes 0, 1, 2, ... for messages.

    Returns
    -------
    SampleBlocks
        ``messages`` name the classes of fewer samples or groups than there are blocks.

    Raises
    ------
    InputError
        When an argument is wrong.
    """
    whole_number(2)("sample_blocks", "n_blocks", n_blocks)
    whole_number(0)("sample_blocks", "seed", seed)
    values = _checked("sample_blocks", labels)
    rng = np.random.default_rng(seed)
    if groups is not None:
        codes = group_codes(check_labels("sample_blocks", groups, len(values), "groups"))
        if codes.max() + 1 < len(values):
            return _grouped(values, codes, n_blocks, seed, class_names)
    if values.dtype.kind == "f":
        k = max(1, min(n_blocks, len(values) // 2))
        # From the lowest values on, each k samples are dealt out to all blocks; equal ones stand in random order.
        order = np.lexsort((rng.random(len(values)), values))
        dealt = np.concatenate([rng.permutation(k) for _ in range(0, len(values), k)])[: len(values)]
        return SampleBlocks(_assigned(order, dealt), _one_block(k))
    classes, codes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    k = _count(sizes, n_blocks)
    # One round through all classes, each in random order: what is left over of one goes on with the next.
    order = np.lexsort((rng.random(len(values)), codes))
    dealt = rng.permutation(k)[np.arange(len(values)) % k]
    small = {_name(classes[i], class_names): int(sizes[i]) for i in np.flatnonzero(sizes < k)}
    return SampleBlocks(_assigned(order, dealt), [*_one_block(k), *_small(small, k, "sample")])


def permuted_labels(
    labels: NDArray[Any],
    blocks: NDArray[np.integer[Any]],
    groups: NDArray[Any] | None = None,
    *,
    n: int,
    seed: int,
) -> PermutedLabels:
    """Permute labels within blocks, as they could have come if they said nothing about the samples.

    Every permutation has in every block as many samples (or groups) of each class as there are: runs that hold out
    blocks then see labels that are as balanced as the true ones. Without that, what the training samples have too much
    of, the held-out ones have too little of, and every permutation looks worse than the truth.

    With groups, what belongs together stays together: a group of one label gets that of another such group as a whole,
    and labels that differ within a group are permuted within it. Groups exchange labels with those of about their size
    (up to a factor of two) in their block; where that gives too few different permutations, with any in their block.

    Parameters
    ----------
    labels : array (n_samples,)
        Classes or a measurement.
    blocks : integer array (n_samples,)
        See :func:`sample_blocks`.
    groups : array (n_samples,), optional
        Which samples belong together; a missing value is a group of its own.
    n : int
        Permutations.
    seed : int
        The same seed gives the same permutations.

    Returns
    -------
    PermutedLabels
        All different from each other and from the labels as they are. Where there are fewer than ``n`` of them, all
        there are, and ``messages`` says so.

    Raises
    ------
    InputError
        When an argument is wrong.
    """
    whole_number(1)("permuted_labels", "n", n)
    whole_number(0)("permuted_labels", "seed", seed)
    values = _checked("permuted_labels", labels)
    of_block = check_labels("permuted_labels", blocks, len(values), "blocks")
    if of_block.dtype.kind not in "iu":
        raise InputError(must_be("permuted_labels", "blocks", "integers", of_block))
    of_group = np.arange(len(values), dtype=np.int64)
    if groups is not None:
        of_group = group_codes(check_labels("permuted_labels", groups, len(values), "groups"))
    known, codes = np.unique(values, return_inverse=True)
    units = _Units(codes, of_block, of_group)
    messages: list[str] = []
    strata = units.strata(n)
    drawn = _drawn(units.labels, strata, n, np.random.default_rng(seed), messages)
    return PermutedLabels(known[drawn[:, units.of_sample]], messages)


class _Units:
    """What gets a label as a whole: groups of one label, and samples of the others.

    Attributes
    ----------
    labels : int64 array (n_units,)
        Their labels.
    of_sample : int64 array (n_samples,)
        The unit of each sample.
    """

    def __init__(self, labels: NDArray[np.int64], blocks: NDArray[np.integer[Any]], groups: NDArray[np.int64]) -> None:
        n_groups = int(groups.max()) + 1
        low, high = np.full(n_groups, labels.max()), np.zeros(n_groups, dtype=np.int64)
        np.minimum.at(low, groups, labels)
        np.maximum.at(high, groups, labels)
        varies = (low != high)[groups]
        keys = np.where(varies, n_groups + np.arange(len(labels)), groups)
        _, first, self.of_sample, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        self.labels = labels[first]
        self._grouped = n_groups < len(labels)
        self._within = np.where(varies, groups, -1)[first]  # the group that a unit stays in
        self._blocks = np.unique(blocks, return_inverse=True)[1][first]
        self._sizes = np.floor(np.log2(sizes)).astype(np.int64)

    def strata(self, n: int) -> NDArray[np.int64]:
        """Units that exchange labels have one number: never those of two blocks."""
        none = np.zeros_like(self._blocks)
        # Samples by themselves never leave their block, nor the group that they share with other labels.
        stays, best = self._within >= 0, -1.0
        strata = np.empty(0, dtype=np.int64)
        for sizes in (self._sizes, none) if self._grouped else (none,):
            key = np.stack([self._within, np.where(stays, 0, self._blocks), np.where(stays, 0, sizes)])
            tried = np.unique(key, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)
            # Groups of other sizes only where that gives more permutations, by more than rounding.
            if (there := _log_arrangements(self.labels, tried)) > best + 1e-6:
                best, strata = there, tried
            if best > math.log(2 * n):
                break
        return strata


def _checked(op: str, labels: Any) -> NDArray[Any]:
    values = check_labels(op, labels, len(labels) if hasattr(labels, "__len__") else 0)
    if (
        not len(values)
        or values.dtype.kind not in "iuf"
        or (values.dtype.kind == "f" and not np.isfinite(values).all())
    ):
        raise InputError(must_be(op, "labels", "integers (classes) or finite floats, at least one", values))
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int64, copy=False)


def _grouped(
    values: NDArray[Any], groups: NDArray[np.int64], n_blocks: int, seed: int, class_names: Sequence[str] | None
) -> SampleBlocks:
    from sklearn.model_selection import StratifiedGroupKFold

    n_groups = int(groups.max()) + 1
    is_number = values.dtype.kind == "f"
    if is_number:
        n_bins = max(1, min(_MOST_BINS, len(values) // _BIN_SAMPLES))
        values = np.searchsorted(np.quantile(values, np.arange(1, n_bins) / n_bins), values, side="right")
    classes, codes = np.unique(values, return_inverse=True)
    # Groups that each class is in.
    pairs = np.unique(np.stack([codes, groups]), axis=1)
    sizes = np.bincount(pairs[0], minlength=len(classes))
    k = min(n_blocks, n_groups) if is_number else _count(sizes, n_blocks)
    # scikit-learn refuses more blocks than its largest class has samples.
    k = min(k, n_groups, int(np.bincount(codes).max()))
    if k < 2:
        return SampleBlocks(np.zeros(len(values), dtype=np.int64), _one_block(1))
    blocks = np.empty(len(values), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes smaller than k: our own message names them
        folds = StratifiedGroupKFold(k, shuffle=True, random_state=seed % 2**32)
        for block, (_, held) in enumerate(folds.split(codes, codes, groups)):
            blocks[held] = block
    # Groups of very uneven sizes may leave a block empty.
    blocks = np.unique(blocks, return_inverse=True)[1].astype(np.int64)
    k = int(blocks.max()) + 1
    small = {} if is_number else {_name(classes[i], class_names): int(sizes[i]) for i in np.flatnonzero(sizes < k)}
    return SampleBlocks(blocks, [*_one_block(k), *_small(small, k, "group")])


def _count(sizes: NDArray[np.integer[Any]], n_blocks: int) -> int:
    """Blocks of classes of these many samples or groups: a small class does not make the others coarse."""
    return max(1, int(min(n_blocks, sizes.max())))


def _assigned(order: NDArray[np.int64], dealt: NDArray[np.int64]) -> NDArray[np.int64]:
    blocks = np.empty(len(order), dtype=np.int64)
    blocks[order] = dealt
    return blocks


def _one_block(k: int) -> list[str]:
    return (
        [] if k > 1 else ["no two samples or groups of one class: all samples are in one block, none can be held out"]
    )


def _small(small: dict[str, int], k: int, unit: str) -> list[str]:
    """Name the classes that are not in every block."""
    if not small or k < 2:
        return []
    named = ", ".join(f"{name!r} ({counted(size, unit)})" for name, size in list(small.items())[:5])
    more = f" and {len(small) - 5:,} more" if len(small) > 5 else ""
    is_alone = any(size == 1 for size in small.values())
    return [
        f"{'1 class has' if len(small) == 1 else f'{len(small):,} classes have'} fewer {unit}s than the {k} blocks of "
        f"samples: {named}{more}; some blocks have none of {'it' if len(small) == 1 else 'them'}"
        + (f", and one of a single {unit} is never both learned and tested" if is_alone else "")
    ]


def _name(code: Any, class_names: Sequence[str] | None) -> str:
    return str(class_names[int(code)]) if class_names is not None else str(code)


def _log_arrangements(labels: NDArray[np.int64], strata: NDArray[np.int64]) -> float:
    """Logarithm of the number of ways that labels can stand within strata: one multinomial coefficient each."""
    pairs = np.unique(np.stack([strata, labels]), axis=1, return_counts=True)[1]
    lengths = np.bincount(strata)
    return math.fsum(map(math.lgamma, lengths + 1.0)) - math.fsum(map(math.lgamma, pairs + 1.0))


def _drawn(
    labels: NDArray[np.int64], strata: NDArray[np.int64], n: int, rng: np.random.Generator, messages: list[str]
) -> NDArray[np.int64]:
    """Draw permutations within strata; those that came already, and the labels as they are, are drawn again."""
    places = np.argsort(strata, kind="stable")
    seen = {labels.tobytes()}
    # Others than the labels as they are.
    most = min(n, max(round(math.exp(min(_log_arrangements(labels, strata), 50.0))) - 1, 0))
    result = np.empty((most, len(labels)), dtype=np.int64)
    row = tries = 0
    while row < most and tries < _TRIES * (most + 1):
        tries += 1
        result[row, places] = labels[np.lexsort((rng.random(len(labels)), strata))]
        if (key := result[row].tobytes()) not in seen:
            seen.add(key)
            row += 1
    if row < n:
        messages.append(
            f"the labels can be permuted in {row:,} other ways only, within blocks and groups: a p-value cannot be "
            f"below {1 / (row + 1):.2g}"
        )
    return result[:row]
