"""placing: where the features of a source go."""

from __future__ import annotations

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.sources import ArraySource, side_by_side
from pixfold.stream.layout_for import layout_for

KEEP = np.array([1, 0, 1, 1, 1, 0, 1], dtype=bool)


@pytest.fixture
def plain():
    return ArraySource(np.ones((2, 7)))


@pytest.fixture
def stacked():
    return side_by_side([np.ones((2, 4)), np.ones((2, 3))], stack=True)


def test_one_image_of_all_features(plain):
    assert layout_for(plain) == Layout.natural(7)
    assert layout_for(plain, keep=KEEP, channels=2) == Layout.natural(7, keep=KEEP, channels=2)
    assert layout_for(plain, arrangement="shuffled", seed=3, shape=(2, 4)) == Layout.shuffled(7, 3, (2, 4))
    with pytest.raises(InputError, match="shape must have at least 7 pixels, got 4"):
        layout_for(plain, shape=(2, 2))


def test_channels_that_the_source_asks_for(stacked):
    assert layout_for(stacked) == Layout.stacked([Layout.natural(4), Layout.natural(3)])
    assert layout_for(stacked, shape=(1, 4)).shape == (2, 1, 4)
    assert layout_for(stacked, channels=2).shape == (2, 2, 2)
    with pytest.raises(InputError, match="channels must be the 2 of its features, got 3"):
        layout_for(stacked, channels=3)


def test_dropped_features_leave_their_pixel_empty(stacked):
    layout = layout_for(stacked, keep=KEEP)
    np.testing.assert_array_equal(layout.feature_of_pixel, [0, -1, 2, 3, 4, -1, 6, -1])


def test_channels_of_one_size_are_arranged_alike():
    source = side_by_side([np.ones((2, 9)), np.ones((2, 9))], stack=True)
    pixels = layout_for(source, arrangement="shuffled", seed=1).pixel_of_feature
    np.testing.assert_array_equal(pixels[:9] + 9, pixels[9:])
    assert pixels[:9].tolist() != list(range(9))
