"""The command ``pixfold compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixfold.cli import options
from pixfold.cli.messages import console, one_line_errors

if TYPE_CHECKING:
    from rich.console import Console

    from pixfold.compare import SideBySide

# Score -> how it is called on the screen.
_SCORES = {
    "task": "task",
    "test_accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "best_linear": "best linear",
    "chance_accuracy": "chance",
    "test_r2": "R2",
    "spearman": "Spearman",
    "explained_variance": "explained",
    "test_p": "p",
    "n_called": "called",
    "n_features_used": "features",
    "n_runs": "runs",
    "agreement": "agreement",
}
_COUNTS = ("n_called", "n_features_used", "n_runs")
# What a table of this command begins with.
_BEGINNING = "feature,mean_rank,n_ranked,n_called,"


@one_line_errors
def compare(
    *,
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Output folders of pixfold run, two or more.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Features that are shown.")] = 15,
    depth: Annotated[
        int, typer.Option(min=1, help="Ranks with 86 % of the weight in the rank-biased overlap of two lists.")
    ] = 50,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Table of all features with what each run says of them.")
    ] = None,
    force: options.Force = False,
) -> dict[str, Any]:
    """Put runs side by side: scores, top features, how far the lists agree, and the settings that differ.

    Example: pixfold compare out/cells out/cells_by_donor --out compared.csv
    """
    from pixfold.compare import side_by_side
    from pixfold.util.files import staged
    from pixfold.util.outputs import check_table, locked

    if out is not None:
        if out.suffix.lower() != ".csv":
            raise typer.BadParameter(f"must end in .csv, got {out.name!r}", param_hint="--out")
        check_table(out, _BEGINNING, force=force)
    found = side_by_side(folders, k=depth)
    if out is not None:
        with locked(out):
            check_table(out, _BEGINNING, force=force)
            with staged(out) as (temporary,):
                found.features.to_csv(temporary, index=False)
    screen = console()
    _print(screen, found, top)
    if out is not None:
        typer.echo(f"{out}: {len(found.features):,} features of {len(found.names)} runs")
    return {
        "runs": found.names,
        "scores": found.scores.reset_index().to_dict(orient="records"),
        "overlap": found.overlap.to_dict(orient="records"),
        "top_features": found.features.head(top).to_dict(orient="records"),
        "settings": found.settings.to_dict(orient="index"),
        "out": None if out is None else str(out),
    }


def _print(screen: Console, found: SideBySide, top: int) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def table(title: str, first: str, *columns: str) -> Table:
        made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
        made.add_column(first, overflow="fold")
        for name in columns:
            made.add_column(Text(name), justify="right", overflow="fold")
        return made

    known = {name: word for name, word in _SCORES.items() if found.scores[name].notna().any()}
    scores = table("Scores", "run", *known.values())
    for name, row in found.scores.iterrows():
        scores.add_row(Text(str(name)), *(_score(key, row[key]) for key in known))
    screen.print(scores)

    features = table("Ranks (* called)", "feature", *found.names)
    for _, row in found.features.head(top).iterrows():
        features.add_row(Text(str(row["feature"])), *(_rank(row, name) for name in found.names))
    screen.print(features)

    overlap = table(
        "Overlap of the lists", "runs", "rank-biased overlap", "Jaccard of called", "called in both", "features in both"
    )
    for _, row in found.overlap.iterrows():
        overlap.add_row(
            Text(f"{row['run']} and {row['other']}"),
            _number(row["rank_biased_overlap"]),
            _number(row["jaccard_called"]),
            f"{row['n_called_in_both']:,}",
            f"{row['n_features_in_both']:,}",
        )
    screen.print(overlap)

    if not len(found.settings):
        screen.print("All settings are the same.")
        return
    settings = table("Settings that differ", "setting", *found.names)
    for name, row in found.settings.iterrows():
        settings.add_row(Text(str(name)), *(Text(str(value)) for value in row))
    screen.print(settings)


def _score(key: str, value: Any) -> str:
    if key in _COUNTS:
        return "" if value != value or value is None else f"{int(value):,}"
    return str(value) if isinstance(value, str) else _number(value)


def _number(value: Any) -> str:
    return "" if value is None or value != value else f"{float(value):.3f}"


def _rank(row: Any, name: str) -> str:
    rank = row[f"rank_{name}"]
    if rank != rank:
        return ""
    return f"{rank:g}{' *' if str(row.get(f'called_{name}')) == 'True' else ''}"
