"""Normalizer: one formula for every normalisation, its presets, and its mergeable statistics."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixfold import _core
from pixfold.arrays.dask import is_dask, reduce_blocks
from pixfold.arrays.dense import Csr, Dense, OnCuda, Packed, samples_anywhere
from pixfold.errors import InputError
from pixfold.formula import PRESETS, SCALES, Accepted, Fitted, Formula, Parts
from pixfold.layout import Layout
from pixfold.ops.column_stats import ColumnStats, column_stats, stats_of
from pixfold.ops.fold import fold
from pixfold.ops.formula_arguments import row_scale_to
from pixfold.ops.refusals import check_values, refuse
from pixfold.stream.blocks import blocks
from pixfold.stream.budget import bytes_of
from pixfold.util.files import load_arrays, save_arrays
from pixfold.util.progress import Progress
from pixfold.util.text import short_repr

Float64Array = NDArray[np.float64]

NEGATIVE = ("error", "shift")
MISSING = ("error", "zero", "mean")

# Per feature: the seven statistics of eight bytes, and all that is alive while those of a block are merged into them.
_STATS_BYTES = 56
_FITTING_BYTES = 240


class Normalizer(Fitted):
    r"""Learns one formula per feature from training samples and applies it to any samples.

    .. math:: y_{ij} = clip((g((x_{ij} + offset_j) \cdot row_i) - shift_j) \cdot scale_j, lo, hi)

    with g either log1p or the identity and ``row_i`` the library size over the sample's sum.

    Parameters
    ----------
    preset : str, optional
        Name of a set of parts; ``"log1p-zscore"`` when nothing is given at all.

        ============== ==================================================================================
        none           values as they are
        log1p          log(1 + x)
        minmax         (x - min) / (max - min), clipped to [0, 1] (DeepInsight's norm-1)
        log1p-minmax   the same of log1p(x) (the DeepMapper paper)
        norm2          log1p(x - min where min < 0) over its largest value of all features, clipped to [0, 1]
                       (DeepInsight's norm-2, which lifts features by \|min\| even where min > 0)
        cp10k-log1p    log1p of counts per 10,000 (scanpy's normalize_total and log1p)
        zscore         (x - mean) / standard deviation (population)
        log1p-zscore   the same of log1p(x)
        genotype       (g - 2p) / sqrt(2p(1 - p)) with 2p the mean of the 0/1/2 codes; missing becomes 0
        ============== ==================================================================================
    library_size, log, scale
        The parts one by one (``Normalizer(library_size=1e4, log=True, scale="zscore")``), or changes to a preset.
    clip : (float, float), optional
        Limits of the result. Default: (0, 1) for the scales "minmax" and "max", none for the others.
    negative : {"error", "shift"}
        What to do with negative values before a logarithm. "shift" adds -min of the training data to every feature
        that has any; later values below that minimum are clipped to it.
    missing : {"error", "zero", "mean"}
        What NaN becomes: an error, 0 in the result, or the normalised training mean. Default "error"
        ("zero" for genotypes).

    Notes
    -----
    Constant features become 0, never NaN. :meth:`fit` is one pass over the data; a second one only when negative
    values are met and shifted under a scale (or `missing`) that needs their mean after the logarithm.
    """

    def __init__(
        self,
        preset: str | None = None,
        *,
        library_size: float | None = None,
        log: bool | None = None,
        scale: str | None = None,
        clip: tuple[float, float] | None = None,
        negative: str = "error",
        missing: str | None = None,
    ) -> None:
        if preset is None and library_size is None and log is None and scale is None:
            preset = "log1p-zscore"
        if preset is not None and preset not in PRESETS:
            raise InputError(f"Normalizer: preset must be one of {', '.join(PRESETS)}, got {short_repr(preset)}")
        parts = PRESETS[preset] if preset is not None else Parts()
        if library_size is not None:
            if not np.isfinite(library_size) or library_size <= 0:
                raise InputError(f"Normalizer: library_size must be a positive number, got {short_repr(library_size)}")
            parts = replace(parts, library_size=float(library_size))
        if log is not None:
            parts = replace(parts, log=bool(log))
        if scale is not None:
            parts = replace(parts, scale=_one_of("scale", scale, SCALES))
        if missing is None:
            missing = "zero" if parts.scale == "genotype" else "error"
        if clip is None:
            clip = (0.0, 1.0) if parts.scale in ("minmax", "max") else (-np.inf, np.inf)
        if len(clip) != 2 or not clip[0] < clip[1]:
            raise InputError(f"Normalizer: clip must be (low, high) with low < high, got {short_repr(clip)}")
        self.preset = preset
        self.parts = parts
        self.clip = (float(clip[0]), float(clip[1]))
        self.negative = _one_of("negative", negative, NEGATIVE)
        self.missing = _one_of("missing", missing, MISSING)
        self.feature_names: list[str] | None = None
        self._raw: ColumnStats | None = None  # of x
        self._transformed: ColumnStats | None = None  # of g(x * row_scale), with `_offset` where it is set
        self._in_double = False  # whether any training samples were computed with in double
        self._offset: Float64Array | None = None
        self._parameters: Formula | None = None

    # Fitting

    def fit(
        self,
        X: Any,
        feature_names: Sequence[str] | None = None,
        *,
        memory: int | str | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from training samples, forgetting what was learned before.

        Parameters
        ----------
        X : array (n_samples, n_features), DataFrame, Source or path
            As for :func:`pixfold.fold`; a source, and a file that :func:`pixfold.open_source` opens, are read in
            blocks, the next one while one is worked on. The blocks of a Dask array are measured where they are, and
            only statistics come back.
        feature_names : sequence of str, optional
            Used in messages. A source or a DataFrame brings its own.
        memory : int or str, optional
            Budget for a source's blocks and the statistics, ``"1GB"`` or bytes, however many samples there are.
            Without one, blocks are of about 64 MB, or more where there are very many features.
        progress : Progress, optional
            Where a source's samples are counted; silent without it.

        Returns
        -------
        Normalizer
            Itself.

        Raises
        ------
        InputError
            Missing, negative or infinite values that the options do not handle; no samples; a budget that does not
            hold the statistics and a single sample.
        """
        if is_dask(X):
            return self._fit_dask(X, feature_names)
        budget = None if memory is None else bytes_of("Normalizer.fit", memory)
        if isinstance(X, str | os.PathLike):
            from pixfold.sources import open_source  # which reads formats, and so imports much

            X = open_source(X)
        if hasattr(X, "read") and hasattr(X, "block_size"):
            names = feature_names if feature_names is not None else X.feature_names
            read = blocks(
                X,
                memory=budget,
                fixed=self.fitting_bytes(X.n_features),
                op="Normalizer.fit",
                progress=progress,
                task="normaliser",
            )
            return self.fit_blocks(read, names)
        if feature_names is None and hasattr(X, "columns"):  # a DataFrame brings its names, too
            feature_names = [str(name) for name in X.columns]
        return self.fit_blocks(lambda: [X], feature_names)

    def fit_blocks(self, read: Callable[[], Iterable[Any]], feature_names: Sequence[str] | None = None) -> Self:
        """Learn from samples that come in blocks of rows.

        Parameters
        ----------
        read : callable
            Gives a fresh iterable of arrays (n, n_features); it is called once, or twice when a second pass is needed.
        feature_names : sequence of str, optional
            Used in messages.

        Returns
        -------
        Normalizer
            Itself.
        """
        self._forget(feature_names)
        for block in read():
            self._add(samples_anywhere("Normalizer.fit", block))
            del block  # a reader waits for its memory
        if self._raw is None and self._transformed is None:
            raise InputError("Normalizer.fit: X must hold at least one sample, got none")
        if self._needs_second_pass():
            offset = self._lifts()
            self._transformed, self._offset = None, offset
            for block in read():
                x = samples_anywhere("Normalizer.fit", block)
                self._transformed = _merged(self._transformed, stats_of(x, True, offset, None, True, 0))
                del block, x
        return self

    def _forget(self, feature_names: Sequence[str] | None) -> None:
        self._raw = self._transformed = self._offset = self._parameters = None
        self._in_double = False
        self.feature_names = list(feature_names) if feature_names is not None else None

    def _fit_dask(self, X: Any, feature_names: Sequence[str] | None) -> Self:
        """As :meth:`fit_blocks`, the blocks measured by Dask."""
        self._forget(feature_names)
        empty = self.with_options()
        empty.feature_names = self.feature_names
        learned = reduce_blocks("Normalizer.fit", X, partial(_measured, empty), _merged_measures)
        self._raw, self._transformed, self._in_double = learned
        if self._raw is None and self._transformed is None:
            raise InputError("Normalizer.fit: X must hold at least one sample, got none")
        if self._needs_second_pass():
            offset = self._lifts()
            lifted = partial(column_stats, log=True, offset=offset, clip_below_zero=True, threads=1)
            self._transformed = reduce_blocks("Normalizer.fit", X, lifted, ColumnStats.merge)
            self._offset = offset
        return self

    def partial_fit(self, X: Any, feature_names: Sequence[str] | None = None) -> Self:
        """Learn from more samples; any order and any number of parts give the same result (1e-6 relative).

        Parameters
        ----------
        X : array (n_samples, n_features)
            As for :func:`pixfold.fold`.
        feature_names : sequence of str, optional
            Used in messages.

        Returns
        -------
        Normalizer
            Itself.

        Raises
        ------
        InputError
            As :meth:`fit`; also where negative values would need a second pass.
        """
        self._check_extendable("partial_fit")
        if is_dask(X):
            return self.merge(self.with_options()._fit_dask(X, feature_names or self.feature_names))
        before = (self._raw, self._transformed, self.feature_names)
        if feature_names is not None:
            self.feature_names = list(feature_names)
        try:
            self._add(samples_anywhere("Normalizer.partial_fit", X))
            self._extended("partial_fit")
        except Exception:
            self._raw, self._transformed, self.feature_names = before
            raise
        return self

    def fitting_bytes(self, n_features: int) -> int:
        """Bytes that :meth:`fit` takes beside the samples: what was learned, that of a block, and merging them."""
        raw_too = self._lift_allowed or self.parts.scale == "genotype"
        twice = self.parts.log and not self._extremes_suffice and raw_too
        return n_features * (_FITTING_BYTES + (_STATS_BYTES if twice else 0))

    def _check_extendable(self, op: str) -> None:
        if self._offset is not None:
            raise InputError(f"Normalizer.{op}: a normaliser whose fit took two passes cannot be extended")
        if self._parameters is not None and self._raw is None and self._transformed is None:
            raise InputError(
                f"Normalizer.{op}: a normaliser that was loaded cannot be extended: its statistics were not kept"
            )

    def _extended(self, op: str) -> None:
        """Forget what was derived from the statistics before; refuse ones that a single pass cannot finish."""
        if self._needs_second_pass():
            raise InputError(
                f"Normalizer.{op}: negative values with negative='shift' need a second pass over the data "
                f"for scale={self.parts.scale!r}, missing={self.missing!r}: use fit"
            )
        self._parameters = None

    def merge(self, other: Normalizer) -> Self:
        """Add what a normaliser of the same settings has learned elsewhere.

        Raises
        ------
        InputError
            When settings or numbers of features differ, or one of the two took a second pass.
        """
        if (self.parts, self.clip, self.negative, self.missing) != (
            other.parts, other.clip, other.negative, other.missing,
        ):  # fmt: skip
            raise InputError(f"Normalizer.merge: both must have the same settings, got {self!r} and {other!r}")
        self._check_extendable("merge")
        other._check_extendable("merge")
        before = (self._raw, self._transformed)
        try:
            self._raw = _merged(self._raw, other._raw)
            self._transformed = _merged(self._transformed, other._transformed)
            self._in_double = self._in_double or other._in_double
            self._extended("merge")
        except InputError:
            self._raw, self._transformed = before
            raise
        self.feature_names = self.feature_names or other.feature_names
        return self

    def _add(self, x: Dense | Csr | Packed | OnCuda) -> None:
        seen = self._raw or self._transformed
        if seen is not None and x.shape[1] != seen.count.size:
            raise InputError(f"Normalizer: X must have {seen.count.size} features, got {x.shape[1]}")
        if self.feature_names is not None and len(self.feature_names) != x.shape[1]:
            raise InputError(f"Normalizer: feature_names must have {x.shape[1]} entries, got {len(self.feature_names)}")
        if x.shape[0] == 0:
            return
        row_scale = row_scale_to(self.parts.library_size, x)
        self._in_double = self._in_double or _core.computes_in_double(np.empty(0, x.dtype), x.bfloat16)
        logarithms = self.parts.log and not self._extremes_suffice
        stats = stats_of(x, logarithms, None, row_scale, False, 0)
        # The logarithm of values below -1 is NaN and a negative total scales to 0, so the values themselves say which
        # features are negative.
        hidden = self.parts.log and stats.n_negative > 0 and (logarithms or row_scale is not None)
        refuse("Normalizer.fit", x, stats_of(x, False, None, None, False, 0) if hidden else stats, self._accepted())
        if logarithms:
            if self._lift_allowed or self.parts.scale == "genotype":
                self._raw = _merged(self._raw, stats_of(x, False, None, None, False, 0))
            self._transformed = _merged(self._transformed, stats)
        else:
            self._raw = _merged(self._raw, stats)

    @property
    def _extremes_suffice(self) -> bool:
        """Whether of g(x) only the extremes are needed: those of x, since log1p rises, and the pass takes none."""
        return self.parts.scale not in ("zscore", "genotype") and self.missing != "mean"

    @property
    def _lift_allowed(self) -> bool:
        return self.parts.log and (self.parts.lift or self.negative == "shift")

    def _lifts(self) -> Float64Array:
        assert self._raw is not None
        return np.maximum(0.0, -np.nan_to_num(self._raw.min, nan=0.0))

    def _needs_second_pass(self) -> bool:
        if not self._lift_allowed or self._raw is None:
            return False
        if not np.any(self._lifts() > 0):
            return False
        if self.parts.library_size is not None:
            raise InputError("Normalizer: library-size scaling is not defined for negative values")
        return not self._extremes_suffice

    # Refusals

    def refuses(self, missing: int, negative: int) -> bool:
        """Whether these counts of missing and negative values are an error under the options."""
        return self._accepted().refuses(missing, negative)

    def check(self, X: Any, layout: Layout, *, threads: int | None = None) -> None:
        """Raise the error that folding `X` would raise for missing or negative values; write nothing.

        Parameters
        ----------
        X : array (n_samples, n_features)
            As for :func:`pixfold.fold`.
        layout : Layout
            Features without a pixel are not looked at.
        threads : int, optional
            As for :func:`pixfold.fold`.

        Raises
        ------
        InputError
            Saying how many there are, in which features, and which option handles them.
        """
        check_values(X, layout, self._accepted(), threads=threads)

    def _accepted(self) -> Accepted:
        return Accepted(
            missing=self.missing != "error",
            negative=not self.parts.log or self._lift_allowed,
            genotypes_only=self.parts.scale == "genotype",
            feature_names=self.feature_names,
        )

    # Parameters

    @property
    def is_fitted(self) -> bool:
        """Whether there is anything to normalise with."""
        return self._raw is not None or self._transformed is not None or self._parameters is not None

    def parameters(self) -> Formula:
        """Give the fitted formula.

        Raises
        ------
        InputError
            Before :meth:`fit`.
        """
        if self._parameters is None:
            if not self.is_fitted:
                raise InputError("Normalizer: not fitted yet: call fit first")
            self._parameters = self._derive()
        return self._parameters

    def _derive(self) -> Formula:
        stats = self._raw if self._transformed is None else self._transformed
        assert stats is not None
        n = stats.count.size
        offset = self._lifts() if self._lift_allowed and self._raw is not None else np.zeros(n)
        mean_g, m2 = stats.mean, stats.m2
        if self.parts.log and self.parts.scale is not None and self._extremes_suffice:
            # By the kernel itself, in the type that it computes the samples in: their images then reach 0 and 1.
            ends = np.stack([stats.min, stats.max]).astype(np.float64 if self._in_double else np.float32)
            stats = stats_of(Dense(ends), True, offset, None, self._lift_allowed, 0)
        lo_g, hi_g = stats.min, stats.max
        shift, scale = self._shift_and_scale(lo_g, hi_g, mean_g, m2, stats.count)
        lo, hi = self.clip
        if self.missing == "mean":
            fill = np.clip((np.nan_to_num(mean_g) - shift) * scale, lo, hi)
        else:
            fill = np.zeros(n)
        return Formula(
            log=self.parts.log,
            library_size=self.parts.library_size,
            offset=offset,
            shift=shift,
            scale=scale,
            fill=fill,
            lo=lo,
            hi=hi,
            clip_below_zero=self._lift_allowed,
            missing=self.missing,
            negative=self.negative,
            accepted=self._accepted(),
        )

    def _shift_and_scale(
        self, low: Float64Array, high: Float64Array, mean: Float64Array, m2: Float64Array, count: NDArray[np.int64]
    ) -> tuple[Float64Array, Float64Array]:
        n = low.size
        # A feature that never varies (or was never seen) gets scale 0 and so the value 0.
        varies = high > low
        if self.parts.scale is None:
            return np.zeros(n), np.ones(n)
        if self.parts.scale == "minmax":
            return np.nan_to_num(low), np.divide(1.0, high - low, out=np.zeros(n), where=varies)
        if self.parts.scale == "max":
            largest = float(np.nanmax(high)) if np.any(count > 0) else 0.0
            return np.zeros(n), np.full(n, 1.0 / largest if largest > 0 else 0.0)
        if self.parts.scale == "zscore":
            std = np.sqrt(m2 / np.maximum(count, 1))
        else:
            p = np.nan_to_num(mean) / 2.0
            std = np.sqrt(np.maximum(2.0 * p * (1.0 - p), 0.0))
        return np.nan_to_num(mean), np.divide(1.0, std, out=np.zeros(n), where=varies & (std > 0))

    @property
    def learned(self) -> object:
        """The statistics that were learned last; every fit replaces them."""
        return self._transformed if self._raw is None else self._raw

    # Use

    def transform(self, X: Any, *, threads: int | None = None) -> Any:
        """Normalise without folding.

        Parameters
        ----------
        X : array (n_samples, n_features)
            As for :func:`pixfold.fold`.
        threads : int, optional
            As for :func:`pixfold.fold`.

        Returns
        -------
        array (n_samples, n_features)
            float32, of the caller's kind (NumPy or torch).
        """
        n = self.parameters().offset.size
        images = fold(X, Layout.natural(n, shape=(1, n)), self, threads=threads)
        return images.reshape(images.shape[0], n)

    def fit_transform(self, X: Any, feature_names: Sequence[str] | None = None) -> Any:
        """:meth:`fit`, then :meth:`transform`."""
        return self.fit(X, feature_names).transform(X)

    def inverse_transform(self, Y: Any) -> Float64Array:
        """Undo the formula where it can be undone: clipped values come back as the limit they were clipped to.

        Parameters
        ----------
        Y : array (n_samples, n_features)
            Normalised values.

        Returns
        -------
        float64 array (n_samples, n_features)
            A constant feature comes back as its constant.

        Raises
        ------
        InputError
            With a library size (each sample's own sum is not kept) or the wrong number of features.
        """
        if self.parts.library_size is not None:
            raise InputError("Normalizer.inverse_transform: library-size scaling has no inverse: the sums are not kept")
        p = self.parameters()
        y = np.asarray(Y, dtype=np.float64)
        if y.ndim != 2 or y.shape[1] != p.offset.size:
            raise InputError(
                f"Normalizer.inverse_transform: Y must have shape (n_samples, {p.offset.size}), got {y.shape}"
            )
        g = np.divide(y, p.scale, out=np.zeros(y.shape), where=p.scale != 0) + p.shift
        return np.asarray((np.expm1(g) if p.log else g) - p.offset)

    # Keeping

    def with_options(self, *, negative: str | None = None, missing: str | None = None) -> Self:
        """Give a fresh, unfitted normaliser of the same parts, with other options where they are named."""
        made = type(self)(
            self.preset or "none",
            clip=self.clip,
            negative=self.negative if negative is None else negative,
            missing=self.missing if missing is None else missing,
        )
        made.preset, made.parts = self.preset, self.parts
        return made

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

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays from which :meth:`from_state` builds a normaliser that gives the same bits.

        The statistics are not part of it: a normaliser that was loaded transforms, and is not fitted further.
        """
        p = self.parameters()
        settings = {**self.settings(), "clip_below_zero": p.clip_below_zero}
        return {
            "settings": np.frombuffer(json.dumps(settings).encode(), dtype=np.uint8),
            "offset": p.offset,
            "shift": p.shift,
            "scale": p.scale,
            "fill": p.fill,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the normaliser that :meth:`state` described."""
        settings = json.loads(np.asarray(state["settings"], dtype=np.uint8).tobytes())
        lo, hi = settings["clip"]
        self = cls(
            settings["preset"] or "none",
            clip=(-np.inf if lo is None else lo, np.inf if hi is None else hi),
            negative=settings["negative"],
            missing=settings["missing"],
        )
        self.preset = settings["preset"]
        self.parts = Parts(settings["library_size"], settings["log"], settings["scale"], settings["lift"])
        arrays = {name: np.array(state[name], dtype=np.float64) for name in ("offset", "shift", "scale", "fill")}
        self._parameters = Formula(
            log=self.parts.log,
            library_size=self.parts.library_size,
            lo=self.clip[0],
            hi=self.clip[1],
            clip_below_zero=settings["clip_below_zero"],
            missing=self.missing,
            negative=self.negative,
            accepted=self._accepted(),
            **arrays,
        )
        return self

    def save(self, path: str | Path) -> None:
        """Write the fitted formula to an .npz file (no pickle), whole or not at all."""
        save_arrays(path, self.state())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a normaliser that :meth:`save` wrote."""
        return cls.from_state(load_arrays(path, ("settings", "offset", "shift", "scale", "fill"), "Normalizer.load"))

    def __repr__(self) -> str:
        settings = {**self.settings(), "clip": self.clip}
        return f"Normalizer({', '.join(f'{k}={v!r}' for k, v in settings.items())})"


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise InputError(f"Normalizer: {name} must be one of {', '.join(allowed)}, got {short_repr(value)}")
    return value


_Measure = tuple[ColumnStats | None, ColumnStats | None, bool]


def _measured(empty: Normalizer, block: Any) -> _Measure:
    """What a fresh normaliser learns from one block: statistics of x and of g(x), and whether it counts in double."""
    normalizer = empty.with_options()
    normalizer.feature_names = empty.feature_names
    normalizer._add(samples_anywhere("Normalizer.fit", block))
    return normalizer._raw, normalizer._transformed, normalizer._in_double


def _merged_measures(a: _Measure, b: _Measure) -> _Measure:
    return _merged(a[0], b[0]), _merged(a[1], b[1]), a[2] or b[2]


def _merged(a: ColumnStats | None, b: ColumnStats | None) -> ColumnStats | None:
    if a is None or b is None:
        return a if b is None else b
    return a.merge(b)
