"""The recipe of a normaliser: its options, checked, and what follows from them before anything is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Self

import numpy as np

from pixfold.errors import InputError
from pixfold.formula import PRESETS, SCALES, Accepted, Parts
from pixfold.util.checks import choice, switch
from pixfold.util.text import must_be

NEGATIVE = ("error", "shift")
MISSING = ("error", "zero", "mean")


@dataclass(frozen=True)
class Recipe:
    """Options of a normaliser; see :class:`pixfold.Normalizer`."""

    preset: str | None
    parts: Parts
    clip: tuple[float, float]
    negative: str
    missing: str

    @classmethod
    def checked(
        cls,
        preset: str | None,
        library_size: float | None,
        log: bool | None,
        scale: str | None,
        clip: tuple[float, float] | None,
        negative: str,
        missing: str | None,
    ) -> Self:
        """Make a recipe of the arguments of :class:`pixfold.Normalizer`, or raise InputError for the first bad one."""
        if preset is None and library_size is None and log is None and scale is None:
            preset = "log1p-zscore"
        if preset is not None:
            choice(PRESETS)("Normalizer", "preset", preset)
        parts = Parts() if preset is None else PRESETS[preset]
        if library_size is not None:
            if not _is_number(library_size) or not np.isfinite(library_size) or library_size <= 0:
                raise InputError(must_be("Normalizer", "library_size", "a positive number", library_size))
            parts = replace(parts, library_size=float(library_size))
        if log is not None:
            switch("Normalizer", "log", log)
            parts = replace(parts, log=bool(log))
        if scale is not None:
            choice(SCALES)("Normalizer", "scale", scale)
            parts = replace(parts, scale=scale)
        if missing is None:
            missing = "zero" if parts.scale == "genotype" else "error"
        if clip is None:
            clip = (0.0, 1.0) if parts.scale in ("minmax", "max") else (-np.inf, np.inf)
        limits = tuple(clip) if isinstance(clip, Sequence | np.ndarray) else ()
        if len(limits) != 2 or not all(map(_is_number, limits)) or not limits[0] < limits[1]:
            raise InputError(must_be("Normalizer", "clip", "two numbers (low, high) with low < high", clip))
        choice(NEGATIVE)("Normalizer", "negative", negative)
        choice(MISSING)("Normalizer", "missing", missing)
        return cls(preset, parts, (float(limits[0]), float(limits[1])), negative, missing)

    def is_same_as(self, other: Recipe) -> bool:
        """Whether both compute the same, whatever the names of their presets."""
        return replace(self, preset=None) == replace(other, preset=None)

    @property
    def extremes_suffice(self) -> bool:
        """Whether only the extremes of g(x) are needed: log1p rises, so those of x give them without logarithms."""
        return self.parts.scale not in ("zscore", "genotype") and self.missing != "mean"

    @property
    def measures_logarithms(self) -> bool:
        """Whether the statistics are of log1p(x)."""
        return self.parts.log and not self.extremes_suffice

    @property
    def measures_twice(self) -> bool:
        """Whether the statistics are of x, too."""
        return self.measures_logarithms and (self.lifts or self.parts.scale == "genotype")

    @property
    def lifts(self) -> bool:
        """Whether features with negative values are lifted by their training minimum."""
        return self.parts.log and (self.parts.lift or self.negative == "shift")

    def accepted(self, feature_names: Sequence[str] | None) -> Accepted:
        """Which values are no error under these options."""
        return Accepted(
            missing=self.missing != "error",
            negative=not self.parts.log or self.lifts,
            genotypes_only=self.parts.scale == "genotype",
            feature_names=feature_names,
        )

    def settings(self) -> dict[str, Any]:
        """Options as plain values (JSON)."""
        return {
            "preset": self.preset,
            "library_size": self.parts.library_size,
            "log": self.parts.log,
            "scale": self.parts.scale,
            "lift": self.parts.lift,
            "clip": [None if np.isinf(limit) else limit for limit in self.clip],
            "negative": self.negative,
            "missing": self.missing,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """Make the recipe that :meth:`settings` described.

        Raises
        ------
        KeyError, TypeError or ValueError
            When it is something else.
        """
        lo, hi = settings["clip"]
        # Named, all parts are those of a preset or replace them; "none" has none of its own.
        recipe = cls.checked(
            "none",
            settings["library_size"],
            settings["log"],
            settings["scale"],
            (-np.inf if lo is None else lo, np.inf if hi is None else hi),
            settings["negative"],
            settings["missing"],
        )
        preset, lift = settings["preset"], settings["lift"]
        if preset is not None:
            choice(PRESETS)("Normalizer", "preset", preset)
        switch("Normalizer", "lift", lift)
        return replace(recipe, preset=preset, parts=replace(recipe.parts, lift=lift))


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
