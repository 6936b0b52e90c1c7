"""Matrices that are not stored by rows are brought to rows in memory that does not grow with them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("anndata")
pa: Any = pytest.importorskip("pyarrow")
csv: Any = pytest.importorskip("pyarrow.csv")
h5py: Any = pytest.importorskip("h5py")
zarr: Any = pytest.importorskip("zarr")

N_SAMPLES, N_FEATURES, BUDGET = 30_000, 2_000, 32 << 20

# Feature j has entries in every fifth sample, from j % 5 on; the value is (sample + feature) % 100 + 1.
READ = """
import json, sys
from pathlib import Path
import numpy as np
from pixfold.sources import open_source
from pixfold.sources.disk import limits
limits.LARGEST = int(sys.argv[2])
def peak():
    # ru_maxrss would be that of the parent, where it had more
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
small = open_source(sys.argv[3])
small.read(slice(0, 10))
before = peak()
source = open_source(sys.argv[1])
for start in range(0, source.n_samples, 100):
    block = source.read(slice(start, start + 100))
    rows = np.repeat(np.arange(start, start + 100), np.diff(block.indptr))
    assert (rows % 5 == block.indices % 5).all()
    assert (block.data == (rows + block.indices) % 100 + 1).all()
    assert block.nnz == 100 * source.n_features // 5
print(json.dumps(peak() - before))
"""


def entries(n_samples: int, first: int, last: int) -> tuple[Any, Any]:
    """Samples of all entries of some features (as a table with one line per feature), and their values."""
    features = np.arange(first, last)[:, None]
    samples = np.arange(0, n_samples, 5)[None, :] + features % 5
    return samples, (samples + features) % 100 + 1


def write_sparse(root: Any, n_samples: int) -> None:
    """Write X by features into an HDF5 file or a Zarr group, a few features at a time."""
    per_feature = n_samples // 5
    size = per_feature * N_FEATURES
    X = root.create_group("X")
    X.attrs.update({"encoding-type": "csc_matrix", "encoding-version": "0.1.0", "shape": [n_samples, N_FEATURES]})
    options: dict[str, Any] = {"chunks": (100_000,)}
    data = X.create_array if hasattr(X, "create_array") else X.create_dataset
    arrays = {
        key: data(key, shape=(size,), dtype=dtype, **options) for key, dtype in {"data": "f4", "indices": "i4"}.items()
    }
    indptr = data("indptr", shape=(N_FEATURES + 1,), dtype="i8")
    indptr[:] = np.arange(N_FEATURES + 1) * per_feature
    for first in range(0, N_FEATURES, 100):
        samples, values = entries(n_samples, first, first + 100)
        part = slice(first * per_feature, (first + 100) * per_feature)
        arrays["indices"][part], arrays["data"][part] = samples.ravel(), values.ravel()


def write_store(root: Any, n_samples: int) -> None:
    import pandas as pd
    from anndata.io import write_elem

    from pixfold.sources.anndata.containers import quiet

    with quiet():
        root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(root, "obs", pd.DataFrame(index=[str(i) for i in range(n_samples)]))
        write_elem(root, "var", pd.DataFrame(index=[f"g{i}" for i in range(N_FEATURES)]))
        write_sparse(root, n_samples)


def write(path: Path, kind: str, n_samples: int) -> Path:
    if kind == "h5ad":
        with h5py.File(path.with_suffix(".h5ad"), "w") as file:
            write_store(file, n_samples)
        return path.with_suffix(".h5ad")
    if kind == "zarr":
        write_store(zarr.open_group(path.with_suffix(".zarr"), mode="w"), n_samples)
        return path.with_suffix(".zarr")
    path.mkdir()
    (path / "features.tsv").write_text("".join(f"g{i}\n" for i in range(N_FEATURES)))
    (path / "barcodes.tsv").write_text("".join(f"{i}\n" for i in range(n_samples)))
    with gzip.open(path / "matrix.mtx.gz", "wb", compresslevel=1) as file:
        file.write(b"%%MatrixMarket matrix coordinate integer general\n")
        file.write(f"{N_FEATURES} {n_samples} {n_samples // 5 * N_FEATURES}\n".encode())
        options = csv.WriteOptions(include_header=False, delimiter=" ")
        for first in range(0, N_FEATURES, 100):
            samples, values = entries(n_samples, first, first + 100)
            features = np.repeat(np.arange(first, first + 100) + 1, samples.shape[1])
            csv.write_csv(pa.table([features, samples.ravel() + 1, values.ravel()], ["f", "s", "v"]), file, options)
    return path


def growth(path: Path, small: Path) -> int:
    """Bytes by which the memory of a process grows while it reads a source."""
    result = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(BUDGET), str(small)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return int(json.loads(result.stdout))


READ_TABLE = """
import json, sys
from pathlib import Path
import numpy as np
from pixfold.sources import open_source
def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
open_source(sys.argv[3]).read(slice(0, 10))
before = peak()
source = open_source(sys.argv[1], memory=sys.argv[2])
for start in range(0, source.n_samples, 5):
    block = source.read(slice(start, start + 5))
    rows = np.arange(start, start + 5)[:, None]
    np.testing.assert_array_equal(block, (rows + np.arange(source.n_features)) % 100 + 0.7)
print(json.dumps(peak() - before))
"""


def write_by_features(path: Path, n_features: int, n_samples: int = 300) -> Path:
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("gene_id," + ",".join(f"S{i}" for i in range(n_samples)) + "\n")
        rows = [",".join(f"{(first + i) % 100}.7" for i in range(n_samples)) for first in range(100)]
        file.writelines(f"ENSG{j:011d},{rows[j % 100]}\n" for j in range(n_features))
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_of_a_table_by_features(tmp_path: Path) -> None:
    small, large = (write_by_features(tmp_path / f"{n}.csv.gz", n) for n in (12_000, 48_000))
    budget = 64 << 20  # a quarter of it is held
    assert 5 * budget // 4 < 300 * 36_000 * 8  # what the larger one has more
    command = [sys.executable, "-c", READ_TABLE, str(large), str(budget), str(small)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(json.loads(result.stdout)) < budget


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["h5ad", "zarr", "mtx"])
def test_memory_stays_within_the_budget(tmp_path: Path, kind: str) -> None:
    small, large = write(tmp_path / "small", kind, 1_000), write(tmp_path / "large", kind, N_SAMPLES)
    assert N_SAMPLES // 5 * N_FEATURES * 12 > 4 * BUDGET
    # As much again for the buffers of the libraries, which do not grow either.
    assert growth(large, small) < 2 * BUDGET
