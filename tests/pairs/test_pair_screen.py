"""All pairs of features against a screen that looks at one pair at a time."""

from __future__ import annotations

import importlib.util
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import scipy.stats
import torch

import pixfold as pf
from pixfold.errors import InputError
from pixfold.pairs import engine, features, screen_array, top
from pixfold.pairs.screen import bonferroni_threshold
from pixfold.pairs.target import target_of

_spec = importlib.util.spec_from_file_location("pairs_reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

PRECISIONS = {"sign": ("float32", "int8", "bfloat16"), "rank": ("float32", "bfloat16"), "standard": ("float32",)}
KINDS = [(transform, precision) for transform, known in PRECISIONS.items() for precision in known]


def bound(n: int) -> float:
    """Features are float32: 16 roundings each, of factors whose squares add up to n, over sqrt(n)."""
    return 2 * 16 * 2.0**-24 * n**0.5


def data(n, p, k=2, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * 40
    return (np.abs(X) if np.dtype(dtype).kind == "u" else X).astype(dtype), rng.permutation(np.arange(n) % k)


def xor(n, p, a, b, seed=0, wrong=0.0):
    rng = np.random.default_rng(seed)
    X = rng.random((n, p), dtype=np.float32)
    y = ((X[:, a] > 0.5) ^ (X[:, b] > 0.5)) ^ (rng.random(n) < wrong)
    return X, y.astype(int)


def by_pair(found):
    pairs = zip(found.feature_a.tolist(), found.feature_b.tolist(), strict=True)
    return dict(zip(pairs, zip(found.z, found.class_index, strict=True), strict=True))


def check(found, expected, n):
    got = by_pair(found)
    assert got.keys() == expected.keys()
    for pair, (z, c) in expected.items():
        assert abs(abs(got[pair][0]) - abs(z)) <= bound(n), pair
        # Classes of one strength may stand for each other.
        assert got[pair][1] == c or abs(abs(got[pair][0]) - abs(z)) <= bound(n)
    strength = np.round(np.abs(found.z), 9)
    order = np.lexsort((found.feature_b, found.feature_a, -strength))
    np.testing.assert_array_equal(order, np.arange(len(found)))


@pytest.mark.parametrize(("transform", "precision"), KINDS)
@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize(("n", "p"), [(12, 2), (13, 3), (37, 17)])
def test_every_pair(transform, precision, k, n, p):
    X, y = data(n, p, k)
    found = pf.pair_screen(X, y, transform=transform, precision=precision, device="cpu")
    check(found, reference.screen(X, y, transform), n)
    assert (found.n_pairs, found.n_samples) == (comb(p, 2), n)
    assert found.n_tests == comb(p, 2) * (1 if k == 2 else k)
    np.testing.assert_allclose(found.p, 2 * scipy.stats.norm.sf(np.abs(found.z)), rtol=1e-9)
    np.testing.assert_allclose(found.p_bonferroni, np.minimum(1, found.p * found.n_tests))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int8, np.uint16, np.int64, np.bool_])
@pytest.mark.parametrize("transform", ["sign", "rank", "standard"])
def test_types_of_values(dtype, transform):
    X, y = data(29, 7, dtype=np.float64)
    X = (X > 0) if dtype == np.bool_ else (np.abs(X) if np.dtype(dtype).kind == "u" else X).astype(dtype)
    check(pf.pair_screen(X, y, transform=transform), reference.screen(X.astype(np.float64), y, transform), 29)


@pytest.mark.parametrize("transform", ["sign", "rank", "standard"])
def test_values_far_from_zero_and_sparse_ones(transform):
    X, y = data(30, 6, dtype=np.float64)
    expected = reference.screen(X, y, transform)
    check(pf.pair_screen(X + 1e9, y, transform="sign" if transform == "sign" else transform), expected, 3e4)
    X[X < 30] = 0
    found = pf.pair_screen(scipy.sparse.csr_matrix(X), y, transform=transform)
    check(found, reference.screen(X, y, transform), 30)


