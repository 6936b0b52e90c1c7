"""DeepMapperClassifier, DeepMapperRegressor, DeepMapperAutoencoder: the method behind scikit-learn's interface."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_is_fitted
from torch import nn

from pixfold.errors import InputError
from pixfold.learn.backbones import Autoencoder
from pixfold.learn.choice import fit_autoencoders, fit_classes, fit_quantity
from pixfold.learn.comparison import Comparison, compare
from pixfold.learn.consensus import ConsensusResult
from pixfold.learn.fit import Fitted
from pixfold.learn.job import Job
from pixfold.learn.model_files import Model, read, write
from pixfold.learn.new_samples import NewSamples, new_samples
from pixfold.learn.options import JobOptions
from pixfold.learn.predict import encode, in_order, outputs, predict_proba
from pixfold.learn.results import Results
from pixfold.learn.tables import findings_table, history_table, predictions_table, values_table
from pixfold.learn.training_options import OF_AUTOENCODERS, TrainingOptions
from pixfold.loader import FoldLoader
from pixfold.normalize.normalizer import Normalizer
from pixfold.sources import open_source
from pixfold.sources.base import Source, numbered
from pixfold.sources.feature_types import shown_names
from pixfold.util.progress import Progress, SilentProgress, shown_progress

if TYPE_CHECKING:
    import pandas as pd


# Of a quantity, by the sign of its slope.
_DIRECTIONS = ("lower", "higher")


class _DeepMapper(BaseEstimator):  # type: ignore[misc]
    """What the estimators share: parameters, the fit, the model that is kept."""

    # Options of training that differ from those of TrainingOptions.
    _training_defaults: ClassVar[dict[str, Any]] = {}

    # Set by fit
    n_features_in_: int
    feature_importances_: NDArray[np.float64]
    class_names_: list[str]
    findings_: pd.DataFrame
    history_: pd.DataFrame
    metrics_: dict[str, Any]
    consensus_: ConsensusResult
    results_: Results
    layout_: Any
    normalizer_: Normalizer
    module_: nn.Module

    def _remember(self, given: dict[str, Any]) -> None:
        """Keep the arguments of __init__ as they came, as scikit-learn wants; fit checks them."""
        for name in self._get_param_names():
            setattr(self, name, given[name])

    def check_arguments(self) -> JobOptions:
        """Check all parameters, which :meth:`fit` does before it reads anything.

        Returns
        -------
        JobOptions
            The parameters as the fit uses them.

        Raises
        ------
        InputError
            For a parameter that is not usable; the message names class, parameter, what was expected and what came.
        """
        return JobOptions.of(type(self).__name__, self.get_params(deep=False), self._training_defaults)

    def _fit(
        self,
        source: Source,
        run: Callable[[Job], Fitted],
        command: str | None,
        progress: Progress | None,
        *,
        supervised: bool,
        quantity: bool = False,
    ) -> tuple[Fitted, dict[str, Any]]:
        """Do the runs and keep what is fitted; give it, and the parts of Results that all estimators have."""
        options = self.check_arguments()
        job = Job.start(
            source, options, supervised=supervised, quantity=quantity, progress=progress or SilentProgress()
        )
        fitted = run(job)
        job = fitted.job  # with the network that was chosen
        prepared, best = job.prepared, fitted.best
        compared = Comparison()
        if supervised and options.baselines:
            compared = compare(job, fitted.runs, best.normalizer)
        self.consensus_ = fitted.consensus
        self.findings_ = findings_table(
            fitted.consensus,
            source.feature_names,
            prepared.class_names,
            dropped=~prepared.keep,
            significance=fitted.significance,
            stability=None if fitted.stability is None else fitted.stability.frequency,
            baselines=compared.columns,
            directions=_DIRECTIONS if quantity else None,
            annotation=source.feature_annotation,
        )
        self.history_ = history_table([row for outcome in fitted.runs for row in outcome.history])
        self._keep(
            Model(
                estimator=type(self).__name__,
                parameters=self.get_params(deep=False),
                backbone=job.options.backbone if isinstance(job.options.backbone, str) else None,
                layout=best.layout,
                normalizer=best.normalizer,
                module=fitted.module,
                importance=fitted.consensus.importance,
                features=list(source.feature_names),
                features_named=source.feature_names != numbered("feature", source.n_features),
                categories=dict(source.categories),
                classes=prepared.classes,
                class_names=prepared.class_names,
                metrics={**fitted.metrics, **compared.metrics},
                mean=best.normalizer.training_mean(),
                target=best.target,
            )
        )
        return fitted, {
            "findings": self.findings_,
            "history": self.history_,
            "metrics": self.metrics_,
            "config": self._config(job, command),
            "layout": best.layout,
            "shown_names": shown_names(source),
            "pairs": None if fitted.pairs is None else fitted.pairs.table(source.feature_names),
            "messages": [*fitted.messages, *compared.messages],
            "dropped": {"features": prepared.dropped_features, "samples": prepared.dropped_samples},
        }

    def _keep(self, model: Model) -> None:
        """Take a model as this estimator's, with the attributes that scikit-learn and users look at."""
        self._model = model
        self.n_features_in_ = len(model.features)
        self.feature_names_, self.categories_ = model.features, model.categories
        self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        if model.features_named:
            self.feature_names_in_ = np.asarray(model.features, dtype=object)
        self.layout_, self.normalizer_, self.module_ = model.layout, model.normalizer, model.module
        self.feature_importances_, self.metrics_ = model.importance, model.metrics
        if model.classes is not None and model.class_names is not None:
            self.classes_, self.class_names_ = model.classes, model.class_names

    def _config(self, job: Job, command: str | None) -> dict[str, Any]:
        source, training = job.prepared.source, vars(job.options.training)
        parameters = {
            name: value
            if isinstance(value, str | int | float | bool | list | tuple | dict) or value is None
            else repr(value)
            for name, value in self.get_params(deep=False).items()
        }
        return {
            "command": command,
            "input": source.name,
            "estimator": type(self).__name__,
            "parameters": parameters,
            "backbone": job.options.backbone if isinstance(job.options.backbone, str) else repr(job.options.backbone),
            "fdr": job.options.fdr,
            "random_state": job.seed,
            "seeds": "of each run: metrics.json, runs",
            "normalizer": job.normalizer.settings(),
            "training": {name: value for name, value in training.items() if name != "seed"},
            "layout_shape": list(job.layout_of(1).shape),
            "categories": source.categories,
        }

    def aligned(
        self, X: Any, *, fill_missing: bool = False, ignore_versions: bool = False, **options: Any
    ) -> NewSamples:
        """Open new samples with their features matched to those that were learned; see :meth:`predict`.

        Parameters
        ----------
        X : array, sparse matrix, DataFrame, AnnData, path, Source or a list of several
            New samples.
        fill_missing, ignore_versions
            See :func:`pixfold.learn.new_samples.new_samples`.
        **options
            Of :func:`pixfold.open_source`, such as ``label``.

        Returns
        -------
        NewSamples
            What :meth:`predict` takes, too.
        """
        check_is_fitted(self, "module_")
        how = {"fill_missing": fill_missing, "ignore_versions": ignore_versions}
        return new_samples(self._model, X, who=type(self).__name__, **how, **options)

    def _batches(self, X: Any, **how: Any) -> tuple[FoldLoader, TrainingOptions]:
        """Match new samples to the features that were learned; fold them as they are asked for."""
        check_is_fitted(self, "module_")
        options = self.check_arguments()
        new = X if isinstance(X, NewSamples) else self.aligned(X, **how)
        if new is not X:
            for message in new.messages:
                warnings.warn(message, UserWarning, stacklevel=3)
        loader = FoldLoader(
            new.source,
            self.layout_,
            new.normalizer,
            batch_size=options.batch_size,
            threads=options.training.threads,
            check_finite=True,
            memory=options.memory,
            # Every process predicts all of it.
            rank=0,
            world_size=1,
        )
        return loader, options.training

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.missing != "error"
        return tags

    def save(self, path: str | Path) -> None:
        """Write the model to a folder: model.safetensors and model.json; nothing is pickled.

        Parameters
        ----------
        path : path
            Made when it does not exist. Read it back with :func:`pixfold.load`.

        Raises
        ------
        OutputError
            When the folder cannot be written.
        """
        check_is_fitted(self, "module_")
        write(replace(self._model, parameters=self.get_params(deep=False)), path)


