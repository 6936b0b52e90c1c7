from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pixfold.layout import Layout
from pixfold.learn.agreement import in_words
from pixfold.learn.consensus import Consensus, RunImportance
from pixfold.learn.results import (
    FeatureValues,
    Results,
    areas_under_curve,
    classification_metrics,
    regression_metrics,
    summarise,
)
from pixfold.learn.tables import findings_table, history_table, predictions_table, values_table
from pixfold.report import write_results

N_SAMPLES = 40


def _make(
    *,
    n_classes: int = 2,
    n_features: int = 30,
    n_runs: int = 2,
    layout: Layout | None = None,
    quantity: bool = False,
    names: list[str] | None = None,
) -> Results:
    """Results as a job gives them; no classes makes them self-supervised, or those of a quantity."""
    rng = np.random.default_rng(0)
    n_classes = 0 if quantity else n_classes
    classes = [f"class {code}" for code in range(n_classes)]
    names = names or [f"gene_{i}" for i in range(n_features)]
    consensus = Consensus(n_features)
    per_run, predictions, history, areas = [], [], [], []
    samples = [f"s{i}" for i in range(N_SAMPLES)]
    true = rng.normal(50.0, 10.0, N_SAMPLES) if quantity else np.arange(N_SAMPLES) % max(n_classes, 1)
    for number in range(1, n_runs + 1):
        importance = rng.gamma(2.0, 0.1, n_features)
        importance[3 % n_features] += 4.0
        mean = rng.normal(0.0, 0.3, (n_classes, n_features)) * importance
        consensus.add(RunImportance(importance, mean, np.abs(mean), 12, class_gradient=mean))
        assert consensus.converged is not None  # as a job asks after every run
        row = {"run": number, "epoch": 1, "train_loss": 1.0, "validation_loss": 1.2}
        if quantity:
            said = true + rng.normal(0.0, 5.0, N_SAMPLES)
            per_run.append({"run": number, "accepted": True, "seconds": 0.5, **regression_metrics(true, said)})
            predictions.append(values_table(run=number, samples=samples, targets=true, predicted=said))
        elif n_classes:
            guessed = np.where(rng.random(N_SAMPLES) < 0.9, true, 0)
            scores = np.full((N_SAMPLES, n_classes), 0.01)
            scores[np.arange(N_SAMPLES), guessed] = 0.9
            found = classification_metrics(true, guessed, n_classes, classes)
            per_run.append({"run": number, "accepted": True, "seconds": 0.5, "best_epoch": 2, **found})
            areas.append(scores)
            predictions.append(
                predictions_table(run=number, samples=samples, labels=true, probabilities=scores, class_names=classes)
            )
            row |= {"train_accuracy": 0.9, "validation_accuracy": 0.8}
        else:
            per_run.append({"run": number, "accepted": True, "loss": 0.5, "explained_variance": 0.4})
        for epoch in (1, 2, 3):
            history.append({**row, "epoch": epoch, "train_loss": 1.0 / epoch, "validation_loss": 1.2 / epoch})
    result = consensus.result()
    metrics = summarise(per_run) | {
        "agreement": result.agreement,
        "agreement_in_words": in_words(result.agreement),
        "agreement_curve": result.agreement_curve.tolist(),
        "converged": result.converged,
        "top_k": result.k,
        "n_samples": N_SAMPLES,
        "n_features_used": n_features,
    }
    if n_classes:
        run_of = np.repeat(np.arange(n_runs), N_SAMPLES)
        metrics |= areas_under_curve(run_of, np.tile(true, n_runs), np.concatenate(areas), classes)
        metrics["class_sizes"] = dict(zip(classes, np.bincount(true, minlength=n_classes).tolist(), strict=True))
    supervised = quantity or n_classes > 0
    shown = np.flatnonzero(np.isin(np.arange(n_features), [3, 5, 8]))
    notes = {"symbol": np.array([f"SYM{i}" for i in range(n_features)], dtype=object)}
    return Results(
        task="regression" if quantity else "classification" if n_classes else "self-supervised",
        findings=findings_table(
            result, names, classes, directions=("lower", "higher") if quantity else None, annotation=notes
        ),
        history=history_table(history),
        metrics=metrics,
        config={"backbone": "resnet18", "options": {"epochs": 3}},
        layout=layout if layout is not None else Layout.natural(n_features),
        class_names=classes,
        predictions=pd.concat(predictions, ignore_index=True) if supervised else None,
        class_means=rng.normal(size=(n_classes, n_features)) if n_classes else None,
        class_evidence=result.class_mean if n_classes else None,
        top_values=FeatureValues(
            shown, rng.normal(size=(N_SAMPLES, len(shown))).astype(np.float32), true if supervised else None
        ),
        annotation=["symbol"],
        latent=None
        if supervised
        else pd.DataFrame(rng.normal(size=(20, 4)), index=[f"s{i}" for i in range(20)], columns=list("abcd")),
        messages=["3 features are empty"],
        dropped={"features": ["gene_x"], "samples": []},
    )


@pytest.fixture(scope="session")
def make_results() -> Callable[..., Results]:
    return _make


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    """The folder of a job, to look at."""
    folder = tmp_path_factory.mktemp("written")
    write_results(_make(n_runs=6), folder)
    return folder


@pytest.fixture
def folder(written, tmp_path) -> Path:
    """A copy of it, to break."""
    return Path(shutil.copytree(written, tmp_path / "run"))
