"""Formats of files and folders: how each is recognised, and the function that opens it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pixfold.errors import InputError
from pixfold.sources.base import Source
from pixfold.sources.disk.compressed import COMPRESSIONS, without_compression
from pixfold.sources.disk.zarr_files import Address, Place
from pixfold.sources.known_formats import advice_on, advice_on_folder
from pixfold.sources.options import ReadOptions

_NPY, _ZIP, _HDF5, _GZIP, _PLAIN = "a NumPy array", "a ZIP archive", "HDF5", "gzip", "text"
_PLINK = "PLINK .bed or .pgen"
_BGEN = "BGEN"
_BZIP2, _XZ = (COMPRESSIONS[suffix].name for suffix in (".bz2", ".xz"))
_OLE = "an old Excel file"
_UTF_16 = "text in UTF-16"
_ZSTD, _PARQUET, _ARROW = "Zstandard", "Parquet", "Arrow"
_MAGIC = {
    b"\x93NUMPY": _NPY,
    b"PK\x03\x04": _ZIP,
    b"PK\x05\x06": _ZIP,
    b"\x89HDF\r\n\x1a\n": _HDF5,
    b"\x1f\x8b": _GZIP,
    b"\x28\xb5\x2f\xfd": _ZSTD,
    b"BZh": _BZIP2,
    b"\xfd7zXZ\x00": _XZ,
    b"\x80\x04\x95": "a Python pickle",
    b"\x80\x05\x95": "a Python pickle",
    b"%PDF": "PDF",
    b"PAR1": _PARQUET,
    b"ARROW1": _ARROW,
    b"\x6c\x1b": _PLINK,
    b"\xd0\xcf\x11\xe0": _OLE,
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
}
_VCF = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf", ".bcf.gz")
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
    in_utf_16 : bool
        Whether text of this format may be in UTF-16.
    """

    name: str
    opener: str
    suffixes: Mapping[str, str] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()
    in_utf_16: bool = False

    def open(self, path: Place, options: ReadOptions) -> Source:
        """Open a file or folder of this format."""
        module, _, function = self.opener.partition(":")
        source: Source = getattr(importlib.import_module(module), function)(path, options)
        return source


TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".raw", ".pheno")


def _compressed_or_not(endings: tuple[str, ...]) -> dict[str, str]:
    """Endings of text files, each alone and with every compression."""
    compressed = {end + suffix: known.name for suffix, known in COMPRESSIONS.items() for end in endings}
    return dict.fromkeys(endings, _PLAIN) | compressed


_TABLES = frozenset({"decimal", "no_header"})
_SEQUENCES = frozenset({"sequence"})
# Of files that may say of which type and genome each feature is.
_TYPED = frozenset({"layer", "feature_type", "genome"})

_ZARR = Format(
    "Zarr store",
    "pixfold.sources.anndata.zarr:open_zarr",
    {".zarr.zip": _ZIP},
    members=("zarr.json", ".zgroup"),
    takes=_TYPED | {"verify"},
)
FORMATS = (
    Format("AnnData", "pixfold.sources.anndata.anndata:open_h5ad", {".h5ad": _HDF5}, takes=_TYPED),
    _ZARR,
    Format("10x HDF5", "pixfold.sources.anndata.tenx:open_h5", {".h5": _HDF5}, takes=_TYPED),
    Format(
        "10x folder",
        "pixfold.sources.anndata.tenx:open_mtx",
        {".mtx": _PLAIN, ".mtx.gz": _GZIP},
        members=("matrix.mtx", "matrix.mtx.gz"),
        takes=_TYPED - {"layer"},
    ),
    Format(
        "table",
        "pixfold.sources.matrices.open:open_table",
        {**_compressed_or_not(TEXT_ENDINGS), ".zip": _ZIP},
        takes=_SEQUENCES | _TABLES | {"transpose"},
        in_utf_16=True,
    ),
    Format(
        "GCT",
        "pixfold.sources.matrices.open:open_table",
        _compressed_or_not((".gct",)),
        takes=frozenset({"transpose"}),
    ),
    Format(
        "spreadsheet",
        "pixfold.sources.matrices.open:open_sheet",
        {".xlsx": _ZIP, ".xlsm": _ZIP, ".ods": _ZIP, ".xls": _OLE},
        takes=_TABLES | {"sheet", "transpose"},
    ),
    Format(
        "sequences",
        "pixfold.sources.sequences.sequences:open_sequences",
        _compressed_or_not((".fasta", ".fa", ".fna", ".faa", ".fastq", ".fq")),
        takes=frozenset({"alphabet"}),
    ),
    Format("PLINK 1", "pixfold.sources.genotypes.plink:open_plink", {".bed": _PLINK}),
    Format(
        "PLINK 2",
        "pixfold.sources.genotypes.pgen:open_pgen",
        {".pgen": _PLINK},
        takes=frozenset({"hard_calls"}),
    ),
    Format("BGEN", "pixfold.sources.genotypes.bgen:open_bgen", {".bgen": _BGEN}, takes=frozenset({"hard_calls"})),
    Format("Parquet", "pixfold.sources.tables.arrow:open_arrow", {".parquet": _PARQUET}, takes=_SEQUENCES),
    Format(
        "Arrow", "pixfold.sources.tables.arrow:open_arrow", {".feather": _ARROW, ".arrow": _ARROW}, takes=_SEQUENCES
    ),
    Format("NumPy array", "pixfold.sources.arrays.array_source:open_npy", {".npy": _NPY}),
    Format("NumPy archive", "pixfold.sources.arrays.array_source:open_npz", {".npz": _ZIP}),
)
SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)

