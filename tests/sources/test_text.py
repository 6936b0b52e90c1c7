"""Text files in blocks: the same as in one piece, whatever the blocks, in constant memory."""

from __future__ import annotations

import gzip
import pickle
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError, OutputError
from pixfold.sources import ArraySource, Source, open_source

pa: Any = pytest.importorskip("pyarrow")

from pixfold.sources.disk import limits  # noqa: E402
from pixfold.sources.tables import delimited, lines  # noqa: E402


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of text for every few lines."""
    monkeypatch.setattr(lines, "BLOCK_BYTES", 64)
    monkeypatch.setattr(delimited, "_CELLS", 8)


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Every table goes to a temporary file, in the folder that this returns."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(limits, "LARGEST", 0)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def table(tmp_path: Path, text: str | bytes, name: str = "x.csv", **options: Any) -> Source:
    content = text.encode() if isinstance(text, str) else text
    if name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    if name.endswith(".zst"):
        content = pa.compress(content, codec="zstd", asbytes=True)
    (tmp_path / name).write_bytes(content)
    return open_source(tmp_path / name, **options)


def values(source: Source) -> Any:
    return source.read(slice(None))


LONG = "".join(f"s{i},{'uv'[i % 2]},{i},{i * 0.25}\n" for i in range(500))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.csv.zst", "x.CSV.ZST"])
def test_blocks(tmp_path: Path, name: str) -> None:
    source = table(tmp_path, "id,kind,a,b\n" + LONG, name.lower(), label="kind")
    assert isinstance(source, ArraySource)
    assert source.sample_names == [f"s{i}" for i in range(500)]
    assert source.labels is not None
    assert source.labels.tolist() == ["u", "v"] * 250
    np.testing.assert_array_equal(values(source), [[i, i / 4] for i in range(500)])


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.usefixtures("blocks")
def test_line_ends(tmp_path: Path, ending: str) -> None:
    text = "id,a,b\n\n" + "".join(f'"s{i}",{i},"{i}"\n' + "\n" * (i % 3) for i in range(60)) + '"a ""b""\nc",1,2'
    source = table(tmp_path, text.replace("\n", ending))
    assert source.sample_names == [*(f"s{i}" for i in range(60)), 'a "b"\nc']
    np.testing.assert_array_equal(values(source), [*([i, i] for i in range(60)), [1, 2]])


@pytest.mark.usefixtures("blocks")
def test_stray_quotes_are_characters(tmp_path: Path) -> None:
    rows = "".join(f"s{i},{i % 2},{i}' {'ab'[i % 2]}\" x\n".replace(f",{i}'", ",5'") for i in range(40))
    source = table(tmp_path, "id,a,size\n" + rows)
    assert source.categories == {"size": ["5' a\" x", "5' b\" x"]}
    assert values(source).tolist() == [[i % 2, i % 2] for i in range(40)]
    with pytest.raises(InputError, match="line 42 must hold 3 fields as line 2, got 1"):
        table(tmp_path, "id,a,size\n" + rows + '"open,1,2\n')


@pytest.mark.usefixtures("blocks")
def test_texts_that_show_late(tmp_path: Path) -> None:
    texts = "".join(f"{i},{'xyz'[i % 3]}\n" for i in range(950))
    source = table(tmp_path, "a,b\n" + "1,5\n" * 50 + texts)
    assert source.categories == {"b": ["5", "x", "y", "z"]}
    assert values(source)[[0, 49, 50, 51, 52], 1].tolist() == [0, 0, 1, 2, 3]
    source = table(tmp_path, "a,b\n" + "1,\n" * 50 + texts)
    np.testing.assert_array_equal(values(source)[[0, 49, 50, 51, 52], 1], [np.nan, np.nan, 0, 1, 2])


@pytest.mark.usefixtures("blocks")
def test_a_first_column_that_proves_to_be_none_of_names(tmp_path: Path) -> None:
    different = "".join(f"{a}{b},1\n" for a in "abcde" for b in "fghij")
    source = table(tmp_path, "who,a\n" + different * 4)
    assert source.feature_names == ["who", "a"]
    assert len(source.categories["who"]) == 25
    assert source.sample_names[0] == "sample_0"
    assert table(tmp_path, "who,a\n" + different).feature_names == ["a"]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,2\n" * 300 + "1,x\n" + "1,2\n" * 9 + "1,y\n", r"line 302, column 'b' must hold .*'x' \(1 more cell like"),
        ("1,2\n" * 300 + "1\n", "line 302 must hold 2 fields as line 2, got 1"),
        ("1,2\n" * 300 + "1,2,3\n", "line 302 must hold 2 fields as line 2, got 3"),
        ("1,2\n" * 300 + "\n\n1,\xff\n", "line 304 must be text in UTF-8, got other bytes"),
        ("1,2\n" * 300 + "1,\x01\n", r"line 302, column 'b' must hold a number, got '.x01'"),
        ("".join(f"{i},t{i}\n" for i in range(300)), "column 'b' looks like an identifier"),
    ],
)
def test_errors_in_later_blocks(tmp_path: Path, on_disk: Path, rows: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        table(tmp_path, ("a,b\n" + rows).encode("latin-1"))
    assert list(on_disk.iterdir()) == []


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", "200"], "u1"),
        (["-1", "100"], "i1"),
        (["-1", "200"], "i2"),
        (["1", "70000", "-3"], "i4"),
        (["1", "NA", "200"], "f4"),
        (["1", "0.5", "7"], "f4"),
        (["1", "0.1"], "f8"),
        (["1", "16777217", ""], "f8"),
        (["9007199254740993", "1"], "i8"),
    ],
)
def test_the_file_holds_the_smallest_type(tmp_path: Path, on_disk: Path, cells: list[str], dtype: str) -> None:
    text = "a,b\n" + "".join(f"{cell},1\n" * 40 for cell in cells)
    source = table(tmp_path, text)
    assert len(list(on_disk.iterdir())) == 1
    expected = [float(cell) if cell not in ("NA", "") else np.nan for cell in cells]
    if "9007199254740993" in cells:
        assert values(source)[0, 0] == 9007199254740993
    else:
        np.testing.assert_array_equal(values(source)[:, 0], np.repeat(expected, 40))
    assert source.dtype == values(source).dtype == np.dtype(dtype)


def test_a_table_on_disk_is_read_as_one_in_memory(tmp_path: Path, on_disk: Path, blocks: None) -> None:
    source = table(tmp_path, "id,kind,a,b\n" + LONG, label="kind")
    assert not isinstance(source, ArraySource)
    assert isinstance(source, Source)
    expected = np.array([[i, i / 4] for i in range(500)])
    for rows in (slice(3, 9), [4], [1, 400, 499], [400, 1, 1, 7], slice(0, 500, 7), [], np.arange(500) % 9 == 0):
        wanted: Any = np.array(rows, dtype=np.int64) if isinstance(rows, list) else rows
        np.testing.assert_array_equal(source.read(wanted), expected[wanted])
    with pytest.raises(IndexError):
        source.read(np.array([500]))


def test_a_table_on_disk_is_removed_with_its_source(tmp_path: Path, on_disk: Path) -> None:
    source: Any = table(tmp_path, "a,b\n1,2\n")
    other = open_source(source, y=[1])
    assert len(list(on_disk.iterdir())) == 1
    del source
    assert values(other).tolist() == [[1, 2]]
    copied = pickle.loads(pickle.dumps(other))
    assert values(copied).tolist() == [[1, 2]]
    del other
    assert list(on_disk.iterdir()) == []
    with pytest.raises(InputError, match=r"x\.csv: cannot read its temporary copy"):
        values(copied)
    source = table(tmp_path, "a,b\n1,2\n")
    source.close()
    assert list(on_disk.iterdir()) == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_the_table_on_disk(tmp_path: Path, on_disk: Path) -> None:
    import multiprocessing

    source = table(tmp_path, "a,b\n1,2\n")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(values, (source,)).tolist() == [[1, 2]]
    assert values(source).tolist() == [[1, 2]]


def test_threads(tmp_path: Path, on_disk: Path) -> None:
    source = table(tmp_path, "id,kind,a,b\n" + LONG, label="kind")
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: source.read(np.array([i, i + 100, i + 200])), range(100)))
    assert [part[:, 0].tolist() for part in parts] == [[i, i + 100, i + 200] for i in range(100)]


def test_no_room_for_the_temporary_file(tmp_path: Path, on_disk: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("id,kind,a,b\n" + LONG)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write a temporary copy .* \(File too large\); set TMPDIR"):
            open_source(path, label="kind")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(on_disk.iterdir()) == []


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    parse = delimited.parse_lines

    def and_write(*args: Any) -> Any:
        path.write_text("a,b\n1,2\n3,4\n")
        return parse(*args)

    monkeypatch.setattr(delimited, "parse_lines", and_write)
    with pytest.raises(InputError, match=r"x\.csv: the file changed while it was read"):
        table(tmp_path, "a,b\n1,2\n")


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """Peak memory of opening and reading 80 MB of numbers, above that of a table of 2 MB."""
    code = """
import resource, sys
from pixfold.sources import open_source
from pixfold.sources.disk import limits
limits.LARGEST = 8 << 20
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
def read(path):
    source = open_source(path)
    return sum(float(source.read(slice(i, i + 500)).sum()) for i in range(0, source.n_samples, 500))
read(sys.argv[1])
before = peak()
read(sys.argv[2])
print(peak() - before)
"""
    rng = np.random.default_rng(0)
    line = ",".join(f"{x:.3f}" for x in rng.random(1_000)) + "\n"
    header = ",".join(f"g{i}" for i in range(1_000)) + "\n"
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    small.write_text(header + line * 1_500)
    large.write_text(header + line * 10_000)
    result = subprocess.run(
        [sys.executable, "-c", code, str(small), str(large)], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < 32 * 2**20
