"""ReadOptions: all that a user may say about how data are read, each option written and checked here once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pixfold.errors import InputError
from pixfold.util.text import must_be, one_of, short_repr

Split = Literal["median"]
Categorical = Literal["ordinal", "onehot"]
Join = Literal["all", "inner"]
SequenceAlphabet = Literal["dna", "rna", "protein"]
Ambiguous = Literal["spread", "zero"]

_NO_SEQUENCES = "it holds no sequences"


def _about(help_text: str, refusal: str = "", in_commands: bool = True) -> dict[str, Any]:
    return {"help": help_text, "refusal": refusal, "in_commands": in_commands}


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What :func:`pixfold.open_source`, the estimators and the commands take beside the data.

    The metadata of a field hold its ``help``; ``in_commands``, whether commands have it as an option; and ``refusal``,
    what a source that cannot use it says.

    Raises
    ------
    InputError
        When a value cannot be used, before anything is read; the message names the option.
    """

    label: str | None = field(
        default=None,
        metadata=_about(
            "Column that holds the labels: of a table, of obs, of LABELS; the name of an array in an .npz file.",
            refusal="it has no columns to take labels from, so give them as y",
        ),
    )
    labels: Path | None = field(
        default=None,
        metadata=_about(
            "Table of its own (.csv, .tsv, .parquet) that LABEL is a column of, matched by sample name. Its first "
            "column names the samples if it has no header, else one called sample, id or IID, else the first.",
        ),
    )
    split: Split | None = field(
        default=None, metadata=_about("Make two classes of numeric labels: up to their median, and above.")
    )
    layer: str | None = field(
        default=None,
        metadata=_about("AnnData: layer to read instead of X, or raw.", refusal="layers are read from AnnData alone"),
    )
    categorical: Categorical = field(
        default="ordinal",
        metadata=_about(
            "Tables: text columns as codes, or as one feature of 0 and 1 per category, called column=category."
        ),
    )
    stack: bool = field(
        default=False,
        metadata=_about("Several inputs: each in image channels of its own, instead of one image of all features."),
    )
    join: Join = field(
        default="all",
        metadata=_about("Several inputs: all must have the same samples, or inner uses those that all have."),
    )
    sequence: str | None = field(
        default=None,
        metadata=_about(
            "Tables: the column of DNA, RNA or protein sequences that is the data.",
            refusal="a column of sequences is read from tables alone",
        ),
    )
    alphabet: SequenceAlphabet | None = field(
        default=None,
        metadata=_about("Sequences: dna, rna or protein. Default: the letters tell.", refusal=_NO_SEQUENCES),
    )
    ambiguous: Ambiguous = field(
        default="spread",
        metadata=_about(
            "Sequences: letters such as N or R are each of what they stand for to equal parts, or nothing.",
            refusal=_NO_SEQUENCES,
        ),
    )
    length: int | None = field(
        default=None,
        metadata=_about(
            "Sequences: letters per sample; shorter ones are padded with zeros, longer ones cut. Default: the longest.",
            refusal=_NO_SEQUENCES,
        ),
    )
    y: Any = field(
        default=None, metadata=_about("Labels beside the data, one per sample, instead of LABEL.", in_commands=False)
    )
    categories: Mapping[str, Sequence[str]] | None = field(
        default=None,
        metadata=_about(
            "Tables: categories of the source that a model was trained on, so that text gets the same codes. They "
            "replace CATEGORICAL.",
            in_commands=False,
        ),
    )
    verify: bool = field(
        default=False,
        metadata=_about(
            "Packed stores: read everything once and compare it with its checksums.",
            refusal="only stores that pixfold pack has written hold checksums to verify",
            in_commands=False,
        ),
    )

    def __post_init__(self) -> None:
        for name, expected, fits in (
            ("label", "the name of a column", _is_text(self.label)),
            ("labels", "a path", self.labels is None or isinstance(self.labels, str | os.PathLike)),
            ("split", _names(Split), self.split is None or _is_among(self.split, Split)),
            ("layer", "the name of a layer", _is_text(self.layer)),
            ("categorical", _names(Categorical), _is_among(self.categorical, Categorical)),
            ("stack", "True or False", isinstance(self.stack, bool)),
            ("join", _names(Join), _is_among(self.join, Join)),
            ("sequence", "the name of a column", _is_text(self.sequence)),
            ("alphabet", _names(SequenceAlphabet), self.alphabet is None or _is_among(self.alphabet, SequenceAlphabet)),
            ("ambiguous", _names(Ambiguous), _is_among(self.ambiguous, Ambiguous)),
            ("length", "a positive integer", self.length is None or _is_positive(self.length)),
            (
                "categories",
                "a mapping of columns to their categories",
                self.categories is None or isinstance(self.categories, Mapping),
            ),
            ("verify", "True or False", isinstance(self.verify, bool)),
        ):
            if not fits:
                raise InputError(must_be("open_source", name, expected, vars(self)[name]))
        if self.label is not None and self.y is not None:
            raise InputError(f"open_source: labels must be given either as the column {self.label!r} or as y, got both")
        if self.labels is not None and self.label is None:
            raise InputError(f"open_source: label must name a column of {os.fspath(self.labels)}, got None")

    @classmethod
    def of(cls, caller: str, given: Mapping[str, Any]) -> ReadOptions:
        """Make options of the keyword arguments of a function.

        Raises
        ------
        TypeError
            For a keyword that is no option; the message names the caller.
        """
        known = [option.name for option in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise TypeError(f"{caller}: keyword arguments must be {one_of(known)}, got {name!r}")
        return cls(**given)

    def asked_for(self) -> dict[str, Any]:
        """Return the options that are not at their defaults, by name."""
        defaults = {option.name: option.default for option in dataclasses.fields(self)}
        return {
            name: value
            for name, value in vars(self).items()
            if value is not defaults[name] and (name == "y" or value != defaults[name])
        }

    def refuse(self, source: str, *names: str) -> None:
        """Raise InputError when one of these options is asked for, which a source cannot use."""
        asked = self.asked_for()
        for option in dataclasses.fields(self):
            if option.name in names and option.name in asked:
                raise InputError(
                    f"{source}: {option.name} must be {option.default}, because {option.metadata['refusal']}, "
                    f"got {short_repr(asked[option.name])}"
                )


def _names(choices: Any) -> str:
    return " or ".join(map(repr, get_args(choices)))


def _is_among(value: Any, choices: Any) -> bool:
    return isinstance(value, str) and value in get_args(choices)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 1
