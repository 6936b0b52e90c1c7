from __future__ import annotations

import bz2
import dataclasses
import gzip
import inspect
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.sources import ReadOptions, open_source

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.h5ad", b"a,b\n1,2\n", "must be HDF5, as its name says, got text"),
        ("x.h5ad", gzip.compress(b"x", mtime=0), "must be HDF5, as its name says, got gzip"),
        ("x.csv", HDF5, "must be text, as its name says, got HDF5"),
        ("x.csv", gzip.compress(b"a,b\n1,2\n", mtime=0), "must be text, as its name says, got gzip"),
        ("x.h5ad", "a,b\n1,2\n".encode("utf-16"), "must be HDF5, as its name says, got text in UTF-16"),
        ("x.csv", "a,b\n1,2\n".encode("utf-16")[:-1], "the text in UTF-16 is damaged or cut off"),
        ("x.csv.bz2", b"a,b\n1,2\n", "must be bzip2, as its name says, got text"),
        ("x.csv.xz", bz2.compress(b"a,b\n1,2\n"), "must be xz, as its name says, got bzip2"),
        ("x.csv.zip", b"a,b\n1,2\n", "must be a ZIP archive, as its name says, got text"),
        ("x.csv.zip", b"PK\x03\x04" + bytes(50), "the ZIP archive file is damaged or cut off"),
        ("x.tsv", b"PK\x03\x04" + bytes(50), "must be text, as its name says, got a ZIP archive"),
        ("x.txt", bytes(50), "must be text, as its name says, got binary data"),
        ("x.csv.gz", b"a,b\n1,2\n", "must be gzip, as its name says, got text"),
        ("x.csv.zst", b"a,b\n1,2\n", "must be Zstandard, as its name says, got text"),
        ("x.csv.gz", b"\x28\xb5\x2f\xfd" + bytes(50), "must be gzip, as its name says, got Zstandard"),
        ("x.tsv.zst", b"\x28\xb5\x2f\xfd" + bytes(50), "the Zstandard file is damaged or cut off"),
        ("x.parquet", b"a,b\n1,2\n", "must be Parquet, as its name says, got text"),
        ("x.feather", b"PAR1" + bytes(50), "must be Arrow, as its name says, got Parquet"),
        ("x.parquet", b"PAR1" + bytes(50), "the Parquet file is damaged or cut off"),
        ("x.arrow", b"ARROW1" + bytes(50), "the Arrow file is damaged or cut off"),
        ("x.npy", b"1 2 3\n", "must be a NumPy array, as its name says, got text"),
        ("x.npz", b"\x93NUMPY" + bytes(50), "must be a ZIP archive, as its name says, got a NumPy array"),
        ("x.CSV", b"\x80\x04\x95" + bytes(50), "must be text, as its name says, got a Python pickle"),
        ("x.npz", b"PK\x03\x04" + bytes(50), "the file is damaged or cut off"),
        ("x.h5ad", HDF5, "the HDF5 file is damaged or cut off"),
        (
            "x.csv.gz",
            gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(999)), mtime=0)[:900],
            "the gzip file is damaged or cut off",
        ),
        ("x.csv", b"a,b\n1,\xff\n", "line 2 must be text in UTF-8, got other bytes"),
        ("x.dat", b"PK\x03\x04", r"the name must end in \.h5ad, .*\.csv"),
        ("x", b"1", "the name must end in"),
        *[
            (f"x{end}", b"", "the file is empty")
            for end in (".h5ad", ".npy", ".npz", ".csv", ".tsv.gz", ".txt.zst", ".parquet")
        ],
    ],
)
def test_files_that_are_not_what_their_name_says(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    if name.startswith("x.h5ad"):
        pytest.importorskip("h5py")
    if not name.endswith(("h5ad", "npy", "npz")):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_source(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_no_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        open_source(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="got another folder"):
        open_source(str(tmp_path / "folder.csv"))


def test_layer_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="layers are read from AnnData alone"):
        open_source(tmp_path / "x.csv", layer="raw")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": 3}, "label must be the name of a column, got 3"),
        ({"labels": 3, "label": "a"}, "labels must be a path, got 3"),
        ({"labels": "l.csv"}, "label must name a column of l.csv, got None"),
        ({"label": "a", "y": [1]}, "labels must be given either as the column 'a' or as y, got both"),
        ({"split": "mean"}, "split must be 'median', got 'mean'"),
        ({"layer": 3}, "layer must be the name of a layer, got 3"),
        ({"categorical": "one-hot"}, "categorical must be 'ordinal' or 'onehot', got 'one-hot'"),
        ({"categories": ["a"]}, r"categories must be a mapping of columns to their categories, got \['a'\]"),
        ({"join": "outer"}, "join must be 'all' or 'inner', got 'outer'"),
        ({"stack": "no"}, "stack must be True or False, got 'no'"),
        ({"verify": 1}, "verify must be True or False, got 1"),
        ({"sequence": 1}, "sequence must be the name of a column, got 1"),
        ({"alphabet": "latin"}, "alphabet must be 'dna' or 'rna' or 'protein', got 'latin'"),
        ({"ambiguous": None}, "ambiguous must be 'spread' or 'zero', got None"),
        ({"length": 0}, "length must be a positive integer, got 0"),
        ({"length": True}, "length must be a positive integer, got True"),
        ({"length": np.array([1, 2])}, "length must be a positive integer, got array"),
    ],
)
def test_options_are_checked_before_anything_is_read(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^open_source: {message}"):
        open_source(tmp_path / "there_is_no.npy", **options)


def test_options_are_those_of_read_options() -> None:
    shown = list(inspect.signature(open_source).parameters)
    assert shown == ["data", *inspect.signature(ReadOptions).parameters]
    with pytest.raises(TypeError, match=r"open_source: keyword arguments must be one of label, .*, got 'lable'"):
        open_source(np.ones((2, 2)), lable="a")
    assert ReadOptions(label="a", join="all", y=None).asked_for() == {"label": "a"}
    assert all(option.metadata["help"] for option in dataclasses.fields(ReadOptions))


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst", ".csv.bz2", ".csv.xz"])
def test_a_cut_off_table(tmp_path: Path, suffix: str) -> None:
    pyarrow: Any = pytest.importorskip("pyarrow")
    rows = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(99_999))
    packed = {
        ".csv.gz": lambda: gzip.compress(rows, mtime=0),
        ".csv.zst": lambda: pyarrow.compress(rows, codec="zstd", asbytes=True),
        ".csv.bz2": lambda: bz2.compress(rows),
        ".csv.xz": lambda: lzma.compress(rows),
    }[suffix]()
    path = tmp_path / f"x{suffix}"
    for size in (len(packed) - 3, len(packed) // 2, 30):
        path.write_bytes(packed[:size])
        with pytest.raises(
            InputError,
            match=r"the (gzip|Zstandard|bzip2|xz) file is damaged or cut off \((Truncated|Compressed file ended)",
        ):
            open_source(path)


def test_a_tensor_is_read_as_an_array() -> None:
    torch: Any = pytest.importorskip("torch")
    source = open_source(torch.ones(2, 3, requires_grad=True))
    np.testing.assert_array_equal(source.read(slice(None)), np.ones((2, 3), np.float32))


def test_opening_an_array_imports_no_optional_package() -> None:
    code = (
        "import sys, numpy as np, pixfold.sources as s; s.open_source(np.ones((2, 2)));"
        "import pixfold.stream.prepare;"
        "sys.exit(', '.join({'scipy', 'pandas', 'anndata', 'h5py', 'torch'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


class OwnMembers:
    """What a source was before Source was a base class: members of the same names, and no more."""

    name, n_samples, n_features, dtype = "mine", 4, 3, np.dtype(np.float32)
    is_sparse, block_size, labels = False, 2, None
    feature_names, sample_names = ["a", "b", "c"], ["1", "2", "3", "4"]

    def __init__(self):
        self.matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
        self.categories, self.messages = {}, []

    def read(self, rows):
        return self.matrix[rows]


def test_an_object_with_the_members_of_a_source():
    mine = OwnMembers()
    source = open_source(mine)
    assert (source.n_samples, source.feature_names, source.channel_sizes) == (4, ["a", "b", "c"], None)
    np.testing.assert_array_equal(source.read([3, 0, 0]), mine.matrix[[3, 0, 0]])


def test_an_object_without_some_of_them():
    mine = OwnMembers()
    del mine.messages
    with pytest.raises(InputError, match=r"must be a pixfold\.sources\.Source, got OwnMembers without messages"):
        open_source(mine)
