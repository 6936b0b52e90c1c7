"""What ``pixfold run`` prints at its end: the best features, the scores, and where everything is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixfold.cli.messages import console, say
from pixfold.report.words import findings_in_words, not_ranked

if TYPE_CHECKING:
    from rich.table import Table

    from pixfold.learn.results import Results

_SHOWN = 10
_SCORES = {
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
    for key, name in _SCORES.items():
        if metrics.get(key) is not None:
            spread, chance = metrics.get(f"{key}_std"), metrics.get("chance_accuracy")
            line = f"{name}: {metrics[key]:.3f}"
            if spread is not None and spread == spread:  # not NaN
                line += f" ± {spread:.3f}"
            if key == "test_accuracy" and chance is not None:
                line += f"  (chance {chance:.3f})"
            screen.print(line)
    for line in findings_in_words(results):
        screen.print(Text(line), soft_wrap=True)
    # Neither wrapped nor read as markup, so that the path can be copied.
    screen.print(Text(f"output folder: {out}"), soft_wrap=True)
    if metrics.get("n_accepted") == 0:
        say("warning: no feature has a rank: " + not_ranked(metrics))


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
