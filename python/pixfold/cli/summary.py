"""What ``pixfold run`` prints at its end: the best features, the scores, and where everything is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixfold.cli.messages import console, say
from pixfold.report.cautions import cautions
from pixfold.report.words import findings_in_words, not_ranked

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from pixfold.learn.results import Results

_SHOWN = 10
# Balanced accuracy first: where classes are of very different sizes accuracy says little.
_SCORES = {
    "balanced_accuracy": "balanced accuracy",
    "test_accuracy": "test accuracy",
    "test_r2": "R2 of held-out samples",
    "spearman": "Spearman correlation of held-out samples",
    "explained_variance": "explained variance",
}


def print_summary(results: Results, out: Path) -> None:
    """Print what a run found, and the folder `out` that it was written to."""
    from rich.text import Text

    screen, metrics = console(), results.metrics
    screen.print(_top_features(results) or "No feature has a rank.")
    by_chance = {"test_accuracy": metrics.get("chance_accuracy")}
    if results.class_names:
        by_chance["balanced_accuracy"] = 1.0 / len(results.class_names)
    for key, name in _SCORES.items():
        if metrics.get(key) is not None:
            spread, chance = metrics.get(f"{key}_std"), by_chance.get(key)
            line = f"{name}: {metrics[key]:.3f}"
            if spread is not None and spread == spread:  # not NaN
                line += f" ± {spread:.3f}"
            if chance is not None:
                line += f"  (chance {chance:.3f})"
            screen.print(line)
    for line in findings_in_words(results):
        screen.print(Text(line), soft_wrap=True)
    # Neither wrapped nor read as markup, so that the path can be copied.
    screen.print(Text(f"output folder: {out}"), soft_wrap=True)
    if metrics.get("n_accepted") == 0:
        say("warning: no feature has a rank: " + not_ranked(metrics))
    else:
        for text in cautions(results, messages=False):
            say(f"warning: {text}")


# Of metrics.json: what the object of --json holds beside the features.
_METRICS = (
    *("test_accuracy", "balanced_accuracy", "macro_f1", "chance_accuracy", "test_r2", "spearman", "explained_variance"),
    *("test_p", "n_called", "n_features_used", "n_runs", "n_accepted", "agreement", "converged", "seconds"),
)


def summary_object(results: Results, out: Path) -> dict[str, Any]:
    """Return what ``pixfold run --json`` prints: scores, called features, the best of the list, and messages."""
    return _object(out, results.task, results.metrics, results.findings, results.messages)


def stored_summary_object(out: Path) -> dict[str, Any]:
    """Return the same of a run that lies in the folder `out`."""
    import pandas as pd

    from pixfold.report.stored import load

    document = load(out).document
    table = out / "findings.csv"
    findings = pd.read_csv(table, dtype={"feature": str}, keep_default_na=False, na_values=[""])
    return _object(out, document["task"], document["metrics"], findings, [*document["warnings"], *document["messages"]])


def _object(
    out: Path, task: str, metrics: dict[str, Any], findings: pd.DataFrame, messages: list[str]
) -> dict[str, Any]:
    columns = ("feature", "rank", "importance", "direction", "p", "q", "called", "selection_frequency")
    top = findings[findings["rank"].notna()].head(_SHOWN)[[name for name in columns if name in findings]]
    return {
        "out": str(out),
        "task": task,
        "metrics": {name: metrics[name] for name in _METRICS if metrics.get(name) is not None},
        "called": findings.loc[findings["called"].eq(True), "feature"].tolist() if "called" in findings else [],
        "top_features": top.to_dict(orient="records"),
        "messages": messages,
        "files": sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()),
    }


def _q_value(row: Any) -> str:
    """q-value, with a star when the feature is called."""
    return "" if row["q"] != row["q"] else f"{row['q']:.2g}" + (" *" if row["called"] else "")


def _top_features(results: Results) -> Table | None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    findings = results.shown_findings
    top = findings[findings["rank"].notna()].iloc[:_SHOWN]
    if not len(top):
        return None
    table = Table(box=box.SIMPLE_HEAD, title=f"Top {len(top)} of {len(results.findings):,} features")
    table.add_column("rank", justify="right")
    table.add_column("feature", overflow="fold")
    supervised = results.task != "self-supervised"
    names = ("evidence", "± se", "speaks for", "q", "in top k") if supervised else ("importance", "± se", "in top k")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for _, row in top.iterrows():
        table.add_row(
            f"{row['rank']:g}",
            Text(str(row["feature"])),
            f"{row['importance']:.3g}",
            "" if row["importance_se"] != row["importance_se"] else f"{row['importance_se']:.2g}",
            *((Text(str(row["direction"])), _q_value(row)) if supervised else ()),
            f"{row['selection_frequency']:.0%}",
        )
    return table
