"""The report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pixfold.learn.results import Results
from pixfold.util.json_values import plain
from pixfold.util.optional import require

_TOP, _NAMED = 20, 30
# Figure -> its caption.
_CAPTIONS = {
    "top_features": "The features with the best ranks.",
    "attribution_image": "Importance of every feature, at its pixel; light grey pixels are padding.",
    "latent": "Every sample in the latent space, along the two directions in which it varies most.",
    "confusion_matrix": "True and predicted classes of the held-out samples, summed over runs.",
    "training_curves": "Training and validation, epoch by epoch.",
    "class_means": "Mean of the normalised values of each class, folded like the samples.",
}


def render(results: Results, figures: Mapping[str, bytes]) -> str:
    """Make the report.

    Parameters
    ----------
    results : Results
        What to report.
    figures : mapping
        From :func:`pixfold.report.figures.render`: name -> PNG file. They are embedded.

    Returns
    -------
    str
        An HTML document without links to other files.
    """
    jinja2 = require("jinja2", "train", "the report")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text: str = environment.get_template("report.html.j2").render(
        title="Self-supervised features" if results.task == "self-supervised" else "Features that tell classes apart",
        supervised=results.task == "classification",
        headline=_headline(results),
        warnings=_warnings(results),
        messages=results.messages,
        features=_features(results),
        n_features=len(results.findings),
        n_ranked=int(results.findings["rank"].notna().sum()),
        figures=[
            (_CAPTIONS[name], _css_width(figures[name]), base64.b64encode(figures[name]).decode("ascii"))
            for name in _CAPTIONS
            if name in figures
        ],
        runs=_runs(results.metrics.get("runs", ())),
        dropped=[
            (kind, len(names), ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else ""))
            for kind, names in results.dropped.items()
            if names
        ],
        config=list(_flat(results.config)),
        versions=list(_flat(results.metrics.get("versions", {}))),
    )
    return text


def _headline(results: Results) -> list[tuple[str, str, str]]:
    """Return the numbers on top: each with its name and what to compare it with."""
    metrics = results.metrics
    numbers = []
    for key, name, beside in (
        ("test_accuracy", "test accuracy", "chance_accuracy"),
        ("balanced_accuracy", "balanced accuracy", None),
        ("macro_f1", "macro F1", None),
        ("explained_variance", "explained variance", None),
        ("test_loss", "test loss", None),
    ):
        value = _number(metrics.get(key))
        if value is None:
            continue
        spread, chance = _number(metrics.get(f"{key}_std")), _number(metrics.get(beside)) if beside else None
        notes = [f"± {spread:.3f} over runs"] if spread is not None else []
        notes += [f"chance {chance:.3f}"] if chance is not None else []
        numbers.append((f"{value:.3f}", name, ", ".join(notes)))
    if "n_runs" in metrics:
        numbers.append((f"{metrics['n_accepted']} / {metrics['n_runs']}", "runs accepted", ""))
    return numbers


def _warnings(results: Results) -> list[str]:
    warnings = []
    if results.metrics.get("n_accepted") == 0:
        warnings.append("No run was accepted: no feature has a rank, and the numbers below are means over all runs.")
    elif not results.findings["rank"].notna().any():
        warnings.append("No feature has a rank.")
    accuracy, chance = (_number(results.metrics.get(key)) for key in ("test_accuracy", "chance_accuracy"))
    if accuracy is not None and chance is not None and accuracy <= chance:
        warnings.append(
            "Test accuracy is not above chance: the model has not learned the classes; distrust its ranking."
        )
    return warnings


def _features(results: Results) -> list[dict[str, str]]:
    top = results.findings[results.findings["rank"].notna()].iloc[:_TOP]
    return [
        {
            "rank": f"{row['rank']:g}",
            "feature": str(row["feature"]),
            "importance": f"{row['importance']:.3g}",
            "spread": "" if np.isnan(row["importance_std"]) else f"± {row['importance_std']:.2g}",
            "selected": f"{row['selection_frequency']:.0%}",
            "mean_rank": f"{row['mean_rank']:.1f}",
            "share": f"{row['importance'] / top['importance'].iloc[0]:.4f}",
        }
        for _, row in top.iterrows()
    ]


def _runs(runs: Any) -> list[dict[str, str]]:
    rows = []
    for number, run in enumerate(runs, start=1):
        score = _number(run.get("accuracy", run.get("explained_variance", run.get("loss"))))
        seconds = _number(run.get("seconds"))
        rows.append(
            {
                "run": str(run.get("run", number)),
                "score": "" if score is None else f"{score:.3f}",
                "seconds": "" if seconds is None else f"{seconds:.1f} s",
                "accepted": "yes" if run["accepted"] else "no" + (f": {run['reason']}" if run.get("reason") else ""),
            }
        )
    return rows


def _css_width(png: bytes) -> int:
    """Return the width in pixels that a PNG file gets on the page."""
    # Bytes 16 to 20 of a PNG file hold its width, big-endian. 150 dpi drawn at 100 pixels per inch: text has one size
    # in all figures, and stays sharp on dense screens.
    return int.from_bytes(png[16:20], "big") * 2 // 3


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, str):
        return None
    number = float(value)
    return number if np.isfinite(number) else None


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, value as text) of nested settings."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            shown = plain(value)
            text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
            yield f"{prefix}{key}", text if len(text) <= 300 else text[:299] + "…"
