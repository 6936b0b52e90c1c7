"""Clusters of samples in the latent space, and how far they agree with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.util.optional import require

# Of the graph that Leiden looks at, as scanpy builds it.
_NEIGHBOURS = 15


@dataclass(frozen=True)
class Clusters:
    """Samples in groups that were found without their labels.

    Attributes
    ----------
    of_sample : int64 (n_samples,)
        Number of the cluster of each sample, 0 the largest.
    metrics : dict
        ``method``, ``n_clusters`` and, where labels are known, ``n_labelled``, ``ari`` (adjusted Rand index) and
        ``nmi`` (normalised mutual information): 1 for the same groups, ARI 0 for chance.
    """

    of_sample: NDArray[np.int64]
    metrics: dict[str, Any]


def clusters_of(
    latent: NDArray[np.float32], how: str | int, *, labels: NDArray[Any] | None = None, seed: int = 0
) -> Clusters:
    """Find groups of samples.

    Parameters
    ----------
    latent : float32 (n_samples, L)
        Latent values.
    how : "kmeans", "leiden" or int
        k-means with as many clusters as there are labels, or with this number; or the Leiden algorithm on the graph of
        the 15 nearest neighbours, which finds their number itself.
    labels : array (n_samples,), optional
        Known labels, None where one is missing. They are compared with the clusters, and say how many k-means looks
        for.
    seed : int
        The same seed gives the same clusters.

    Raises
    ------
    InputError
        When the number of clusters is not known, or exceeds that of samples.
    MissingDependencyError
        When Leiden is asked for and not installed.
    """
    there = None if labels is None else np.array([label is not None for label in labels])
    known = None if labels is None or there is None or not there.any() else labels[there].astype(str)
    if how == "leiden":
        found = _leiden(latent, seed)
    else:
        # Samples in the same place are in the same cluster: there are no more clusters than places.
        k = min(number_of_clusters(how, len(latent), labels), len(np.unique(latent, axis=0)))
        kind = require("sklearn.cluster", "train", "clustering").KMeans
        found = kind(n_clusters=k, n_init=10, random_state=seed).fit_predict(latent.astype(np.float64))
    numbers, place, counts = np.unique(found, return_inverse=True, return_counts=True)
    by_size = np.empty(len(numbers), dtype=np.int64)
    by_size[np.argsort(-counts, kind="stable")] = np.arange(len(numbers))
    codes = by_size[place]
    metrics: dict[str, Any] = {
        "method": "leiden" if how == "leiden" else "kmeans",
        "n_clusters": len(numbers),
    }
    if known is not None and there is not None:
        scores = require("sklearn.metrics", "train", "comparing clusters")
        metrics |= {
            "n_labelled": len(known),
            "ari": float(scores.adjusted_rand_score(known, codes[there])),
            "nmi": float(scores.normalized_mutual_info_score(known, codes[there])),
        }
    return Clusters(codes, metrics)


def number_of_clusters(how: str | int, n_samples: int, labels: NDArray[Any] | None) -> int:
    """How many clusters k-means looks for; asked before the training, too.

    Raises
    ------
    InputError
        As :func:`clusters_of`.
    """
    known = [] if labels is None else [str(label) for label in labels if label is not None]
    if isinstance(how, str) and not known:
        raise InputError("DeepMapperAutoencoder: clusters must be a number where there are no labels, got 'kmeans'")
    k = len(set(known)) if isinstance(how, str) else int(how)
    if not 2 <= k <= n_samples:
        raise InputError(f"DeepMapperAutoencoder: clusters must be 2 to the number of samples, {n_samples}, got {k}")
    return k


def require_leiden() -> None:
    """Raise MissingDependencyError unless Leiden is installed; called before the training."""
    require("leidenalg", "cluster", "Leiden clustering")
    require("igraph", "cluster", "Leiden clustering")


def _leiden(latent: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    leidenalg = require("leidenalg", "cluster", "Leiden clustering")
    igraph = require("igraph", "cluster", "Leiden clustering")
    near = require("sklearn.neighbors", "train", "clustering")
    graph = near.kneighbors_graph(latent.astype(np.float64), min(_NEIGHBOURS, len(latent) - 1)).tocoo()
    network = igraph.Graph(n=len(latent), edges=list(zip(graph.row.tolist(), graph.col.tolist(), strict=True)))
    found = leidenalg.find_partition(network.simplify(), leidenalg.RBConfigurationVertexPartition, seed=seed)
    return np.asarray(found.membership, dtype=np.int64)
