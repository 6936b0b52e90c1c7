from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from pixfold.sources import open_source
from pixfold.stream.prepare import prepare


def digest(X, memory=None):
    return prepare(open_source(X), supervised=False, memory=memory, digest=True).digest


@pytest.mark.parametrize("kind", [np.asarray, np.asfortranarray, scipy.sparse.csr_matrix])
def test_a_digest_is_of_the_values_however_they_are_read(kind):
    X = np.random.default_rng(0).integers(0, 3, (300, 20)).astype(np.float32)
    X[:, 0] += 1
    found = digest(kind(X))
    assert found == digest(kind(X.copy()), memory=60_000)
    swapped = X.copy()
    # The same values per feature, and per sample a sum that stays.
    swapped[[3, 4]] = swapped[[4, 3]]
    assert found != digest(kind(swapped))
    changed = X.copy()
    changed[299, 19] += 1
    assert found != digest(kind(changed))


def test_without_being_asked_nothing_is_summed():
    assert prepare(open_source(np.ones((3, 2))), supervised=False).digest is None
