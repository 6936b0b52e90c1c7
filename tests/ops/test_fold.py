"""fold against its reference: every dtype, storage, layout, preset, tile-edge size and instruction set."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse

from pixfold import _core
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold, reference

DTYPES = [
    "float32", "float64", "float16", "bool",
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
]  # fmt: skip
KINDS = ["natural", "shuffled", "rectangular", "channels", "gaps", "coordinates", "many", "keep", "shuffled keep"]
ONE_TO_ONE = [kind for kind in KINDS if kind != "many"]
STORAGES = [
    "C", "Fortran", "read-only", "csr32", "csr64", "every second row", "every third column",
    "rows reversed", "columns reversed", "padded rows", "broadcast",
]  # fmt: skip
PRESETS = [
    "none", "log1p", "minmax", "log1p-minmax", "norm2", "cp10k-log1p", "zscore", "log1p-zscore", "genotype",
]  # fmt: skip
PARTS = {
    "library size, log, zscore": {
        "library_size": 1e3, "log": True, "scale": "zscore", "missing": "zero",
    },
    "library size, no log": {"library_size": 1e3, "log": False, "scale": "minmax"},
}  # fmt: skip
EDGES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000]
INPUTS = [
    ("float32", "C", "shuffled"),
    ("float32", "csr32", "natural"),
    ("float32", "Fortran", "many"),
    ("float64", "C", "keep"),
    ("float64", "csr64", "many"),
    ("float16", "C", "channels"),
    ("bool", "C", "natural"),
    ("uint8", "every third column", "shuffled"),
    ("int32", "csr64", "shuffled"),
    ("int64", "rows reversed", "gaps"),
]


def assert_folded(images, x, layout, normalizer=None, dtype="float32"):
    """Compare with the reference, within the derived bound of the kernel's roundings."""
    expected = reference.fold(x, layout, normalizer)
    assert images.shape == expected.shape
    assert str(images.dtype).removeprefix("torch.") == dtype
    error = np.abs(np.asarray(images, dtype=np.float64) - expected)
    bound = reference.fold_bound(x, layout, normalizer, dtype)
    worst = np.argmax(error - bound) if error.size else 0
    assert np.all(error <= bound), (
        f"pixel {worst}: {np.ravel(images)[worst]!r} for {expected.flat[worst]!r}, "
        f"error {error.flat[worst]:.3g}, bound {bound.flat[worst]:.3g}"
    )


def build(preset):
    return Normalizer(**PARTS[preset]) if preset in PARTS else Normalizer(preset)


def codes(n, n_features, dtype, seed=0):
    """Genotypes: how many copies of an allele, 0, 1 or 2, of frequencies that differ."""
    rng = np.random.default_rng(seed)
    return rng.binomial(2, rng.uniform(0.1, 0.9, n_features), (n, n_features)).astype(dtype)


class TestPlain:
    """Without a normaliser a fold is a copy with one rounding, so it is compared bit by bit."""

    # Every dtype with three of the layouts, so that every layout meets at least four dtypes.
    @pytest.mark.parametrize(
        ("dtype", "kind"),
        [(dtype, ONE_TO_ONE[(i + step) % 8]) for i, dtype in enumerate(DTYPES) for step in (0, 3, 5)],
    )
    def test_dtypes(self, isa, make_layout, make_samples, dtype, kind):
        x = make_samples(5, 83, dtype)
        layout = make_layout(kind, 83)
        images = fold(x, layout)
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images, reference.fold(x, layout).astype(np.float32))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_to_float16(self, isa, make_layout, make_samples, dtype):
        x = make_samples(3, 83, dtype)
        layout = make_layout("shuffled", 83)
        images = fold(x, layout, dtype="float16")
        assert images.dtype == np.float16
        # One rounding from the input's own value: two (through float32) would differ on some of float64's.
        np.testing.assert_array_equal(images, reference.fold(x, layout).astype(np.float16))

    def test_float16_rounds_once(self, isa):
        # 1 + 2**-11 is the tie between two float16; a little above it goes up, but not after a stop at
        # float32.
        x = np.full((1, 64), 1 + 2.0**-11 + 2.0**-40)
        images = fold(x, Layout.natural(64), dtype="float16")
        np.testing.assert_array_equal(images, np.float16(1 + 2.0**-10))

    @pytest.mark.parametrize("storage", STORAGES)
    @pytest.mark.parametrize(("dtype", "kind"), [("float32", "shuffled"), ("float64", "keep"), ("int16", "natural")])
    def test_storages(self, isa, make_layout, make_samples, storage, dtype, kind):
        x = make_samples(9, 70, dtype, storage)
        layout = make_layout(kind, 70)
        np.testing.assert_array_equal(fold(x, layout), reference.fold(x, layout).astype(np.float32))

    @pytest.mark.parametrize("n_features", EDGES)
    @pytest.mark.parametrize("kind", ["natural", "shuffled", "channels"])
    def test_sizes(self, isa, make_layout, make_samples, n_features, kind):
        for n in (1, 2, 3, 17):
            x = make_samples(n, n_features, seed=n)
            layout = make_layout(kind, n_features)
            np.testing.assert_array_equal(fold(x, layout), reference.fold(x, layout).astype(np.float32))

    @pytest.mark.parametrize("storage", ["C", "csr32"])
    def test_no_samples(self, isa, make_layout, make_samples, kind, storage):
        layout = make_layout(kind, 20)
        assert fold(make_samples(0, 20, storage=storage), layout).shape == (0, *layout.shape)

    @pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
    @pytest.mark.parametrize("storage", ["C", "csr32"])
    def test_shared_pixels_hold_the_mean(self, isa, make_layout, make_samples, dtype, storage):
        x = make_samples(5, 200, dtype, storage)
        layout = make_layout("many", 200)
        assert not layout.is_one_to_one
        assert_folded(fold(x, layout), x, layout)

    def test_special_values_pass(self, isa):
        limits = np.finfo(np.float32)
        values = [
            0.0,
            -0.0,
            np.inf,
            -np.inf,
            limits.max,
            limits.min,
            limits.tiny,
            limits.smallest_subnormal,
            np.nan,
        ]
        x = np.array([values * 8], dtype=np.float32)
        layout = Layout.shuffled(x.shape[1], seed=3)
        images = fold(x, layout)
        np.testing.assert_array_equal(images.reshape(-1)[layout.pixel_of_feature].view(np.uint32), x[0].view(np.uint32))

    def test_padding_is_zero_in_a_used_buffer(self, isa, make_layout, make_samples, kind):
        layout = make_layout(kind, 50)
        out = np.full((3, *layout.shape), np.nan, dtype=np.float32)
        fold(make_samples(3, 50), layout, out=out)
        assert np.all(out.reshape(3, -1)[:, layout.feature_of_pixel < 0] == 0.0)


