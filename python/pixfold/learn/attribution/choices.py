"""What users choose of attribution, checked: the method, what it explains, from where, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from pixfold.errors import InputError
from pixfold.learn.attribution import baselines, registry
from pixfold.util.checks import Check, choice, number, whole_number
from pixfold.util.text import listed, must_be, one_of, short_repr

# "correct": the own class of samples that were classified rightly, as in the paper. "true": of all samples.
TARGETS = ("correct", "true", "predicted")
# Which samples and outputs: a name of TARGETS, or two classes whose difference is explained.
TargetOf = str | tuple[int, int]


def check_target(op: str, name: str, value: Any) -> None:
    """Check for a name of :data:`TARGETS`, or two classes with a hyphen between them; which ones, the data say."""
    if not isinstance(value, str) or (value not in TARGETS and "-" not in value.strip("-")):
        raise InputError(must_be(op, name, f"{one_of(TARGETS)}, or two classes as in 'A-B'", value))


def check_baseline(op: str, name: str, value: Any) -> None:
    """Check for a name of :data:`pixfold.learn.attribution.baselines.NAMES`, or None."""
    if value is not None:
        choice(baselines.NAMES)(op, name, value)


def check_feature_groups(op: str, name: str, value: Any) -> None:
    """Check for a path, the name of a column, a mapping of group -> features, or None."""
    if value is not None and not isinstance(value, str | Path | Mapping):
        raise InputError(must_be(op, name, "a file, a column about features, or a dict of group: features", value))


CHECKS: dict[str, Check] = {
    "method": lambda op, name, value: None if value is None else choice(registry.names())(op, name, value),
    "target": check_target,
    "attribution_baseline": check_baseline,
    "noise_tunnel": whole_number(2, optional=True),
    "feature_groups": check_feature_groups,
}
OF_PASSES: dict[str, Check] = {
    "method": choice(registry.names()),
    "n_steps": whole_number(1),
    "internal_batch_size": whole_number(1, optional=True),
    "noise_tunnel": whole_number(2, optional=True),
    "baseline": number(signed=True),
}


def check_together(op: str, given: Mapping[str, Any]) -> None:
    """Check that what was chosen fits together.

    Parameters
    ----------
    op : str
        Who refuses.
    given : mapping
        ``method``, ``target``, ``attribution_baseline``, ``noise_tunnel`` and ``feature_groups``, each valid by itself.

    Raises
    ------
    InputError
        When a choice belongs to another method than the one that was chosen.
    """
    method = given["method"]
    if method is None:
        chosen = [
            name for name in ("attribution_baseline", "noise_tunnel", "feature_groups") if given[name] is not None
        ]
        if given["target"] != "correct":
            chosen.append("target")
        if chosen:
            raise InputError(f"{op}: {chosen[0]} must go with a method, got {short_repr(given[chosen[0]])} without one")
        return
    known = registry.known(method)
    if given["attribution_baseline"] is not None and known.baseline == "none":
        takes = [name for name in registry.names() if registry.known(name).baseline != "none"]
        raise InputError(f"{op}: attribution_baseline must go with {one_of(takes)}, got it with {method!r}")
    if given["noise_tunnel"] is not None and not known.of_samples:
        raise InputError(f"{op}: noise_tunnel must go with a method of samples, got it with {method!r}")
    if (given["feature_groups"] is None) == (method == "feature_ablation"):
        found = "none" if given["feature_groups"] is None else f"it with {method!r}"
        raise InputError(f"{op}: feature_groups must go with the method 'feature_ablation', got {found}")


def target_of(op: str, target: str, class_names: Sequence[str]) -> TargetOf:
    """Give the target of a job: a name of :data:`TARGETS`, or the codes of the two classes of a contrast.

    Raises
    ------
    InputError
        When a contrast does not name two different classes.
    """
    if target in TARGETS:
        return target
    at = [i for i, letter in enumerate(target) if letter == "-"]
    pairs = [(target[:i].strip(), target[i + 1 :].strip()) for i in at]
    found = [(a, b) for a, b in pairs if a in class_names and b in class_names and a != b]
    if len(found) != 1:
        raise InputError(
            f"{op}: target must be two classes with a hyphen between them, of {listed(list(class_names), 10)}, "
            f"got {target!r}"
        )
    a, b = found[0]
    return class_names.index(a), class_names.index(b)


def refuse(op: str, network: nn.Module, method: str, backbone: str) -> None:
    """Raise InputError where a method does not serve a network; called before the training."""
    words = registry.known(method).refuses(network.eval())
    if words is not None:
        raise InputError(f"{op}: backbone of the method {method!r} must be {words}, got {backbone}")


def coarse(method: str) -> str | None:
    """Say what shares one value, of a method that is not pixel-sharp; None for one that is."""
    unit = registry.known(method).unit
    return None if unit == "pixel" else f"{method} is not pixel-sharp: all features of one {unit} share its value"
