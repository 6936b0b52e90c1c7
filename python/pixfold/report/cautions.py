"""What a reader should know before they trust the list, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixfold.learn.wordings import SIMPLE_METHOD, SMALL_CLASSES

if TYPE_CHECKING:
    from pixfold.learn.results import Results

# Of two halves of the runs: below the first the list is that of chance, below the second its order is not settled.
_DISAGREE, _UNSETTLED = 0.4, 0.7
# A feature whose rank promises a place in the top k is in the top k of this share of the runs.
_STEADY = 0.5
# And its mean rank in the runs is at most so many times the larger of its rank and k.
_FAR = 10.0
_LOOKED_AT = 10
# Of messages: a baseline that does better, and classes that are too small.
_CAUTIONS = (f"{SIMPLE_METHOD} better", SMALL_CLASSES)


def cautions(results: Results, *, messages: bool = True) -> list[str]:
    """Say what speaks against trusting the results; the most important first.

    Parameters
    ----------
    results : Results
        Of a job.
    messages : bool
        Whether to repeat what the job itself has said of it.
    """
    metrics = results.metrics
    ranked = results.shown_findings[results.findings["rank"].notna()]
    # What the job said of it stands among its messages, and is moved up here.
    said = _chance(results)
    if messages:
        said += [f"{text[0].upper()}{text[1:]}." for text in results.messages if is_caution(text)]
    if ranked.empty:
        return said
    n_runs, agreement = metrics.get("n_runs", 0), _number(metrics.get("agreement"))
    if n_runs == 1:
        said.append("There was one run: it cannot say how stable the ranking is. Ask for more with --runs.")
    elif agreement is not None and agreement < _DISAGREE:
        said.append(
            f"The runs disagree: two halves of them have an agreement of {agreement:.2f} (1 is the same list, 0 has "
            "nothing in common). The ranks are hardly more than those of one run; do not read them one by one."
        )
    elif agreement is not None and agreement < _UNSETTLED:
        said.append(
            f"The runs agree in part (agreement {agreement:.2f} of 1): the order of the features is not settled."
        )
    return said + _unsteady(ranked.iloc[:_LOOKED_AT].to_dict("records"), metrics.get("top_k"), n_runs)


def is_caution(message: str) -> bool:
    """Whether a message of a job is one that a reader must not miss."""
    return any(part in message for part in _CAUTIONS)


def is_unsteady(feature: Mapping[str, Any], k: int | None, n_runs: int) -> bool:
    """Whether few runs bear a feature's rank out: it stands high, and is not in the top k of most runs.

    Parameters
    ----------
    feature : mapping
        ``rank``, ``mean_rank`` and ``selection_frequency``.
    k : int or None
        Size of the top that the selection frequency looks at.
    n_runs : int
        One run says nothing.
    """
    if n_runs < 2 or k is None:
        return False
    rank, mean_rank = float(feature["rank"]), float(feature["mean_rank"])
    # In the lower half of the top, chance decides who is within it.
    rarely = rank <= k / 2 and float(feature["selection_frequency"]) < _STEADY
    return rarely or mean_rank > _FAR * max(rank, k)


def _unsteady(top: list[dict[str, Any]], k: int | None, n_runs: int) -> list[str]:
    shaky = [feature for feature in top if is_unsteady(feature, k, n_runs)]
    if not shaky:
        return []
    first = shaky[0]
    said = (
        f"Rank {first['rank']:,g}, {first['feature']}, rests on few runs: its mean rank is {first['mean_rank']:,.0f}, "
        f"and it is among the best {k:,} in {first['selection_frequency']:.0%} of {n_runs} runs."
    )
    if len(shaky) > 1:
        said += (
            f" The same holds for {len(shaky) - 1} more of the first {len(top)}, marked \N{WARNING SIGN} in the table."
        )
    return [said]


def _chance(results: Results) -> list[str]:
    """Whether anything was learned at all."""
    metrics = results.metrics
    # A job whose labels were tested says itself what it has learned.
    test_p = _number(metrics.get("test_p"))
    if test_p is not None:
        if test_p > 0.05:
            what = "quantity" if results.task == "regression" else "labels"
            return [f"The {what} cannot be told from chance (p = {test_p:.2g}): there may be nothing to find here."]
        if metrics.get("n_called") == 0:
            return ["No feature is called: each rank below may be that of chance."]
        return _predicts_nothing(metrics, len(results.class_names))
    accuracy, chance = (_number(metrics.get(key)) for key in ("test_accuracy", "chance_accuracy"))
    if accuracy is not None and chance is not None and accuracy <= chance:
        return ["Test accuracy is not above chance: the model has not learned the classes; distrust its ranking."]
    spearman = _number(metrics.get("spearman"))
    if spearman is not None and spearman <= 0:
        return [
            "Predictions of held-out samples do not rise with the quantity: it was not learned; distrust the ranking."
        ]
    explained = _number(metrics.get("explained_variance"))
    if explained is not None and explained <= 0 and results.findings["rank"].notna().any():
        return ["The network explains no variance of held-out samples: distrust its ranking."]
    return []


def _predicts_nothing(metrics: Mapping[str, Any], n_classes: int) -> list[str]:
    """Say it where features are called and the model is of no use: one strong feature among thousands does that."""
    balanced, r2 = (_number(metrics.get(key)) for key in ("balanced_accuracy", "test_r2"))
    if balanced is not None and n_classes and balanced <= 1.0 / n_classes:
        score = f"balanced accuracy {balanced:.3f}, by chance {1.0 / n_classes:.3f}"
    elif r2 is not None and r2 <= 0.0:
        score = f"R\N{SUPERSCRIPT TWO} {r2:.3f}, where the mean alone has 0"
    else:
        return []
    return [
        f"The model predicts held-out samples no better than chance ({score}): look at the features that are called, "
        "and do not use its predictions."
    ]


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, str):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
