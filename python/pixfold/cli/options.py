"""Options that several commands take: their names, types and help texts, written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pixfold.normalize.normalizer import PRESETS

_DATA, VALUES, MACHINE = "How INPUT is read", "From values to pixels", "Where it runs"

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT...",
        help="Samples x features: .h5ad, .h5, .mtx, .bed, .npy, .npz, .csv, .tsv (.gz, .zst), .parquet, .feather, "
        ".fasta, .fastq; a folder of AnnData in Zarr, of 10x files, or that pack wrote. Several: of the same samples, "
        "their features side by side.",
    ),
]

# The arguments of pixfold.open_source that commands take: type, default, help.
READING: dict[str, tuple[Any, Any, str]] = {
    "label": (str | None, None, "Column that holds the classes."),
    "labels": (
        Path | None,
        None,
        "Table of its own (.csv, .tsv, .parquet) that --label is a column of, matched by sample name.",
    ),
    "split": (Literal["median"] | None, None, "Make two classes of numeric labels: up to their median, and above."),
    "layer": (str | None, None, "AnnData: layer to read instead of X, or raw."),
    "categorical": (
        Literal["ordinal", "onehot"],
        "ordinal",
        "Tables: text columns as codes, or as one feature of 0 and 1 per category.",
    ),
    "stack": (
        bool,
        False,
        "Several INPUTs: each in image channels of its own, instead of one image of all features.",
    ),
    "join": (
        Literal["all", "inner"],
        "all",
        "Several INPUTs: all must have the same samples, or inner uses those that all have.",
    ),
    "sequence": (str | None, None, "Tables: the column of DNA, RNA or protein sequences that is the data."),
    "alphabet": (str | None, None, "Sequences: dna, rna or protein. Default: the letters tell."),
    "ambiguous": (
        Literal["spread", "zero"],
        "spread",
        "Sequences: letters such as N or R are each of what they stand for to equal parts, or nothing.",
    ),
    "length": (int | None, None, "Sequences: letters per sample. Default: those of the longest."),
}


def reads_samples(**helps: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of READING; it gets their values as one dict, its parameter ``reading``.

    Parameters
    ----------
    **helps
        Help texts that say more than READING does, for options that mean more to the command.
    """

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_reading(**given: Any) -> None:
            command(reading={name: given.pop(name) for name in READING}, **given)

        own = inspect.signature(command, eval_str=True).parameters
        parameters = []
        for parameter in own.values():
            if parameter.name == "reading":
                parameters += [_parameter(name, *READING[name], helps.get(name)) for name in READING]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        # What Typer looks at.
        with_reading.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_reading.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_reading

    return decorated


def _parameter(name: str, kind: Any, default: Any, help_text: str, own_help: str | None) -> inspect.Parameter:
    option = typer.Option(f"--{name}", help=own_help or help_text, rich_help_panel=_DATA)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


Normalize = Annotated[
    str, typer.Option(help=f"auto looks at the data; or {', '.join(PRESETS)}.", rich_help_panel=VALUES)
]
Negative = Annotated[
    Literal["auto", "error", "shift"],
    typer.Option(
        help="Negative values before a logarithm: auto shifts each feature and says so.", rich_help_panel=VALUES
    ),
]
Missing = Annotated[
    Literal["error", "zero", "mean"],
    typer.Option(help="Missing values: an error, 0, or the mean of the feature.", rich_help_panel=VALUES),
]
Arrangement = Literal["natural", "shuffled"]
Threads = Annotated[int | None, typer.Option(help="CPU threads. Default: all.", rich_help_panel=MACHINE)]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; warnings and the summary stay.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output when it exists.")]
