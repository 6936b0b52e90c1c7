"""PackedGenotypes: what it takes, packing and unpacking, samples, sources and estimators."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import pixfold as pf
from pixfold import PackedGenotypes, _core
from pixfold.ops import reference


@pytest.fixture(params=_core.isas())
def isa(request):
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


def matrix(n, n_features, seed=0, missing=True):
    rng = np.random.default_rng(seed)
    G = rng.integers(0, 3, (n, n_features)).astype(np.float32)
    if missing:
        G[rng.random(G.shape) < 0.1] = np.nan
    return G


def test_the_codes_of_plink():
    # 0b_11_10_01_00: features 0 to 3 have codes 0, 1, 2, 3.
    g = PackedGenotypes(np.array([[0b11100100]], np.uint8), 4)
    np.testing.assert_array_equal(g.toarray(), [[2, np.nan, 1, 0]])
    np.testing.assert_array_equal(PackedGenotypes(g.bits, 4, count_first=False).toarray(), [[0, np.nan, 1, 2]])
    np.testing.assert_array_equal(PackedGenotypes.pack(np.array([[2, -1, 1, 0]])).bits, g.bits)
    np.testing.assert_array_equal(PackedGenotypes.pack([[0, np.nan, 1, 2]], count_first=False).bits, g.bits)


def test_what_it_says():
    bits = np.zeros((3, 5), np.uint8)
    g = PackedGenotypes(bits, 18, count_first=False)
    assert (g.shape, g.ndim, len(g), g.n_features, g.count_first, g.nbytes) == ((3, 18), 2, 3, 18, False, 15)
    assert g.dtype == np.float32
    assert g.bits is bits
    assert repr(g) == "PackedGenotypes(n_samples=3, n_features=18, count_first=False)"
    other = pickle.loads(pickle.dumps(g))
    np.testing.assert_array_equal(other.toarray(), g.toarray())
    with pytest.raises(AttributeError):
        g.n_features = 5


@pytest.mark.parametrize(
    ("bits", "n_features", "words"),
    [
        (np.zeros((3, 5), np.int8), 20, "bits must be uint8, got int8"),
        (np.zeros((3, 5)), 20, "bits must be uint8, got float64"),
        (None, 20, "bits must be uint8, got object"),
        (np.zeros(5, np.uint8), 20, r"shape \(n_samples, 5\) for 20 features, got \(5,\)"),
        (np.zeros((1, 3, 5), np.uint8), 20, r"got \(1, 3, 5\)"),
        (np.zeros((3, 5), np.uint8), 21, r"shape \(n_samples, 6\) for 21 features, got \(3, 5\)"),
        (np.zeros((3, 5), np.uint8), 16, r"shape \(n_samples, 4\) for 16 features"),
        (np.zeros((3, 5), np.uint8), 0, "n_features must be a positive integer, got 0"),
        (np.zeros((3, 5), np.uint8), 20.0, "n_features must be a positive integer"),
        (np.zeros((3, 5), np.uint8), True, "n_features must be a positive integer"),
        (np.zeros((3, 10), np.uint8)[:, ::2], 20, "bytes of a row of bits must follow each other"),
        (np.asfortranarray(np.zeros((3, 5), np.uint8)), 20, "bytes of a row of bits must follow each other"),
        (np.zeros((3, 5), np.uint8)[:, ::-1], 20, "bytes of a row of bits must follow each other"),
    ],
)
def test_refused_bits(bits, n_features, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        PackedGenotypes(bits, n_features)
    assert str(caught.value).startswith("PackedGenotypes: ")


def test_refused_count_first():
    with pytest.raises(ValueError, match="count_first must be True or False, got 'A1'"):
        PackedGenotypes(np.zeros((3, 5), np.uint8), 20, count_first="A1")


@pytest.mark.parametrize("count_first", [True, False])
@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 2050])
def test_pack_and_unpack(isa, n_features, count_first):
    for n in (1, 2, 3, 17):
        G = matrix(n, n_features, seed=n)
        g = PackedGenotypes.pack(G, count_first=count_first)
        assert g.bits.shape == (n, -(-n_features // 4))
        np.testing.assert_array_equal(reference.dense(g), G)
        for dtype in (np.float32, "float16", "float64"):
            found = g.toarray(dtype)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, G)
        codes = np.where(np.isnan(G), -1, G)
        np.testing.assert_array_equal(g.toarray("int8"), codes)
        for dtype in ("int8", "int16", "int32", "int64"):
            np.testing.assert_array_equal(
                PackedGenotypes.pack(codes.astype(dtype), count_first=count_first).bits, g.bits
            )
        if n_features % 4:
            assert not np.any(g.bits[:, -1] >> (2 * (n_features % 4)))


def test_pack_of_any_storage(isa):
    G = matrix(7, 2100)
    expected = PackedGenotypes.pack(G).bits
    wide = np.full((14, 6300), 9, np.float64)
    wide[::2, ::3] = G
    np.testing.assert_array_equal(PackedGenotypes.pack(wide[::2, ::3]).bits, expected)
    np.testing.assert_array_equal(PackedGenotypes.pack(np.asfortranarray(G)).bits, expected)
    np.testing.assert_array_equal(PackedGenotypes.pack(G.astype(">f4")).bits, expected)
    np.testing.assert_array_equal(PackedGenotypes.pack(G.astype(np.float16)).bits, expected)
    np.testing.assert_array_equal(PackedGenotypes.pack(G[:, ::-1]).bits, PackedGenotypes.pack(G[:, ::-1].copy()).bits)
    np.testing.assert_array_equal(PackedGenotypes.pack(G, threads=3).bits, expected)
    assert PackedGenotypes.pack(np.empty((0, 9))).shape == (0, 9)
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.bfloat16):
        np.testing.assert_array_equal(PackedGenotypes.pack(torch.from_numpy(G).to(dtype)).bits, expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "bool"])
def test_pack_of_unsigned_integers(isa, dtype):
    G = matrix(5, 33, missing=False)
    G = np.minimum(G, 1) if dtype == "bool" else G
    np.testing.assert_array_equal(PackedGenotypes.pack(G.astype(dtype)).toarray(), G)


def test_what_stands_for_missing(isa):
    G = np.array([[0, 1, -127, 2]], np.int8)  # as bed-reader reads int8
    np.testing.assert_array_equal(PackedGenotypes.pack(G, missing=-127).toarray(), [[0, 1, np.nan, 2]])
    np.testing.assert_array_equal(
        PackedGenotypes.pack(np.array([[0, 3, 2]], np.uint8), missing=3).toarray(), [[0, np.nan, 2]]
    )
    # 255 is uint8's -1 and must not be taken for it, and 2**64 - 1 is uint64's.
    for dtype in ("uint8", "uint64"):
        with pytest.raises(ValueError, match=f"got {np.iinfo(dtype).max} in sample 0, feature 1"):
            PackedGenotypes.pack(np.array([[0, np.iinfo(dtype).max]], dtype))


@pytest.mark.parametrize("bad", [3, 0.5, -1, np.inf, -np.inf, 1e30, -0.1, 2.0000002])
@pytest.mark.parametrize("place", [(0, 0), (3, 1), (3, 1029), (6, 2099)])
def test_the_first_bad_value_is_named(isa, bad, place):
    G = matrix(7, 2100).astype(np.float64)
    G[place] = bad
    G[6, 2099] = 9 if place != (6, 2099) else bad
    with pytest.raises(ValueError, match=r"PackedGenotypes\.pack: G must hold 0, 1, 2 or NaN") as caught:
        PackedGenotypes.pack(G, threads=2)
    assert str(caught.value).endswith(f"got {float(bad)} in sample {place[0]}, feature {place[1]}")


@pytest.mark.parametrize(
    ("G", "options", "words"),
    [
        (np.zeros(4), {}, r"G must have shape \(n_samples, n_features >= 1\), got \(4,\)"),
        (np.zeros((2, 0)), {}, r"got \(2, 0\)"),
        (np.array([["a"]]), {}, "G must be of a float16/32/64"),
        (np.zeros((2, 2), complex), {}, "complex128"),
        (np.zeros((2, 2), int), {"missing": 1}, "missing must be an integer other than 0, 1 and 2, got 1"),
        (np.zeros((2, 2), int), {"missing": np.nan}, "missing must be an integer"),
        (np.zeros((2, 2), int), {"missing": 2**70}, "missing must be a 64-bit integer"),
        (np.zeros((2, 2)), {"threads": 0}, "threads must be a positive integer"),
        (np.array([[0, -2]]), {}, "got -2 in sample 0, feature 1"),
    ],
)
def test_refused_by_pack(G, options, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        PackedGenotypes.pack(G, **options)
    assert str(caught.value).startswith("PackedGenotypes.pack: ")


@pytest.mark.parametrize("dtype", ["int16", "uint8", "bool", "complex64", "bfloat16", object, "nonsense"])
def test_refused_by_toarray(dtype):
    with pytest.raises(ValueError, match=r"PackedGenotypes\.toarray: dtype must be float16, float32, float64 or int8"):
        PackedGenotypes.pack(matrix(2, 3)).toarray(dtype)


def test_samples_by_slice_positions_and_mask():
    G = matrix(12, 9)
    g = PackedGenotypes.pack(G, count_first=False)
    for rows in (
        slice(3, 8),
        slice(None, None, -2),
        slice(5, 5),
        [1, 4, 4, 11],
        np.array([2, -1]),
        [],
        G[:, 0] == 1,
        np.array([3], np.uint8),
    ):
        found = g[rows]
        assert found.count_first is False
        np.testing.assert_array_equal(
            found.toarray(), G[np.asarray(rows, dtype=int) if isinstance(rows, list) else rows]
        )
    assert np.shares_memory(g[2:7].bits, g.bits)
    for rows in (3, np.int64(3), (slice(None), 2), "a", None, 1.5, [[1]], ..., [True], [12]):
        with pytest.raises(IndexError):
            g[rows]


class TestSources:
    def test_source_and_loader(self):
        torch = pytest.importorskip("torch")
        G = matrix(40, 30)
        g = PackedGenotypes.pack(G)
        names = [f"rs{j}" for j in range(30)]
        source = pf.open_source(g, y=np.arange(40) % 2)
        assert (source.n_samples, source.n_features, source.is_sparse) == (40, 30, False)
        assert source.dtype == np.float32
        assert isinstance(source.read(slice(3, 9)), PackedGenotypes)
        np.testing.assert_array_equal(source.read(np.array([1, 5, 9])).toarray(), G[[1, 5, 9]])
        named = pf.sources.ArraySource(g, feature_names=names)
        assert named.feature_names == names
        normalizer = pf.Normalizer("genotype").fit(source)
        layout = pf.Layout.shuffled(30)
        options = {"batch_size": 7, "shuffle": True, "check_finite": True}
        packed = pf.FoldLoader(source, layout, normalizer, **options)
        dense = pf.FoldLoader(pf.open_source(G), layout, normalizer, **options)
        for (a, _, i), (b, _, j) in zip(packed, dense, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(i, j)

    def test_estimator(self):
        pytest.importorskip("torch")
        G = matrix(60, 40)
        G[:30, 7], G[30:, 7] = 2, 0
        y = np.repeat(["a", "b"], 30)
        options = {"backbone": "patchnet", "epochs": 2, "n_runs": 1, "random_state": 0, "missing": "zero"}
        packed = pf.DeepMapperClassifier(**options).fit(PackedGenotypes.pack(G), y)
        dense = pf.DeepMapperClassifier(**options).fit(G, y)
        np.testing.assert_array_equal(packed.predict_proba(PackedGenotypes.pack(G)), dense.predict_proba(G))
