"""fold and column_stats of packed genotypes: the bits of dense samples, whatever the instruction set and threads."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixfold import PackedGenotypes, _core
from pixfold.image_pool import ImagePool
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import column_stats, fold, reference
from pixfold.ops.formula_arguments import packed_table

FEATURES = [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 1025, 1087, 18_225]
SAMPLES = [1, 2, 3, 17]
DTYPES = ["float32", "float16", "bfloat16"]
NORMALIZERS = {
    "none": None,
    "genotype": {"preset": "genotype"},
    "zscore, mean": {"preset": "zscore", "missing": "mean"},
    "minmax": {"preset": "minmax", "missing": "zero"},
    "log1p-zscore": {"preset": "log1p-zscore", "missing": "mean"},
    "clipped": {"preset": "genotype", "clip": (-0.5, 0.7)},
}


def random_bits(n, n_features, seed=0):
    """Rows of all four codes, with whatever comes in the bits that belong to no feature."""
    return np.random.default_rng(seed).integers(0, 256, (n, -(-n_features // 4)), dtype=np.uint8)


def genotypes(n, n_features, seed=0, count_first=True):
    return PackedGenotypes(random_bits(n, n_features, seed), n_features, count_first=count_first)


def images_of(x, layout, normalizer, dtype, **options):
    """Fold to an array of bits: NumPy has no bfloat16 of its own, torch has."""
    if dtype != "bfloat16":
        return fold(x, layout, normalizer, dtype=dtype, **options)
    torch = pytest.importorskip("torch")
    out = torch.full((x.shape[0], *layout.shape), 7.0, dtype=torch.bfloat16)
    fold(x, layout, normalizer, dtype=dtype, out=out, **options)
    return out.view(torch.int16).numpy().view(np.uint16)


def build(name, x):
    return None if NORMALIZERS[name] is None else Normalizer(**NORMALIZERS[name]).fit(x)


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("n_features", FEATURES)
def test_the_bits_of_dense_samples(isa, make_layout, n_features, kind):
    layout = make_layout(kind, n_features)
    for i, n in enumerate(SAMPLES):
        packed = genotypes(n, n_features, seed=n, count_first=i % 2 == 0)
        dense = reference.dense(packed).astype(np.float32)
        for name in ("genotype", "none") if n_features > 2_000 else NORMALIZERS:
            normalizer = build(name, dense)
            for dtype in DTYPES:
                expected = images_of(dense, layout, normalizer, dtype)
                assert same_bits(images_of(packed, layout, normalizer, dtype), expected), (n, name, dtype)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_the_reference(isa, make_layout, kind, name):
    packed, layout = genotypes(19, 130), make_layout(kind, 130)
    normalizer = build(name, packed)
    images = fold(packed, layout, normalizer)
    expected = reference.fold(packed, layout, normalizer)
    np.testing.assert_array_equal(np.isnan(images), np.isnan(expected))
    error = np.abs(images.astype(np.float64) - expected)
    present = ~np.isnan(error)
    assert np.all(error[present] <= reference.fold_bound(packed, layout, normalizer)[present])


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("kind", ["natural", "shuffled", "many"])
def test_the_bits_of_integers_and_of_sparse_rows(isa, make_layout, name, kind):
    bits = random_bits(18, 203)
    bits[(bits & ~(bits >> 1) & 0x55) != 0] = 0b10110010  # no code 01: integers have no NaN
    packed, layout = PackedGenotypes(bits, 203), make_layout(kind, 203)
    x = packed.toarray("int8")
    assert x.min() == 0
    normalizer = build(name, x)
    images = fold(packed, layout, normalizer)
    assert same_bits(fold(x, layout, normalizer), images)
    assert same_bits(fold(scipy.sparse.csr_array(x.astype(np.float32)), layout, normalizer), images)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["natural", "shuffled", "gaps"])
@pytest.mark.parametrize("n_features", [300_000, 299_997])
def test_large_output_goes_round_the_caches(isa, make_layout, kind, dtype, n_features):
    """Above 32 MB rows are streamed; every first pixel has another place in its cache line."""
    packed, layout = genotypes(57, n_features), make_layout(kind, n_features)
    normalizer = Normalizer("genotype").fit(packed[:20])
    memory = np.full(57 * layout.n_pixels + 9, 7, dtype=dtype)
    out = memory[5:-4].reshape(57, *layout.shape)
    fold(packed, layout, normalizer, dtype=dtype, out=out)
    assert out.nbytes >= 32 << 20
    assert np.all(memory[:5] == 7)
    assert np.all(memory[-4:] == 7)
    for part in (slice(0, 3), slice(15, 18), slice(54, 57)):
        assert same_bits(out[part], fold(packed[part].toarray(), layout, normalizer, dtype=dtype))


@pytest.mark.parametrize("kind", ["natural", "shuffled", "many"])
@pytest.mark.parametrize("shape", [(3, 40_000), (150, 700), (300, 9_000), (40, 90_000)])
def test_any_number_of_threads(isa, make_layout, kind, shape):
    packed, layout = genotypes(*shape), make_layout(kind, shape[1])
    normalizer = Normalizer("genotype").fit(packed)
    one = fold(packed, layout, normalizer, dtype="float16", threads=1)
    for threads in (2, 3, 5):
        assert same_bits(fold(packed, layout, normalizer, dtype="float16", threads=threads), one)


def test_memory_that_is_used_as_it_is(isa, make_layout, tmp_path):
    layout = make_layout("shuffled", 97)
    bits = random_bits(23, 97)
    expected = fold(PackedGenotypes(bits, 97), layout)
    np.save(tmp_path / "bits.npy", bits)
    wide = np.full((23, 31), 0x55, np.uint8)
    wide[:, 3:28] = bits
    twice = np.full((46, 25), 0x55, np.uint8)
    twice[::2] = bits
    frozen = bits.copy()
    frozen.setflags(write=False)
    for memory in (
        np.load(tmp_path / "bits.npy", mmap_mode="r"),
        wide[:, 3:28],
        twice[::2],
        bits[::-1].copy()[::-1],
        frozen,
    ):
        packed = PackedGenotypes(memory, 97)
        assert np.shares_memory(packed.bits, memory)
        assert same_bits(fold(packed, layout), expected)
        assert column_stats(packed).mean.tobytes() == column_stats(PackedGenotypes(bits, 97)).mean.tobytes()
    one = PackedGenotypes(np.broadcast_to(bits[:1], bits.shape), 97)
    assert same_bits(fold(one, layout), np.repeat(expected[:1], 23, axis=0))


@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 66, 127, 1022])
def test_bits_of_no_feature_are_ignored(isa, make_layout, n_features):
    bits = random_bits(9, n_features) | 0xAA  # codes 2 and 3: nothing is missing
    unused = np.uint8(0xFF << (2 * ((n_features - 1) % 4 + 1)) & 0xFF)
    other = bits.copy()
    other[:, -1] = (other[:, -1] & ~unused) | (np.uint8(0x55) & unused)  # "missing", over and over
    a, b = PackedGenotypes(bits, n_features), PackedGenotypes(other, n_features)
    normalizer = Normalizer("zscore", missing="error").fit(a)
    for kind in ("natural", "shuffled", "many"):
        layout = make_layout(kind, n_features)
        assert same_bits(fold(a, layout, normalizer), fold(b, layout, normalizer))
    np.testing.assert_array_equal(column_stats(b).missing, 0)
    np.testing.assert_array_equal(a.toarray(), b.toarray())
    assert not _core.any_missing_packed(other, n_features, 0)


def test_out_and_pool(isa, make_layout):
    packed, layout = genotypes(30, 500), make_layout("shuffled", 500)
    expected = fold(packed, layout, dtype="float16")
    out = np.full(expected.shape, 9, np.float16)
    assert fold(packed, layout, dtype="float16", out=out) is out
    assert same_bits(out, expected)
    assert same_bits(fold(packed, layout, dtype="float16", out=ImagePool()), expected)
    torch = pytest.importorskip("torch")
    tensor = torch.empty(expected.shape, dtype=torch.float16)
    assert fold(packed, layout, dtype="float16", out=tensor) is tensor
    assert same_bits(tensor.numpy(), expected)


def test_a_table_is_made_once(isa, make_layout):
    packed = genotypes(6, 50)
    normalizer = Normalizer("genotype").fit(packed)
    layout, other = make_layout("natural", 50), make_layout("shuffled", 50)
    values = packed.code_values()
    formula = normalizer.parameters()
    table = packed_table(formula, layout, values, "float16")
    assert packed_table(formula, layout, values, "float16") is table
    for fresh in ((layout, "float32"), (other, "float16")):
        assert packed_table(formula, fresh[0], values, fresh[1]) is not table
    second = PackedGenotypes(packed.bits, 50, count_first=False)
    for each in (packed, second):
        assert same_bits(fold(each, layout, normalizer), fold(each.toarray(), layout, normalizer))
    before = fold(packed, layout, normalizer)
    normalizer.fit(genotypes(9, 50, seed=8))  # another formula: the table of the first one must not be used
    assert same_bits(fold(packed, layout, normalizer), fold(packed.toarray(), layout, normalizer))
    assert not same_bits(fold(packed, layout, normalizer), before)


def test_no_samples(isa, make_layout, kind):
    packed = PackedGenotypes(np.empty((0, 5), np.uint8), 20)
    layout = make_layout(kind, 20)
    assert fold(packed, layout).shape == (0, *layout.shape)
    stats = column_stats(packed)
    np.testing.assert_array_equal(stats.count, 0)
    assert np.all(np.isnan(stats.mean))
    np.testing.assert_array_equal(stats.m2, 0.0)


class TestStatistics:
    @pytest.mark.parametrize("log", [False, True])
    @pytest.mark.parametrize("n", [1, 2, 3, 14, 15, 16, 17, 29, 30, 31, 254, 255, 256, 1000])
    def test_lengths(self, isa, n, log):
        for n_features in (7, 130):
            self.check(genotypes(n, n_features, seed=n), log=log)

    @pytest.mark.parametrize("n_features", FEATURES)
    def test_widths(self, isa, n_features):
        for n in SAMPLES:
            self.check(genotypes(n, n_features, count_first=n % 2 == 0))

    def test_wide(self, isa):
        self.check(genotypes(33, 70_001))

    @pytest.mark.parametrize("log", [False, True])
    def test_offset(self, isa, log):
        packed = genotypes(40, 131)
        offset = np.random.default_rng(0).uniform(-0.5, 3, 131)
        self.check(packed, log=log, offset=offset)
        clipped = column_stats(packed, log=log, offset=offset - 1.2, clip_below_zero=True)
        dense = column_stats(packed.toarray(), log=log, offset=offset - 1.2, clip_below_zero=True)
        assert clipped.n_negative == dense.n_negative > 0
        np.testing.assert_array_equal(clipped.min, dense.min)

    def check(self, packed, **options):
        stats, expected = column_stats(packed, **options), reference.column_stats(packed, **options)
        bound = reference.stats_bound(packed.toarray(), **options)
        for name in ("count", "missing", "zeros"):
            np.testing.assert_array_equal(getattr(stats, name), expected[name], err_msg=name)
        for name in ("min", "max", "mean", "m2"):
            actual = getattr(stats, name)
            np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected[name]), err_msg=name)
            assert np.all(np.nan_to_num(np.abs(actual - expected[name])) <= bound[name]), name

    def test_extremes_are_those_of_dense_samples(self, isa):
        packed = genotypes(50, 90)
        for log in (False, True):
            stats, dense = column_stats(packed, log=log), column_stats(packed.toarray(), log=log)
            assert stats.min.tobytes() == dense.min.tobytes()
            assert stats.max.tobytes() == dense.max.tobytes()

    def test_order_of_samples_and_threads(self, isa):
        packed = genotypes(9_000, 1_001)
        one = column_stats(packed, log=True, threads=1)
        shuffled = packed[np.random.default_rng(0).permutation(9_000)]
        for other in (column_stats(shuffled, log=True, threads=3), column_stats(packed, log=True, threads=16)):
            for name in ("count", "missing", "zeros", "min", "max", "mean", "m2"):
                assert getattr(other, name).tobytes() == getattr(one, name).tobytes()

    def test_constant_features_have_no_spread(self, isa):
        for code in (0x00, 0xAA, 0xFF):
            packed = PackedGenotypes(np.full((301, 9), code, np.uint8), 35)
            for log in (False, True):
                np.testing.assert_array_equal(column_stats(packed, log=log).m2, 0.0)
        nothing = column_stats(PackedGenotypes(np.full((301, 9), 0x55, np.uint8), 35))
        np.testing.assert_array_equal(nothing.missing, 301)
        np.testing.assert_array_equal(nothing.count, 0)

    def test_row_scale_is_refused(self):
        with pytest.raises(ValueError, match=r"column_stats: row_scale .*packed genotypes"):
            column_stats(genotypes(4, 10), row_scale=np.ones(4))


class TestNormalizer:
    @pytest.mark.parametrize("name", [name for name in NORMALIZERS if name != "none"])
    def test_fit_partial_fit_transform(self, isa, name):
        packed = genotypes(60, 140)
        dense = packed.toarray()
        one, other = build(name, packed).parameters(), build(name, dense).parameters()
        for part in ("offset", "shift", "scale", "fill"):
            # The dense sums have at most 60 roundings of values below 2; these come from exact counts.
            np.testing.assert_allclose(getattr(one, part), getattr(other, part), rtol=1e-12, atol=1e-13)
        parts = Normalizer(**NORMALIZERS[name])
        for rows in (slice(0, 7), slice(7, 7), slice(7, 60)):
            parts.partial_fit(packed[rows])
        np.testing.assert_allclose(parts.parameters().scale, one.scale, rtol=1e-12)
        fitted = build(name, packed)
        assert same_bits(fitted.transform(packed), fitted.transform(dense))

    @pytest.mark.parametrize("kind", ["natural", "many"])
    def test_missing_is_refused_as_for_dense_samples(self, isa, make_layout, kind):
        packed, layout = genotypes(30, 70), make_layout(kind, 70)
        normalizer = Normalizer("zscore", missing="error").fit(np.arange(140.0).reshape(2, 70))
        out = np.full((30, *layout.shape), 7, np.float32)
        messages = []
        for x in (packed, packed.toarray()):
            with pytest.raises(ValueError, match="missing") as caught:
                fold(x, layout, normalizer, out=out)
            messages.append(str(caught.value))
            with pytest.raises(ValueError, match="missing"):
                fold(x, layout, normalizer)
            with pytest.raises(ValueError, match="missing"):
                normalizer.check(x, layout)
        assert messages[0] == messages[1]
        assert np.all(out == 7)
        with pytest.raises(ValueError, match=r"Normalizer.fit: X must have no missing values"):
            Normalizer("zscore", missing="error").fit(packed)

    def test_missing_in_a_dropped_feature_is_not_looked_at(self, isa):
        bits = np.full((5, 10), 0xAA, np.uint8)
        bits[:, 3] = 0x6A  # feature 15 is missing
        keep = np.arange(40) != 15
        layout = Layout.natural(40, keep=keep)
        normalizer = Normalizer("zscore", missing="error").fit(np.arange(80.0).reshape(2, 40))
        packed = PackedGenotypes(bits, 40)
        assert same_bits(fold(packed, layout, normalizer), fold(packed.toarray(), layout, normalizer))

    def test_library_size_is_refused(self, make_layout):
        packed = genotypes(6, 10)
        with pytest.raises(ValueError, match=r"packed genotypes .*library size.*toarray"):
            Normalizer("cp10k-log1p", missing="zero").fit(packed)
        fitted = Normalizer("cp10k-log1p", missing="zero").fit(packed.toarray())
        with pytest.raises(ValueError, match=r"packed genotypes .*library size.*toarray"):
            fold(packed, make_layout("natural", 10), fitted)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": Layout.natural(9)}, "X must have the layout's 9 features, got 10"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"out": np.empty((4, 1, 4, 4), np.float64)}, "out must be a C-contiguous writeable float32 array"),
        ({"out": np.empty((3, 1, 4, 4), np.float32)}, r"out .*\(4, 1, 4, 4\)"),
        ({"threads": 0}, "threads"),
        ({"normalizer": Normalizer("genotype")}, "not fitted"),
        ({"normalizer": Normalizer("genotype").fit(np.ones((2, 3)))}, "10 features, got 3"),
    ],
)
def test_refused(options, words):
    packed = genotypes(4, 10)
    with pytest.raises(ValueError, match=words):
        fold(packed, **{"layout": Layout.natural(10), **options})


def test_out_that_is_the_genotypes():
    memory = np.zeros(4 * 16, np.float32)
    packed = PackedGenotypes(memory.view(np.uint8)[:12].reshape(4, 3), 10)
    with pytest.raises(ValueError, match="out must not overlap X"):
        fold(packed, Layout.natural(10), out=memory.reshape(4, 1, 4, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda t: _core.fold_packed(np.zeros((2, 2), np.uint8), t, np.zeros(32, np.float32), 1),  # width
        lambda t: _core.fold_packed(np.zeros((2, 3), np.int8), t, np.zeros(32, np.float32), 1),
        lambda t: _core.fold_packed(np.zeros(6, np.uint8), t, np.zeros(32, np.float32), 1),
        lambda t: _core.fold_packed(np.zeros((2, 6), np.uint8)[:, ::2], t, np.zeros(32, np.float32), 1),
        lambda t: _core.fold_packed(np.zeros((2, 3), np.uint8), t, np.zeros(31, np.float32), 1),
        lambda t: _core.fold_packed(np.zeros((2, 3), np.uint8), t, np.zeros(32, np.float16), 1),
        lambda t: _core.fold_packed(np.zeros((2, 3), np.uint8), t, np.zeros(129, np.uint8)[1:].view(np.float32), 1),
        lambda t: _core.unpack(np.zeros((2, 3), np.uint8), 10, np.zeros(3, np.float32), np.zeros(20, np.float32), 1),
        lambda t: _core.unpack(np.zeros((2, 3), np.uint8), 10, np.zeros(4, np.float32), np.zeros(20, np.int8), 1),
        lambda t: _core.unpack(np.zeros((2, 3), np.uint8), 10, np.zeros(4), np.zeros(20), 1),
        lambda t: _core.column_stats_packed(np.zeros((2, 0), np.uint8), 0, True, False, False, None, 1),
        lambda t: _core.column_stats_packed(np.zeros((2, 3), np.uint8), -5, True, False, False, None, 1),
        lambda t: _core.column_stats_packed(np.zeros((2, 3), np.uint8), 10, True, False, False, np.zeros(9), 1),
        lambda t: _core.any_missing_packed(np.zeros((2, 3), np.uint8), 13, 1),
        lambda t: _core.any_missing_packed(np.zeros((2, 3), np.uint8), 2**63 - 1, 1),
        lambda t: _core.pack(np.zeros((2, 10)), True, -1, np.zeros(5, np.uint8), 1),
        lambda t: _core.PackedTable(Layout([0, 0], (1, 1, 1)).slots, None, np.zeros(4, np.float32), "float32", 1),
        lambda t: _core.PackedTable(Layout.natural(4).slots, None, np.zeros(3, np.float32), "float32", 1),
        lambda t: _core.PackedTable(Layout.natural(4).slots, None, np.zeros(4, np.float32), "float64", 1),
    ],
)
def test_the_extension_checks_its_arguments(call):
    table = _core.PackedTable(Layout.natural(10).slots, None, np.zeros(4, np.float32), "float32", 1)
    with pytest.raises((ValueError, TypeError)):
        call(table)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_sparse_dense_and_packed_are_one(isa, data):
    n, n_features = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    x = rng.choice([0, 1, 2], size=(n, n_features), p=[0.7, 0.2, 0.1]).astype(
        data.draw(st.sampled_from([np.float32, np.int8, np.uint8, np.float16]))
    )
    packed = PackedGenotypes.pack(x, count_first=data.draw(st.booleans()))
    csr = scipy.sparse.csr_array(x.astype(np.float32))
    index = rng.permutation(n_features + 5)[:n_features]
    layout = data.draw(
        st.sampled_from([Layout.natural(n_features), Layout.shuffled(n_features), Layout.from_index(index)])
    )
    preset = data.draw(st.sampled_from(["none", "genotype", "zscore", "minmax", "log1p", "log1p-zscore"]))
    normalizer = Normalizer(preset).fit(packed)
    dtype = data.draw(st.sampled_from(["float32", "float16"]))
    images = fold(x, layout, normalizer, dtype=dtype)
    assert same_bits(fold(packed, layout, normalizer, dtype=dtype), images)
    assert same_bits(fold(csr, layout, normalizer, dtype=dtype), images)
    for log in (False, True):
        dense, found, sparse = (column_stats(each, log=log) for each in (x, packed, csr))
        bound = reference.stats_bound(x, log=log)
        for name in ("count", "missing", "zeros", "min", "max"):
            np.testing.assert_array_equal(getattr(found, name), getattr(dense, name))
            np.testing.assert_array_equal(getattr(found, name), getattr(sparse, name))
        for name in ("mean", "m2"):  # each is within the bound of the exact value
            for other in (dense, sparse):
                assert np.all(np.abs(getattr(found, name) - getattr(other, name)) <= 2 * bound[name])
