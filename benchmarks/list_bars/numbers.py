"""Means with standard errors, and counts against a level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_se(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error: NaN of a single value."""
    if not len(values):
        return float("nan"), float("nan")
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(error)


def shown(values: Sequence[float], sign: bool = False) -> str:
    mean, error = mean_se(values)
    return f"{mean:{'+' if sign else ''}.3f} ± {error:.3f}"


def interval(count: int, of: int) -> tuple[float, float]:
    """Of a rate, 95 %, by Clopper and Pearson."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, of - count)) if count < of else 1.0
    return low, high
