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
from pixfold.cli.options import Given
from pixfold.cli.summary import print_summary

# Arguments of the estimators.
_NETWORK = {
    "backbone": Given(
        str | None,
        None,
        "Network: resnet18 (default with --label), resnet18-plain, patchnet (fast), or a classifier of torchvision. "
        "Only with --label.",
    ),
    "epochs": Given(int | None, None, "Epochs per run at most. Default: chosen from the data."),
    "batch_size": Given(int | None, None, "Samples per training step."),
    "latent_dim": Given(int | None, None, "Size of the latent space. Only without --label."),
}
_RUNS = {
    "n_runs": Given(int, 5, "Runs at most, each with a new split; fewer when the ranking converges.", flag="--runs"),
    "min_accuracy": Given(
        float | None,
        None,
        "Accuracy on validation and test samples below which a run is not used. Without it a run is used when its "
        "balanced accuracy on them is significantly above chance (permutation test, p <= 0.05). Only with --label.",
    ),
    "method": Given(
        str | None,
        None,
        "Attribution: saliency (default with --label), integrated_gradients or input_x_gradient (default without).",
    ),
    "random_state": Given(int, 0, "The same seed gives the same findings.", flag="--seed"),
}
_MACHINE = {
    "device": Given(str, "auto", "auto, cpu, cuda, cuda:1, mps."),
    "precision": Given(str, "auto", "Of training: auto, 32-true, bf16-mixed, 16-mixed."),
    **options.THREADS,
    "memory": Given(
        str | None,
        None,
        "Memory for samples, such as 4GB: what fits into half of it is read once, the rest is streamed. Default: half "
        "of what is free.",
    ),
}
_LABEL = Given(str | None, None, "Column that holds the classes. Without it the job is self-supervised.")
# Option -> whether it is for jobs with --label, and why not for the others.
_OF_ONE_TASK = {
    "min_accuracy": (True, "needs --label: without classes there is no accuracy"),
    "backbone": (True, "needs --label: self-supervised jobs have a network of their own"),
    "latent_dim": (False, "is for self-supervised jobs, which have no --label"),
}


@one_line_errors
@options.takes(
    reading={"How INPUT is read": {**options.READING, "label": _LABEL}},
    learning={
        "From values to pixels": options.VALUES,
        "Network and training": _NETWORK,
        "Runs": _RUNS,
        "Where it runs": _MACHINE,
    },
)
def run(
    *,
    data: options.Inputs,
    out: Annotated[Path, typer.Option(help="Output folder; made when it does not exist.")],
    quiet: options.Quiet = False,
    reading: dict[str, Any],
    learning: dict[str, Any],
) -> None:
    """Learn INPUT and write a ranked feature table, figures, a report and the model to --out."""
    supervised = "label" in reading
    for name, (of_classes, refusal) in _OF_ONE_TASK.items():
        if name in learning and supervised != of_classes:
            raise typer.BadParameter(refusal, param_hint=f"--{name.replace('_', '-')}")
    with _folder_made_for(out), messages(quiet=quiet) as shown:
        from pixfold.report import check_writable, write_results
        from pixfold.sources import open_source
        from pixfold.util.outputs import locked

        # What was not asked for keeps the default of the estimator.
        estimator = _estimator(supervised=supervised, **learning)
        estimator.check_arguments()
        check_writable(out)
        with locked(out, out / ".pixfold.lock"):
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