# Without those of compressions.
_ENDINGS = tuple(dict.fromkeys(without_compression(Path(f"x{suffix}"))[1:] for suffix in SUFFIXES if suffix != ".zip"))


def format_of(path: Place) -> Format:
    """Find the format of a file or folder by its name, and check that its first bytes are of that format.

    Raises
    ------
    InputError
        When there is nothing at `path`, it is of no format that is known, is empty, cannot be read, or holds
        something else than its name says.
    """
    if isinstance(path, Address):
        return _ZARR
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        found = next((known for known in FORMATS if any((path / member).exists() for member in known.members)), None)
        if found is None:
            if (advice := advice_on_folder(path)) is not None:
                raise InputError(f"{path}: {advice}")
            members = [member for known in FORMATS for member in known.members]
            raise InputError(
                f"{path}: the input must be a file, or a folder with {' or '.join(members)}, got another folder"
            )
        return found
    if (advice := advice_on(path)) is not None:
        raise InputError(f"{path}: {advice}")
    lower = path.name.lower()
    by_suffix = {suffix: known for known in FORMATS for suffix in known.suffixes}
    suffix = next((s for s in sorted(by_suffix, key=len, reverse=True) if lower.endswith(s)), None)
    if suffix is None and lower.endswith(_VCF):
        raise InputError(f"{path}: {_about_vcf(path.name)}")
    if suffix is None:
        content = _found(_head_of(path))
        raise InputError(
            f"{path}: the name must end in {', '.join(_ENDINGS)} (text also in {', '.join(COMPRESSIONS)}), got "
            f"{path.name!r}, which holds {content}"
        )
    _check_content(path, by_suffix[suffix], by_suffix[suffix].suffixes[suffix])
    return by_suffix[suffix]


def _about_vcf(name: str) -> str:
    """Say how a VCF file becomes one that is read."""
    kind = "bcf" if ".bcf" in name.lower()[-7:] else "vcf"
    stem = name[: name.lower().rindex(f".{kind}")]
    line = f"pixfold does not read VCF; write it anew with: plink2 --{kind} {name} --make-pgen --out {stem}"
    if name.lower().endswith(".vcf"):
        return line
    return (
        f'{line}, or (pip install "bio2zarr[vcf]", and an index by bcftools index {name}): vcf2zarr convert {name} '
        f"{stem}.vcz"
    )


def _check_content(path: Path, known: Format, kind: str) -> None:
    """Raise InputError when the first bytes of a file are not what its name says."""
    found = _found(_head_of(path))
    if found != kind and not (known.in_utf_16 and (kind, found) == (_PLAIN, _UTF_16)):
        raise InputError(f"{path}: the file must be {kind}, as its name says, got {found}")


def _head_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error
    if not head:
        raise InputError(f"{path}: the file is empty")
    return head


def _found(head: bytes) -> str:
    if head[16:20] == b"bgen":  # behind numbers that may look like another format's first bytes
        return _BGEN
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    if any(head.startswith(b"\x89HDF\r\n\x1a\n", offset) for offset in _HDF5_OFFSETS):
        return _HDF5
    return "binary data" if b"\0" in head else _PLAIN
