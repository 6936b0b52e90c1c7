"""What each section of the page says, from the document, as text and tables that the template writes down."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pixfold.report.words import first_runs, score_of
from pixfold.util.text import counted

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
_TITLES = {
    "classification": "Features that tell classes apart",
    "regression": "Features that go with a quantity",
    "self-supervised": "Features that a latent space reacts to",
}
_R2 = "R\N{SUPERSCRIPT TWO}"
# Score -> its name, and what to compare it with.
_SCORES = (
    ("test_accuracy", "accuracy", "chance_accuracy"),
    ("balanced_accuracy", "balanced accuracy", "chance_balanced"),
    ("macro_f1", "macro F1", None),
    ("auc", "area under the ROC curve", "chance_auc"),
    ("test_r2", f"{_R2} of held-out samples", "chance_r2"),
    ("spearman", "Spearman correlation", "chance_correlation"),
    ("pearson", "Pearson correlation", "chance_correlation"),
    ("explained_variance", "explained variance", "chance_r2"),
    ("test_loss", "test loss", None),
)
_HEADLINES = ("balanced_accuracy", "auc", "test_r2", "spearman", "explained_variance")


def title(document: Mapping[str, Any]) -> str:
    """Name what was looked for."""
    names = document["classes"]
    return f"Features that tell {names[0]} from {names[1]}" if len(names) == 2 else _TITLES[document["task"]]


def headline(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the numbers on top: each with its name and what to compare it with."""
    metrics, found = document["metrics"], []
    if "n_called" in metrics:
        found.append((f"{metrics['n_called']:,}", "features called", f"of {metrics['n_features_used']:,}"))
    for name, value, spread, chance in _scores(document, _HEADLINES):
        notes = [f"± {spread} over runs"] if spread else []
        found.append((value, name, ", ".join([*notes, *([f"chance {chance}"] if chance not in ("", "0.000") else [])])))
    if document["data"]["n_ranked"] and (agreement := known(metrics.get("agreement"))) is not None:
        found.append((f"{agreement:.2f}", "agreement of the runs", "1: the same list"))
    if "n_runs" in metrics:
        n = metrics["n_runs"]
        found.append(
            (f"{n}", "run" if n == 1 else "runs", "converged" if metrics.get("converged") else "not converged")
        )
    return found


