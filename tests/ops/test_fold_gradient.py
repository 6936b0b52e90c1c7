"""The gradient of fold against its reference, and the reference against torch's autograd of the literal formula."""

from __future__ import annotations

import numpy as np
import pytest

from pixfold import _core
from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import reference
from pixfold.ops.gradients import fold_gradient

FLOATS = ["float32", "float64", "float16"]
EDGES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000]
# Every part of the formula: limits on either side, both logarithms, rows with and without a sum, lifts.
NORMALIZERS = {
    "none": lambda: Normalizer("none"),
    "log1p": lambda: Normalizer("log1p"),
    "minmax": lambda: Normalizer("minmax"),
    "log1p-minmax": lambda: Normalizer("log1p-minmax"),
    "norm2": lambda: Normalizer("norm2"),
    "cp10k-log1p": lambda: Normalizer("cp10k-log1p"),
    "log1p-zscore": lambda: Normalizer("log1p-zscore"),
    "zscore, clip": lambda: Normalizer("zscore", clip=(-0.45, 0.7)),
    "log1p-zscore, one limit": lambda: Normalizer("log1p-zscore", clip=(-np.inf, 0.5)),
    "library size, zscore": lambda: Normalizer(library_size=1e3, log=True, scale="zscore"),
    "library size, no log, clip": lambda: Normalizer(library_size=50.0, log=False, scale="minmax", clip=(0.1, 0.9)),
}


def fitted(name, x):
    """A normaliser that learned from part of the range, so that its limits clip some of the samples."""
    return NORMALIZERS[name]().fit(np.asarray(x, dtype=np.float64) * 0.7)


def arriving(n, layout, dtype="float32", seed=5):
    return np.random.default_rng(seed).normal(size=(n, *layout.shape)).astype(dtype)


def assert_gradient(found, gradient, x, layout, normalizer=None):
    """Compare with the reference, within the derived bound of the kernel's roundings."""
    expected = reference.fold_gradient(gradient, x, layout, normalizer)
    bound = reference.fold_gradient_bound(gradient, x, layout, normalizer)
    assert found.dtype == x.dtype
    assert found.shape == expected.shape
    error = np.abs(found.astype(np.float64) - expected)
    worst = np.unravel_index(np.argmax(error - bound), error.shape) if error.size else 0
    assert np.all(error <= bound), (
        f"{worst}: {found[worst]!r} for {expected[worst]!r}, error {error[worst]:.3g}, bound {bound[worst]:.3g}"
    )


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_layouts_and_normalizers(isa, make_layout, make_samples, name, kind, dtype):
    layout, x = make_layout(kind, 300), make_samples(5, 300, dtype)
    normalizer, gradient = fitted(name, x), arriving(5, layout)
    assert_gradient(fold_gradient(gradient, x, layout, normalizer), gradient, x, layout, normalizer)


@pytest.mark.parametrize("dtype", FLOATS)
def test_without_a_normalizer(isa, make_layout, make_samples, kind, dtype):
    layout, x = make_layout(kind, 83), make_samples(4, 83, dtype)
    x[1, 3] = np.nan  # moved like any other
    gradient = arriving(4, layout)
    found = fold_gradient(gradient, x, layout)
    assert_gradient(found, gradient, x, layout)
    if layout.is_one_to_one:
        np.testing.assert_array_equal(found, reference.unfold(gradient, layout).astype(dtype))


@pytest.mark.parametrize("n_features", EDGES)
@pytest.mark.parametrize("kind", ["natural", "shuffled", "many", "keep"])
@pytest.mark.parametrize("name", ["log1p-minmax", "library size, zscore"])
def test_sizes(isa, make_layout, make_samples, n_features, kind, name):
    layout = make_layout(kind, n_features)
    for n in (1, 2, 17):
        x = make_samples(n, n_features, seed=n)
        normalizer, gradient = fitted(name, x), arriving(n, layout)
        assert_gradient(fold_gradient(gradient, x, layout, normalizer), gradient, x, layout, normalizer)


