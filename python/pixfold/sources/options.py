"""ReadOptions: all that a user may say about how data are read, each option written and checked here once."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pixfold.errors import InputError
from pixfold.sources.names import names_of
from pixfold.sources.where import Where
from pixfold.util.sizes import bytes_of
from pixfold.util.text import must_be, one_of, short_repr

Split = Literal["median"]
Categorical = Literal["ordinal", "onehot"]
Decimal = Literal[".", ","]
Join = Literal["all", "inner"]
SequenceAlphabet = Literal["dna", "rna", "protein"]
Ambiguous = Literal["spread", "zero"]

_NO_TEXT = "it is for tables of numbers, in text files and spreadsheets"
_NO_SEQUENCES = "it holds no sequences"
_NO_TYPES = "only 10x files and AnnData say of which type and genome features are"


# What takes a column of the data; see :meth:`ReadOptions.refuse`.
COLUMNS = ("label", "groups", "covariates", "where")
_NO_COLUMNS = "it has no columns to take {} from, so give {}"


class NoColumnError(InputError):
    """Columns were asked for that the data do not have: ``columns``."""

    def __init__(self, message: str, columns: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.columns = tuple(columns)


def _about(help_text: str, refusal: str = "", in_commands: bool = True, kind: Any = None) -> dict[str, Any]:
    return {"help": help_text, "refusal": refusal, "in_commands": in_commands, "kind": kind}


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What :func:`pixfold.open_source`, the estimators and the commands take beside the data.

    The metadata of a field hold its ``help``; ``in_commands``, whether commands have it as an option, and ``kind``, the
    type of that option where it is not the field's own; and ``refusal``, what a source that cannot use it says.

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
            "Table of its own (.csv, .tsv, .xlsx, .parquet) that LABEL is a column of, matched by sample name. Its "
            "first column names the samples if it has no header, else one called sample, id or IID, else the first.",
        ),
    )
    groups: Any = field(
        default=None,
        metadata=_about(
            "Column that says which samples belong together (donor, patient, family), looked for where LABEL is: "
            "samples of one group are never parted.",
            refusal=_NO_COLUMNS.format("groups", "one group per sample"),
            kind=str | None,
        ),
    )
    covariates: Any = field(
        default=(),
        metadata=_about(
            "Columns about the samples that are no features (batch, age, sex), one or several: repeated, or with "
            "commas between them.",
            refusal=_NO_COLUMNS.format("covariates", "a dict of their names and values"),
            kind=list[str],
        ),
    )
    match: str | None = field(
        default=None,
        metadata=_about(
            "How samples find their rows of LABELS: by their whole names (default), or prefix:12, by their first 12 "
            "characters, where '.', '-' and '_' count as one. Prefixes that two rows share are an error.",
        ),
    )
    features: Any = field(
        default=None,
        metadata=_about(
            "Features that are used, and no others: names or patterns such as 'MT-*', with commas between them; "
            "@genes.txt, a file of one name per line.",
            kind=list[str],
        ),
    )
    drop: Any = field(
        default=None, metadata=_about("Features that are left out, given as FEATURES are.", kind=list[str])
    )
    where: Any = field(
        default=None,
        metadata=_about(
            "Samples that are used: a condition on the columns about samples, such as "
            "\"tissue == 'lung' and age >= 40\". In a table these columns are no features.",
            refusal=_NO_COLUMNS.format("the condition", "rows of the data instead"),
            kind=str | None,
        ),
    )
    feature_type: str | None = field(
        default=None,
        metadata=_about(
            "10x and AnnData: types of features that are used, such as 'Antibody Capture', or all; several with "
            "commas. Default of 10x: Gene Expression, where there are other types, too.",
            refusal=_NO_TYPES,
        ),
    )
    genome: str | None = field(
        default=None,
        metadata=_about(
            "10x and AnnData: genomes whose features are used; several with commas. Default: all.", refusal=_NO_TYPES
        ),
    )
    name_column: str | None = field(
        default=None,
        metadata=_about(
            "Annotation of the features, such as gene symbols, that summary, report and figures call them by, and that "
            "FEATURES and DROP may name."
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
    decimal: Decimal | None = field(
        default=None,
        metadata=_about(
            "Tables in text files and spreadsheets: the decimal point of numbers, . or , (the other mark may stand "
            "between thousands). Default: the table tells.",
            refusal=_NO_TEXT,
        ),
    )
    sheet: str | None = field(
        default=None,
        metadata=_about(
            "Spreadsheets: name of the sheet. Default: the first that holds anything.",
            refusal="spreadsheets alone have sheets",
        ),
    )
    no_header: bool = field(
        default=False,
        metadata=_about(
            "Tables in text files and spreadsheets: the first line is a sample; columns are called feature_0, "
            "feature_1, ...",
            refusal=_NO_TEXT,
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
    transpose: bool | None = field(
        default=None,
        metadata=_about(
            "Text tables and spreadsheets: rows are features and columns are samples, or they are not. Default: the "
            "format or the names in the table tell, and it is said.",
            refusal="text tables and spreadsheets alone are read either way",
        ),
    )
    samples: Collection[str] | None = field(
        default=None,
        metadata=_about(
            "Names of samples that are known from elsewhere; by default those in LABELS. Where they are the columns of "
            "a text table, its rows are features.",
            in_commands=False,
        ),
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
    hard_calls: bool = field(
        default=False,
        metadata=_about(
            "Files with dosages (.pgen, .bgen): genotypes of 0, 1 and 2 copies instead, at two bits; what is not "
            "called is missing.",
            refusal="it holds no dosages",
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
    learned: Sequence[str] | None = field(
        default=None,
        metadata=_about(
            "Tables: names of the features that a model was trained on; other columns are not looked at.",
            in_commands=False,
        ),
    )
    memory: int | str | None = field(
        default=None,
        metadata=_about(
            "Budget of memory for what is held while a table or a matrix by columns is read; what is more goes to "
            "temporary files. At most 256 MiB are held without one.",
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
            ("groups", "the name of a column or one group per sample", _is_column_or_values(self.groups)),
            ("covariates", "names of columns or a dict of names and values", _are_covariates(self.covariates)),
            ("match", "'prefix:' and a number", self.match is None or self.prefix is not None),
            ("where", "a condition on columns", _is_text(self.where) or isinstance(self.where, Where)),
            ("feature_type", "types of features", _is_text(self.feature_type)),
            ("genome", "genomes", _is_text(self.genome)),
            ("name_column", "the name of an annotation", _is_text(self.name_column)),
            ("split", _names(Split), self.split is None or _is_among(self.split, Split)),
            ("layer", "the name of a layer", _is_text(self.layer)),
            ("categorical", _names(Categorical), _is_among(self.categorical, Categorical)),
            ("decimal", _names(Decimal), self.decimal is None or _is_among(self.decimal, Decimal)),
            ("sheet", "the name of a sheet", _is_text(self.sheet)),
            ("no_header", "True or False", isinstance(self.no_header, bool)),
            ("stack", "True or False", isinstance(self.stack, bool)),
            ("join", _names(Join), _is_among(self.join, Join)),
            ("transpose", "True, False or None", self.transpose is None or isinstance(self.transpose, bool)),
            ("samples", "names", self.samples is None or _are_names(self.samples)),
            ("sequence", "the name of a column", _is_text(self.sequence)),
            ("alphabet", _names(SequenceAlphabet), self.alphabet is None or _is_among(self.alphabet, SequenceAlphabet)),
            ("ambiguous", _names(Ambiguous), _is_among(self.ambiguous, Ambiguous)),
            ("length", "a positive integer", self.length is None or _is_positive(self.length)),
            ("hard_calls", "True or False", isinstance(self.hard_calls, bool)),
            (
                "categories",
                "a mapping of columns to their categories",
                self.categories is None or isinstance(self.categories, Mapping),
            ),
            ("verify", "True or False", isinstance(self.verify, bool)),
        ):
            if not fits:
                raise InputError(must_be("open_source", name, expected, vars(self)[name]))
        if self.memory is not None:
            object.__setattr__(self, "memory", bytes_of("open_source", self.memory))
        if not isinstance(self.covariates, Mapping | str):
            object.__setattr__(self, "covariates", tuple(self.covariates))
        if self.samples is not None:
            object.__setattr__(self, "samples", frozenset(map(str, self.samples)))
        for name in ("features", "drop"):
            if vars(self)[name] is not None:
                object.__setattr__(self, name, names_of(name, vars(self)[name]))
        if isinstance(self.where, str):
            object.__setattr__(self, "where", Where.parsed(self.where))
        if self.match is not None and self.labels is None:
            raise InputError(
                f"open_source: match must be left out without labels, a table to match, got {self.match!r}"
            )
        if self.label is not None and self.y is not None:
            raise InputError(f"open_source: labels must be given either as the column {self.label!r} or as y, got both")
        if self.label is not None and self.label in (self.groups_column, *self.covariate_columns):
            option = "groups" if self.groups_column == self.label else "covariates"
            raise InputError(f"open_source: {option} must be other columns than the label, got {self.label!r}")
        if self.labels is not None and self.label is None and not self.columns:
            raise InputError(f"open_source: label must name a column of {os.fspath(self.labels)}, got None")

    @property
    def groups_column(self) -> str | None:
        """The column with the groups; None where there are none, or they were given as values."""
        return self.groups if isinstance(self.groups, str) else None

    @property
    def covariate_columns(self) -> tuple[str, ...]:
        """The columns with covariates; none where they were given as values."""
        if isinstance(self.covariates, Mapping):
            return ()
        return (self.covariates,) if isinstance(self.covariates, str) else tuple(dict.fromkeys(self.covariates))

    @property
    def where_columns(self) -> tuple[str, ...]:
        """The columns that the condition names, without that of the label."""
        return () if self.where is None else tuple(name for name in self.where.columns if name != self.label)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns about samples beside the label, each once."""
        groups = () if self.groups_column is None else (self.groups_column,)
        return tuple(dict.fromkeys((*groups, *self.covariate_columns, *self.where_columns)))

    @property
    def prefix(self) -> int | None:
        """How many characters of their names match samples to rows of a table of labels; None for all."""
        found = None if self.match is None else re.fullmatch(r"prefix:([1-9]\d{0,3})", self.match)
        return None if found is None else int(found[1])

    def in_columns(self, names: Collection[str]) -> ReadOptions:
        """Return these options with those groups, covariates and columns of conditions alone that have these names."""
        return dataclasses.replace(
            self,
            groups=self.groups_column if self.groups_column in names else None,
            covariates=tuple(name for name in self.covariate_columns if name in names),
            where=None if self.where is None else self.where.of_columns(names),
        )

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
            if value is not defaults[name] and (name in ("y", "groups") or value != defaults[name])
        }

    def refuse(self, source: str, *names: str) -> None:
        """Raise InputError when one of these options is asked for, which a source cannot use."""
        asked = self.asked_for()
        # Values come beside the data, whatever they are; it is columns that some data lack.
        asked = {name: value for name, value in asked.items() if name not in ("groups", "covariates")}
        asked |= {"groups": self.groups} if self.groups_column is not None else {}
        asked |= {"covariates": self.covariates} if self.covariate_columns else {}
        for option in dataclasses.fields(self):
            if option.name in names and option.name in asked:
                default = None if option.default == () else option.default
                message = (
                    f"{source}: {option.name} must be {default}, because {option.metadata['refusal']}, "
                    f"got {short_repr(asked[option.name])}"
                )
                if option.name in COLUMNS:
                    several = {"covariates": self.covariate_columns, "where": self.where_columns}
                    columns = several.get(option.name, [asked[option.name]])
                    raise NoColumnError(message, columns)
                raise InputError(message)


def _is_column_or_values(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return True
    return not isinstance(value, bytes | Mapping) and (hasattr(value, "__array__") or isinstance(value, Sequence))


def _are_covariates(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str) for name in value)
    if isinstance(value, str):
        return True
    return isinstance(value, Sequence) and all(isinstance(name, str) for name in value)


def _are_names(value: Any) -> bool:
    return not isinstance(value, str | bytes) and hasattr(value, "__iter__")


def _names(choices: Any) -> str:
    return " or ".join(map(repr, get_args(choices)))


def _is_among(value: Any, choices: Any) -> bool:
    return isinstance(value, str) and value in get_args(choices)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 1
