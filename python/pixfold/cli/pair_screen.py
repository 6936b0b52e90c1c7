"""The command ``pixfold pair-screen``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pixfold.cli import options
from pixfold.cli.messages import console, messages, one_line_errors
from pixfold.cli.options import Given

# Arguments of pairs.pair_screen.
_PAIRS = {
    "top_k": Given(int, 1000, "Pairs in the table at most."),
    "alpha": Given(float, 0.05, "Family-wise error rate of the threshold."),
    "threshold": Given(
        Literal["bonferroni", "permutation"],
        "bonferroni",
        "By the number of pairs, or by the largest statistic under permuted labels.",
    ),
    "n_permutations": Given(int, 100, "Permuted labels for --threshold permutation.", flag="--permutations"),
    "transform": Given(
        Literal["auto", "sign", "rank", "standard"],
        "auto",
        "Of the values: above the median of the class or not, normal scores of ranks, or as they are. auto is standard "
        "for genotypes, else sign.",
    ),
    "missing": Given(Literal["error", "mean"], "error", "Missing values: an error, or the mean of the feature."),
    "label_type": Given(
        Literal["auto", "classes", "measurement"], "auto", "auto takes numbers of many values for a measurement."
    ),
    "seed": Given(int, 0, "Of the permutations."),
}
_MACHINE = {
    "device": Given(str, "auto", "auto, cpu, cuda, cuda:1."),
    "memory": Given(str | None, None, "Memory for values, such as 2GB. Default: half of what is free."),
    **options.THREADS,
}
# The command has covariates of its own: those that are taken out.
_READING = {name: given for name, given in options.READING_OF_VALUES.items() if name != "covariates"}
_SHOWN = 10


@one_line_errors
@options.takes(
    reading=options.in_panels(_READING),
    screening={"Which pairs": _PAIRS, "Where it runs": _MACHINE},
)
def pair_screen(
    *,
    data: options.Inputs,
    out: Annotated[Path, typer.Option(help="Table of the pairs, a .csv file.")],
    covariates: Annotated[
        str | None,
        typer.Option(help="Columns, comma-separated, whose effects are taken out of label and features."),
    ] = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    reading: dict[str, Any],
    screening: dict[str, Any],
) -> dict[str, Any]:
    """Look at all pairs of INPUT's features for those that tell the classes of --label apart together.

    Example: pixfold pair-screen cohort.bed --label phenotype --covariates sex --out pairs.csv
    """
    if "label" not in reading:
        raise typer.BadParameter("is needed: pairs are compared between classes", param_hint="--label")
    with messages(quiet=quiet) as shown:
        from pixfold.pairs.columns import covariates_of
        from pixfold.pairs.screen import check_arguments
        from pixfold.pairs.screen import pair_screen as screen
        from pixfold.sources import open_source
        from pixfold.util.files import staged
        from pixfold.util.outputs import check_table, locked

        check_arguments(**screening)
        check_table(out, _BEGINNING, force=force)
        source = open_source(data if len(data) > 1 else data[0], memory=screening.get("memory"), **reading)
        given = None if covariates is None else covariates_of(source, covariates.split(","))
        found = screen(source, covariates=given, progress=shown, **screening)
        for message in found.messages:
            shown.warn(message)
        table = found.table()
        with locked(out):
            check_table(out, _BEGINNING, force=force)
            with staged(out) as (temporary,):
                table.to_csv(temporary, index=False)
        significant = int(found.significant.sum())
        more = "at least " if significant == len(found) < found.n_pairs else ""
        console().print(table.head(_SHOWN).to_string(index=False, float_format="%.4g"), soft_wrap=True, markup=False)
        typer.echo(
            f"{out}: {len(found):,} of {found.n_pairs:,} pairs, {found.n_samples:,} samples; "
            f"{more}{significant:,} above |z| = {found.threshold:.2f} ({screening['threshold']}, "
            f"alpha {screening['alpha']:g})"
        )
        return {
            "out": str(out),
            "n_pairs": found.n_pairs,
            "n_samples": found.n_samples,
            "n_significant": significant,
            "threshold": found.threshold,
            "top_pairs": table.head(_SHOWN).to_dict(orient="records"),
            "messages": found.messages,
        }


# What a table of this command begins with.
_BEGINNING = "feature_a,feature_b,z,p,p_bonferroni,"