@pytest.mark.parametrize("storage", ["Fortran", "every second row", "every third column", "columns reversed"])
@pytest.mark.parametrize("name", ["log1p-minmax", "library size, zscore"])
def test_storages(isa, make_layout, make_samples, storage, name):
    layout, x = make_layout("shuffled", 70), make_samples(9, 70, "float32", storage)
    normalizer, gradient = fitted(name, x), arriving(9, layout)
    found = fold_gradient(gradient, x, layout, normalizer)
    np.testing.assert_array_equal(found, fold_gradient(gradient, np.ascontiguousarray(x), layout, normalizer))
    assert_gradient(found, gradient, x, layout, normalizer)


@pytest.mark.parametrize("name", ["log1p-minmax", "library size, zscore"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients_of_half_precision_are_read_exactly(isa, make_layout, make_samples, name, dtype):
    layout, x = make_layout("many", 83), make_samples(4, 83, dtype)
    normalizer, gradient = fitted(name, x), arriving(4, layout, "float16")
    found = fold_gradient(gradient, x, layout, normalizer)
    np.testing.assert_array_equal(found, fold_gradient(gradient.astype(np.float32), x, layout, normalizer))


@pytest.mark.parametrize("name", ["log1p-minmax", "library size, zscore"])
def test_bfloat16(isa, make_layout, make_samples, name):
    """bfloat16 is computed as the float32 of the same value is, and rounded once."""
    torch = pytest.importorskip("torch")
    layout = make_layout("many", 83)
    x = torch.from_numpy(make_samples(4, 83)).bfloat16()
    normalizer, gradient = fitted(name, x.float().numpy()), torch.from_numpy(arriving(4, layout)).bfloat16()
    found = fold_gradient(gradient, x, layout, normalizer)
    assert found.dtype == torch.bfloat16
    wide = fold_gradient(gradient.float(), x.float(), layout, normalizer)
    assert torch.equal(found, wide.bfloat16())


@pytest.mark.parametrize("missing", ["zero", "mean"])
@pytest.mark.parametrize("name", ["log1p-minmax", "library size, zscore"])
def test_missing_values_get_0(isa, make_layout, make_samples, missing, name):
    layout, x = make_layout("shuffled keep", 83), make_samples(6, 83)
    x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    x[0] = np.nan
    normalizer = NORMALIZERS[name]().with_options(missing=missing).fit(x)
    gradient = arriving(6, layout)
    found = fold_gradient(gradient, x, layout, normalizer)
    assert not found[np.isnan(x)].any()
    assert_gradient(found, gradient, x, layout, normalizer)


@pytest.mark.parametrize("kind", ["natural", "shuffled", "many"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_values_below_the_training_minimum_get_0(isa, make_layout, make_samples, kind, dtype):
    layout, x = make_layout(kind, 83), make_samples(6, 83, dtype) - np.asarray(20, dtype)
    normalizer = Normalizer("log1p", negative="shift").fit(x)
    lower = x - np.asarray(5, dtype)
    gradient = arriving(6, layout)
    found = fold_gradient(gradient, lower, layout, normalizer)
    lifted = lower.astype(np.float64) + normalizer.parameters().offset
    assert (lifted < -0.1).any()
    assert not found[lifted < -0.1].any()
    assert found[lifted > 0.1].all()
    assert_gradient(found, gradient, lower, layout, normalizer)


def test_a_limit_itself_still_moves(isa):
    layout = Layout.natural(4)
    normalizer = Normalizer("minmax").fit(np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]))
    x = np.array([[0.0, 1.0, -0.25, 1.25]])
    ones = np.ones((1, *layout.shape), np.float32)
    np.testing.assert_array_equal(fold_gradient(ones, x, layout, normalizer), [[1.0, 1.0, 0.0, 0.0]])


def test_a_constant_feature_gets_0_even_of_an_infinite_value(isa):
    layout = Layout.natural(3)
    normalizer = Normalizer("zscore").fit(np.array([[1.0, 2.0, 3.0], [1.0, 4.0, 5.0]]))
    x = np.array([[np.inf, np.inf, 4.0], [1.0, 3.0, -np.inf]])
    found = fold_gradient(np.ones((2, *layout.shape), np.float32), x, layout, normalizer)
    np.testing.assert_array_equal(found, [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])


def test_a_sample_without_a_sum_gets_0(isa, make_layout):
    layout = make_layout("shuffled", 40)
    x = np.ones((3, 40), np.float32)
    x[1] = 0.0
    normalizer = Normalizer("cp10k-log1p").fit(x)
    found = fold_gradient(arriving(3, layout), x, layout, normalizer)
    assert not found[1].any()
    assert found[0].any()


def test_dropped_features_move_the_sum_alone(isa):
    """Worked out by hand: r = 8 / 8, so each of the three moves the others' pixels by -x_0 r / 8 and -x_1 r / 8."""
    layout = Layout.from_index([0, 1, -1], shape=(1, 2))
    normalizer = Normalizer(library_size=8.0).fit(np.ones((1, 3)))
    x = np.array([[1.0, 3.0, 4.0]])
    gradient = np.array([[[[2.0, 4.0]]]], np.float32)
    common = (2.0 * 1.0 + 4.0 * 3.0) / 8.0
    np.testing.assert_array_equal(
        fold_gradient(gradient, x, layout, normalizer), [[2.0 - common, 4.0 - common, -common]]
    )


def test_a_shared_pixel_passes_each_feature_its_share(isa):
    layout = Layout.from_coordinates([0, 0, 0, 1], [0, 0, 0, 1], (2, 2))
    gradient = np.array([[[[6.0, 100.0], [100.0, 5.0]]]], np.float32)
    np.testing.assert_array_equal(fold_gradient(gradient, np.ones((1, 4)), layout), [[2.0, 2.0, 2.0, 5.0]])


@pytest.mark.parametrize("name", ["log1p-minmax", "library size, zscore"])
@pytest.mark.parametrize("kind", ["shuffled", "many", "keep"])
def test_threads_give_the_same_bits(isa, make_layout, make_samples, name, kind):
    layout, x = make_layout(kind, 40_000), make_samples(7, 40_000)
    normalizer, gradient = fitted(name, x), arriving(7, layout)
    one = fold_gradient(gradient, x, layout, normalizer, threads=1)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(fold_gradient(gradient, x, layout, normalizer, threads=threads), one)


def test_no_samples(make_layout):
    layout = make_layout("keep", 20)
    for normalizer in (None, Normalizer("cp10k-log1p").fit(np.ones((2, 20)))):
        x = np.zeros((0, 20), np.float32)
        assert fold_gradient(arriving(0, layout), x, layout, normalizer).shape == (0, 20)


def clipped(torch, y, lo, hi):
    """Clip so that a value that equals a limit is itself, and moves: torch.clamp says otherwise in some versions."""
    low, high = torch.tensor(lo).to(y), torch.tensor(hi).to(y)
    return torch.where(y < low, low, torch.where(y > high, high, y))


def test_a_layout_that_drops_everything(isa):
    layout = Layout.from_index([-1, -1, -1], shape=(2, 2))
    x = np.ones((2, 3), np.float32)
    for normalizer in (None, Normalizer("log1p").fit(x), Normalizer("cp10k-log1p").fit(x)):
        np.testing.assert_array_equal(fold_gradient(arriving(2, layout), x, layout, normalizer), np.zeros((2, 3)))


def literal(torch, x, layout, normalizer):
    """fold's formula in torch's own functions, from which autograd takes its gradient."""
    p = normalizer.parameters()
    missing = torch.isnan(x)
    known = torch.where(missing, torch.zeros(()).to(x), x)
    a = known + torch.from_numpy(p.offset)
    if p.library_size is not None:
        a = a * (p.library_size / known.sum(1, keepdim=True))
    a = clipped(torch, a, 0.0, np.inf) if p.clip_below_zero else a
    y = ((torch.log1p(a) if p.log else a) - torch.from_numpy(p.shift)) * torch.from_numpy(p.scale)
    y = torch.where(missing, torch.from_numpy(p.fill), clipped(torch, y, p.lo, p.hi))
    placed = np.flatnonzero(layout.pixel_of_feature >= 0)
    pixel = torch.from_numpy(layout.pixel_of_feature[placed])
    images = torch.zeros(x.shape[0], layout.n_pixels, dtype=x.dtype).index_add(1, pixel, y[:, torch.from_numpy(placed)])
    return (images / torch.from_numpy(np.maximum(layout.features_per_pixel, 1))).reshape(-1, *layout.shape)


@pytest.mark.parametrize("name", [*NORMALIZERS, "shift", "missing"])
@pytest.mark.parametrize("kind", ["natural", "channels", "many", "keep"])
def test_autograd_of_the_literal_formula_agrees(make_layout, make_samples, name, kind):
    """Both are float64 evaluations of one gradient, so they differ by twice what one may be off at most."""
    torch = pytest.importorskip("torch")
    layout, x = make_layout(kind, 120), make_samples(6, 120, "float64")
    if name == "shift":
        x = x - 10.0
        normalizer = Normalizer("log1p-minmax", negative="shift").fit(x * 0.7)
    elif name == "missing":
        x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
        normalizer = Normalizer("cp10k-log1p", missing="mean").fit(x)
    else:
        normalizer = fitted(name, x)
    gradient = arriving(6, layout)
    leaf = torch.from_numpy(x).requires_grad_()
    literal(torch, leaf, layout, normalizer).backward(torch.from_numpy(gradient).double())
    expected = leaf.grad.numpy()
    bound = reference.fold_gradient_bound(gradient, x, layout, normalizer)
    assert np.all(np.abs(reference.fold_gradient(gradient, x, layout, normalizer) - expected) <= 2.0 * bound)
    assert np.all(np.abs(fold_gradient(gradient, x, layout, normalizer) - expected) <= 2.0 * bound)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_bound_is_not_generous(make_layout, make_samples, name):
    """Nearly every value is held to some millionths of its parts: a wrong term could not hide."""
    layout, x = make_layout("shuffled", 300), make_samples(5, 300)
    normalizer, gradient = fitted(name, x), arriving(5, layout)
    expected = np.abs(reference.fold_gradient(gradient, x, layout, normalizer))
    bound = reference.fold_gradient_bound(gradient, x, layout, normalizer)
    assert np.mean(bound <= 4e-6 * expected.mean()) > 0.9
    assert np.mean(bound <= 4e-5 * expected.mean()) > 0.99


class TestRefused:
    LAYOUT = Layout.natural(4)

    @pytest.mark.parametrize(
        ("gradient", "x", "words"),
        [
            (np.ones((2, 1, 2, 2), np.float32), np.ones((2, 5)), r"X must have shape \(n_samples, 4\), got \(2, 5\)"),
            (np.ones((2, 1, 2, 2), np.float32), np.ones(4), r"X must have shape \(n_samples, 4\), got \(4,\)"),
            (np.ones((2, 2, 2), np.float32), np.ones((2, 4)), r"gradient must have shape \(2, 1, 2, 2\) .*got \(2, 2"),
            (np.ones((3, 1, 2, 2), np.float32), np.ones((2, 4)), r"gradient must have shape \(2, 1, 2, 2\) .*got \(3"),
            (np.ones((2, 1, 2, 2)), np.ones((2, 4)), r"gradient must be float32, float16 or bfloat16, got float64"),
            (np.ones((2, 1, 2, 2), np.int8), np.ones((2, 4)), r"gradient must be float32.*got int8"),
            (np.ones((2, 1, 2, 2), np.float32), np.ones((2, 4), np.int16), r"X must be float32.*got int16"),
        ],
    )
    def test_arrays(self, gradient, x, words):
        with pytest.raises(InputError, match=words) as caught:
            fold_gradient(gradient, x, self.LAYOUT)
        assert str(caught.value).startswith("fold_gradient: ")

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("out", np.ones((2, 4), np.float64)),
            ("out", np.ones((2, 5), np.float32)),
            ("out", np.ones((4, 2), np.float32).T),
            ("out", np.ones((2, 4), "V0")),
            ("gradient", np.ones((2, 5), np.float32)),
            ("gradient", np.ones((4, 2), np.float32).T),
            ("x", np.ones((2, 5), np.float32)),
            ("row_scale", np.ones(3)),
            ("row_scale", np.ones(2, np.float32)),
        ],
    )
    def test_no_call_of_the_module_goes_outside_an_array(self, argument, value):
        fill = np.zeros(4, np.float32)
        arguments = {
            "x": np.ones((2, 4), np.float32),
            "slots": self.LAYOUT.slots,
            "parameters": _core.Parameters(True, False, None, None, None, fill, 0.0, 1.0),
            "row_scale": np.ones(2),
            "library_size": 4.0,
            "gradient": np.ones((2, 4), np.float32),
            "out": np.ones((2, 4), np.float32),
            "threads": 1,
        }
        _core.fold_gradient(**arguments)
        with pytest.raises(InputError, match="fold_gradient: "):
            _core.fold_gradient(**{**arguments, argument: value})
