"""The command ``pixfold predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pixfold.cli import options
from pixfold.cli.messages import messages, one_line_errors
from pixfold.cli.options import Given

# The model brings its own; labels are those of new samples.
_OF_MODELS = ("split", "categorical")
_READING = {
    **{name: given for name, given in options.READING_OF_VALUES.items() if name not in _OF_MODELS},
    "label": Given(str | None, None, "Column that holds what is so, to say how right the model is."),
}
_MACHINE = {
    "device": Given(str, "auto", "auto, cpu, cuda, cuda:1, mps."),
    "batch_size": Given(int | None, None, "Samples that are predicted together. Default: as in training."),
    "memory": Given(str | None, None, "What blocks of samples may take, such as 512MB or 2GiB."),
    **options.THREADS,
}


@one_line_errors
@options.takes(reading=options.in_panels(_READING), machine={"Where it runs": _MACHINE})
def predict(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a run, or of a saved model.")],
    data: options.Inputs,
    out: Annotated[Path, typer.Option(help="Table of the predictions, a .csv or .parquet file.")],
    backbone: Annotated[
        str | None,
        typer.Option(help="package.module:callable of a model that was trained with one; needs --trust-code."),
    ] = None,
    trust_code: options.TrustCodeOfModel = False,
    fill_missing: options.FillMissing = False,
    ignore_versions: options.IgnoreVersions = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    reading: dict[str, Any],
    machine: dict[str, Any],
) -> dict[str, Any]:
    """Write what a saved model says of new samples: their classes with probabilities, quantities, or latent values.

    Features are matched by name, and samples normalised as in training.

    Example: pixfold predict out/cells new.h5ad --out predicted.csv
    """
    options.check_trusted(backbone, trusted=trust_code)
    with messages(quiet=quiet) as shown:
        from pixfold.learn.estimators import load
        from pixfold.learn.prediction_files import check_output, write
        from pixfold.learn.predictions import predictions_of
        from pixfold.util.outputs import locked

        check_output(out, force=force)
        fitted = load(model, backbone=backbone)
        fitted.set_params(**machine)
        fitted.check_arguments()
        how = {"fill_missing": fill_missing, "ignore_versions": ignore_versions}
        new = fitted.aligned(data if len(data) > 1 else data[0], **how, **reading)
        for message in [*new.source.messages, *new.messages]:
            shown.warn(message)
        table, scores, said = predictions_of(fitted, new)
        for message in said:
            shown.warn(message)
        with locked(out):
            check_output(out, force=force)
            write(table, out)
    for line in _scores_in_words(scores):
        typer.echo(line)
    typer.echo(f"{out}: {len(table):,} samples{_counts_in_words(table)}")
    return {
        "out": str(out),
        "n_samples": len(table),
        "scores": scores,
        "predicted": table["predicted"].value_counts().to_dict() if _has_classes(table) else None,
        "messages": [*new.messages, *said],
    }


def _scores_in_words(scores: dict[str, Any]) -> list[str]:
    if "accuracy" in scores:
        n = scores["n_samples"]
        return [
            f"accuracy: {scores['accuracy']:.3f} ({n:,} samples with a label; always the commonest class: "
            f"{scores['chance_accuracy']:.3f})",
            f"balanced accuracy: {scores['balanced_accuracy']:.3f}",
        ]
    if scores.get("r2") is not None:
        return [
            f"R2: {scores['r2']:.3f} ({scores['n_samples']:,} samples)",
            f"Spearman correlation: {scores['spearman']:.3f}",
        ]
    return []


def _has_classes(table: Any) -> bool:
    return "predicted" in table and table["predicted"].dtype.kind != "f"


def _counts_in_words(table: Any) -> str:
    if not _has_classes(table):
        return ""
    counts = table["predicted"].value_counts()
    shown = ", ".join(f"{name} {n:,}" for name, n in counts.iloc[:6].items())
    return f"; predicted: {shown}{', ...' if len(counts) > 6 else ''}"
