"""What every command shares: the options about the command line itself, short help, and errors in a line or two."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from pixfold.cli.config_file import Known, read_options
from pixfold.cli.messages import say
from pixfold.cli.settings import Settings, using
from pixfold.cli.short_help import print_short_help
from pixfold.errors import InputError
from pixfold.util.json_values import plain

_PANEL = "Command line"
# They are about one call, and no part of what is repeated.
_NOT_KEPT = ("out", "force", "resume", "quiet", "verbose", "debug", "json_", "config", "help_all")
_CHANGES_OF_NAME = {"data": "input"}


def _show_all(context: typer.Context, asked: bool) -> None:
    if asked:
        print(TyperCommand.get_help(_FullHelp(context.command), context).rstrip())
        raise typer.Exit


class _FullHelp(TyperCommand):
    """A command whose help shows all its options in Typer's panels."""

    def __init__(self, command: Any) -> None:
        self.__dict__.update(vars(command))


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None and not context.resilient_parsing:
        name = str(context.info_name)
        try:
            # Of an option that is given on the line, too, the line counts.
            context.default_map = read_options(path, name, context.command.known_options)  # type: ignore[attr-defined]
        except InputError as error:
            raise typer.BadParameter(str(error).removeprefix("--config: "), param_hint="--config") from None
    return path


# Parameter of the callback -> what Typer makes of it. The order is that of the help.
_SHARED: dict[str, tuple[Any, Any]] = {
    "config": (
        Annotated[
            Path | None,
            typer.Option(
                "--config",
                is_eager=True,
                callback=_read_config,
                rich_help_panel=_PANEL,
                metavar="FILE",
                help="Options from a .yaml, .toml or .json file, by their names here; the config.json of a run repeats "
                "it. What is given on the line counts more.",
            ),
        ],
        None,
    ),
    "quiet": (
        Annotated[
            bool,
            typer.Option("--quiet", rich_help_panel=_PANEL, help="No progress; warnings and the summary stay."),
        ],
        False,
    ),
    "verbose": (
        Annotated[
            bool,
            typer.Option(
                "--verbose", rich_help_panel=_PANEL, help="Every step with its time; warnings of other packages, too."
            ),
        ],
        False,
    ),
    "json_": (
        Annotated[
            bool,
            typer.Option(
                "--json",
                rich_help_panel=_PANEL,
                help="One JSON object on standard output; all else goes to standard error.",
            ),
        ],
        False,
    ),
    "debug": (
        Annotated[bool, typer.Option("--debug", rich_help_panel=_PANEL, help="Show the traceback of an error.")],
        False,
    ),
    "help_all": (
        Annotated[
            bool,
            typer.Option(
                "--help-all", is_eager=True, callback=_show_all, rich_help_panel=_PANEL, help="Show all options."
            ),
        ],
        False,
    ),
}


class Command(TyperCommand):
    """A command of pixfold: ``--help`` names what is used most, ``--help-all`` everything."""

    @functools.cached_property
    def known_options(self) -> dict[str, Known]:
        """What ``--config`` may give: by the names of the command line, without dashes in front."""
        known = {}
        for name, kind in getattr(self.callback, "kinds", {}).items():
            parameter = next(param for param in self.params if param.name == name)
            known[_key(parameter)] = Known(name, kind)
        return known

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the short help."""
        print_short_help(self, ctx)


def _key(parameter: Any) -> str:
    """Return what a file calls an option: its name on the command line, or that of its argument."""
    if parameter.param_type_name == "argument":
        return str(_CHANGES_OF_NAME.get(parameter.name, parameter.name))
    return str(parameter.opts[0]).removeprefix("--")


class Group(TyperGroup):
    """All commands: a wrong call gets two lines, what is wrong and where the options are."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; see Typer."""
        run = functools.partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run()
        except typer.Abort:
            say("aborted")
            code = 1
        except _UsageError as error:
            code = _usage_error(error)
        sys.exit(code if isinstance(code, int) else 0)


# Click's own class is not public in every version of Typer.
_UsageError: Any = typer.BadParameter.__base__


def _usage_error(error: Any) -> int:
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        lines = error.format_message().splitlines()
        say(f"error: {' '.join(line.strip() for line in lines if line.strip())}")
        command = f" {context.info_name}" if context is not None and context.parent is not None else ""
        say(f"try: pixfold{command} --help")
    return int(error.exit_code)


def shared_options(command: Callable[..., Any]) -> Callable[..., None]:
    """Give a command the options that all commands have; it gets none of them but ``quiet``, where it takes that.

    What the command returns is its result: the object that ``--json`` prints, which has the name of the command, too.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())
    named = [parameter.name for parameter in own]
    takes_quiet = "quiet" in named
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
    ]
    parameters = [parameter for parameter in own if parameter.name != "quiet"] + shared
    kinds = {
        parameter.name: get_args(parameter.annotation)[0]
        for parameter in parameters
        if parameter.name not in ("config", "help_all", "debug")
    }
    title = command.__name__.replace("_", "-")

    @functools.wraps(command)
    def with_shared(**given: Any) -> None:
        del given["config"], given["help_all"]
        chosen = Settings(
            **{name: given.pop(name) for name in ("verbose", "debug")},
            json=given.pop("json_"),
            quiet=given["quiet"],
            options={"command": title, **_kept(given, keys)},
        )
        if not takes_quiet:
            del given["quiet"]
        with using(chosen):
            if not chosen.json:
                command(**given)
                return
            with contextlib.redirect_stdout(sys.stderr):
                result = command(**given)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                text = json.dumps({"command": title, **plain(result or {})}, ensure_ascii=False, allow_nan=False)
            typer.echo(text)

    # Typer looks at these two.
    with_shared.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_shared.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    with_shared.kinds = kinds  # type: ignore[attr-defined]
    keys = {parameter.name: _key_of(parameter) for parameter in parameters}
    return with_shared


def _key_of(parameter: inspect.Parameter) -> str:
    """As :func:`_key`, of a parameter that Typer has not seen yet."""
    option = next(one for one in get_args(parameter.annotation) if isinstance(one, _INFO))
    if isinstance(option, typer.models.ArgumentInfo):
        return _CHANGES_OF_NAME.get(parameter.name, parameter.name)
    declared = option.param_decls or (f"--{parameter.name.replace('_', '-')}",)
    first = option.default if isinstance(option.default, str) else declared[0]
    return str(first).split("/")[0].removeprefix("--")


_INFO = (typer.models.OptionInfo, typer.models.ArgumentInfo)


def _kept(given: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    """Return the options that repeat a call, from whatever folder."""
    return {
        keys[name]: _anywhere(value)
        for name, value in given.items()
        if name not in _NOT_KEPT and value is not None and value != []
    }


def _anywhere(value: Any) -> Any:
    """Make paths independent of the folder that the command runs in."""
    if isinstance(value, Path):
        return os.path.abspath(value)
    if isinstance(value, list):
        return [_anywhere(one) for one in value]
    if isinstance(value, str) and value.startswith("@"):  # a file of names
        return f"@{os.path.abspath(value[1:])}"
    return value
