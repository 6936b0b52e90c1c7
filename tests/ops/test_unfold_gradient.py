"""The gradient of unfold against its reference: a move, or a sum in float64 that is rounded once."""

from __future__ import annotations

import numpy as np
import pytest

from pixfold import _core
from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.ops import reference
from pixfold.ops.gradients import unfold_gradient


def arriving(n, n_features, dtype="float32"):
    return (np.random.default_rng(n).normal(size=(n, n_features)) * 40).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_layouts_and_dtypes(isa, make_layout, kind, dtype):
    layout = make_layout(kind, 83)
    gradient = arriving(5, 83, dtype)
    found = unfold_gradient(gradient, layout)
    assert found.dtype == gradient.dtype
    # The reference adds in the same order and in float64, so the bits are the same.
    np.testing.assert_array_equal(found, reference.unfold_gradient(gradient, layout).astype(dtype))


@pytest.mark.parametrize("n_features", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 18_225])
@pytest.mark.parametrize("kind", ["shuffled", "many"])
def test_sizes(isa, make_layout, n_features, kind):
    layout = make_layout(kind, n_features)
    for n in (0, 1, 3):
        gradient = arriving(n, n_features)
        expected = reference.unfold_gradient(gradient, layout).astype(np.float32)
        np.testing.assert_array_equal(unfold_gradient(gradient, layout, threads=1), expected)
        np.testing.assert_array_equal(unfold_gradient(gradient, layout, threads=3), expected)


def test_bfloat16(isa, make_layout):
    torch = pytest.importorskip("torch")
    layout = make_layout("many", 83)
    gradient = torch.from_numpy(arriving(4, 83)).bfloat16()
    found = unfold_gradient(gradient, layout)
    assert found.dtype == torch.bfloat16
    # Sums of few bfloat16 of one size are exact in float64, and so is the rounding from there.
    expected = torch.from_numpy(reference.unfold_gradient(gradient.double().numpy(), layout))
    assert torch.equal(found, expected.bfloat16())


@pytest.mark.parametrize(
    ("gradient", "words"),
    [
        (np.ones((2, 5)), r"gradient must have shape \(n_samples, 4\), got \(2, 5\)"),
        (np.ones(4), r"gradient must have shape \(n_samples, 4\), got \(4,\)"),
        (np.ones((2, 4), np.int32), r"gradient must be float32.*got int32"),
    ],
)
def test_refused(gradient, words):
    with pytest.raises(InputError, match="unfold_gradient: " + words):
        unfold_gradient(gradient, Layout.natural(4))


@pytest.mark.parametrize(
    "out", [np.ones((2, 4)), np.ones((2, 5), np.float32), np.ones((4, 2), np.float32).T, np.ones((2, 4), "V0")]
)
def test_no_call_of_the_module_goes_outside_an_array(out):
    with pytest.raises(InputError, match="unfold_gradient: out"):
        _core.unfold_gradient(np.ones((2, 4), np.float32), Layout.natural(4).slots, out, 1)