class TestMemoryMaps:
    @pytest.mark.parametrize("offset", [0, 3])
    def test_in_and_out(self, isa, make_layout, make_samples, tmp_path, offset):
        """Read-only samples in a file, also at an address that is no multiple of their size, and images into one."""
        layout = make_layout("shuffled", 1_000)
        x = make_samples(17, 1_000, "float32", "C")
        (tmp_path / "x").write_bytes(b"\0" * offset + x.tobytes())
        mapped = np.memmap(tmp_path / "x", np.float32, "r", offset, x.shape)
        normalizer = Normalizer("log1p-zscore").fit(mapped)
        expected = fold(x, layout, Normalizer("log1p-zscore").fit(x))
        np.testing.assert_array_equal(fold(mapped, layout, normalizer), expected)
        out = np.memmap(tmp_path / "images", np.float32, "w+", 0, expected.shape)
        assert fold(mapped, layout, normalizer, out=out) is out
        out.flush()
        assert (tmp_path / "images").read_bytes() == expected.tobytes()


class TestNormalized:
    # Every preset with half of the inputs, the halves alternating.
    @pytest.mark.parametrize(
        ("preset", "dtype", "storage", "kind"),
        [
            (preset, *inputs)
            for i, preset in enumerate([*PRESETS, *PARTS])
            for j, inputs in enumerate(INPUTS)
            if (i + j) % 2 == 0
        ],
    )
    def test_presets(self, isa, make_layout, make_samples, preset, dtype, storage, kind):
        if preset == "genotype":
            train, x = codes(30, 75, dtype), codes(9, 75, dtype, seed=1)
            x = scipy.sparse.csr_array(x) if storage.startswith("csr") else x
        else:
            train, x = make_samples(30, 75, dtype), make_samples(9, 75, dtype, storage, seed=1)
        normalizer = build(preset).fit(train)
        layout = make_layout(kind, 75)
        assert_folded(fold(x, layout, normalizer), x, layout, normalizer)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("kind", ["natural", "shuffled"])
    def test_dtypes(self, isa, make_layout, make_samples, dtype, kind):
        normalizer = Normalizer("log1p-zscore").fit(make_samples(30, 101, dtype))
        x = make_samples(6, 101, dtype, seed=1)
        layout = make_layout(kind, 101)
        for out in ("float32", "float16"):
            assert_folded(fold(x, layout, normalizer, dtype=out), x, layout, normalizer, out)

    @pytest.mark.parametrize("n_features", EDGES)
    @pytest.mark.parametrize(
        ("preset", "kind"), [("log1p-zscore", "natural"), ("cp10k-log1p", "shuffled"), ("minmax", "shuffled")]
    )
    def test_sizes(self, isa, make_layout, make_samples, n_features, preset, kind):
        normalizer = Normalizer(preset).fit(make_samples(20, n_features))
        layout = make_layout(kind, n_features)
        for n in (1, 3, 17):
            x = make_samples(n, n_features, seed=n)
            assert_folded(fold(x, layout, normalizer), x, layout, normalizer)

    @pytest.mark.parametrize("storage", STORAGES)
    def test_storages(self, isa, make_layout, make_samples, storage):
        normalizer = build("library size, log, zscore").fit(make_samples(20, 70))
        x = make_samples(9, 70, storage=storage, seed=1)
        layout = make_layout("shuffled", 70)
        assert_folded(fold(x, layout, normalizer), x, layout, normalizer)

    @pytest.mark.parametrize("kind", ["natural", "shuffled"])
    def test_wide(self, isa, make_layout, make_samples, kind):
        normalizer = Normalizer("log1p-zscore").fit(make_samples(8, 18_225))
        x = make_samples(2, 18_225, seed=1)
        layout = make_layout(kind, 18_225)
        assert layout.shape == (1, 135, 135)
        assert_folded(fold(x, layout, normalizer), x, layout, normalizer)

    def test_log_over_the_whole_range(self, isa):
        # Every binary exponent of float32 up to 2**120: subnormals, the polynomial's range and far beyond it.
        x = np.ldexp(np.linspace(1.0, 2.0, 37, endpoint=False), np.arange(-149, 121)[:, None])
        x = np.concatenate([[0.0, 1.0], x.ravel()])[None].astype(np.float32)
        layout = Layout.natural(x.shape[1])
        normalizer = Normalizer("log1p").fit(x)
        assert_folded(fold(x, layout, normalizer), x, layout, normalizer)

    def test_log_below_zero_is_taken_where_it_is_defined(self, isa):
        # Through a library size a negative total cannot come up, so log1p below 0 is seen with a shifted
        # training set only, where it clips: the value is exactly 0.
        train = np.array([[-1.0, -2.0, 0.0, 3.0]] * 3 + [[4.0, 5.0, 6.0, 7.0]], dtype=np.float32)
        normalizer = Normalizer("log1p", negative="shift").fit(train)
        x = np.array([[-5.0, -2.0, -0.5, 1.0]], dtype=np.float32)
        images = fold(x, Layout.natural(4), normalizer)
        np.testing.assert_array_equal(images.ravel()[:3], [0.0, 0.0, 0.0])
        assert_folded(images, x, Layout.natural(4), normalizer)

    @pytest.mark.parametrize("preset", ["norm2", "zscore", "minmax"])
    @pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32"])
    def test_negative_values(self, isa, make_layout, make_samples, preset, dtype):
        train = make_samples(20, 40, dtype) - make_samples(20, 40, dtype, seed=1)
        x = make_samples(5, 40, dtype, seed=2) - make_samples(5, 40, dtype, seed=3)
        normalizer = Normalizer(preset).fit(train)
        layout = make_layout("shuffled", 40)
        assert_folded(fold(x, layout, normalizer), x, layout, normalizer)

    @pytest.mark.parametrize("storage", ["C", "csr32", "csr64"])
    @pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32"])
    @pytest.mark.parametrize("kind", ["shuffled", "many"])
    def test_negative_values_shift(self, isa, make_layout, make_samples, storage, dtype, kind):
        # The value of an absent CSR entry is then the log of the feature's offset.
        train = make_samples(20, 40, dtype)
        train[:, ::2] -= 4
        x = make_samples(7, 40, dtype, storage, seed=2)
        for preset in ("log1p", "log1p-minmax", "log1p-zscore"):
            normalizer = Normalizer(preset, negative="shift").fit(train)
            assert np.any(normalizer.parameters().offset > 0)
            layout = make_layout(kind, 40)
            assert_folded(fold(x, layout, normalizer), x, layout, normalizer)

    def test_infinity_clips(self, isa):
        train = np.array([[0.0], [1.0], [2.0]], dtype=np.float32).repeat(20, axis=1)
        x = np.full((1, 20), np.inf, dtype=np.float32)
        for preset in ("minmax", "log1p-minmax", "norm2"):
            images = fold(x, Layout.natural(20, shape=(4, 5)), Normalizer(preset).fit(train))
            np.testing.assert_array_equal(images, 1.0)

    @pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset not in ("none", "log1p", "cp10k-log1p")])
    def test_constant_features_are_zero(self, isa, preset):
        train = np.full((6, 33), 2, dtype=np.float32)
        train[:, 0] = [0, 1, 2, 0, 1, 2]
        if preset == "norm2":
            train[:, 1:] = 0.0
        x = train[:2] * 2
        images = fold(x, Layout.natural(33), Normalizer(preset).fit(train))
        np.testing.assert_array_equal(images.reshape(2, -1)[:, 1:], 0.0)

    def test_library_size_of_an_empty_sample(self, isa, make_layout, make_samples):
        x = make_samples(4, 40)
        x[2] = 0
        normalizer = Normalizer("cp10k-log1p").fit(make_samples(10, 40))
        for samples in (x, scipy.sparse.csr_array(x)):
            images = fold(samples, make_layout("shuffled", 40), normalizer)
            np.testing.assert_array_equal(images[2], 0.0)


