"""A biobank on one card, at the size of a test: genotypes stay packed, random batches of them are learned."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from pixfold.errors import InputError
from pixfold.examples import biobank


def test_an_epoch_learns_from_packed_genotypes(capsys: pytest.CaptureFixture[str]) -> None:
    found = biobank.epoch(biobank.MadeUpGenotypes(960, 1_003), "cpu", batch_size=16)
    assert found.nbytes == 960 * 251
    assert found.accuracy > 0.7  # by chance 0.5 +- 0.03, over 240 samples
    assert 0 < found.fold_seconds < found.seconds
    biobank.main(["--device", "cpu", "--samples", "32", "--variants", "100", "--batch-size", "16"])
    assert "32 samples x 100 variants resident in 800 bytes" in capsys.readouterr().out


def test_made_up_genotypes_are_the_same_however_they_are_read() -> None:
    source = biobank.MadeUpGenotypes(600, 203)
    whole = source.read(slice(0, 600)).toarray(np.int8)
    rows = np.array([599, 3, 3, 256, 300])
    np.testing.assert_array_equal(source.read(rows).toarray(np.int8), whole[rows])
    assert set(np.unique(whole)) == {0, 1, 2}  # none missing
    ones = [whole[source.labels == label][:, :32].mean() for label in (0, 1)]
    assert abs(ones[0] - ones[1]) > 0.2
    assert abs(whole[source.labels == 0][:, 40:].mean() - whole[source.labels == 1][:, 40:].mean()) < 0.1


def test_a_card_keeps_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(biobank, "free_memory", lambda: 1_000_000)
    assert biobank.resident_samples(805_000, "cpu") == 4  # of 201,250 bytes


def test_bad_input(tmp_path) -> None:
    with pytest.raises(InputError, match="variants must be at least 32, got 20"):
        biobank.MadeUpGenotypes(4, 20)
    np.save(tmp_path / "x.npy", np.ones((4, 40), np.uint8))
    with pytest.raises(InputError, match=r"an epoch needs labels: name their column \(--label\), got none"):
        biobank.main(["--bed", str(tmp_path / "x.npy"), "--device", "cpu"])
