"""Options that several commands take: what they are called, and what their help says."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Negative(StrEnum):
    """What to do with negative values when the normaliser takes a logarithm."""

    auto = "auto"
    error = "error"
    shift = "shift"


class Missing(StrEnum):
    """What to do with missing values."""

    error = "error"
    zero = "zero"
    mean = "mean"


class Arrangement(StrEnum):
    """Where features are put in the image."""

    natural = "natural"
    shuffled = "shuffled"


class Split(StrEnum):
    """How numeric labels become classes."""

    median = "median"


class Categorical(StrEnum):
    """What columns of text become."""

    ordinal = "ordinal"
    onehot = "onehot"


class Join(StrEnum):
    """Samples that not every input has."""

    all = "all"
    inner = "inner"


class Ambiguous(StrEnum):
    """What letters of sequences that stand for several become."""

    spread = "spread"
    zero = "zero"


# What is read.
Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT...",
        help="Samples x features: .h5ad, .h5, .mtx, .bed, .npy, .npz, .csv, .tsv (.gz, .zst), .parquet, .feather, "
        ".fasta, .fastq; a folder of AnnData in Zarr, of 10x files, or that pack wrote. Several: of the same samples, "
        "their features side by side.",
    ),
]
Label = Annotated[str | None, typer.Option(help="Column that holds the classes.")]
Labels = Annotated[
    Path | None,
    typer.Option(help="Table of its own (.csv, .tsv, .parquet) that --label is a column of, matched by sample name."),
]
SplitLabels = Annotated[
    Split | None, typer.Option("--split", help="Make two classes of numeric labels: up to their median, and above.")
]
Layer = Annotated[str | None, typer.Option(help="AnnData: layer to read instead of X, or raw.")]
Encoding = Annotated[
    Categorical,
    typer.Option("--categorical", help="Tables: text columns as codes, or as one feature of 0 and 1 per category."),
]
Stack = Annotated[
    bool,
    typer.Option(
        "--stack", help="Several INPUTs: each in image channels of its own, instead of one image of all features."
    ),
]
JoinSamples = Annotated[
    Join,
    typer.Option("--join", help="Several INPUTs: all must have the same samples, or inner uses those that all have."),
]
Sequence = Annotated[
    str | None, typer.Option(help="Tables: the column of DNA, RNA or protein sequences that is the data.")
]
Alphabet = Annotated[str | None, typer.Option(help="Sequences: dna, rna or protein; the letters tell without it.")]
AmbiguousLetters = Annotated[
    Ambiguous,
    typer.Option(
        "--ambiguous",
        help="Sequences: letters such as N or R are each of what they stand for to equal parts, or nothing.",
    ),
]
Length = Annotated[
    int | None, typer.Option(min=1, help="Sequences: letters per sample; the longest decides without it.")
]

# What is done with values.
NegativeValues = Annotated[
    Negative,
    typer.Option("--negative", help="Negative values before a logarithm: auto shifts each feature and says so."),
]
MissingValues = Annotated[
    Missing, typer.Option("--missing", help="Missing values: an error, 0, or the mean of the feature.")
]

# How it is done.
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all without it.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; warnings and the summary stay.")]
