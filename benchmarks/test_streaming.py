"""Sources larger than memory: how fast they are gone through, and how much of it they take.

The generated file of the memory rows has PIXFOLD_STREAM_GB gigabytes (2 without it; 20 for the recorded figures, on a
disk with as much room under pytest's --basetemp), and the budget is a tenth of that. In those rows the ratio is the
peak of the process, above what the interpreter and its packages took before, to the budget; the times are of the whole
job. All others hold an epoch of a FoldLoader, thrown away, to reading the same samples in the plainest way.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import pixfold as pf
from pixfold import _core

Versus = Callable[..., None]
STREAM_BYTES = float(os.environ.get("PIXFOLD_STREAM_GB", "2")) * 1e9
WIDTH = 20_000


def generated(path: Path, n_samples: int) -> Path:
    """Write uniform numbers block by block: the same values again and again, which nothing here can tell."""
    block = np.random.default_rng(0).random((min(n_samples, 1_000), WIDTH), dtype=np.float32)
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n_samples, WIDTH)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n_samples, len(block)):
            file.write(block[: n_samples - start])
    return path


# The peak is of what is resident; memory that a file is mapped into would count.
JOB = """
import json, sys, tempfile, time
from pathlib import Path

import numpy as np
import torch

import pixfold as pf

path, budget, preset, dtype = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]

def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024

def run(data, memory):
    source = pf.open_source(data)
    layout = pf.Layout.shuffled(source.n_features)
    started = time.perf_counter()
    normalizer = pf.Normalizer(preset, missing="mean").fit(source, memory=memory)
    fitted = time.perf_counter() - started
    n, total = 0, 0.0
    loader = pf.FoldLoader(source, layout, normalizer, batch_size=64, shuffle="block", memory=memory, dtype=dtype)
    for images, _, indices in loader:
        n += len(indices)
        total += float(images[0, 0, 0, 0])
    return n, total, fitted

# Threads, tables and packages are made and loaded once.
small = np.random.default_rng(0).integers(0, 3, (256, 1_000)).astype(np.float32)
if path.endswith(".zarr"):
    with tempfile.TemporaryDirectory() as folder:
        pf.pack(pf.PackedGenotypes.pack(small), folder + "/small.zarr")
        run(folder + "/small.zarr", None)
else:
    run(small, None)
own = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
started = time.perf_counter()
n, total, fitted = run(path, budget)
seconds = time.perf_counter() - started
found = {"n": n, "finite": total == total, "peak": status("VmHWM") - own, "s": seconds, "fit_s": fitted}
print(json.dumps(found))
"""


def measured(path: Path, budget: int, preset: str = "log1p-zscore", dtype: str = "float32") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(JOB), str(path), str(budget), preset, dtype],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("share", [1.0, 0.25], ids=["whole", "quarter"])
def test_peak_memory(benchmark: Any, tmp_path: Path, share: float) -> None:
    """Fit and an epoch of folding in block shuffle; a quarter of the samples must take as much."""
    n_samples = max(64, int(share * STREAM_BYTES / (4 * WIDTH)))
    budget = int(STREAM_BYTES / 10)
    path = generated(tmp_path / "x.npy", n_samples)
    found: list[dict[str, Any]] = []
    benchmark.pedantic(lambda: found.append(measured(path, budget)), rounds=1, iterations=1)
    path.unlink()
    assert (found[0]["n"], found[0]["finite"]) == (n_samples, True)
    noted(
        benchmark,
        f"peak memory of fit and fold, {n_samples:,} x {WIDTH:,} float32 ({n_samples * WIDTH * 4 / 1e9:.3g} GB)",
        f"a budget of {budget / 1e6:,.0f} MB",
        wanted=1.25,
        ratio=found[0]["peak"] / budget,
        seconds=found[0]["s"],
        fit_s=found[0]["fit_s"],
    )


def noted(
    benchmark: Any, work: str, limit: str, *, wanted: float | None, ratio: float, seconds: float, **more: object
) -> None:
    """Record a row of something that ran once; `seconds` is how long all of it took."""
    benchmark.extra_info.update(
        work=work,
        limit=limit,
        wanted=wanted,
        ratio=ratio,
        spread=[ratio, ratio],
        op_ms=seconds * 1e3,
        limit_ms=seconds * 1e3,
        also={},
        threads=_core.default_threads(),
        isa=_core.isa(),
        **more,
    )


def epoch_of(loader: pf.FoldLoader) -> Callable[[], object]:
    def run() -> None:
        for _ in loader:
            pass

    return run


def reading(path: Path, buffer: np.ndarray) -> Callable[[], object]:
    def run() -> None:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer.data):
                pass

    return run


@pytest.fixture(scope="module")
def dense_file(tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("streaming") / "x.npy"
    np.save(path, samples)
    return path


@pytest.mark.parametrize("shuffle", [False, "block", "full"], ids=["in order", "block shuffle", "full shuffle"])
@pytest.mark.parametrize("arrangement", ["natural", "shuffled"])
def test_dense_file(
    versus: Versus, dense_file: Path, samples: np.ndarray, normalizer: pf.Normalizer, arrangement: str, shuffle: Any
) -> None:
    layout = getattr(pf.Layout, arrangement)(samples.shape[1])
    loader = pf.FoldLoader(dense_file, layout, normalizer, batch_size=64, shuffle=shuffle)
    images, _, indices = next(iter(loader))
    np.testing.assert_array_equal(images.numpy(), pf.fold(samples[indices.numpy()], layout, normalizer))
    size = dense_file.stat().st_size
    versus(
        epoch_of(loader),
        {
            "readinto of the file into memory in use": reading(dense_file, np.zeros(size + 1, np.uint8)),
            "readinto, 64 MB at a time": reading(dense_file, np.zeros(64 << 20, np.uint8)),
            "readinto, 4 MB at a time": reading(dense_file, np.zeros(4 << 20, np.uint8)),
        },
        work=f"epoch of a .npy file, log1p-minmax, {arrangement}, {shuffle or 'in order'}, batches of 64",
        wanted=1.25 if not shuffle and arrangement == "natural" else None,
    )


@pytest.fixture(scope="module")
def sparse_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    anndata = pytest.importorskip("anndata")
    x = sparse.random(6_216, 19_319, density=0.05, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    path = tmp_path_factory.mktemp("streaming") / "x.h5ad"
    adata = anndata.AnnData(x)
    adata.obs["kind"] = np.arange(x.shape[0]) % 3
    adata.write_h5ad(path)
    return path


def sparse_loader(path: Path, n_samples: int | None = None, shuffle: Any = "block") -> pf.FoldLoader:
    source = pf.open_source(path)
    rows = None if n_samples is None else np.arange(n_samples)
    normalizer = pf.Normalizer(library_size=1e4, log=True).fit(source)
    return pf.FoldLoader(
        source, pf.Layout.natural(source.n_features), normalizer, rows=rows, batch_size=128, shuffle=shuffle
    )


@pytest.mark.parametrize("dense", [False, True], ids=["as read", "made dense"])
@pytest.mark.parametrize("size", ["batch", "block"])
@pytest.mark.parametrize("shuffle", [False, "block"], ids=["in order", "block shuffle"])
def test_sparse_file_against_backed_reads(
    versus: Versus, sparse_file: Path, shuffle: Any, size: str, dense: bool
) -> None:
    anndata = pytest.importorskip("anndata")
    loader = sparse_loader(sparse_file, shuffle=shuffle)
    rows = loader.batch_size if size == "batch" else loader.block_rows
    adata = anndata.read_h5ad(sparse_file, backed="r")

    def backed() -> None:
        for start in range(0, adata.n_obs, rows):
            block = adata[start : start + rows].X
            if dense:
                block.toarray()

    versus(
        epoch_of(loader),
        {f"anndata backed, {rows} cells at a time{', made dense' if dense else ''}": backed},
        work=f"epoch of CSR 5 % in .h5ad, cp10k-log1p, images, {shuffle or 'in order'}, batches of 128",
        wanted=1 / 3 if size == "batch" else None,
        rounds=5,
    )
    adata.file.close()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # that AnnLoader is deprecated
def test_sparse_file_against_annloader(versus: Versus, sparse_file: Path) -> None:
    anndata = pytest.importorskip("anndata")
    annloader = pytest.importorskip("anndata.experimental").AnnLoader
    n = 1_024
    loader = sparse_loader(sparse_file, n)
    adata = anndata.read_h5ad(sparse_file, backed="r")

    def shuffled() -> None:
        for number, batch in enumerate(annloader(adata, batch_size=128, shuffle=True), 1):
            _ = batch.X
            if number * 128 >= n:
                break

    try:
        shuffled()
    except Exception as error:  # whatever it makes of the versions beside it
        pytest.skip(f"AnnLoader does not read this file: {type(error).__name__}: {error}")
    versus(
        epoch_of(loader),
        {"anndata's AnnLoader, shuffled": shuffled},
        work=f"{n:,} cells of CSR 5 % in .h5ad, cp10k-log1p, images, block shuffle, batches of 128",
        wanted=1 / 50,
        rounds=3,
        warm_up=False,
    )
    adata.file.close()


N_GENOTYPED, N_VARIANTS = 2_000, 100_000


@pytest.fixture(scope="module")
def genotypes() -> np.ndarray:
    return np.random.default_rng(0).choice(np.array([0, 1, 2, -127], np.int8), (N_GENOTYPED, N_VARIANTS))


@pytest.fixture(scope="module")
def bed_file(tmp_path_factory: pytest.TempPathFactory, genotypes: np.ndarray) -> Path:
    bed_reader = pytest.importorskip("bed_reader")
    path = tmp_path_factory.mktemp("streaming") / "x.bed"
    bed_reader.to_bed(path, genotypes)
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("arrangement", ["natural", "shuffled"])
def test_packed_genotypes(versus: Versus, genotypes: np.ndarray, arrangement: str, dtype: str) -> None:
    packed = pf.PackedGenotypes.pack(genotypes, missing=-127)
    layout = getattr(pf.Layout, arrangement)(N_VARIANTS)
    normalizer = pf.Normalizer("genotype").fit(packed)
    loader = pf.FoldLoader(packed, layout, normalizer, batch_size=64, dtype=dtype)
    out = np.empty((len(genotypes), layout.n_pixels), dtype=dtype)
    versus(
        epoch_of(loader),
        {"memset of the images": lambda: _core.fill_bytes(out, 0, 1)},
        work=f"epoch of packed genotypes in memory, {dtype}, {arrangement}, batches of 64",
        wanted=1.5 if arrangement == "natural" else None,
    )


@pytest.mark.parametrize("n_samples", [64, N_GENOTYPED])
def test_genotypes_of_some_samples(versus: Versus, bed_file: Path, genotypes: np.ndarray, n_samples: int) -> None:
    bed_reader = pytest.importorskip("bed_reader")
    rows = slice(0, n_samples)

    def ours() -> np.ndarray:
        # Opened anew: a source brings the variants to rows once, and keeps them.
        values: np.ndarray = pf.open_source(bed_file).read(rows).toarray(np.int8)
        return values

    expected = np.where(genotypes[rows] == -127, -1, genotypes[rows])
    np.testing.assert_array_equal(ours(), expected)
    versus(
        ours,
        {"bed-reader, int8": lambda: bed_reader.open_bed(bed_file).read(np.s_[rows, :], dtype="int8")},
        work=f"{n_samples:,} samples of a .bed of {N_GENOTYPED:,} x {N_VARIANTS:,} as int8, from opening it on",
        wanted=1.0,
        rounds=3,
    )


def written_genotypes(folder: Path, n_samples: int, n_variants: int) -> Path:
    """Write the three files of genotypes in Hardy-Weinberg proportions, rare alleles commoner, 1 % missing."""
    rng = np.random.default_rng(0)
    path = folder / "cohort.bed"
    block = 2_000
    with path.open("wb") as file:
        file.write(b"\x6c\x1b\x01")
        for start in range(0, n_variants, block):
            frequency = rng.beta(0.5, 1.5, min(block, n_variants - start))[:, None] / 2
            drawn = rng.random((len(frequency), n_samples), dtype=np.float32)
            codes = (drawn < 1 - (1 - frequency) ** 2).astype(np.int8) + (drawn < frequency**2)
            codes[rng.integers(0, 100, codes.shape, dtype=np.int8) == 0] = -1
            file.write(pf.PackedGenotypes.pack(codes).bits.tobytes())
    path.with_suffix(".fam").write_text("".join(f"f{i} i{i} 0 0 0 {1 + i % 2}\n" for i in range(n_samples)))
    path.with_suffix(".bim").write_text("".join(f"1\trs{j}\t0\t{j + 1}\tA\tC\n" for j in range(n_variants)))
    return path


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """10,000 samples of 10^6 variants (2.5 GB) for the recorded figures; a tenth of the samples without being asked."""
    n_samples = 10_000 if STREAM_BYTES >= 2e10 else 1_000
    return written_genotypes(tmp_path_factory.mktemp("cohort"), n_samples, 1_000_000), n_samples, 1_000_000


def test_packing_genotypes(benchmark: Any, cohort: tuple[Path, int, int], tmp_path: Path) -> None:
    """From a variant-major .bed into the packed store: as a ratio to a rate of 125 million genotypes a second."""
    path, n_samples, n_variants = cohort
    found: list[float] = []

    def once() -> None:
        started = time.perf_counter()
        pf.pack(path, tmp_path / "o.zarr", memory="500MB", force=True)
        found.append(time.perf_counter() - started)

    benchmark.pedantic(once, rounds=1, iterations=1)
    source, packed = pf.open_source(path), pf.open_source(tmp_path / "o.zarr")
    np.testing.assert_array_equal(source.read(slice(0, 8)).bits, packed.read(slice(0, 8)).bits)
    rate = n_samples * n_variants / found[0]
    noted(
        benchmark,
        f"pack a variant-major .bed of {n_samples:,} x {n_variants:,} with 500 MB",
        "125 million genotypes a second",
        wanted=1.0,
        ratio=125e6 / rate,
        seconds=found[0],
        genotypes_per_s=rate,
    )


PACK_JOB = """
import json, sys, time
from pathlib import Path

