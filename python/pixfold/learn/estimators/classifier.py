"""DeepMapperClassifier: classes, and the features that tell them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin

from pixfold.errors import InputError
from pixfold.learn.checkpoint import Checkpoint
from pixfold.learn.choice import fit_classes
from pixfold.learn.estimators.base import DeepMapper, labelled
from pixfold.learn.predict import in_order, predict_proba
from pixfold.learn.results import Results, areas_under_curve
from pixfold.learn.tables import predictions_table
from pixfold.sources.base import Source
from pixfold.util.progress import Progress, shown_progress


class DeepMapperClassifier(ClassifierMixin, DeepMapper):  # type: ignore[misc]
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
        ``f(shape=(C, H, W), n_outputs=K)``, also by its name ``"package.module:callable"``.
    weights : str or path, optional
        File of pretrained weights (safetensors, or torch's without pickled code) that every run of a trained network
        begins with. What does not match is said.
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
        A preset of :class:`Normalizer`, an unfitted one as a pattern, or ``"auto"``, which looks at the values: see
        :func:`pixfold.normalize.choose.choose_normalizer`. ``normalizer_`` and the messages say what it took.
    negative : {"auto", "error", "shift"}
        Negative values before a logarithm; ``"auto"`` shifts and says so.
    missing : {"error", "zero", "mean"}
        Missing values.
    arrangement : {"natural", "shuffled"}
        Features in their own order, or in a new seeded order in every run.
    method : str, optional
        Attribution of trained networks, one of :data:`pixfold.learn.attribution.METHODS`. Without it the importance is
        signed evidence: pixel x gradient of the score of each held-out sample's own class, whose runs are averaged with
        their signs. With it: the mean absolute attribution of rightly classified samples, as in the paper, and no
        feature is called. A method that does not serve the network (attention rollout without attention) is an error
        before the training.
    target : str
        What the method explains: ``"correct"``, the own class of rightly classified samples; ``"true"``, that of all
        held-out samples; ``"predicted"``, the predicted class of all; or ``"A-B"``, the output of class A less that of
        class B for the samples of both.
    attribution_baseline : {"zero", "mean", "others"}, optional
        Where methods with a baseline begin: 0 of the normalised values, the training mean, or training samples of other
        classes. Default: what the method takes, zero or (of SHAP) others.
    noise_tunnel : int, optional
        Average the method over so many noisy copies of each sample (SmoothGrad).
    feature_groups : str, path or dict, optional
        Groups for the method ``"feature_ablation"``: a GMT file, a table of feature and group, a column of what the
        data say of their features, or a dict of group -> features. ``results_.groups`` has a row per group.
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
    >>> y = np.arange(40) % 2
    >>> X = np.random.default_rng(0).random((40, 6))
    >>> X[:, 3] += y
    >>> clf = DeepMapperClassifier(n_runs=4, normalize="zscore", random_state=0).fit(X, y)
    >>> clf.findings_.query("called")["feature"].tolist()
    ['feature_3']
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
        normalize: Any = "auto",
        negative: str = "auto",
        missing: str = "error",
        arrangement: str = "natural",
        method: str | None = None,
        target: str = "correct",
        attribution_baseline: str | None = None,
        noise_tunnel: int | None = None,
        feature_groups: Any = None,
        weights: Any = None,
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

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
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
        sample_weight : array (n_samples,), optional
            How much each sample counts, 0 or more: in the loss of training and validation, in the pixels' scaling of
            the additive network, in the evidence of held-out samples, in the sizes of classes that are made equal. Only
            ratios count, and where classes weigh the same anyway (the additive network, class weights) those within a
            class; samples of weight 0 are left out. A sample is one sample, whatever its weight: splits, scores,
            directions of trained networks, the tests beside them, the normaliser and the figures count each once.
            Labels are permuted while weights stay with their samples. An attribution method and the screen of pairs
            refuse weights.
        checkpoint : path, optional
            Folder in which every epoch and run is kept. The same call goes on from there after an interruption, and
            ends with the bits of an undisturbed one on a CPU; other settings or data are an error that says what
            differs. The folder is removed at the end.

        Returns
        -------
        DeepMapperClassifier
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
        """Learn from a source that brings its labels (``open_source(path, label="cell_type")``).

        Parameters
        ----------
        source : Source
            With labels.
        sample_weight : array (n_samples,), optional
            As for :meth:`fit`.
        command : str, optional
            Kept in the configuration, to say how the job was started.
        progress : Progress, optional
            Where to report; silent without it.
        checkpoint : path, optional
            As for :meth:`fit`. (A :class:`pixfold.learn.checkpoint.Checkpoint` is left to its owner to finish.)
        log : path, optional
            Where every epoch is written as it ends: a table where the name ends in ``.csv``, else a folder of events
            for TensorBoard.

        Returns
        -------
        DeepMapperClassifier
            Itself.
        """
        if source.labels is None:
            raise InputError(f"{source.name}: a classifier needs labels: name their column, or give y")
        fitted, parts = self._fit(
            source,
            fit_classes,
            command,
            progress,
            supervised=True,
            checkpoint=checkpoint,
            log=log,
            sample_weight=sample_weight,
        )
        job, best, outcomes = fitted.job, fitted.best, fitted.runs
        labels, names = job.prepared.labels, job.prepared.sample_names
        assert labels is not None  # the source has some
        tests = np.concatenate([outcome.test for outcome in outcomes])
        numbers = np.repeat([outcome.number for outcome in outcomes], [len(outcome.test) for outcome in outcomes])
        probabilities = np.concatenate([o.probabilities for o in outcomes if o.probabilities is not None])
        self.predictions_ = predictions_table(
            run=numbers,
            samples=[names[position] for position in tests],
            labels=labels[tests],
            probabilities=probabilities,
            class_names=self.class_names_,
        )
        self.metrics_ |= areas_under_curve(numbers, labels[tests], probabilities, self.class_names_)
        sizes = np.bincount(labels, minlength=job.n_classes)
        self.metrics_["class_sizes"] = dict(zip(self.class_names_, sizes.tolist(), strict=True))
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
