"""Formats of files and folders: how each is recognised, and the function that opens it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pixfold.errors import InputError
from pixfold.sources.base import Source
from pixfold.sources.options import ReadOptions

_NPY, _ZIP, _HDF5, _GZIP, _PLAIN = "a NumPy array", "a ZIP archive", "HDF5", "gzip", "text"
_BED = "PLINK 1 .bed"
_ZSTD, _PARQUET, _ARROW = "Zstandard", "Parquet", "Arrow"
_MAGIC = {
    b"\x93NUMPY": _NPY,
    b"PK\x03\x04": _ZIP,
    b"PK\x05\x06": _ZIP,
    b"\x89HDF\r\n\x1a\n": _HDF5,
    b"\x1f\x8b": _GZIP,
    b"\x28\xb5\x2f\xfd": _ZSTD,
    b"\x80\x04\x95": "a Python pickle",
    b"\x80\x05\x95": "a Python pickle",
    b"%PDF": "PDF",
    b"PAR1": _PARQUET,
    b"ARROW1": _ARROW,
    b"\x6c\x1b": _BED,
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
# HDF5 may begin with a block of its user's, of these sizes and on in powers of two.
_HDF5_OFFSETS = (512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes
    ----------
    name : str
        What it is, for messages.
    opener : str
        ``"module:function"``; called with the path and :class:`ReadOptions`, it returns a source. Imported when a
        file of this format is opened.
    suffixes : tuple of str
        Ends of file names, each with what the first bytes of such a file must be (a value of ``_MAGIC``).
    members : tuple of str
        A folder that holds any of these is of this format.
    takes : frozenset of str
        Those options that are not for every format, and are for this one.
    """

    name: str
    opener: str
    suffixes: Mapping[str, str] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()

    def open(self, path: Path, options: ReadOptions) -> Source:
        """Open a file or folder of this format."""
        module, _, function = self.opener.partition(":")
        source: Source = getattr(importlib.import_module(module), function)(path, options)
        return source


_TEXT = (".csv", ".tsv", ".txt")
_SEQUENCES = frozenset({"sequence"})

FORMATS = (
    Format("AnnData", "pixfold.sources.anndata.anndata:open_h5ad", {".h5ad": _HDF5}, takes=frozenset({"layer"})),
    Format(
        "Zarr store",
        "pixfold.sources.anndata.zarr:open_zarr",
        members=("zarr.json", ".zgroup"),
        takes=frozenset({"layer", "verify"}),
    ),
    Format("10x HDF5", "pixfold.sources.anndata.tenx:open_h5", {".h5": _HDF5}, takes=frozenset({"layer"})),
    Format(
        "10x folder",
        "pixfold.sources.anndata.tenx:open_mtx",
        {".mtx": _PLAIN, ".mtx.gz": _GZIP},
        members=("matrix.mtx", "matrix.mtx.gz"),
    ),
    Format(
        "table",
        "pixfold.sources.tables.text:open_text",
        {
            **dict.fromkeys(_TEXT, _PLAIN),
            **{f"{end}.gz": _GZIP for end in _TEXT},
            **{f"{end}.zst": _ZSTD for end in _TEXT},
        },
        takes=_SEQUENCES,
    ),
    Format(
        "sequences",
        "pixfold.sources.sequences.sequences:open_sequences",
        {
            end + compressed: kind
            for end in (".fasta", ".fa", ".fna", ".faa", ".fastq", ".fq")
            for compressed, kind in (("", _PLAIN), (".gz", _GZIP), (".zst", _ZSTD))
        },
        takes=frozenset({"alphabet"}),
    ),
    Format("PLINK 1", "pixfold.sources.genotypes.plink:open_plink", {".bed": _BED}),
    Format("Parquet", "pixfold.sources.tables.arrow:open_arrow", {".parquet": _PARQUET}, takes=_SEQUENCES),
    Format(
        "Arrow", "pixfold.sources.tables.arrow:open_arrow", {".feather": _ARROW, ".arrow": _ARROW}, takes=_SEQUENCES
    ),
    Format("NumPy array", "pixfold.sources.arrays.array_source:open_npy", {".npy": _NPY}),
    Format("NumPy archive", "pixfold.sources.arrays.array_source:open_npz", {".npz": _ZIP}),
)
SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)


def format_of(path: Path) -> Format:
    """Find the format of a file or folder by its name, and check that its first bytes are of that format.

    Raises
    ------
    InputError
        When there is nothing at `path`, it is of no format that is known, is empty, cannot be read, or holds
        something else than its name says.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        found = next((known for known in FORMATS if any((path / member).exists() for member in known.members)), None)
        if found is None:
            members = [member for known in FORMATS for member in known.members]
            raise InputError(
                f"{path}: the input must be a file, or a folder with {' or '.join(members)}, got another folder"
            )
        return found
    lower = path.name.lower()
    by_suffix = {suffix: known for known in FORMATS for suffix in known.suffixes}
    suffix = next((s for s in sorted(by_suffix, key=len, reverse=True) if lower.endswith(s)), None)
    if suffix is None:
        raise InputError(f"{path}: the name must end in {', '.join(SUFFIXES)}, got {path.name!r}")
    _check_content(path, by_suffix[suffix].suffixes[suffix])
    return by_suffix[suffix]


def _check_content(path: Path, kind: str) -> None:
    """Raise InputError when the first bytes of a file are not what its name says."""
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error
    if not head:
        raise InputError(f"{path}: the file is empty")
    found = _found(head)
    if found != kind:
        raise InputError(f"{path}: the file must be {kind}, as its name says, got {found}")


def _found(head: bytes) -> str:
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    if any(head.startswith(b"\x89HDF\r\n\x1a\n", offset) for offset in _HDF5_OFFSETS):
        return _HDF5
    return "binary data" if b"\0" in head else _PLAIN
