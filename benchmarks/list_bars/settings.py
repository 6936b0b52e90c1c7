"""What the command is told, checked."""

from __future__ import annotations

import argparse
import ast
import inspect
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pixfold as pf

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1].parent / "shared" / "data"


@dataclass(frozen=True)
class Settings:
    """One field per option; `given` are those that are not the defaults, as text."""

    data: Path = DATA
    sets: tuple[str, ...] = ()
    features: int = 0
    scale: str = "log"
    out: Path = HERE
    journal: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    splits: int = 2
    planted_seeds: int = 10
    nulls: int = 100
    null_features: int = 2_000
    pair_seeds: int = 5
    structure_seeds: int = 5
    reference_seeds: int = 40
    repeats: int = 5
    seeds: int = 10
    curve_seeds: int = 3
    factors: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.05, 0.025, 0.0125)
    haystack_samples: int = 10_000
    haystack_features: int = 18_225
    table_samples: int = 180
    table_features: int = 12_500
    rounds: int = 3
    cores: int = 2
    command_options: tuple[str, ...] = ()
    given: str = ""

    def fingerprint(self, estimator: str) -> str:
        """What the units of a journal must have in common, beside what their keys say."""
        return f"{estimator} {sorted(self.options.items())} {shlex.join(self.command_options)}"


def parse(arguments: Sequence[str] | None, bars: list[str]) -> tuple[list[str], Settings]:
    """Bars to measure, and the settings; argparse ends the command where something is wrong."""
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.list_bars",
        description="Measure each bar and write RESULTS.md. Ends with 1 where one is not met.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("bars", nargs="*", metavar="BAR", help=f"of {', '.join(bars)}; none: all")

    def add(name: str, kind: Callable[[str], Any], text: str, **more: Any) -> None:
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=kind, default=getattr(default, name), help=text, **more)

    everywhere = {"metavar": "N"}
    add(
        "data",
        Path,
        "folder of the real sets: .h5ad with obs.label, .csv and .csv.gz with a column label",
        metavar="DIR",
    )
    add("sets", str, "names of the real sets to use, such as golub; none: all", nargs="*", metavar="SET")
    add("features", at_least(0), "planted, nulls: real backgrounds of so many features, drawn; 0: all", **everywhere)
    add("scale", str, "planted, nulls: real backgrounds as logarithms or as normal scores", choices=("log", "normal"))
    add("out", Path, "folder for RESULTS.md and results.json", metavar="DIR")
    add("journal", Path, "keep what is measured here, and do not measure it again in a later run", metavar="FILE")
    parser.add_argument(
        "--option",
        type=assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the estimator: backbone=patchnet",
    )
    add("splits", at_least(1), "replication: splits into halves", **everywhere)
    add("planted_seeds", at_least(2), "planted: data sets of each scenario on each background", **everywhere)
    add("nulls", at_least(1), "nulls: data sets of each kind", **everywhere)
    add("null_features", at_least(2), "nulls: features of the sets of noise", **everywhere)
    add("pair_seeds", at_least(1), "two-features: data sets of each width", **everywhere)
    add("reference_seeds", at_least(2), "reference: data sets of each scenario", **everywhere)
    add("structure_seeds", at_least(2), "structure: data sets on each background", **everywhere)
    add("repeats", at_least(2), "accuracy: repeats of 5-fold cross-validation", **everywhere)
    add("seeds", at_least(1), "haystack: data sets with effects at full size", **everywhere)
    add("curve_seeds", at_least(1), "haystack: data sets with each of the smaller effects", **everywhere)
    add("factors", factor, "haystack: what the effects are multiplied by", nargs="+", metavar="F")
    add("haystack_samples", at_least(20), "haystack, time: samples", **everywhere)
    add("haystack_features", at_least(20), "haystack, time: features", **everywhere)
    add("table_samples", at_least(20), "time: samples of the table", **everywhere)
    add("table_features", at_least(50), "time: features of the table", **everywhere)
    add("rounds", at_least(1), "time: jobs of each kind; their median counts", **everywhere)
    add("cores", at_least(1), "time: cores that a job may use", **everywhere)
    add("command_options", split, "time: further options of pixfold run, in one word", metavar="WORDS")
    given = vars(parser.parse_args(arguments))
    chosen = given.pop("bars")
    unknown = [bar for bar in chosen if bar not in bars]
    if unknown:
        parser.error(f"no bar is called {unknown[0]!r}: {', '.join(bars)}")
    given["options"] = dict(given.pop("option"))
    known = set(inspect.signature(pf.DeepMapperClassifier).parameters) - {"random_state"}
    for name in given["options"]:
        if name not in known:
            parser.error(f"--option: {name!r} is none of the estimator's: {', '.join(sorted(known))}")
    for name in ("sets", "factors"):
        given[name] = tuple(dict.fromkeys(given[name]))
    if given["data"] != DATA and not given["data"].is_dir():
        parser.error(f"--data: {given['data']} is not a folder")
    for name in ("out", "journal"):
        parent = given[name].parent if given[name] is not None else None
        if parent is not None and not parent.is_dir():
            parser.error(f"--{name}: there is no folder {parent}")
    settings = Settings(**given, given=changed(given, default))
    return [bar for bar in bars if bar in chosen or not chosen], settings


def changed(given: dict[str, Any], default: Settings) -> str:
    """Settings that change what is measured and are not the defaults, as text."""
    places = {"data", "out", "journal", "given"}
    words = []
    for name in (f.name for f in fields(Settings) if f.name not in places):
        value = given[name]
        if value == getattr(default, name):
            continue
        if isinstance(value, dict):
            words += [f"{key}={shown}" for key, shown in value.items()]
        else:
            text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words.append(f"{name.replace('_', '-')} {text}")
    return ", ".join(words)


def at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return value

    return number


def factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return value


def assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def split(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
