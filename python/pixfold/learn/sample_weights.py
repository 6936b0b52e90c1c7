"""Weights of samples: how much each of them counts in what is learned and in the evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.learn.options import JobOptions
from pixfold.sources.base import Source, check_labels
from pixfold.sources.selected import Selected
from pixfold.util.text import counted, must_be

Floats = NDArray[np.float64]

# What a job with weights says of itself.
UNWEIGHTED = (
    "samples were weighted in training and evidence; scores, the tests beside them, normaliser and figures count every "
    "sample once"
)


def check_weights(op: str, weights: Any, n_samples: int, options: JobOptions) -> Floats:
    """Check weights of samples, and that what was asked for can honour them.

    Parameters
    ----------
    op : str
        Who asks, for messages.
    weights : array (n_samples,)
        As they came.
    n_samples : int
        Number of samples.
    options : JobOptions
        What is to be done.

    Returns
    -------
    float64 array (n_samples,)

    Raises
    ------
    InputError
        For weights that are no finite numbers of 0 or more, all of them 0 or of another number of samples; for options
        that count every sample alike.
    """
    for name, allowed, why in (
        ("method", (None,), "attributions of a method count every sample alike"),
        ("pair_screen", (None, False), "the screen of pairs counts every sample alike"),
    ):
        if (chosen := getattr(options, name)) not in allowed:
            raise InputError(f"{op}: {name} must be {allowed[-1]} with sample_weight, got {chosen!r}: {why}")
    given = check_labels(op, weights, n_samples, "sample_weight")
    wanted = "finite numbers of 0 or more, not all of them zero"
    try:
        found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(must_be(op, "sample_weight", wanted, given)) from error
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if len(wrong):
        raise InputError(f"{op}: sample_weight must be {wanted}, got {found[wrong[0]]} for sample {wrong[0]:,}")
    if not found.any():
        raise InputError(f"{op}: sample_weight must be {wanted}, got 0 for all {n_samples:,} samples")
    return found


def weighted_samples(source: Source, weights: Floats) -> tuple[Source, Floats]:
    """Leave out the samples of weight 0: they are treated as if they were not there."""
    rows = np.flatnonzero(weights > 0)
    if len(rows) == len(weights):
        return source, weights
    said = f"{counted(len(weights) - len(rows), 'sample')} of weight 0 left out"
    return Selected(source, rows=rows, messages=[said]), weights[rows]


def relative(weights: Floats) -> Floats | None:
    """Divide weights by their mean, since only their ratios count; None where all are the same."""
    low, high = weights.min(), weights.max()
    return None if low == high else weights / high / (weights / high).mean()


def within_classes(weights: Floats, labels: NDArray[Any]) -> Floats:
    """Weights with a mean of 1 in each class, with which a plain mean over a class is the weighted one."""
    sizes, totals = np.bincount(labels), np.bincount(labels, weights=weights)
    return np.asarray(weights * (sizes / np.where(sizes > 0, totals, 1.0))[labels])
