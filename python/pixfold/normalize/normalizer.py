"""Normalizer: one formula for every normalisation, its presets, and its mergeable statistics."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixfold.arrays.dask import is_dask
from pixfold.errors import InputError
from pixfold.formula import Fitted, Formula, Parts
from pixfold.layout import Layout
from pixfold.normalize.derive import formula_of, formula_with, mean_of
from pixfold.normalize.learned import Learned, Learner, Shared, fitting_bytes, merged_stats, packed, unpacked
from pixfold.normalize.names import check_same_names, kept_features, names_of
from pixfold.normalize.recipe import Recipe
from pixfold.ops.fold import fold
from pixfold.ops.refusals import check_values
from pixfold.sources.base import Source
from pixfold.stream.blocks import blocks
from pixfold.util.files import load_arrays, save_arrays
from pixfold.util.json_values import parsed
from pixfold.util.progress import Progress
from pixfold.util.sizes import bytes_of
from pixfold.util.text import must_be

_PER_FEATURE = ("offset", "shift", "scale", "fill")
Float64Array = NDArray[np.float64]


class Normalizer(Fitted):
    r"""Learns one formula per feature from training samples and applies it to any samples.

    .. math:: y_{ij} = clip((g((x_{ij} + offset_j) \cdot row_i) - shift_j) \cdot scale_j, lo, hi)

    with g either log1p or the identity and ``row_i`` the library size over the sample's sum.

    It needs NumPy alone and is no estimator of scikit-learn; ``FoldTransformer(normalizer, images=False)`` is one.

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

    Raises
    ------
    InputError
        For an option that is none of these; the message names it.

    Notes
    -----
    Constant features become 0, never NaN. A feature without any training value has nothing to be learned and is no
    error in :meth:`fit`, whatever `missing` says: the formula makes 0 of it, and a layout leaves it out. :meth:`fit` is
    one pass over the data; a second one only when negative values are met and shifted under a scale (or `missing`)
    that needs their mean after the logarithm. A call that raises leaves the normaliser as it was.
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
        self._recipe = Recipe.checked(preset, library_size, log, scale, clip, negative, missing)
        self._learned: Learned | None = None
        self._formula: Formula | None = None
        self.feature_names: list[str] | None = None

    @property
    def preset(self) -> str | None:
        """Name of the set of parts that was asked for."""
        return self._recipe.preset

    @property
    def parts(self) -> Parts:
        """The parts of the formula."""
        return self._recipe.parts

    @property
    def clip(self) -> tuple[float, float]:
        """Limits of the result; infinite where there are none."""
        return self._recipe.clip

    @property
    def negative(self) -> str:
        """What happens to negative values before a logarithm."""
        return self._recipe.negative

    @property
    def missing(self) -> str:
        """What happens to missing values."""
        return self._recipe.missing

    # Fitting

    def fit(
        self,
        X: Any,
        feature_names: Sequence[str] | None = None,
        *,
        keep: ArrayLike | None = None,
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
        keep : bool array (n_features,), optional
            Features that a layout keeps (as for :meth:`pixfold.Layout.natural`): values of others are no error.
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
        op = "Normalizer.fit"
        budget = None if memory is None else bytes_of(op, memory)
        names, kept = names_of(op, feature_names, X), kept_features(op, keep)
        if is_dask(X):
            learner = Learner(op, self._recipe, names, kept)
            learned = _some(learner.learn_dask(X))
            if learner.needs_second_pass(learned):
                learned = learner.lifted_dask(learned, X)
            return self._fitted(learned, names)
        if isinstance(X, str | os.PathLike):
            from pixfold.sources import open_source  # which reads formats, and so imports much

            X = open_source(X)
        if isinstance(X, Source):
            read = blocks(
                X,
                memory=budget,
                fixed=self.fitting_bytes(X.n_features),
                op=op,
                progress=progress,
                task="normaliser",
            )
            return self.fit_blocks(read, X.feature_names if names is None else names, keep=kept)
        return self.fit_blocks(lambda: [X], names, keep=kept)

    def fit_blocks(
        self,
        read: Callable[[], Iterable[Any]],
        feature_names: Sequence[str] | None = None,
        *,
        keep: ArrayLike | None = None,
        shared: Shared | None = None,
    ) -> Self:
        """Learn from samples that come in blocks of rows.

        Parameters
        ----------
        read : callable
            Gives a fresh iterable of arrays (n, n_features); it is called once, or twice when a second pass is needed.
        feature_names, keep
            As for :meth:`fit`.
        shared : callable, optional
            Where several processes read a part of the samples each: takes the arrays that this one has measured, and
            gives those of every process, in the same order in all of them. All end with the normaliser of all samples.

        Returns
        -------
        Normalizer
            Itself.
        """
        op = "Normalizer.fit"
        names = names_of(op, feature_names)
        learner = Learner(op, self._recipe, names, kept_features(op, keep))
        learned = learner.learn(read())
        learned = _some(learned if shared is None else learner.merged_all(map(unpacked, shared(packed(learned)))))
        if learner.needs_second_pass(learned):
            lifted = learner.lifted(learned, read())
            if shared is not None:
                lifted = replace(lifted, transformed=merged_stats(map(unpacked, shared(packed(lifted)))))
            learned = lifted
        return self._fitted(learned, names)

    def partial_fit(self, X: Any, feature_names: Sequence[str] | None = None) -> Self:
        """Learn from more samples; any order and any number of parts give the same result (1e-6 relative).

        Parameters
        ----------
        X : array (n_samples, n_features) or DataFrame
            As for :func:`pixfold.fold`.
        feature_names : sequence of str, optional
            Used in messages. A DataFrame brings its own. They must be those of the samples before, in their order.

        Returns
        -------
        Normalizer
            Itself.

        Raises
        ------
        InputError
            As :meth:`fit`; also where negative values would need a second pass.
        """
        op = "Normalizer.partial_fit"
        self._check_extendable(op)
        learner = Learner(op, self._recipe, self._names_with(op, names_of(op, feature_names, X)))
        if is_dask(X):
            return self._extended(learner, learner.learn_dask(X, self._learned))
        return self._extended(learner, learner.learn([X], self._learned))

    def merge(self, other: Normalizer) -> Self:
        """Add what a normaliser of the same settings has learned elsewhere.

        Raises
        ------
        InputError
            When settings, or the names, order or number of features differ; when one of the two took a second pass.
        TypeError
            When `other` is no Normalizer.
        """
        op = "Normalizer.merge"
        if not isinstance(other, Normalizer):
            raise TypeError(must_be(op, "other", "a Normalizer", other))
        if not self._recipe.is_same_as(other._recipe):
            raise InputError(f"{op}: other must have the settings {self!r}, got {other!r}")
        self._check_extendable(op)
        other._check_extendable(op)
        learner = Learner(op, self._recipe, self._names_with(op, other.feature_names))
        return self._extended(learner, learner.merged(self._learned, other._learned))

    def fitting_bytes(self, n_features: int) -> int:
        """Bytes that :meth:`fit` takes beside the samples: what was learned, that of a block, and merging them."""
        return fitting_bytes(self._recipe, n_features)

    def _check_extendable(self, op: str) -> None:
        if self._learned is None and self._formula is not None:
            raise InputError(f"{op}: a normaliser that was loaded cannot be extended: its statistics were not kept")
        if self._learned is not None and self._learned.offset is not None:
            raise InputError(f"{op}: a normaliser whose fit took two passes cannot be extended")

    def _names_with(self, op: str, more: list[str] | None) -> list[str] | None:
        """Give the names of the features, which those of more samples must equal."""
        if self._learned is not None:
            check_same_names(op, self.feature_names, more)
        return more if self.feature_names is None or self._learned is None else self.feature_names

    def _extended(self, learner: Learner, learned: Learned | None) -> Self:
        if learned is not None and learner.needs_second_pass(learned):
            raise InputError(
                f"{learner.op}: negative values with negative='shift' need a second pass over the data "
                f"for scale={self.parts.scale!r}, missing={self.missing!r}: use fit"
            )
        return self._fitted(learned, learner.feature_names)

    def _fitted(self, learned: Learned | None, feature_names: list[str] | None) -> Self:
        """Take what was learned, all at once and at the very end: what raises before leaves all as it was."""
        self._learned, self._formula, self.feature_names = learned, None, feature_names
        return self

    # The formula

    @property
    def is_fitted(self) -> bool:
        """Whether there is anything to normalise with."""
        return self.learned is not None

    @property
    def learned(self) -> object:
        """What was learned last: every fit replaces it."""
        return self._formula if self._learned is None else self._learned

    def parameters(self) -> Formula:
        """Give the fitted formula.

        Raises
        ------
        InputError
            Before :meth:`fit`.
        """
        if self._formula is None:
            if self._learned is None:
                raise InputError("Normalizer: not fitted yet: call fit first")
            self._formula = formula_of(self._recipe, self._learned, self.feature_names)
        return self._formula

    def never_seen(self) -> NDArray[np.bool_]:
        """Tell which features have had no value in any training sample, (n_features,): they become 0."""
        if self._learned is None:
            raise InputError("Normalizer.never_seen: statistics must have been learned by fit, got none")
        never: NDArray[np.bool_] = self._learned.counts.count == 0
        return never

    def training_mean(self) -> Float64Array | None:
        """Give the normalised mean of each feature in the training samples, (n_features,); None where it is not known.

        It is known after :meth:`fit`. Of a normaliser that was loaded it follows from the scale (z-scores and genotypes
        have a mean of 0), or from ``missing="mean"``.
        """
        formula = self.parameters()
        if self._learned is not None:
            return mean_of(self._recipe, self._learned, formula)
        if self.parts.scale in ("zscore", "genotype"):
            return np.zeros(formula.offset.size)
        return formula.fill if self.missing == "mean" else None

    def with_constants(self, features: NDArray[np.bool_], values: Float64Array) -> Self:
        """Give a normaliser that makes these values of some features wherever a sample has 0 there.

        Parameters
        ----------
        features : bool array (n_features,)
            Which ones.
        values : float64 array (n_features,)
            Normalised values, within the limits; looked at where `features` are chosen.

        Returns
        -------
        Normalizer
            It transforms, and is not fitted further.
        """
        state = self.state()
        # (0 - -value) * 1 is the value, and 0 adds nothing to the sum of a sample.
        for name, constant in (("offset", 0.0), ("shift", -values), ("scale", 1.0)):
            state[name] = np.where(features, constant, state[name])
        return type(self).from_state(state)

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
        check_values(X, layout, self._recipe.accepted(self.feature_names), threads=threads)

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
        r = self._recipe
        made = type(self)("none", clip=r.clip, negative=negative or r.negative, missing=missing or r.missing)
        made._recipe = replace(r, negative=made.negative, missing=made.missing)
        return made

    def settings(self) -> dict[str, Any]:
        """Options as plain values (JSON)."""
        return self._recipe.settings()

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays from which :meth:`from_state` builds a normaliser that gives the same bits.

        The statistics are not part of it: a normaliser that was loaded transforms, and is not fitted further.
        """
        formula = self.parameters()
        settings = {**self.settings(), "clip_below_zero": formula.clip_below_zero}
        return {"settings": np.frombuffer(json.dumps(settings).encode(), dtype=np.uint8), **formula.arrays()}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the normaliser that :meth:`state` described.

        Raises
        ------
        InputError
            When it is no such state.
        """
        settings = np.asarray(state["settings"])
        if settings.dtype != np.uint8 or settings.ndim != 1:
            raise InputError(f"Normalizer: settings must be bytes, got {settings.dtype} of shape {settings.shape}")
        try:
            recipe = Recipe.from_settings(parsed(settings.tobytes().decode()))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"Normalizer: settings must be what a normaliser wrote, got others ({error})") from error
        self = cls()
        self._recipe = recipe
        self._formula = formula_with(recipe, None, **_per_feature(state))
        return self

    def save(self, path: str | Path) -> None:
        """Write the fitted formula to an .npz file (no pickle), whole or not at all."""
        save_arrays(path, self.state())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a normaliser that :meth:`save` wrote."""
        arrays = load_arrays(path, ("settings", *_PER_FEATURE), "Normalizer.load")
        try:
            return cls.from_state(arrays)
        except InputError as error:
            raise InputError(f"Normalizer.load: {path} is not a normaliser that pixfold wrote ({error})") from error

    def __repr__(self) -> str:
        settings = {**self.settings(), "clip": self.clip}
        return f"Normalizer({', '.join(f'{k}={v!r}' for k, v in settings.items())})"


def _per_feature(state: Mapping[str, NDArray[Any]]) -> dict[str, Float64Array]:
    found = {name: np.asarray(state[name]) for name in _PER_FEATURE}
    size = found["offset"].size
    for name, array in found.items():
        if array.dtype != np.float64 or array.shape != (size,) or not size:
            raise InputError(
                f"Normalizer: {name} must be a float64 for each feature, got {array.dtype} of shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"Normalizer: {name} must be finite, got NaN or infinity")
    return {name: array.copy() for name, array in found.items()}


def _some(learned: Learned | None) -> Learned:
    if learned is None:
        raise InputError("Normalizer.fit: X must hold at least one sample, got none")
    return learned
