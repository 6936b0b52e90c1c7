"""What a screen of all pairs finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.util.optional import require
from pixfold.util.text import counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class PairScreen:
    """The strongest pairs of features, strongest first; equal ones in the order of their features.

    Attributes
    ----------
    feature_a, feature_b : int64 array (k,)
        Positions of the two features in the data, ``feature_a < feature_b``.
    z : float64 array (k,)
        The statistic of the screen with its sign, computed again in float64 for these pairs.
    p, p_bonferroni : float64 array (k,)
        Two-sided p of a standard normal; times `n_tests`, at most 1.
    class_index : int64 array (k,)
        Class whose samples differ from all others in the product: a positive `z` says that the product is larger
        there. The second of two classes; 0 for a measurement.
    z_interaction : float64 array (k,), or None
        Score statistic of the product in a model that has both features; see :func:`pixfold.pair_screen`.
    plink_z : float64 array (k,), or None
        PLINK's fast epistasis statistic with Ueki and Cordell's variance; for genotypes and classes alone.
    n_pairs, n_tests : int
        Pairs that were looked at, and pairs times the classes that each was tested for.
    threshold : float
        A pair is significant where ``abs(z)`` is above it.
    n_samples : int
        Samples that were used.
    transform : {"sign", "rank", "standard"}
        What was made of the values.
    class_names : list of str, or None
        Names of the classes; None for a measurement.
    feature_names : list of str
        Names of all features.
    permuted : float64 array (n_permutations,), or None
        The largest ``abs(z)`` under each permutation of the labels.
    messages : list of str
        What the user should be told.
    """

    feature_a: NDArray[np.int64]
    feature_b: NDArray[np.int64]
    z: NDArray[np.float64]
    p: NDArray[np.float64]
    p_bonferroni: NDArray[np.float64]
    class_index: NDArray[np.int64]
    n_pairs: int
    n_tests: int
    threshold: float
    n_samples: int
    transform: str
    z_interaction: NDArray[np.float64] | None = None
    plink_z: NDArray[np.float64] | None = None
    class_names: list[str] | None = None
    feature_names: list[str] = field(default_factory=list)
    permuted: NDArray[np.float64] | None = None
    messages: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.z)

    def __repr__(self) -> str:
        """Say what was found in a line: a notebook shows it."""
        found = f"{len(self):,} of {counted(self.n_pairs, 'pair')}, {int(self.significant.sum()):,} significant"
        if len(self):
            a, b = (
                self.feature_names[at] if self.feature_names else f"feature {at}"
                for at in (int(self.feature_a[0]), int(self.feature_b[0]))
            )
            found += f"; first: {a} x {b}, z = {self.z[0]:.2f}"
        return f"PairScreen({found})"

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Which of the pairs are above the threshold."""
        return np.asarray(np.abs(self.z) > self.threshold)

    def table(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Make one row per pair, strongest first.

        Parameters
        ----------
        names : sequence of str, optional
            Names of all features. Default: those of the data.

        Returns
        -------
        pandas.DataFrame
            ``feature_a``, ``feature_b``, ``z``, ``p``, ``p_bonferroni``, ``significant``; where there are any,
            ``class`` (of three and more), ``z_interaction`` and ``plink_z``.

        Raises
        ------
        InputError
            When there are fewer names than features.
        """
        pandas = require("pandas", "train", "the table of pairs")
        known = self.feature_names if names is None else list(names)
        least = int(max(self.feature_b, default=-1)) + 1
        if len(known) < least:
            raise InputError(f"PairScreen.table: names must be of all features, at least {least:,}, got {len(known):,}")
        columns: dict[str, Any] = {
            "feature_a": [known[i] for i in self.feature_a],
            "feature_b": [known[i] for i in self.feature_b],
            "z": self.z,
            "p": self.p,
            "p_bonferroni": self.p_bonferroni,
            "significant": self.significant,
        }
        if self.class_names is not None and len(self.class_names) > 2:
            columns["class"] = [self.class_names[i] for i in self.class_index]
        for name in ("z_interaction", "plink_z"):
            if getattr(self, name) is not None:
                columns[name] = getattr(self, name)
        table: pd.DataFrame = pandas.DataFrame(columns)
        return table