class TestMissing:
    @pytest.mark.parametrize("missing", ["zero", "mean"])
    @pytest.mark.parametrize("preset", ["zscore", "log1p-minmax", "cp10k-log1p"])
    @pytest.mark.parametrize(
        ("dtype", "storage"),
        [("float32", "C"), ("float64", "C"), ("float16", "C"), ("float32", "csr32"), ("float64", "csr32")],
    )
    def test_filled(self, isa, make_layout, make_samples, missing, preset, storage, dtype):
        rng = np.random.default_rng(5)
        train, x = make_samples(20, 70, dtype), make_samples(5, 70, dtype, seed=1)
        train[rng.random(train.shape) < 0.1] = np.nan
        x[rng.random(x.shape) < 0.2] = np.nan
        normalizer = Normalizer(preset, missing=missing).fit(train)
        if storage == "csr32":
            x = scipy.sparse.csr_array(x)
        for kind in ("shuffled", "many"):
            layout = make_layout(kind, 70)
            assert_folded(fold(x, layout, normalizer), x, layout, normalizer)

    def test_mean_is_the_normalised_training_mean(self, isa):
        train = np.array([[0.0, 1.0], [2.0, 3.0], [7.0, np.nan]])
        x = np.array([[np.nan, np.nan]])
        layout = Layout.natural(2, shape=(1, 2))
        # zscore: the mean is 0 by definition. minmax: (3 - 0) / 7 and (2 - 1) / 2.
        assert np.all(fold(x, layout, Normalizer("zscore", missing="mean").fit(train)) == 0.0)
        images = fold(x, layout, Normalizer("minmax", missing="mean").fit(train))
        np.testing.assert_array_equal(images.ravel(), np.array([3 / 7, 0.5], dtype=np.float32))

    def test_genotype_missing_is_zero(self, isa):
        train = np.array([[0.0, 1.0, 2.0], [2.0, np.nan, 1.0], [1.0, 2.0, np.nan]])
        normalizer = Normalizer("genotype").fit(train)
        layout = Layout.natural(3, shape=(1, 3))
        assert_folded(fold(train, layout, normalizer), train, layout, normalizer)
        assert np.all(fold(train, layout, normalizer).reshape(3, 3)[np.isnan(train)] == 0.0)

    def test_dropped_features_are_not_looked_at(self, isa):
        # Features that are missing everywhere get no pixel: that is what keep is for.
        normalizer = Normalizer("zscore").fit(np.arange(12.0).reshape(3, 4))
        x = np.ones((2, 4))
        x[:, 2] = np.nan
        layout = Layout.natural(4, keep=np.array([True, True, False, True]))
        for samples in (x, scipy.sparse.csr_array(x)):
            images = fold(samples, layout, normalizer)
            assert_folded(images, x, layout, normalizer)
            out = np.empty_like(images)
            np.testing.assert_array_equal(fold(samples, layout, normalizer, out=out), images)

    @pytest.mark.parametrize("sparse", [False, True])
    def test_refused(self, isa, sparse):
        normalizer = Normalizer("zscore").fit(np.arange(12.0).reshape(3, 4))
        x = np.ones((2, 4))
        x[1, 2] = np.nan
        with pytest.raises(ValueError, match=r"(?i)missing|nan"):
            fold(scipy.sparse.csr_array(x) if sparse else x, Layout.natural(4), normalizer)


