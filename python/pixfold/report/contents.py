"""What the report says: a document of plain values and a few small arrays, both made once and kept in the folder.

The page and the figures are made from these alone, so that they can be made again without the data or the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixfold._core import __version__
from pixfold.learn.results import Results
from pixfold.report.cautions import cautions, is_caution, is_unsteady
from pixfold.report.pixel_images import Grid, kept_image, place_of
from pixfold.report.words import answer
from pixfold.util.json_values import plain

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1

# Features in the document: as many as are called, within these.
_FEWEST, _MOST = 100, 500
_NAMED, _PAIRS = 30, 50
# Points that a figure draws, classes whose images are kept, and features that are ringed in the image.
_POINTS, _CLASSES, _MARKED = 5_000, 12, 10
_HISTORY = frozenset(["run", "epoch", "train_loss", "validation_loss", "train_accuracy", "validation_accuracy"])
_NUMBERS = (
    *("rank", "importance", "importance_se", "p", "q", "selection_frequency", "mean_rank", "saliency", "stability"),
    *("test_statistic", "test_p", "test_q", "rank_test", "rank_l1", "rank_l2"),
)


@dataclass(frozen=True)
class Contents:
    """What the report is made from.

    Attributes
    ----------
    document : dict
        The content of ``findings.json``, by ``findings.schema.json``: strings, numbers, None, lists and dicts.
    arrays : dict of str to array
        The content of ``report.npz``: pixels and points of the figures.
    """

    document: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, results: Results) -> Contents:
        """Choose what is told of the results of a job."""
        findings = results.shown_findings.assign(name=results.findings["feature"])
        ranked = findings[findings["rank"].notna()]
        n_called = int(ranked["called"].sum()) if "called" in ranked else 0
        top = ranked.iloc[: int(np.clip(n_called, _FEWEST, _MOST))]
        document = {
            "format": FORMAT,
            "pixfold": __version__,
            "task": results.task,
            "classes": results.class_names,
            "answer": answer(results),
            "warnings": cautions(results),
            "messages": [message for message in results.messages if not is_caution(message)],
            "features": _features(results, top),
            "pairs": _pairs(results),
            "metrics": results.metrics,
            "data": {
                "n_features": len(findings),
                "n_ranked": len(ranked),
                "class_sizes": results.metrics.get("class_sizes", {}),
                "dropped": {
                    kind: {"n": len(names), "names": names[:_NAMED]} for kind, names in results.dropped.items()
                },
            },
            "layout": dict(zip(("channels", "height", "width"), results.layout.shape, strict=True)),
            "settings": results.config,
        }
        return cls(plain(document), _arrays(results, ranked, top))


def _features(results: Results, top: pd.DataFrame) -> list[dict[str, Any]]:
    k, n_runs = results.metrics.get("top_k"), results.metrics.get("n_runs", 0)
    columns = {name: top[name].to_numpy() for name in _NUMBERS if name in top}
    notes = {name: top[name].to_numpy() for name in results.annotation if name in top}
    means = results.class_means
    found = []
    for at, (position, name, shown, direction, called) in enumerate(
        zip(top.index, top["name"], top["feature"], top["direction"], top["called"], strict=True)
    ):
        numbers = {column: values[at] for column, values in columns.items()}
        entry = {
            "feature": str(name),
            "shown": str(shown),
            "position": int(position),
            **numbers,
            "direction": str(direction),
            "called": bool(called),
            "unsteady": is_unsteady(numbers, k, n_runs),
        }
        if means is not None:
            entry["class_means"] = dict(zip(results.class_names, means[:, int(position)], strict=True))
        if notes:
            entry["annotation"] = {column: values[at] for column, values in notes.items()}
        found.append(entry)
    return found


def _pairs(results: Results) -> list[dict[str, Any]]:
    if results.pairs is None:
        return []
    return [
        {
            "feature_a": str(row["feature_a"]),
            "feature_b": str(row["feature_b"]),
            "shown_a": results.shown(str(row["feature_a"])),
            "shown_b": results.shown(str(row["feature_b"])),
            "z": row["z"],
            "p_bonferroni": row["p_bonferroni"],
        }
        for _, row in results.pairs.iloc[:_PAIRS].iterrows()
    ]


def _arrays(results: Results, ranked: pd.DataFrame, top: pd.DataFrame) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    layout, findings = results.layout, results.findings
    grid = Grid.of(layout)
    arrays["grid"] = np.array([grid.height, grid.width, grid.factor])
    if len(ranked):
        importance = findings["importance"].sort_index().to_numpy(dtype=float)
        # What speaks against the truth is no evidence.
        arrays["evidence"] = kept_image(np.maximum(importance, 0.0), layout)
        arrays["marked"] = place_of(top.index.to_numpy(dtype=np.int64)[:_MARKED], layout)
        arrays["ranking.frequency"] = ranked["selection_frequency"].to_numpy(dtype=np.float32)[:_POINTS]
        arrays["ranking.mean_rank"] = ranked["mean_rank"].to_numpy(dtype=np.float32)[:_POINTS]
        arrays |= _of_classes("class_evidence", results.class_evidence, results)
    if results.class_means is not None:
        arrays |= _of_classes("class_means", results.class_means, results)
    if results.top_values is not None:
        values = results.top_values
        told = np.isin(values.features, top.index.to_numpy())  # the document has the names of these
        arrays["values.features"] = values.features[told]
        arrays["values.values"] = values.values[:, told]
        if values.labels is not None:
            arrays["values.labels"] = values.labels
    for column in sorted(_HISTORY & set(results.history.columns)):
        arrays[f"history.{column}"] = results.history[column].to_numpy(dtype=np.float64)
    if results.task == "regression" and results.predictions is not None:
        shown = _some(len(results.predictions))
        for column in ("target", "predicted"):
            arrays[f"predictions.{column}"] = results.predictions[column].to_numpy(dtype=np.float64)[shown]
    if results.latent is not None:
        found = _latent(results.latent.to_numpy(dtype=np.float64))
        if found and results.clusters is not None:
            found["latent.clusters"] = results.clusters.to_numpy(dtype=np.int64)[_some(len(results.clusters))]
        arrays |= found
    return arrays


def _of_classes(name: str, values: NDArray[np.float64] | None, results: Results) -> dict[str, NDArray[Any]]:
    """Images of the first classes that have values, with their codes."""
    if values is None:
        return {}
    codes = [code for code in range(len(values)) if np.isfinite(values[code]).any()]
    shown = codes[:_CLASSES]
    if not shown:
        return {}
    images = np.stack([kept_image(values[code], results.layout) for code in shown])
    return {name: images, f"{name}.codes": np.array(shown), f"{name}.of": np.array(len(codes))}


def _latent(values: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Samples along the first two principal directions, and these directions' shares of the variance."""
    values = values - values.mean(axis=0) if len(values) else values
    if len(values) < 2 or not values.any():
        return {}
    _, strength, directions = np.linalg.svd(values, full_matrices=False)
    return {
        "latent.places": (values @ directions[:2].T)[_some(len(values))].astype(np.float32),
        "latent.shares": (strength**2 / (strength**2).sum())[:2],
        "latent.shape": np.array(values.shape),
    }


def _some(n: int) -> NDArray[np.int64]:
    """Positions of at most so many points as a figure draws."""
    return np.arange(n) if n <= _POINTS else np.sort(np.random.default_rng(0).choice(n, _POINTS, replace=False))
