"""The command ``pixfold bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixfold.cli.messages import one_line_errors


@one_line_errors
def bench(
    features: Annotated[list[int] | None, typer.Option(help="Number of features, repeatable. Default: 19,319.")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Default: 1,000, or fewer so that there are at most 10^8 values.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A competitor, repeatable: its name, or 'all' for the slow ones too.", metavar="NAME"),
    ] = None,
    limit: Annotated[float, typer.Option(help="Seconds that one conversion may take.")] = 10,
    memory: Annotated[float, typer.Option(help="GB that one process may use.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables: bench.md, bench.svg and bench.json.")] = None,
) -> None:
    """Compare conversions by pixfold, NumPy, torch and rivals here.

    Each that is installed runs in a process of its own, on the same generated data, and its images are checked.

    Example: pixfold bench --features 1000 --features 100000 --out bench
    """
    from pixfold.benchmark.competitors import COMPETITORS
    from pixfold.benchmark.conversions import compare
    from pixfold.benchmark.report import markdown, write

    if only is None:
        only = [name for name, competitor in COMPETITORS.items() if competitor.quick]
    elif only == ["all"]:
        only = list(COMPETITORS)
    found = compare(
        features or [19_319],
        only,
        samples=samples,
        limit=limit,
        memory=memory,
        seed=seed,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(markdown(found))
    if out is not None:
        typer.echo(", ".join(map(str, write(found, out, "bench"))))
