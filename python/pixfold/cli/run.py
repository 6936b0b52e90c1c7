"""The command ``pixfold run``."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pixfold.cli import options
from pixfold.cli.keeping import keeping
from pixfold.cli.messages import Messages, messages, one_line_errors, say
from pixfold.cli.options import Given
from pixfold.cli.processes import joined
from pixfold.cli.settings import settings
from pixfold.cli.summary import print_summary, stored_summary_object, summary_object
from pixfold.util.text import one_of

if TYPE_CHECKING:
    from pixfold.learn.results import Results
    from pixfold.sources.base import Source

# Arguments of the estimators.
_NETWORK = {
    "backbone": Given(
        str | None,
        None,
        "Network: auto (default: additive where up to some 3,000 samples can be solved for at once, else patchnet), "
        "additive, patchnet, resnet18 (the paper's), resnet18-plain, vit, swin; linear and mlp as controls; cnn1d and "
        "cnn2d for sequences; a torchvision classifier; timm:NAME; or package.module:callable. Without --label: auto "
        "(principal where some hundred samples can be solved for at once), principal (components), or convolutional.",
    ),
    "weights": Given(
        str | None,
        None,
        "File of pretrained weights that a trained network begins with: .safetensors, or torch's. What does not fit is "
        "said.",
    ),
    "epochs": Given(int | None, None, "Of trained networks: epochs per run at most. Default: chosen from the data."),
    "batch_size": Given(int | None, None, "Of trained networks: samples per training step."),
    "micro_batch": Given(
        int | None,
        None,
        "Of trained networks: samples in the network at once; a step is of --batch-size samples whatever this is. "
        "Default: all, or half as many when memory runs out.",
    ),
    "clip_norm": Given(float | None, None, "Of trained networks: largest norm of a step's gradients. Default: none."),
    "latent_dim": Given(
        int | None, None, "Size of the latent space; the most principal components. Only of self-supervised jobs."
    ),
    "latent_layer": Given(
        str | None, None, "Layer whose output is the latent space, such as encoder.4. Only of self-supervised jobs."
    ),
    "clusters": Given(
        str | None,
        None,
        "Cluster the samples in the latent space: a number for k-means, kmeans (as many as labels) or leiden. With "
        "--task self-supervised they are compared with --label.",
        read=lambda given: int(given) if given is not None and given.isdecimal() else given,
    ),
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
    "random_state": Given(int, 0, "The same seed gives the same findings.", flag="--seed"),
}
_ATTRIBUTION = {
    "method": Given(
        str | None,
        None,
        "Attribution of trained networks, instead of signed evidence: saliency (the paper's), input_x_gradient, "
        "integrated_gradients, deeplift, deeplift_shap, gradient_shap, guided_backprop, lrp, occlusion, "
        "feature_ablation, gradcam, guided_gradcam, attention_rollout (vit), gate.",
    ),
    "target": Given(
        str | None,
        None,
        "What is explained: correct (default: own class, of samples classified rightly), true (of all), predicted, or "
        "A-B: class A less class B.",
    ),
    "attribution_baseline": Given(
        str | None,
        None,
        "Where methods with a baseline begin: zero, mean (of the training samples) or others (samples of other "
        "classes; default of deeplift_shap and gradient_shap).",
    ),
    "noise_tunnel": Given(int | None, None, "Average the method over so many noisy copies of each sample."),
    "feature_groups": Given(
        str | None,
        None,
        "Of feature_ablation: a .gmt file, a table of feature and group, or a column about features, such as "
        "chromosome.",
    ),
}
_MACHINE = {
    "device": Given(str, "auto", "auto, cpu, cuda, cuda:1, mps."),
    "precision": Given(str, "auto", "Of training: auto, 32-true, bf16-mixed, 16-mixed."),
    "share": Given(
        str | None,
        None,
        "What several processes share: runs, as many at once as there are processes; or samples, of trained networks: "
        "all train one network together, each a part of every batch. auto (default): samples where there are fewer "
        "runs than processes and enough samples.",
    ),
    **options.THREADS,
    "memory": Given(
        str | None,
        None,
        "Memory for samples, such as 4GB: what fits into half of it is read once, the rest is streamed. Default: half "
        "of what is free.",
    ),
}
_LABEL = Given(str | None, None, "Column that holds the classes, or a quantity. Without it the job is self-supervised.")
_TASKS = ("auto", "classification", "regression", "self-supervised")
_TASK = Given(
    str | None,
    None,
    "What is learned of --label: classification, regression (a quantity, such as an age), or auto (the default): a "
    "quantity when the labels are numbers of more than 10 different values. self-supervised: nothing; --label is "
    "compared with --clusters.",
)
_LOGS = {"csv": "log.csv", "tensorboard": "tensorboard"}
# Option -> whether it is for jobs with --label, and why not for the others.
_OF_ONE_TASK = {
    "pair_screen": (True, "needs --label: pairs tell classes apart"),
    "baselines": (True, "needs --label: the baselines tell classes apart"),
    "fdr": (True, "needs --label: only features that tell classes apart are called"),
    "min_accuracy": (True, "needs --label: without classes there is no accuracy"),
    "weights": (True, "needs --label: self-supervised jobs have a network of their own"),
    **{name: (True, "needs --label: outputs of classes are explained") for name in ("target", "attribution_baseline")},
    "noise_tunnel": (True, "needs --label: outputs of classes are explained"),
    "feature_groups": (True, "needs --label: outputs of classes are explained"),
    "latent_dim": (False, "is for self-supervised jobs, which have no --label"),
    "latent_layer": (False, "is for self-supervised jobs, which have no --label"),
    "clusters": (False, "is for self-supervised jobs: --task self-supervised"),
}
# Names of survival times, and of columns that say which of them ended.
_SURVIVAL = re.compile(r"(?i)(^|[_. ])(time|days|months|os|pfs|dfs|rfs|survival)([_. ]|$)")
_CENSORED = re.compile(r"(?i)(^|[_. ])(event|status|censored|censor|dead|death|deceased|vital)([_. ]|$)")
_MOST_COLUMNS = 1_000_000
# Options that a quantity does not have.
_OF_CLASSES = (
    "method",
    "target",
    "attribution_baseline",
    "noise_tunnel",
    "feature_groups",
    "min_accuracy",
    "pair_screen",
)


@one_line_errors
@options.takes(
    reading=options.in_panels({**options.READING, "label": _LABEL, "task": _TASK}),
    learning={
        "From values to pixels": options.VALUES,
        "Network and training": _NETWORK,
        "Runs": _RUNS,
        "Attribution": _ATTRIBUTION,
        "Where it runs": _MACHINE,
    },
)
def run(
    *,
    data: options.Inputs,
    out: Annotated[Path, typer.Option(help="Output folder; made when it does not exist.")],
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the job that was interrupted in --out, if there is one: the same settings and data. Every "
            "epoch and run is kept there until the job ends; a job that has ended is not done again. Ctrl-C ends with "
            "130, SIGTERM with 75.",
            rich_help_panel="Runs",
        ),
    ] = False,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes here that share the job (--share), each with a card of its own where there are cards. The "
            "result is that of one. Several machines: torchrun -m pixfold run ...",
            rich_help_panel="Where it runs",
        ),
    ] = None,
    log: Annotated[
        Literal["csv", "tensorboard"] | None,
        typer.Option(
            help="Write every epoch as it ends: csv to log.csv, tensorboard to the folder tensorboard.",
            rich_help_panel="Runs",
        ),
    ] = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    reading: dict[str, Any],
    learning: dict[str, Any],
    trust_code: options.TrustCode = False,
) -> dict[str, Any]:
    """Learn INPUT and write a ranked feature table, figures, a report and the model to --out.

    Example: pixfold run data.h5ad --label cell_type --groups donor --out out/cells
    """
    options.check_trusted(learning.get("backbone"), trusted=trust_code)
    training = {name: learning.pop(name) for name in ("micro_batch", "clip_norm", "share") if name in learning}
    if training:
        learning["training"] = training
    task = _task_asked_for(reading.pop("task", "auto"), reading, learning)
    supervised = task != "self-supervised"
    for name, (of_classes, refusal) in _OF_ONE_TASK.items():
        if name in learning and supervised != of_classes:
            raise typer.BadParameter(refusal, param_hint=f"--{name.replace('_', '-')}")
    with joined(devices) as number, messages(quiet=quiet or number > 0) as shown:
        if number:
            _help(data, task, reading, learning)
            return {}
        results = _learned(data, out, task, reading, learning, resume=resume, force=force, log=log, shown=shown)
    if results is None:
        say(f"{out} holds the results of this job already: nothing is left to do; --force does it again")
        return stored_summary_object(out)
    print_summary(results, out)
    return summary_object(results, out)


def _learned(
    data: list[Path],
    out: Path,
    task: str,
    reading: dict[str, Any],
    learning: dict[str, Any],
    *,
    resume: bool,
    force: bool,
    log: str | None,
    shown: Messages,
) -> Results | None:
    """Do the job and write what comes of it; None where it goes on with a job that has ended."""
    supervised = task != "self-supervised"
    with _folder_made_for(out):
        from pixfold.learn.checkpoint import JobFinished
        from pixfold.report import check_writable, write_results
        from pixfold.sources import open_source
        from pixfold.util.outputs import IDENTITY, locked

        # What was not asked for keeps the default of the estimator.
        estimator = _estimator(supervised=supervised, **_regression(task), **learning)
        estimator.check_arguments()
        check_writable(out)
        with locked(out, out / ".pixfold.lock"), keeping(out, resume=resume, force=force, shown=shown) as checkpoint:
            source = open_source(data if len(data) > 1 else data[0], memory=learning.get("memory"), **reading)
            if task == "auto" and (quantity := _quantity_in_words(source, reading["label"])):
                source.messages.append(quantity)
                shown.warn(quantity)
                estimator = _estimator(supervised=True, **_regression("regression"), **learning)
            try:
                estimator.fit_source(
                    source,
                    command=shlex.join(["pixfold", *sys.argv[1:]]),
                    progress=shown,
                    checkpoint=checkpoint,
                    log=None if log is None else out / _LOGS[log],
                )
            except JobFinished:
                return None
            results: Results = estimator.results_
            for message in results.messages:
                shown.warn(message)
            results.config["options"] = dict(settings().options)
            if checkpoint.identity is not None:
                results.config[IDENTITY] = checkpoint.identity.values()
            write_results(results, out, save_model=estimator.save)
            checkpoint.finish()
    return results


def _help(data: list[Path], task: str, reading: dict[str, Any], learning: dict[str, Any]) -> None:
    """Do this process's share of the job; the first process writes what comes of it."""
    from pixfold.learn.checkpoint import JobFinished
    from pixfold.sources import open_source

    source = open_source(data if len(data) > 1 else data[0], memory=learning.get("memory"), **reading)
    if task == "auto" and _quantity_in_words(source, reading["label"]):
        task = "regression"
    with suppress(JobFinished):
        _estimator(supervised=task != "self-supervised", **_regression(task), **learning).fit_source(source)


def _task_asked_for(task: str, reading: dict[str, Any], learning: dict[str, Any]) -> str:
    """Check --task against the other options; "auto" only where the labels are still to decide."""
    supervised = "label" in reading and task != "self-supervised"
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
    elif task == "self-supervised" and "label" in reading and "clusters" not in learning:
        refusal = "self-supervised has a use for --label only with --clusters, which are compared with it"
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
    if n == len(labels) and all(float(value).is_integer() for value in labels):
        return (
            f"{label} has another whole number in each of {n:,} samples, as an identifier has; it is learned as a "
            "quantity: is it the column that was meant?"
        )
    return f"{label} has {n:,} different numbers: learned as a quantity (--task classification learns {n:,} classes)"


def _regression(task: str) -> dict[str, bool]:
    return {"regression": True} if task == "regression" else {}


def _estimator(*, supervised: bool, regression: bool = False, **arguments: Any) -> Any:
    from pixfold.learn.estimators import DeepMapperAutoencoder, DeepMapperClassifier, DeepMapperRegressor

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
