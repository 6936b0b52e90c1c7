"""Train, validation and test samples, drawn class by class.

Of our own because of small classes: scikit-learn's stratified splits refuse a class of one sample, and may leave a
part without any sample of a class of five.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.learn.sample_blocks import sample_blocks
from pixfold.sources.base import check_labels
from pixfold.util.checks import whole_number
from pixfold.util.text import counted, must_be


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of the samples: sorted positions into ``Prepared.rows``, int64."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    messages: list[str] = field(default_factory=list)


def split(
    n_samples: int,
    labels: NDArray[np.integer[Any]] | None = None,
    *,
    fractions: Sequence[float] = (0.60, 0.15, 0.25),
    seed: int,
    class_names: Sequence[str] | None = None,
) -> Split:
    """Draw the train, validation and test samples, class by class.

    Each class is divided in the asked fractions, by largest remainder; what rounding takes from a part in one
    class is made up in the next, so that the totals come close too. A class of three samples or more has at
    least one in each part; one of two has them in train and test, one of a single sample in train.

    Parameters
    ----------
    n_samples : int
        Samples to divide, at least 3.
    labels : ndarray of int64, shape (n_samples,), optional
        Classes; without them samples are drawn at random.
    fractions : three numbers
        Of train, validation and test; positive, sum 1.
    seed : int
        The same seed gives the same split.
    class_names : sequence of str, optional
        Names of the classes, for the messages.

    Returns
    -------
    Split
        ``messages`` names in one sentence the classes that are too small for the fractions.

    Raises
    ------
    InputError
        When an argument is wrong, or there are too few samples for three parts.
    """
    check_fractions("split", "fractions", fractions)
    whole_number(0)("split", "seed", seed)
    shares = np.asarray(fractions, dtype=np.float64)
    if n_samples < 3:
        raise InputError(
            "split: n_samples must be 3 or more for train, validation and test, "
            f"got {n_samples} (n_samples={n_samples})"
        )
    if labels is None:
        codes = np.zeros(n_samples, dtype=np.int64)
    else:
        codes = check_labels("split", labels, n_samples)
        if codes.dtype.kind not in "iu" or codes.min() < 0:
            raise InputError(must_be("split", "labels", "integers 0, 1, 2, ...", codes))
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    small: list[tuple[str, int]] = []
    owed = np.zeros(3)
    for code in np.unique(codes):
        members = rng.permutation(np.flatnonzero(codes == code))
        sizes = _sizes(len(members), shares, owed)
        for part, chunk in zip(parts, np.split(members, np.cumsum(sizes)[:-1]), strict=True):
            part.append(chunk)
        if len(members) * shares.min() < 1:
            small.append((str(class_names[code]) if class_names is not None else str(code), len(members)))
    train, validation, test = (np.sort(np.concatenate(part)).astype(np.int64) for part in parts)
    if not (len(train) and len(validation) and len(test)):
        raise InputError(
            f"split: one class must have 3 samples or more for train, validation and test, got {n_samples} samples "
            "in classes of at most 2"
        )
    return Split(train, validation, test, _small_classes(small, shares) if labels is not None else [])


def split_groups(
    labels: NDArray[np.integer[Any]],
    groups: NDArray[np.int64],
    *,
    fractions: Sequence[float] = (0.60, 0.15, 0.25),
    seed: int,
    class_names: Sequence[str] | None = None,
) -> Split:
    """Draw train, validation and test samples so that no group is in two of them.

    Parameters
    ----------
    labels, fractions, seed, class_names
        As for :func:`split`.
    groups : int64 array (n_samples,)
        Which samples belong together.

    Returns
    -------
    Split
        Of whole blocks of groups, so the fractions are met as closely as the groups allow.

    Raises
    ------
    InputError
        When an argument is wrong, or there are too few groups for three parts.
    """
    check_fractions("split", "fractions", fractions)
    parted = sample_blocks(labels, groups, n_blocks=20, seed=seed, class_names=class_names)
    k = parted.n_blocks
    if k < 3:
        raise InputError(f"split: groups must be 3 or more for train, validation and test, got {k} that can be parted")
    validation, test = (max(1, round(share * k)) for share in fractions[1:])
    if validation + test >= k:
        validation = test = 1
    order = np.random.default_rng([seed, 1]).permutation(k)
    part = np.empty(k, dtype=np.int64)
    part[order] = np.repeat([1, 2, 0], [validation, test, k - validation - test])
    of_sample = part[parted.blocks]
    train, held, tested = (np.flatnonzero(of_sample == number).astype(np.int64) for number in range(3))
    return Split(train, held, tested, parted.messages)


def check_fractions(op: str, name: str, value: Any) -> None:
    """Raise InputError unless a value is the fractions of three parts."""
    try:
        shares = [float(share) for share in value]
    except (TypeError, ValueError):
        shares = []
    # abs_tol: 0.6 + 0.15 + 0.25 is 1 to within rounding, and so is what a user types with six digits
    if len(shares) != 3 or not min(shares) > 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        expected = "three positive numbers (train, validation, test) of sum 1"
        raise InputError(must_be(op, name, expected, value))


def _sizes(n: int, shares: NDArray[np.float64], owed: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sizes of the three parts of a class of ``n``; ``owed`` carries what rounding left to the next class."""
    if n < 3:
        return np.array([1, 0, n - 1], dtype=np.int64)
    exact = n * shares
    sizes = np.floor(exact).astype(np.int64)
    remainder = exact - sizes + owed
    for _ in range(n - int(sizes.sum())):
        part = int(np.argmax(remainder))
        sizes[part] += 1
        remainder[part] -= 1
    for empty in np.flatnonzero(sizes == 0):
        sizes[np.argmax(sizes)] -= 1
        sizes[empty] = 1
    owed[:] = np.clip(owed + exact - sizes, -1, 1)
    return np.asarray(sizes, dtype=np.int64)


def _small_classes(small: list[tuple[str, int]], shares: NDArray[np.float64]) -> list[str]:
    if not small:
        return []
    sizes = [size for _, size in small]
    outcomes = (
        (max(sizes) >= 3, "a class of three or more has at least one sample in each part"),
        (2 in sizes, "two samples are one in train and one in test"),
        (1 in sizes, "a single sample is in train"),
    )
    named = ", ".join(f"{name!r} ({counted(size, 'sample')})" for name, size in small)
    percent = " / ".join(f"{100 * share:g}" for share in shares)
    return [
        f"{'1 class is' if len(small) == 1 else f'{len(small):,} classes are'} too small to be divided "
        f"{percent} %: {named}; {'; '.join(text for happened, text in outcomes if happened)}"
    ]