@pytest.mark.parametrize(("transform", "precision"), KINDS)
@pytest.mark.parametrize("tile", [1, 4, 5, 16])
@pytest.mark.parametrize("k", [2, 3])
def test_edges_of_tiles_and_blocks(monkeypatch, transform, precision, tile, k):
    X, y = data(21, 13, k)
    monkeypatch.setattr(engine, "_CPU_TILE", tile)
    expected = reference.screen(X, y, transform)
    # Without a disk, and with blocks of 3 features in a file.
    for memory in ("1GB", 16 * 21 * 3):
        found = pf.pair_screen(X, y, transform=transform, precision=precision, memory=memory, threads=2, device="cpu")
        check(found, expected, 21)


@pytest.mark.parametrize("transform", ["sign", "rank", "standard"])
def test_from_a_file_and_out_of_core_as_in_memory(tmp_path, transform):
    X, y = data(120, 60, 3)
    np.save(tmp_path / "x.npy", X)
    known = pf.pair_screen(X, y, top_k=50, transform=transform)
    for memory in (16 * 120, 16 * 120 * 7, "100MB"):
        found = pf.pair_screen(tmp_path / "x.npy", y, top_k=50, memory=memory, transform=transform)
        for name in ("feature_a", "feature_b", "class_index", "z"):
            np.testing.assert_array_equal(getattr(found, name), getattr(known, name))
        # Batches of another size add up in another order: 120 terms, conditioned well.
        np.testing.assert_allclose(found.z_interaction, known.z_interaction, rtol=1e-10)
    assert features.width_within("pair_screen", 60, 120, 16 * 120) == (1, True)
    with pytest.raises(InputError, match="memory must be at least 1,920 bytes for 120 samples, got 1 kB"):
        pf.pair_screen(X, y, memory=1000)


@pytest.mark.parametrize(("transform", "precision"), KINDS)
def test_the_top_is_that_of_all_pairs(monkeypatch, transform, precision):
    X, y = data(50, 90, 2)
    expected = reference.screen(X, y, transform)
    # The running threshold rises from tile to tile.
    monkeypatch.setattr(engine, "_CPU_TILE", 16)
    monkeypatch.setattr(top, "_AT_ONCE", 8)
    found = pf.pair_screen(X, y, top_k=7, transform=transform, precision=precision, device="cpu")
    strongest = sorted((abs(z) for z, _ in expected.values()), reverse=True)[:7]
    np.testing.assert_allclose(np.abs(found.z), strongest, atol=bound(50))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_equal_pairs_stand_in_the_order_of_their_features(monkeypatch, precision):
    X, y = data(40, 3)
    X = X[:, [0, 1, 0, 1, 2, 0, 1]]
    for tile in (2, 512):
        monkeypatch.setattr(engine, "_CPU_TILE", tile)
        found = pf.pair_screen(X, y, top_k=100, precision=precision, device="cpu")
        check(found, reference.screen(X, y, "sign"), 40)
        best = pf.pair_screen(X, y, top_k=2, precision=precision, device="cpu")
        np.testing.assert_array_equal(best.feature_a, found.feature_a[:2])
        np.testing.assert_array_equal(best.feature_b, found.feature_b[:2])


@pytest.mark.parametrize("transform", ["sign", "rank", "standard"])
def test_constant_features_are_zero(transform):
    X, y = data(20, 5)
    X[:, 1] = 3
    X[:, 3] = y  # constant in each class
    X[:, 4] = 1e8
    found = pf.pair_screen(X, y, transform=transform)
    assert len(found) == 10
    for (a, b), (z, _) in by_pair(found).items():
        assert (z != 0) == ((a, b) == (0, 2))
    assert np.isfinite(found.z_interaction).all()
    assert np.isfinite(found.p).all()


