"""``--help``: what is used most, on one screen. ``--help-all`` is Typer's own, with all options."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pixfold.cli.messages import console

_DATA, _ANALYSIS, _OUTPUT = "Data", "Analysis", "Output and command line"
_WIDEST = 80


class Short(NamedTuple):
    """An option in the short help: its section, what stands for its value, and a line about it."""

    section: str
    value: str
    text: str


# By the name of the parameter; what stands nowhere here, and in a panel of the full help, is in the full help alone.
_SHORT = {
    "data": Short(_DATA, "", "Tables, AnnData, genotypes, arrays, sequences."),
    "paths": Short(_DATA, "", "What to pack, and the store to write."),
    "model": Short(_DATA, "", "Folder of a run, or of a saved model."),
    "label": Short(_DATA, "COLUMN", "Classes, or a quantity."),
    "labels": Short(_DATA, "FILE", "Table that holds --label, matched by sample name."),
    "groups": Short(_DATA, "COLUMN", "Samples that belong together: donor, patient."),
    "covariates": Short(_DATA, "COLUMNS", "About the samples, no features: batch, age."),
    "where": Short(_DATA, "CONDITION", 'Samples to use, such as "age >= 40".'),
    "features": Short(_DATA, "NAMES", "Features to use: A,B, 'MT-*' or @FILE."),
    "drop": Short(_DATA, "NAMES", "Features to leave out."),
    "normalize": Short(_ANALYSIS, "NAME", "auto, log1p-zscore, cp10k-log1p, genotype, ..."),
    "missing": Short(_ANALYSIS, "HOW", "Missing values: error, zero, mean."),
    "backbone": Short(_ANALYSIS, "NAME", "Network: auto, additive, patchnet, resnet18, ..."),
    "n_runs": Short(_ANALYSIS, "N", "Runs at most. Default: until the list converges."),
    "time": Short(_ANALYSIS, "TIME", "No new run after this time: 90s, 10m."),
    "fdr": Short(_ANALYSIS, "RATE", "False discovery rate of what is called: 0.1."),
    "random_state": Short(_ANALYSIS, "N", "The same seed gives the same findings."),
    "device": Short(_ANALYSIS, "NAME", "auto, cpu, cuda, mps."),
    "memory": Short(_ANALYSIS, "SIZE", "Memory for samples, such as 4GB."),
    "top_k": Short(_ANALYSIS, "N", "Pairs in the table at most."),
    "alpha": Short(_ANALYSIS, "RATE", "Family-wise error rate."),
    "transform": Short(_ANALYSIS, "NAME", "auto, sign, rank, standard."),
    "dtype": Short(_ANALYSIS, "NAME", "float32 or float16."),
    "arrangement": Short(_ANALYSIS, "NAME", "natural, or shuffled."),
    "resume": Short(_OUTPUT, "", "Go on with a job that was interrupted."),
    "log": Short(_OUTPUT, "FILE", "Every epoch as it ends: .csv, or for TensorBoard."),
}
_NOT_OF_RUN = ("arrangement",)
# About the command line: in this order, at the end.
_LAST = {
    "config": Short(_OUTPUT, "FILE", "Options from YAML, TOML, or a run's config.json."),
    "quiet": Short(_OUTPUT, "", "No progress."),
    "verbose": Short(_OUTPUT, "", "Every step, and all warnings."),
    "json_": Short(_OUTPUT, "", "One JSON object on standard output."),
    "debug": Short(_OUTPUT, "", "Tracebacks of errors."),
    "help_all": Short(_OUTPUT, "", "All options, with all that they do."),
}


def print_short_help(command: Any, context: Any) -> None:
    """Print usage, purpose, example and the options that are used most."""
    from rich.table import Table
    from rich.text import Text

    screen = console()
    width = min(screen.width, _WIDEST)
    purpose, example = _purpose(command.callback)
    screen.print(Text.assemble(("Usage: ", "bold"), f"{context.command_path} {_usage(command)}"), soft_wrap=True)
    screen.print(Text(f"\n{purpose}\n"), width=width)
    for line in example:
        screen.print(Text.assemble(("Example: ", "bold"), line), soft_wrap=True)
    sections: dict[str, list[tuple[Text, str]]] = {}
    for parameter, short in _shown(command):
        sections.setdefault(short.section, []).append((_name(parameter, short), short.text))
    rows = [row for section in sections.values() for row in section]
    column = max(len(name) for name, _ in rows) + 2
    for title in (_DATA, _ANALYSIS, _OUTPUT):
        if title not in sections:
            continue
        screen.print(Text(f"\n{title}", style="bold"))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=column)
        table.add_column(overflow="fold")
        for name, text in sections[title]:
            table.add_row(Text("  ").append_text(name), Text(text))
        screen.print(table, width=width)


def _usage(command: Any) -> str:
    arguments = [_metavar(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
    needed = [
        f"{parameter.opts[0]} {_value(command, parameter)}"
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.required
    ]
    return " ".join([*arguments, *needed, "[OPTIONS]"])


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _purpose(callback: Any) -> tuple[str, list[str]]:
    """Split a docstring into what a command does, on one line, and its examples."""
    paragraphs = [" ".join(part.split()) for part in (inspect.getdoc(callback) or "").split("\n\n")]
    examples = [part.removeprefix("Example: ") for part in paragraphs if part.startswith("Example: ")]
    return " ".join(part for part in paragraphs if not part.startswith("Example: ")), examples


def _shown(command: Any) -> Iterator[tuple[Any, Short]]:
    """Give the parameters of the short help with their lines; those about the command line come last."""
    last = []
    for parameter in command.params:
        name = parameter.name
        if name in _LAST:
            last.append((parameter, _LAST[name]))
        elif command.name == "run" and name in _NOT_OF_RUN:
            continue
        elif name in _SHORT:
            yield parameter, _SHORT[name]
        elif getattr(parameter, "rich_help_panel", None) is None:
            argument = parameter.param_type_name == "argument"
            flag = argument or bool(getattr(parameter, "is_flag", False))
            section = _DATA if argument else _OUTPUT
            value = "" if flag else _value(command, parameter)
            yield parameter, Short(section, value, _first_sentence(parameter.help or ""))
    yield from last


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.) |; ", text, maxsplit=1)[0]


_OF_KINDS = {Path: "PATH", int: "N", float: "X"}


def _value(command: Any, parameter: Any) -> str:
    kind = getattr(command.callback, "kinds", {}).get(parameter.name)
    return str(parameter.metavar or next((word for one, word in _OF_KINDS.items() if one == kind), "TEXT"))


def _name(parameter: Any, short: Short) -> Any:
    from rich.text import Text

    if parameter.param_type_name == "argument":
        return Text(_metavar(parameter), style="cyan")
    name = Text(parameter.opts[0], style="cyan")
    return name.append(f" {short.value}", style="default") if short.value else name
