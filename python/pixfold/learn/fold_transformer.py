"""FoldTransformer: normaliser and fold as a step of a scikit-learn pipeline."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from pixfold.errors import InputError
from pixfold.formula import PRESETS
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold, unfold
from pixfold.util.checks import choice, switch


class FoldTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Normalise samples, and fold them to images or leave them as features.

    As a step of a pipeline it fits the normaliser on the training samples of each split. Transforming is one pass over
    the data.

    Parameters
    ----------
    normalize : str or Normalizer
        A preset of :class:`pixfold.Normalizer`, or an unfitted one as a pattern.
    negative : {"error", "shift"}, optional
        Negative values before a logarithm. Default: as the pattern says; of a preset an error.
    missing : {"error", "zero", "mean"}, optional
        What missing values become. Default: as the pattern says; of a preset an error (0 of genotypes).
    images : bool
        Whether to fold. False gives normalised values, (n_samples, n_features): a scaler, which keeps the names.
    arrangement : {"natural", "shuffled"}
        Features in their own order, or in a seeded order.
    channels : int
        Channels that the features are spread over.
    random_state : int, RandomState or None
        Of the shuffled arrangement.
    threads : int, optional
        CPU threads; all without it.

    Attributes
    ----------
    normalizer_ : Normalizer
        Fitted on the training samples.
    layout_ : Layout
        Pixel of each feature; with ``images=False`` there is none.
    n_features_in_, feature_names_in_
        As of every estimator of scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> import pixfold as pf
    >>> X = np.arange(12.0).reshape(3, 4)
    >>> pf.FoldTransformer("minmax").fit_transform(X).shape
    (3, 1, 2, 2)
    >>> pf.FoldTransformer("minmax", images=False).fit_transform(X)[:, 0].tolist()
    [0.0, 0.5, 1.0]
    """

    def __init__(
        self,
        normalize: Any = "log1p-zscore",
        *,
        negative: str | None = None,
        missing: str | None = None,
        images: bool = True,
        arrangement: str = "natural",
        channels: int = 1,
        random_state: Any = None,
        threads: int | None = None,
    ) -> None:
        self.normalize = normalize
        self.negative = negative
        self.missing = missing
        self.images = images
        self.arrangement = arrangement
        self.channels = channels
        self.random_state = random_state
        self.threads = threads

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit the normaliser and lay the features out; `y` is not looked at.

        Parameters
        ----------
        X : array, sparse matrix or DataFrame, (n_samples, n_features)
            Training samples.
        y : ignored
            Takes part in scikit-learn's pipelines.

        Returns
        -------
        FoldTransformer
            Itself.

        Raises
        ------
        InputError
            For an option that is not usable, and for values that the options do not handle.
        """
        op = type(self).__name__
        switch(op, "images", self.images)
        choice(("natural", "shuffled"))(op, "arrangement", self.arrangement)
        pattern = self._pattern()
        X = self._checked(X, reset=True)
        names = getattr(self, "feature_names_in_", None)
        self.normalizer_ = pattern.fit(X, None if names is None else [str(name) for name in names])
        if self.images:
            seed = int(check_random_state(self.random_state).randint(2**31))
            n = self.n_features_in_
            shuffled = self.arrangement == "shuffled"
            made = Layout.shuffled(n, seed, channels=self.channels) if shuffled else None
            self.layout_ = made or Layout.natural(n, channels=self.channels)
        else:
            self.__dict__.pop("layout_", None)  # of an earlier fit
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Give images (n_samples, channels, height, width), or values (n_samples, n_features); float32.

        Parameters
        ----------
        X : array, sparse matrix or DataFrame, (n_samples, n_features)
            Samples with the features that were fitted.
        """
        check_is_fitted(self, "normalizer_")
        X = self._checked(X, reset=False)
        if not self.images:
            return np.asarray(self.normalizer_.transform(X, threads=self.threads))
        return np.asarray(fold(X, self.layout_, self.normalizer_, threads=self.threads))

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Give the values back, (n_samples, n_features); clipped ones come back as their limit.

        Parameters
        ----------
        X : array
            What :meth:`transform` gave.
        """
        check_is_fitted(self, "normalizer_")
        values = np.asarray(X)
        return self.normalizer_.inverse_transform(unfold(values, self.layout_) if self.images else values)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns: those of the features.

        Raises
        ------
        InputError
            For images, which have pixels and no columns.
        """
        check_is_fitted(self, "normalizer_")
        if self.images:
            raise InputError(
                "FoldTransformer: images have no columns; images=False gives normalised values with the names of the "
                "features, and layout_ says which pixel a feature has"
            )
        return np.asarray(_check_feature_names_in(self, input_features), dtype=object)

    def _pattern(self) -> Normalizer:
        given = self.normalize
        if isinstance(given, Normalizer):
            return given.with_options(negative=self.negative, missing=self.missing)
        choice(tuple(PRESETS))(type(self).__name__, "normalize", given)
        return Normalizer(given, negative=self.negative or "error", missing=self.missing)

    def _checked(self, X: ArrayLike, *, reset: bool) -> Any:
        # The normaliser says what it does with values that are missing, and names the features.
        checked = validate_data(
            self, X, reset=reset, accept_sparse="csr", dtype="numeric", ensure_all_finite="allow-nan"
        )
        return checked

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        pattern = self._pattern()
        tags.input_tags.allow_nan = pattern.missing != "error"
        tags.input_tags.positive_only = pattern.parts.log and pattern.negative == "error"
        return tags
