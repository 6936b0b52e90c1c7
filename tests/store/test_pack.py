"""pack: what it writes, what is left where it cannot, and that it goes on where it was interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from typer.testing import CliRunner

import pixfold
from pixfold import PackedGenotypes
from pixfold.cli.app import app
from pixfold.errors import InputError, OutputError
from pixfold.sources import ArraySource, open_source, side_by_side
from pixfold.store import chunking
from pixfold.store.resume import State
from pixfold.util.progress import SilentProgress

zarr: Any = pytest.importorskip("zarr")
pytest.importorskip("anndata")
RNG = np.random.default_rng(0)
N, M = 61, 37


def _bed(folder: Path, variant_major: bool) -> Path:
    copies = RNG.integers(-1, 3, (N, M)).astype(np.int8)
    packed = PackedGenotypes.pack(np.ascontiguousarray(copies.T if variant_major else copies))
    path = folder / "x.bed"
    path.write_bytes(b"\x6c\x1b" + bytes([variant_major]) + packed.bits.tobytes())
    path.with_suffix(".fam").write_text("".join(f"f{i} i{i} 0 0 {i % 3} {i * 0.5}\n" for i in range(N)))
    path.with_suffix(".bim").write_text("".join(f"1 rs{j} 0 {j} A C\n" for j in range(M)))
    return path


def _npz(folder: Path, X: Any) -> Path:
    path = folder / "x.npz"
    if sparse.issparse(X):
        sparse.save_npz(path, X)
    else:
        np.savez(path, X=X, kind=np.array(["a", "b", ""] * 21)[:N], feature_names=[f"gene{j}" for j in range(M)])
    return path


def _csr() -> Any:
    X = sparse.random(N, M, 0.3, format="csr", dtype=np.float32, random_state=1)
    X.data = np.ceil(X.data * 300)
    X.data[::7] = 0  # stored zeros stay
    return X


INPUTS: dict[str, Callable[[Path], Path]] = {
    "variant-major": lambda folder: _bed(folder, True),
    "sample-major": lambda folder: _bed(folder, False),
    "floats": lambda folder: _npz(folder, RNG.normal(size=(N, M)).astype(np.float32)),
    "counts": lambda folder: _npz(folder, RNG.poisson(3, (N, M)).astype(np.float64)),
    "CSR": lambda folder: _npz(folder, _csr()),
}
KINDS = {"variant-major": "bits", "sample-major": "bits", "floats": "X", "counts": "X", "CSR": "X/data"}


@pytest.fixture
def small_shards(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of some rows, bands of 12 variants, and reads that do not end where shards do."""
    monkeypatch.setattr(chunking, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(
        chunking, "_SHARD_BYTES", {"floats": 1500, "counts": 300, "CSR": 300}.get(kind_of(request), 100)
    )
    monkeypatch.setattr(chunking, "_BAND_SHARE", 100_000 // 200)
    monkeypatch.setattr("pixfold.store.writers.rows_within", lambda *_, **__: 7)


def kind_of(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params.get("kind")) if hasattr(request.node, "callspec") else ""


def values_of(source: Any) -> Any:
    block = source.read(slice(None))
    if isinstance(block, PackedGenotypes):
        return block.toarray("int8")
    return block.toarray() if sparse.issparse(block) else block


def elements(path: Path) -> dict[str, Any]:
    """What a store holds; zarrs writes the chunks of a shard in the order in which they are done."""
    group = zarr.open_group(path, mode="r")
    return {
        key: (repr(member[:].tolist()), dict(member.attrs)) if hasattr(member, "shape") else None
        for key, member in group.members(max_depth=None)
    }


@pytest.mark.parametrize("kind", INPUTS)
def test_values_names_and_labels_stay(tmp_path: Path, small_shards: None, kind: str) -> None:
    path = INPUTS[kind](tmp_path)
    made = pixfold.pack(path, tmp_path / "o.zarr", memory=100_000, verify=True)
    source, packed = open_source(path), open_source(tmp_path / "o.zarr", verify=True)
    before, after = values_of(source), values_of(packed)
    np.testing.assert_array_equal(before, after)
    if kind in ("floats", "variant-major"):
        assert before.tobytes() == after.tobytes()
    assert packed.is_sparse == source.is_sparse
    assert packed.feature_names == source.feature_names
    assert packed.sample_names == source.sample_names
    assert packed.dtype == {"counts": np.uint8, "CSR": np.uint16}.get(kind, np.float32)
    assert made.shape == (N, M)
    group = zarr.open_group(tmp_path / "o.zarr", mode="r")
    assert made.nbytes == sum(group.attrs["pixfold"]["files"].values())
    assert [file.name for file in tmp_path.glob("*o.zarr*")] == ["o.zarr"]
    # Any reader of Zarr, and AnnData, read it.
    array = group[KINDS[kind]]
    assert array.shards is not None
    assert [type(codec).__name__ for codec in array.compressors] == ["ZstdCodec", "Crc32cCodec"]
    if KINDS[kind] == "bits":
        np.testing.assert_array_equal(PackedGenotypes(array[:], M).toarray("int8"), before)
        return
    import anndata

    from pixfold.sources.anndata.containers import quiet

    with quiet():
        data = anndata.read_zarr(tmp_path / "o.zarr")
    np.testing.assert_array_equal(data.X.toarray() if kind == "CSR" else data.X, before)
    assert list(data.var_names) == source.feature_names


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 255], "uint8"),
        ([0, 256], "uint16"),
        ([-1, 127], "int8"),
        ([-1, 128], "int16"),
        ([0, 70_000], "uint32"),
        ([0, 2**40], "uint64"),
        ([-(2**40), 1], "int64"),
        ([0.0, 255.0], "uint8"),
        ([0.0, 2.0**32 - 1], "uint32"),
        ([0.0, 2.0**32], "float64"),
        ([0.0, 1.5], "float64"),
        ([0.0, -1.0], "float64"),
        ([-0.0, 1.0], "float64"),
        ([np.nan, 1.0], "float64"),
        ([np.inf, 1.0], "float64"),
    ],
)
@pytest.mark.parametrize("form", ["dense", "CSR"])
def test_the_type_of_values(tmp_path: Path, values: list[Any], dtype: str, form: str) -> None:
    X = np.array([values, values])
    if form == "CSR":
        X = sparse.csr_matrix((X.ravel(), [0, 1, 0, 1], [0, 2, 4]), shape=(2, 2))
    made = pixfold.pack(X, tmp_path / "o.zarr")
    assert made.dtype == dtype
    after = open_source(tmp_path / "o.zarr").read(slice(None))
    before = X.data if form == "CSR" else X
    assert (after.data if form == "CSR" else after).astype(before.dtype).tobytes() == before.tobytes()


