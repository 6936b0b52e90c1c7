"""What was found, in sentences: for the screen and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixfold.util.text import counted

if TYPE_CHECKING:
    from pixfold.learn.results import Results


def findings_in_words(results: Results) -> list[str]:
    """Say how many features are called, how sure the job is of its labels, and how far its runs agree."""
    metrics, lines = results.metrics, []
    if "n_called" in metrics:
        fdr = results.config.get("fdr")
        rate = "" if fdr is None else f" at a false discovery rate of {fdr:g}"
        lines.append(f"called{rate}: {counted(metrics['n_called'], 'feature')} of {metrics['n_features_used']:,}")
    if metrics.get("test_p") is not None:
        lines.append(f"can the labels be learned at all: p = {metrics['test_p']:.2g} ({metrics['p_values_from']})")
    if metrics.get("n_pairs_called"):
        lines.append(
            f"pairs that {_together(results, 2)} only together: {metrics['n_pairs_called']:,} of "
            f"{metrics['n_pairs_screened']:,} (pairs.csv)"
        )
    if "n_runs" in metrics:
        # How far a list of chance agrees with itself is nothing to say.
        words = metrics.get("agreement_in_words") if metrics.get("n_accepted") else None
        lines.append(f"runs: {metrics['n_runs']}" + (f"; {words}" if words else ""))
    return lines


def answer(results: Results) -> list[str]:
    """Answer in whole sentences: what is called, whether the labels can be learned, how far the list is stable."""
    metrics, said = results.metrics, list[str]()
    ranked = int(results.findings["rank"].notna().sum())
    if not ranked:
        reason = f": {not_ranked(metrics)}" if metrics.get("runs") else ""
        said.append(f"No feature has a rank{reason}.")
        if metrics.get("n_called") == 0:
            said.append("Nothing is called. The numbers below are of all runs.")
        return said
    if "n_called" in metrics:
        said.append(_called(metrics, results.config.get("fdr")))
    else:
        said.append(f"{counted(ranked, 'feature')} of {len(results.findings):,} have a rank.")
    if metrics.get("test_p") is not None:
        said.append(_tested(metrics, "quantity" if results.task == "regression" else "labels"))
    if metrics.get("n_pairs_called"):
        n = metrics["n_pairs_called"]
        said.append(f"{n:,} of {metrics['n_pairs_screened']:,} pairs of features {_together(results, n)} together.")
    if (stability := metrics.get("stability")) and stability["threshold"] is not None:
        said.append(
            f"Stability selection keeps {counted(stability['n_features'], 'feature')}: chosen on at least "
            f"{stability['threshold']:.0%} of {2 * stability['n_pairs']} halves of the samples; at most one of these "
            "is expected to be false."
        )
    if "n_runs" in metrics:
        words = metrics.get("agreement_in_words")
        said.append(f"{counted(metrics['n_runs'], 'run')} of the network" + (f"; {words}." if words else "."))
    return said


def _together(results: Results, n: int) -> str:
    """Say what one pair, or several, do."""
    if results.task == "regression":
        return "goes with the quantity" if n == 1 else "go with the quantity"
    return "tells the classes apart" if n == 1 else "tell the classes apart"


def _called(metrics: Mapping[str, Any], fdr: float | None) -> str:
    n, of = metrics["n_called"], metrics["n_features_used"]
    if not n:
        return f"No feature of {of:,} is called: none stands out enough by itself. The ranks below are a guess."
    rate = "" if fdr is None else f", at a false discovery rate of {fdr:g}"
    return f"{counted(n, 'feature')} of {of:,} {'is' if n == 1 else 'are'} called{rate}."


def _tested(metrics: Mapping[str, Any], what: str) -> str:
    p, n = f"p = {metrics['test_p']:.2g}", metrics.get("n_permutations", 0)
    learned = metrics["test_p"] <= 0.05
    how = f"tested against {n} permutations of the labels" if n else "tested on held-out samples"
    return f"The {what} can{'' if learned else 'not'} be told from chance ({p}, {how})."


def not_ranked(metrics: Mapping[str, Any]) -> str:
    """Say why no feature has a rank."""
    reasons = {run["reason"] for run in metrics.get("runs", ()) if run.get("reason")}
    return "; ".join(sorted(reasons)) or "no run could be used"
