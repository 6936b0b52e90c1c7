"""unfold against its reference: bit by bit, it moves values only."""

from __future__ import annotations

import numpy as np
import pytest

from pixfold.layout import Layout
from pixfold.ops import fold, reference, unfold


def images_of(layout, n, dtype="float32"):
    rng = np.random.default_rng(n)
    return (rng.normal(size=(n, *layout.shape)) * 40).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int64"])
def test_layouts_and_dtypes(isa, make_layout, kind, dtype):
    layout = make_layout(kind, 83)
    images = images_of(layout, 5, dtype)
    values = unfold(images, layout)
    assert values.dtype == images.dtype
    np.testing.assert_array_equal(values, reference.unfold(images, layout))


@pytest.mark.parametrize("n_features", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 18_225])
def test_sizes(isa, make_layout, n_features):
    layout = make_layout("shuffled", n_features)
    for n in (1, 2, 3, 17):
        images = images_of(layout, n)
        np.testing.assert_array_equal(unfold(images, layout), reference.unfold(images, layout))


def test_inverse_of_fold(isa, make_layout, make_samples, kind):
    layout = make_layout(kind, 83)
    x = make_samples(4, 83)
    back = unfold(fold(x, layout), layout)
    if layout.is_one_to_one:
        placed = layout.pixel_of_feature >= 0
        np.testing.assert_array_equal(back[:, placed], x[:, placed])
        np.testing.assert_array_equal(back[:, ~placed], 0.0)
    else:
        # The mean of a pixel is what each of its features gets back, so folding that once more changes
        # nothing beyond the rounding of the mean of equal values: half an ulp.
        again = fold(back, layout)
        np.testing.assert_array_max_ulp(again, fold(x, layout), maxulp=1)


def test_no_samples(make_layout):
    layout = make_layout("shuffled", 20)
    assert unfold(np.zeros((0, *layout.shape), np.float32), layout).shape == (0, 20)


def test_bits_of_special_values_pass(isa):
    bits = np.array([0x7FC00001, 0xFF800000, 0x80000000, 1, 0x7F800000] * 13, np.uint32)
    layout = Layout.shuffled(65, seed=2)
    flat = np.zeros(layout.n_pixels, np.uint32)
    flat[layout.pixel_of_feature] = bits
    values = unfold(flat.view(np.float32).reshape(1, *layout.shape), layout)
    np.testing.assert_array_equal(values.view(np.uint32)[0], bits)


def test_strided_images(isa, make_layout):
    layout = make_layout("shuffled", 50)
    images = images_of(layout, 6)
    expected = reference.unfold(images, layout)
    np.testing.assert_array_equal(unfold(np.asfortranarray(images), layout), expected)
    np.testing.assert_array_equal(unfold(images[::2], layout), expected[::2])
    np.testing.assert_array_equal(unfold(images[::-1], layout), expected[::-1])


def test_threads_give_the_same(isa, make_layout):
    layout = make_layout("shuffled", 3_000)
    images = images_of(layout, 40)
    np.testing.assert_array_equal(unfold(images, layout, threads=1), unfold(images, layout, threads=2))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_torch(make_layout, dtype):
    torch = pytest.importorskip("torch")
    layout = make_layout("shuffled keep", 50)
    images = torch.from_numpy(images_of(layout, 4)).to(getattr(torch, dtype))
    values = unfold(images, layout)
    assert isinstance(values, torch.Tensor)
    assert values.dtype == images.dtype
    np.testing.assert_array_equal(values.double().numpy(), reference.unfold(images.double().numpy(), layout))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.ones((2, 1, 4, 5), np.float32), r"(?s)\(.*1, 4, 4\).*\(2, 1, 4, 5\)"),
        (np.ones((2, 2, 4, 4), np.float32), r"(?s)\(.*1, 4, 4\).*\(2, 2, 4, 4\)"),
        (np.ones((2, 4, 4), np.float32), r"(?s)\(.*1, 4, 4\).*\(2, 4, 4\)"),
        (np.ones((2, 16), np.float32), r"(?s)\(.*1, 4, 4\).*\(2, 16\)"),
        (np.ones((2, 1, 4, 4), object), r"(?s)object"),
        (np.ones((2, 1, 4, 4), np.complex128), r"(?s)complex128"),
    ],
)
def test_refused(images, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        unfold(images, Layout.natural(16))
    assert "unfold" in str(caught.value)
    assert "images" in str(caught.value)