class Stopping(SilentProgress):
    """Interrupts a pack after some shards, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Any]:
        yield self if description == "packing" else type("", (), {"advance": lambda *_, **__: None})()

    def advance(self, steps: float = 1.0, **_: object) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1


@pytest.mark.parametrize("saved", [True, False], ids=["after a shard was noted", "before a shard was noted"])
@pytest.mark.parametrize("kind", INPUTS)
def test_a_pack_goes_on_after_an_interrupt_at_any_shard(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, kind: str, saved: bool
) -> None:
    path, out, part = INPUTS[kind](tmp_path), tmp_path / "o.zarr", tmp_path / "o.zarr.part"
    pixfold.pack(path, tmp_path / "whole.zarr", memory=100_000)
    whole, shards = elements(tmp_path / "whole.zarr"), 0
    save = State.save
    for stop in range(1, 1000):
        lines: list[str] = []
        progress = Stopping(stop)
        progress.log = lines.append  # type: ignore[method-assign]
        try:
            if not saved:
                calls = iter(range(1000))

                def saving(state: State, folder: Path, calls: Any = calls, stop: int = stop) -> None:
                    if next(calls) == stop:
                        raise KeyboardInterrupt
                    save(state, folder)

                monkeypatch.setattr(State, "save", saving)
                progress.left = 10**6
            pixfold.pack(path, out, memory=100_000, progress=progress)
        except KeyboardInterrupt:
            assert not out.exists()
            if part.exists():
                with pytest.raises(InputError, match="half-written"):
                    open_source(part)
        else:
            break
        finally:
            monkeypatch.setattr(State, "save", save)
        shards += 1
        pixfold.pack(path, out, memory=100_000, progress=progress_of(lines))
        assert elements(out) == whole
        assert any("resuming" in line for line in lines) == (saved or stop > 1)
        assert not part.exists()
        for file in sorted(out.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        out.rmdir()
    assert shards > 4


def progress_of(lines: list[str]) -> SilentProgress:
    progress = SilentProgress()
    progress.log = lines.append  # type: ignore[method-assign]
    return progress


def test_an_interrupted_pack_is_interrupted_again(tmp_path: Path, small_shards: None) -> None:
    path = INPUTS["CSR"](tmp_path)
    for _ in range(100):
        try:
            pixfold.pack(path, tmp_path / "o.zarr", memory=100_000, progress=Stopping(2))
            break
        except KeyboardInterrupt:
            pass
    np.testing.assert_array_equal(values_of(open_source(tmp_path / "o.zarr")), values_of(open_source(path)))


@pytest.mark.parametrize("change", ["input", "options", "memory", "shard", "progress"])
def test_what_is_not_the_same_starts_anew(tmp_path: Path, small_shards: None, change: str) -> None:
    path, part = INPUTS["variant-major"](tmp_path), tmp_path / "o.zarr.part"
    with pytest.raises(KeyboardInterrupt):
        pixfold.pack(path, tmp_path / "o.zarr", memory=100_000, progress=Stopping(3))
    state = State.load(part)
    assert state is not None
    assert state.done == 3
    options: dict[str, Any] = {"memory": 100_000}
    if change == "input":
        content = bytearray(path.read_bytes())
        content[3] ^= 0xFF
        path.write_bytes(content)
    elif change == "options":
        options["label"] = "phenotype"
    elif change == "memory":
        options["memory"] = 200_000
    elif change == "shard":
        (part / next(iter(state.files))).write_bytes(b"")
    else:
        (part / "part.progress.json").write_text("{")
    lines: list[str] = []
    pixfold.pack(path, tmp_path / "o.zarr", progress=progress_of(lines), **options)
    assert not any("resuming" in line for line in lines)
    np.testing.assert_array_equal(values_of(open_source(tmp_path / "o.zarr")), values_of(open_source(path)))


def test_data_in_memory_are_not_gone_on_with(tmp_path: Path, small_shards: None) -> None:
    X = np.arange(N * M, dtype=np.float32).reshape(N, M) / 3
    with pytest.raises(KeyboardInterrupt):
        pixfold.pack(X, tmp_path / "o.zarr", memory=100_000, progress=Stopping(3))
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_changes_while_it_is_packed(tmp_path: Path, small_shards: None) -> None:
    path = INPUTS["floats"](tmp_path)

    class Touching(SilentProgress):
        @contextmanager
        def task(self, description: str, total: float) -> Iterator[Any]:
            os.utime(path, ns=(1, 1))
            with super().task(description, total) as task:
                yield task

    with pytest.raises(InputError, match=r"x\.npz: the data changed while it was packed; nothing is kept"):
        pixfold.pack(path, tmp_path / "o.zarr", memory=100_000, progress=Touching())
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"out": "none/o.zarr"}, OutputError, "cannot write .*o.zarr: there is no folder .*none$"),
        ({"memory": "much"}, InputError, "pack: memory must be a size such as '500MB'.*, got 'much'"),
        ({"memory": 0}, InputError, "pack: memory must be a size"),
        ({"force": 1}, InputError, "pack: force must be True or False, got 1"),
        ({"verify": "yes"}, InputError, "pack: verify must be True or False, got 'yes'"),
    ],
)
def test_wrong_arguments_are_refused_before_the_input_is_opened(
    tmp_path: Path, given: dict[str, Any], error: type[Exception], said: str
) -> None:
    out = tmp_path / given.pop("out", "o.zarr")
    with pytest.raises(error, match=f"^{said}"):
        pixfold.pack(tmp_path / "none.npy", out, **given)
    assert not list(tmp_path.iterdir())


def test_too_little_memory(tmp_path: Path) -> None:
    path = INPUTS["variant-major"](tmp_path)
    with pytest.raises(InputError, match=r"pack: memory must be at least 128 bytes for .*x\.bed, .*, got 30 bytes"):
        pixfold.pack(path, tmp_path / "o.zarr", memory=30)
    assert not list(tmp_path.glob("o.zarr*"))


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
import numpy as np
from pixfold.store import chunking
chunking._CHUNK_BYTES = chunking._SHARD_BYTES = 40_000
import pixfold
pixfold.pack({path!r}, {out!r})
"""


