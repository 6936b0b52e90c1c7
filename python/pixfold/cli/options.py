"""Options of the commands: tables of those that several commands take, or that go to one function as they are."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import typer

from pixfold.formula import PRESETS
from pixfold.sources.options import ReadOptions


class Given(NamedTuple):
    """An option: its type, default and help text; its name where that is not the name of the argument.

    ``read`` makes the argument of what the command line gives.
    """

    kind: Any
    default: Any
    help: str
    flag: str = ""
    read: Callable[[Any], Any] | None = None


Table = Mapping[str, Given]


def _names(given: list[str] | None) -> list[str] | None:
    """Names that are repeated, or stand in one argument with commas between them."""
    return None if given is None else [name for part in given for name in part.split(",") if name]


_TYPES = get_type_hints(ReadOptions)
# A help text of ReadOptions names other options in capitals.
_NAMES = re.compile("|".join(rf"\b{name.upper()}\b" for name in _TYPES))
READING: Table = {
    option.name: Given(
        option.metadata["kind"] or _TYPES[option.name],
        option.default or None if option.metadata["kind"] else option.default,
        _NAMES.sub(lambda found: f"--{found[0].lower()}", option.metadata["help"]),
        read=_names if option.metadata["kind"] == list[str] else None,
    )
    for option in dataclasses.fields(ReadOptions)
    if option.metadata["in_commands"]
}
# Of commands without a list of features, that would call them by another name.
READING_OF_VALUES: Table = {name: given for name, given in READING.items() if name != "name_column"}
# Panels of the help for them; what is in none of these is about formats.
_PANELS = {
    "Samples and labels": ("label", "task", "labels", "match", "split", "where", "groups", "covariates"),
    "Features": ("features", "drop", "feature_type", "genome", "name_column"),
}


def in_panels(reading: Table) -> dict[str, Table]:
    """Sort options of reading into the panels of a command's help."""
    panels: dict[str, Table] = {
        title: {name: reading[name] for name in names if name in reading} for title, names in _PANELS.items()
    }
    sorted_in = {name for table in panels.values() for name in table}
    panels["How INPUT is read"] = {name: given for name, given in reading.items() if name not in sorted_in}
    return panels


# Arguments of images.convert and of the estimators.
VALUES: Table = {
    "normalize": Given(str, "auto", f"auto looks at the data; or {', '.join(PRESETS)}."),
    "negative": Given(
        Literal["auto", "error", "shift"],
        "auto",
        "Negative values before a logarithm: auto shifts each feature and says so.",
    ),
    "missing": Given(
        Literal["error", "zero", "mean"], "error", "Missing values: an error, 0, or the mean of the feature."
    ),
    "arrangement": Given(
        Literal["natural", "shuffled"],
        "natural",
        "Features in the order of the data, or in a seeded order (run: a new one in every run).",
    ),
}
THREADS: Table = {"threads": Given(int | None, None, "CPU threads. Default: all.")}

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT...",
        help="Samples x features: .h5ad, .h5, .mtx, .bed, .pgen, .bgen, .npy, .npz, .csv, .tsv, .txt, .raw, .gct (.gz, "
        ".bz2, .xz, .zst, .zip), .xlsx, .parquet, .feather, .fasta, .fastq; a folder of AnnData (.zarr.zip) or VCF in "
        "Zarr, of 10x files, or that pack wrote. Several: of the same samples, their features side by side.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; warnings and the summary stay.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output, if pixfold wrote it.")]

_TRUST = "Import what --backbone package.module:callable names, which runs its code."
TrustCode = Annotated[bool, typer.Option("--trust-code", help=_TRUST, rich_help_panel="Network and training")]
TrustCodeOfModel = Annotated[bool, typer.Option("--trust-code", help=_TRUST)]

FillMissing = Annotated[
    bool,
    typer.Option("--fill-missing", help="Features that INPUT lacks take their training mean, instead of an error."),
]
IgnoreVersions = Annotated[
    bool,
    typer.Option("--ignore-versions", help="Take ENSG00000141510.17 and ENSG00000141510 for one feature."),
]


def check_trusted(backbone: Any, *, trusted: bool) -> None:
    """Refuse a backbone that is code, unless --trust-code allows it; then it may stand in the current folder."""
    from pixfold.learn.backbones import is_code

    if not is_code(backbone):
        return
    if not trusted:
        raise typer.BadParameter(f"{backbone} is code: --trust-code allows to import it", param_hint="--backbone")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def takes(**panels: Mapping[str, Table]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of tables; it gets their values as one dict for each of its parameters named here.

    Parameters
    ----------
    **panels
        Parameter of the command -> title of a panel of the help -> its options. The dict that the command gets holds
        the options that are not None.
    """
    tables = {
        parameter: {name: given for table in named.values() for name, given in table.items()}
        for parameter, named in panels.items()
    }

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_options(**values: Any) -> Any:
            for parameter, table in tables.items():
                chosen = {
                    name: values.pop(name) if given.read is None else given.read(values.pop(name))
                    for name, given in table.items()
                }
                values[parameter] = {name: value for name, value in chosen.items() if value is not None}
            return command(**values)

        parameters = []
        for own in inspect.signature(command, eval_str=True).parameters.values():
            named = panels.get(own.name)
            parameters += [own] if named is None else [_parameter(*at) for at in _placed(named)]
        # Typer looks at these two.
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorated


def _placed(panels: Mapping[str, Table]) -> list[tuple[str, str, Given]]:
    return [(title, name, given) for title, table in panels.items() for name, given in table.items()]


def _parameter(title: str, name: str, given: Given) -> inspect.Parameter:
    flag = given.flag or f"--{name.replace('_', '-')}"
    if given.kind == bool | None:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    option = typer.Option(flag, help=given.help, rich_help_panel=title)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=given.default, annotation=Annotated[given.kind, option]
    )
