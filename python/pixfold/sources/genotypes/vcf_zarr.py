"""VCF Zarr: the stores that vcf2zarr and plink2zarr (bio2zarr) write, and vcztools and sgkit read."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.anndata.containers import Container
from pixfold.sources.base import check_size
from pixfold.sources.genotypes.codes import MISSING, packed_rows, room_for
from pixfold.sources.genotypes.samples import Samples
from pixfold.sources.genotypes.variant_major import VariantSource
from pixfold.sources.genotypes.variants import Variants, VariantsBuilder
from pixfold.sources.options import ReadOptions
from pixfold.util.text import counted

CALLS = "call_genotype"
_NEEDED = ("sample_id", "variant_position", "variant_contig", "contig_id", "variant_allele")
# In place of a second copy, where a genotype has one.
_NO_COPY = -2
_NAMES_AT_ONCE = 100_000


class VcfZarrSource(VariantSource):
    """A VCF Zarr store. Names and labels are read when it is opened, genotypes when they are asked for.

    A value is the number of alternate alleles, whichever they are. A genotype with one copy (``1`` in a VCF file)
    counts as two of them, as PLINK does. Genotypes with any allele missing (``./.``, ``./1``) are missing.

    Parameters
    ----------
    store : Container
        A Zarr group with ``call_genotype``, ``sample_id`` and what describes the variants, of Zarr format 2 or 3.
    options : ReadOptions
        Its ``label``, ``groups`` and ``covariates`` are arrays of the store about the samples, such as ``sample_sex``.

    Raises
    ------
    InputError
        When arrays are missing, damaged or disagree, or genotypes have more than two copies.
    """

    def __init__(self, store: Container, options: ReadOptions) -> None:
        name, messages = store.name, list[str]()
        self._store = store
        store.holds = "VCF Zarr"
        with store.reading():
            group = store.node()
            absent = [key for key in _NEEDED if key not in group]
            if absent:
                raise InputError(f"{name}: a store with {CALLS} must hold {', '.join(_NEEDED)}, got no {absent[0]}")
        with store.reading(CALLS):
            calls = self._calls()
            shape = tuple(int(size) for size in calls.shape)
            if len(shape) != 3 or shape[2] not in (1, 2) or calls.dtype.kind != "i":
                raise InputError(
                    f"{name}: {CALLS} must be integers of shape (variants, samples, 1 or 2 copies), got {calls.dtype} "
                    f"of shape {shape}"
                )
            check_size(name, shape[1], shape[0])
            if calls.absent:
                n = len(calls.absent_files)
                messages.append(
                    f"{name}: {counted(n, 'chunk')} of {CALLS} {'is' if n == 1 else 'are'} not stored and "
                    f"{'reads' if n == 1 else 'read'} as {calls.fill_value}: right when nothing else is in there"
                )
            store.watch(CALLS)
        self._chunk = int(calls.chunks[0]), int(calls.chunks[1])
        samples, variants = _samples(store, shape[1]), _variants(store, shape[0])
        super().__init__(name, samples, variants.once(messages), options, packed=True, messages=messages)

    def read_variants(self, first: int, last: int, samples: slice = slice(None)) -> NDArray[Any]:
        """Read some variants; see :meth:`VariantSource.read_variants`."""
        start, stop, _ = samples.indices(self.n_samples)
        out = np.empty((last - first, -(-(stop - start) // 4)), dtype=np.uint8)
        step = self.variants_at_once(1)
        for row in range(first - first % step, last, step):
            rows = slice(max(row, first), min(row + step, last))
            for left, right in self._pieces(start, stop):
                packed = packed_rows(self._decoded(rows, left, right))
                out[rows.start - first : rows.stop - first, (left - start) // 4 : -(-(right - start) // 4)] = packed[
                    :, : -(-(right - left) // 4)
                ]
        return out

    def variants_at_once(self, bytes_per_value: int) -> int:
        """Whole chunks of variants; see :meth:`VariantSource.variants_at_once`."""
        return -(-self._chunk[0] // 4) * 4

    def _pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Samples chunk by chunk, cut where a byte of packed ones begins."""
        width = self._chunk[1]
        cuts = [cut // 4 * 4 for cut in range((start // width + 1) * width, stop, width)]
        cuts = [start, *(cut for cut in dict.fromkeys(cuts) if cut > start), stop]
        return [(left, right) for left, right in itertools.pairwise(cuts) if left < right]

    def _decoded(self, rows: slice, left: int, right: int) -> NDArray[np.int8]:
        """Copies of the first allele; see :func:`packed_rows`."""
        calls = room_for(rows.stop - rows.start, right - left)
        with self._store.reading(CALLS):
            alleles = self._calls().block(rows, slice(left, right))
        out, one = calls[:, : right - left], alleles[..., 0]
        if alleles.shape[2] == 1:
            np.multiply(one == 0, 2, out=out, dtype=np.int8)
            out[one < 0] = MISSING
            return calls
        other = alleles[..., 1]
        np.add(one == 0, other == 0, out=out, dtype=np.int8)
        gone = (one < 0) | (other < 0)
        if gone.any():
            alone = (other == _NO_COPY) & (one >= 0)
            out[alone] *= 2
            out[gone & ~alone] = MISSING
        return calls

    def _calls(self) -> Any:
        calls = self._store.node(CALLS)
        if not hasattr(calls, "block"):  # that of an array of numbers
            raise InputError(f"{self._store.name}: {CALLS} must be an array of integers, got another thing")
        return calls


def _samples(store: Container, n_samples: int) -> Samples:
    """Names, and every array of text or numbers with a value per sample."""
    with store.reading("sample_id"):
        _check_stored(store, "sample_id")
        names = [str(name) for name in store.node("sample_id")[:]]
        _check_length(store, "sample_id", len(names), n_samples, "samples")
        if len(set(names)) < n_samples:
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise InputError(f"{store.name}: samples must be there once each, got {twice!r} twice")
        keys = sorted(key for key in store.node() if key.startswith("sample_") and key != "sample_id")
    columns = {}
    for key in keys:
        with store.reading(key):
            node = store.node(key)
            if getattr(node, "shape", None) == (n_samples,):
                columns[key] = tuple("" if value is None else str(value) for value in np.asarray(node[:]).tolist())
    return Samples(None, names, columns, tuple(columns), plinks=False)


def _variants(store: Container, n_variants: int) -> Variants:
    """Names and places of the variants, and their alleles: the first is REF."""
    found = VariantsBuilder(store.path)
    nodes: dict[str, Any] = {}
    for key in ("contig_id", "variant_contig", "variant_position", "variant_allele", "variant_id"):
        with store.reading(key):
            if key in store.node():
                nodes[key] = store.node(key)
    for key, node in nodes.items():
        n_axes = 2 if key == "variant_allele" else 1
        if len(getattr(node, "shape", ())) != n_axes:
            raise InputError(f"{store.name}: {key} must be an array of {n_axes} axes, got another thing")
        if key != "contig_id":
            _check_length(store, key, int(node.shape[0]), n_variants, "variants")
        _check_stored(store, key)
    with store.reading("contig_id"):
        contigs = [str(name) for name in nodes["contig_id"][:]]
    for start in range(0, n_variants, _NAMES_AT_ONCE):
        part = slice(start, min(start + _NAMES_AT_ONCE, n_variants))
        with store.reading("the description of the variants"):
            contig, position = nodes["variant_contig"][part], nodes["variant_position"][part]
            if contig.size and not 0 <= contig.min() <= contig.max() < len(contigs):
                raise InputError(f"{store.name}: variant_contig must be below {len(contigs)}, got {contig.max()}")
            alleles = np.asarray(nodes["variant_allele"][part]).tolist()
            ids = np.asarray(nodes["variant_id"][part]).tolist() if "variant_id" in nodes else ["."] * len(position)
        for i, row in enumerate(alleles):
            others = ",".join(str(allele) for allele in row[1:] if allele not in ("", ".", None)) or "."
            found.add(contigs[int(contig[i])], int(position[i]), str(ids[i] or "."), others, str(row[0]))
    return found.finish()


def _check_stored(store: Container, key: str) -> None:
    """Names of nothing would be empty, and all alike."""
    if store.node(key).dtype.kind not in "iuf" and (absent := store.absent(key)):
        raise InputError(f"{store.name}: {absent[0]} is missing")


def _check_length(store: Container, key: str, found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise InputError(f"{store.name}: {key} must be of {wanted:,} {what}, as {CALLS} is, got {found:,}")
