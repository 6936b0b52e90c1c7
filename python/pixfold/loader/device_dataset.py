"""DeviceDataset: samples that stay on a device as compactly as they came, and become images batch by batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pixfold.arrays.cuda import OnCuda, is_on_cuda
from pixfold.arrays.entry import samples
from pixfold.arrays.interop import CsrParts, adopted
from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.loader.arguments import check_features, check_formula, device_of, image_dtype, labels_of
from pixfold.loader.device_stores import OnDevice, Samples, stored
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops.arguments import formula_of
from pixfold.ops.cuda.gather import Wanted
from pixfold.ops.formula_arguments import row_scale
from pixfold.ops.refusals import check_values
from pixfold.sources import open_source
from pixfold.util.checks import check_all, switch, whole_number
from pixfold.util.optional import is_torch, require

_CHECKS = {
    "batch_size": whole_number(1),
    "shuffle": switch,
    "seed": whole_number(0),
    "epoch": whole_number(0),
    "drop_last": switch,
    "interleave": switch,
}


class DeviceDataset:
    """Samples kept on a device in the type they came in; a batch is folded from them by the numbers of its samples.

    Nothing dense larger than a batch ever exists, and no sample crosses the bus twice. On a CUDA device a batch of any
    samples is one launch that reads them where they lie; what a normaliser's library size needs of each sample is
    worked out once, when it is read. Dense samples and genotypes are kept there in the order of the pixels, features
    without a pixel left out, rows rounded up to 16 bytes: another layout of the same samples is another dataset. On the
    CPU, the samples of a batch are copied first. What a matrix takes:

    ================================ ====================== ====================================================
    samples                          bytes per value        488,000 samples x 805,000 features
    ================================ ====================== ====================================================
    packed genotypes                 1/4                    98 GB: on one card of 141 GB
    uint8 or int8                    1                      393 GB
    uint16, int16, float16           2                      786 GB
    float32                          4                      1,571 GB
    sparse (CSR), a share s stored   (value + 4) s          157 GB of uint8 at s = 8 %
    ================================ ====================== ====================================================

    Parameters
    ----------
    X : array, sparse matrix, PackedGenotypes, source or path (n_samples, n_features)
        All that :func:`pixfold.open_source` takes, and torch, JAX and CuPy arrays, dense or sparse (bfloat16 as
        float32). It is read in blocks; dense samples that are on a GPU already are copied there.
    layout : Layout
        Feature -> pixel map.
    normalizer : Normalizer, optional
        A fitted normaliser. The samples are checked against it once, when they are read.
    labels : int array (n_samples,), optional
        Class of each sample.
    device : torch.device or str
        Where the samples and the images are.
    dtype : {"float32", "float16", "bfloat16"}
        Of the images.
    interleave, seed : bool, int
        Deprecated, without effect: samples on a CUDA device lie in the order of the pixels since 0.2, and every batch
        of any samples is read as it lies.

    Raises
    ------
    InputError
        For an argument that is not as described, or missing or negative values that the normaliser does not
        handle.
    """

    def __init__(
        self,
        X: Any,
        layout: Layout,
        normalizer: Normalizer | None = None,
        *,
        labels: ArrayLike | None = None,
        device: torch.device | str = "cuda",
        dtype: Any = "float32",
        interleave: bool = False,
        seed: int = 0,
    ) -> None:
        check_formula("DeviceDataset", layout, normalizer)
        check_all("DeviceDataset", _CHECKS, {"interleave": interleave, "seed": seed})
        if interleave:
            warnings.warn(
                "DeviceDataset: interleave has no effect any more: samples lie in the order of the pixels",
                DeprecationWarning,
                stacklevel=2,
            )
        self.layout, self.normalizer = layout, normalizer
        self.dtype, self.device = image_dtype("DeviceDataset", dtype), device_of("DeviceDataset", device)
        source = _source(adopted("DeviceDataset", "X", X)[0])
        check_features("DeviceDataset", "X", source.n_features, layout)
        self.n_samples, self.n_features = source.n_samples, source.n_features
        self.labels = None
        if labels is not None:
            self.labels = torch.from_numpy(labels_of("DeviceDataset", labels, self.n_samples)).to(self.device)
        scales: list[NDArray[np.float64]] = []
        blocks = _checked(source, layout, normalizer, scales)
        self._store = stored(source, blocks, self.device, layout)
        self._row_scale = torch.from_numpy(np.concatenate(scales)).to(self.device) if scales else None

    def __len__(self) -> int:
        return self.n_samples

    def __repr__(self) -> str:
        size = f"{self.n_samples} x {self.n_features}"
        return f"DeviceDataset({size}, {self._store.kind}, {self.nbytes:,} bytes on {self.device})"

    @property
    def nbytes(self) -> int:
        """Bytes that the samples take on the device."""
        return self._store.nbytes

    @property
    def group_size(self) -> int:
        """How many samples are drawn together: 1."""
        return 1

    def fold(self, indices: Any, *, out: Tensor | None = None) -> Tensor:
        """Fold some samples.

        Parameters
        ----------
        indices : int array or tensor (batch,)
            Positions of the samples, in any order, repeated or not; on the device or not. On a GPU they are looked
            at there, which waits for it.
        out : Tensor (batch, channels, height, width), optional
            Where the images are written.

        Returns
        -------
        images : Tensor (batch, channels, height, width)
            On the dataset's device.

        Raises
        ------
        InputError
            For a position that there is not.
        """
        found = adopted("DeviceDataset.fold", "indices", indices)[0]
        wanted = torch.as_tensor(found.copy() if isinstance(found, np.ndarray) else found)
        whole = not (wanted.is_floating_point() or wanted.is_complex() or wanted.dtype == torch.bool)
        if wanted.dim() != 1 or not (whole or wanted.numel() == 0):  # torch reads [] as floats
            raise InputError(
                f"DeviceDataset.fold: indices must be integers of shape (batch,), got {wanted.dtype} of shape "
                f"{tuple(wanted.shape)}"
            )
        if wanted.numel() and not 0 <= int(wanted.min()) <= int(wanted.max()) < self.n_samples:
            raise InputError(
                f"DeviceDataset.fold: indices must be in [0, {self.n_samples}), got {int(wanted.min())} to "
                f"{int(wanted.max())}"
            )
        if out is None:
            out = self._images(wanted.numel())
        self._fold_into(wanted.to(self.device, torch.int64).contiguous(), out)
        return out

    def _images(self, n: int) -> Tensor:
        return torch.empty((n, *self.layout.shape), dtype=getattr(torch, self.dtype), device=self.device)

    def _fold_into(self, positions: Tensor, images: Tensor) -> None:
        row_scale = None if self._row_scale is None else self._row_scale[positions]
        wanted = Wanted(self.layout, formula_of("DeviceDataset", self.normalizer), row_scale, self.dtype, images)
        self._store.fold_into(positions, wanted)

    def batches(
        self, batch_size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, drop_last: bool = False
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        """Go through all samples once.

        Parameters
        ----------
        batch_size : int
            Samples per batch; the last batch may be smaller.
        shuffle : bool
            In a new order in every epoch, from `seed` and `epoch`.
        seed, epoch : int
            Of the shuffle.
        drop_last : bool
            Leave a last, smaller batch out.

        Yields
        ------
        images : Tensor (batch, channels, height, width)
        labels : int64 Tensor (batch,), or None without labels
        indices : int64 Tensor (batch,)
            Positions of the samples in `X`.

        Raises
        ------
        InputError
            For an argument that is not as described.
        """
        given = {"batch_size": batch_size, "shuffle": shuffle, "seed": seed, "epoch": epoch, "drop_last": drop_last}
        check_all("DeviceDataset.batches", _CHECKS, given)
        return self._batches(int(batch_size), bool(shuffle), int(seed), int(epoch), bool(drop_last))

    def _batches(
        self, batch_size: int, shuffle: bool, seed: int, epoch: int, drop_last: bool
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        order = np.arange(self.n_samples)
        if shuffle:
            order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(order)
        for start in range(0, len(order), batch_size):
            # Sorted within the batch: a batch has no inner order, and neighbours in memory are read together.
            positions = torch.from_numpy(np.sort(order[start : start + batch_size])).to(self.device)
            if drop_last and len(positions) < batch_size:
                continue
            images = self._images(len(positions))
            self._fold_into(positions, images)
            yield images, None if self.labels is None else self.labels[positions], positions


def _source(X: Any) -> Samples:
    if is_on_cuda(X) and X.layout == torch.strided:
        dense = samples("DeviceDataset", X)
        assert isinstance(dense, OnCuda)
        return OnDevice(dense)
    return open_source(_on_host(X))


def _on_host(X: Any) -> Any:
    """Samples that are no source as what sources are made of."""
    if isinstance(X, CsrParts):
        return _csr_array(X)
    if not is_torch(X):
        return X
    X = X.detach().cpu()
    X = X.float() if X.dtype == torch.bfloat16 else X
    if X.layout != torch.sparse_csr:
        return X.numpy()
    return _csr_array(CsrParts(X.values().numpy(), X.col_indices().numpy(), X.crow_indices().numpy(), tuple(X.shape)))


def _csr_array(parts: CsrParts) -> Any:
    sparse = require("scipy.sparse", "io", "DeviceDataset of sparse samples")
    stored = int(parts.indptr[-1])  # JAX may have room for more
    return sparse.csr_array((parts.data[:stored], parts.indices[:stored], parts.indptr), shape=parts.shape)


def _checked(
    source: Samples, layout: Layout, normalizer: Normalizer | None, scales: list[NDArray[np.float64]]
) -> Iterator[Any]:
    """Blocks that the normaliser takes; where it scales each sample, `scales` gets by what."""
    formula = formula_of("DeviceDataset", normalizer)
    for start in range(0, source.n_samples, source.block_size):
        block = source.read(slice(start, min(start + source.block_size, source.n_samples)))
        if formula is not None:
            check_values(block, layout, formula.accepted)
            scale = row_scale(formula, samples("DeviceDataset", block))
            if scale is not None:
                scales.append(scale)
        yield block
