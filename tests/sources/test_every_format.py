"""Every format, type of values and form of a matrix on all the ways that data go: run, fold, FoldLoader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from pixfold import FoldLoader, Layout
from pixfold.cli.app import app
from pixfold.images.convert import convert
from pixfold.learn.estimators import DeepMapperClassifier
from pixfold.sources import open_source

TINY = {"backbone": "patchnet", "n_runs": 1, "epochs": 1, "batch_size": 16, "device": "cpu", "random_state": 0}


def test_run(written: Any) -> None:
    source = open_source(written.data, labels=written.labels, label="kind")
    model = DeepMapperClassifier(**TINY, normalize="zscore", min_accuracy=0.0, threads=1).fit_source(source)
    assert list(model.classes_) == ["a", "b"]
    assert len(model.results_.predictions) > 0
    assert model.feature_names_ == source.feature_names


def test_fold(written: Any, tmp_path: Path) -> None:
    out = tmp_path / "images.npy"
    if isinstance(written.data, Path):
        done = CliRunner().invoke(app, ["fold", str(written.data), str(out), "--normalize", "none", "--quiet"])
        assert done.exit_code == 0, done.output
    else:  # what the command calls
        convert(written.source, out, normalize="none")
    images = np.load(out)
    layout = Layout.load(tmp_path / "images.layout.npz")
    np.testing.assert_array_equal(images.reshape(len(images), -1)[:, layout.pixel_of_feature], written.matrix)


def test_fold_loader(written: Any) -> None:
    rows = np.array([5, 0, 0, 47, 2])
    layout = Layout.natural(written.source.n_features)
    for images, labels, places in FoldLoader(
        written.source, layout, rows=rows, labels=rows % 2, batch_size=3, shuffle=True
    ):
        folded = images.numpy().reshape(len(images), -1)[:, layout.pixel_of_feature]
        np.testing.assert_array_equal(folded, written.matrix[rows[places.numpy()]])
        assert labels.tolist() == (rows[places.numpy()] % 2).tolist()
