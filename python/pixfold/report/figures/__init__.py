"""The figures of the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pixfold.report.contents import Contents
from pixfold.report.figures.feature_images import attribution_image, class_images
from pixfold.report.figures.ranking import agreement_curve, rank_frequency, top_features
from pixfold.report.figures.samples import feature_values, latent
from pixfold.report.figures.scores import confusion_matrix, predicted_values, run_scores, training_curves
from pixfold.report.figures.style import both
from pixfold.report.pixel_images import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = (
    "top_features",
    "confusion_matrix",
    "predicted_values",
    "run_scores",
    "agreement",
    "rank_frequency",
    "training_curves",
    "feature_values",
    "attribution_image",
    "class_means",
    "class_evidence",
    "latent",
)


def render(contents: Contents) -> dict[str, dict[str, bytes]]:
    """Draw every figure that applies: name (one of ``NAMES``) -> ``{"svg": file, "png": file}``."""
    return {name: both(figure, name) for name, figure in _figures(contents) if figure is not None}


def _figures(contents: Contents) -> Iterator[tuple[str, Figure | None]]:
    document, arrays = contents.document, contents.arrays
    metrics, classes, features = document["metrics"], document["classes"], document["features"]
    grid = Grid(*(int(size) for size in arrays["grid"]))
    yield "top_features", top_features(features, classes)
    if metrics.get("confusion_matrix") is not None and len(classes) > 1:
        yield "confusion_matrix", confusion_matrix(np.asarray(metrics["confusion_matrix"], dtype=np.int64), classes)
    if "predictions.target" in arrays:
        yield (
            "predicted_values",
            predicted_values(
                arrays["predictions.target"],
                arrays["predictions.predicted"],
                metrics.get("test_r2"),
                metrics.get("spearman"),
            ),
        )
    yield "run_scores", run_scores(metrics, n_classes=len(classes)) if _scored(document) else None
    if features:  # how far lists of chance agree is nothing to see
        yield "agreement", agreement_curve(metrics.get("agreement_curve", []))
    if "ranking.frequency" in arrays and metrics.get("top_k") is not None:
        yield (
            "rank_frequency",
            rank_frequency(
                arrays["ranking.frequency"],
                arrays["ranking.mean_rank"],
                metrics["top_k"],
                metrics.get("n_accepted", metrics["n_runs"]),
            ),
        )
    history = {name.removeprefix("history."): values for name, values in arrays.items() if name.startswith("history.")}
    yield "training_curves", training_curves(history, metrics)
    yield from _looked_at(contents, grid)


def _scored(document: dict[str, Any]) -> bool:
    return bool(document["task"] != "self-supervised")


def _looked_at(contents: Contents, grid: Grid) -> Iterator[tuple[str, Figure | None]]:
    document, arrays = contents.document, contents.arrays
    classes, features = document["classes"], document["features"]
    if "values.values" in arrays:
        name_of = {feature["position"]: feature["shown"] for feature in features}
        names = [name_of[int(position)] for position in arrays["values.features"]]
        yield "feature_values", feature_values(arrays["values.values"], names, arrays.get("values.labels"), classes)
    if "evidence" in arrays:
        yield "attribution_image", attribution_image(arrays["evidence"], arrays["marked"], features, grid)
    for name, title, label in (
        ("class_means", "Mean pseudo-image of each class", "mean normalised value"),
        ("class_evidence", "What moved the score of each class", "mean attribution in samples of the class"),
    ):
        if name in arrays:
            images, codes, n_of = arrays[name], arrays[f"{name}.codes"], int(arrays[f"{name}.of"])
            yield name, class_images(images, codes, n_of, grid, classes, title=title, label=label)
    if "latent.places" in arrays:
        places, shares, shape = (arrays[f"latent.{part}"] for part in ("places", "shares", "shape"))
        yield "latent", latent(places, shares, shape.tolist(), arrays.get("latent.clusters"))