def test_rows_and_missing_labels():
    X, y = data(40, 6)
    labels = y.astype(object)
    labels[[3, 30]] = None
    some = np.array([30, 2, 3, *range(7, 29)])
    used = np.setdiff1d(some, [3, 30])
    found = pf.pair_screen(X, labels, rows=some)
    check(found, reference.screen(X[used], y[used], "sign"), len(used))
    assert found.n_samples == len(used)
    assert any("2 samples without a label" in message for message in found.messages)
    with pytest.raises(InputError, match="pair_screen: rows must name no sample twice, got 4 more than once"):
        pf.pair_screen(X, y, rows=[1, 4, 4, 5, 6, 7])


def test_missing_values():
    X, y = data(30, 5)
    X[3, 1] = np.nan
    with pytest.raises(InputError, match=r"1 value missing \(NaN\) in 1 feature \('feature_1'\); choose missing="):
        pf.pair_screen(X, y)
    filled = X.copy()
    filled[3, 1] = np.nanmean(X[:, 1])
    found = pf.pair_screen(X, y, transform="standard", missing="mean")
    check(found, reference.screen(filled, y, "standard"), 30)
    for transform in ("sign", "rank"):
        assert np.isfinite(pf.pair_screen(X, y, transform=transform, missing="mean").z).all()
    X[4, 2] = np.inf
    with pytest.raises(InputError, match="values must be finite, got 1 infinite"):
        pf.pair_screen(X, y, missing="mean")


@pytest.mark.parametrize("transform", ["sign", "rank", "standard"])
def test_covariates(transform):
    X, y = data(45, 6)
    rng = np.random.default_rng(5)
    C = np.column_stack([rng.normal(size=(45, 2)), np.ones(45)])
    X[:, :2] += 60 * C[:, :2]
    found = pf.pair_screen(X, y, covariates=C, transform=transform)
    Z = reference.features(X, y, transform, C[:, :2])
    label = reference.unit(reference.left_of(reference.unit(y.astype(float)), np.column_stack([C])))
    scale = np.sqrt((45 - 4) / 45) / np.sqrt(45)
    expected = {(a, b): ((label * Z[a] * Z[b]).sum() * scale, 1) for a in range(6) for b in range(a + 1, 6)}
    check(found, expected, 45)
    with pytest.raises(InputError, match="covariates must not determine the label"):
        pf.pair_screen(X, y, covariates=y)
    if transform != "rank":  # which is no linear function of the values
        # A covariate that is a feature too leaves nothing of it.
        again = pf.pair_screen(X, y, covariates=X[:, 2], transform=transform)
        assert all(z == 0 for pair, (z, _) in by_pair(again).items() if 2 in pair)


@pytest.mark.parametrize("transform", ["rank", "standard"])
def test_a_measurement(transform):
    X, _ = data(50, 6)
    y = np.random.default_rng(3).normal(size=50) + X[:, 1] / 40 + X[:, 2] * X[:, 3] / 1600
    found = pf.pair_screen(X, y, transform=transform)
    assert found.class_names is None
    label = reference.unit(y)
    fixed = np.column_stack([np.ones(50), label])
    raw = [reference.scores(x) if transform == "rank" else reference.unit(x) for x in X.T.astype(np.float64)]
    Z = [reference.unit(reference.left_of(x, fixed)) for x in raw]
    scale = np.sqrt(48 / 50) / np.sqrt(50)
    expected = {(a, b): ((label * Z[a] * Z[b]).sum() * scale, 0) for a in range(6) for b in range(a + 1, 6)}
    check(found, expected, 50)
    assert (found.feature_a[0], found.feature_b[0]) == (2, 3)
    for a, b, z in zip(found.feature_a, found.feature_b, found.z_interaction, strict=True):
        x, w = reference.unit(raw[a]), reference.unit(raw[b])
        columns = np.column_stack([np.ones(50), x, w])
        # The ridge of 1e-9 moves the fit by that much; features are float32.
        np.testing.assert_allclose(z, reference.score_test(columns, x * w, label, logistic=False), atol=1e-4)


