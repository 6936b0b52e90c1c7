"""What was found, in sentences: for the screen and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixfold.util.text import counted

if TYPE_CHECKING:
    from pixfold.learn.results import Results

# A difference of scores that nobody would act on.
AS_WELL = 0.01


def findings_in_words(results: Results) -> list[str]:
    """Say how many features are called, how sure the job is of its labels, and how far its runs agree."""
    metrics, lines = results.metrics, []
    if "n_called" in metrics:
        fdr = results.config.get("fdr")
        rate = "" if fdr is None else f" at a false discovery rate of {fdr:g}"
        lines.append(f"called{rate}: {counted(metrics['n_called'], 'feature')} of {metrics['n_features_used']:,}")
    if metrics.get("test_p") is not None:
        how = "a pair of features, of all pairs" if _from_pairs(metrics) else metrics["p_values_from"]
        lines.append(f"can the labels be learned at all: p = {metrics['test_p']:.2g} ({how})")
    if metrics.get("n_pairs_called"):
        lines.append(
            f"pairs that {_together(results, 2)} only together: {metrics['n_pairs_called']:,} of "
            f"{metrics['n_pairs_screened']:,} (pairs.csv)"
        )
    lines += _of_attribution_and_clusters(results)
    if "n_runs" in metrics:
        # How far a list of chance agrees with itself is nothing to say.
        words = metrics.get("agreement_in_words") if metrics.get("n_accepted") else None
        lines.append(f"runs: {metrics['n_runs']}" + (f"; {words}" if words else ""))
    return lines


def answer(results: Results) -> list[str]:
    """Answer in whole sentences.

    The first one says how many features are called at which error rate, how far the runs agree, and whether a simple
    method does as well; the others what stands behind it.
    """
    metrics = results.metrics
    ranked = int(results.findings["rank"].notna().sum())
    if not ranked:
        reason = f": {not_ranked(metrics)}" if metrics.get("runs") else ""
        said = [f"No feature has a rank{reason}."]
        if metrics.get("n_called") == 0:
            test = metrics.get("baselines", {}).get("test")
            also = (
                "" if test is None else f", and {test['name']} by itself calls {counted(test['n_called'], 'feature')}"
            )
            said.append(f"Nothing is called{also}. The numbers below are of all runs.")
        return said
    if "n_called" in metrics:
        parts = [_called(metrics, results.config.get("fdr"))]
    else:
        parts = [f"{counted(ranked, 'feature')} of {len(results.findings):,} have a rank"]
        if results.task == "self-supervised":
            parts[0] += " by how strongly the latent space reacts to them"
    parts += [part for part in (_agreement(metrics), simple_method(metrics, results.task)) if part]
    said = ["; ".join(parts) + "."]
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
    said += [f"{line[0].upper()}{line[1:]}." for line in _of_attribution_and_clusters(results)]
    return said


def _agreement(metrics: Mapping[str, Any]) -> str | None:
    agreement, n_runs = metrics.get("agreement"), metrics.get("n_runs", 0)
    if n_runs < 2 or agreement is None or agreement != agreement:  # NaN
        return f"{counted(n_runs, 'run')} cannot say how stable that is" if n_runs else None
    return f"{metrics['agreement_in_words']} (agreement {agreement:.2f} of 1, {n_runs} runs)"


def score_of(task: str) -> tuple[str, str]:
    """Return the key and the name of the score that methods are compared by."""
    return ("r2", "R\N{SUPERSCRIPT TWO}") if task == "regression" else ("balanced_accuracy", "balanced accuracy")


def first_runs(n: int) -> str:
    """Name the first runs, whose splits the linear models are judged on."""
    return "the first run" if n == 1 else f"the first {n} runs"


def scores_beside(metrics: Mapping[str, Any], task: str) -> tuple[float, float, str, int] | None:
    """Give the scores of the network and of the best linear model on the same splits, its name, and their number."""
    key, baselines = score_of(task)[0], metrics.get("baselines", {})
    models = [model for name, model in baselines.items() if name != "test" and _known(model.get(key))]
    if not models:
        return None
    best = max(models, key=lambda model: float(model[key]))
    own = [float(run[key]) for run in metrics["runs"][: int(best["n_splits"])] if _known(run.get(key))]
    return (sum(own) / len(own), float(best[key]), str(best["name"]), int(best["n_splits"])) if own else None


def simple_method(metrics: Mapping[str, Any], task: str) -> str | None:
    """Say whether a linear model predicts as well on the same splits, and what the simple test calls."""
    beside = scores_beside(metrics, task)
    if beside is None:
        return None
    own, linear, name, n = beside
    difference = linear - own
    how = "as well" if abs(difference) <= AS_WELL else "better" if difference > 0 else "less well"
    scores = f"{score_of(task)[1]} {linear:.3f}, the network {own:.3f}, on the held-out samples of {first_runs(n)}"
    said = f"{name} predicts {how} ({scores})"
    test = metrics["baselines"].get("test")
    return (
        said if test is None else f"{said}, and {test['name']} by itself calls {counted(test['n_called'], 'feature')}"
    )


def _known(value: Any) -> bool:
    return value is not None and value == value  # not NaN


def _of_attribution_and_clusters(results: Results) -> list[str]:
    """Say how complete attributions are, which groups of features count most, and what the clusters agree with."""
    metrics, lines = results.metrics, []
    if metrics.get("completeness_delta_relative") is not None:
        share = metrics["completeness_delta_relative"]
        lines.append(f"completeness: attributions miss the change of the output by {share:.2g} of it")
    if results.groups is not None:
        best = [f"{group} {fall:.3g}" for group, fall in results.groups[["group", "fall"]].iloc[:3].to_numpy()]
        lines.append(f"groups whose ablation costs most (groups.csv): {', '.join(best)}")
    if (found := metrics.get("clustering")) is not None:
        agree = f"; with the labels ARI {found['ari']:.3f}, NMI {found['nmi']:.3f}" if "ari" in found else ""
        lines.append(f"clusters ({found['method']}): {found['n_clusters']}{agree}")
    return lines


def _together(results: Results, n: int) -> str:
    """Say what one pair, or several, do."""
    if results.task == "regression":
        return "goes with the quantity" if n == 1 else "go with the quantity"
    return "tells the classes apart" if n == 1 else "tell the classes apart"


def _called(metrics: Mapping[str, Any], fdr: float | None) -> str:
    n, of = metrics["n_called"], metrics["n_features_used"]
    rate = "" if fdr is None else f" at a false discovery rate of {fdr:g}"
    if not n:
        return (
            f"No feature of {of:,} is called{rate}: none stands out enough by itself, and the ranks below are a guess"
        )
    return f"{counted(n, 'feature')} of {of:,} {'is' if n == 1 else 'are'} called{rate}"


def _tested(metrics: Mapping[str, Any], what: str) -> str:
    p, n = f"p = {metrics['test_p']:.2g}", metrics.get("n_permutations", 0)
    learned = metrics["test_p"] <= 0.05
    how = f"tested against {n} permutations of the labels" if n else "tested on held-out samples"
    if _from_pairs(metrics):
        how = f"because of a pair of features, tested for all {metrics['n_pairs_screened']:,} pairs together"
    return f"The {what} can{'' if learned else 'not'} be told from chance ({p}, {how})."


def _from_pairs(metrics: Mapping[str, Any]) -> bool:
    """Whether the job's p-value is that of a pair: permutations alone cannot give one as small."""
    n = metrics.get("n_permutations", 0)
    return bool(metrics.get("n_pairs_called")) and metrics["test_p"] < 1 / (n + 1)


def not_ranked(metrics: Mapping[str, Any]) -> str:
    """Say why no feature has a rank."""
    reasons = {run["reason"] for run in metrics.get("runs", ()) if run.get("reason")}
    return "; ".join(sorted(reasons)) or "no run could be used"
