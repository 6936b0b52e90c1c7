"""The example that reads MNIST."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.examples.mnist_idx import main, open_mnist, read_idx


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2)])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_read(tmp_path, shape, compress):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    (tmp_path / "x").write_bytes(compress(idx(array)))
    np.testing.assert_array_equal(read_idx(tmp_path / "x"), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be IDX of unsigned bytes"),
        (b"\0\0\x0d\1\0\0\0\1\0\0\0\0", "must be IDX of unsigned bytes"),
        (idx(np.zeros((3, 4), np.uint8))[:-1], r"must be of 24 bytes for shape \(3, 4\), got 23"),
        (gzip.compress(idx(np.zeros(99, np.uint8)), mtime=0)[:-9], "cannot read the file"),
    ],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_idx(tmp_path / "x")


def test_labels_that_do_not_fit(tmp_path):
    (tmp_path / "images").write_bytes(idx(np.zeros((5, 2, 2), np.uint8)))
    (tmp_path / "labels").write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(InputError, match="labels must be 3, one per sample, got 4"):
        open_mnist(tmp_path / "images", tmp_path / "labels", 3)


def test_mnist_with_shuffled_pixels(shared_data, capsys):
    pytest.importorskip("torch")
    files = [str(shared_data / f"mnist-t10k-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1")]
    source = open_mnist(*files)
    assert (source.n_samples, source.n_features) == (10_000, 784)
    # A tenth is chance; a short training on shuffled pixels is far above it.
    assert main([*files, "--samples", "2000", "--epochs", "5"]) > 0.7
    assert "pixels shuffled: 0." in capsys.readouterr().out
