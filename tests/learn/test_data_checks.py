"""What is said of data before anything is learned: groups, batches, leaks, small classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from pixfold import PackedGenotypes
from pixfold.learn.data_checks import class_sizes, confounded, messages_of_data, unnamed_groups
from pixfold.learn.leaks import leaks
from pixfold.sources import ArraySource, open_source
from pixfold.stream.prepare import prepare

N = 120
LABELS = np.arange(N) % 2
RNG = np.random.default_rng


def texts(codes: Any) -> Any:
    return np.array([f"v{code}" for code in codes], dtype=object)


def test_class_sizes() -> None:
    assert class_sizes(np.repeat([0, 1], [60, 40])) == []
    said = class_sizes(np.repeat([0, 1, 2], [200, 100, 4]), ["a", "b", "c"])
    assert said == [
        "class 'a' has 50 times the samples of class 'c' (200 and 4): accuracy says little then, look at balanced "
        "accuracy",
        "1 class with fewer than 5 samples: 'c' (4 samples); what is found of so few may be chance",
    ]
    assert class_sizes(np.repeat([0, 1], [20, 1]))[0].startswith("1 class with")
    assert (
        "6 classes with fewer than 5 samples: '0' (2 samples), '1' (2 samples), '2' (2 samples) and 3 more"
        in (class_sizes(np.repeat(np.arange(6), 2))[0])
    )


DONORS = texts(LABELS + 2 * (np.arange(N) // 12))  # 20 donors of 6 samples, each of one class


def test_donors_that_were_not_given_as_groups() -> None:
    (said,) = unnamed_groups({"donor": DONORS, "lab": texts(np.zeros(N))}, LABELS)
    assert said == (
        "column 'donor' ties samples together: each of its 20 values is in one class only, most with several samples; "
        "if these are of one donor, patient or plate, they are no independent samples: --groups donor keeps them "
        "together"
    )
    assert "(so do 'plate')" in unnamed_groups({"donor": DONORS, "plate": DONORS}, LABELS)[0]


@pytest.mark.parametrize(
    "column",
    [
        texts(LABELS),  # the label itself
        texts(RNG(0).integers(0, 20, N)),  # donors with samples of both classes
        texts(np.arange(N)),  # every sample by itself
        texts(np.where(np.arange(N) < 4, LABELS, np.arange(N))),  # nearly every one
        RNG(0).random(N),  # a measurement
        np.array([object()] * N),
        np.full(N, None),
    ],
)
def test_columns_that_are_no_groups(column: Any) -> None:
    assert unnamed_groups({"x": column}, LABELS) == []


def test_columns_that_are_known_or_tie_no_more_together_than_groups_do() -> None:
    groups = np.unique(DONORS.astype(str), return_inverse=True)[1]
    assert unnamed_groups({"donor": DONORS}, LABELS, known=["donor"]) == []
    assert unnamed_groups({"donor": DONORS}, LABELS, groups=groups) == []
    assert unnamed_groups({"sample": texts(groups * 2 + np.arange(N) // 2 % 2)}, LABELS, groups=groups) == []
    site = texts(LABELS + 2 * (np.arange(N) // 24))  # two donors each
    assert len(unnamed_groups({"site": site}, LABELS, groups=groups)) == 1


def test_what_may_be_chance_is_no_group() -> None:
    # Two samples in each of four values, each of one class: with a probability of a sixteenth.
    labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    assert unnamed_groups({"x": np.array(list("aabbccdd"))}, labels) == []
    # Ninety-nine of a hundred samples are of one class anyway.
    rare = np.zeros(600, dtype=np.int64)
    rare[:6] = 1
    assert unnamed_groups({"x": np.arange(600) // 60 * 10 + (np.arange(600) < 6)}, rare) == []


def test_a_batch_that_says_nearly_what_the_label_says() -> None:
    batch = LABELS.copy()
    batch[:3] = 1 - batch[:3]
    (said,) = confounded({"batch": texts(batch)}, LABELS)
    assert said == (
        "batch and label say nearly the same (Cramer's V 0.95): a difference between classes may be one of batch"
    )
    np.testing.assert_allclose(confounded_v(LABELS, LABELS), 1.0)
    batch[:25] = 1 - LABELS[:25]
    (said,) = confounded({"batch": batch}, LABELS)
    assert (
        said == "batch and label go together (Cramer's V 0.58): some of what is found may be of batch, not of the label"
    )


def confounded_v(a: Any, b: Any) -> float:
    (said,) = confounded({"x": a}, b)
    return float(said.partition("Cramer's V ")[2].partition(")")[0])


def test_measurements() -> None:
    noise = RNG(0).normal(size=N)
    (said,) = confounded({"age": 50 + 20 * LABELS + noise}, LABELS)
    assert said.startswith("age and label say nearly the same (analysis of variance, p = ")
    assert "99 % explained): a difference between classes may be one of age" in said
    (said,) = confounded({"age": noise}, noise + 0.1 * RNG(1).normal(size=N))
    assert "age and label say nearly the same (correlation 1.00): what goes with the label" in said
    (said,) = confounded({"batch": texts(LABELS)}, 3.0 * LABELS + 0.1 * noise)
    assert said.startswith("batch and label say nearly the same (analysis of variance")


@pytest.mark.parametrize(
    "covariate",
    [
        texts(RNG(0).integers(0, 3, N)),
        texts(RNG(0).integers(0, 60, N)),
        RNG(0).normal(size=N),
        np.ones(N),
        np.full(N, None),
        np.where(np.arange(N) < 2, texts(LABELS), None),
    ],
)
@pytest.mark.parametrize("labels", [LABELS, RNG(5).normal(size=N)])
def test_covariates_that_have_nothing_to_do_with_the_label(covariate: Any, labels: Any) -> None:
    assert confounded({"x": covariate}, labels) == []


def matrix(n: int = N, p: int = 30, seed: int = 0) -> Any:
    return RNG(seed).integers(0, 50, (n, p)).astype(np.float32)


def found(X: Any, labels: Any = LABELS, **options: Any) -> list[str]:
    features = [f"f{j}" for j in range(X.shape[1])]
    return leaks(ArraySource(X, feature_names=features), np.arange(X.shape[0]), labels, **options)


FORMS = [np.asarray, sparse.csr_matrix, sparse.csr_array, lambda X: X.astype(np.int32), lambda X: X.astype(np.float64)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("memory", [None, 100_000])
def test_features_that_tell_the_classes_apart(form: Any, memory: int | None) -> None:
    X = matrix()
    assert found(form(X), memory=memory) == []
    X[:, 3] = 100 * LABELS + X[:, 3]
    X[:, 7] = 5 - 5 * LABELS
    said = found(form(X), memory=memory)
    assert said == [
        "1 feature has one value in each class and may be the label itself ('f7'); if so, leave it out: --drop f7",
        "1 feature alone tells the classes apart ('f3'); if it was made from the label, leave it out: --drop f3",
    ]
    X[0, 3] = 0 if LABELS[0] else 200
    assert len(found(form(X), memory=memory)) == 1
    keep = np.ones(30, dtype=bool)
    keep[[3, 7]] = False
    assert found(form(X), keep=keep, memory=memory) == []


def test_chance_is_no_leak() -> None:
    labels = np.arange(20) % 2
    X = RNG(0).random((20, 20_000))
    X[:, 0] = labels + 0.5 * X[:, 0]
    # 2 in 184,756 orders of 20 samples have the classes apart: one of 20,000 features does with a probability of 0.2.
    assert found(X, labels) == []
    # One of twenty does with that of 0.0002.
    assert found(X[:, :20], labels) == [
        "1 feature alone tells the classes apart ('f0'); if it was made from the label, leave it out: --drop f0"
    ]


def test_several_classes_and_missing_values() -> None:
    labels = np.arange(N) % 12
    X = matrix()
    X[:, 4] = labels
    X[5, 4] = np.nan
    (said,) = found(X, labels)
    assert said.startswith("1 feature has one value in each class (the 8 largest ones) and may be the label itself")
    X[:, 4] = np.where(labels == 1, np.nan, labels)  # of a class without values nothing can be said
    assert found(X, labels) == []
    codes = PackedGenotypes.pack(np.column_stack([LABELS * 2, RNG(0).integers(0, 3, (N, 6))]).astype(np.int8))
    assert "('f0')" in found(codes)[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("memory", [None, 100_000])
@pytest.mark.parametrize("labels", [LABELS, np.sort(LABELS), None, np.linspace(0, 1, N)])
def test_running_numbers_and_identifiers(form: Any, memory: int | None, labels: Any) -> None:
    X = matrix()
    X[:, 2] = np.arange(N)
    X[:, 5] = 900 - 3 * np.arange(N)
    X[:, 9] = np.cumsum(RNG(0).integers(1, 9, N))
    assert found(form(X), labels, memory=memory) == [
        "2 features look like a running number, rising or falling by one step from sample to sample ('f2', 'f5'): it "
        "says where a sample stands in the file; leave them out: --drop f2,f5",
        "1 feature looks like an identifier, rising or falling from sample to sample ('f9'): it says where a sample "
        "stands in the file; leave it out: --drop f9",
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels", [LABELS, None, np.linspace(0, 1, N)])
def test_consecutive_numbers_in_any_order(form: Any, labels: Any) -> None:
    X = matrix()
    X[:, 2] = 500 + RNG(3).permutation(N)
    X[:, 4] = RNG(4).permutation(N)
    X[0, 4] = X[1, 4]  # one is there twice
    expected = (
        "1 feature holds consecutive numbers, each once ('f2'): it may be an identifier of samples; leave it out: "
        "--drop f2"
    )
    assert found(form(X), labels) == [expected]
    assert found(form(X), labels, memory=100_000) == [expected]


def test_what_is_no_running_number() -> None:
    X = matrix(p=3)
    X[:, 0] = np.cumsum(RNG(0).random(N))  # rises, but neither by one step nor in whole numbers
    X[:, 1] = np.arange(N)
    X[-1, 1] = 0
    X[:, 2] = 7
    assert found(X) == []
    # Three samples rise by chance.
    assert found(np.arange(3.0)[:, None] + np.zeros(5), None) == []


def test_a_copy_of_a_measurement() -> None:
    y = RNG(0).normal(size=N)
    X = RNG(1).normal(size=(N, 5)).astype(np.float32)
    assert found(X, y) == []
    X[:, 3] = y
    assert found(X, y) == ["1 feature has the values of the label ('f3'); leave it out: --drop f3"]
    assert found(X, y, memory=20_000) == found(X, y)


def test_all_of_it_for_anndata() -> None:
    anndata: Any = pytest.importorskip("anndata")
    pd: Any = pytest.importorskip("pandas")
    X = matrix()
    X[:, 4] = 100 * LABELS + X[:, 4]
    obs = pd.DataFrame({"kind": texts(LABELS), "donor": DONORS, "batch": texts(LABELS)}, index=texts(np.arange(N)))
    data = anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"g{j}" for j in range(30)]))
    source = open_source(data, label="kind", covariates=["batch"])
    said = messages_of_data(prepare(source), source)
    assert [message.partition(" ")[0] for message in said] == ["column", "batch", "1"]
    assert "--groups donor" in said[0]
    assert "('g4')" in said[2]
    source = open_source(data, label="kind", groups="donor")
    assert messages_of_data(prepare(source), source) == said[2:]
    assert messages_of_data(prepare(open_source(X)), open_source(X)) == []
