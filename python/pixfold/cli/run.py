"""The command ``pixfold run``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pixfold.cli import options
from pixfold.cli.messages import messages, one_line_errors
from pixfold.cli.summary import print_summary

_NETWORK, _RUNS = "Network and training", "Runs"


@one_line_errors
@options.reads_samples(label="Column that holds the classes. Without it the job is self-supervised.")
def run(
    *,
    data: options.Inputs,
    out: Annotated[Path, typer.Option(help="Output folder; made when it does not exist.")],
    quiet: options.Quiet = False,
    reading: dict[str, Any],
    normalize: options.Normalize = "auto",
    negative: options.Negative = "auto",
    missing: options.Missing = "error",
    arrangement: Annotated[
        options.Arrangement,
        typer.Option(
            help="Features in the order of the data, or in a new seeded order in every run.",
            rich_help_panel=options.VALUES,
        ),
    ] = "natural",
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Network: resnet18 (default with --label), resnet18-plain, patchnet (fast), or a classifier "
            "of torchvision. Only with --label.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs per run at most. Default: chosen from the data.", rich_help_panel=_NETWORK),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples per training step.", rich_help_panel=_NETWORK)] = None,
    latent_dim: Annotated[
        int | None,
        typer.Option(help="Size of the latent space. Only without --label.", rich_help_panel=_NETWORK),
    ] = None,
    runs: Annotated[
        int,
        typer.Option(
            help="Runs at most, each with a new split; fewer when the ranking converges.",
            rich_help_panel=_RUNS,
        ),
    ] = 5,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            help="Accuracy on validation and test samples below which a run is not used. Without it a run is "
            "used when its balanced accuracy on them is significantly above chance (permutation test, "
            "p <= 0.05). Only with --label.",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Attribution: saliency (default with --label), integrated_gradients or input_x_gradient "
            "(default without).",
            rich_help_panel=_RUNS,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same findings.", rich_help_panel=_RUNS)] = 0,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=options.MACHINE)
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(help="Of training: auto, 32-true, bf16-mixed, 16-mixed.", rich_help_panel=options.MACHINE),
    ] = "auto",
    threads: options.Threads = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory for samples, such as 4GB: what fits into half of it is read once, the rest is streamed. "
            "Default: half of what is free.",
            rich_help_panel=options.MACHINE,
        ),
    ] = None,
) -> None:
    """Learn INPUT and write a ranked feature table, figures, a report and the model to --out."""
    supervised = reading["label"] is not None
    for option, given, refused in (
        ("--min-accuracy", min_accuracy, "needs --label: without classes there is no accuracy"),
        ("--backbone", backbone, "needs --label: self-supervised jobs have a network of their own"),
    ):
        if given is not None and not supervised:
            raise typer.BadParameter(refused, param_hint=option)
    if latent_dim is not None and supervised:
        raise typer.BadParameter("is for self-supervised jobs, which have no --label", param_hint="--latent-dim")
    # What was not asked for keeps the default of the estimator.
    chosen = {
        "backbone": backbone,
        "epochs": epochs,
        "batch_size": batch_size,
        "method": method,
        "min_accuracy": min_accuracy,
        "latent_dim": latent_dim,
        "threads": threads,
        "memory": memory,
    }
    with _folder_made_for(out), messages(quiet=quiet) as shown:
        from pixfold.report import check_writable, write_results
        from pixfold.sources import open_source

        estimator = _estimator(
            supervised=supervised,
            n_runs=runs,
            normalize=normalize,
            negative=negative,
            missing=missing,
            arrangement=arrangement,
            device=device,
            precision=precision,
            random_state=seed,
            **{name: value for name, value in chosen.items() if value is not None},
        )
        estimator.check_arguments()
        check_writable(out)
        source = open_source(data if len(data) > 1 else data[0], **reading)
        estimator.fit_source(source, command=shlex.join(["pixfold", *sys.argv[1:]]), progress=shown)
        results = estimator.results_
        for message in results.messages:
            shown.warn(message)
        write_results(results, out, save_model=estimator.save)
    print_summary(results, out)


def _estimator(*, supervised: bool, **arguments: Any) -> Any:
    from pixfold.learn.estimator import DeepMapperAutoencoder, DeepMapperClassifier

    return DeepMapperClassifier(**arguments) if supervised else DeepMapperAutoencoder(**arguments)


@contextmanager
def _folder_made_for(out: Path) -> Iterator[None]:
    """Remove the empty folders that were made for a job that did not finish."""
    path = Path(os.path.abspath(out))
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in new:
            try:
                folder.rmdir()
            except OSError:  # never made, or something is in it
                break
        raise
