from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pixfold.errors import InputError
from pixfold.normalize.choose import choose_normalizer
from pixfold.sources import ArraySource
from pixfold.stream.scan import scan

COUNTS = np.array([[0, 3, 1], [7, 0, 2]])
GENOTYPES = np.array([[0, 2, 1], [1, 0, 2]])
VALUES = np.array([[0.5, 3.0, 1.0], [7.0, 0.0, 2.0]])
NEGATIVE = np.array([[0.5, -3.0, 1.0], [7.0, -1.0, -2.0]])


def profile(source, rows, **options):
    return scan(source, rows, **options).profile


def choose(matrix, normalize="auto", negative="auto", missing="error"):
    source = ArraySource(matrix)
    found = profile(source, np.arange(source.n_samples))
    return choose_normalizer(found, source, normalize=normalize, negative=negative, missing=missing)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csr_array], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("matrix", "kind"),
    [(COUNTS, "counts"), (GENOTYPES, "genotypes"), (VALUES, "values"), (NEGATIVE, "values")],
)
def test_kind(matrix, kind, dtype, make):
    source = ArraySource(make(matrix.astype(dtype)))
    found = profile(source, np.arange(2))
    assert found.kind == kind
    assert (found.smallest, found.largest) == (matrix.min(), matrix.max())
    assert found.n_negative == np.count_nonzero(matrix < 0)
    assert found.negative_features.tolist() == np.flatnonzero((matrix < 0).any(axis=0)).tolist()


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [
        (np.array([[0, 1], [1, 0]]), "counts"),  # no 2: presence and absence, or small counts
        (np.array([[0, 1], [2, 3]]), "counts"),
        (np.array([[0, 1], [2, -1]]), "values"),
        (np.array([[2.0, np.nan], [0.0, 1.0]]), "genotypes"),
        (np.array([[5.0, np.nan], [0.0, 1.0]]), "counts"),
        (np.array([[5.5, np.nan], [0.0, 1.0]]), "values"),
    ],
)
def test_borderline_kinds(matrix, kind):
    assert profile(ArraySource(matrix), np.arange(2)).kind == kind


def test_only_the_rows_that_are_used_are_looked_at():
    matrix = np.vstack([COUNTS, [[0.5, -1.0, 0.0]]])
    assert profile(ArraySource(matrix), np.array([0, 1])).kind == "counts"
    assert profile(ArraySource(matrix), np.array([0, 1, 2])).kind == "values"


def test_blocks_add_up():
    matrix = np.vstack([VALUES, NEGATIVE])
    one_row = 4 * 3 * matrix.itemsize + 3 * 160
    found = profile(ArraySource(matrix), np.arange(4), memory=one_row)
    assert (found.n_negative, found.smallest, found.largest) == (3, -3.0, 7.0)
    assert found.negative_features.tolist() == [1, 2]


def test_auto_takes_library_size_for_counts():
    made, messages = choose(COUNTS)
    assert (made.parts.library_size, made.parts.log, made.parts.scale) == (1e4, True, "zscore")
    assert "counts" in messages[0]
    assert not made.is_fitted


def test_auto_takes_the_genotype_preset_for_genotypes():
    made, messages = choose(GENOTYPES)
    assert made.preset == "genotype"
    assert "genotypes" in messages[0]


def test_auto_takes_the_training_default_for_other_values():
    made, messages = choose(VALUES)
    assert (made.preset, made.negative, messages) == ("log1p-zscore", "error", [])


def test_a_named_preset_is_taken_whatever_the_values():
    assert choose(COUNTS, "zscore")[0].preset == "zscore"


@pytest.mark.parametrize("normalize", ["auto", "log1p-zscore", "log1p-minmax"])
def test_negative_auto_shifts_and_says_so(normalize):
    made, messages = choose(NEGATIVE, normalize)
    assert made.negative == "shift"
    assert "3 negative values in 2 features ('feature_1', 'feature_2')" in messages[-1]
    made.fit(NEGATIVE)
    assert np.isfinite(made.transform(NEGATIVE)).all()


@pytest.mark.parametrize("normalize", ["zscore", "minmax", "none"])
def test_negative_auto_is_silent_without_a_logarithm(normalize):
    made, messages = choose(NEGATIVE, normalize)
    assert (made.negative, messages) == ("error", [])


def test_negative_error_is_kept():
    made, _ = choose(NEGATIVE, negative="error")
    with pytest.raises(InputError, match=r"3 negative values in 2 features"):
        made.fit(NEGATIVE)


def test_missing_is_passed_on():
    assert choose(VALUES, missing="mean")[0].missing == "mean"


def test_unknown_preset():
    with pytest.raises(InputError, match=r"preset must be one of .*log1p-zscore.*'quantile'"):
        choose(VALUES, "quantile")
