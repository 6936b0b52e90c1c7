"""The command ``pixfold nihs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pixfold.cli import options
from pixfold.cli.messages import one_line_errors
from pixfold.errors import OutputError


@one_line_errors
def nihs(
    out: Annotated[Path, typer.Argument(metavar="OUT.h5ad", help="The file to write.")],
    n_samples: Annotated[int, typer.Option("--samples", help="Number of samples.")] = 10_000,
    n_features: Annotated[int, typer.Option("--features", help="Number of features.")] = 18_225,
    needles: Annotated[int, typer.Option(help="Number of features that differ between the classes.")] = 2,
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 0,
    force: options.Force = False,
) -> dict[str, Any]:
    """Write a needle-in-a-haystack data set: uniform noise, two classes, a few features that differ.

    Example: pixfold nihs nihs.h5ad --seed 0
    """
    from pixfold.examples.synthetic import write_nihs

    if out.is_file() and not force:
        raise OutputError(f"cannot write {out}: it exists; --force replaces it")

    path = write_nihs(out, n_samples, n_features, needles=needles, seed=seed)
    size = f"{n_samples:,} samples x {n_features:,} features, {needles} needles"
    typer.echo(f"{path}: {size}; classes in the column 'label'")
    return {"out": str(path), "n_samples": n_samples, "n_features": n_features, "needles": needles, "label": "label"}
