"""Images on disk: .npy with its companions, and Zarr v3."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.util.files import interrupted_after
from pixfold.util.optional import require
from pixfold.util.outputs import IMAGES, check_replaceable

# A chunk is what a reader of one sample decompresses, a shard is one file.
_CHUNK_BYTES = 1 << 20
_SHARD_BYTES = 64 << 20

SUFFIXES = (".zarr", ".npy")


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images and what is written beside them.

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples, channels, height, width)``.
    dtype : str
        "float32" or "float16".
    layout, normalizer
        What made the images.
    sample_names, feature_names : list of str
        Of the images, and of all features that the layout knows.
    labels : int64 array (n_samples,), or None
        Classes, counted from 0.
    about : dict
        Plain values (JSON).
    """

    shape: tuple[int, int, int, int]
    dtype: str
    layout: Layout
    normalizer: Normalizer
    sample_names: list[str]
    feature_names: list[str]
    labels: NDArray[np.int64] | None
    about: dict[str, Any]

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        _, channels, height, width = self.shape
        return channels * height * width * np.dtype(self.dtype).itemsize


def files_of(out: Path) -> list[Path]:
    """Return the files of an output: beside OUT.npy there are its layout, normaliser and description.

    Raises
    ------
    InputError
        When `out` ends neither in .zarr nor in .npy.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"convert: out must end in {' or '.join(SUFFIXES)}, got {out}")
    if out.suffix.lower() == ".zarr":
        return [out]
    return [out, *(out.with_suffix(end) for end in (".layout.npz", ".normalizer.npz", ".json"))]


def check_output(out: Path, *, force: bool) -> None:
    """Raise OutputError when images cannot or may not be written to `out`; see :func:`check_replaceable`."""
    targets = files_of(out)
    check_replaceable(out, IMAGES, force=force, beside=targets[1:])


def rows_at_once(images: ImageSet, out: Path, memory: int) -> int:
    """Images that are written together: a shard of a Zarr store, a part of `memory` (bytes) in any case."""
    rows = max(1, min(_SHARD_BYTES, memory) // images.image_bytes)
    if out.suffix.lower() == ".zarr":
        return _shards(images, rows)[1]
    return min(rows, images.shape[0])


def write_npy(paths: list[Path], images: ImageSet, blocks: Iterable[NDArray[Any]]) -> None:
    """Write the four files of an .npy output: `paths` as :func:`files_of` orders them."""
    path, layout, normalizer, about = paths
    header = {"descr": np.dtype(images.dtype).str, "fortran_order": False, "shape": images.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        # On a full disk a write fails with an error, but a memory map would kill the process.
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)
    images.layout.save(layout)
    images.normalizer.save(normalizer)
    described = {
        **images.about,
        "samples": images.sample_names,
        "labels": None if images.labels is None else images.labels.tolist(),
        "features": images.feature_names,
    }
    about.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_zarr(path: Path, images: ImageSet, blocks: Iterable[NDArray[Any]], rows: int) -> None:
    """Write a Zarr v3 store; every block but the last has `rows` images, and becomes one shard."""
    zarr = require("zarr", "io", "writing .zarr")
    group = zarr.create_group(path, zarr_format=3, attributes=images.about)
    chunk, shard = _shards(images, rows)
    array = group.create_array(
        "images",
        shape=images.shape,
        dtype=images.dtype,
        chunks=(chunk, *images.shape[1:]),
        shards=(shard, *images.shape[1:]),
        compressors=zarr.codecs.ZstdCodec(level=1, checksum=True),
        fill_value=0,
        dimension_names=("sample", "channel", "row", "column"),
    )
    first = 0
    for block in blocks:
        # After Ctrl-C, zarr's threads would write on into a folder that is being removed.
        with interrupted_after():
            array[first : first + len(block)] = block
        first += len(block)
    with interrupted_after():
        _vector(group, "sample_names", images.sample_names, "sample")
        _vector(group, "feature_names", images.feature_names, "feature")
        if images.labels is not None:
            _vector(group, "labels", images.labels, "sample")
        for name, part in (("layout", images.layout), ("normalizer", images.normalizer)):
            arrays = group.create_group(name)
            for key, values in part.state().items():
                _vector(arrays, key, values, None)


def _vector(group: Any, name: str, values: Any, dimension: str | None) -> None:
    text = isinstance(values, list)
    array = group.create_array(
        name,
        shape=(len(values),),
        dtype="string" if text else values.dtype,
        chunks=(min(len(values), 1 << 20),),
        dimension_names=None if dimension is None else (dimension,),
    )
    array[:] = np.array(values, dtype=object) if text else values


def _shards(images: ImageSet, rows: int) -> tuple[int, int]:
    """Samples per chunk and per shard: a shard is whole chunks, and about `rows` samples."""
    rows = min(rows, images.shape[0])
    chunk = min(rows, max(1, _CHUNK_BYTES // images.image_bytes))
    return chunk, rows - rows % chunk


def write(paths: list[Path], images: ImageSet, blocks: Iterable[NDArray[Any]], rows: int) -> None:
    """Write `images` to paths made from :func:`files_of`, in the format of their suffix."""
    if len(paths) == 1:
        write_zarr(paths[0], images, blocks, rows)
    else:
        write_npy(paths, images, blocks)