class TestThreads:
    @pytest.mark.parametrize("kind", ["natural", "shuffled", "many"])
    @pytest.mark.parametrize("storage", ["C", "csr32", "Fortran"])
    def test_same_bits(self, isa, make_layout, make_samples, kind, storage):
        normalizer = Normalizer("cp10k-log1p").fit(make_samples(5, 2_000))
        x = make_samples(65, 2_000, storage=storage, seed=1)
        layout = make_layout(kind, 2_000)
        one = fold(x, layout, normalizer, threads=1)
        two = fold(x, layout, normalizer, threads=2)
        np.testing.assert_array_equal(one.view(np.uint32), two.view(np.uint32))

    def test_same_bits_however_the_samples_are_cut(self, isa, make_layout, make_samples):
        normalizer = Normalizer("log1p-zscore").fit(make_samples(5, 333))
        x = make_samples(40, 333, seed=1)
        layout = make_layout("shuffled", 333)
        whole = fold(x, layout, normalizer)
        parts = [fold(part, layout, normalizer) for part in (x[:1], x[1:18], x[18:])]
        np.testing.assert_array_equal(whole, np.concatenate(parts))

    @pytest.mark.parametrize("threads", [0, -1])
    def test_refused(self, threads):
        with pytest.raises(ValueError, match="threads"):
            fold(np.ones((1, 4), dtype=np.float32), Layout.natural(4), threads=threads)


