"""DeepMapperClassifier and DeepMapperAutoencoder: the whole method behind scikit-learn's interface."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from pixfold.errors import InputError
from pixfold.learn import attribute as attribution
from pixfold.learn import model_files as persistence
from pixfold.learn import run as runs
from pixfold.learn import train as training
from pixfold.learn.backbones import Autoencoder
from pixfold.learn.consensus import Consensus, ConsensusResult
from pixfold.learn.results import Results, summarise
from pixfold.learn.tables import findings_table, history_table, predictions_table
from pixfold.loader import FoldLoader, in_memory
from pixfold.normalize.choose import choose_normalizer
from pixfold.normalize.normalizer import Normalizer
from pixfold.sources import open_source
from pixfold.sources.base import Source, check_features, numbered
from pixfold.sources.tables.categories import has_one_hot
from pixfold.stream.budget import bytes_of
from pixfold.stream.prepare import Prepared, prepare
from pixfold.util.progress import Progress, SilentProgress
from pixfold.util.provenance import versions

if TYPE_CHECKING:
    import pandas as pd

_ARRANGEMENTS = ("natural", "shuffled")


class _DeepMapper(BaseEstimator):  # type: ignore[misc]
    """What the two estimators share: the runs, their consensus, and the model that is kept."""

    # Set by fit
    n_features_in_: int
    feature_importances_: NDArray[np.float64]
    findings_: pd.DataFrame
    history_: pd.DataFrame
    metrics_: dict[str, Any]
    consensus_: ConsensusResult
    results_: Results
    layout_: Any
    normalizer_: Normalizer
    module_: nn.Module

    def _fit(
        self,
        source: Source,
        run: Callable[[runs.Job, int], runs.RunOutcome],
        command: str | None,
        progress: Progress | None,
    ) -> tuple[runs.Job, runs.RunOutcome, list[runs.RunOutcome], dict[str, Any]]:
        started = time.perf_counter()
        reporter = progress if progress is not None else SilentProgress()
        self.check_arguments()
        options = self._options()
        memory = self._memory()
        prepared = prepare(source, missing=self.missing, memory=memory, progress=reporter)
        told = list(prepared.messages)
        kept = in_memory(source, memory=memory, progress=reporter)
        normalizer, messages = self._normalizer(kept, prepared)
        told += messages
        for message in told:
            reporter.log(f"warning: {message}")
        job = self._job(prepared, kept, normalizer, options, reporter)
        consensus = Consensus(source.n_features, k=self.top_k)
        outcomes: list[runs.RunOutcome] = []
        best: runs.RunOutcome | None = None
        for number in range(1, self.n_runs + 1):
            outcome = run(job, number)
            if outcome.importance is not None and not consensus.add(outcome.importance):
                outcome.metrics.update(accepted=False, reason=consensus.rejected[-1])
            for message in outcome.messages:
                if message not in told:
                    told.append(message)
                    reporter.log(f"warning: {message}")
            reporter.log(_summary_of(outcome))
            if best is None or _rank_of(outcome) < _rank_of(best):
                best = outcome
            # Only the best network is kept: the others have said what they know.
            outcomes.append(outcome)
            _forget_modules(outcomes, best)
            if consensus.converged:
                reporter.log(f"the ranking has converged after {number} runs")
                break
        assert best is not None
        self._keep(source, prepared, best)
        self.consensus_ = consensus.result()
        self.feature_importances_ = self.consensus_.importance
        self.findings_ = findings_table(
            self.consensus_, source.feature_names, prepared.class_names, dropped=~prepared.keep
        )
        self.history_ = history_table([row for outcome in outcomes for row in outcome.history])
        self.metrics_ = {
            **summarise([outcome.metrics for outcome in outcomes]),
            "converged": self.consensus_.converged,
            "agreement": self.consensus_.agreement,
            "model_of_run": best.number,
            "n_samples": len(prepared.rows),
            "n_features": source.n_features,
            "n_features_used": int(prepared.keep.sum()),
            "seconds": time.perf_counter() - started,
            "versions": versions(),
        }
        parts: dict[str, Any] = {
            "findings": self.findings_,
            "history": self.history_,
            "metrics": self.metrics_,
            "config": self._config(job, source, command),
            "layout": best.layout,
            "messages": told,
            "dropped": {"features": prepared.dropped_features, "samples": prepared.dropped_samples},
        }
        return job, best, outcomes, parts

    def check_arguments(self) -> None:
        """Raise InputError for a parameter that cannot be used; nothing is read for it."""
        p = self.get_params(deep=False)
        self._options()
        self._memory()
        if not isinstance(p["normalize"], Normalizer) and p["normalize"] != "auto":
            Normalizer(p["normalize"])
        if p["arrangement"] not in _ARRANGEMENTS:
            raise InputError(f"arrangement: expected one of {', '.join(_ARRANGEMENTS)}, received {p['arrangement']!r}")
        if isinstance(p["n_runs"], bool) or not isinstance(p["n_runs"], int | np.integer) or p["n_runs"] < 1:
            raise InputError(f"n_runs: expected a positive integer, received {p['n_runs']!r}")
        if p["negative"] not in ("auto", "error", "shift"):
            raise InputError(f"negative: expected auto, error or shift, received {p['negative']!r}")
        if p["method"] not in attribution.methods():
            raise InputError(f"method: expected one of {', '.join(attribution.methods())}, received {p['method']!r}")
        accuracy = p.get("min_accuracy")
        if accuracy is not None and not (isinstance(accuracy, int | float | np.number) and 0 <= accuracy <= 1):
            raise InputError(f"min_accuracy: expected a number from 0 to 1, received {accuracy!r}")

    def _memory(self) -> int | None:
        return None if self.memory is None else bytes_of(type(self).__name__, self.memory)

    def _options(self) -> training.TrainingOptions:
        p = self.get_params(deep=False)
        own = {name: p[name] for name in ("epochs", "device", "precision", "threads")}
        further = dict(p["training"] or {})
        known = set(training.TrainingOptions.__dataclass_fields__) - set(own) - {"seed"}
        for name in further:
            if name in own or name == "seed":
                instead = "random_state" if name == "seed" else name
                raise InputError(f"training: {name!r} is a parameter of its own: {instead}=...")
            if name not in known:
                raise InputError(f"training: unknown option {name!r}, there are {', '.join(sorted(known))}")
        return self._training_options(**own, **further)

    @staticmethod
    def _training_options(**given: Any) -> training.TrainingOptions:
        return training.TrainingOptions(**given)

    def _normalizer(self, source: Source, prepared: Prepared) -> tuple[Normalizer, list[str]]:
        p = self.get_params(deep=False)
        if isinstance(p["normalize"], Normalizer):
            return p["normalize"].with_options(), []
        if p["normalize"] != "auto" and p["negative"] != "auto":
            return Normalizer(p["normalize"], negative=p["negative"], missing=p["missing"]), []
        return choose_normalizer(
            prepared.profile, source, normalize=p["normalize"], negative=p["negative"], missing=p["missing"]
        )

    def _job(
        self,
        prepared: Prepared,
        source: Source,
        normalizer: Normalizer,
        options: training.TrainingOptions,
        progress: Progress,
    ) -> runs.Job:
        p = self.get_params(deep=False)
        return runs.Job(
            prepared=prepared,
            source=source,
            normalizer=normalizer.with_options,
            backbone=p.get("backbone"),
            latent_dim=p.get("latent_dim"),
            arrangement=p["arrangement"],
            method=p["method"],
            fractions=p["fractions"],
            batch_size=p["batch_size"],
            min_accuracy=p.get("min_accuracy"),
            options=options,
            random_state=_seed(p["random_state"]),
            progress=progress,
            memory=self._memory(),
        )

    def _keep(self, source: Source, prepared: Prepared, best: runs.RunOutcome) -> None:
        self.n_features_in_ = source.n_features
        self.feature_names_ = list(source.feature_names)
        if source.feature_names != numbered("feature", source.n_features):
            self.feature_names_in_ = np.asarray(source.feature_names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.categories_ = dict(source.categories)
        self.layout_, self.normalizer_, self.module_ = best.layout, best.normalizer, best.module

    def _config(self, job: runs.Job, source: Source, command: str | None) -> dict[str, Any]:
        options = {name: getattr(job.options, name) for name in job.options.__dataclass_fields__ if name != "seed"}
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
            "random_state": job.random_state,
            "seeds": "of each run: metrics.json, runs",
            "normalizer": job.normalizer().settings(),
            "training": options,
            "layout_shape": list(job.layout_of(1).shape),
            "categories": source.categories,
        }

    def _loader(self, X: Any) -> FoldLoader:
        """Check new samples against the features that were learned, and fold them."""
        check_is_fitted(self, "module_")
        try:
            # A table's text columns are encoded by the codes that were learned.
            source = open_source(X, categories=self.categories_)
        except InputError as error:
            if has_one_hot(self.categories_):
                raise  # opened without them the table has other features
            # A column that should not be there is better called extra than text.
            try:
                source = open_source(X)
            except InputError:
                raise error from None
            self.check_source(source)
            raise
        self.check_source(source)
        p = self.get_params(deep=False)
        return FoldLoader(
            source,
            self.layout_,
            self.normalizer_,
            batch_size=p["batch_size"],
            threads=p["threads"],
            check_finite=True,
            memory=self._memory(),
            # Every process predicts all of it.
            rank=0,
            world_size=1,
        )

    def check_source(self, source: Source) -> None:
        """Raise InputError unless a source has the features that were learned, in their order.

        Parameters
        ----------
        source : Source
            New samples.
        """
        check_features(source, self.feature_names_, hasattr(self, "feature_names_in_"), type(self).__name__)

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
        persistence.save(self, path)


class DeepMapperClassifier(ClassifierMixin, _DeepMapper):  # type: ignore[misc]
    """Learn classes from pseudo-images with CNNs, and rank the features that the CNNs use.

    Every run draws a new stratified split, fits the normaliser on its training samples, trains a network, and, when
    the network is better than chance, attributes its correct predictions of test samples to the features. The
    findings are what the accepted runs agree on (Ersavas, Smith and Mattick, Sci. Rep. 14, 2024).

    Parameters
    ----------
    backbone : str, torch Module or callable
        ``"resnet18"``, ``"resnet18-plain"``, ``"patchnet"`` (the fast one), a torchvision classifier's name, a module
        (copied for each run) or a callable ``f(shape=(C, H, W), n_outputs=K)``.
    n_runs : int
        Runs at most; fewer when the ranking has converged (:mod:`pixfold.learn.consensus` states when).
    normalize : str or Normalizer
        A preset of :class:`Normalizer`, an unfitted one as a pattern, or ``"auto"``.
    negative : {"error", "shift", "auto"}
        Negative values before a logarithm; ``"auto"`` shifts and says so.
    missing : {"error", "zero", "mean"}
        Missing values.
    arrangement : {"natural", "shuffled"}
        Features in their own order, or in a new seeded order in every run.
    method : {"saliency", "integrated_gradients", "input_x_gradient"}
        Attribution method.
    epochs : int, optional
        Per run at most; chosen from the number of samples without it.
    batch_size : int
        Samples per training step.
    min_accuracy : float, optional
        Accuracy on validation and test samples from which a run is accepted. Without it: balanced accuracy on them
        significantly above chance (permutation test, p <= 0.05).
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
        Further options of :class:`pixfold.learn.train.TrainingOptions` (``{"gate_penalty": 0.1}``).

    Attributes
    ----------
    classes_ : array (n_classes,)
        Labels as they came, sorted.
    feature_importances_ : float64 array (n_features,)
        Mean share of importance over the accepted runs; NaN when none was accepted.
    findings_ : pandas.DataFrame
        One row per feature in rank order.
    history_ : pandas.DataFrame
        One row per epoch of every run.
    metrics_ : dict
        Test accuracy (mean over accepted runs), its spread, every run's own.
    results_ : pixfold.learn.results.Results
        All of it, for :func:`pixfold.report.write_results`.
    layout_, normalizer_, module_
        Of the run that is kept for predictions: the accepted one with the lowest validation loss.

    Examples
    --------
    >>> clf = DeepMapperClassifier(backbone="patchnet", n_runs=1).fit(X, y)  # doctest: +SKIP
    >>> clf.findings_.head()  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: Any = "resnet18",
        *,
        n_runs: int = 5,
        normalize: Any = "log1p-zscore",
        negative: str = "error",
        missing: str = "error",
        arrangement: str = "natural",
        method: str = "saliency",
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
        self.backbone = backbone
        self.n_runs = n_runs
        self.normalize = normalize
        self.negative = negative
        self.missing = missing
        self.arrangement = arrangement
        self.method = method
        self.epochs = epochs
        self.batch_size = batch_size
        self.min_accuracy = min_accuracy
        self.fractions = fractions
        self.top_k = top_k
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.threads = threads
        self.memory = memory
        self.training = training

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Learn from samples and their labels.

        Parameters
        ----------
        X : array, sparse matrix, DataFrame, AnnData or path, (n_samples, n_features)
            What :func:`pixfold.open_source` opens.
        y : array (n_samples,)
            Strings, integers or categories; samples without a label are left out.

        Returns
        -------
        DeepMapperClassifier
            Itself.

        Raises
        ------
        InputError
            Unusable data or arguments; the message names them. It is a ValueError.
        """
        source = open_source(X, y=_column(y))
        if source.labels is None:
            raise InputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None "
                "(labels in a file: fit_source(open_source(path, label=...)))"
            )
        return self.fit_source(source)

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
        job, best, outcomes, parts = self._fit(source, runs.classify, command, progress)
        prepared = job.prepared
        assert prepared.class_names is not None
        assert prepared.classes is not None
        assert prepared.labels is not None
        self.classes_ = prepared.classes
        self.class_names_ = prepared.class_names
        labels, names = prepared.labels, prepared.sample_names
        tests = np.concatenate([outcome.test for outcome in outcomes])
        self.predictions_ = predictions_table(
            run=np.concatenate([np.full(len(o.test), o.number) for o in outcomes]),
            samples=[names[position] for position in tests],
            labels=labels[tests],
            probabilities=np.concatenate([o.probabilities for o in outcomes if o.probabilities is not None]),
            class_names=prepared.class_names,
        )
        self.results_ = Results(
            task="classification",
            class_names=prepared.class_names,
            predictions=self.predictions_,
            class_means=runs.class_means(job, best),
            **parts,
        )
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Class probabilities (n_samples, n_classes), columns as `classes_`.

        Raises
        ------
        InputError
            Features other than those learned: the message names missing and extra ones.
        """
        loader = self._loader(X)
        probabilities, indices = training.predict_proba(self.module_, loader, self._options())
        return np.asarray(probabilities[np.argsort(indices)])

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class of each sample, (n_samples,)."""
        codes = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[codes])


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

    def __init__(
        self,
        latent_dim: int | None = 32,
        *,
        n_runs: int = 3,
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
        self.latent_dim = latent_dim
        self.n_runs = n_runs
        self.normalize = normalize
        self.negative = negative
        self.missing = missing
        self.arrangement = arrangement
        self.method = method
        self.epochs = epochs
        self.batch_size = batch_size
        self.fractions = fractions
        self.top_k = top_k
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.threads = threads
        self.memory = memory
        self.training = training

    @staticmethod
    def _training_options(**given: Any) -> training.TrainingOptions:
        return training.TrainingOptions.for_autoencoder(**given)

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
        return self.fit_source(open_source(X))

    def fit_source(self, source: Source, *, command: str | None = None, progress: Progress | None = None) -> Self:
        """Learn from a source; see :meth:`DeepMapperClassifier.fit_source`. Labels are not looked at."""
        import pandas as pd

        if source.labels is not None:
            source = _without_labels(source)
        job, best, _, parts = self._fit(source, runs.autoencode, command, progress)
        loader = job.loader(best.layout, best.normalizer)
        latent, indices = training.encode(_autoencoder(best.module), loader, self._options(), job.progress)
        names = [f"latent_{d}" for d in range(latent.shape[1])]
        table = pd.DataFrame(latent[np.argsort(indices)], index=job.prepared.sample_names, columns=names)
        self.results_ = Results(task="self-supervised", latent=table, **parts)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Latent values (n_samples, latent_dim) of samples."""
        loader = self._loader(X)
        latent, indices = training.encode(_autoencoder(self.module_), loader, self._options())
        return np.asarray(latent[np.argsort(indices)])


