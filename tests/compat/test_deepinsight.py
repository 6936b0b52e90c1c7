"""The drop-in for pyDeepInsight: its pixels and images on random maps, and what it cannot do."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="maps of features need scikit-learn and SciPy")

from pixfold.compat.deepinsight import ImageTransformer, MRepImageTransformer, Norm2Scaler
from pixfold.compat.deepinsight.rectangle import rectangle
from pixfold.errors import InputError
from pixfold.ops.fold import fold

SEEDS = range(30)
FORMATS = ("rgb", "scalar", "pytorch")


class Placed:
    """A feature extractor that gives these places."""

    def __init__(self, places):
        self.places = np.asarray(places)

    def fit_transform(self, X):
        assert len(X) == len(self.places)
        return self.places


@pytest.fixture(scope="module")
def theirs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            "pyDeepInsight",
            reason='pyDeepInsight is what is compared with: pip install "pixfold[compare]"',
            exc_type=ImportError,
        )


def places(rng, n):
    """Maps of several kinds and precisions: spread, in clusters, on a grid, of unlike axes."""
    kind = rng.integers(4)
    if kind == 0:
        found = rng.normal(size=(n, 2))
    elif kind == 1:
        found = rng.random((3, 2))[rng.integers(3, size=n)] + 0.01 * rng.normal(size=(n, 2))
    elif kind == 2:
        found = np.round(2 * rng.normal(size=(n, 2)))
        found[:3] = [[0, 0], [5, 1], [1, 5]]  # not all on a line
    else:
        found = rng.standard_t(2, size=(n, 2)) * [1, 1000]
    return found.astype(rng.choice(["float32", "float64"]))


def of(module, extractor, discretization, pixels, X):
    with warnings.catch_warnings():
        # Theirs asks for more quantiles than there are features.
        warnings.simplefilter("ignore")
        return module.ImageTransformer(extractor, discretization, pixels).fit(X)


class Ours:
    ImageTransformer = ImageTransformer


def total_cost(coords, rotated, shape):
    """Sum of the squared distances to the centres of pixels."""
    low, high = rotated.min(axis=0), rotated.max(axis=0)
    return ((((rotated - low) / (high - low)) * shape - (coords + 0.5)) ** 2).sum()


@pytest.mark.parametrize("discretization", ["bin", "qtb"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:n_quantiles:UserWarning")
def test_pixels_and_images_are_theirs(theirs, discretization):
    pytest.importorskip("torch", reason="img_format='pytorch' needs torch")
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        n, side = int(rng.integers(4, 200)), int(rng.integers(1, 30))
        X, extractor = rng.random((6, n)), Placed(places(rng, n))
        wanted = of(theirs, extractor, discretization, (side, side), X)
        got = of(Ours, extractor, discretization, side, X)
        np.testing.assert_array_equal(got.coords(), wanted.coords())
        np.testing.assert_array_equal(got.feature_density_matrix(), wanted.feature_density_matrix())
        for kind in FORMATS:
            for empty in (0, 0.25, -1, np.nan):
                images = got.transform(X, kind, empty_value=empty)
                same = wanted.transform(X, kind, empty_value=empty)
                assert type(images) is type(same)
                assert images.shape == same.shape
                np.testing.assert_allclose(np.asarray(images), np.asarray(same), rtol=0, atol=1e-6)
        scalar, rgb = wanted.transform(X, "scalar"), wanted.transform(X, "rgb")
        for image in (scalar[0], scalar, rgb[0], rgb):
            np.testing.assert_array_equal(got.inverse_transform(image), wanted.inverse_transform(image))
        got.pixels = wanted.pixels = (side + 2, side + 2)
        np.testing.assert_array_equal(got.coords(), wanted.coords())


@pytest.mark.parametrize("name", ["pca", "kpca", "tsne"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
def test_named_extractors_are_theirs(theirs, name):
    X = np.random.default_rng(0).random((20, 60))
    got, wanted = ImageTransformer(name, pixels=10), theirs.ImageTransformer(name, pixels=10)
    assert repr(got._fe) == repr(wanted._fe)
    if name == "pca":
        np.testing.assert_allclose(got.fit_transform(X), wanted.fit_transform(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("discretization", ["lsa", "sla"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_assignments_cost_no_more_than_theirs(theirs, discretization):
    compared = 0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        # With "lsa", more than 81 features share pixels; "sla" may not end there where pixels are scarce.
        n = int(rng.integers(4, 110 if discretization == "lsa" else 30))
        X, extractor = rng.random((2, n)), Placed(rng.normal(size=(n, 2)))
        got = of(Ours, extractor, discretization, 9, X)
        assert got.feature_density_matrix().max() == 1 or n > 81
        try:
            wanted = of(theirs, extractor, discretization, (9, 9), X)
        except ValueError:
            continue  # a third of the pixels is too few there, or k-means fails
        compared += 1
        cost = total_cost(got.coords(), got._xrot, (9, 9))
        assert cost <= total_cost(wanted.coords(), wanted._xrot, (9, 9)) * (1 + 1e-9)
    assert compared >= 10


@pytest.mark.parametrize("discretization", ["ags", "ags_batched"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_greedy_search_costs_no_less(theirs, discretization):
    pytest.importorskip("asymmetric_greedy_search", reason="pyDeepInsight[ags] is what is compared with")
    pytest.importorskip("numba", reason="pyDeepInsight[ags] needs numba")
    for seed, n, side in [(0, 20, 9), (1, 81, 9), (2, 120, 16), (3, 200, 15), (4, 700, 60)]:
        rng = np.random.default_rng(seed)
        X, extractor = rng.random((2, n)), Placed(places(rng, n).astype(np.float64))
        wanted = of(theirs, extractor, discretization, (side, side), X)
        got = of(Ours, extractor, discretization, side, X)
        cost = total_cost(got.coords(), got._xrot, (side, side))
        assert cost <= total_cost(wanted.coords(), wanted._xrot, (side, side)) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("shape", "n", "most"),
    [
        ((9, 9), 60, 1.0),
        ((20, 5), 100, 1.0),
        ((40, 40), 800, 1.05),
        ((30, 31), 900, 1.1),
        ((4, 300), 900, 1.1),
        ((1, 900), 850, 1.1),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_fast_gives_each_feature_a_pixel_at_nearly_the_least_cost(shape, n, most, seed):
    X, extractor = np.zeros((1, n)), Placed(np.random.default_rng(seed).normal(size=(n, 2)))
    fast = of(Ours, extractor, "fast", shape, X)
    assert fast.feature_density_matrix().max() == 1
    np.testing.assert_array_equal(fast.coords(), of(Ours, extractor, "fast", shape, X).coords())
    least = total_cost(of(Ours, extractor, "lsa", shape, X).coords(), fast._xrot, shape)
    ratio = total_cost(fast.coords(), fast._xrot, shape) / least
    assert 1 - 1e-9 <= ratio <= most + 1e-9


def test_fast_spreads_features_evenly_where_pixels_are_few():
    places = np.random.default_rng(0).normal(size=(1000, 2))
    counts = of(Ours, Placed(places), "fast", (15, 20), np.zeros((1, 1000))).feature_density_matrix()
    assert counts.max() == 4  # 1000 features on 300 pixels
    assert counts.sum() == 1000


@pytest.mark.parametrize("discretization", ["lsa", "sla", "ags"])
def test_features_at_one_place_use_all_pixels(discretization):
    places = np.repeat([[0.0, 0.0], [1.0, 0.3], [0.2, 1.0]], 10, axis=0)
    counts = of(Ours, Placed(places), discretization, (3, 4), np.zeros((1, 30))).feature_density_matrix()
    assert counts.min() >= 1


@pytest.mark.parametrize("discretization", list(ImageTransformer.DISCRETIZATION_OPTIONS))
@pytest.mark.parametrize("shape", [(5, 30), (30, 5), (1, 60), (12, 12)])
def test_images_need_not_be_square(discretization, shape):
    rng = np.random.default_rng(0)
    X = rng.random((4, 50))
    transformer = of(Ours, Placed(rng.random((50, 2))), discretization, shape, X)
    rows, columns = transformer.coords().T
    images = transformer.transform(X, "scalar", empty_value=-1)
    assert images.shape == (4, *shape)
    density = transformer.feature_density_matrix()
    for i in range(50):
        met = (rows == rows[i]) & (columns == columns[i])
        np.testing.assert_allclose(images[:, rows[i], columns[i]], X[:, met].mean(axis=1), rtol=1e-6)
    assert np.all(images[:, density == 0] == -1)
    # Far corners of the map are far corners of the image: no axis is mistaken for the other one.
    if discretization == "bin":
        assert (rows.max(), columns.max()) == (shape[0] - 1, shape[1] - 1)


@pytest.mark.parametrize("discretization", list(ImageTransformer.DISCRETIZATION_OPTIONS))
@pytest.mark.parametrize(
    "flat",
    [
        np.stack([np.linspace(0, 1, 20), np.zeros(20)], axis=1),
        np.stack([np.full(20, 3.0), np.linspace(-1, 1, 20)], axis=1),
        np.outer(np.linspace(-5, 5, 20), [1.0, 0.37]),
        np.full((20, 2), 2.5),
        [[0.5, 0.5]],
        [[0.0, 0.0], [1.0, 2.0]],
    ],
    ids=["row", "column", "slope", "point", "one feature", "two features"],
)
def test_a_constant_axis_stands_in_the_middle(discretization, flat):
    X = np.random.default_rng(0).random((3, len(flat)))
    transformer = of(Ours, Placed(flat), discretization, (7, 9), X)
    coords = transformer.coords()
    if discretization in ("bin", "qtb"):
        assert (coords[:, 0] == 3).all() or (coords[:, 1] == 4).all()
        if len(flat) == 20 and np.ptp(flat, axis=0).any():
            assert len(np.unique(coords, axis=0)) > 6  # along the other axis, all pixels are used
    else:
        assert transformer.feature_density_matrix().max() == 1
    assert np.isfinite(transformer.transform(X)).all()


def test_the_smallest_rectangle_is_the_smallest():
    spatial = pytest.importorskip("scipy.spatial", reason="hulls need SciPy")
    for seed in SEEDS:
        points = np.random.default_rng(seed).normal(size=(30, 2))
        hull = points[spatial.ConvexHull(points).vertices]
        angles = np.linspace(0, np.pi / 2, 2000)
        turns = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=1).reshape(-1, 2, 2)
        turned = turns @ hull.T
        corners, rotation = rectangle(hull, smallest=True)
        area = np.prod(np.ptp(rotation @ hull.T, axis=1))
        assert area <= np.prod(np.ptp(turned, axis=2), axis=1).min() * (1 + 1e-12)
        assert area <= np.prod(np.ptp(rectangle(hull)[1] @ hull.T, axis=1))
        sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
        assert sides[0] * sides[1] == pytest.approx(area)


def test_the_rectangle_turns_features_in_both_classes(theirs):
    rng = np.random.default_rng(0)
    X, extractor = rng.random((6, 40)), Placed(rng.normal(size=(40, 2)))
    wanted = of(theirs, extractor, "bin", (9, 9), X)
    for options, same in (({}, True), ({"rectangle": "pyDeepInsight"}, True), ({"rectangle": "smallest"}, False)):
        one = ImageTransformer(extractor, pixels=9, **options).fit(X)
        several = MRepImageTransformer([extractor], pixels=9, **options).fit(X)
        assert np.array_equal(one.coords(), wanted.coords()) == same
        np.testing.assert_array_equal(one.coords(), several._its[0].coords())
    with pytest.raises(InputError, match="rectangle must be one of"):
        MRepImageTransformer([extractor], rectangle="largest")


def test_layout_is_that_of_the_ops_and_sparse_samples_stay_sparse():
    sparse = pytest.importorskip("scipy.sparse", reason="sparse samples need SciPy")
    rng = np.random.default_rng(0)
    X = sparse.random(5, 40, 0.3, format="csc", random_state=0)
    transformer = ImageTransformer(Placed(rng.random((40, 2))), pixels=(6, 8)).fit(X.toarray())
    images = transformer.transform(X, "scalar")
    np.testing.assert_array_equal(images, transformer.transform(X.toarray(), "scalar"))
    np.testing.assert_array_equal(images[:, None], fold(X.tocsr(), transformer.layout))


def test_missing_values_and_integers_and_frames(theirs):
    pandas = pytest.importorskip("pandas", reason="frames need pandas")
    rng = np.random.default_rng(0)
    X = rng.integers(0, 50, size=(4, 30)).astype(float)
    X[1, 3] = np.nan
    extractor = Placed(rng.random((30, 2)))
    wanted = of(theirs, extractor, "bin", (5, 5), X).transform(X, "scalar")
    got = of(Ours, extractor, "bin", 5, X)
    np.testing.assert_allclose(got.transform(X, "scalar"), wanted, rtol=1e-6)
    np.testing.assert_allclose(got.transform(pandas.DataFrame(X), "scalar"), wanted, rtol=1e-6)
    whole = np.nan_to_num(X).astype(np.int16)
    np.testing.assert_array_equal(got.transform(whole, "scalar"), got.transform(whole.astype(float), "scalar"))
    assert got.transform(X[:0]).shape == (0, 5, 5, 3)


def test_images_for_torch_come_back():
    torch = pytest.importorskip("torch", reason="img_format='pytorch' needs torch")
    rng = np.random.default_rng(0)
    X = rng.random((4, 30)).astype(np.float32)
    transformer = ImageTransformer(Placed(rng.random((30, 2))), "lsa", (6, 8)).fit(X)
    images = transformer.transform(X, "pytorch")
    assert images.dtype == torch.float32
    assert images.shape == (4, 3, 6, 8)
    np.testing.assert_array_equal(transformer.inverse_transform(images)[:, 1].numpy(), X)
    images[0, 0] = 7  # memory of its own for each channel
    assert images[0, 1].max() <= 1


def test_plot_draws_into_the_current_axes():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="plots need matplotlib")
    rng = np.random.default_rng(0)
    figure, axes = pyplot.subplots()
    ImageTransformer(Placed(rng.random((30, 2)))).fit(rng.random((3, 30)), plot=True)
    assert (len(axes.collections), len(axes.patches)) == (1, 2)
    pyplot.close(figure)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("collate", ["manifold", "sample", "random"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_several_representations_are_theirs(theirs, kind, collate):
    pytest.importorskip("torch", reason="pyDeepInsight imports torch")
    rng = np.random.default_rng(0)
    X = rng.random((5, 40))
    extractors = [Placed(rng.random((40, 2))), (Placed(rng.random((40, 2))), "qtb")]
    more = [(Placed(rng.random((40, 2))), "lsa")]
    results = []
    for module in (MRepImageTransformer, theirs.MRepImageTransformer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transformer = module(extractors, pixels=(7, 7)).fit(X)
            transformer.extend_fit(more)
        np.random.seed(3)  # noqa: NPY002 -- the generator that pyDeepInsight uses
        if collate == "sample" and module is theirs.MRepImageTransformer:
            # This order raises there: that of samples, after which all images of each sample are put together.
            images = transformer.transform(X, kind)
            results.append((images[np.arange(15).reshape(3, 5).T.reshape(-1)],))
        else:
            results.append(transformer.transform(X, kind, collate=collate, return_index=True))
    got, wanted = results
    assert type(got[0]) is type(wanted[0])
    np.testing.assert_allclose(np.asarray(got[0]), np.asarray(wanted[0]), rtol=0, atol=1e-6)
    for mine, same in zip(got[1:], wanted[1:], strict=False):
        np.testing.assert_array_equal(mine, same)
    if collate == "sample":
        assert got[1].tolist() == [0, 1, 2] * 5
        assert got[2].tolist() == np.repeat(range(5), 3).tolist()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_predictions_of_representations(theirs, reduction):
    rng = np.random.default_rng(0)
    y, index = rng.random(30), rng.permutation(np.repeat(range(10), 3))
    got = MRepImageTransformer.prediction_reduction(y, index, reduction)
    wanted = theirs.MRepImageTransformer.prediction_reduction(y, index, reduction)
    np.testing.assert_array_equal(got, wanted)
    assert MRepImageTransformer.prediction_reduction(rng.random((30, 4)), index, reduction).shape == (10,)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_norm2_is_theirs(theirs, dtype):
    from pyDeepInsight.utils import Norm2Scaler as Theirs

    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        X = (rng.normal(size=(9, 20)) * 5 + rng.choice([0, 20])).astype(dtype)
        new = X + (rng.random(X.shape) * 0.9).astype(dtype)
        got, wanted = Norm2Scaler(), Theirs()
        np.testing.assert_array_equal(got.fit_transform(X), wanted.fit_transform(X))
        np.testing.assert_array_equal(got.fit(X).transform(new), wanted.fit(X).transform(new))
        assert got.transform(new).dtype == wanted.transform(new).dtype


def test_norm2_has_a_value_for_all():
    scaler = Norm2Scaler().fit(np.zeros((3, 2)))
    assert scaler.transform(np.zeros((1, 2))).tolist() == [[0.0, 0.0]]
    scaler = Norm2Scaler().fit(np.array([[1.0], [5.0]]))
    assert scaler.transform(np.array([[-9.0], [-2.5], [99.0]])).ravel().tolist() == [0.0, 0.0, 1.0]


SAMPLES = np.random.default_rng(0).random((4, 12))
PLACES = np.random.default_rng(1).random((12, 2))
FITTED = ImageTransformer(Placed(PLACES), pixels=(3, 5)).fit(SAMPLES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ImageTransformer("umap"), "feature_extractor must be one of tsne, pca, kpca, got 'umap'"),
        (lambda: ImageTransformer("pca", "bins"), "discretization must be one of bin, qtb, lsa"),
        (lambda: ImageTransformer("pca", pixels=0), "pixels must be a positive integer or (height, width)"),
        (lambda: ImageTransformer("pca", pixels=(3, 2.5)), "pixels must be a positive integer or (height, width)"),
        (lambda: ImageTransformer("pca", pixels=(3, 2, 1)), "pixels must be a positive integer or (height, width)"),
        (lambda: setattr(FITTED, "pixels", "big"), "pixels must be a positive integer or (height, width)"),
        (lambda: ImageTransformer("pca").transform(SAMPLES), "transform: the transformer is not fitted"),
        (lambda: ImageTransformer("pca").coords(), "coords: the transformer is not fitted"),
        (lambda: ImageTransformer("pca").fit(SAMPLES[0]), "X must have the shape (n_samples, n_features), got (12,)"),
        (lambda: ImageTransformer(Placed(PLACES[:, :1])).fit(SAMPLES), "two numbers for each of the 12 features"),
        (lambda: ImageTransformer(Placed(PLACES * np.nan)).fit(SAMPLES), "finite numbers, got [nan nan] for feature 0"),
        (lambda: FITTED.transform(SAMPLES[:, :5]), "X must have the shape (n_samples, 12), got (4, 5)"),
        (lambda: FITTED.transform(SAMPLES[0]), "X must have the shape (n_samples, 12), got (12,)"),
        (lambda: FITTED.transform([["a"] * 12]), "X must hold numbers"),
        (lambda: FITTED.transform(SAMPLES, "png"), "img_format must be one of scalar, rgb, pytorch, got 'png'"),
        (lambda: FITTED.inverse_transform(np.zeros((4, 5, 3))), "img must have the shape (n, 3, 5, channels)"),
        (lambda: FITTED.transform(SAMPLES * 1j), "X must hold real numbers, got complex128"),
        (lambda: FITTED.transform(SAMPLES, empty_value="x"), "empty_value must be a number, got 'x'"),
        (lambda: MRepImageTransformer([("pca", "bin", 3)]), "feature_extractor must be extractors or pairs"),
        (lambda: MRepImageTransformer([]), "feature_extractor must hold one or more, got none"),
        (lambda: MRepImageTransformer(["pca"]).extend_fit(["pca"]), "extend_fit: the transformer is not fitted"),
        (lambda: MRepImageTransformer(["pca"]).transform(SAMPLES), "transform: the transformer is not fitted"),
        (lambda: MRepImageTransformer(["pca"]).transform(SAMPLES, collate="x"), "collate must be one of manifold"),
        (lambda: MRepImageTransformer.prediction_reduction([1.0], [0, 1]), "one entry for each of the 1 predictions"),
        (lambda: MRepImageTransformer.prediction_reduction([1.0], [0], "max"), "reduction must be one of mean, sum"),
        (lambda: Norm2Scaler().transform(SAMPLES), "the scaler is not fitted"),
        (lambda: Norm2Scaler().fit(SAMPLES[0]), "X must be two-dimensional"),
        (lambda: Norm2Scaler().fit(SAMPLES[:0]), "X must have a sample and a feature or more"),
        (lambda: Norm2Scaler().fit(SAMPLES * np.nan), "X must hold no NaN, got it in feature 0"),
        (lambda: Norm2Scaler().fit(SAMPLES).transform(SAMPLES[:, 1:]), "X must have 12 features, got 11"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("extractor", [object(), 3, Placed])
def test_an_extractor_must_extract(extractor):
    with pytest.raises(TypeError, match="must be 'tsne', 'pca', 'kpca' or an object with fit_transform"):
        ImageTransformer(extractor)
