"""The figures of the report, as PNG files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pixfold.learn.results import Results
from pixfold.report.figures.charts import confusion_matrix, latent, run_scores, top_features, training_curves
from pixfold.report.figures.feature_images import attribution_image, class_means
from pixfold.report.figures.style import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = (
    "training_curves",
    "run_scores",
    "confusion_matrix",
    "top_features",
    "class_means",
    "attribution_image",
    "latent",
)


def render(results: Results) -> dict[str, bytes]:
    """Draw every figure that applies to the results: name (one of ``NAMES``) -> PNG file at 150 dpi."""
    figures: dict[str, Figure | None] = {
        "training_curves": training_curves(results.history, results.metrics),
        "run_scores": run_scores(results.metrics, n_classes=len(results.class_names)),
        "confusion_matrix": _confusion(results),
        "top_features": top_features(results.shown_findings, results.class_names),
        "class_means": None
        if results.class_means is None
        else class_means(results.class_means, results.layout, results.class_names),
        "attribution_image": attribution_image(results.shown_findings, results.layout),
        "latent": None if results.latent is None else latent(results.latent),
    }
    return {name: png(figure) for name, figure in figures.items() if figure is not None}


def _confusion(results: Results) -> Figure | None:
    counts = results.metrics.get("confusion_matrix")
    if counts is None or len(results.class_names) < 2:
        return None
    return confusion_matrix(np.asarray(counts, dtype=np.int64), results.class_names)
