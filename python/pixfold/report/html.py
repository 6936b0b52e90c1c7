"""The report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pixfold.learn.results import Results
from pixfold.report.words import answer
from pixfold.util.json_values import plain
from pixfold.util.optional import require
from pixfold.util.text import counted

_TOP, _NAMED, _PAIRS = 20, 30, 10
# p-values below it are not told apart.
_SMALLEST = 1e-99
_TITLES = {
    "classification": "Features that tell classes apart",
    "regression": "Features that go with a quantity",
    "self-supervised": "Self-supervised features",
}
# Figure -> its caption.
_CAPTIONS = {
    "top_features": "The features with the best ranks.",
    "attribution_image": "The same for every feature, at its pixel; light grey pixels are padding.",
    "latent": "Every sample in the latent space, along the two directions in which it varies most.",
    "run_scores": "Held-out samples of every run: each run holds out others.",
    "confusion_matrix": "True and predicted classes of the held-out samples, summed over runs.",
    "training_curves": "Training and validation, epoch by epoch.",
    "class_means": "Mean of the normalised values of each class, folded like the samples.",
}
# Column of the findings -> how the table of top features names it.
_OTHER_RANKS = {"rank_test": "by test", "rank_l1": "by L1", "rank_l2": "by L2"}


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
        title=_title(results),
        supervised=results.task != "self-supervised",
        quantity=results.task == "regression",
        headline=_headline(results),
        answer=answer(results),
        warnings=_warnings(results),
        messages=results.messages,
        features=_features(results),
        other_ranks=[name for column, name in _OTHER_RANKS.items() if column in results.findings],
        pairs=_pairs(results),
        methods=_methods(results),
        splits=_splits(results.metrics),
        n_features=f"{len(results.findings):,}",
        n_ranked=f"{int(results.findings['rank'].notna().sum()):,}",
        several=bool(results.findings["importance_se"].notna().any()),
        approximate=results.metrics.get("p_values_from") == "held-out samples",
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


def _title(results: Results) -> str:
    names = results.class_names
    return f"Features that tell {names[0]} from {names[1]}" if len(names) == 2 else _TITLES[results.task]


def _headline(results: Results) -> list[tuple[str, str, str]]:
    """Return the numbers on top: each with its name and what to compare it with."""
    metrics, numbers = dict(results.metrics), []
    if results.class_names:
        metrics["chance_balanced"] = 1.0 / len(results.class_names)
    for key, name, beside in (
        ("balanced_accuracy", "balanced accuracy", "chance_balanced"),
        ("test_accuracy", "test accuracy", "chance_accuracy"),
        ("macro_f1", "macro F1", None),
        ("test_r2", "R\N{SUPERSCRIPT TWO} of held-out samples", None),
        ("spearman", "Spearman correlation", None),
        ("pearson", "Pearson correlation", None),
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
        numbers.append((f"{metrics['n_runs']}", "run" if metrics["n_runs"] == 1 else "runs", ""))
    if "n_called" in metrics:
        numbers.insert(0, (f"{metrics['n_called']:,}", "features called", f"of {metrics['n_features_used']:,}"))
    return numbers


def _warnings(results: Results) -> list[str]:
    warnings = []
    accuracy, chance = (_number(results.metrics.get(key)) for key in ("test_accuracy", "chance_accuracy"))
    # A job whose labels were tested says itself what it has learned.
    tested = results.metrics.get("test_p") is not None
    if accuracy is not None and chance is not None and accuracy <= chance and not tested:
        warnings.append(
            "Test accuracy is not above chance: the model has not learned the classes; distrust its ranking."
        )
    spearman = _number(results.metrics.get("spearman"))
    if spearman is not None and spearman <= 0 and not tested:
        warnings.append(
            "Predictions of held-out samples do not rise with the quantity: it was not learned; distrust the ranking."
        )
    return warnings


def _features(results: Results) -> list[dict[str, Any]]:
    findings = results.shown_findings
    top = findings[findings["rank"].notna()].iloc[:_TOP]
    if top.empty:
        return []
    spread = top["importance_se"].fillna(0.0)
    reach = float((top["importance"] + spread).max())
    others = [column for column in _OTHER_RANKS if column in top]
    return [
        {
            "rank": f"{row['rank']:,g}",
            "feature": str(row["feature"]),
            "importance": f"{row['importance']:.3g}",
            "spread": "" if np.isnan(row["importance_se"]) else f"± {row['importance_se']:.1g}",
            "selected": f"{row['selection_frequency']:.0%}",
            "direction": str(row["direction"]),
            "q": _p_value(row["q"]),
            "called": bool(row["called"]),
            "share": f"{row['importance'] / reach:.4f}",
            "low": f"{max(0.0, row['importance'] - error) / reach:.4f}",
            "width": f"{min(2 * error, row['importance'] + error) / reach:.4f}",
            "others": ["" if np.isnan(row[column]) else f"{row[column]:,g}" for column in others],
        }
        for (_, row), error in zip(top.iterrows(), spread, strict=True)
    ]


def _three_digits(score: float) -> str:
    return f"{round(score, 3) + 0.0:.3f}"  # no -0.000


def _p_value(p: float) -> str:
    return "" if np.isnan(p) else f"{p:.2g}" if p >= _SMALLEST else f"< {_SMALLEST:g}"


def _pairs(results: Results) -> list[dict[str, str]]:
    if results.pairs is None:
        return []
    return [
        {
            "a": results.shown(str(row["feature_a"])),
            "b": results.shown(str(row["feature_b"])),
            "z": f"{row['z']:.2f}",
            "p": _p_value(row["p_bonferroni"]),
        }
        for _, row in results.pairs.iloc[:_PAIRS].iterrows()
    ]


def _n_splits(metrics: Mapping[str, Any]) -> int:
    models = (model for name, model in metrics.get("baselines", {}).items() if name != "test")
    return max((int(model["n_splits"]) for model in models), default=0)


def _splits(metrics: Mapping[str, Any]) -> str:
    """Say which splits the methods are compared on."""
    n = _n_splits(metrics)
    if n >= metrics.get("n_runs", 0):
        return "Scores are those of the runs' own splits."
    return f"Scores are means over the splits of the first {counted(n, 'run')}; ours above is of all runs."


def _methods(results: Results) -> list[dict[str, str]]:
    """Say what the network and simpler methods score on the same splits, and how many features they call."""
    metrics, baselines = results.metrics, results.metrics.get("baselines")
    if not baselines:
        return []
    key = "r2" if results.task == "regression" else "balanced_accuracy"
    linear = [baselines[name] for name in ("l2", "l1") if name in baselines]
    n_splits = _n_splits(metrics)
    own = [score for run in metrics["runs"][:n_splits] if (score := _number(run.get(key))) is not None]
    named = results.config.get("backbone")
    rows = [
        {
            "name": f"this network ({named})" if named else "this network",
            "score": _three_digits(float(np.mean(own))) if own else "",
            "called": f"{metrics['n_called']:,}" if "n_called" in metrics else "",
        }
    ]
    for model in linear:
        score = _number(model.get(key))
        rows.append({"name": model["name"], "score": "" if score is None else _three_digits(score), "called": ""})
    test = baselines["test"]
    rows.append({"name": f"{test['name']}, each feature by itself", "score": "", "called": f"{test['n_called']:,}"})
    return rows


def _runs(runs: Any) -> list[dict[str, str]]:
    rows = []
    for number, run in enumerate(runs, start=1):
        score = _number(run.get("accuracy", run.get("r2", run.get("explained_variance", run.get("loss")))))
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
