"""The normaliser that "auto" takes: by what the source is, then by its values; and that its reason is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pixfold.errors import InputError
from pixfold.genotypes import PackedGenotypes
from pixfold.normalize.choose import choose_normalizer
from pixfold.sources import ArraySource, open_source, side_by_side
from pixfold.stream.scan import scan

COUNTS = np.array([[0, 3, 1], [7, 0, 2]])
GENOTYPES = np.array([[0, 2, 1], [1, 0, 2]])
VALUES = np.array([[0.5, 3.0, 1.0], [7.0, 0.0, 2.0]])
NEGATIVE = np.array([[0.5, -3.0, 1.0], [7.0, -1.0, -2.0]])
BINARY = np.array([[0, 1, 1], [1, 0, 1]])
COLOURS = pd.DataFrame({"colour": ["red", "green", "blue", "red"], "size": [3, 1, 2, 2]})
CLINICAL = pd.DataFrame({"age": [61, 48, 75], "smoker": [0, 1, 1], "beats": [70, 82, 64]})
RNG = np.random.default_rng(0)
RARE_GENES = pd.DataFrame(RNG.poisson(0.5, (9, 200)), columns=[f"gene {j}" for j in range(200)])


def fasta(folder):
    path = folder / "x.fasta"
    path.write_text(">a\nACGT\n>b\nTTGA\n>c\nACCA\n")
    return open_source(path)


def choose(source, normalize="auto", negative="auto", missing="error"):
    found = scan(source, np.arange(source.n_samples)).facts
    return choose_normalizer(found, source, normalize=normalize, negative=negative, missing=missing)


AS_COUNTS, AS_GENOTYPES = "counts (non-negative whole numbers): each sample to a sum of", "genotypes (0, 1 and 2 alone)"
AS_BINARY, AS_NUMBERS = (
    "presence and absence (0 and 1 alone): values stay",
    "numbers of too few samples to see a tail (",
)
SOURCES = {
    "counts": (lambda _: ArraySource(COUNTS), None, AS_COUNTS),
    "counts, one missing": (lambda _: ArraySource(np.array([[5, np.nan], [0, 3]])), None, AS_COUNTS),
    "counts in a wide table": (lambda _: open_source(RARE_GENES), None, AS_COUNTS),
    "counts in a narrow table": (lambda _: open_source(pd.DataFrame(COUNTS + 1)), None, AS_COUNTS),
    "counts of a format, small": (lambda _: ArraySource(GENOTYPES, kind="counts"), None, AS_COUNTS),
    "counts of a format, 0 and 1": (lambda _: ArraySource(BINARY, kind="counts"), None, AS_COUNTS),
    "genotypes": (lambda _: ArraySource(GENOTYPES), "genotype", AS_GENOTYPES),
    "genotypes in a table": (
        lambda _: open_source(pd.DataFrame([[2, np.nan, 2], [0, 1, 2]])[[0, 2]]),
        "genotype",
        AS_GENOTYPES,
    ),
    "genotypes, one missing": (lambda _: ArraySource(np.array([[2, np.nan], [0, 1]])), "genotype", AS_GENOTYPES),
    "packed genotypes, no 2": (lambda _: open_source(PackedGenotypes.pack(BINARY)), "genotype", AS_GENOTYPES),
    "sequences": (fasta, "none", "sequences (their letters are one-hot): values stay as they are"),
    "0 and 1": (lambda _: ArraySource(BINARY), "none", AS_BINARY),
    "an array of numbers and 0 and 1": (
        lambda _: ArraySource(CLINICAL.to_numpy()),
        "log1p-zscore",
        "numbers of too few samples to see a tail (1 column of 0 and 1 beside others): log1p",
    ),
    "rare genotypes": (lambda _: ArraySource(np.array([[0, 2, 1], [1, 0, 0]])), "genotype", AS_GENOTYPES),
    "one-hot columns alone": (lambda _: open_source(COLOURS[["colour"]], categorical="onehot"), "none", AS_BINARY),
    "one-hot columns and numbers": (
        lambda _: open_source(COLOURS, categorical="onehot"),
        "log1p-zscore",
        "numbers of too few samples to see a tail (some are codes of categories): log1p",
    ),
    "codes of categories": (
        lambda _: open_source(COLOURS),
        "log1p-zscore",
        "numbers of too few samples to see a tail (some are codes of categories): log1p",
    ),
    "dummies and numbers": (
        lambda _: open_source(CLINICAL),
        "log1p-zscore",
        "numbers of too few samples to see a tail (1 column of 0 and 1 beside others): log1p",
    ),
    "sequences beside counts": (
        lambda folder: side_by_side(
            [fasta(folder), ArraySource(np.tile(COUNTS, (3, 1))[:3], sample_names=list("abc"))]
        ),
        "log1p-zscore",
        "numbers of too few samples to see a tail (inputs of several kinds): log1p",
    ),
    "fractions": (lambda _: ArraySource(VALUES), "log1p-zscore", AS_NUMBERS),
    "whole, some negative": (lambda _: ArraySource(np.array([[0, 1], [2, -1]])), "log1p-zscore", AS_NUMBERS),
}


@pytest.mark.parametrize("case", SOURCES)
def test_auto(tmp_path, case):
    make, preset, words = SOURCES[case]
    made, messages = choose(make(tmp_path))
    assert made.preset == preset
    if preset is None:
        assert (made.parts.library_size, made.parts.log, made.parts.scale) == (1e4, True, "zscore")
    assert messages[0].startswith(f"normalised as {words}")
    assert not made.is_fitted


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csr_array], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("matrix", "whole", "n_binary"), [(COUNTS, True, 0), (BINARY, True, 3), (VALUES, False, 0), (NEGATIVE, False, 0)]
)
def test_profile(matrix, whole, n_binary, dtype, make):
    found = scan(ArraySource(make(matrix.astype(dtype))), np.arange(2)).facts
    assert (found.is_whole_and_positive, found.n_binary) == (whole, n_binary)
    assert (found.smallest, found.largest) == (matrix.min(), matrix.max())
    assert found.n_negative == np.count_nonzero(matrix < 0)
    assert found.negative_features.tolist() == np.flatnonzero((matrix < 0).any(axis=0)).tolist()


def test_profile_is_of_the_rows_that_are_used_block_by_block():
    matrix = np.vstack([BINARY, VALUES, NEGATIVE, COUNTS])
    one_row = 4 * 3 * matrix.itemsize + 3 * 184
    for rows, whole, n_binary in ((np.arange(2), True, 3), (np.array([0, 1, 6, 7]), True, 0), (np.arange(8), False, 0)):
        found = scan(ArraySource(matrix), rows, memory=one_row).facts
        assert (found.whole, found.n_binary) == (whole, n_binary)
    assert (found.n_negative, found.smallest, found.largest) == (3, -3.0, 7.0)
    assert found.negative_features.tolist() == [1, 2]


@pytest.mark.parametrize("normalize", ["auto", "log1p-zscore", "log1p-minmax"])
def test_negative_auto_shifts_and_says_so(normalize):
    made, messages = choose(ArraySource(NEGATIVE), normalize)
    assert made.negative == "shift"
    assert "3 negative values in 2 features ('feature_1', 'feature_2')" in messages[-1]
    assert np.isfinite(made.fit(NEGATIVE).transform(NEGATIVE)).all()


@pytest.mark.parametrize("n", [8, 30, 1000])
@pytest.mark.parametrize(
    ("draw", "preset"),
    [
        (lambda rng, size: rng.standard_normal(size), "zscore"),
        (lambda rng, size: 8 + rng.standard_normal(size), "zscore"),  # logarithms already
        (lambda rng, size: rng.beta(0.5, 0.5, size), "zscore"),  # methylation
        (lambda rng, size: rng.standard_t(4, size), "zscore"),
        (lambda rng, size: np.exp(rng.standard_normal(size)), "log1p-zscore"),
        (lambda rng, size: np.exp(rng.standard_normal(size)) - 0.5, "log1p-zscore"),  # a background taken off
        (lambda rng, size: rng.exponential(size=size) * (rng.random(size) < 0.3), "log1p-zscore"),  # mostly zeros
    ],
)
def test_a_logarithm_where_values_have_a_long_tail_to_the_right(draw, preset, n):
    X = draw(np.random.default_rng(n), (n, 400))
    made, messages = choose(ArraySource(X))
    assert made.preset == preset
    how = "without" if preset == "zscore" else "with"
    why = "not all whole and some negative" if (X < 0).any() else "not all whole"
    assert messages[0].startswith(f"normalised as numbers {how} a long tail to the right ({why}): ")
    assert ("shifted" in messages[-1]) == bool(preset == "log1p-zscore" and (X < 0).any())


@pytest.mark.parametrize("normalize", ["zscore", "minmax", "none"])
def test_a_named_preset_is_taken_and_nothing_said(normalize):
    made, messages = choose(ArraySource(NEGATIVE), normalize)
    assert (made.preset, made.negative, messages) == (normalize, "error", [])


def test_options_are_passed_on():
    made, _ = choose(ArraySource(NEGATIVE), negative="error", missing="mean")
    assert made.missing == "mean"
    with pytest.raises(InputError, match=r"3 negative values in 2 features"):
        made.fit(NEGATIVE)
    with pytest.raises(InputError, match=r"Normalizer: preset must be one of .*log1p-zscore.*, got 'quantile'"):
        choose(ArraySource(VALUES), "quantile")
