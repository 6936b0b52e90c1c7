from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from pixfold.errors import InputError
from pixfold.sources import ArraySource, open_source
from pixfold.stream.prepare import prepare

ONES = np.ones((6, 3))
NAN = float("nan")


def prepared(X: Any, y: Any = None, **options: Any) -> Any:
    return prepare(open_source(X, y=y), **options)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("memory", [5 * 184 + 3 * 50, 5 * 184 + 3 * 100, None])
def test_empty_features_and_samples_go_and_nothing_else(form: Any, memory: int | None) -> None:
    X = np.array([[1, 0, 0, NAN, 0], [0, 0, 0, 0, 0], [0, -2, 0, NAN, 0], [NAN, 0, 0, NAN, 0], [3, 0, 0, 0, 1e-30]])
    result = prepare(open_source(form(X)), memory=memory)
    assert result.rows.tolist() == [0, 2, 4]
    assert result.keep.tolist() == [True, True, False, False, True]
    assert result.dropped_features == ["feature_2", "feature_3"]
    assert result.dropped_samples == ["sample_1", "sample_3"]
    assert result.sample_names == ["sample_0", "sample_2", "sample_4"]
    assert result.labels is result.classes is result.class_names is None
    assert result.messages == [
        "2 of 5 features left out, all zero or missing: 'feature_2', 'feature_3'",
        "2 of 5 samples left out, all zero or missing: 'sample_1', 'sample_3'",
    ]


def test_nothing_to_say_about_good_data() -> None:
    result = prepared(ONES, [0, 1] * 3)
    assert result.messages == []
    assert result.rows.tolist() == list(range(6))
    assert result.rows.dtype == result.labels.dtype == np.int64


def test_a_feature_that_only_unlabelled_samples_have_is_empty() -> None:
    X = ONES.copy()
    X[:5, 1] = 0
    result = prepared(X, ["a", "b", "a", "b", "a", None])
    assert result.keep.tolist() == [True, False, True]
    assert result.rows.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_missing_values(form: Any) -> None:
    X = np.arange(1.0, 25.0).reshape(4, 6)
    X[0, :4] = X[2, 1] = NAN
    message = (
        r"^array: 5 values missing \(NaN\) in 4 features "
        r"\('feature_0', 'feature_1', 'feature_2' and 1 more\); "
        r'choose missing="mean" or missing="zero" \(command line: --missing mean\)$'
    )
    with pytest.raises(InputError, match=message):
        prepared(form(X))
    assert prepared(form(X), missing="mean").messages == [
        "5 values missing in 4 features, replaced by the mean of the feature"
    ]
    assert "replaced by zero" in prepared(form(X), missing="zero").messages[0]
    with pytest.raises(InputError, match="prepare: missing must be one of error, zero, mean, got 'drop'"):
        prepared(X, missing="drop")


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("missing", ["error", "mean"])
def test_infinite_values(form: Any, missing: str) -> None:
    X = ONES.copy()
    X[1, 2], X[4, 2], X[4, 0] = np.inf, -np.inf, np.inf
    with pytest.raises(
        InputError,
        match=r"values must be finite, got 3 infinite in 2 features \('feature_0', 'feature_2'\) and "
        r"2 samples \('sample_1', 'sample_4'\)$",
    ):
        prepared(form(X), missing=missing)


def test_all_empty() -> None:
    with pytest.raises(InputError, match="all values are zero or missing, there is nothing to learn from"):
        prepared(np.zeros((4, 3)))


def test_messages_of_the_source_come_first() -> None:
    source = ArraySource(np.array([[1, 0], [2, 0]]), feature_names=["a", "a"])
    messages = prepare(source).messages
    assert len(messages) == 2
    assert messages[0].startswith("1 feature name used more than once")


