from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.learn.split import split
from pixfold.sources import open_source
from pixfold.stream.prepare import prepare

NAN = float("nan")


def sizes(parts: Any) -> list[int]:
    return [len(parts.train), len(parts.validation), len(parts.test)]


def check_partition(parts: Any, n: int) -> None:
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert together.dtype == np.int64
    assert sorted(together.tolist()) == list(range(n))
    assert all(np.all(np.diff(part) > 0) for part in (parts.train, parts.validation, parts.test))


@pytest.mark.parametrize("labels", [None, np.arange(1_000) % 4])
def test_sizes_are_the_fractions(labels: Any) -> None:
    parts = split(1_000, labels, seed=0)
    check_partition(parts, 1_000)
    assert sizes(parts) == [600, 150, 250]
    assert parts.messages == []
    if labels is not None:
        for part in (parts.train, parts.validation, parts.test):
            assert np.ptp(np.bincount(labels[part])) <= 1


def test_rounding_is_made_up_in_other_classes() -> None:
    labels = np.repeat(np.arange(100), 7)  # 4.2 / 1.05 / 1.75 of each
    parts = split(700, labels, seed=0)
    check_partition(parts, 700)
    np.testing.assert_allclose(sizes(parts), [420, 105, 175], atol=2)
    for part in (parts.train, parts.validation, parts.test):
        assert np.bincount(labels[part], minlength=100).min() >= 1


@pytest.mark.parametrize("n", range(3, 60))
def test_every_part_of_a_class_of_three_or_more_has_a_sample(n: int) -> None:
    labels = np.array([0] * n + [1] * 40)
    parts = split(n + 40, labels, seed=n)
    check_partition(parts, n + 40)
    for part, fraction in ((parts.train, 0.6), (parts.validation, 0.15), (parts.test, 0.25)):
        count = int(np.sum(labels[part] == 0))
        assert count >= 1
        assert abs(count - fraction * n) < 2


def test_small_classes_are_named_in_one_message() -> None:
    labels = np.array([0] * 40 + [1] * 3 + [2] * 2 + [3])
    parts = split(46, labels, seed=0, class_names=["big", "three", "two", "one"])
    check_partition(parts, 46)
    counts = [np.bincount(labels[p], minlength=4)[1:].tolist() for p in (parts.train, parts.validation, parts.test)]
    assert counts == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert parts.messages == [
        "3 classes are too small to be divided 60 / 15 / 25 %: 'three' (3 samples), 'two' (2 samples), "
        "'one' (1 sample); a class of three or more has at least one sample in each part; "
        "two samples are one in train and one in test; a single sample is in train"
    ]


def test_seed_decides_the_split() -> None:
    labels = np.arange(60) % 3
    first, same, other = (split(60, labels, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.test, same.test)
    assert first.test.tolist() != other.test.tolist()


def test_other_fractions() -> None:
    assert sizes(split(100, fractions=(0.8, 0.1, 0.1), seed=0)) == [80, 10, 10]
    assert sizes(split(3, seed=0)) == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 2}, "n_samples must be 3 or more .*, got 2"),
        *(
            ({"fractions": wrong}, "fractions must be three positive numbers .* of sum 1, got")
            for wrong in (
                (0.5, 0.5),
                (0.5, 0.5, "a"),
                0.5,
                (1, 0, 0),
                (0.6, 0.6, -0.2),
                (0.6, 0.2, 0.3),
                (0.6, NAN, 0.4),
            )
        ),
        ({"labels": np.zeros(4, int)}, "labels must be 10, one per sample, got 4"),
        ({"labels": np.array(["a", "b"] * 5)}, "labels must be integers 0, 1, 2, ..., got"),
        ({"labels": np.array([0, -1] * 5)}, "labels must be integers 0, 1, 2, ..., got"),
        (
            {"n_samples": 4, "labels": np.array([0, 0, 1, 1])},
            "one class must have 3 samples or more .* classes of at most 2",
        ),
        ({"seed": -1}, "seed must be an integer of 0 or more, got -1"),
        ({"seed": None}, "seed must be an integer of 0 or more, got None"),
    ],
)
def test_bad_splits(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(**{"n_samples": 10, "seed": 0, **arguments})


@pytest.mark.parametrize(
    ("file", "smallest"),
    [("chowdary.h5ad", 42), ("nakayama.h5ad", 3), ("golub.csv.gz", 25), ("subramanian.csv.gz", 17)],
)
def test_real_data(shared_data: Path, file: str, smallest: int) -> None:
    pytest.importorskip("anndata")
    result = prepare(open_source(shared_data / file, label="label"))
    assert result.class_names is not None
    assert result.labels is not None
    n = len(result.rows)
    assert n == result.source.n_samples
    assert np.bincount(result.labels).min() == smallest
    parts = split(n, result.labels, seed=0, class_names=result.class_names)
    check_partition(parts, n)
    for part in (parts.train, parts.validation, parts.test):
        assert set(result.labels[part]) == set(range(len(result.class_names)))
    np.testing.assert_allclose(sizes(parts), [0.6 * n, 0.15 * n, 0.25 * n], atol=4)
    assert len(parts.messages) == (file == "nakayama.h5ad")