class DeepMapperClassifier(ClassifierMixin, _DeepMapper):  # type: ignore[misc]
    """Learn classes from pseudo-images, and rank the features by what held-out samples say of them.

    Every run draws a new split, fits the normaliser and a network on its training samples, and attributes the score of
    each held-out sample's own class to the features. The findings are the mean over the runs, where the labels can be
    told better than chance; p- and q-values say which of them are more than chance. After DeepMapper (Ersavas, Smith
    and Mattick, Sci. Rep. 14, 2024).

    Parameters
    ----------
    backbone : str, torch Module or callable
        ``"auto"``: ``"additive"`` where the job is small enough to be solved among its samples
        (:mod:`pixfold.learn.additive`), else ``"patchnet"``, a small CNN. Or ``"resnet18"`` (the paper's),
        ``"resnet18-plain"``, a torchvision classifier's name, a module (copied for each run) or a callable
        ``f(shape=(C, H, W), n_outputs=K)``.
    n_runs : int, optional
        Runs at most. Without it runs are added until the list has converged (:mod:`pixfold.learn.consensus` states
        when): at most 60 of the additive network, 5 of others.
    time : float or str, optional
        No new run begins after so many seconds (``"10m"``). The findings then depend on the machine's speed.
    fdr : float
        False discovery rate of the features that are called.
    pair_screen : bool, optional
        Screen all pairs of features (:func:`pixfold.pair_screen`) and give the additive network the products of those
        that the training samples show. Without it: where that takes little. Never with groups.
    baselines : bool
        Put a test of each feature and linear models on the same splits beside the findings.
    normalize : str or Normalizer
        A preset of :class:`Normalizer`, an unfitted one as a pattern, or ``"auto"``.
    negative : {"error", "shift", "auto"}
        Negative values before a logarithm; ``"auto"`` shifts and says so.
    missing : {"error", "zero", "mean"}
        Missing values.
    arrangement : {"natural", "shuffled"}
        Features in their own order, or in a new seeded order in every run.
    method : {"saliency", "integrated_gradients", "input_x_gradient"}, optional
        Attribution of trained networks. Without it the importance is signed evidence: pixel x gradient of the score of
        each held-out sample's own class, whose runs are averaged with their signs. With it: the mean absolute
        attribution of rightly classified samples, as in the paper, and no feature is called.
    epochs : int, optional
        Per run at most; chosen from the number of samples without it.
    batch_size : int
        Samples per training step.
    min_accuracy : float, optional
        Mean accuracy on held-out samples from which features are ranked. Without it: when the labels can be told
        better than chance (one test for the whole job, p <= 0.05; :mod:`pixfold.learn.significance`).
    fractions : (float, float, float)
        Of train, validation and test.
    top_k : int, optional
        Size of the top that selection frequency and convergence look at.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    precision : str
        ``"auto"``, ``"32-true"``, ``"bf16-mixed"`` or ``"16-mixed"``, for training.
    random_state : int, RandomState or None
        The same integer gives the same findings on the same machine.
    threads : int, optional
        CPU threads.
    memory : int or str, optional
        Budget for samples, ``"4GB"`` or bytes: those that take no more than half of it are read once and kept, others
        are streamed in blocks that stay within it. Without one, half of the memory that is free decides.
    training : dict, optional
        Further options of :class:`pixfold.learn.training_options.TrainingOptions` (``{"gate_penalty": 0.1}``).

    Attributes
    ----------
    classes_ : array (n_classes,)
        Labels as they came, sorted.
    feature_importances_ : float64 array (n_features,)
        Evidence: each run's share, averaged with its sign.
    findings_ : pandas.DataFrame
        One row per feature in rank order.
    history_ : pandas.DataFrame
        One row per epoch of every run.
    metrics_ : dict
        Test accuracy (mean over the runs), its spread, the job's p-value, agreement, every run's own.
    results_ : pixfold.learn.results.Results
        All of it, for :func:`pixfold.report.write_results`.
    layout_, normalizer_, module_
        What predicts: the additive network fitted on all samples, or the run with the lowest validation loss.

    Examples
    --------
    >>> clf = DeepMapperClassifier(backbone="patchnet", n_runs=1).fit(X, y)  # doctest: +SKIP
    >>> clf.findings_.head()  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: Any = "auto",
        *,
        n_runs: int | None = None,
        time: float | str | None = None,
        fdr: float = 0.1,
        baselines: bool = True,
        pair_screen: bool | None = None,
        normalize: Any = "log1p-zscore",
        negative: str = "error",
        missing: str = "error",
        arrangement: str = "natural",
        method: str | None = None,
        epochs: int | None = None,
        batch_size: int = 64,
        min_accuracy: float | None = None,
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

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Learn from samples and their labels.

        Parameters
        ----------
        X : array, sparse matrix, DataFrame, AnnData or path, (n_samples, n_features)
            What :func:`pixfold.open_source` opens.
        y : array (n_samples,)
            Strings, integers or categories; samples without a label are left out.
        groups : array (n_samples,), optional
            Which samples belong together (donors, batches): none is in the training and the held-out samples of one
            run, and labels are permuted so that they stay together.

        Returns
        -------
        DeepMapperClassifier
            Itself.

        Raises
        ------
        InputError
            Unusable data or arguments; the message names them. It is a ValueError.
        """
        self.check_arguments()
        return self.fit_source(_labelled(type(self).__name__, X, y, groups))

    def fit_source(self, source: Source, *, command: str | None = None, progress: Progress | None = None) -> Self:
        """Learn from a source that brings its labels (``open_source(path, label="cell_type")``).

        Parameters
        ----------
        source : Source
            With labels.
        command : str, optional
            Kept in the configuration, to say how the job was started.
        progress : Progress, optional
            Where to report; silent without it.

        Returns
        -------
        DeepMapperClassifier
            Itself.
        """
        if source.labels is None:
            raise InputError(f"{source.name}: a classifier needs labels: name their column, or give y")
        fitted, parts = self._fit(source, fit_classes, command, progress, supervised=True)
        job, best, outcomes = fitted.job, fitted.best, fitted.runs
        labels, names = job.prepared.labels, job.prepared.sample_names
        assert labels is not None  # the source has some
        tests = np.concatenate([outcome.test for outcome in outcomes])
        self.predictions_ = predictions_table(
            run=np.repeat([outcome.number for outcome in outcomes], [len(outcome.test) for outcome in outcomes]),
            samples=[names[position] for position in tests],
            labels=labels[tests],
            probabilities=np.concatenate([o.probabilities for o in outcomes if o.probabilities is not None]),
            class_names=self.class_names_,
        )
        self.results_ = Results(
            task="classification",
            class_names=self.class_names_,
            predictions=self.predictions_,
            class_means=job.class_means(best.layout, best.normalizer),
            **parts,
        )
        return self

    def predict_proba(
        self, X: Any, *, fill_missing: bool = False, ignore_versions: bool = False
    ) -> NDArray[np.float32]:
        """Class probabilities (n_samples, n_classes), columns as `classes_`.

        Features that have names (of a DataFrame, AnnData, a file) are matched by them: their order does not matter, and
        those that were not learned are ignored, with a warning that counts them.

        Parameters
        ----------
        X : array, sparse matrix, DataFrame, AnnData, path or NewSamples, (n_samples, n_features)
            What :func:`pixfold.open_source` opens.
        fill_missing : bool
            Take the training mean of features that `X` lacks, with a warning that says how many, instead of an error.
        ignore_versions : bool
            Take ENSG00000141510.17 and ENSG00000141510 for one feature.

        Raises
        ------
        InputError
            When features are missing; the message says how many, and what helps.
        """
        loader, options = self._batches(X, fill_missing=fill_missing, ignore_versions=ignore_versions)
        return in_order(*predict_proba(self.module_, loader, options, shown_progress()))

    def predict(self, X: Any, *, fill_missing: bool = False, ignore_versions: bool = False) -> NDArray[Any]:
        """Most probable class of each sample, (n_samples,); see :meth:`predict_proba`."""
        how = {"fill_missing": fill_missing, "ignore_versions": ignore_versions}
        codes = self.predict_proba(X, **how).argmax(axis=1)
        return np.asarray(self.classes_[codes])


