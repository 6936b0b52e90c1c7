"""Every format that is read, in every type of values and with sparse values where it can hold them."""

from __future__ import annotations

import gzip
import itertools
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold import PackedGenotypes, pack
from pixfold.sources import Source, open_source, side_by_side

N, M = 48, 10
SAMPLES, FEATURES = [f"s{i}" for i in range(N)], [f"g{j}" for j in range(M)]
TYPES = ("float32", "float64", "int32", "uint8", "int64")


def values(dtype: str) -> Any:
    """Few small values, many zeros; floats are not whole; each class has its own second feature."""
    drawn = np.random.default_rng(0).integers(0, 9, (N, M))
    drawn[drawn > 5] = 0
    drawn[:, 1] = 1 + 3 * (np.arange(N) % 2)
    return (drawn * (0.75 if dtype.startswith("float") else 1)).astype(dtype)


def sparse_of(X: Any, form: str) -> Any:
    from scipy import sparse

    return {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[form](X)


def frame_of(X: Any, features: list[str] = FEATURES) -> Any:
    import pandas

    return pandas.DataFrame(X, SAMPLES, features)


def anndata_of(X: Any, features: list[str] = FEATURES) -> Any:
    import anndata
    import pandas

    return anndata.AnnData(X, obs=pandas.DataFrame(index=SAMPLES), var=pandas.DataFrame(index=features))


def npy(path: Path, X: Any) -> Path:
    np.save(path, X)
    return path


def npz(path: Path, X: Any) -> Path:
    if isinstance(X, np.ndarray):
        np.savez(path, X=X, feature_names=FEATURES, sample_names=SAMPLES)
    else:
        from scipy import sparse

        sparse.save_npz(path, X)
    return path


def table(path: Path, X: Any) -> Path:
    frame = frame_of(X)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".feather":
        frame.to_feather(path)
    else:
        compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        frame.to_csv(path, sep="\t" if ".tsv" in path.name else ",", compression=compression)
    return path


def by_features(path: Path, X: Any) -> Path:
    frame_of(X).T.rename_axis("gene_id").to_csv(path, sep="\t", compression="gzip")
    return path


def gct(path: Path, X: Any) -> Path:
    frame = frame_of(X).T.rename_axis("Name")
    frame.insert(0, "Description", "na")
    path.write_text(f"#1.2\n{M}\t{N}\n" + frame.to_csv(sep="\t"))
    return path


def series_matrix(path: Path, X: Any) -> Path:
    table = frame_of(X).T.rename_axis("ID_REF").to_csv(sep="\t")
    head = "!Sample_geo_accession\t" + "\t".join(SAMPLES)
    text = f"{head}\n!series_matrix_table_begin\n{table}!series_matrix_table_end\n"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def h5ad(path: Path, X: Any) -> Path:
    anndata_of(X).write_h5ad(path)
    return path


def zarr_store(version: int) -> Callable[[Path, Any], Path]:
    def write(path: Path, X: Any) -> Path:
        import anndata

        with anndata.settings.override(zarr_write_format=version), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of anndata, about version 2
            anndata_of(X).write_zarr(path)
        return path

    return write


def tenx_h5(path: Path, X: Any) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(X, part)
        group["shape"], group["barcodes"] = np.array([M, N]), np.array(SAMPLES, "S")
        group["features/name"] = group["features/id"] = np.array(FEATURES, "S")
    return path


def tenx_folder(path: Path, X: Any) -> Path:
    from scipy import io

    path.mkdir()
    io.mmwrite(path / "matrix.mtx", X.T.tocoo(), symmetry="general")
    (path / "features.tsv").write_text("".join(f"{name}\t{name}\n" for name in FEATURES))
    (path / "barcodes.tsv").write_text("".join(f"{name}\n" for name in SAMPLES))
    return path


def packed(path: Path, X: Any) -> Path:
    source = h5ad(path.with_suffix(".h5ad"), X)
    return pack(source, path).path


def bed(path: Path, X: Any) -> Path:
    path.write_bytes(b"\x6c\x1b\x01" + PackedGenotypes.pack(np.minimum(X, 2).astype(np.int8).T.copy()).bits.tobytes())
    path.with_suffix(".fam").write_text("".join(f"f {name} 0 0 0 -9\n" for name in SAMPLES))
    path.with_suffix(".bim").write_text("".join(f"1 {name} 0 {j} A C\n" for j, name in enumerate(FEATURES)))
    return path


def pgen(path: Path, X: Any) -> Path:
    pgenlib: Any = pytest.importorskip("pgenlib", reason="Pgenlib has no wheel for Windows")
    calls = np.ascontiguousarray(np.minimum(X, 2).astype(np.int8).T)
    with pgenlib.PgenWriter(os.fsencode(path), N, variant_ct=M, nonref_flags=False) as writer:
        writer.append_biallelic_batch(calls)
    path.with_suffix(".psam").write_text("#IID\n" + "".join(f"{name}\n" for name in SAMPLES))
    lines = "".join(f"1\t{j}\t{name}\tC\tA\n" for j, name in enumerate(FEATURES))
    path.with_suffix(".pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + lines)
    return path


def bgen(path: Path, X: Any) -> Path:
    library: Any = pytest.importorskip("bgen")
    chances = np.eye(3)[np.minimum(X, 2).astype(np.int64)]
    with library.BgenWriter(str(path), N, samples=SAMPLES) as writer:
        for j, name in enumerate(FEATURES):
            writer.add_variant(name, name, "1", j, ["C", "A"], chances[:, j])
    return path


def vcf_zarr(path: Path, X: Any) -> Path:
    import zarr

    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    alleles = np.stack([X > 0, X > 1], axis=2).transpose(1, 0, 2).astype(np.int8)
    for key, values in {
        "call_genotype": alleles,
        "sample_id": np.array(SAMPLES),
        "variant_position": np.arange(M),
        "variant_contig": np.zeros(M, dtype=np.int8),
        "contig_id": np.array(["1"]),
        "variant_allele": np.array([["C", "A"]] * M),
        "variant_id": np.array(FEATURES),
    }.items():
        group.create_array(key, data=values)
    return path


def letters(X: Any) -> list[str]:
    return ["".join("ACGT"[int(value) % 4] for value in row) for row in X]


def fasta(path: Path, X: Any) -> Path:
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in zip(SAMPLES, letters(X), strict=True))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def dask_array(path: Path, X: Any) -> Any:
    import dask.array

    if isinstance(X, np.ndarray):
        return dask.array.from_array(X, chunks=(7, -1))
    parts = [dask.array.from_array(X[i : i + 12], chunks=(12, -1), asarray=False) for i in range(0, N, 12)]
    return dask.array.concatenate(parts)


def beside(stack: bool) -> Callable[[Path, Any], Any]:
    def write(path: Path, X: Any) -> Any:
        parts = [anndata_of(X[:, :7], FEATURES[:7]), frame_of(_dense(X[:, 7:]), FEATURES[7:])]
        return side_by_side(parts, stack=stack)

    return write


def one_hot(X: Any) -> Any:
    codes = X.astype(np.int64) % 4
    return np.concatenate([codes == letter for letter in range(4)], axis=1)


def _dense(block: Any) -> Any:
    return block if isinstance(block, np.ndarray) else block.toarray()


# Name of a format: how it is written, which forms of a matrix it holds, which types, and what is read of it.
DENSE, CSR, ALL = ("dense",), ("csr",), ("dense", "csr", "csc")
FORMATS: dict[str, tuple[Callable[[Path, Any], Any], tuple[str, ...], tuple[str, ...], Callable[[Any], Any]]] = {
    "x.npy": (npy, DENSE, TYPES, np.asarray),
    "x.npz": (npz, ("dense", "csr"), TYPES, np.asarray),
    **{f"x.{end}": (table, DENSE, TYPES, np.asarray) for end in ("csv", "tsv.gz", "csv.zst", "parquet", "feather")},
    "by_features.tsv.gz": (by_features, DENSE, TYPES, np.asarray),
    "x.gct": (gct, DENSE, TYPES, np.asarray),
    "series_matrix.txt.gz": (series_matrix, DENSE, TYPES, np.asarray),
    "x.h5ad": (h5ad, ALL, TYPES, np.asarray),
    "zarr2": (zarr_store(2), ALL, TYPES, np.asarray),
    "zarr3": (zarr_store(3), ALL, TYPES, np.asarray),
    "x.h5": (tenx_h5, CSR, TYPES, np.asarray),
    "tenx": (tenx_folder, CSR, TYPES, np.asarray),
    "packed.zarr": (packed, ("dense", "csr"), TYPES, np.asarray),
    "x.bed": (bed, DENSE, ("uint8",), lambda X: np.minimum(X, 2)),
    "x.pgen": (pgen, DENSE, ("uint8",), lambda X: np.minimum(X, 2)),
    "x.bgen": (bgen, DENSE, ("uint8",), lambda X: np.minimum(X, 2)),
    "x.vcz": (vcf_zarr, DENSE, ("uint8",), lambda X: np.minimum(X, 2)),
    "x.fasta": (fasta, DENSE, ("uint8",), one_hot),
    "x.fa.gz": (fasta, DENSE, ("uint8",), one_hot),
    "array": (lambda _, X: X, ALL, TYPES, np.asarray),
    "genotypes": (lambda _, X: PackedGenotypes.pack(np.minimum(X, 2)), DENSE, ("uint8",), lambda X: np.minimum(X, 2)),
    "DataFrame": (lambda _, X: frame_of(X), DENSE, TYPES, np.asarray),
    "AnnData": (lambda _, X: anndata_of(X), ALL, TYPES, np.asarray),
    "Dask": (dask_array, ("dense", "csr"), TYPES, np.asarray),
    "beside": (beside(stack=False), ("dense", "csr"), TYPES, np.asarray),
    "stacked": (beside(stack=True), DENSE, ("float64",), np.asarray),
}


@dataclass(frozen=True)
class Written:
    """Data of one format, and the dense matrix that it holds."""

    data: Any
    matrix: Any
    labels: Path
    source: Source = field(repr=False)


CASES = [
    (name, form, dtype)
    for name, (_, forms, types, _) in FORMATS.items()
    for form, dtype in itertools.product(forms, types)
]


@pytest.fixture(scope="session", params=CASES, ids="-".join)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    name, form, dtype = request.param
    write, _, _, read = FORMATS[name]
    folder = tmp_path_factory.mktemp("every")
    X = values(dtype)
    data = write(folder / name, sparse_of(X, form))
    labels = folder / "labels.csv"
    source = open_source(data)
    lines = [f"{sample},{'ab'[i % 2]}\n" for i, sample in enumerate(source.sample_names)]
    labels.write_text("sample,kind\n" + "".join(lines))
    return Written(data, read(X), labels, source)
