from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from pixfold.layout import Layout
from pixfold.learn.consensus import Consensus, RunImportance
from pixfold.learn.results import Results, classification_metrics, summarise
from pixfold.learn.tables import findings_table, history_table, predictions_table


def _make(*, n_classes: int = 2, n_features: int = 30, n_runs: int = 2, layout: Layout | None = None) -> Results:
    """Results as a job gives them; no classes makes them self-supervised."""
    rng = np.random.default_rng(0)
    supervised = n_classes > 0
    classes = [f"class {code}" for code in range(n_classes)]
    consensus = Consensus(n_features)
    per_run, predictions, history = [], [], []
    for number in range(1, n_runs + 1):
        importance = rng.gamma(2.0, 0.1, n_features)
        importance[3] += 4.0
        mean = rng.normal(0.0, 0.3, (n_classes, n_features)) * importance
        consensus.add(RunImportance(importance, mean, np.abs(mean), 12))
        if supervised:
            true = np.arange(40) % n_classes
            guessed = np.where(rng.random(40) < 0.9, true, 0)
            scores = np.full((40, n_classes), 0.01)
            scores[np.arange(40), guessed] = 0.9
            per_run.append(
                {"run": number, "accepted": True, **classification_metrics(true, guessed, n_classes, classes)}
            )
            predictions.append(
                predictions_table(
                    run=number,
                    samples=[f"s{i}" for i in range(40)],
                    labels=true,
                    probabilities=scores,
                    class_names=classes,
                )
            )
        else:
            per_run.append({"run": number, "accepted": True, "loss": 0.5, "explained_variance": 0.4})
        for epoch in (1, 2, 3):
            row = {"run": number, "epoch": epoch, "train_loss": 1.0 / epoch, "validation_loss": 1.2 / epoch}
            if supervised:
                row |= {"train_accuracy": 0.9, "validation_accuracy": 0.8}
            history.append(row)
    return Results(
        task="classification" if supervised else "self-supervised",
        findings=findings_table(consensus.result(), [f"gene_{i}" for i in range(n_features)], classes),
        history=history_table(history),
        metrics=summarise(per_run),
        config={"backbone": "resnet18", "options": {"epochs": 3}},
        layout=layout if layout is not None else Layout.natural(n_features),
        class_names=classes,
        predictions=pd.concat(predictions, ignore_index=True) if supervised else None,
        class_means=rng.normal(size=(n_classes, n_features)) if supervised else None,
        latent=None
        if supervised
        else pd.DataFrame(rng.normal(size=(20, 4)), index=[f"s{i}" for i in range(20)], columns=list("abcd")),
        messages=["3 features are empty"],
        dropped={"features": ["gene_x"], "samples": []},
    )


@pytest.fixture
def make_results() -> Callable[..., Results]:
    return _make
