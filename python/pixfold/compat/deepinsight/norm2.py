"""Norm2Scaler: DeepInsight's norm-2, logarithms scaled by their largest value over all features."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError


class Norm2Scaler:
    """Scale data by ``log(x + |min| + 1) / max``: the minimum is each feature's, the maximum that of all logarithms.

    Results are pyDeepInsight's. Values so far below a feature's minimum that they have no logarithm become 0 where that
    gives NaN, and data whose logarithms are all 0 stay 0.
    """

    _min0: NDArray[Any] | None = None
    _max: float

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn minima and the maximum from samples ``(n_samples, n_features)``.

        Raises
        ------
        InputError
            When `X` is not two-dimensional, is empty, or holds NaN.
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[Any]:
        """Call :meth:`fit` and scale the same samples, with one logarithm for both."""
        data = _numbers("fit", X)
        if data.size == 0:
            raise InputError(f"Norm2Scaler.fit: X must have a sample and a feature or more, got shape {data.shape}")
        low = data.min(axis=0)
        if np.isnan(low).any():
            raise InputError(f"Norm2Scaler.fit: X must hold no NaN, got it in feature {int(np.isnan(low).argmax())}")
        self._min0 = low
        logs = _logarithm(data, low)
        self._max = float(logs.max())
        return self._scaled(logs)

    def transform(self, X: Any, y: Any = None) -> NDArray[Any]:
        """Scale samples; what lies outside the range of the training data is cut off at 0 and 1.

        Raises
        ------
        InputError
            Before :meth:`fit`, or for another number of features.
        """
        if self._min0 is None:
            raise InputError("Norm2Scaler.transform: the scaler is not fitted, call fit first")
        data = _numbers("transform", X)
        if data.shape[1] != self._min0.size:
            raise InputError(f"Norm2Scaler.transform: X must have {self._min0.size} features, got {data.shape[1]}")
        scaled = self._scaled(_logarithm(data, self._min0))
        return np.clip(scaled, 0, 1, out=scaled)

    def _scaled(self, logs: NDArray[Any]) -> NDArray[Any]:
        if self._max > 0:
            logs /= self._max
        return logs


def _numbers(method: str, X: Any) -> NDArray[Any]:
    data = np.asarray(X)
    if data.ndim != 2:
        raise InputError(
            f"Norm2Scaler.{method}: X must be two-dimensional (n_samples, n_features), got shape {data.shape}"
        )
    if data.dtype.kind == "f" and data.dtype.itemsize <= 8:
        return data
    try:
        return data.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"Norm2Scaler.{method}: X must hold numbers, got {data.dtype} ({error})") from error


def _logarithm(data: NDArray[Any], low: NDArray[Any]) -> NDArray[Any]:
    shifted = data + np.abs(low)
    shifted += 1
    # Below 1 the logarithm is negative, or none: both are cut off at 0. NaN stays NaN.
    np.maximum(shifted, 1, out=shifted)
    logs: NDArray[Any] = np.log(shifted, out=shifted)
    return logs
