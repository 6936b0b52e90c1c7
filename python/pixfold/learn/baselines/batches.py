"""Normalised samples of a job as rows of features, batch by batch or all at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pixfold.layout import Layout
from pixfold.learn.job import Job
from pixfold.loader import FoldLoader
from pixfold.normalize.normalizer import Normalizer

Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]


def used_features(job: Job) -> Ints:
    """Positions of the features that are used: the columns of what this module gives."""
    return np.flatnonzero(job.prepared.keep)


def row_layout(job: Job) -> Layout:
    """Lay the features that are used in one row, in their order."""
    keep = job.prepared.keep
    return Layout.natural(keep.size, shape=(1, int(keep.sum())), keep=keep)


def row_loader(
    job: Job,
    normalizer: Normalizer,
    positions: Ints | slice = slice(None),
    *,
    shuffle: bool | str = False,
    seed: int = 0,
) -> FoldLoader:
    """Loader of images of one row, (batch, 1, 1, n_used), on the CPU."""
    return job.loader(row_layout(job), normalizer, positions, shuffle=shuffle, seed=seed, on_cpu=True)


def rows_of(loader: FoldLoader) -> Iterator[tuple[Floats32, Ints]]:
    """Give the batches of a :func:`row_loader`: rows, (batch, n_used), and their places among its samples."""
    for images, _, indices in loader:
        yield images.numpy().reshape(len(images), -1), indices.numpy()


def matrix_of(job: Job, normalizer: Normalizer, positions: Ints) -> Floats32:
    """All of some samples at once, (n, n_used) float32, in their order."""
    matrix = np.empty((len(positions), int(job.prepared.keep.sum())), dtype=np.float32)
    for rows, at in rows_of(row_loader(job, normalizer, positions)):
        matrix[at] = rows
    return matrix
