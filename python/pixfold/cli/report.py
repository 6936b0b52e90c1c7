"""The command ``pixfold report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pixfold.cli.messages import one_line_errors


@one_line_errors
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of a run.")],
) -> dict[str, Any]:
    """Make report.html and the figures of a run again.

    Example: pixfold report out/cells
    """
    from pixfold.report import write_report
    from pixfold.report.stored import load
    from pixfold.util.outputs import locked

    load(folder)  # a folder that is not of a run gets no lock file
    with locked(folder, folder / ".pixfold.lock"):
        write_report(folder)
    typer.echo(f"{folder / 'report.html'}")
    return {"report": str(folder / "report.html")}
