"""The command ``pixfold run``."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixfold.cli import options
from pixfold.cli.messages import messages, one_line_errors
from pixfold.cli.options import Given
from pixfold.cli.summary import print_summary
from pixfold.util.text import one_of

if TYPE_CHECKING:
    from pixfold.sources.base import Source

# Arguments of the estimators.
_NETWORK = {
    "backbone": Given(
        str | None,
        None,
        "Network: auto (default: additive where up to some 3,000 samples can be solved for at once, else patchnet), "
        "additive, patchnet, resnet18 (the paper's), resnet18-plain, or a torchvision classifier. Only with --label.",
    ),
    "epochs": Given(int | None, None, "Of trained networks: epochs per run at most. Default: chosen from the data."),
    "batch_size": Given(int | None, None, "Of trained networks: samples per training step."),
    "latent_dim": Given(int | None, None, "Size of the latent space. Only without --label."),
}
_RUNS = {
    "n_runs": Given(
        int | None,
        None,
        "Runs at most, each with a new split. Default: until the list has converged, at most 60 (networks that are "
        "trained: 5; self-supervised: 3).",
        flag="--runs",
    ),
    "time": Given(str | None, None, "No new run after this time, such as 90s or 10m. Default: no limit."),
    "fdr": Given(
        float | None, None, "False discovery rate of the features that are called. Default: 0.1. Only with --label."
    ),
    "min_accuracy": Given(
        float | None,
        None,
        "Mean accuracy on held-out samples below which nothing is ranked. Without it features are ranked when the "
        "labels can be told better than permuted labels (p <= 0.05). Only with --label.",
    ),
    "pair_screen": Given(
        bool | None,
        None,
        "Screen all pairs of features, too. Default: where that takes little. Only with --label, not with --groups.",
    ),
    "baselines": Given(
        bool | None,
        None,
        "Put a test of each feature and linear models beside the findings. Default: yes. Only with --label.",
    ),
    "method": Given(
        str | None,
        None,
        "Attribution of trained networks: by default signed evidence (pixel x gradient); saliency (the paper's), "
        "integrated_gradients or input_x_gradient.",
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
_LABEL = Given(str | None, None, "Column that holds the classes, or a quantity. Without it the job is self-supervised.")
_TASKS = ("auto", "classification", "regression")
_TASK = Given(
    str | None,
    None,
    "What is learned of --label: classification, regression (a quantity, such as an age), or auto (the default): a "
    "quantity when the labels are numbers of more than 10 different values.",
)
# Option -> whether it is for jobs with --label, and why not for the others.
_OF_ONE_TASK = {
    "pair_screen": (True, "needs --label: pairs tell classes apart"),
    "baselines": (True, "needs --label: the baselines tell classes apart"),
    "fdr": (True, "needs --label: only features that tell classes apart are called"),
    "min_accuracy": (True, "needs --label: without classes there is no accuracy"),
    "backbone": (True, "needs --label: self-supervised jobs have a network of their own"),
    "latent_dim": (False, "is for self-supervised jobs, which have no --label"),
}
# Names of survival times, and of columns that say which of them ended.
_SURVIVAL = re.compile(r"(?i)(^|[_. ])(time|days|months|os|pfs|dfs|rfs|survival)([_. ]|$)")
_CENSORED = re.compile(r"(?i)(^|[_. ])(event|status|censored|censor|dead|death|deceased|vital)([_. ]|$)")
_MOST_COLUMNS = 1_000_000
# Options that a quantity does not have.
_OF_CLASSES = ("method", "min_accuracy", "pair_screen")


@one_line_errors
@options.takes(
    reading=options.in_panels({**options.READING, "label": _LABEL, "task": _TASK}),
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
    """Learn INPUT and write a ranked feature table, figures, a report and the model to --out.

    Example: pixfold run data.h5ad --label cell_type --groups donor --out out/cells
    """
    supervised = "label" in reading
    task = _task_asked_for(reading.pop("task", "auto"), reading, learning)
    for name, (of_classes, refusal) in _OF_ONE_TASK.items():
        if name in learning and supervised != of_classes:
            raise typer.BadParameter(refusal, param_hint=f"--{name.replace('_', '-')}")
    with _folder_made_for(out), messages(quiet=quiet) as shown:
        from pixfold.report import check_writable, write_results
        from pixfold.sources import open_source
        from pixfold.util.outputs import locked

        # What was not asked for keeps the default of the estimator.
        estimator = _estimator(supervised=supervised, **_regression(task), **learning)
        estimator.check_arguments()
        check_writable(out)
        with locked(out, out / ".pixfold.lock"):
            source = open_source(data if len(data) > 1 else data[0], **reading)
            if task == "auto" and (quantity := _quantity_in_words(source, reading["label"])):
                source.messages.append(quantity)
                shown.warn(quantity)
                estimator = _estimator(supervised=True, **_regression("regression"), **learning)
            estimator.fit_source(source, command=shlex.join(["pixfold", *sys.argv[1:]]), progress=shown)
            results = estimator.results_
            for message in results.messages:
                shown.warn(message)
            write_results(results, out, save_model=estimator.save)
    print_summary(results, out)


def _task_asked_for(task: str, reading: dict[str, Any], learning: dict[str, Any]) -> str:
    """Check --task against the other options; "auto" only where the labels are still to decide."""
    supervised = "label" in reading
    # --no-pair-screen asks for nothing of classes.
    of_classes = [name for name in _OF_CLASSES if learning.get(name, False) is not False]
    refusal = None
    if task == "survival":
        refusal = (
            "survival is not there yet: times with censored samples need a loss of their own; learn who lived longer "
            "than the median with --split median, or another quantity with --task regression"
        )
    elif task not in _TASKS:
        refusal = f"must be {one_of(_TASKS)}, got {task!r}"
    elif task == "regression" and not supervised:
        refusal = "regression needs --label: the column of the quantity"
    elif task == "classification" and not supervised:
        refusal = "classification needs --label: the column of the classes"
    elif task == "regression" and "split" in reading:
        refusal = "regression learns the numbers themselves: leave out --split, which makes classes of them"
    elif task == "regression" and of_classes:
        refusal = f"regression has no --{of_classes[0].replace('_', '-')}, which is for classes"
    if refusal is not None:
        raise typer.BadParameter(refusal, param_hint="--task")
    if supervised and task == "auto" and ("split" in reading or of_classes):
        return "classification"
    return task if supervised else "self-supervised"


def _quantity_in_words(source: Source, label: str) -> str | None:
    """Say that labels are learned as a quantity, or give None where they are classes."""
    from pixfold.stream.labels import is_quantity, labelled_rows

    labels = labelled_rows(source, [])[1]
    if labels is None or not is_quantity(labels):
        return None
    n = len(set(labels.tolist()))
    columns = [*source.covariates, *source.feature_names] if source.n_features < _MOST_COLUMNS else []
    censored = next((name for name in columns if _CENSORED.search(name)), None)
    if _SURVIVAL.search(label) and censored is not None:
        return (
            f"{label} looks like a survival time, of which {censored} says who was censored; it is learned as a "
            "quantity, as if all had been seen to the end: --split median learns who lived longer, "
            f"--drop {censored} leaves that out"
        )
    return f"{label} has {n:,} different numbers: learned as a quantity (--task classification learns {n:,} classes)"


def _regression(task: str) -> dict[str, bool]:
    return {"regression": True} if task == "regression" else {}


def _estimator(*, supervised: bool, regression: bool = False, **arguments: Any) -> Any:
    from pixfold.learn.estimator import DeepMapperAutoencoder, DeepMapperClassifier, DeepMapperRegressor

    if regression:
        arguments.pop("pair_screen", None)  # False: a quantity has no pairs
        return DeepMapperRegressor(**arguments)
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