class DeepMapperRegressor(RegressorMixin, _DeepMapper):  # type: ignore[misc]
    """Learn a quantity (an age, a dose, a trait) from pseudo-images, and rank the features that it goes with.

    Of the additive network (:mod:`pixfold.learn.additive`) every run holds out blocks of samples that are alike in the
    quantity, and judges its weights on them; the same is done with the quantity permuted within the blocks. Predictions
    are those of the ridge that predicts left-out training samples best. Other networks are trained with Huber's loss.

    Parameters
    ----------
    backbone, n_runs, time, fdr, baselines, normalize, negative, missing, arrangement, epochs, batch_size, fractions, \
top_k, device, precision, random_state, threads, memory, training
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
    >>> reg = DeepMapperRegressor().fit(X, ages)  # doctest: +SKIP
    >>> reg.findings_.query("called")  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: Any = "auto",
        *,
        n_runs: int | None = None,
        time: float | str | None = None,
        fdr: float = 0.1,
        baselines: bool = True,
        normalize: Any = "log1p-zscore",
        negative: str = "error",
        missing: str = "error",
        arrangement: str = "natural",
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

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Learn from samples and a quantity of each.

        Parameters
        ----------
        X : array, sparse matrix, DataFrame, AnnData or path, (n_samples, n_features)
            What :func:`pixfold.open_source` opens.
        y : array (n_samples,)
            Numbers; samples whose number is missing (NaN) are left out.
        groups : array (n_samples,), optional
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
        self.check_arguments()
        return self.fit_source(_labelled(type(self).__name__, X, y, groups))

    def fit_source(self, source: Source, *, command: str | None = None, progress: Progress | None = None) -> Self:
        """Learn from a source that brings its labels; see :meth:`DeepMapperClassifier.fit_source`."""
        if source.labels is None:
            raise InputError(f"{source.name}: a regressor needs labels: name their column, or give y")
        fitted, parts = self._fit(source, fit_quantity, command, progress, supervised=True, quantity=True)
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


# Of every self-supervised job: benchmarks/list_bars measures it as "structure".
UNTESTED = (
    "without labels the list says what the network uses to describe samples, and is not tested; features in which "
    "hidden groups differ are found better by variance or principal components"
)


class DeepMapperAutoencoder(TransformerMixin, _DeepMapper):  # type: ignore[misc]
    """Learn samples without labels: the input is the target; find the features that tell samples apart.

    Parameters
    ----------
    latent_dim : int or None
        Size of the bottleneck; None for the flattened grid of the encoder.
    n_runs, normalize, negative, missing, arrangement, epochs, batch_size, fractions, top_k, device, precision, \