def _scores(document: Mapping[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    metrics = dict(document["metrics"])
    metrics |= {"chance_auc": 0.5, "chance_r2": 0.0, "chance_correlation": 0.0}
    if document["classes"]:
        metrics["chance_balanced"] = 1.0 / len(document["classes"])
    for key, name, beside in _SCORES:
        value = known(metrics.get(key))
        if key in keys and value is not None:
            spread = known(metrics.get(f"{key}_std"))
            chance = known(metrics.get(beside)) if beside else None
            yield (
                name,
                digits(value),
                "" if spread is None else digits(spread),
                "" if chance is None else digits(chance),
            )


def scores_table(document: Mapping[str, Any]) -> Table:
    """Scores of held-out samples: mean over the runs, spread, and what chance has."""
    rows = list(_scores(document, [key for key, _, _ in _SCORES]))
    return ("held-out samples", "mean", "± over runs", "by chance"), rows


def class_table(document: Mapping[str, Any]) -> Table | None:
    """Recall, precision, F1 and AUC of each class; None without classes."""
    metrics, names = document["metrics"], document["classes"]
    if metrics.get("confusion_matrix") is None:
        return None
    counts = np.asarray(metrics["confusion_matrix"], dtype=np.float64)
    right, true, named = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    areas, sizes = metrics.get("class_auc", {}), metrics.get("class_sizes", {})
    rows = []
    for code, name in enumerate(names):
        recall = right[code] / true[code] if true[code] else None
        precision = right[code] / named[code] if named[code] else None
        f1 = 2 * right[code] / (true[code] + named[code]) if true[code] + named[code] else None
        size = f"{sizes[name]:,}" if name in sizes else ""
        rows.append((name, size, *(digits(known(value)) for value in (recall, precision, f1, areas.get(name)))))
    return ("class", "samples", "recall", "precision", "F1", "AUC"), rows


def methods_table(document: Mapping[str, Any]) -> tuple[Table, str] | None:
    """Say what the network and simpler methods score on the same splits, and how many features they call."""
    metrics, baselines = document["metrics"], document["metrics"].get("baselines")
    if not baselines:
        return None
    key, name = score_of(document["task"])
    linear = [baselines[model] for model in ("l2", "l1") if model in baselines]
    n_splits = max((int(model["n_splits"]) for model in linear), default=0)
    own = [score for run in metrics["runs"][:n_splits] if (score := known(run.get(key))) is not None]
    backbone = document["settings"].get("backbone")
    called = f"{metrics['n_called']:,}" if "n_called" in metrics else ""
    rows = [
        (
            f"this network ({backbone})" if backbone else "this network",
            digits(float(np.mean(own))) if own else "",
            called,
        ),
        *((model["name"], digits(known(model.get(key))), "") for model in linear),
    ]
    if "test" in baselines:
        test = baselines["test"]
        rows.append((f"{test['name']}, each feature by itself", "", f"{test['n_called']:,}"))
    where = (
        "Scores are those of the runs' own splits."
        if n_splits >= metrics.get("n_runs", 0)
        else f"Scores are means over the splits of {first_runs(n_splits)}; those of the other table are of all runs."
    )
    return (("method", name, "features called"), rows), where


def how_stable(document: Mapping[str, Any]) -> list[str]:
    """Say how far the ranking can be expected to come out again, in paragraphs."""
    metrics, said = document["metrics"], []
    n = metrics.get("n_runs", 0)
    agreement = known(metrics.get("agreement"))
    if not metrics.get("n_accepted", n):
        return ["No run is used for a ranking: there is nothing to be stable."]
    if agreement is None:
        return ["There are too few runs to compare two halves of them."]
    said.append(
        f"Split-half agreement: {agreement:.2f} (1 is the same list in the same order, 0 nothing in common): "
        f"{metrics['agreement_in_words']}. The list {'has' if metrics.get('converged') else 'has not'} converged after "
        f"{counted(n, 'run')}."
    )
    stability = metrics.get("stability")
    if stability and stability.get("threshold") is not None:
        said.append(
            f"Stability selection: {counted(stability['n_features'], 'feature')} of {metrics['n_features_used']:,} "
            f"chosen among the best {stability['k']} on at least {stability['threshold']:.0%} of "
            f"{2 * stability['n_pairs']} halves of the samples, of which at most one is expected to be false."
        )
    return said


def how_trained(document: Mapping[str, Any]) -> str:
    """Say how the networks came about, in a paragraph."""
    metrics, task = document["metrics"], document["task"]
    if document["settings"].get("backbone") == "additive" and task != "self-supervised":
        what = (
            "the ridge regression of the quantity on all pixels and their squares, its penalty chosen on blocks of the "
            "training samples"
            if task == "regression"
            else "the ridge regression of the classes on all pixels and their squares"
        )
        n = metrics.get("n_permutations", 0)
        also = f", and for {n} permutations of the labels beside the true ones" if n else ""
        return (
            "The additive network has no epochs and no loss that falls: its weights are solved for exactly. Every run "
            f"solves {what}{also}. The table has what each run scores on its own training samples and on those that it "
            "held out: the further apart, the more of what it learned is only of its training samples."
        )
    if document["settings"].get("backbone") == "principal":
        return (
            "Every run finds the principal directions of its training samples, which takes no epochs, and keeps those "
            "that are longer than by chance; validation samples are not used, test samples are seen once, in the end."
        )
    epochs = [int(run["best_epoch"]) for run in metrics.get("runs", ()) if run.get("best_epoch") is not None]
    best = ""
    if epochs:
        few, many = min(epochs), max(epochs)
        best = f" The best epoch was {few}." if few == many else f" The best epochs were {few} to {many}."
    return (
        "Every run trains a network of its own by gradient descent, and keeps the epoch that is best on its validation "
        f"samples; test samples are seen once, in the end.{best}"
    )


def runs_table(document: Mapping[str, Any], history: Mapping[str, Sequence[float]]) -> Table | None:
    """One row per run: scores, time, and whether it was used."""
    runs = document["metrics"].get("runs", ())
    if not runs:
        return None
    key, name = {
        "classification": ("accuracy", "held-out accuracy"),
        "regression": ("r2", f"held-out {_R2}"),
        "self-supervised": ("explained_variance", "explained variance"),
    }[document["task"]]
    fits = document["settings"].get("backbone") == "additive" and "train_accuracy" in history
    training = dict(zip(history["run"], history["train_accuracy"], strict=True)) if fits else {}
    rows = []
    for number, run in enumerate(runs, start=1):
        seconds = known(run.get("seconds"))
        reason = f": {run['reason']}" if run.get("reason") else ""
        rows.append(
            (
                str(run.get("run", number)),
                *((digits(known(training.get(float(number)))),) if fits else ()),
                digits(known(run.get(key))),
                *((str(run.get("best_epoch") or ""),) if not fits else ()),
                "" if seconds is None else f"{seconds:.1f} s",
                "yes" if run["accepted"] else f"no{reason}",
            )
        )
    middle = ("training accuracy", name) if fits else (name, "best epoch")
    return ("run", *middle, "time", "used"), rows


def facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was done, in a table of names and words."""
    metrics, data, settings, layout = (document[part] for part in ("metrics", "data", "settings", "layout"))
    dropped = data["dropped"]
    n_samples = metrics.get("n_samples")
    said: list[tuple[str, str]] = []
    if settings.get("input"):
        said.append(("input", str(settings["input"])))
    if settings.get("command"):
        said.append(("command", str(settings["command"])))
    if n_samples is not None:
        left = [_left_out(dropped.get("samples"), "empty")]
        if metrics.get("n_unlabelled"):
            left.append(f"{metrics['n_unlabelled']:,} without a label")
        said.append(("samples", _with(f"{n_samples:,} used", left)))
    if data["class_sizes"]:
        said.append(("classes", ", ".join(f"{name} {size:,}" for name, size in data["class_sizes"].items())))
    if metrics.get("n_groups"):
        said.append(("groups", f"{metrics['n_groups']:,}, none of them in both parts of a split"))
    used = metrics.get("n_features_used", data["n_features"])
    said.append(("features", _with(f"{used:,} used", [_left_out(dropped.get("features"), "empty")])))
    normalizer = settings.get("normalizer")
    if isinstance(normalizer, Mapping):
        parts = [f"{key} {short(value)}" for key, value in normalizer.items() if _says_something(value)]
        said.append(("normaliser", ", ".join(parts)))
    arrangement = settings.get("parameters", {}).get("arrangement")
    size = f"{layout['height']:,} x {layout['width']:,} pixels"
    channels = f", {layout['channels']} channels" if layout["channels"] > 1 else ""
    said.append(("layout", f"{arrangement}: {size}{channels}" if arrangement else f"{size}{channels}"))
    if document["task"] == "self-supervised":
        principal = settings.get("backbone") == "principal"
        said.append(("network", "principal components" if principal else "auto-encoder"))
    elif settings.get("backbone"):
        said.append(("network", str(settings["backbone"])))
    if "random_state" in settings:
        said.append(("seed", f"{settings['random_state']}; of each run: metrics.json"))
    hardware = dict(metrics.get("hardware", {}))
    devices = sorted({str(run["device"]) for run in metrics.get("runs", ()) if run.get("device")})
    if devices:
        hardware["device"] = ", ".join(devices)
    if hardware:
        said.append(("hardware", "; ".join(f"{key} {value}" for key, value in hardware.items())))
    if (seconds := known(metrics.get("seconds"))) is not None:
        end = f", finished {metrics['finished']}" if metrics.get("finished") else ""
        said.append(("time", f"{seconds:.1f} s{end}"))
    if metrics.get("versions"):
        said.append(("versions", ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())))
    return said


def _says_something(value: Any) -> bool:
    return value not in (None, False) and not (isinstance(value, list) and all(item is None for item in value))


def _left_out(dropped: Mapping[str, Any] | None, why: str) -> str:
    if not dropped or not dropped["n"]:
        return ""
    names = ", ".join(dropped["names"][:10]) + (", ..." if dropped["n"] > 10 else "")
    return f"{dropped['n']:,} {why}, left out ({names})"


def _with(first: str, others: Sequence[str]) -> str:
    return "; ".join([first, *(other for other in others if other)])


def files(document: Mapping[str, Any]) -> str:
    """Say in which files the rest is."""
    tables, parquet = document["files"]["tables"], document["files"]["parquet"]
    listed = ", ".join(f"{name}.csv" for name in tables)
    also = (
        "each also as .parquet"
        if parquet
        else 'without Parquet, as pyarrow was not installed: pip install "pixfold[io]"'
    )
    return (
        f"Tables: {listed}, {also}. All numbers: metrics.json and findings.json. Settings: config.json. "
        "Figures: figures/, as SVG and PNG."
    )


def settings(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, value as text) of nested settings."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", short(value)


def short(value: Any) -> str:
    """Write a value down, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:299] + "…"


def digits(score: float | None) -> str:
    """Write a score with three digits; nothing where there is none."""
    return "" if score is None else f"{round(score, 3) + 0.0:.3f}"  # no -0.000


def known(value: Any) -> float | None:
    """Return a number, or None for what is none."""
    if value is None or isinstance(value, str):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
