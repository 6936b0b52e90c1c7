"""Layout: where every feature goes, and that it can always be brought back."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.ops import fold


def assert_consistent(layout, n):
    """Check what every layout promises, whatever built it."""
    channels, height, width = layout.shape
    assert (layout.channels, layout.height, layout.width) == (channels, height, width)
    assert layout.n_features == n
    assert layout.n_pixels == channels * height * width
    assert layout.pixel_of_feature.dtype == layout.feature_of_pixel.dtype == np.int64
    assert layout.pixel_of_feature.shape == (n,)
    assert layout.feature_of_pixel.shape == (layout.n_pixels,)
    placed = np.flatnonzero(layout.pixel_of_feature >= 0)
    pixels = layout.pixel_of_feature[placed]
    assert np.all(pixels < layout.n_pixels)
    # feature_of_pixel is the first feature of each pixel, -1 where there is none.
    expected = np.full(layout.n_pixels, -1)
    expected[pixels[::-1]] = placed[::-1]
    np.testing.assert_array_equal(layout.feature_of_pixel, expected)
    assert layout.is_one_to_one == (len(np.unique(pixels)) == len(pixels))


def assert_same(one, other):
    assert one.shape == other.shape
    assert one.n_features == other.n_features
    np.testing.assert_array_equal(one.pixel_of_feature, other.pixel_of_feature)
    np.testing.assert_array_equal(one.feature_of_pixel, other.feature_of_pixel)


@pytest.mark.parametrize(
    ("n", "side"),
    [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4), (18_225, 135), (18_226, 136), (19_319, 139)],
)
def test_default_shape_is_the_smallest_square(n, side):
    for layout in (Layout.natural(n), Layout.shuffled(n, seed=1)):
        assert layout.shape == (1, side, side)
        assert_consistent(layout, n)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 12, 13, 27, 28, 3 * 135 * 135])
def test_default_shape_with_channels(n):
    layout = Layout.natural(n, channels=3)
    channels, height, width = layout.shape
    assert channels == 3
    assert height == width
    assert 3 * height * width >= n > 3 * (height - 1) * (width - 1)


def test_natural_is_row_by_row():
    layout = Layout.natural(5, shape=(2, 4))
    np.testing.assert_array_equal(layout.pixel_of_feature, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(layout.feature_of_pixel, [0, 1, 2, 3, 4, -1, -1, -1])
    assert layout.is_one_to_one
    with_channels = Layout.natural(5, shape=(2, 2, 3))
    assert with_channels.shape == (2, 2, 3)
    assert_consistent(with_channels, 5)


def test_shuffled_permutes_all_features():
    layout = Layout.shuffled(500, seed=3)
    assert_consistent(layout, 500)
    assert layout.is_one_to_one
    np.testing.assert_array_equal(np.sort(layout.pixel_of_feature), np.arange(500))


def test_seeds():
    # The global generator has no part in it, and is left where it was.
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert_same(Layout.shuffled(300, seed=5), Layout.shuffled(300, seed=np.int64(5)))
    assert_same(Layout.shuffled(300), Layout.shuffled(300, seed=0))
    assert np.any(Layout.shuffled(300, seed=5).pixel_of_feature != Layout.shuffled(300, seed=6).pixel_of_feature)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_arrangements_are_uniform():
    # 4 features, 24 arrangements, 2,400 seeds: chi-square with 23 degrees of freedom is below 65 but for 1e-5
    # of cases.
    seen = [tuple(Layout.shuffled(4, seed=seed).pixel_of_feature) for seed in range(2_400)]
    counts = np.unique(seen, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert np.sum((counts - 100) ** 2 / 100) < 65


@pytest.mark.parametrize("build", [Layout.natural, Layout.shuffled])
def test_dropped_features_take_no_room(build):
    keep = np.array([True, False, True, True, False, True, True])
    layout = build(7, keep=keep)
    assert layout.shape == (1, 3, 3)
    assert_consistent(layout, 7)
    np.testing.assert_array_equal(layout.pixel_of_feature >= 0, keep)
    np.testing.assert_array_equal(np.sort(layout.pixel_of_feature[keep]), np.arange(5))
    assert layout.is_one_to_one


def test_natural_keeps_the_order_of_what_is_kept():
    layout = Layout.natural(5, keep=np.array([True, False, True, False, True]))
    np.testing.assert_array_equal(layout.pixel_of_feature, [0, -1, 1, -1, 2])


@pytest.mark.parametrize(
    ("index", "shape", "feature_of_pixel"),
    [([7, 0, 3], (2, 4), [1, -1, -1, 2, -1, -1, -1, 0]), ([2, -1, 0, -1], (2, 2), [2, -1, 0, -1])],
)
def test_from_index(index, shape, feature_of_pixel):
    layout = Layout.from_index(index, shape=shape)
    np.testing.assert_array_equal(layout.pixel_of_feature, index)
    np.testing.assert_array_equal(layout.feature_of_pixel, feature_of_pixel)
    assert layout.is_one_to_one
    assert_consistent(layout, len(index))


def test_from_index_of_a_permutation_has_the_default_shape():
    index = np.random.default_rng(0).permutation(50)
    layout = Layout.from_index(index)
    assert layout.shape == (1, 8, 8)
    np.testing.assert_array_equal(layout.pixel_of_feature, index)


def test_from_coordinates():
    layout = Layout.from_coordinates([0, 1, 1, 0], [2, 0, 0, 2], (2, 3))
    assert layout.shape == (1, 2, 3)
    np.testing.assert_array_equal(layout.pixel_of_feature, [2, 3, 3, 2])
    np.testing.assert_array_equal(layout.feature_of_pixel, [-1, -1, 0, 1, -1, -1])
    assert not layout.is_one_to_one
    assert_consistent(layout, 4)
    assert Layout.from_coordinates(np.array([0, 1]), np.array([1, 0]), (2, 2)).is_one_to_one


def test_stacked_puts_channels_on_each_other_and_pads():
    first = Layout.natural(6, shape=(2, 3), keep=np.array([1, 1, 0, 1, 1, 1], dtype=bool))
    shared = Layout.from_coordinates([0, 2, 0], [1, 0, 1], (3, 2))
    two = Layout.shuffled(7, seed=3, channels=2)
    stacked = Layout.stacked([first, shared, two])
    assert stacked.shape == (4, 3, 3)
    images = fold(np.arange(1, 17, dtype=np.float32).reshape(1, 16), stacked)[0]
    np.testing.assert_array_equal(images[0], [[1, 2, 4], [5, 6, 0], [0, 0, 0]])
    np.testing.assert_array_equal(images[1], [[0, 8, 0], [0, 0, 0], [8, 0, 0]])  # the mean of 7 and 9
    np.testing.assert_array_equal(images[2:, :2, :2], fold(np.arange(10, 17, dtype=np.float32).reshape(1, 7), two)[0])
    assert not images[2:, 2].any()
    assert not images[2:, :, 2].any()


def test_stacked_of_one_is_that_one():
    for layout in (Layout.natural(7, channels=2), Layout.from_index([3, -1, 0])):
        assert Layout.stacked([layout]) == layout


def test_stacked_keeps_one_to_one():
    layouts = [Layout.shuffled(n, seed=n, channels=1 + n % 3) for n in range(1, 12)]
    stacked = Layout.stacked(layouts)
    assert stacked.is_one_to_one
    assert stacked.n_features == sum(range(1, 12))


LAYOUTS = {
    "natural": lambda: Layout.natural(40),
    "shuffled": lambda: Layout.shuffled(40, seed=9, channels=2),
    "kept": lambda: Layout.shuffled(40, seed=9, keep=np.arange(40) % 3 > 0),
    "index": lambda: Layout.from_index(np.arange(40)[::-1] + 9, shape=(7, 9)),
    "many": lambda: Layout.from_coordinates(np.arange(40) % 3, np.arange(40) % 4, (4, 4)),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_save_load_and_state(tmp_path, kind):
    layout = LAYOUTS[kind]()
    path = tmp_path / "layout.npz"
    layout.save(path)
    assert_same(Layout.load(path), layout)
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)
    state = {name: value.copy() for name, value in layout.state().items()}
    again = Layout.from_state(state)
    for value in state.values():
        value[...] = 0  # the layout has copies
    assert_same(again, layout)
    assert again.is_one_to_one == layout.is_one_to_one


@pytest.mark.parametrize("kind", LAYOUTS)
def test_immutable(kind):
    layout = LAYOUTS[kind]()
    for name in ("pixel_of_feature", "feature_of_pixel"):
        array = getattr(layout, name)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
        with pytest.raises((AttributeError, TypeError)):
            setattr(layout, name, array.copy())
    with pytest.raises((AttributeError, TypeError)):
        layout.shape = (1, 1, 1)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_copies(kind):
    layout = LAYOUTS[kind]()
    for other in (copy.deepcopy(layout), pickle.loads(pickle.dumps(layout))):
        assert_same(other, layout)
        assert other == layout


def test_does_not_alias_its_input():
    index = np.arange(4)
    layout = Layout.from_index(index)
    index[:] = 0
    np.testing.assert_array_equal(layout.pixel_of_feature, [0, 1, 2, 3])
    assert index.flags.writeable


def test_a_million_features():
    layout = Layout.shuffled(1_000_000, seed=2)
    assert layout.shape == (1, 1_000, 1_000)
    assert_consistent(layout, 1_000_000)


RAGGED = [[0], [1, 2]]
SIZES = "(height, width) or (channels, height, width) of positive integers"
PLACED = {"from_index": {"index": [0]}, "from_coordinates": {"rows": [0], "columns": [0]}}
NOT_POSITIVE = (0, -3, True, 2.0, "4", None)
NO_SHAPES = ((0, -2, 2), (4,), (1, 1, 2, 2), 5, "ab", (True, 4, 4), (1.0, 4, 4))
REFUSED = [
    *(
        (name, {"n_features": n}, f"n_features must be a positive integer, got {n!r}")
        for name in ("natural", "shuffled")
        for n in NOT_POSITIVE
    ),
    *(
        (
            name,
            {**PLACED.get(name, {"n_features": 4}), "channels": c},
            f"channels must be a positive integer, got {c!r}",
        )
        for name in ("natural", "shuffled", "from_index")
        for c in NOT_POSITIVE
    ),
    *(
        (name, {**PLACED.get(name, {"n_features": 4}), "shape": s}, f"shape must be {SIZES}, got {s!r}")
        for name in ("natural", "shuffled", "from_index", "from_coordinates")
        for s in NO_SHAPES
    ),
    *(
        ("shuffled", {"n_features": 4, "seed": s}, f"seed must be an integer of 0 or more, got {s!r}")
        for s in (-1, 1.5, "1", None, True, [1])
    ),
    *(
        ("stacked", {"layouts": layouts}, "layouts must be one Layout or more, got ")
        for layouts in ([], None, [Layout.natural(2), "natural"], Layout.natural(2))
    ),
    ("natural", {"n_features": 9, "shape": (2**62, 4)}, f"shape must be of fewer than 2**63 pixels, got ({2**62}, 4)"),
    ("natural", {"n_features": 10, "shape": (3, 3)}, "shape must have at least 10 pixels, got 9 of (1, 3, 3)"),
    *(
        (name, {"n_features": 4, "keep": keep}, f"keep must {words}")
        for name in ("natural", "shuffled")
        for keep, words in (
            (np.ones(3, bool), "be a bool array of shape (4,), got bool of shape (3,)"),
            ([0, 1, 2, 3], "be a bool array of shape (4,), got int64 of shape (4,)"),
            (RAGGED, f"be a bool array of shape (4,), got {RAGGED}"),
            (np.zeros(4, bool), "leave at least one feature, got none"),
        )
    ),
    *(
        ("from_index", {"index": index, "shape": (2, 2)}, f"index must {words}")
        for index, words in (
            ([0, 1, 1], "name each pixel once, got pixel 1 for features 1 and 2"),
            ([], "be one-dimensional and not empty, got shape (0,)"),
            ([[0, 1]], "be one-dimensional and not empty, got shape (1, 2)"),
            (RAGGED, f"be one-dimensional, got {RAGGED}"),
            ([0.5, 1.0], "be integers, got float64"),
            (np.array([2**64 - 1], np.uint64), f"be integers below 2**63, got {2**64 - 1}"),
        )
    ),
    *(
        ("from_coordinates", {"rows": rows, "columns": columns, "shape": (2, 2)}, words)
        for rows, columns, words in (
            ([0, 2], [0, 0], "rows must be in [0, 2), got 2 for feature 1"),
            ([0, -1], [0, 0], "rows must be in [0, 2), got -1 for feature 1"),
            ([0, 1], [0, 7], "columns must be in [0, 2), got 7 for feature 1"),
            ([0, 1], [0], "rows and columns must have equal lengths, got 2 and 1"),
            ([0.5], [0], "rows must be integers, got float64"),
        )
    ),
]


@pytest.mark.parametrize(("name", "arguments", "words"), REFUSED)
def test_refused(name, arguments, words):
    with pytest.raises(InputError) as refused:
        getattr(Layout, name)(**arguments)
    assert str(refused.value).startswith(f"Layout.{name}: {words}")


@pytest.mark.parametrize("pixel", [4, -2, 2**63 - 1])
def test_pixels_outside_the_image_are_refused(pixel):
    expected = rf"Layout: pixel_of_feature must be -1 or in \[0, 4\) for shape \(1, 2, 2\), got {pixel} for feature 1"
    for build in (Layout, Layout.from_index):
        with pytest.raises(InputError, match=expected):
            build([0, pixel, 1], (2, 2))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pixel_of_feature", lambda array: array + 10**6),
        ("pixel_of_feature", lambda array: array - 5),
        ("pixel_of_feature", lambda array: array.astype(np.float64)),
        ("pixel_of_feature", lambda array: array[None]),
        ("shape", lambda array: array * 0),
        ("shape", lambda array: array[:2]),
    ],
)
def test_state_from_elsewhere_is_checked(name, change):
    state = dict(Layout.shuffled(20, seed=1).state())
    assert name in state
    state[name] = change(np.array(state[name]))
    with pytest.raises((ValueError, TypeError)):
        Layout.from_state(state)


def test_load_refuses_other_files(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, something=np.ones(3))
    with pytest.raises(ValueError, match=r"other.npz|layout"):
        Layout.load(path)
    with pytest.raises((ValueError, OSError), match="absent"):
        Layout.load(tmp_path / "absent.npz")


def test_equality():
    assert Layout.shuffled(30, seed=1) == Layout.shuffled(30, seed=1)
    assert hash(Layout.shuffled(30, seed=1)) == hash(Layout.shuffled(30, seed=1))
    assert Layout.shuffled(30, seed=1) != Layout.shuffled(30, seed=2)
    assert Layout.natural(30) != Layout.natural(30, shape=(5, 6))
    assert Layout.natural(30) != "layout"


def test_repr_is_short():
    assert "135" in repr(Layout.natural(18_225))
    assert len(repr(Layout.natural(18_225))) < 300
