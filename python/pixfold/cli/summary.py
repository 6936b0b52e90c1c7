"""What ``pixfold run`` prints at its end: the best features, the scores, and where everything is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pixfold.cli.messages import console, say

if TYPE_CHECKING:
    from rich.table import Table

    from pixfold.learn.results import Results

_SHOWN = 10


def print_summary(results: Results, out: Path) -> None:
    """Print what a run found, and the folder `out` that it was written to."""
    from rich.text import Text

    screen, metrics = console(), results.metrics
    screen.print(_top_features(results) or "No feature has a rank.")
    for key, name in (("test_accuracy", "test accuracy"), ("explained_variance", "explained variance")):
        if metrics.get(key) is not None:
            spread, chance = metrics.get(f"{key}_std"), metrics.get("chance_accuracy")
            line = f"{name}: {metrics[key]:.3f}"
            if spread is not None and spread == spread:  # not NaN
                line += f" ± {spread:.3f}"
            if key == "test_accuracy" and chance is not None:
                line += f"  (chance {chance:.3f})"
            screen.print(line)
    if "n_runs" in metrics:
        screen.print(f"accepted runs: {metrics['n_accepted']} of {metrics['n_runs']}")
    # Neither wrapped nor read as markup, so that the path can be copied.
    screen.print(Text(f"output folder: {out}"), soft_wrap=True)
    if metrics.get("n_accepted") == 0:
        say("warning: no run was accepted, so no feature has a rank; metrics.json says why for each run")


def _top_features(results: Results) -> Table | None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    top = results.findings[results.findings["rank"].notna()].iloc[:_SHOWN]
    if not len(top):
        return None
    table = Table(box=box.SIMPLE_HEAD, title=f"Top {len(top)} of {len(results.findings):,} features")
    table.add_column("rank", justify="right")
    table.add_column("feature", overflow="fold")
    for name in ("importance", "± sd", "in top k", "mean rank"):
        table.add_column(name, justify="right")
    for _, row in top.iterrows():
        table.add_row(
            f"{row['rank']:g}",
            Text(str(row["feature"])),
            f"{row['importance']:.3g}",
            "" if row["importance_std"] != row["importance_std"] else f"{row['importance_std']:.2g}",
            f"{row['selection_frequency']:.0%}",
            f"{row['mean_rank']:.1f}",
        )
    return table
