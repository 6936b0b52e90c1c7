"""Any wrong argument of any op is one error of the op's own: it names the op and the argument."""

from __future__ import annotations

import numpy as np
import pytest

import pixfold
from pixfold.errors import InputError
from pixfold.ops import census
from pixfold.ops.gradients import fold_gradient, unfold_gradient

X = np.ones((2, 4), np.float32)
LAYOUT = pixfold.Layout.natural(4)
IMAGES = np.ones((2, 1, 2, 2), np.float32)

OPS = {
    "fold": (
        pixfold.fold,
        {"X": X, "layout": LAYOUT, "normalizer": None, "dtype": "float32", "out": None, "threads": None},
    ),
    "unfold": (pixfold.unfold, {"images": IMAGES, "layout": LAYOUT, "threads": None}),
    "fold_gradient": (fold_gradient, {"gradient": IMAGES, "X": X, "layout": LAYOUT, "normalizer": None, "threads": 1}),
    "unfold_gradient": (unfold_gradient, {"gradient": X, "layout": LAYOUT, "threads": None}),
    "column_stats": (
        pixfold.column_stats,
        {"X": X, "log": False, "offset": None, "row_scale": None, "clip_below_zero": False, "threads": None},
    ),
    "census": (census, {"X": X, "threads": None}),
    "rank": (pixfold.rank, {"importance": X[0], "threads": None}),
    "top_k": (pixfold.top_k, {"importance": X[0], "k": 2, "threads": None}),
    "AttributionAccumulator": (pixfold.AttributionAccumulator, {"layout": LAYOUT, "n_classes": 2}),
    "aggregate": (
        lambda **how: pixfold.AttributionAccumulator(LAYOUT, 2).update(**how),
        {"attributions": IMAGES, "labels": np.array([0, 1]), "keep": None, "threads": None},
    ),
    "PackedGenotypes": (
        pixfold.PackedGenotypes,
        {"bits": np.zeros((2, 1), np.uint8), "n_features": 4, "count_first": True},
    ),
    "PackedGenotypes.pack": (
        pixfold.PackedGenotypes.pack,
        {"G": np.zeros((2, 4), np.int8), "count_first": True, "missing": -1, "threads": None},
    ),
    "PackedGenotypes.from_variants": (
        pixfold.PackedGenotypes.from_variants,
        {"bits": np.zeros((4, 1), np.uint8), "n_samples": 2, "count_first": True, "threads": None},
    ),
    "PackedGenotypes.toarray": (
        pixfold.PackedGenotypes(np.zeros((2, 1), np.uint8), 4).toarray,
        {"dtype": "float32", "threads": None},
    ),
    "ImagePool": (pixfold.ImagePool, {"max_bytes": 1 << 20}),
}

WRONG = ["a", 1.5, -3, object(), [[1.0], [2.0, 3.0]], {"a": 1}, X[:, :3], np.ones((2, 2), complex), pixfold.Layout]


# What looks wrong among WRONG and is right: samples of three features, and a code for missing genotypes.
RIGHT = {
    ("column_stats", "X", 6),
    ("census", "X", 6),
    ("PackedGenotypes.pack", "G", 6),
    ("PackedGenotypes.pack", "missing", 2),
}


@pytest.mark.parametrize(("op", "argument"), [(op, argument) for op, (_, good) in OPS.items() for argument in good])
def test_every_wrong_value(op, argument):
    call, good = OPS[op]
    call(**good)
    for number, value in enumerate(WRONG):
        if (op, argument, number) in RIGHT:
            call(**{**good, argument: value})
            continue
        with pytest.raises((InputError, TypeError)) as caught:
            call(**{**good, argument: value})
        words = str(caught.value)
        assert words.startswith((f"{op}: ", f"{op.partition('.')[0]}: ")), f"{argument}={value!r}: {words}"
        assert ", got " in words, f"{argument}={value!r}: {words}"
