"""What the estimators share: parameters, the fit, the model that is kept, and labels as they come."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_is_fitted
from torch import nn

from pixfold.errors import InputError
from pixfold.learn.alleles import alleles_of
from pixfold.learn.checkpoint import Checkpoint
from pixfold.learn.comparison import Comparison, compare
from pixfold.learn.consensus import ConsensusResult
from pixfold.learn.epoch_log import EpochLog
from pixfold.learn.fit import Fitted
from pixfold.learn.job import Job
from pixfold.learn.model_files import Model, write
from pixfold.learn.new_samples import NewSamples, new_samples
from pixfold.learn.options import JobOptions
from pixfold.learn.outcome import RunOutcome
from pixfold.learn.peers import world
from pixfold.learn.results import FeatureValues, Results
from pixfold.learn.sample_weights import check_weights, weighted_samples
from pixfold.learn.tables import findings_table, groups_table, history_table
from pixfold.learn.training_options import TrainingOptions
from pixfold.loader import FoldLoader
from pixfold.normalize.normalizer import Normalizer
from pixfold.sources import open_source
from pixfold.sources.base import Source, numbered
from pixfold.sources.feature_types import shown_names
from pixfold.util.progress import Progress, SilentProgress

if TYPE_CHECKING:
    import pandas as pd


# Of a quantity, by the sign of its slope.
_DIRECTIONS = ("lower", "higher")
# Features whose values are shown.
_VALUES_OF = 9


class DeepMapper(BaseEstimator):  # type: ignore[misc]
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
        checkpoint: Checkpoint | str | Path | None = None,
        log: str | Path | None = None,
        sample_weight: Any = None,
    ) -> tuple[Fitted, dict[str, Any]]:
        """Do the runs and keep what is fitted; give it, and the parts of Results that all estimators have."""
        options = self.check_arguments()
        weights = None
        if sample_weight is not None:
            weights = check_weights(type(self).__name__, sample_weight, source.n_samples, options)
            source, weights = weighted_samples(source, weights)
        if options.weights is not None and not Path(options.weights).is_file():
            raise InputError(f"{type(self).__name__}: weights must be a file, got {str(options.weights)!r}")
        kept = Checkpoint(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
        if world()[0]:
            kept = log = None  # the first process keeps and writes for all
        with ExitStack() as stack:
            if kept is not None:
                stack.enter_context(kept.held())
            course = None
            if log is not None:
                course = EpochLog(log, resume=kept is not None and kept.resumes)
                stack.callback(course.close)
            job = Job.start(
                source,
                options,
                supervised=supervised,
                quantity=quantity,
                progress=progress or SilentProgress(),
                checkpoint=kept,
                log=course,
                weights=weights,
            )
            fitted = run(job)
            job = fitted.job  # with the network that was chosen
            prepared, best = job.prepared, fitted.best
            compared = Comparison()
            if supervised and options.baselines:
                compared = compare(job, fitted.runs, best.normalizer)
            if kept is not None and kept is not checkpoint:
                kept.finish()  # whoever brought a Checkpoint has more to do before the job has ended
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
                alleles=alleles_of(source),
            )
        )
        return fitted, {
            "findings": self.findings_,
            "history": self.history_,
            "metrics": self.metrics_,
            "config": self._config(job, command),
            "layout": best.layout,
            "shown_names": shown_names(source),
            "groups": _groups(fitted),
            "annotation": list(self.findings_.columns)[len(self.findings_.columns) - len(source.feature_annotation) :],
            "class_evidence": fitted.consensus.class_mean if prepared.class_names else None,
            "top_values": _values_of_the_best(job, best, self.findings_),
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
        new = X if isinstance(X, NewSamples) else self.aligned(X, memory=options.memory, **how)
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


def _groups(fitted: Fitted) -> pd.DataFrame | None:
    """Make the table of groups that were ablated, where the job has any and a run could be used."""
    groups, names = fitted.job.feature_groups, fitted.job.prepared.class_names
    falls = [outcome.falls for outcome in fitted.runs if outcome.falls is not None]
    if groups is None or names is None or not falls:
        return None
    return groups_table(groups.names, [len(members) for members in groups.members], falls, names)


def _values_of_the_best(job: Job, best: RunOutcome, findings: pd.DataFrame) -> FeatureValues | None:
    """Values of the features of the best ranks; None where no feature has one."""
    ranked = findings.index[findings["rank"].notna()].to_numpy(dtype=np.int64)
    return job.values_of(best.layout, best.normalizer, ranked[:_VALUES_OF]) if len(ranked) else None


def labelled(op: str, X: Any, y: Any, groups: Any, memory: int | None) -> Source:
    """Open samples with their labels, which must be there."""
    source = open_source(X, y=_column(y), memory=memory, **({} if groups is None else {"groups": groups}))
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