@pytest.mark.parametrize("k", [2, 3])
def test_the_statistic_of_the_interaction(k):
    X, y = data(60, 6, k)
    X[:, 0] += 50 * y  # a main effect
    C = np.random.default_rng(4).normal(size=60)
    for transform, covariates in (("sign", None), ("standard", None), ("standard", C)):
        found = pf.pair_screen(X, y, transform=transform, covariates=covariates)
        lines = zip(found.feature_a, found.feature_b, found.class_index, found.z_interaction, strict=True)
        for a, b, c, z in lines:
            raw = X.T.astype(np.float64)
            x, w = (raw[i] if transform == "standard" else reference.scores(raw[i]) for i in (a, b))
            x, w = reference.unit(x), reference.unit(w)
            columns = np.column_stack([np.ones(60), x, w] + ([] if covariates is None else [covariates]))
            expected = reference.score_test(columns, x * w, (y == c).astype(float), logistic=True)
            # Newton's steps end below 1e-8, the ridge is 1e-9, normal scores are float32.
            np.testing.assert_allclose(z, expected, atol=1e-4)


def test_equal_and_separating_features_have_finite_statistics():
    X, y = data(24, 4)
    X[:, 1] = X[:, 0]
    X[:, 2] = y * 100 + X[:, 2] / 100
    found = pf.pair_screen(X, y)
    assert np.isfinite(found.z_interaction).all()


def test_main_effects_do_not_leak():
    rng = np.random.default_rng(0)
    y = (np.arange(400) < 60).astype(int)  # unbalanced
    X = rng.normal(size=(400, 30)) * (1 + y[:, None]) + 2 * y[:, None]  # all differ in mean and in spread
    leaking = reference.unit(y.astype(float)) @ (X - X.mean(0)) ** 2
    assert np.abs(leaking).max() > 100
    found = pf.pair_screen(X, y, top_k=500)
    assert not found.significant.any()


def test_an_xor_is_first():
    X, y = xor(600, 800, 17, 555, wrong=0.25)
    for transform in ("sign", "rank", "standard"):
        found = pf.pair_screen(X, y, transform=transform, top_k=10)
        assert (found.feature_a[0], found.feature_b[0]) == (17, 555)
        assert found.significant.tolist() == [True] + [False] * 9
        assert abs(found.z_interaction[0]) > 7
        assert found.z[0] < 0


def test_genotypes():
    rng = np.random.default_rng(1)
    G = rng.binomial(2, rng.uniform(0.1, 0.5, 9), (80, 9)).astype(np.float32)
    y = rng.permutation(np.arange(80) % 2)
    G[rng.random(G.shape) < 0.04] = np.nan
    filled = np.where(np.isnan(G), np.nanmean(G, axis=0), G)
    found = pf.pair_screen(pf.PackedGenotypes.pack(G), y)
    assert found.transform == "standard"
    check(found, reference.screen(filled, y, "standard"), 80)
    for a, b, z in zip(found.feature_a, found.feature_b, found.plink_z, strict=True):
        np.testing.assert_allclose(z, reference.fast_epistasis(G[:, a], G[:, b], y == 1), rtol=1e-9, atol=1e-12)
    assert "plink_z" in found.table()
    assert pf.pair_screen(filled, y).plink_z is None


def test_plink_statistic_is_standard_normal_without_an_interaction():
    rng = np.random.default_rng(2)
    G = rng.binomial(2, 0.4, (1000, 40))
    found = pf.pair_screen(pf.PackedGenotypes.pack(G), np.arange(1000) % 2, top_k=780)
    # 780 pairs: the variance of a sample variance is 2 / 780, and pairs that share a feature are not correlated.
    assert abs(np.var(found.plink_z) - 1) < 5 * np.sqrt(2 / 780)
    assert abs(np.var(found.z) - 1) < 5 * np.sqrt(2 / 780)


