"""``--config``: the options of a command from a YAML, TOML or JSON file, each checked and named with its line."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pixfold.errors import InputError
from pixfold.util.optional import require
from pixfold.util.text import must_be, one_of, short_repr

# Key of a run's own config.json that holds the options of the command.
OPTIONS = "options"
_MARK = "pixfold"
# A file of options is small; a file of data that was given by mistake is not.
_MOST_BYTES = 10_000_000


class Known(NamedTuple):
    """An option that a file may give: the parameter of the command, and its type."""

    parameter: str
    kind: Any


def read_options(path: Path, command: str, known: Mapping[str, Known]) -> dict[str, Any]:
    """Read the options of a command from a file.

    Parameters
    ----------
    path : Path
        A file whose name ends in .yaml, .yml, .toml or .json. The ``config.json`` of a run gives the options of that
        run.
    command : str
        Name of the command, for messages.
    known : mapping
        Options by the names that the file gives them: those of the command line without ``--``.

    Returns
    -------
    dict
        Parameter of the command -> value as the command line would give it.

    Raises
    ------
    InputError
        When the file cannot be read or parsed, for a key that is no option, and for a value of a wrong type. The
        message names file, line and option.
    """
    text = _text(path)
    given = _parsed(path, text)
    if not isinstance(given, dict):
        raise InputError(must_be("--config", str(path), "options and their values", given))
    if _MARK in given:
        given = given.get(OPTIONS)
        if not isinstance(given, dict):
            raise InputError(
                f"--config: {path} must hold the key {OPTIONS!r} to repeat a run, got a file of an earlier version "
                "without it; its key 'command' has the call"
            )
        if given.get("command", command) != command:
            raise InputError(f"--config: {path} must be of pixfold {command}, got options of {given['command']!r}")
        given = {key: value for key, value in given.items() if key != "command"}
    options: dict[str, Any] = {}
    for key, value in given.items():
        name = str(key).replace("_", "-")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"--config: {_place(path, text, key)}: {str(key)!r} is no option of {command}{hint}")
        option = known[name]
        if value is None:
            continue
        if option.parameter in options:
            raise InputError(f"--config: {_place(path, text, key)}: {name!r} must be given once, got it twice")
        options[option.parameter] = _value(f"--config: {_place(path, text, key)}", name, value, option.kind)
    return options


def _text(path: Path) -> str:
    if path.suffix.lower() not in _PARSERS:
        raise InputError(f"--config: {path} must end in {', '.join(_PARSERS)}, got {path.name!r}")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"--config: {path} must be a short file of options, got {path.stat().st_size:,} bytes")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"--config: {path} must be UTF-8 text, got byte {error.object[error.start]:#04x}") from None
    except OSError as error:
        raise InputError(f"--config: {path}: {(error.strerror or str(error)).lower()}") from None


def _yaml(text: str) -> Any:
    yaml = require("yaml", "train", "reading options from YAML")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        keys = [key for key, _ in getattr(node, "value", [])] if isinstance(node, yaml.MappingNode) else []
        seen: set[str] = set()
        for key in keys:
            if key.value in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: {key.value!r} is given twice")
            seen.add(key.value)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise ValueError(f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"{key!r} is given twice")
    return dict(pairs)


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": tomllib.loads,
    ".json": lambda text: json.loads(text, object_pairs_hook=_once),
}


def _parsed(path: Path, text: str) -> Any:
    kind = path.suffix.lower()
    try:
        return _PARSERS[kind](text)
    except (ValueError, RecursionError) as error:  # what json and tomllib raise is a ValueError
        reason = " ".join(str(error).split())
        raise InputError(f"--config: {path} must be {kind[1:].upper()}, got a mistake: {reason}") from None


def _place(path: Path, text: str, key: Any) -> str:
    """Return the file, and the line on which it has the key."""
    written = re.compile(rf"""^[\s{{,]*["']?{re.escape(str(key))}["']?\s*[:=]""")
    line = next((i for i, line in enumerate(text.splitlines(), 1) if written.match(line)), None)
    return str(path) if line is None else f"{path}, line {line}"


def _value(place: str, name: str, value: Any, kind: Any) -> Any:
    """Check a value against the type of its option; return it as the command line would give it."""
    kinds = [one for one in _alternatives(kind) if one is not type(None)]
    (kind,) = kinds
    if get_origin(kind) is list:
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
        raise InputError(must_be(place, name, "text, or a list of it", value))
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if value in choices and isinstance(value, str):
            return value
        raise InputError(must_be(place, name, one_of(choices), value))
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise InputError(must_be(place, name, "true or false", value))
    if kind is int:
        if whole:
            return value
        raise InputError(must_be(place, name, "a whole number", value))
    if kind is float:
        if whole or isinstance(value, float):
            return float(value)
        raise InputError(must_be(place, name, "a number", value))
    # A name that is a whole number reads the same as text; other values do not: NO is false in YAML, 1.10 is 1.1.
    if isinstance(value, str) or whole:
        return str(value)
    quotes = " in quotes" if isinstance(value, bool | float) else ""
    raise InputError(f"{place}: {name} must be text{quotes}, got {short_repr(value)}")


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
