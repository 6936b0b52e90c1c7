"""The command ``pixfold``: its subcommands, and the entry point."""

from __future__ import annotations

from typing import Annotated

import typer

from pixfold._core import __version__
from pixfold.cli.bench import bench
from pixfold.cli.command import Command, Group, shared_options
from pixfold.cli.compare import compare
from pixfold.cli.fold import fold
from pixfold.cli.info import info
from pixfold.cli.nihs import nihs
from pixfold.cli.pack import pack
from pixfold.cli.pair_screen import pair_screen
from pixfold.cli.predict import predict
from pixfold.cli.report import report
from pixfold.cli.run import run

app = typer.Typer(
    name="pixfold",
    cls=Group,
    help="Find the features that tell samples apart in very wide data: samples become pseudo-images with one "
    "pixel per feature, networks learn them, and attributions go back to the features.\n\n"
    "Example: pixfold run data.h5ad --label cell_type --out out/cells",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
for command in (run, report, predict, fold, pack, pair_screen, compare, nihs, bench, info):
    app.command(cls=Command)(shared_options(command))


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pixfold {__version__}")
        raise typer.Exit


@app.callback()
def _options_of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the ``pixfold`` command with the arguments of this process."""
    app()
