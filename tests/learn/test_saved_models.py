"""Models that pixfold saved at commit fa91dd1 predict what they predicted there."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pixfold as pf

ARCHIVE = Path(__file__).parent / "data" / "saved_models.zip"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two folders of models, eight samples, and what the models made of them."""
    folder = tmp_path_factory.mktemp("saved")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder, pd.read_csv(folder / "samples.csv", index_col=0)


def test_classifier(saved):
    folder, samples = saved
    model = pf.load(folder / "classifier")
    expected = np.load(folder / "probabilities.npy")
    # A few hundred float32 terms below 1, in another order on another machine: far below 1e-5.
    np.testing.assert_allclose(model.predict_proba(samples), expected, rtol=0, atol=1e-5)
    assert model.predict(samples).tolist() == np.array(["case", "control"])[expected.argmax(axis=1)].tolist()
    assert (model.backbone, model.arrangement, model.fractions) == ("patchnet", "shuffled", (0.6, 0.15, 0.25))
    assert model.categories_ == {"sex": ["f", "m"]}
    assert model.feature_names_in_.tolist() == samples.columns.tolist()


def test_autoencoder(saved):
    folder, samples = saved
    model = pf.load(folder / "autoencoder")
    latent = model.transform(samples.drop(columns="sex").to_numpy(np.float32))
    np.testing.assert_allclose(latent, np.load(folder / "latent.npy"), rtol=0, atol=1e-5)
    assert model.latent_dim == 2