@pytest.mark.parametrize("with_zarrs", [True, False])
def test_a_disk_that_is_full(tmp_path: Path, with_zarrs: bool) -> None:
    """The limit stands for it: a file may not grow beyond it. The last shard alone does."""
    X = np.zeros((40, 1000), np.float32)
    X[30:] = RNG.normal(size=(10, 1000))
    np.save(tmp_path / "x.npy", X)
    out = tmp_path / "o.zarr"
    code = FULL.format(limit=20_000, path=str(tmp_path / "x.npy"), out=str(out))
    if not with_zarrs:
        code = "from pixfold.sources.packed import store; store.zarrs_works = lambda: False\n" + code
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = result.stderr.strip().splitlines()[-1]
    assert re.fullmatch(
        rf"pixfold.errors.OutputError: cannot write {re.escape(str(out))}\.part: File too large.*; "
        "what is whole is kept there, and the same call goes on with it",
        last,
    )
    assert not out.exists()
    with pytest.raises(InputError, match="half-written"):
        open_source(tmp_path / "o.zarr.part")


def test_killed(tmp_path: Path) -> None:
    """What a killed process leaves is gone on with."""
    path = INPUTS["CSR"](tmp_path)
    code = f"""
import os, signal
from pixfold.store import chunking
from pixfold.store import writers
from pixfold.store.resume import State
chunking._CHUNK_BYTES, chunking._SHARD_BYTES = 64, 300
save = State.save
def saving(state, folder):
    save(state, folder)
    if state.done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
State.save = saving
import pixfold
pixfold.pack({str(path)!r}, {str(tmp_path / "o.zarr")!r})
"""
    result = subprocess.run([sys.executable, "-c", code], check=False)
    assert result.returncode == -signal.SIGKILL
    assert not (tmp_path / "o.zarr").exists()
    lines: list[str] = []
    pixfold.pack(path, tmp_path / "o.zarr", progress=progress_of(lines))
    assert lines == ["resuming after 5 shards"]
    np.testing.assert_array_equal(values_of(open_source(tmp_path / "o.zarr")), values_of(open_source(path)))