random_state, threads, memory, training
        As for :class:`DeepMapperClassifier`. A run is accepted when its reconstruction explains any variance of the
        test samples.
    method : str
        Attribution of the latent directions; kept for the classifier's interface, see
        :func:`pixfold.learn.attribute.attribute_latent`.

    Attributes
    ----------
    feature_importances_ : float64 array (n_features,)
        Share of the attribution of the latent directions, each weighted by the samples' spread along it.
    findings_, history_, metrics_, results_, layout_, normalizer_, module_
        As for :class:`DeepMapperClassifier`.
    """

    _training_defaults: ClassVar[dict[str, Any]] = OF_AUTOENCODERS

    def __init__(
        self,
        latent_dim: int | None = 32,
        *,
        n_runs: int | None = 3,
        time: float | str | None = None,
        fdr: float = 0.1,
        normalize: Any = "log1p-zscore",
        negative: str = "error",
        missing: str = "error",
        arrangement: str = "natural",
        method: str = "input_x_gradient",
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

    def fit(self, X: Any, y: object = None) -> Self:
        """Learn from samples; `y` is not looked at.

        Parameters
        ----------
        X : array, sparse matrix, DataFrame, AnnData or path, (n_samples, n_features)
            What :func:`pixfold.open_source` opens.
        y : ignored
            Takes part in scikit-learn's pipelines.

        Returns
        -------
        DeepMapperAutoencoder
            Itself.
        """
        self.check_arguments()
        return self.fit_source(open_source(X))

    def fit_source(self, source: Source, *, command: str | None = None, progress: Progress | None = None) -> Self:
        """Learn from a source; see :meth:`DeepMapperClassifier.fit_source`. Labels are not looked at."""
        import pandas as pd

        fitted, parts = self._fit(source, fit_autoencoders, command, progress, supervised=False)
        job, best = fitted.job, fitted.best
        loader = job.loader(best.layout, best.normalizer)
        latent = in_order(*encode(_autoencoder(fitted.module), loader, job.options.training, job.progress))
        names = [f"latent_{d}" for d in range(latent.shape[1])]
        table = pd.DataFrame(latent, index=job.prepared.sample_names, columns=names)
        parts["messages"] = [*parts["messages"], UNTESTED]
        self.results_ = Results(task="self-supervised", latent=table, **parts)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def transform(self, X: Any, *, fill_missing: bool = False, ignore_versions: bool = False) -> NDArray[np.float32]:
        """Latent values (n_samples, latent_dim) of samples.

        Features are matched as by :meth:`DeepMapperClassifier.predict_proba`.
        """
        loader, options = self._batches(X, fill_missing=fill_missing, ignore_versions=ignore_versions)
        return in_order(*encode(_autoencoder(self.module_), loader, options, shown_progress()))


def load(
    path: str | Path, *, backbone: Any = None
) -> DeepMapperClassifier | DeepMapperRegressor | DeepMapperAutoencoder:
    """Read a model that :meth:`DeepMapperClassifier.save` wrote (``pixfold run`` writes one, too).

    Parameters
    ----------
    path : path
        The folder that holds model.safetensors and model.json.
    backbone : Module or callable, optional
        Needed for a model whose backbone was not given by name: code is not saved.

    Returns
    -------
    DeepMapperClassifier, DeepMapperRegressor or DeepMapperAutoencoder
        Predicts (or transforms) as the one that was saved, on the CPU.

    Raises
    ------
    InputError
        When the folder does not hold a whole model of a format that this version reads.
    """
    model = read(path, backbone=backbone)
    kinds: dict[str, type[DeepMapperClassifier | DeepMapperRegressor | DeepMapperAutoencoder]] = {
        "DeepMapperClassifier": DeepMapperClassifier,
        "DeepMapperRegressor": DeepMapperRegressor,
        "DeepMapperAutoencoder": DeepMapperAutoencoder,
    }
    try:
        estimator = kinds[model.estimator](**model.parameters)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: must be a model of this version's estimators, got another ({error})") from error
    estimator._keep(model)
    return estimator


def _autoencoder(module: nn.Module) -> Autoencoder:
    assert isinstance(module, Autoencoder)
    return module


def _labelled(op: str, X: Any, y: Any, groups: Any) -> Source:
    """Open samples with their labels, which must be there."""
    source = open_source(X, y=_column(y), **({} if groups is None else {"groups": groups}))
    if source.labels is None:
        raise InputError(
            # scikit-learn's words, which its own checks look for.
            f"{op} requires y to be passed, but the target y is None "
            "(labels in a file: fit_source(open_source(path, label=...)))"
        )
    return source


def _column(y: Any) -> Any:
    """Labels as they came; those of one column are a vector, which scikit-learn wants warned about."""
    if getattr(y, "ndim", 1) == 2 and y.shape[1] == 1:
        message = "A column-vector y was passed when a 1d array was expected: y.ravel() is used"
        warnings.warn(message, DataConversionWarning, stacklevel=4)
    return y
