"""DeepMapperRegressor: a quantity, and the features that it goes with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin

from pixfold.errors import InputError
from pixfold.learn.checkpoint import Checkpoint
from pixfold.learn.choice import fit_quantity
from pixfold.learn.estimators.base import DeepMapper, labelled
from pixfold.learn.predict import in_order, outputs
from pixfold.learn.results import Results
from pixfold.learn.tables import values_table
from pixfold.sources.base import Source
from pixfold.util.progress import Progress, shown_progress


class DeepMapperRegressor(RegressorMixin, DeepMapper):  # type: ignore[misc]
    """Learn a quantity (an age, a dose, a trait) from pseudo-images, and rank the features that it goes with.

    Of the additive network (:mod:`pixfold.learn.additive`) every run holds out blocks of samples that are alike in the
    quantity, and judges its weights on them; the same is done with the quantity permuted within the blocks. Predictions
    are those of the ridge that predicts left-out training samples best. Other networks are trained with Huber's loss.

    Parameters
    ----------
    backbone, weights, n_runs, time, fdr, baselines, normalize, negative, missing, arrangement, epochs, batch_size, \
fractions, top_k, device, precision, random_state, threads, memory, training
        As for :class:`DeepMapperClassifier`. The job is tested by the correlation of held-out predictions with the
        quantity; importance is signed evidence: pixel x gradient of the output x the standardised quantity.

    Attributes
    ----------
    feature_importances_ : float64 array (n_features,)
        Evidence: each run's share, averaged with its sign.
    findings_ : pandas.DataFrame
        One row per feature in rank order; its direction is ``"higher"`` where a high value speaks for a higher
        quantity, else ``"lower"``.
    predictions_ : pandas.DataFrame
        Held-out samples of every run: what is so, and what was predicted.
    metrics_ : dict
        R2 (``test_r2``), Spearman's and Pearson's correlation of held-out predictions (means over the runs), their
        spread, the job's p-value, agreement, every run's own.
    history_, results_, layout_, normalizer_, module_
        As for :class:`DeepMapperClassifier`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.random((40, 6))
    >>> ages = 20 + 50 * X[:, 3] + rng.random(40)
    >>> reg = DeepMapperRegressor(n_runs=4, normalize="zscore", random_state=0).fit(X, ages)
    >>> reg.findings_.query("called")[["feature", "direction"]].values.tolist()
    [['feature_3', 'higher']]
    """

    def __init__(
        self,
        backbone: Any = "auto",
        *,
        n_runs: int | None = None,
        time: float | str | None = None,
        fdr: float = 0.1,
        baselines: bool = True,
        normalize: Any = "auto",
        negative: str = "auto",
        missing: str = "error",
        arrangement: str = "natural",
        weights: Any = None,
        epochs: int | None = None,
        batch_size: int = 64,
        fractions: tuple[float, float, float] = (0.60, 0.15, 0.25),
        top_k: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        random_state: Any = None,
        threads: int | None = None,
        memory: int | str | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        self._remember(locals())

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Learn from samples and a quantity of each.

        Parameters
        ----------
        X : array, sparse matrix, DataFrame, AnnData or path, (n_samples, n_features)
            What :func:`pixfold.open_source` opens.
        y : array (n_samples,)
            Numbers; samples whose number is missing (NaN) are left out.
        groups : array (n_samples,), optional
            As for :meth:`DeepMapperClassifier.fit`.
        sample_weight : array (n_samples,), optional
            As for :meth:`DeepMapperClassifier.fit`.
        checkpoint : path, optional
            As for :meth:`DeepMapperClassifier.fit`.

        Returns
        -------
        DeepMapperRegressor
            Itself.

        Raises
        ------
        InputError
            Unusable data or arguments; the message names them. It is a ValueError.
        """
        options = self.check_arguments()
        source = labelled(type(self).__name__, X, y, groups, options.memory)
        return self.fit_source(source, sample_weight=sample_weight, checkpoint=checkpoint)

    def fit_source(
        self,
        source: Source,
        *,
        sample_weight: ArrayLike | None = None,
        command: str | None = None,
        progress: Progress | None = None,
        checkpoint: Checkpoint | str | Path | None = None,
        log: str | Path | None = None,
    ) -> Self:
        """Learn from a source that brings its labels; see :meth:`DeepMapperClassifier.fit_source`."""
        if source.labels is None:
            raise InputError(f"{source.name}: a regressor needs labels: name their column, or give y")
        fitted, parts = self._fit(
            source,
            fit_quantity,
            command,
            progress,
            supervised=True,
            quantity=True,
            checkpoint=checkpoint,
            log=log,
            sample_weight=sample_weight,
        )
        targets, names, outcomes = fitted.job.prepared.labels, fitted.job.prepared.sample_names, fitted.runs
        assert targets is not None  # the source has some
        tests = np.concatenate([outcome.test for outcome in outcomes])
        self.predictions_ = values_table(
            run=np.repeat([outcome.number for outcome in outcomes], [len(outcome.test) for outcome in outcomes]),
            samples=[names[position] for position in tests],
            targets=targets[tests],
            predicted=np.concatenate([o.predicted for o in outcomes if o.predicted is not None]),
        )
        self.results_ = Results(task="regression", predictions=self.predictions_, **parts)
        return self

    def predict(self, X: Any, *, fill_missing: bool = False, ignore_versions: bool = False) -> NDArray[np.float64]:
        """Quantity of each sample in the units that were learned, (n_samples,).

        Features are matched as by :meth:`DeepMapperClassifier.predict_proba`.
        """
        loader, options = self._batches(X, fill_missing=fill_missing, ignore_versions=ignore_versions)
        assert self._model.target is not None  # a fitted regressor has one
        center, scale = self._model.target
        return center + scale * in_order(*outputs(self.module_, loader, options, shown_progress()))[:, 0].astype(
            np.float64
        )