def test_labels_are_kept(tmp_path: Path) -> None:
    X = np.eye(4)
    for y, expected in (
        ([1, 2, 1, 2], [1, 2, 1, 2]),
        ([True, False, True, False], [True, False, True, False]),
        (np.array([1, None, 2, 1], object), [1, None, 2, 1]),
        (np.array(["a", None, "b", ""], object), ["a", None, "b", None]),
        (np.array([0.5, np.nan, 1, 2]), [0.5, None, 1, 2]),
    ):
        pixfold.pack(X, tmp_path / "o.zarr", y=y, force=True)
        labels = open_source(tmp_path / "o.zarr", label="label").labels
        assert labels is not None
        assert [None if value != value or value is None else value for value in labels_of(labels)] == expected
    with pytest.raises(InputError, match="no label column 'kind'; columns there are: 'label'"):
        open_source(tmp_path / "o.zarr", label="kind")
    assert open_source(tmp_path / "o.zarr").labels is None


def labels_of(labels: np.ndarray) -> list[Any]:
    from pixfold.sources.missing import missing_labels

    return [None if gone else value for value, gone in zip(labels.tolist(), missing_labels(labels), strict=True)]


def test_all_columns_of_the_fam_file_are_kept(tmp_path: Path) -> None:
    path = INPUTS["variant-major"](tmp_path)
    pixfold.pack(path, tmp_path / "o.zarr")
    for label in ("family", "individual", "father", "mother", "sex", "phenotype"):
        before, after = open_source(path, label=label).labels, open_source(tmp_path / "o.zarr", label=label).labels
        assert before is not None
        assert after is not None
        assert labels_of(before) == labels_of(after)
    source = open_source(tmp_path / "o.zarr", label="phenotype", split="median")
    assert source.labels is not None
    assert set(source.labels) == {"<= 15", "> 15"}


def test_the_tables_of_anndata_are_kept(tmp_path: Path) -> None:
    import pandas as pd
    from anndata import AnnData

    from pixfold.sources.anndata.containers import quiet

    with quiet():
        obs = pd.DataFrame(
            {"kind": pd.Categorical(["a", None, "b"]), "depth": [1.5, 2, 3], "text": ["x", "y", "z"]}, index=list("abc")
        )
        var = pd.DataFrame({"length": [5, 6]}, index=["u", "v"])
        AnnData(np.arange(6.0).reshape(3, 2), obs=obs, var=var).write_h5ad(tmp_path / "x.h5ad")
    pixfold.pack(tmp_path / "x.h5ad", tmp_path / "o.zarr")
    for label, expected in (("kind", ["a", None, "b"]), ("depth", [1.5, 2, 3]), ("text", ["x", "y", "z"])):
        labels = open_source(tmp_path / "o.zarr", label=label).labels
        assert labels is not None
        assert labels_of(labels) == expected
    _, features = open_source(tmp_path / "o.zarr").tables()  # type: ignore[attr-defined]
    assert features["length"].tolist() == [5, 6]