def _rank_of(outcome: runs.RunOutcome) -> tuple[bool, float]:
    """Accepted runs before others, then the lowest validation loss."""
    return not outcome.metrics["accepted"], outcome.score


def _autoencoder(module: nn.Module) -> Autoencoder:
    assert isinstance(module, Autoencoder)
    return module


def _forget_modules(outcomes: list[runs.RunOutcome], best: runs.RunOutcome) -> None:
    for outcome in outcomes:
        if outcome is not best:
            object.__setattr__(outcome, "module", nn.Identity())


def _summary_of(outcome: runs.RunOutcome) -> str:
    m = outcome.metrics
    score = (
        f"test accuracy {m['accuracy']:.3f}" if "accuracy" in m else f"explained variance {m['explained_variance']:.3f}"
    )
    end = "accepted" if m["accepted"] else f"not accepted: {m['reason']}"
    return f"run {outcome.number}: {score}, {m['seconds']:.1f} s, {end}"


def _seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        if random_state < 0:
            raise InputError(f"random_state: expected an integer of 0 or more, received {random_state}")
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


def _column(y: Any) -> Any:
    """Labels as they came; those of one column are a vector, which scikit-learn wants warned about."""
    if getattr(y, "ndim", 1) == 2 and y.shape[1] == 1:
        message = "A column-vector y was passed when a 1d array was expected: y.ravel() is used"
        warnings.warn(message, DataConversionWarning, stacklevel=3)
    return y


def _without_labels(source: Source) -> Source:
    other = copy.copy(source)
    other.labels = None
    return other