class TestOut:
    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_reused(self, isa, make_layout, make_samples, dtype):
        layout = make_layout("gaps", 60)
        out = np.full((4, *layout.shape), 9, dtype=dtype)
        for seed in (0, 1):
            x = make_samples(4, 60, seed=seed)
            assert fold(x, layout, dtype=dtype, out=out) is out
            np.testing.assert_array_equal(out, reference.fold(x, layout).astype(dtype))

    @pytest.mark.parametrize(
        ("out", "words"),
        [
            (np.full((3, 1, 4, 4), 9.0, np.float32), r"(?s)out.*\(4, 1, 4, 4\).*\(3, 1, 4, 4\)"),
            (np.full((4, 4, 4), 9.0, np.float32), r"(?s)out.*\(4, 1, 4, 4\).*\(4, 4, 4\)"),
            (np.full((4, 16), 9.0, np.float32), r"(?s)out.*\(4, 1, 4, 4\).*\(4, 16\)"),
            (np.full((4, 1, 4, 4), 9.0, np.float64), r"(?s)out.*float32.*float64"),
            (np.full((4, 1, 4, 4), 9.0, np.float16), r"(?s)out.*float32.*float16"),
            (np.full((4, 1, 4, 4), 9, np.int32), r"(?s)out.*float32.*int32"),
            (np.full((4, 1, 4, 8), 9.0, np.float32)[..., ::2], r"(?is)out.*contiguous"),
            (np.asfortranarray(np.full((4, 1, 4, 4), 9.0, np.float32)), r"(?is)out.*contiguous"),
        ],
    )  # fmt: skip
    def test_refused(self, out, words):
        with pytest.raises((ValueError, TypeError), match=words):
            fold(np.ones((4, 16), dtype=np.float32), Layout.natural(16), out=out)
        assert np.all(out == 9), "written to in spite of the error"

    def test_read_only_refused(self):
        out = np.full((4, 1, 4, 4), 9.0, np.float32)
        out.setflags(write=False)
        with pytest.raises(ValueError, match=r"(?i)out.*(read-only|writ)"):
            fold(np.ones((4, 16), dtype=np.float32), Layout.natural(16), out=out)
        assert np.all(out == 9)

    @pytest.mark.parametrize("start", [0, 1, 63])
    def test_overlap_refused(self, start):
        memory = np.arange(4 * 16 + start, dtype=np.float32)
        before = memory.copy()
        x = memory[: 4 * 16].reshape(4, 16)
        out = memory[start : start + 4 * 16].reshape(4, 1, 4, 4)
        with pytest.raises(ValueError, match=r"(?i)out.*overlap"):
            fold(x, Layout.natural(16), out=out)
        np.testing.assert_array_equal(memory, before)

    def test_neighbours_in_one_buffer_do_not_overlap(self):
        memory = np.arange(2 * 4 * 16, dtype=np.float32)
        x, out = memory[:64].reshape(4, 16), memory[64:].reshape(4, 1, 4, 4)
        fold(x, Layout.natural(16), out=out)
        np.testing.assert_array_equal(out.reshape(4, 16), x)