def objects(*values: object) -> NDArray[Any]:
    """Labels as a categorical column gives them."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("y", "classes", "names", "codes"),
    [
        (["b", "a", "b", "a", "a", "a"], ["a", "b"], ["a", "b"], [1, 0, 1, 0, 0, 0]),
        (["10", "9", "10", "9", "9", "9"], ["9", "10"], ["9", "10"], [1, 0, 1, 0, 0, 0]),
        ([10, 9, 10, -1, -1, -1], [-1, 9, 10], ["-1", "9", "10"], [2, 1, 2, 0, 0, 0]),
        ([1.0, 0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 1.0], ["0", "1"], [1, 0, 1, 0, 0, 0]),
        ([0.5, 1.5, 0.5, 1.5, 1.5, 1.5], [0.5, 1.5], ["0.5", "1.5"], [0, 1, 0, 1, 1, 1]),
        ([True, False, True, False, False, False], [False, True], ["False", "True"], [1, 0, 1, 0, 0, 0]),
        (objects("x", None, "y", "x", "", NAN), ["x", "y"], ["x", "y"], [0, 1, 0]),
        (objects(2, None, 10, 2, NAN, 10), [2, 10], ["2", "10"], [0, 1, 0, 1]),
        (objects(True, None, False, True, None, True), [False, True], ["False", "True"], [1, 0, 1, 1]),
        (objects(1, "a", 1, "a", "a", 1), ["1", "a"], ["1", "a"], [0, 1, 0, 1, 1, 0]),
        (objects(b"u", b"v", b"u", b"v", b"v", b"v"), ["u", "v"], ["u", "v"], [0, 1, 0, 1, 1, 1]),
        ([1.0, NAN, 2.0, 1.0, NAN, 2.0], [1.0, 2.0], ["1", "2"], [0, 1, 0, 1]),
        (np.array([[0], [1], [0], [1], [1], [1]]), [0, 1], ["0", "1"], [0, 1, 0, 1, 1, 1]),
    ],
)
def test_labels(y: Any, classes: list[Any], names: list[str], codes: list[int]) -> None:
    result = prepared(ONES, y)
    assert result.classes.tolist() == classes
    assert [type(c) for c in result.classes.tolist()] == [type(c) for c in classes]
    assert result.class_names == names
    assert result.labels.tolist() == codes
    assert result.n_unlabelled == 6 - len(codes)
    told = [m for m in result.messages if "without a label" in m]
    assert len(told) == (result.n_unlabelled > 0)


def test_pandas_missing_labels() -> None:
    pd: Any = pytest.importorskip("pandas")
    result = prepared(ONES, pd.array(["a", "b", None, "a", "b", "a"], dtype="string"))
    assert result.rows.tolist() == [0, 1, 3, 4, 5]
    assert result.messages == ["1 sample without a label left out: 'sample_2'"]
    integers = pd.DataFrame({"x": range(1, 7), "y": pd.array([0, 10, None, 2, 10, 2], dtype="Int64")})
    assert prepare(open_source(integers[2:], label="y")).class_names == ["2", "10"]


def test_text_that_reads_like_a_missing_label_is_pointed_out() -> None:
    result = prepared(ONES, ["nan", "b", "nan", "b", "b", "b"])
    assert result.class_names == ["b", "nan"]
    assert result.messages == ["the label 'nan' is text and counts as a class (2 samples)"]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"] * 6, r"must be of two classes or more, got only one class \('a', 6 samples\)"),
        ([1, 1, 1, None, None, None], "only one class"),
        ([None] * 6, "array: no sample has a label"),
        (["a", "b", "c", "d", "e", "e"], "5 different labels in 6 samples .* look like an identifier"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "continuous.* got 6 different numbers in 6 samples, such as 0.1 and 0.6"),
        (np.array(["2020-01-01"] * 6, dtype="M8[D]"), "labels must be numbers or text, got datetime64"),
        ([0, 1j, 0, 1, 0, 1], "labels must be numbers or text, got complex128"),
        ([0, np.inf, 0, 1, 0, 1], "labels must be classes, got 1 infinite"),
    ],
)
def test_bad_labels(y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepared(ONES, y)


def test_measurements_are_no_classes_even_when_values_repeat() -> None:
    y = np.repeat(np.linspace(0, 1, 50), 20)
    with pytest.raises(InputError, match=r"continuous\..* got 50 different numbers in 1,000 samples"):
        prepared(np.ones((1_000, 2)), y)


def test_one_class_left_after_empty_samples_went() -> None:
    X = ONES.copy()
    X[[1, 3, 5]] = 0
    with pytest.raises(InputError, match="only one class"):
        prepared(X, [0, 1] * 3)


def test_codes_follow_the_rows_that_stay() -> None:
    X = np.ones((7, 2))
    X[0] = 0
    result = prepared(X, ["a", "b", "c", "b", "c", "c", None])
    assert result.class_names == ["b", "c"]
    assert result.labels.tolist() == [0, 1, 0, 1, 1]
    assert result.rows.tolist() == [1, 2, 3, 4, 5]


def test_groups_and_covariates_are_those_of_the_rows_that_are_used() -> None:
    X = np.arange(1.0, 15).reshape(7, 2)
    X[2] = 0
    groups = np.array(["b", "a", "a", None, "b", "", "a"], dtype=object)
    labels = np.array(["x", "y", "x", "y", None, "x", "y"], dtype=object)
    source = ArraySource(X, labels=labels, groups=groups, covariates={"age": np.arange(7)})
    prepared = prepare(source)
    assert prepared.rows.tolist() == [0, 1, 3, 5, 6]
    assert prepared.groups is not None
    assert prepared.groups.tolist() == [0, 1, 2, 3, 1]
    assert prepared.covariates["age"].tolist() == [0, 1, 3, 5, 6]
    assert "2 samples without a group, each taken for one: 'sample_3', 'sample_5'" in prepared.messages
    plain = prepare(ArraySource(X[:2]))
    assert plain.groups is None
    assert plain.covariates == {}
