"""What a normaliser refuses, that a refusal leaves it as it was, and that what is left out is never refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixfold.errors import InputError
from pixfold.images.convert import convert
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold
from pixfold.sources import ArraySource, open_source

NAMES = ["a", "b", "c"]
GOOD = np.array([[1.0, 2.0, 3.0], [4.0, 0.0, 6.0], [2.0, 5.0, 1.0]], np.float32)
MORE = GOOD[::-1] * 2


def spoiled(value, dtype="float64"):
    x = GOOD.astype(dtype)  # double, where the samples before were not
    x[1, 2] = value
    return x


def dask(x):
    return pytest.importorskip("dask.array").from_array(x, chunks=(1, 3))


BAD = {
    "missing": spoiled(np.nan),
    "infinite": spoiled(np.inf),
    "negative": spoiled(-2.0),
    "another number of features": np.ones((2, 4)),
    "no matrix": np.ones(3),
    "no numbers": np.full((2, 3), "x"),
    "nothing": None,
}
WAYS = {
    "array": lambda x: x,
    "frame": lambda x: pd.DataFrame(x, columns=[*NAMES, "d"][: x.shape[1]]),
    "dask": dask,
    "source": ArraySource,
}
CALLS = {
    "fit": lambda normalizer, x: normalizer.fit(x, NAMES),
    "partial_fit": lambda normalizer, x: normalizer.partial_fit(x),
    "merge": lambda normalizer, x: normalizer.merge(Normalizer("log1p-zscore").fit(x)),
}


def bits(normalizer):
    """All that a normaliser would give, now and after more samples."""
    now = [(name, values.tobytes()) for name, values in normalizer.state().items()]
    again = Normalizer.partial_fit(normalizer, MORE).state()
    return now, normalizer.feature_names, [(name, values.tobytes()) for name, values in again.items()]


@settings(deadline=None, max_examples=150)
@given(
    before=st.sampled_from(["log1p-zscore", "log1p-minmax"]),
    names=st.sampled_from([None, NAMES]),
    tries=st.lists(
        st.tuples(*map(st.sampled_from, (sorted(CALLS), sorted(BAD), sorted(WAYS)))), min_size=1, max_size=3
    ),
)
def test_a_refusal_leaves_all_as_it_was(before, names, tries):
    untouched = Normalizer(before).fit(GOOD, names)
    normalizer = Normalizer(before).fit(GOOD, names)
    for call, bad, way in tries:
        plain = way == "array" or bad in ("no matrix", "no numbers", "nothing")
        with pytest.raises((InputError, TypeError)):
            CALLS[call](normalizer, BAD[bad] if plain else WAYS[way](BAD[bad]))
    assert bits(normalizer) == bits(untouched)


def test_a_reader_that_breaks_leaves_all_as_it_was():
    def read():
        yield spoiled(7.0)
        raise OSError("the disk is gone")

    normalizer, untouched = (Normalizer("minmax").fit(GOOD, NAMES) for _ in range(2))
    with pytest.raises(OSError, match="the disk is gone"):
        normalizer.fit_blocks(read, ["x", "y", "z"])
    assert bits(normalizer) == bits(untouched)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "c", "b"], "in another order: number 1 must be 'b', got 'c'"),
        (["a", "b", "x"], "others: number 2 must be 'c'"),
    ],
)
def test_features_of_other_names(names, words):
    for extend in (
        lambda n: n.merge(Normalizer("zscore").fit(MORE, names)),
        lambda n: n.partial_fit(MORE, names),
        lambda n: n.partial_fit(pd.DataFrame(MORE, columns=names)),
    ):
        normalizer, untouched = (Normalizer("zscore").fit(GOOD, NAMES) for _ in range(2))
        with pytest.raises(
            InputError, match=f"features must be those of the samples before, in their order, got {words}"
        ):
            extend(normalizer)
        assert bits(normalizer) == bits(untouched)


PRESETS = "one of none, log1p, minmax, log1p-minmax, norm2, cp10k-log1p, zscore, log1p-zscore, genotype"


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        ("preset", ["zscor", 3, ["zscore"]], PRESETS),
        ("library_size", ["1e4", 0.0, -1.0, float("nan"), float("inf"), True, [1e4]], "a positive number"),
        ("log", ["no", 1, 0.0], "True or False"),
        ("scale", ["robust", 3, True], "one of minmax, zscore, max, genotype"),
        (
            "clip",
            [1, "01", (1.0, 0.0), (0, 1, 2), (float("nan"), 0.0), ("0", "1"), (True, 2)],
            "two numbers (low, high)",
        ),
        ("negative", ["ignore", None, 1], "one of error, shift"),
        ("missing", ["ignore", 0, True], "one of error, zero, mean"),
    ],
)
def test_options(option, values, expected):
    for value in values:
        with pytest.raises(InputError) as refused:
            Normalizer(**{"preset": "none", option: value})
        assert str(refused.value).startswith(f"Normalizer: {option} must be {expected}")
        assert f", got {value!r}" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"feature_names": "abc"}, "feature_names must be a sequence of str or None, got 'abc'"),
        ({"feature_names": [1, 2, 3]}, "feature_names must be a sequence of str or None, got "),
        ({"feature_names": 3}, "feature_names must be a sequence of str or None, got 3"),
        ({"feature_names": ["a", "b"]}, "feature_names must have 3 entries, got 2"),
        ({"keep": [0, 1, 2]}, "keep must be a bool array"),
        ({"keep": [True, False]}, r"keep must have shape \(3,\), got \(2,\)"),
        ({"memory": "much"}, "memory must be a size such as"),
    ],
)
@pytest.mark.parametrize("way", ["array", "dask"])
def test_arguments_of_fit(options, words, way):
    with pytest.raises(InputError, match=f"Normalizer.fit: {words}"):
        Normalizer("zscore").fit(WAYS[way](GOOD), **options)


WITH_GAPS = np.random.default_rng(0).gamma(2.0, 3.0, (24, 9))
WITH_GAPS[:, 4] = np.nan
WITH_GAPS[:, 6] = np.where(np.arange(24) % 2, 0.0, np.nan)
KEEP = np.array([j not in (4, 6) for j in range(9)])


@pytest.mark.parametrize(
    "preset", ["none", "log1p", "minmax", "log1p-minmax", "norm2", "cp10k-log1p", "zscore", "log1p-zscore"]
)
@pytest.mark.parametrize("way", ["array", "dask", "source"])
def test_left_out_features_are_not_looked_at(preset, way):
    x = dask(WITH_GAPS.copy()).rechunk((5, 9)) if way == "dask" else WAYS[way](WITH_GAPS)
    normalizer = Normalizer(preset).fit(x, keep=KEEP)
    layout = Layout.natural(9, keep=KEEP)
    expected = fold(WITH_GAPS[:, KEEP], Layout.natural(7), Normalizer(preset).fit(WITH_GAPS[:, KEEP]))
    np.testing.assert_array_equal(fold(WITH_GAPS, layout, normalizer), expected)
    # Blocks of a Dask array are measured apart, and the first one that is refused tells of its own values alone.
    count = r"\d+" if way == "dask" else "12"
    with pytest.raises(InputError, match=f"must have no missing values, got {count} NaN in 1 feature"):
        Normalizer(preset).fit(x)
    assert Normalizer(preset).fit(WITH_GAPS[:, :6]).never_seen().tolist() == [False] * 4 + [True, False]


def test_convert_leaves_out_what_it_says(tmp_path):
    made = convert(ArraySource(WITH_GAPS), tmp_path / "x.npy", normalize="log1p-zscore")
    assert "2 of 9 features left out, all zero or missing: 'feature_4', 'feature_6'" in made.messages[0]
    assert np.isfinite(np.load(tmp_path / "x.npy")).all()


def test_runs_leave_out_what_they_say(tmp_path):
    pytest.importorskip("torch")
    pixfold = pytest.importorskip("pixfold")
    path = tmp_path / "x.csv"
    pd.DataFrame(WITH_GAPS, columns=list("abcdefghi")).assign(label=["u", "v"] * 12).to_csv(path, index=False)
    options = {"backbone": "patchnet", "n_runs": 1, "epochs": 1, "threads": 1, "random_state": 0, "batch_size": 8}
    model = pixfold.DeepMapperClassifier(**options).fit_source(open_source(path, label="label"))
    assert "2 of 9 features left out, all zero or missing: 'e', 'g'" in model.results_.messages[0]
    rare = WITH_GAPS[:, KEEP].copy()
    rare[1:, 2] = np.nan  # one sample has a value, which one split in a few trains on
    told = [
        pixfold.DeepMapperClassifier(**{**options, "missing": "mean", "random_state": seed})
        .fit(rare, ["u", "v"] * 12)
        .results_.messages[-1]
        for seed in range(3)
    ]
    assert any("('feature_2') had no value in the training samples of a run" in message for message in told)