class TestRefused:
    @pytest.mark.parametrize(
        ("x", "words"),
        [
            (np.ones(16, np.float32), r"(?s)X.*\(16,\)|X.*1"),
            (np.ones((2, 4, 4), np.float32), r"(?s)X.*\(2, 4, 4\)|X.*3"),
            (np.float32(1.0), "X"),
            (np.ones((2, 15), np.float32), r"(?s)16.*15"),
            (np.ones((2, 17), np.float32), r"(?s)16.*17"),
            (np.ones((2, 0), np.float32), r"(?s)16.*0"),
            (scipy.sparse.csr_array(np.ones((2, 15), np.float32)), r"(?s)16.*15"),
            (np.ones((2, 16), np.complex64), "(?s)X.*complex64"),
            (np.ones((2, 16), object), "(?s)X.*object"),
            (np.full((2, 16), "a"), "(?s)X.*(str|<U1)"),
            (np.full((2, 16), "2020-01-01", "datetime64[D]"), "(?s)X.*datetime64"),
            (scipy.sparse.csr_array(np.ones((2, 16), np.complex64)), "(?s)X.*complex64"),
        ],
    )
    def test_samples(self, x, words):
        with pytest.raises((ValueError, TypeError), match=words):
            fold(x, Layout.natural(16))

    def test_names_the_op(self):
        with pytest.raises(ValueError, match="fold"):
            fold(np.ones((2, 15), np.float32), Layout.natural(16))

    @pytest.mark.parametrize("dtype", ["float64", "int32", "text", "complex64"])
    def test_output_dtype(self, dtype):
        with pytest.raises((ValueError, TypeError), match=f"(?s)dtype.*{dtype}"):
            fold(np.ones((2, 16), np.float32), Layout.natural(16), dtype=dtype)

    def test_normalizer_not_fitted(self):
        with pytest.raises(ValueError, match=r"(?i)fit"):
            fold(np.ones((2, 16), np.float32), Layout.natural(16), Normalizer("zscore"))

    def test_normalizer_of_other_features(self):
        normalizer = Normalizer("zscore").fit(np.arange(30.0).reshape(2, 15))
        with pytest.raises(ValueError, match=r"(?s)(15.*16|16.*15)"):
            fold(np.ones((2, 16), np.float32), Layout.natural(16), normalizer)

    @pytest.mark.parametrize("preset", ["log1p", "log1p-minmax", "cp10k-log1p", "log1p-zscore"])
    @pytest.mark.parametrize("storage", ["dense", "csr"])
    def test_negative_values(self, isa, preset, storage):
        normalizer = Normalizer(preset).fit(np.arange(64.0).reshape(4, 16))
        x = np.ones((2, 16), np.float32)
        x[1, 3] = -4.0
        with pytest.raises(ValueError, match=r"(?s)1 negative.*negative=.shift"):
            fold(scipy.sparse.csr_array(x) if storage == "csr" else x, Layout.natural(16), normalizer)

    @pytest.mark.parametrize("given", [False, True])
    def test_negative_total(self, isa, given):
        # A factor of 0 for a total that is not positive must not hide the negative value.
        normalizer = Normalizer("cp10k-log1p").fit(np.arange(64.0).reshape(4, 16))
        x = np.ones((2, 16), np.float32)
        x[1, 3] = -40.0
        out = np.full((2, 1, 4, 4), 9.0, np.float32)
        with pytest.raises(ValueError, match=r"(?s)1 negative.*negative=.shift"):
            fold(x, Layout.natural(16), normalizer, out=out if given else None)
        assert np.all(out == 9.0)

    def test_nothing_written_on_refusal(self, isa):
        normalizer = Normalizer("log1p").fit(np.arange(64.0).reshape(4, 16))
        out = np.full((2, 1, 4, 4), 9.0, np.float32)
        for value in (-4.0, np.nan):
            x = np.ones((2, 16), np.float32)
            x[1, 3] = value
            with pytest.raises(ValueError, match=r"negative|missing"):
                fold(x, Layout.natural(16), normalizer, out=out)
            assert np.all(out == 9.0)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("indices", [0, 16, 2, 3]),
            ("indices", [0, -1, 2, 3]),
            ("indices", [0, 2**30, 2, 3]),
            ("indptr", [0, 3, 2]),
            ("indptr", [0, 2, 9]),
            ("indptr", [1, 2, 4]),
            ("indptr", [-1, 2, 4]),
        ],
    )
    @pytest.mark.parametrize("index", ["int32", "int64"])
    def test_broken_csr(self, isa, field, value, index):
        x = scipy.sparse.csr_array(
            (np.ones(4, np.float32), np.array([0, 1, 2, 3], index), np.array([0, 2, 4], index)), shape=(2, 16)
        )
        # SciPy checks when it builds, not when a field is set: this is how a corrupt file or a bug elsewhere
        # looks.
        setattr(x, field, np.array(value, dtype=index))
        with pytest.raises(ValueError, match=r"(?i)X|CSR|indices|indptr"):
            fold(x, Layout.natural(16))

    @pytest.mark.parametrize("field", ["data", "indices"])
    def test_broken_csr_with_entries_cut_off(self, field):
        x = scipy.sparse.csr_array(np.ones((2, 16), np.float32))
        setattr(x, field, getattr(x, field)[:3])
        with pytest.raises(ValueError, match=r"(?i)data|indices|indptr|values"):
            fold(x, Layout.natural(16))

    def test_broken_csr_too_short(self):
        x = scipy.sparse.csr_array(np.ones((2, 16), np.float32))
        x.indptr = x.indptr[:-1]
        with pytest.raises(ValueError, match=r"(?i)indptr"):
            fold(x, Layout.natural(16))


class TestCsr:
    # Unsorted, and with entries that add up.
    @pytest.mark.parametrize("indices", [[9, 0, 4], [4, 0, 4]])
    def test_rows_that_are_not_canonical(self, isa, make_layout, indices):
        parts = (np.array([1, 2, 3], np.float32), np.array(indices, np.int32), np.array([0, 3], np.int32))
        x = scipy.sparse.csr_array(parts, shape=(1, 16))
        layout = make_layout("shuffled", 16)
        np.testing.assert_array_equal(fold(x, layout), reference.fold(x, layout))

    def test_matrix_class_and_empty_rows(self, isa, make_layout, make_samples):
        x = make_samples(6, 50)
        x[[0, 3, 5]] = 0
        layout = make_layout("shuffled", 50)
        np.testing.assert_array_equal(fold(scipy.sparse.csr_matrix(x), layout), fold(x, layout))

    @pytest.mark.parametrize("preset", ["none", "log1p", "zscore", "cp10k-log1p", "log1p-zscore"])
    def test_same_as_dense(self, isa, make_layout, make_samples, preset):
        normalizer = Normalizer(preset).fit(make_samples(20, 90))
        x = make_samples(5, 90, storage="csr32", seed=1)
        layout = make_layout("shuffled", 90)
        bound = reference.fold_bound(x, layout, normalizer)
        # Both are within the bound of the exact value, so within two bounds of each other.
        difference = np.abs(fold(x, layout, normalizer) - fold(x.toarray(), layout, normalizer))
        assert np.all(difference <= 2 * bound)


