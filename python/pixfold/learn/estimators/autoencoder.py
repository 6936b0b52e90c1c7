"""DeepMapperAutoencoder: samples without labels, and the features that describe them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from pixfold.learn.checkpoint import Checkpoint
from pixfold.learn.choice import fit_autoencoders
from pixfold.learn.clusters import clusters_of, number_of_clusters, require_leiden
from pixfold.learn.estimators.base import DeepMapper
from pixfold.learn.hidden import latent_space
from pixfold.learn.predict import encode, in_order
from pixfold.learn.results import Results
from pixfold.learn.training_options import OF_AUTOENCODERS
from pixfold.sources import open_source
from pixfold.sources.base import Source
from pixfold.util.progress import Progress, shown_progress

# Of every self-supervised job: benchmarks/list_bars measures it as "structure".
UNTESTED = {
    "principal": (
        "without labels the list says which features share most in the differences between samples, and is not tested; "
        "a group that few features show does not stand out of differences that many share"
    ),
    "convolutional": (
        "without labels the list says what the network uses to describe samples, and is not tested; features in which "
        "hidden groups differ are found better by variance or principal components (backbone 'principal')"
    ),
}


class DeepMapperAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DeepMapper):  # type: ignore[misc]
    """Learn samples without labels: the input is the target; find the features that tell samples apart.

    Parameters
    ----------
    latent_dim : int or None
        Size of the bottleneck, None for the flattened grid of the encoder; of principal components the most there are.
    backbone : {"auto", "principal", "convolutional"}
        ``"principal"``: the principal directions along which samples differ more than features do by chance (parallel
        analysis with random signs; :mod:`pixfold.learn.principal.directions`), solved in closed form; for some hundred
        samples. ``"convolutional"``: a small auto-encoder over patches, trained. ``"auto"``: principal components where
        the samples are few enough and no option of a training (``method``, ``latent_layer``, ``epochs``,
        ``latent_dim=None``) is given.
    n_runs, normalize, negative, missing, arrangement, epochs, batch_size, fractions, top_k, device, precision, \
random_state, threads, memory, training
        As for :class:`DeepMapperClassifier`. A run is accepted when it finds a direction, or when its reconstruction
        explains any variance of the test samples.
    method : str, optional
        Attribution of the latent directions of a trained network, one of
        :data:`pixfold.learn.attribution.METHODS` (without it ``"input_x_gradient"``); see
        :func:`pixfold.learn.latent.attribute_latent`.
    latent_layer : str, optional
        Take the output of this layer as the latent space, such as ``"encoder.4"``, instead of the bottleneck. An error
        names the layers there are.
    clusters : {"kmeans", "leiden"} or int, optional
        Find groups of samples in the latent space: by k-means with so many clusters (or as many as there are labels),
        or by the Leiden algorithm. ``clusters_`` has them; where labels are known, ``metrics_["clustering"]`` says how
        far they agree (ARI and NMI).

    Attributes
    ----------
    feature_importances_ : float64 array (n_features,)
        Share of the variance of held-out samples that the principal directions give each feature; of a trained
        network the share of the attribution of the latent directions, each weighted by the samples' spread along it.
    clusters_ : int64 array (n_samples,)
        Cluster of each sample that was used, 0 the largest; where clusters were asked for.
    findings_, history_, metrics_, results_, layout_, normalizer_, module_
        As for :class:`DeepMapperClassifier`.
    """

    _training_defaults: ClassVar[dict[str, Any]] = OF_AUTOENCODERS

    def __init__(
        self,
        latent_dim: int | None = 32,
        *,
        backbone: str = "auto",
        n_runs: int | None = 3,
        time: float | str | None = None,
        fdr: float = 0.1,
        normalize: Any = "auto",
        negative: str = "auto",
        missing: str = "error",
        arrangement: str = "natural",
        method: str | None = None,
        latent_layer: str | None = None,
        clusters: str | int | None = None,
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

    def fit(self, X: Any, y: object = None, *, checkpoint: str | Path | None = None) -> Self:
        """Learn from samples; labels do not enter.

        Parameters
        ----------
        X : array, sparse matrix, DataFrame, AnnData or path, (n_samples, n_features)
            What :func:`pixfold.open_source` opens.
        y : array (n_samples,), optional
            Compared with the clusters, where these are asked for; nothing is learned from it.
        checkpoint : path, optional
            As for :meth:`DeepMapperClassifier.fit`.

        Returns
        -------
        DeepMapperAutoencoder
            Itself.
        """
        options = self.check_arguments()
        known = {} if y is None or self.clusters is None else {"y": y}
        return self.fit_source(open_source(X, memory=options.memory, **known), checkpoint=checkpoint)

    def fit_source(
        self,
        source: Source,
        *,
        command: str | None = None,
        progress: Progress | None = None,
        checkpoint: Checkpoint | str | Path | None = None,
        log: str | Path | None = None,
    ) -> Self:
        """Learn from a source; see :meth:`DeepMapperClassifier.fit_source`. Labels do not enter."""
        import pandas as pd

        if self.clusters == "leiden":
            require_leiden()
        elif self.clusters is not None:  # what cannot be found is said before the runs
            number_of_clusters(
                self.clusters, source.n_samples, None if source.labels is None else _known(source.labels)
            )
        fitted, parts = self._fit(
            source, fit_autoencoders, command, progress, supervised=False, checkpoint=checkpoint, log=log
        )
        job, best = fitted.job, fitted.best
        loader = job.loader(best.layout, best.normalizer)
        space = latent_space(fitted.module, self.latent_layer)
        latent = in_order(*encode(space, loader, job.options.training, job.progress))
        names = [f"latent_{d}" for d in range(latent.shape[1])]
        table = pd.DataFrame(latent, index=job.prepared.sample_names, columns=names)
        parts["messages"] = [*parts["messages"], UNTESTED[job.options.backbone]]
        groups = None
        if self.clusters is not None:
            labels = None if source.labels is None else _known(source.labels[job.prepared.rows])
            found = clusters_of(latent, self.clusters, labels=labels, seed=job.seed)
            self.clusters_, self.metrics_["clustering"] = found.of_sample, found.metrics
            groups = pd.Series(found.of_sample, index=table.index, name="cluster")
        self.results_ = Results(task="self-supervised", latent=table, clusters=groups, **parts)
        return self

    @property
    def _n_features_out(self) -> int:
        """Number of latent values, which scikit-learn names columns by."""
        return latent_space(self.module_, self.latent_layer).n_latent

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def transform(self, X: Any, *, fill_missing: bool = False, ignore_versions: bool = False) -> NDArray[np.float32]:
        """Latent values (n_samples, latent_dim) of samples.

        Features are matched as by :meth:`DeepMapperClassifier.predict_proba`.
        """
        loader, options = self._batches(X, fill_missing=fill_missing, ignore_versions=ignore_versions)
        return in_order(*encode(latent_space(self.module_, self.latent_layer), loader, options, shown_progress()))


def _known(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels, None where one is missing."""
    return np.array(
        [None if label is None or label != label or label == "" else label for label in labels], dtype=object
    )
