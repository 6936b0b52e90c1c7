"""Zarr stores: what one holds, and reading it so that damaged and missing chunks are noticed."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.anndata.containers import Container
from pixfold.sources.base import Source
from pixfold.sources.disk.codecs import ZARRS, zarrs_works
from pixfold.sources.disk.zarr_files import Address, Files, Place, files_below, files_of_store, is_folder, zarr_store
from pixfold.sources.options import ReadOptions
from pixfold.util.optional import require
from pixfold.util.text import listed, reason_of

_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
# The key in the root's attributes of a store that pixfold packed.
_PACKED = "pixfold"
# The array that makes a store one of VCF Zarr.
_CALLS = "call_genotype"


def open_zarr(path: Place, options: ReadOptions) -> Source:
    """Open a Zarr store that holds AnnData or VCF Zarr, or that pixfold packed.

    Raises
    ------
    InputError
        When the store is damaged or holds something else.
    MissingDependencyError
        When zarr is not installed.
    """
    store = ZarrStore(path)
    with store.reading():
        root = store.node()
        if hasattr(root, "shape"):
            raise InputError(f"{path}: the store must be a Zarr group (AnnData, or packed by pixfold), got one array")
        attributes = dict(root.attrs)
    if _PACKED in attributes:
        options.refuse(str(path), "layer")
        packed: Source = importlib.import_module("pixfold.sources.packed.source").open_packed(path, options)
        return packed
    options.refuse(str(path), "verify")
    # Before 0.8 anndata wrote no encoding-type.
    kind = str(attributes.get("encoding-type", ""))
    with store.reading():
        members = sorted(root)
    if _CALLS in members:
        options.refuse(str(path), "layer")
        genotypes = importlib.import_module("pixfold.sources.genotypes.vcf_zarr")
        calls: Source = genotypes.VcfZarrSource(store, options)
        return calls
    if kind == "anndata" or (not kind and {"obs", "var"} <= set(members)):
        from pixfold.sources.anndata.anndata import open_stored

        return open_stored(store, options)
    there = (f"a store of type {kind!r} with " if kind else "") + (listed(members, 10) or "nothing")
    raise InputError(f"{path}: the store must be AnnData, VCF Zarr, or packed by pixfold, got {there}")


class ZarrStore(Container):
    """A Zarr store (format 2 or 3) in a folder, a ZIP archive or on another machine.

    Arrays of numbers are decoded by zarrs where it is installed, without the GIL; zarr's own pipeline decodes
    everything else. Several threads may read at once.
    """

    kind = "Zarr"

    def __init__(self, path: Place) -> None:
        super().__init__(path)
        self._listed: Files | None = None
        self._files()

    def _open(self, key: str) -> Any:
        zarr = require("zarr", "io", "reading Zarr stores")
        if not key:
            store = zarr_store(self.path)
            root = zarr.open(store, mode="r")
            return root if hasattr(root, "shape") else zarr.open_group(store, mode="r", use_consolidated=False)
        node = self.node()[key]
        if not hasattr(node, "shape") or node.dtype.kind not in "biuf" or not node.ndim:
            return node
        if node.dtype.isnative and zarrs_works() and is_folder(self.path):
            # An array keeps the pipeline that it was opened with, so that the user's setting changes for this only.
            with zarr.config.set({"codec_pipeline.path": ZARRS}):
                node = self.node()[key]
        return CheckedArray(self.name, node, self._files())

    def absent(self, key: str) -> list[str]:
        """Files of chunks of an array that are not there; none where there is no such array."""
        if key not in self.node() or not hasattr(node := self.node()[key], "shape") or not node.ndim:
            return []
        return CheckedArray(self.name, node, self._files()).absent_files

    def _files(self) -> Files:
        """Return the root of the files of the store: those of no folder are listed once."""
        if self._listed is None:
            self._listed = files_of_store(self.path)
        return self._listed

    def _described_by(self, key: str) -> list[Path]:
        if isinstance(self.path, Address):
            return []
        if not is_folder(self.path):
            return [self.path]
        files = [self.path / key / name for name in _METADATA]
        return [file for file in files if file.exists()]

    def _damaged(self, what: str, error: Exception) -> InputError:
        top = self.path
        for folder, _, files in os.walk(top) if isinstance(top, Path) else ():
            for name in sorted(set(_METADATA) & set(files)):
                file = Path(folder, name)
                try:
                    json.loads(file.read_bytes())
                except (ValueError, OSError) as broken:
                    return InputError(
                        f"{self.name}: {str(file).removeprefix(str(top)).lstrip('/')} is damaged or cut off: "
                        f"it is no JSON that describes the store ({broken})"
                    )
        return InputError(f"{self.name}: {what or 'the store'} is damaged or no {self.holds} ({reason_of(error)})")


class CheckedArray:
    """A Zarr array that is read by slices of its first axis.

    Zarr takes a chunk that is not there for one that was never written. This class tells what is absent when
    the array is opened, and raises InputError for what goes missing later.

    Attributes
    ----------
    absent : list of (int, int)
        Stretches of the first axis with chunks that are not stored: they read as ``fill_value``.
    absent_files : list of str
        Their files.
    """

    def __init__(self, name: str, array: Any, store: Files) -> None:
        self.shape, self.dtype, self.chunks, self.attrs = array.shape, array.dtype, array.chunks, array.attrs
        self.fill_value = array.fill_value
        self._name, self._array, self._store = name, array, store
        self._stored = array.shards or array.chunks
        folder = store / array.path
        there = files_below(folder)
        files = {str(file): place[0] for place, file in self._files(0, self.shape[0])}
        self._absent = set(files) - there
        self.absent_files = [file.removeprefix(str(store)).lstrip("/") for file in sorted(self._absent)]
        length = self._stored[0]
        starts = sorted({files[file] * length for file in self._absent})
        self.absent = [(start, min(start + length, self.shape[0])) for start in starts]

    def __getitem__(self, part: slice) -> NDArray[Any]:
        return self.block(part)

    def block(self, part: slice, *others: slice) -> NDArray[Any]:
        """Read a part of the first axis, and of others."""
        start, stop, _ = part.indices(self.shape[0])
        for _, file in self._files(start, stop):
            if not file.exists() and str(file) not in self._absent:
                raise InputError(f"{self._name}: {_within(file, self._store)} is gone: it was there when opened")
        try:
            return np.asarray(self._array[(part, *others)])
        except Exception as error:
            raise self._located(start, stop, error) from error

    def _files(self, start: int, stop: int) -> Iterator[tuple[tuple[int, ...], Files]]:
        """Yield the places in the grid, and the files, of the chunks (or shards) with part of the first axis."""
        if stop <= start:
            return
        length = self._stored[0]
        others = [range(math.ceil(n / c)) for n, c in zip(self.shape[1:], self._stored[1:], strict=True)]
        for place in itertools.product(range(start // length, (stop - 1) // length + 1), *others):
            yield place, self._store / self._array.path / self._array.metadata.encode_chunk_key(place)

    def _located(self, start: int, stop: int, error: Exception) -> InputError:
        """Find the file that cannot be decoded, by decoding one after the other."""
        what = self._array.path
        for place, file in self._files(start, stop):
            try:
                self._array[tuple(slice(p * n, (p + 1) * n) for p, n in zip(place, self._stored, strict=True))]
            except Exception:
                what = _within(file, self._store)
                break
        return InputError(f"{self._name}: {what} is damaged or cut off ({reason_of(error)})")


def _within(file: Files, store: Files) -> str:
    """Name a file as it is called in its store."""
    return str(file).removeprefix(str(store)).lstrip("/")
