"""Sound calls of every op with random data, each with the check of its result against the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from pixfold.genotypes import PackedGenotypes
from pixfold.image_pool import ImagePool
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator, column_stats, fold, rank, reference, top_k, unfold
from pixfold.ops.gradients import fold_gradient, unfold_gradient

Random = np.random.Generator

FLOATS = ["float32", "float64", "float16"]
DTYPES = [
    *FLOATS, "float32", "float32", "bool",
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    ">f4", ">f8", ">i2", ">u8",
]  # fmt: skip
STORAGES = [
    "C", "Fortran", "transposed", "every second row", "every third column", "rows reversed", "columns reversed",
    "unaligned", "broadcast", "read-only", *["csr"] * 6, "csc", "coo",
]  # fmt: skip
DENSE = [storage for storage in STORAGES if storage not in ("csr", "csc", "coo")]
SIZES = [1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100]
SAMPLES = [0, 1, 2, 3, 5, 8, 17]
PRESETS = ["none", "log1p", "minmax", "log1p-minmax", "norm2", "cp10k-log1p", "zscore", "log1p-zscore", "genotype"]
POOL = ImagePool(64 << 20)


@dataclass
class Call:
    """A call that must succeed, and what its result must be."""

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    check: Callable[[Any], None]


def pick(rng: Random, choices: Any) -> Any:
    """One of the choices, as it is (NumPy's own choice would turn strings and numbers into its scalars)."""
    return choices[int(rng.integers(len(choices)))]


def expect(actual: Any, expected: Any, bound: Any) -> None:
    """Fail unless every number is within its bound; NaN and infinities must be the same."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if actual.shape != expected.shape:
        raise AssertionError(f"shape {actual.shape}, expected {expected.shape}")
    with np.errstate(invalid="ignore"):
        near = np.abs(actual - expected) <= bound
    wrong = ~(near | (actual == expected) | (np.isnan(actual) & np.isnan(expected)))
    if wrong.any():
        at = tuple(int(i[0]) for i in np.nonzero(wrong))
        raise AssertionError(f"{wrong.sum()} numbers differ; at {at} {actual[at]!r}, expected {expected[at]!r}")


def values_of(rng: Random, shape: tuple[int, ...], dtype: str, kind: str = "positive") -> Any:
    """Numbers up to 60 that every dtype holds, many of them 0."""
    values = np.minimum(rng.gamma(0.7, 8.0, shape), 60.0)
    values[rng.random(shape) < rng.choice([0.0, 0.3, 0.9])] = 0.0
    if kind == "genotypes":
        values = rng.integers(0, 3, shape).astype(np.float64)
    if kind == "signed" and np.dtype(dtype).kind in "fi":
        values *= np.where(rng.random(shape) < 0.5, -1.0, 1.0)
    x = (values > 3.0).astype(dtype) if np.dtype(dtype).kind == "b" else values.astype(dtype)
    if np.dtype(dtype).kind == "f" and kind != "whole" and rng.random() < 0.3:
        x[rng.random(shape) < 0.1] = np.nan
    return x


def sparse(rng: Random, x: Any) -> Any:
    """The same numbers as compressed rows: narrow or wide indices, perhaps unsorted, in two parts or with zeros."""
    mask = (x != 0) | (rng.random(x.shape) < pick(rng, [0.0, 0.2]))
    rows, columns = np.nonzero(mask)
    data = x[rows, columns]
    # A half of some entries, twice: exact, also for integers of an even value.
    halves = (rng.random(rows.size) < pick(rng, [0.0, 0.3])) & (data == (half := data // 2) * 2) & np.isfinite(data)
    halves &= data.dtype.kind != "b"
    data = np.concatenate([np.where(halves, half, data), half[halves]]).astype(x.dtype)
    rows, columns = np.concatenate([rows, rows[halves]]), np.concatenate([columns, columns[halves]])
    within = rng.random(rows.size) if rng.random() < 0.5 else columns
    order = np.lexsort((within, rows))
    index = pick(rng, ["int32", "int64"])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=x.shape[0]))]).astype(index)
    parts = (data[order], columns[order].astype(index), indptr)
    return pick(rng, [scipy.sparse.csr_array, scipy.sparse.csr_matrix])(parts, shape=x.shape)


def stored(rng: Random, x: Any, storage: str) -> Any:
    """The same numbers in other memory."""
    if storage in ("csr", "csc", "coo"):
        native = x.astype(x.dtype.newbyteorder("="))
        if native.dtype == np.float16:
            native = native.astype(np.float32)  # SciPy knows no sparse float16
        compressed = sparse(rng, native)
        return compressed if storage == "csr" else compressed.asformat(storage)
    if storage == "Fortran":
        return np.asfortranarray(x)
    if storage == "transposed":
        return np.ascontiguousarray(x.T).T
    if storage == "every second row":
        return np.repeat(x, 2, axis=0)[::2]
    if storage == "every third column":
        return np.repeat(x, 3, axis=1)[:, ::3]
    if storage == "rows reversed":
        return np.ascontiguousarray(x[::-1])[::-1]
    if storage == "columns reversed":
        return np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    if storage == "unaligned":
        return unaligned(x)
    if storage == "broadcast":
        return np.broadcast_to(x[:1], x.shape)
    if storage == "read-only":
        x.setflags(write=False)
    return x


def unaligned(x: Any) -> Any:
    """A copy that starts one byte after an aligned address."""
    memory = np.zeros(x.nbytes + 1, dtype=np.uint8)
    copy = memory[1:].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def layout_of(rng: Random, n: int) -> Layout:
    """A layout of n features: any kind."""
    side = int(np.ceil(np.sqrt(n)))
    kind = pick(rng, ["natural", "shuffled", "wide", "channels", "gaps", "shared", "keep"])
    if kind == "natural":
        return Layout.natural(n)
    if kind == "shuffled":
        return Layout.shuffled(n, seed=int(rng.integers(1000)))
    if kind == "wide":
        return Layout.natural(n, shape=(2, n // 2 + 3))
    if kind == "channels":
        return Layout.shuffled(n, seed=0, channels=3)
    if kind == "gaps":
        return Layout.from_index(rng.permutation(2 * side * side)[:n], shape=(2 * side, side))
    if kind == "shared":
        small = max(1, side // 2)
        return Layout.from_coordinates(rng.integers(0, small, n), rng.integers(0, small, n), (small + 1, small))
    keep = rng.random(n) < 0.7
    keep[rng.integers(n)] = True
    return Layout.shuffled(n, seed=1, keep=keep)


def sizes(rng: Random) -> tuple[int, int]:
    """Samples and features: mostly around the widths of tiles, sometimes enough work for two threads."""
    if rng.random() < 0.01:
        return pick(rng, [(300, 2_500), (40, 18_225)])
    return pick(rng, SAMPLES), pick(rng, SIZES)


def fold_call(rng: Random) -> Call:
    """fold, with or without a normaliser, an out and threads."""
    n, n_features = sizes(rng)
    dtype = pick(rng, DTYPES)
    preset = pick(rng, [None, *PRESETS])
    kind = "genotypes" if preset == "genotype" else pick(rng, ["positive", "signed", "whole"])
    options: dict[str, Any] = {"missing": pick(rng, ["zero", "mean"])}
    logs = preset is not None and ("log" in preset or preset == "norm2")
    if logs and kind == "signed":
        if "cp10k" in str(preset):
            kind = "positive"  # a library size is not defined for negative values
        elif preset != "norm2":
            options["negative"] = "shift"
    normalizer = None
    if preset is not None:
        train = values_of(rng, (12, n_features), dtype, kind)
        normalizer = Normalizer(preset, **options).fit(train)
    x = stored(rng, values_of(rng, (n, n_features), dtype, kind), pick(rng, STORAGES))
    layout = layout_of(rng, n_features)
    wanted = pick(rng, ["float32", "float32", "float16"])
    kind_of_out = pick(rng, ["none", "array", "array", "pool"])
    out = {"none": None, "pool": POOL, "array": np.full((n, *layout.shape), 9, dtype=wanted)}[kind_of_out]

    def check(images: Any) -> None:
        assert images.dtype == wanted
        assert kind_of_out != "array" or images is out
        with np.errstate(over="ignore", invalid="ignore"):
            expected = reference.fold(x, layout, normalizer)
            bound = reference.fold_bound(x, layout, normalizer, wanted)
            if wanted == "float16":  # whose largest number is 65504: from 65520 on it rounds to infinity
                beyond = np.isinf(images) & (np.sign(images) == np.sign(expected))
                expected = np.where(beyond & (np.abs(expected) + bound >= 65520), images, expected)
            expect(images, expected, bound)

    arguments = {
        "X": x, "layout": layout, "normalizer": normalizer, "dtype": wanted, "out": out,
        "threads": pick(rng, [None, 1, 2, 3]),
    }  # fmt: skip
    return Call("fold", fold, arguments, check)


def fold_gradient_call(rng: Random) -> Call:
    """The gradient of fold, with and without limits, logarithm and library size."""
    n, n_features = sizes(rng)
    dtype = pick(rng, [*FLOATS, ">f4", ">f8"])
    preset = pick(rng, [None, *(preset for preset in PRESETS if preset != "genotype")])
    layout, normalizer = layout_of(rng, n_features), None
    if preset is not None:
        train = values_of(rng, (12, n_features), dtype)
        normalizer = Normalizer(preset, missing=pick(rng, ["zero", "mean"])).fit(train)
    x = stored(rng, values_of(rng, (n, n_features), dtype), pick(rng, DENSE))
    flat = rng.normal(size=(n, layout.n_pixels)).astype(pick(rng, ["float32", "float16"]))
    gradient = stored(rng, flat, pick(rng, DENSE)).reshape(n, *layout.shape)

    def check(found: Any) -> None:
        native = x.astype(x.dtype.newbyteorder("="))
        with np.errstate(over="ignore", invalid="ignore"):
            expected = reference.fold_gradient(gradient, native, layout, normalizer)
            bound = reference.fold_gradient_bound(gradient, native, layout, normalizer)
            if native.dtype == np.float16:
                beyond = np.isinf(found) & (np.sign(found) == np.sign(expected))
                expected = np.where(beyond & (np.abs(expected) + bound >= 65520), found, expected)
            expect(found, expected, bound)

    arguments = {
        "gradient": gradient, "X": x, "layout": layout, "normalizer": normalizer,
        "threads": pick(rng, [None, 1, 2, 3]),
    }  # fmt: skip
    return Call("fold_gradient", fold_gradient, arguments, check)


def unfold_gradient_call(rng: Random) -> Call:
    """The gradient of unfold."""
    n, n_features = sizes(rng)
    dtype = pick(rng, [*FLOATS, ">f4", ">f8"])
    layout = layout_of(rng, n_features)
    gradient = stored(rng, values_of(rng, (n, n_features), dtype, "signed"), pick(rng, DENSE))

    def check(found: Any) -> None:
        # Sums of float64, and of few numbers of 24 bits, in one order: the bits of the reference, rounded.
        expect(found, reference.unfold_gradient(gradient, layout).astype(found.dtype), 0.0)

    arguments = {"gradient": gradient, "layout": layout, "threads": pick(rng, [None, 1, 2])}
    return Call("unfold_gradient", unfold_gradient, arguments, check)


def codes_of(rng: Random, n: int, n_features: int, missing: str = "zero") -> Any:
    """Packed genotypes of all four codes, with anything in the bits of no feature."""
    bits = rng.integers(0, 256, (n, -(-n_features // 4)), dtype=np.uint8)
    if missing == "error":
        bits |= 0xAA  # codes 2 and 3
    return stored(rng, bits, pick(rng, ["C", "every second row", "rows reversed", "unaligned", "read-only"]))


def packed_fold_call(rng: Random) -> Call:
    """fold of packed genotypes."""
    n, n_features = sizes(rng)
    count_first = bool(rng.random() < 0.5)
    missing = pick(rng, ["zero", "mean", "error"])
    bits = codes_of(rng, n, n_features, missing)
    preset = pick(rng, [None, "none", "log1p", "minmax", "zscore", "genotype"])
    normalizer = None
    if preset is not None:
        train = PackedGenotypes(codes_of(rng, 12, n_features, missing), n_features)
        normalizer = Normalizer(preset, missing=missing).fit(train)
    layout = layout_of(rng, n_features)
    wanted = pick(rng, ["float32", "float16"])
    out = np.full((n, *layout.shape), 9, dtype=wanted) if rng.random() < 0.5 else None

    def function(bits: Any, n_features: Any, count_first: Any, **options: Any) -> Any:
        return fold(PackedGenotypes(bits, n_features, count_first=count_first), **options)

    def check(images: Any) -> None:
        x = reference.dense(PackedGenotypes(bits, n_features, count_first=count_first)).astype(np.float32)
        bound = reference.fold_bound(x, layout, normalizer, wanted)
        expect(images, reference.fold(x, layout, normalizer), bound)

    arguments = {
        "bits": bits, "n_features": n_features, "count_first": count_first, "layout": layout,
        "normalizer": normalizer, "dtype": wanted, "out": out, "threads": pick(rng, [None, 1, 2, 3]),
    }  # fmt: skip
    return Call("fold packed", function, arguments, check)


def packed_stats_call(rng: Random) -> Call:
    """column_stats of packed genotypes."""
    n, n_features = sizes(rng)
    bits, log = codes_of(rng, n, n_features), bool(rng.random() < 0.5)
    offset = rng.integers(0, 4, n_features).astype(np.float64) if rng.random() < 0.5 else None

    def function(bits: Any, n_features: Any, **options: Any) -> Any:
        return column_stats(PackedGenotypes(bits, n_features), **options)

    def check(stats: Any) -> None:
        x = reference.dense(PackedGenotypes(bits, n_features)).astype(np.float32)
        expected, bound = reference.column_stats(x, log, offset), reference.stats_bound(x, log, offset)
        for name in ("count", "missing", "zeros"):
            expect(getattr(stats, name), expected[name], 0.0)
        for name in ("min", "max", "mean", "m2"):
            expect(getattr(stats, name), expected[name], bound[name])

    arguments = {
        "bits": bits, "n_features": n_features, "log": log, "offset": offset, "threads": pick(rng, [None, 1, 2]),
    }  # fmt: skip
    return Call("column_stats packed", function, arguments, check)


def pack_call(rng: Random) -> Call:
    """Packing and unpacking."""
    n, n_features = sizes(rng)
    dtype = pick(rng, [dtype for dtype in DTYPES if dtype != "bool"])
    G = rng.integers(0, 3, (n, n_features)).astype(dtype)
    if G.dtype.kind != "u":
        G[rng.random(G.shape) < 0.1] = np.nan if G.dtype.kind == "f" else -1
    x = stored(rng, G, pick(rng, DENSE))
    wanted = pick(rng, ["float32", "float64", "float16"])

    def function(G: Any, count_first: Any, missing: Any, threads: Any) -> Any:
        packed = PackedGenotypes.pack(G, count_first=count_first, missing=missing, threads=threads)
        return packed.toarray(wanted, threads=threads)

    def check(found: Any) -> None:
        values = np.asarray(x).astype(np.float64)
        expect(found, np.where(values == -1, np.nan, values), 0.0)

    arguments = {
        "G": x, "count_first": bool(rng.random() < 0.5), "missing": -1, "threads": pick(rng, [None, 1, 2]),
    }  # fmt: skip
    return Call("PackedGenotypes.pack packed", function, arguments, check)


def from_variants_call(rng: Random) -> Call:
    """Transposing genotypes that lie variant after variant."""
    n_variants, n_samples = pick(rng, SIZES), pick(rng, SIZES)
    bits = codes_of(rng, n_variants, n_samples)

    def function(bits: Any, n_samples: Any, count_first: Any, threads: Any) -> Any:
        return PackedGenotypes.from_variants(bits, n_samples, count_first=count_first, threads=threads).bits

    arguments = {
        "bits": bits, "n_samples": n_samples, "count_first": bool(rng.random() < 0.5),
        "threads": pick(rng, [None, 1, 2]),
    }  # fmt: skip
    expected = reference.transpose_packed(bits, n_samples)
    return Call("PackedGenotypes.from_variants packed", function, arguments, lambda it: expect(it, expected, 0.0))


def unfold_call(rng: Random) -> Call:
    """unfold of images of any number dtype."""
    n, n_features = sizes(rng)
    layout = layout_of(rng, n_features)
    flat = values_of(rng, (n, layout.n_pixels), pick(rng, DTYPES), "signed")
    images = stored(rng, flat, pick(rng, DENSE)).reshape(n, *layout.shape)

    def check(values: Any) -> None:
        expect(values, reference.unfold(images, layout), 0.0)

    return Call("unfold", unfold, {"images": images, "layout": layout, "threads": pick(rng, [None, 1, 2])}, check)


def column_stats_call(rng: Random) -> Call:
    """column_stats of dense and sparse samples."""
    n, n_features = sizes(rng)
    log = bool(rng.random() < 0.5)
    x = stored(
        rng, values_of(rng, (n, n_features), pick(rng, DTYPES), "positive" if log else "signed"), pick(rng, STORAGES)
    )
    options: dict[str, Any] = {"log": log}
    which = pick(rng, ["neither", "offset", "row_scale"])
    if which == "offset":
        options["offset"] = rng.integers(0, 4, n_features).astype(np.float64)
    if which == "row_scale":
        options["row_scale"] = rng.uniform(0.5, 2.0, n)

    def check(stats: Any) -> None:
        expected, bound = reference.column_stats(x, **options), reference.stats_bound(x, **options)
        for name in ("count", "missing", "zeros"):
            expect(getattr(stats, name), expected[name], 0.0)
        for name in ("min", "max", "mean", "m2"):
            expect(getattr(stats, name), expected[name], bound[name])

    arguments = {
        "X": x, "offset": None, "row_scale": None, "clip_below_zero": False, "threads": pick(rng, [None, 1, 2]),
        **options,
    }  # fmt: skip
    return Call("column_stats", column_stats, arguments, check)


def aggregate_call(rng: Random) -> Call:
    """A second update of an accumulator."""
    n, n_features = sizes(rng)
    layout = layout_of(rng, n_features)
    n_classes = int(rng.integers(1, 5))
    channels = layout.channels if layout.channels > 1 else pick(rng, [1, 1, 3])
    accumulator = AttributionAccumulator(layout, n_classes)
    batches = []
    for size in (3, n):
        attributions = rng.normal(size=(size, channels, layout.height, layout.width)).astype(pick(rng, FLOATS))
        batches.append((attributions, rng.integers(0, n_classes, size), rng.random(size) < 0.75))
    accumulator.update(*batches[0])
    attributions, labels, keep = batches[1]
    storage = pick(rng, ["C", "Fortran", "reversed", "unaligned", "channels last"])
    if storage == "Fortran":
        attributions = np.asfortranarray(attributions)
    elif storage == "reversed":
        attributions = np.ascontiguousarray(attributions[::-1])[::-1]
    elif storage == "unaligned":
        attributions = unaligned(attributions)
    elif storage == "channels last":
        attributions = np.ascontiguousarray(attributions.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    def check(_: None) -> None:
        both = [np.concatenate([np.asarray(a, np.float64), b]) for a, b in zip(*batches, strict=True)]
        expected = reference.aggregate(both[0], both[1].astype(int), both[2] > 0, layout, n_classes)
        result = accumulator.result()
        expect(result.count, expected["count"], 0.0)
        # As in tests/ops/test_aggregate.py: double throughout, three operations per sample and moment.
        top = np.abs(both[0]).sum(axis=1).max(initial=0.0)
        mean = (channels + 2 + 6 * (n + 3)) * 2.0**-53 * top
        expect(result.mean, expected["mean"], mean)
        expect(result.mean_abs, expected["mean_abs"], mean)
        expect(result.m2, expected["m2"], (n + 3) * (8 * top * mean + 24 * (n + 3) * 2.0**-53 * top**2))

    arguments = {
        "self": accumulator, "attributions": attributions, "labels": labels, "keep": keep,
        "threads": pick(rng, [None, 1, 2]),
    }  # fmt: skip
    return Call("aggregate", AttributionAccumulator.update, arguments, check)


def strangers(rng: Random) -> None:
    """Folds of other sizes, whose layouts, rows and parameters fit no other call."""
    n_features = int(rng.integers(1, 9))
    x = rng.random((2, n_features)).astype(pick(rng, FLOATS[:2]))
    normalizer = Normalizer("log1p-zscore").fit(rng.random((4, n_features)))
    fold(pick(rng, [x, scipy.sparse.csr_array(x)]), layout_of(rng, n_features), normalizer)


def importance_of(rng: Random) -> Any:
    """Importances with and without ties."""
    n = pick(rng, [0, *SIZES, 700])
    values = rng.normal(size=n) if rng.random() < 0.5 else rng.integers(-3, 4, n) / 4
    return stored(rng, values[None], pick(rng, ["C", "columns reversed", "every third column", "unaligned"]))[0]


def rank_call(rng: Random) -> Call:
    """rank."""
    importance = importance_of(rng)
    return Call("rank", rank, {"importance": importance}, lambda it: expect(it, reference.rank(importance), 0.0))


def top_k_call(rng: Random) -> Call:
    """top_k."""
    importance, k = importance_of(rng), int(rng.integers(0, 80))

    def check(positions: Any) -> None:
        expect(positions, reference.top_k(importance, k), 0.0)

    return Call("top_k", top_k, {"importance": importance, "k": k}, check)


MAKERS = [
    *[fold_call] * 8, *[column_stats_call] * 4, *[aggregate_call] * 3, *[unfold_call] * 2, rank_call, top_k_call,
    *[packed_fold_call] * 3, packed_stats_call, pack_call, from_variants_call,
    *[fold_gradient_call] * 2, unfold_gradient_call,
]  # fmt: skip