import pixfold as pf

small, path, out, budget = sys.argv[1:]

def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024

pf.pack(small, out, memory=int(budget))  # packages are loaded once
own = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
started = time.perf_counter()
pf.pack(path, out, memory=int(budget), force=True)
print(json.dumps({"s": time.perf_counter() - started, "peak": status("VmHWM") - own}))
"""


def pgen_of(bed: Path, n_samples: int, n_variants: int, path: Path) -> Path:
    """Write the variants of a .bed file as .pgen, with .pvar and .psam."""
    pgenlib = pytest.importorskip("pgenlib")
    with (
        bed.open("rb") as file,
        pgenlib.PgenWriter(os.fsencode(path), n_samples, variant_ct=n_variants, nonref_flags=False) as writer,
    ):
        file.seek(3)
        for start in range(0, n_variants, 2_000):
            rows = min(2_000, n_variants - start)
            bits = np.frombuffer(file.read(rows * -(-n_samples // 4)), np.uint8).reshape(rows, -1)
            copies = pf.PackedGenotypes(bits, n_samples).toarray("int8")
            copies[copies < 0] = -9
            writer.append_biallelic_batch(copies)
    path.with_suffix(".psam").write_text("#IID\n" + "".join(f"i{i}\n" for i in range(n_samples)))
    with path.with_suffix(".pvar").open("w") as file:
        file.write("#CHROM\tPOS\tID\tREF\tALT\n")
        file.writelines(f"1\t{j + 1}\trs{j}\tC\tA\n" for j in range(n_variants))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_packing_pgen(benchmark: Any, cohort: tuple[Path, int, int], tmp_path: Path) -> None:
    """From .pgen into the packed store, from opening it on; how long Pgenlib alone reads, into int8, stands beside."""
    pgenlib = pytest.importorskip("pgenlib")
    bed, n_samples, n_variants = cohort
    path, budget = pgen_of(bed, n_samples, n_variants, tmp_path / "x.pgen"), 500_000_000
    small = pgen_of(bed, n_samples, 8, tmp_path / "small.pgen")
    found: dict[str, Any] = {}

    def once() -> None:
        words = [sys.executable, "-c", PACK_JOB, str(small), str(path), str(tmp_path / "o.zarr"), str(budget)]
        found.update(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout))

    benchmark.pedantic(once, rounds=1, iterations=1)
    source, packed = pf.open_source(bed), pf.open_source(tmp_path / "o.zarr")
    np.testing.assert_array_equal(source.read(slice(0, 8)).bits, packed.read(slice(0, 8)).bits)
    reader, buffer = pgenlib.PgenReader(os.fsencode(path)), np.empty((1_000, n_samples), np.int8)
    started = time.perf_counter()
    for start in range(0, n_variants, len(buffer)):
        reader.read_range(start, start + len(buffer), buffer)
    alone = time.perf_counter() - started
    rate = n_samples * n_variants / found["s"]
    noted(
        benchmark,
        f"pack a .pgen of {n_samples:,} x {n_variants:,} with 500 MB",
        "100 million genotypes a second",
        wanted=1.0,
        ratio=100e6 / rate,
        seconds=found["s"],
        genotypes_per_s=rate,
        pgenlib_alone_s=alone,
        peak=found["peak"],
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_million_genotypes(benchmark: Any, cohort: tuple[Path, int, int], tmp_path: Path) -> None:
    """Fit and an epoch from the packed store; the budget is a fifth of what the genotypes take at two bits.

    Names and statistics of 10^6 variants are beyond the budget, which is of samples.
    """
    path, n_samples, n_variants = cohort
    pf.pack(path, tmp_path / "o.zarr")
    budget = n_samples * n_variants // 4 // 5 if n_samples >= 10_000 else 500_000_000
    found: list[dict[str, Any]] = []

    def once() -> None:
        found.append(measured(tmp_path / "o.zarr", budget, "genotype", "float16"))

    benchmark.pedantic(once, rounds=1, iterations=1)
    assert (found[0]["n"], found[0]["finite"]) == (n_samples, True)
    noted(
        benchmark,
        f"peak memory of fit and an epoch of float16 images, {n_samples:,} x {n_variants:,} genotypes, packed",
        f"a budget of {budget / 1e6:,.0f} MB",
        wanted=None,
        ratio=found[0]["peak"] / budget,
        seconds=found[0]["s"],
        fit_s=found[0]["fit_s"],
    )


N_GENES, N_MEASURED = 20_000, 1_000


@pytest.fixture(scope="module")
def gene_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Genes as rows and samples as columns, 20 million numbers of three decimals."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("tables") / "genes.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("gene_id," + ",".join(f"S{i}" for i in range(N_MEASURED)) + "\n")
        for gene in range(N_GENES):
            values = rng.gamma(0.7, 8, N_MEASURED).round(3).tolist()
            file.write(f"ENSG{gene:011d}," + ",".join(map(str, values)) + "\n")
    return path


def test_a_table_by_features(versus: Versus, gene_table: Path) -> None:
    """Opening reads all of it and brings it to samples; pyarrow leaves it by genes."""
    arrow_csv = pytest.importorskip("pyarrow.csv")
    expected = arrow_csv.read_csv(gene_table)
    source = pf.open_source(gene_table)
    assert source.feature_names == expected.column(0).to_pylist()
    for sample in (0, N_MEASURED - 1):
        np.testing.assert_array_equal(source.read([sample])[0], expected.column(sample + 1).to_numpy())
    del source, expected
    versus(
        lambda: pf.open_source(gene_table),
        {"pyarrow.csv.read_csv": lambda: arrow_csv.read_csv(gene_table)},
        work=f"opening a .csv.gz of {N_GENES:,} genes (rows) x {N_MEASURED:,} samples",
        wanted=1.5,
    )