def test_a_packed_store_is_packed_again(tmp_path: Path) -> None:
    path = INPUTS["variant-major"](tmp_path)
    pixfold.pack(path, tmp_path / "a.zarr")
    pixfold.pack(tmp_path / "a.zarr", tmp_path / "b.zarr")
    np.testing.assert_array_equal(values_of(open_source(tmp_path / "b.zarr")), values_of(open_source(path)))
    labels = open_source(tmp_path / "b.zarr", label="phenotype").labels
    assert labels is not None
    assert labels.tolist()[:3] == [0, 0.5, 1]


def test_sources_side_by_side(tmp_path: Path) -> None:
    one = ArraySource(RNG.normal(size=(5, 3)), sample_names=list("abcde"), feature_names=list("xyz"))
    two = ArraySource(RNG.normal(size=(5, 2)), sample_names=list("abcde"), feature_names=list("uv"))
    pixfold.pack([one, two], tmp_path / "o.zarr")
    together = open_source([one, two])
    packed = open_source(tmp_path / "o.zarr")
    assert packed.feature_names == together.feature_names
    np.testing.assert_array_equal(packed.read(slice(None)), together.read(slice(None)))
    assert getattr(packed, "channel_sizes", None) is None


def test_channels_are_kept(tmp_path: Path) -> None:
    parts = [ArraySource(RNG.normal(size=(5, n)), sample_names=list("abcde")) for n in (3, 2)]
    pixfold.pack(side_by_side(parts, stack=True), tmp_path / "o.zarr")
    assert open_source(tmp_path / "o.zarr").channel_sizes == [3, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("file", "label"),
    [("plink/toydata.bed", "phenotype"), ("plink/some_missing.bed", "sex"), ("chowdary.h5ad", "label")],
)
def test_real_data(shared_data: Path, tmp_path: Path, file: str, label: str) -> None:
    path = shared_data / file
    pixfold.pack(path, tmp_path / "o.zarr", label=label, memory="20MB", verify=True)
    source, packed = open_source(path, label=label), open_source(tmp_path / "o.zarr", label=label)
    np.testing.assert_array_equal(values_of(packed), values_of(source))
    assert packed.feature_names == source.feature_names
    assert packed.sample_names == source.sample_names
    assert source.labels is not None
    assert packed.labels is not None
    assert labels_of(packed.labels) == labels_of(source.labels)


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["pack", *map(str, arguments)])


def test_the_command(tmp_path: Path) -> None:
    path, out = INPUTS["variant-major"](tmp_path), tmp_path / "o.zarr"
    result = command(path, out, "--label", "phenotype", "--split", "median", "--quiet")
    assert result.exit_code == 0, result.output
    assert f"{out}: 61 samples x 37 features, genotypes at 2 bits, " in result.stdout
    assert "warning: labels split at the median 15" in result.stderr
    assert "packing" not in result.stderr
    assert command(path, out).exit_code == 1
    assert command(path, out, "--force", "--verify").exit_code == 0
    result = command("--verify", out)
    assert result.exit_code == 0
    assert f"{out}: whole, all checksums agree" in result.stdout
    assert command(out).exit_code == 2
    assert command(tmp_path / "none.bed", tmp_path / "p.zarr").exit_code == 2
    result = command("--verify", path)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1


def test_ctrl_c_ends_it_within_a_second(tmp_path: Path) -> None:
    """The second is the user's; a busy machine gets more before the test gives up."""
    X = RNG.normal(size=(1000, 10_000)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    command = [sys.executable, "-m", "pixfold", "pack", "x.npy", "o.zarr", "--memory", "20MB"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while (state := State.load(tmp_path / "o.zarr.part")) is None or not state.done:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (
        said.splitlines()[-1] == "interrupted: o.zarr is not written; the same call goes on after the last whole shard"
    )
    assert "Traceback" not in said
    assert not (tmp_path / "o.zarr").exists()
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "resuming after" in result.stderr
    np.testing.assert_array_equal(open_source(tmp_path / "o.zarr").read(slice(None)), X)
