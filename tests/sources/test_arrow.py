"""Parquet and Feather files: what a DataFrame is, its files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.sources import open_source

pa: Any = pytest.importorskip("pyarrow")
pd: Any = pytest.importorskip("pandas")

from pixfold.sources.disk import limits  # noqa: E402
from pixfold.sources.tables import arrow  # noqa: E402


def write(frame: Any, path: Path, **options: Any) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, **options)
    else:
        frame.reset_index().to_feather(path)
    return path


FRAME = pd.DataFrame(
    {
        "stage": pd.Categorical(["low", "high", None, "low"], categories=["low", "mid", "high"], ordered=True),
        "site": pd.Categorical(["b", "a", "b", "a"]),
        "count": pd.array([1, None, 3, 4], dtype="Int64"),
        "flag": [True, False, True, True],
        "word": ["x", None, "y", "x"],
        "digits": ["1", "2", None, "3.5"],
        "x": np.array([0.5, 1.5, 2.5, 3.5], dtype=np.float32),
        "y": ["u", "v", "u", None],
    },
    index=["p", "q", "r", "s"],
)


@pytest.mark.parametrize("categorical", ["ordinal", "onehot"])
@pytest.mark.parametrize("memory", [0, 2**20])
def test_a_parquet_file_is_read_as_its_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, categorical: str
) -> None:
    monkeypatch.setattr(limits, "LARGEST", memory)
    expected = open_source(FRAME, label="y", categorical=categorical)
    source = open_source(write(FRAME, tmp_path / "x.parquet"), label="y", categorical=categorical)
    assert source.sample_names == ["p", "q", "r", "s"]
    assert source.feature_names == expected.feature_names
    assert source.categories == expected.categories
    assert source.messages == expected.messages
    assert source.labels is not None
    assert source.labels.tolist() == ["u", "v", "u", None]
    np.testing.assert_array_equal(source.read(slice(None)), expected.read(slice(None)))
    np.testing.assert_array_equal(source.read(np.array([3, 0])), expected.read(np.array([3, 0])))


def test_row_groups_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "block_rows", lambda n: 7)
    monkeypatch.setattr(arrow, "_BUFFER_BYTES", 100)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 99, (100, 5)).astype(np.int16), columns=list("abcde"))
    frame["kind"] = [f"k{i % 3}" for i in range(100)]
    source = open_source(write(frame, tmp_path / "x.parquet", row_group_size=30, index=False), label="kind")
    assert source.dtype == np.int16
    np.testing.assert_array_equal(source.read(slice(None)), frame.iloc[:, :5])
    source = open_source(write(frame, tmp_path / "x.parquet", row_group_size=30, index=False))
    assert source.categories == {"kind": ["k0", "k1", "k2"]}


@pytest.mark.parametrize("name", ["x.feather", "x.arrow"])
def test_feather(tmp_path: Path, name: str) -> None:
    frame = FRAME[["site", "x", "y"]]
    source = open_source(write(frame, tmp_path / name), label="y")
    assert source.sample_names == ["p", "q", "r", "s"]  # the first column, of texts that all differ
    np.testing.assert_array_equal(source.read(slice(None)), [[1, 0.5], [0, 1.5], [1, 2.5], [0, 3.5]])
    assert source.dtype == np.float32


def test_a_first_column_that_repeats_is_a_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "block_rows", lambda n: 4)
    frame = pd.DataFrame({"a": list("wxyz") * 10, "b": np.arange(40.0)})
    source = open_source(write(frame, tmp_path / "x.parquet", index=False))
    assert source.feature_names == ["a", "b"]
    assert source.read(slice(0, 2)).tolist() == [[0, 0], [1, 1]]


def test_categories_of_training(tmp_path: Path) -> None:
    path = write(pd.DataFrame({"sex": pd.Categorical(["m"]), "x": [1.0]}), tmp_path / "x.parquet", index=False)
    assert open_source(path, categories={"sex": ["f", "m"]}).read(slice(None)).tolist() == [[1, 1]]
    assert open_source(path, categories={"sex=": ["f", "m"]}).read(slice(None)).tolist() == [[0, 1, 1]]
    with pytest.raises(InputError, match="row 0, column 'sex': 'm' is none of the known categories"):
        open_source(path, categories={"sex": ["f"]})
    with pytest.raises(InputError, match="column 'sex' must hold numbers as in training, got text"):
        open_source(path, categories={})


def test_wide(tmp_path: Path) -> None:
    X = np.random.default_rng(0).random((3, 10_000), dtype=np.float32)
    path = tmp_path / "x.parquet"
    pa.parquet.write_table(pa.table({f"g{i}": X[:, i] for i in range(10_000)}), path)
    np.testing.assert_array_equal(open_source(path).read(slice(None)), X)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"when": pd.to_datetime(["2020-01-01"] * 3)},
            {},
            "column 'when' must hold numbers or categories, got dates or times",
        ),
        ({"a": [[1], [2], [3]]}, {}, "column 'a' must hold numbers or categories, got values of type list"),
        ({"y": ["u", "v", "u"]}, {"label": "y"}, r"0 feature\(s\)"),
        ({"a": pd.Series([], dtype=float)}, {}, r"0 sample\(s\)"),
        ({"a": [1, 2, 3]}, {"label": "b"}, "no label column 'b'; columns there are: 'a'"),
        ({"a": [1, 2, 3], "b": ["1", "2", "x"]}, {}, "row 2, column 'b' must hold a number, got 'x'"),
        ({"a": [1.0] * 10, "b": [f"t{i}" for i in range(10)]}, {}, "column 'b' looks like an identifier"),
        ({"a": [1, 2, 3]}, {"y": [1]}, "labels must be 3, one per sample, got 1"),
    ],
)
def test_bad_tables(tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_source(write(pd.DataFrame(columns), tmp_path / "x.parquet", index=False), **options)
    assert str(caught.value).startswith(f"{tmp_path / 'x.parquet'}: ")


@pytest.mark.parametrize("name", ["x.parquet", "x.feather"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_files(tmp_path: Path, name: str, damage: str) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).random((200, 20)), columns=[f"g{i}" for i in range(20)])
    content = bytearray(write(frame, tmp_path / name).read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        end = len(content) - (8 if name.endswith("parquet") else 10)  # of the footer; its size stands there
        start = end - int.from_bytes(content[end : end + 4], "little")
        content[start : start + 100] = b"\xff" * 100
    else:
        content.clear()
    (tmp_path / name).write_bytes(content)
    message = "the file is empty" if damage == "empty" else "is damaged or cut off"
    with pytest.raises(InputError, match=message) as caught:
        open_source(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_flipped_bytes_of_a_page_with_a_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"a": np.arange(1_000.0)})
    pa.parquet.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[2_000] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"the Parquet file is damaged or cut off \(.*(CRC|checksum)"):
        open_source(path)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(FRAME[["x"]], tmp_path / "x.parquet")
    read = arrow._read

    def and_write(*args: Any) -> Any:
        path.write_bytes(path.read_bytes() + b"PAR1")
        return read(*args)

    monkeypatch.setattr(arrow, "_read", and_write)
    with pytest.raises(InputError, match=r"x\.parquet: the file changed while it was read"):
        open_source(path)
