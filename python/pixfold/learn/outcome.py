"""What comes of one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pixfold.layout import Layout
from pixfold.learn.consensus import RunImportance
from pixfold.normalize.normalizer import Normalizer


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What came of one run.

    Attributes
    ----------
    number : int
        Counted from 1.
    layout, normalizer, module
        Enough to predict with. The module is None for a run whose network is not kept.
    importance : RunImportance or None
        None for a run that is not accepted, or whose importance the consensus has taken.
    history : list of dict
        One row per epoch.
    metrics : dict
        ``run``, ``seed``, ``accepted``, ``reason``, scores on the test samples, ``seconds``.
    test : int64 array
        Positions of the test samples in ``Prepared.rows``.
    probabilities : float32 array (n_test, n_classes) or None
        None without classes.
    score : float
        Best validation loss: the lowest decides which run's model is kept.
    messages : list of str
        What the user should be told.
    z : float64 array (n_features,) or None
        Evidence in units of its standard error over held-out samples; None where there is none.
    falls : float64 array (n_groups, n_classes) or None
        Of ablation by groups: mean fall of the output of each class's samples for each group; NaN for a class without.
    predicted : float64 array (n_test,) or None
        The quantity of the test samples as the run says it; None where none is learned.
    target : (float, float) or None
        Center and scale of that quantity: the module's output is in units of the scale.
    """

    number: int
    layout: Layout
    normalizer: Normalizer
    module: nn.Module | None
    importance: RunImportance | None
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    test: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None
    score: float
    messages: list[str]
    z: NDArray[np.float64] | None = None
    falls: NDArray[np.float64] | None = None
    predicted: NDArray[np.float64] | None = None
    target: tuple[float, float] | None = None