class TestTorch:
    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    @pytest.mark.parametrize("kind", ["shuffled", "many"])
    def test_tensors(self, isa, make_layout, make_samples, dtype, kind):
        torch = pytest.importorskip("torch")
        normalizer = Normalizer("log1p-zscore").fit(make_samples(20, 90))
        x = make_samples(5, 90, seed=1)
        layout = make_layout(kind, 90)
        images = fold(torch.from_numpy(x), layout, normalizer, dtype=dtype)
        assert isinstance(images, torch.Tensor)
        assert images.dtype == getattr(torch, dtype)
        assert images.device.type == "cpu"
        error = np.abs(images.double().numpy() - reference.fold(x, layout, normalizer))
        assert np.all(error <= reference.fold_bound(x, layout, normalizer, dtype))

    @pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int64", "bool"])
    def test_dtypes(self, make_layout, make_samples, dtype):
        torch = pytest.importorskip("torch")
        x = make_samples(5, 90, dtype)
        layout = make_layout("shuffled", 90)
        images = fold(torch.from_numpy(x), layout)
        np.testing.assert_array_equal(images.numpy(), reference.fold(x, layout).astype(np.float32))

    def test_strided(self, make_layout, make_samples):
        torch = pytest.importorskip("torch")
        x = torch.from_numpy(make_samples(90, 10)).T[::2]
        layout = make_layout("shuffled", 90)
        np.testing.assert_array_equal(fold(x, layout).numpy(), reference.fold(x.numpy(), layout))

    def test_bfloat16_in(self, make_layout, make_samples):
        torch = pytest.importorskip("torch")
        x = torch.from_numpy(make_samples(5, 90)).bfloat16()
        layout = make_layout("shuffled", 90)
        np.testing.assert_array_equal(fold(x, layout).numpy(), reference.fold(x.float().numpy(), layout))

    def test_bfloat16_rounds_to_nearest_even(self, isa):
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(0)
        bits = rng.integers(0, 2**32, 4_096, dtype=np.uint32)
        x = bits.view(np.float32)
        x = np.where(np.isfinite(x), x, np.float32(0))[None]
        # Ties in both directions, infinity and a NaN whose payload sits below the bits that stay.
        special = np.array([0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000, 0x7F800001], np.uint32)
        x[0, :5] = special.view(np.float32)
        images = fold(torch.from_numpy(x), Layout.natural(4_096), dtype="bfloat16").reshape(-1)
        expected = torch.from_numpy(x[0]).bfloat16()
        assert torch.equal(images.nan_to_num(7.0), expected.nan_to_num(7.0))
        assert torch.equal(images.isnan(), expected.isnan())

    def test_out(self, make_layout, make_samples):
        torch = pytest.importorskip("torch")
        layout = make_layout("shuffled", 90)
        x = make_samples(5, 90)
        out = torch.full((5, *layout.shape), 9.0)
        assert fold(torch.from_numpy(x), layout, out=out) is out
        np.testing.assert_array_equal(out.numpy(), reference.fold(x, layout))
        with pytest.raises((ValueError, TypeError), match="out"):
            fold(torch.from_numpy(x), layout, out=out[:3])


# What a fold is made of. `Everything` puts every two values of different lines together at least once, on every
# instruction set.
FACTORS = {
    "dtype": [*DTYPES, "uint64"],
    "storage": [*STORAGES, "unaligned", "memory map", "csr unsorted", "csr repeated", "csr explicit zeros"],
    "layout": KINDS,
    "preset": [None, *PRESETS, *PARTS],
    "out": ["float32", "float16"],
    "n_samples": [1, 2, 3, 17],
}
SIZES = [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1_000, 18_225]


def combinations(size):
    """Every dtype with every storage; the other lines are drawn, and differ from size to size.

    18,225 features are slow to compute by the reference: there every seventh combination.
    """
    rng = np.random.default_rng(size)
    for i, (dtype, storage) in enumerate(itertools.product(FACTORS["dtype"], FACTORS["storage"])):
        drawn = {
            name: FACTORS[name][rng.integers(len(FACTORS[name]))] for name in ("layout", "preset", "out", "n_samples")
        }
        if size < 10_000 or i % 7 == 0:
            yield {"dtype": dtype, "storage": storage, **drawn}