@pytest.mark.parametrize(("transform", "precision"), KINDS)
@pytest.mark.parametrize("memory", ["1GB", 16 * 32 * 5])
def test_the_threshold_of_permutations(transform, precision, memory):
    X, y = data(32, 12)
    given = {"threshold": "permutation", "alpha": 0.1, "seed": 3, "memory": memory, "device": "cpu"}
    found = pf.pair_screen(X, y, n_permutations=19, transform=transform, precision=precision, **given)
    check(found, reference.screen(X, y, transform), 32)
    order = np.argsort(y, kind="stable")
    rng = np.random.default_rng(3)
    largest = []
    for _ in range(19):
        permuted = X[order][rng.permutation(32)]
        largest.append(max(abs(z) for z, _ in reference.screen(permuted, y[order], transform).values()))
    np.testing.assert_allclose(found.permuted, largest, atol=bound(32))
    assert found.threshold == np.sort(found.permuted)[17]


@pytest.mark.parametrize("label", ["classes", "measurement"])
def test_permutations_with_covariates(label):
    X, y = data(32, 9)
    y = y if label == "classes" else np.random.default_rng(0).normal(size=32)
    C = np.random.default_rng(1).normal(size=32)
    found = pf.pair_screen(X, y, covariates=C, threshold="permutation", n_permutations=19, seed=3, transform="rank")
    target = target_of("test", y, C[:, None])
    known = features.Features(9, 32)
    known.put(np.arange(32), X[target.order])
    with engine.workers(1) as pool:
        known.transform("rank", target, pool, signs=False)
    Z = known.load(0).values.astype(np.float64)
    largest = [
        max(abs((labels[0] * Z[a] * Z[b]).sum()) for a in range(9) for b in range(a + 1, 9))
        for labels in target.permuted(19, 3)
    ]
    np.testing.assert_allclose(found.permuted, largest, atol=bound(32))
    assert found.threshold == found.permuted.max()


def test_an_array_in_memory():
    X, y = xor(150, 300, 5, 200)
    known = pf.pair_screen(X, y)
    for Z in (X.T, np.ascontiguousarray(X.T), torch.from_numpy(X.T.copy())):
        found = screen_array(Z, y)
        assert len(found) == known.significant.sum() == 1
        np.testing.assert_array_equal(found.z, known.z[:1])
        assert found.z_interaction is None
    assert len(screen_array(X.T, np.random.default_rng(0).permutation(y))) == 0
    with pytest.raises(InputError, match=r"screen_array: y must have shape \(150,\)"):
        screen_array(X.T, y[:-1])
    with pytest.raises(InputError, match="screen_array: Z must be finite in float32, got 2 others"):
        screen_array(np.where(np.arange(300)[:, None] == np.arange(150), [[np.nan]], X.T)[:1].repeat(2, 0)[:, :], y)


def test_the_table():
    X, y = data(20, 4, 3)
    frame = pd.DataFrame(X, columns=list("abcd"))
    found = pf.pair_screen(frame, np.array(["u", "v", "w"])[y], top_k=3)
    table = found.table()
    assert table.columns.tolist()[:5] == ["feature_a", "feature_b", "z", "p", "p_bonferroni"]
    assert table["feature_a"].tolist() == ["abcd"[i] for i in found.feature_a]
    assert set(table["class"]) <= set("uvw")
    assert found.table(["1", "2", "3", "4"])["feature_b"].tolist() == [str(i + 1) for i in found.feature_b]
    with pytest.raises(InputError, match=r"PairScreen.table: names must be of all features"):
        found.table(["1"])


