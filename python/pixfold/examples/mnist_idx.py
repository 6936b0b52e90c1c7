"""MNIST in its IDX files: a format of one's own into pixfold, learned with the pixels in a seeded order.

Run it with the two files of the test set::

    python -m pixfold.examples.mnist_idx t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz
"""

from __future__ import annotations

import argparse
import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources import ArraySource

_UNSIGNED_BYTES = 0x08


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, compressed with gzip or not.

    Parameters
    ----------
    path : path
        Two zero bytes, the type, the number of dimensions, their sizes (32 bits, most significant byte first), values.

    Returns
    -------
    uint8 array
        In the shape that the file says.

    Raises
    ------
    InputError
        When the file cannot be read, is no IDX file of unsigned bytes, or has another length than its sizes say.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot read the file: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES:
        raise InputError(
            f"{file}: the file must be IDX of unsigned bytes, which begins 000008, got {content[:4].hex() or 'nothing'}"
        )
    start = 4 + 4 * content[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) != start + math.prod(shape):
        raise InputError(
            f"{file}: the file must be of {start + math.prod(shape):,} bytes for shape {shape}, got {len(content):,}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def open_mnist(images: str | Path, labels: str | Path, samples: int | None = None) -> ArraySource:
    """Make a source of two IDX files: one sample per image, one feature per pixel.

    Parameters
    ----------
    images, labels : path
        The files.
    samples : int, optional
        Use the first ones only.

    Returns
    -------
    ArraySource
    """
    pixels, digits = read_idx(images), read_idx(labels)
    n = len(pixels) if samples is None else min(samples, len(pixels))
    return ArraySource(
        pixels.reshape(len(pixels), -1)[:n],
        name=str(images),
        feature_names=[f"row {r} column {c}" for r in range(pixels.shape[1]) for c in range(pixels.shape[2])],
        labels=digits[:n] if len(digits) == len(pixels) else digits,
    )


def main(arguments: Sequence[str] | None = None) -> float:
    """Learn the digits and say how many of the held-out ones are told apart.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line, when absent.

    Returns
    -------
    float
        Accuracy on held-out samples.
    """
    from pixfold.learn.estimators import DeepMapperClassifier
    from pixfold.util.progress import terminal_progress

    parser = argparse.ArgumentParser(description="Learn MNIST from its IDX files, pixels in a seeded order.")
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--samples", type=int, default=None, help="use the first ones only")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--backbone", default="patchnet")
    parser.add_argument("--arrangement", choices=("natural", "shuffled"), default="shuffled")
    given = parser.parse_args(arguments)
    model = DeepMapperClassifier(
        backbone=given.backbone,
        arrangement=given.arrangement,
        normalize="log1p-minmax",
        n_runs=1,
        epochs=given.epochs,
        random_state=0,
    )
    model.fit_source(open_mnist(given.images, given.labels, given.samples), progress=terminal_progress())
    accuracy = float(model.metrics_["test_accuracy"])
    print(f"accuracy on held-out samples, pixels {given.arrangement}: {accuracy:.3f}")
    print(model.findings_.head(10).to_string(index=False))
    return accuracy


if __name__ == "__main__":
    main()
