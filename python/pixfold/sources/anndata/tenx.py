"""10x Genomics: folders of matrix.mtx, features.tsv and barcodes.tsv, and .h5 files; samples are barcodes."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.anndata.containers import Hdf5File
from pixfold.sources.anndata.mtx import MtxFile
from pixfold.sources.anndata.stored import CsrMatrix
from pixfold.sources.base import Source, check_size
from pixfold.sources.disk.on_disk import StoredSource
from pixfold.sources.feature_types import FEATURE_TYPES, GENE_IDS
from pixfold.sources.options import COLUMNS, ReadOptions
from pixfold.util.text import counted, listed

# Columns of features.tsv that are kept beside the name.
_TSV = ((0, GENE_IDS), (2, FEATURE_TYPES))
_FEATURES, _BARCODES = ("features.tsv", "genes.tsv"), ("barcodes.tsv",)
_ENDS = (".mtx.gz", ".mtx")


def open_mtx(path: Path, options: ReadOptions) -> Source:
    """Open a folder with a matrix, its features and its barcodes, each compressed with gzip or not.

    Parameters
    ----------
    path : Path
        The folder, or its matrix: then features and barcodes stand beside it, with the same beginning of their
        names (``GSM1_matrix.mtx.gz``, ``GSM1_features.tsv.gz``, ``GSM1_barcodes.tsv.gz``).
    options : ReadOptions
        Its ``y`` are the labels: these files have none.

    Raises
    ------
    InputError
        When a file is missing or damaged, or there is not one name for each feature and sample.
    MissingDependencyError
        When pyarrow or pandas is not installed.
    """
    options.refuse(str(path), *COLUMNS)
    matrix_path = (
        next(p for p in (path / "matrix.mtx.gz", path / "matrix.mtx") if p.exists()) if path.is_dir() else path
    )
    stem = next(matrix_path.name[: -len(end)] for end in _ENDS if matrix_path.name.lower().endswith(end))
    prefix = stem.removesuffix("matrix")
    features_path = _beside(matrix_path, prefix, _FEATURES)
    barcodes_path = _beside(matrix_path, prefix, _BARCODES)
    matrix = MtxFile(matrix_path)
    features, barcodes = _lines(features_path), _lines(barcodes_path)
    n_samples, n_features = matrix.shape
    swapped = (
        "; it must be features x samples, got samples x features"
        if (len(features), len(barcodes)) == (n_samples, n_features) and n_samples != n_features
        else ""
    )
    for lines, count, file in ((features, n_features, features_path), (barcodes, n_samples, barcodes_path)):
        if len(lines) != count:
            raise InputError(f"{file}: has {counted(len(lines), 'line')}, {matrix_path.name} has {count:,}{swapped}")
    check_size(matrix.name, n_samples, n_features)
    matrix.unchanged.add(features_path, barcodes_path)
    return StoredSource(
        matrix,
        matrix,
        # The symbol, or the identifier where there is none.
        feature_names=[next((field for field in (*line[1:2], line[0]) if field), "") for line in features],
        sample_names=[line[0] for line in barcodes],
        labels=options.y,
        messages=matrix.messages,
        kind="counts",
        feature_annotation=_annotation(
            **{name: [line[at] if at < len(line) else "" for line in features] for at, name in _TSV}
        ),
    )


def open_h5(path: Path, options: ReadOptions) -> Source:
    """Open a 10x .h5 file: a feature-barcode matrix of Cell Ranger 3 on, or one of the genomes of version 2.

    Parameters
    ----------
    path : Path
        The file.
    options : ReadOptions
        Its ``genome`` (or ``layer``) chooses a matrix where there are several; its ``y`` are the labels: the file
        has none.

    Raises
    ------
    InputError
        When the file is damaged or no such file, or there is no such genome.
    MissingDependencyError
        When h5py is not installed.
    """
    container = Hdf5File(path)
    with container.reading():
        root = container.node()
        members = sorted(root)
        if {"obs", "var"} <= set(members):
            from pixfold.sources.anndata.anndata import open_stored

            return open_stored(container, options)
        groups = [key for key in members if {"barcodes", "indptr", "shape"} <= _members(root[key])]
        asked = options.layer or options.genome
        if asked in groups:
            groups = [asked]
        if not groups:
            raise InputError(
                f"{path}: the file must be a 10x feature-barcode matrix (or AnnData), got HDF5 with "
                f"{listed(members, 10) or 'nothing'}"
            )
        if len(groups) > 1 or (options.layer is not None and options.layer != groups[0]):
            raise InputError(f"{path}: genome must be one of the file ({listed(groups, 10)}), got {asked!r}")
        options.refuse(str(path), *COLUMNS)
        key = groups[0]
        group = root[key]
        sizes = group["shape"][:]
        matrix = CsrMatrix(container, key, (int(sizes[1]), int(sizes[0])))
        check_size(container.name, *matrix.shape)
        table, name, identifier = (
            (group["features"], "name", "id") if "features" in group else (group, "gene_names", "genes")
        )
        types, genomes = (_text(table[part]) if part in table else [] for part in ("feature_type", "genome"))
        genomes = genomes if "features" in group else [key] * matrix.shape[1]
        names, identifiers, barcodes = (_text(node) for node in (table[name], table[identifier], group["barcodes"]))
        for what, found, count in (
            ("features", names, matrix.shape[1]),
            ("features", identifiers, matrix.shape[1]),
            ("features/feature_type", types or names, matrix.shape[1]),
            ("features/genome", genomes or names, matrix.shape[1]),
            ("barcodes", barcodes, matrix.shape[0]),
        ):
            if len(found) != count:
                raise InputError(f"{path}: {key}/{what} has {len(found):,} names, the matrix has {count:,}")
    return StoredSource(
        container,
        matrix,
        feature_names=[name or identifier for name, identifier in zip(names, identifiers, strict=True)],
        sample_names=barcodes,
        labels=options.y,
        messages=matrix.messages,
        kind="counts",
        feature_annotation=_annotation(gene_ids=identifiers, feature_types=types, genome=genomes),
    )


def _annotation(**columns: list[str]) -> dict[str, NDArray[Any]]:
    """Annotations of which any feature has one."""
    return {name: np.array(values, dtype=object) for name, values in columns.items() if any(values)}


def _members(node: Any) -> set[str]:
    return set() if hasattr(node, "shape") else set(node)


def _text(node: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(node[:]).tolist()]


def _beside(matrix: Path, prefix: str, names: tuple[str, ...]) -> Path:
    for name in names:
        for end in (".gz", ""):
            if (found := matrix.with_name(f"{prefix}{name}{end}")).is_file():
                return found
    wanted = " or ".join(f"{prefix}{name}[.gz]" for name in names)
    raise InputError(f"{matrix}: there is no {wanted} beside it")


def _lines(path: Path) -> list[list[str]]:
    """Fields of each line that is not empty."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzip file is damaged or cut off ({error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the file must be text in UTF-8, got other bytes ({error.reason})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error
    return [[field.strip() for field in line.split("\t")] for line in text.splitlines() if line.strip()]