def test_its_words_are_a_line():
    X, y = data(200, 30, 2)
    found = pf.pair_screen(pd.DataFrame(X, columns=[f"g{j}" for j in range(30)]), y, top_k=3)
    first = f"g{found.feature_a[0]} x g{found.feature_b[0]}, z = {found.z[0]:.2f}"
    assert repr(found) == f"PairScreen(3 of 435 pairs, {found.significant.sum()} significant; first: {first})"
    assert repr(screen_array(np.zeros((3, 40)), np.arange(40) % 2)) == "PairScreen(0 of 3 pairs, 0 significant)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top_k": 0}, "top_k must be a positive integer, got 0"),
        ({"alpha": 0}, "alpha must be a number above 0, at most 1, got 0"),
        ({"threshold": "fdr"}, "threshold must be one of bonferroni, permutation, got 'fdr'"),
        ({"transform": "log"}, "transform must be one of auto, sign, rank, standard, got 'log'"),
        ({"missing": "zero"}, "missing must be one of error, mean, got 'zero'"),
        ({"precision": "fp8"}, "precision must be one of auto, float32, bfloat16, int8, got 'fp8'"),
        ({"precision": "int8", "transform": "rank"}, "precision must be float32 or bfloat16 but for signs"),
        ({"device": "abacus"}, "device must be auto, cpu, cuda or cuda:N, got 'abacus'"),
        ({"memory": "lots"}, "memory must be a size"),
        ({"threads": 0}, "threads must be a positive integer, got 0"),
        ({"label_type": "text"}, "label_type must be one of auto, classes, measurement, got 'text'"),
        (
            {"threshold": "permutation", "n_permutations": 18},
            "n_permutations must be at least 19 for alpha 0.05, got 18",
        ),
        ({"covariates": np.zeros(3)}, r"covariates must have shape \(20, q\), got \(3, 1\)"),
        ({"covariates": np.full(20, np.nan)}, "covariates must be finite, got 20 values infinite or missing"),
        ({"covariates": ["x"] * 20}, "covariates must be an array of numbers"),
        ({"rows": [0, 1, 2]}, "samples must be at least 4 with a label, got 3"),
        ({"y": None}, "y must be given where the data have no labels, got None"),
        ({"y": np.zeros(20, int)}, "labels must be of two classes or more, got only one class"),
        ({"y": np.zeros(20), "label_type": "measurement"}, "y must have two values or more, got one"),
        ({"X": np.zeros((20, 1))}, "X must have at least 2 features, got 1"),
    ],
)
def test_what_is_refused(given, message):
    X, y = data(20, 4)
    arguments = {"X": X, "y": y, **given}
    with pytest.raises(InputError, match=f"pair_screen: {message}" if "labels" not in message else message):
        pf.pair_screen(arguments.pop("X"), arguments.pop("y"), **arguments)


def test_arguments_are_checked_before_anything_is_read():
    with pytest.raises(InputError, match="alpha"):
        pf.pair_screen("absent.csv", alpha=2)


def test_the_threshold_of_bonferroni():
    for alpha, count in ((0.05, 1), (0.05, 10**6), (0.01, 5 * 10**11)):
        np.testing.assert_allclose(bonferroni_threshold(alpha, count), scipy.stats.norm.isf(alpha / 2 / count))


@pytest.mark.slow
@pytest.mark.parametrize("transform", ["sign", "rank"])
def test_the_family_wise_error_of_correlated_features(transform):
    rng = np.random.default_rng(0)
    n, p, repeats = 60, 150, 400
    hits = 0
    for _ in range(repeats):
        X = rng.normal(size=(n, p)) + (1.0 if transform == "sign" else 0.0) * rng.normal(size=(n, 1))
        found = pf.pair_screen(X, rng.permutation(np.arange(n) % 2), top_k=1, transform=transform, threads=1)
        hits += int(found.significant[0])
    # More hits than this have a probability of 1e-4 where the error rate is 5 %.
    assert hits <= scipy.stats.binom.isf(1e-4, repeats, 0.05)