def damaged_csr(matrix, how, rng):
    """The same numbers as rows that are not canonical."""
    data, indices = [], []
    ends = [0]
    for i in range(matrix.shape[0]):
        row = slice(matrix.indptr[i], matrix.indptr[i + 1])
        values, columns = matrix.data[row], matrix.indices[row]
        if how == "csr repeated":  # a zero and the value: exact in every dtype
            values, columns = np.concatenate([values, np.zeros_like(values)]), np.concatenate([columns, columns])
        if how == "csr explicit zeros":
            absent = np.setdiff1d(np.arange(matrix.shape[1], dtype=columns.dtype), columns)[::2]
            values = np.concatenate([values, np.zeros(absent.size, values.dtype)])
            columns = np.concatenate([columns, absent])
            order = np.argsort(columns)
        else:
            order = rng.permutation(columns.size)
        data.append(values[order])
        indices.append(columns[order])
        ends.append(ends[-1] + columns.size)
    parts = (np.concatenate(data), np.concatenate(indices), np.array(ends, dtype=matrix.indptr.dtype))
    return scipy.sparse.csr_array(parts, shape=matrix.shape)


class TestEverything:
    @pytest.fixture
    def samples(self, make_samples, tmp_path):
        def build_samples(n, n_features, dtype, storage, preset):
            rng = np.random.default_rng(n + n_features)
            x = codes(n, n_features, dtype) if preset == "genotype" else make_samples(n, n_features, dtype, seed=n)
            if storage.startswith("csr"):
                dtype = "float32" if dtype == "float16" else dtype  # SciPy knows no sparse float16
                x = np.where(rng.random(x.shape) < 0.5, x, 0).astype(dtype)
                matrix = scipy.sparse.csr_array(x)
                index = "int64" if storage == "csr64" else "int32"
                parts = (matrix.data, matrix.indices.astype(index), matrix.indptr.astype(index))
                matrix = scipy.sparse.csr_array(parts, shape=x.shape)
                return matrix if storage in ("csr32", "csr64") else damaged_csr(matrix, storage, rng)
            if storage == "unaligned":
                memory = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
                memory[...] = x
                return memory
            if storage == "memory map":
                np.save(tmp_path / "x.npy", x)
                return np.load(tmp_path / "x.npy", mmap_mode="r")
            if preset == "genotype":
                return x
            return make_samples(n, n_features, dtype, storage, seed=n)

        return build_samples

    @pytest.mark.parametrize("size", SIZES)
    def test_combinations(self, make_layout, make_samples, samples, size):
        before = _core.isa()
        for row in combinations(size):
            preset, wanted = row["preset"], row["out"]
            x = samples(row["n_samples"], size, row["dtype"], row["storage"], preset)
            layout = make_layout(row["layout"], size)
            normalizer = None
            if preset is not None:
                dtype = str(x.dtype)
                train = codes(8, size, dtype) if preset == "genotype" else make_samples(8, size, dtype, seed=99)
                normalizer = build(preset).fit(train)
            expected = reference.fold(x, layout, normalizer)
            bound = reference.fold_bound(x, layout, normalizer, wanted)
            try:
                for isa in _core.isas():
                    _core.set_isa(isa)
                    images = fold(x, layout, normalizer, dtype=wanted, threads=2)
                    error = np.abs(images.astype(np.float64) - expected)
                    assert np.all(error <= bound), f"{isa}, {row}: {np.max(error - bound)} over the bound"
                    if preset is None and layout.is_one_to_one:
                        assert images.tobytes() == expected.astype(wanted).tobytes(), f"{isa}, {row}"
            finally:
                _core.set_isa(before)

    def test_every_two_values_meet(self):
        rows = [{**row, "n_features": size} for size in SIZES for row in combinations(size)]
        factors = {**FACTORS, "n_features": SIZES}
        for one, other in itertools.combinations(factors, 2):
            met = {(row[one], row[other]) for row in rows}
            wanted = set(itertools.product(factors[one], factors[other]))
            # 18,225 features meet every seventh dtype and storage of each other line.
            missing = {pair for pair in wanted - met if 18_225 not in pair}
            assert not missing, f"{one} and {other}: {sorted(missing, key=str)[:5]}"


def test_float16_matches_numpy_on_all_exponents(isa):
    """The float32 to float16 rounding, with its subnormals, overflow and NaN, bit by bit."""
    rng = np.random.default_rng(0)
    mantissas = rng.integers(0, 2**23, (60, 64), dtype=np.uint32)
    # Half of the values tie exactly between two float16.
    mantissas[:, ::2] = (mantissas[:, ::2] & ~np.uint32(0x1FFF)) | np.uint32(0x1000)
    exponents = np.arange(95, 155, dtype=np.uint32)[:, None] << 23
    x = (exponents | mantissas).view(np.float32)
    x[0, :4] = [0.0, -0.0, np.inf, -np.inf]
    images = fold(x, Layout.natural(64), dtype="float16")
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    np.testing.assert_array_equal(images.reshape(60, 64).view(np.uint16), expected.view(np.uint16))
