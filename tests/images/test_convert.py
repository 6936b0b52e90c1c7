"""convert: images on disk, the same bits as in memory; whole or not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError, OutputError
from pixfold.genotypes import PackedGenotypes
from pixfold.images.convert import convert
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold
from pixfold.sources import ArraySource, side_by_side

RNG = np.random.default_rng(0)
X = RNG.gamma(2.0, 3.0, (37, 50)).astype(np.float32)
LABELS = np.array(["a", "b"])[RNG.integers(0, 2, 37)]
FORMATS = ("npy", "zarr")


def read(path: Path) -> np.ndarray:
    """Images, as anybody reads them."""
    if path.suffix == ".npy":
        return np.load(path)
    zarr = pytest.importorskip("zarr")
    return np.asarray(zarr.open_group(path, mode="r")["images"][:])


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Watched(ArraySource):
    """Says how many rows are read at once, and fails after a given number of them."""

    fails_after: int | None = None

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sizes: list[int] = []

    def read(self, rows):
        block = super().read(rows)
        self.sizes.append(block.shape[0])
        if self.fails_after is not None and sum(self.sizes) > self.fails_after:
            raise InputError("the source has changed")
        return block


@pytest.fixture(params=FORMATS)
def out(request, tmp_path):
    if request.param == "zarr":
        pytest.importorskip("zarr")
    return tmp_path / f"images.{request.param}"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "matrix",
    [X, sparse.csr_array(np.where(X > 5, X, 0)), PackedGenotypes.pack(RNG.integers(0, 3, (37, 50)).astype(np.int8))],
    ids=["dense", "sparse", "packed"],
)
def test_same_bits_as_in_memory(out, matrix, dtype):
    made = convert(ArraySource(matrix, labels=LABELS), out, dtype=dtype, arrangement="shuffled", seed=4)
    images = read(out)
    assert images.dtype == dtype
    assert made.shape == images.shape == (37, 1, 8, 8)
    np.testing.assert_array_equal(images, fold(matrix, made.layout, made.normalizer, dtype=dtype))
    assert made.layout == Layout.shuffled(50, seed=4)
    assert made.class_names == ["a", "b"]


def test_what_stands_beside_npy(tmp_path):
    samples = [f"s{i}" for i in range(37)]
    source = ArraySource(X, labels=LABELS, sample_names=samples, feature_names=[f"gène {j}" for j in range(50)])
    made = convert(source, tmp_path / "x.npy", normalize="zscore")
    assert left(tmp_path) == ["x.json", "x.layout.npz", "x.normalizer.npz", "x.npy"]
    layout, normalizer = Layout.load(tmp_path / "x.layout.npz"), Normalizer.load(tmp_path / "x.normalizer.npz")
    assert layout == made.layout
    np.testing.assert_array_equal(fold(X, layout, normalizer), np.load(tmp_path / "x.npy"))
    about = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert about["samples"] == samples
    assert about["features"] == source.feature_names
    assert [about["classes"][code] for code in about["labels"]] == LABELS.tolist()
    assert about["normalizer"]["preset"] == "zscore"
    np.load(tmp_path / "x.npy", mmap_mode="r")


def test_what_a_zarr_store_holds(tmp_path):
    zarr = pytest.importorskip("zarr")
    source = ArraySource(X, labels=LABELS, sample_names=[f"s{i}" for i in range(37)])
    convert(source, tmp_path / "x.zarr")
    store = zarr.open_group(tmp_path / "x.zarr", mode="r")
    assert store.metadata.zarr_format == 3
    assert "sharding_indexed" in (tmp_path / "x.zarr" / "images" / "zarr.json").read_text()
    assert "zstd" in (tmp_path / "x.zarr" / "images" / "zarr.json").read_text()
    assert store["sample_names"][:].tolist() == source.sample_names
    assert store["feature_names"][:].tolist() == source.feature_names
    assert [store.attrs["classes"][code] for code in store["labels"][:]] == LABELS.tolist()
    layout = Layout.from_state({key: values[:] for key, values in store["layout"].arrays()})
    normalizer = Normalizer.from_state({key: values[:] for key, values in store["normalizer"].arrays()})
    np.testing.assert_array_equal(fold(X, layout, normalizer), store["images"][:])


def test_in_blocks_of_the_memory_budget(out):
    tall = RNG.gamma(2.0, 3.0, (999, 1000)).astype(np.float32)  # four times the budget
    source = Watched(tall)
    made = convert(source, out, memory="1MB")
    assert 1 < max(source.sizes) * 4000 < 10**6
    assert sum(source.sizes) == 3 * 999  # looked at, fitted on, folded
    np.testing.assert_array_equal(read(out), fold(tall, made.layout, made.normalizer))


def test_a_shard_is_what_is_written_at_once(tmp_path):
    zarr = pytest.importorskip("zarr")
    tall = np.ones((999, 1000), dtype=np.float32)
    convert(tall, tmp_path / "x.zarr", memory="1MB", normalize="none", negative="error")
    images = zarr.open_group(tmp_path / "x.zarr", mode="r")["images"]
    assert images.shards == images.chunks
    assert 1 < images.shards[0] * 4096 < 10**6
    convert(tall, tmp_path / "y.zarr", normalize="none", negative="error")
    images = zarr.open_group(tmp_path / "y.zarr", mode="r")["images"]
    assert images.shards[0] == 3 * images.chunks[0]
    assert images.chunks[0] * 4096 == 2**20


def test_empty_features_and_samples_and_labels(out):
    data = X.copy()
    data[3], data[:, 7] = 0, 0
    labels = LABELS.astype(object)
    labels[5] = None
    made = convert(ArraySource(data, labels=labels), out, normalize="zscore")
    used = [i for i in range(37) if i not in (3, 5)]
    assert made.shape == (35, 1, 7, 7)
    assert made.layout.pixel_of_feature[7] == -1
    np.testing.assert_array_equal(read(out), fold(data[used], made.layout, made.normalizer))
    text = " ".join(made.messages)
    assert "1 sample without a label left out: 'sample_5'" in text
    assert "1 of 50 features left out, all zero or missing: 'feature_7'" in text


def test_missing_values(out):
    data = X.copy()
    data[2, 3] = np.nan
    with pytest.raises(InputError, match="1 value missing"):
        convert(data, out)
    assert left(out.parent) == []
    made = convert(data, out, missing="mean")
    np.testing.assert_array_equal(read(out), fold(data, made.layout, made.normalizer))


def test_shape_channels_and_stacked_inputs(out):
    made = convert(X, out, shape=(5, 6), channels=2)
    assert made.shape == (37, 2, 5, 6)
    made = convert(side_by_side([X, X[:, :9]], stack=True), out, force=True)
    assert made.shape == (37, 2, 8, 8)
    np.testing.assert_array_equal(
        read(out)[:, 1, :3, :3].reshape(37, 9), made.normalizer.transform(np.hstack([X, X[:, :9]]))[:, 50:]
    )


def test_images_of_a_model(out):
    data = X.copy()
    data[:, 4] = 0  # empty in the new samples alone: it keeps its pixel
    layout, normalizer = Layout.shuffled(50, seed=1), Normalizer("zscore").fit(X)
    made = convert(
        ArraySource(data, labels=["b"] * 37), out, layout=layout, normalizer=normalizer, class_names=["a", "b", "c"]
    )
    np.testing.assert_array_equal(read(out), fold(data, layout, normalizer))
    assert made.class_names == ["a", "b", "c"]
    with pytest.raises(InputError, match="labels must be among 'a', 'c', got 'b'"):
        convert(
            ArraySource(X, labels=["b"] * 37),
            out,
            layout=layout,
            normalizer=normalizer,
            class_names=["a", "c"],
            force=True,
        )
    data[1, 2] = np.inf
    with pytest.raises(InputError, match=r"got 1 infinite in 1 feature \('feature_2'\) and 1 sample \('sample_1'\)"):
        convert(data, out, layout=layout, normalizer=normalizer, force=True)
    with pytest.raises(InputError, match="must have the layout's 50 features, got 9"):
        convert(X[:, :9], out, layout=layout, normalizer=normalizer, force=True)
    assert len(read(out)) == 37


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "x.npz"}, r"convert: out must end in \.zarr or \.npy, got .*x\.npz"),
        ({"out": "no/x.npy"}, r"cannot write .*x.npy: there is no folder .*no$"),
        ({"dtype": "bfloat16"}, "convert: dtype must be one of float32, float16, got 'bfloat16'"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"shape": (2, 0)}, r"convert: shape must be height and width, two positive integers, got \(2, 0\)"),
        ({"channels": 0}, "convert: channels must be a positive integer, got 0"),
        ({"seed": -1}, "convert: seed must be an integer of 0 or more, got -1"),
        ({"arrangement": "random"}, "convert: arrangement must be one of natural, shuffled, got 'random'"),
        ({"memory": "much"}, "convert: memory must be a size such as '500MB'"),
        ({"normalize": "zcsore"}, "convert: normalize must be one of .*, got 'zcsore'"),
        ({"negative": "clip"}, "convert: negative must be one of auto, error, shift, got 'clip'"),
        ({"missing": "median"}, "convert: missing must be one of .*, got 'median'"),
        ({"threads": 0}, "convert: threads must be a positive integer, got 0"),
        ({"force": "yes"}, "convert: force must be True or False, got 'yes'"),
        ({"class_names": "ab"}, "convert: class_names must be a list of names, got 'ab'"),
        ({"class_names": [1, 2]}, r"convert: class_names must be a list of names, got \[1, 2\]"),
        ({"layout": Layout.natural(50)}, "convert: layout and normalizer must be given together, got Layout"),
        ({"layout": 3, "normalizer": Normalizer("log1p")}, "convert: layout must be a Layout, got int"),
        ({"layout": Layout.natural(50), "normalizer": 3}, "convert: normalizer must be a Normalizer or None, got int"),
        (
            {"layout": Layout.natural(5), "normalizer": Normalizer("zscore").fit(X)},
            "convert: normalizer must be fitted on the layout's 5 features, got 50",
        ),
        ({"source": X, "shape": (2, 2)}, "Layout.natural: shape must have at least 50 pixels, got 4"),
        (
            {"source": X, "memory": "1kB"},
            r"memory must be at least [\d,]+ bytes for array, where a sample of 50 features",
        ),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    """All but the last two are refused before the source is opened."""
    out = tmp_path / options.get("out", "x.npy")
    with pytest.raises((InputError, OutputError, TypeError), match=message):
        convert(**{"source": tmp_path / "none.csv"} | options | {"out": out})
    assert left(tmp_path) == []


def test_a_source_that_fails_half_way_leaves_what_was_there(out):
    convert(X, out)
    before, files = read(out), left(out.parent)
    tall = Watched(np.ones((999, 1000), dtype=np.float32))
    tall.fails_after = 2 * 999 + 300
    with pytest.raises(InputError, match="the source has changed"):
        convert(tall, out, memory="1MB", force=True)
    np.testing.assert_array_equal(read(out), before)
    assert left(out.parent) == files


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_full_disk_is_one_error_and_leaves_nothing(out):
    pytest.importorskip("resource")
    code = """
        import resource, sys, numpy as np
        from pixfold.images.convert import convert
        from pixfold.errors import OutputError
        noise = np.random.default_rng(0).random((2000, 1000), dtype=np.float32)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        try:
            convert(noise, sys.argv[1])
        except OutputError as error:
            sys.exit(f"OutputError: {error}")
    """
    process = child(code, out)
    _, said = process.communicate(timeout=60)
    assert said.startswith(f"OutputError: cannot write {out}: "), said
    assert left(out.parent) == []


def test_interrupted_leaves_nothing_within_a_second(out):
    code = """
        import sys, time, numpy as np
        from pixfold.images.convert import convert
        from pixfold.sources import ArraySource

        class Slow(ArraySource):
            rows = 0

            def read(self, rows):
                block = super().read(rows)
                self.rows += len(block)
                if self.rows > 2 * 1000 + 100:  # looked at and fitted on: folding has begun
                    print("folding", flush=True)
                    time.sleep(0.2)
                return block

        try:
            source = Slow(np.random.default_rng(0).random((999, 1000)))
            convert(source, sys.argv[1], memory="1MB", normalize="zscore", negative="error")
        except KeyboardInterrupt:
            sys.exit(130)
    """
    process = child(code, out)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    started = time.monotonic()
    assert left(out.parent) != []
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - started < 10  # far above a second: the machine may be busy
    assert left(out.parent) == []


def test_memory_does_not_grow_with_the_samples(out):
    pytest.importorskip("resource")
    code = """
        import resource, sys, numpy as np
        from pixfold.images.convert import convert
        from pixfold.sources import ArraySource

        class Generated(ArraySource):
            def read(self, rows):
                rows = np.arange(self.n_samples)[rows]
                return np.outer(rows % 7 + 1, np.arange(self.n_features) % 11 + 1).astype(np.float32)

        samples = int(sys.argv[2])
        source = Generated(np.broadcast_to(np.float32(1), (samples, 2500)))
        convert(source, sys.argv[1], memory="16MB")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    peaks = []
    for samples in (1000, 8000):
        said, errors = child(code, out, samples).communicate(timeout=120)
        assert not errors, errors
        peaks.append(int(said))
        assert len(read(out)) == samples
        for path in out.parent.iterdir():
            path.rename(out.parent.parent / f"{samples}-{path.name}-{out.suffix}")
    # 70 MB more values went through, in blocks of a budget of 16 MB.
    assert peaks[1] - peaks[0] < 16_000
