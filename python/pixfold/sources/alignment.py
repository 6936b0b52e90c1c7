"""Features of new samples matched by name to those that a model has learned."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import Source, numbered
from pixfold.sources.selected import ABSENT, Selected
from pixfold.util.text import counted, listed

# Stable identifiers of Ensembl with a version: ENSG00000141510.17, ENSMUST00000000001.4, ENSG00000182378.14_PAR_Y.
_VERSIONED = re.compile(r"(ENS[A-Z]*\d{11})\.\d+")


def without_version(name: str) -> str:
    """Return an identifier of Ensembl without its version; any other name as it is."""
    found = _VERSIONED.match(name)
    return name if found is None else found[1] + name[found.end() :]


@dataclass(frozen=True)
class Alignment:
    """A source whose features are those of a model.

    Attributes
    ----------
    source : Source
        The features that were learned, in their order; those that are absent read as 0.
    absent : bool array (n_learned,)
        Features that the new samples lack.
    messages : list of str
        What the user should be told.
    """

    source: Source
    absent: NDArray[np.bool_]
    messages: list[str]


def align(
    source: Source,
    learned: Sequence[str],
    *,
    named: bool,
    used: NDArray[np.bool_],
    who: str,
    fill_missing: bool = False,
    ignore_versions: bool = False,
) -> Alignment:
    """Match the features of new samples to those that were learned, by name; by place where either have no names.

    Parameters
    ----------
    source : Source
        New samples. Features that were not learned are left out.
    learned : sequence of str
        Names of the features that were learned, in order.
    named : bool
        Whether these are names of their own, rather than ``feature_0``, ``feature_1``, ...
    used : bool array (n_learned,)
        Features that have a pixel. The others were empty in training, and may be absent.
    who : str
        The model, for messages.
    fill_missing : bool
        Whether features that were learned may be absent.
    ignore_versions : bool
        Whether versions of Ensembl's identifiers are left out of the comparison.

    Returns
    -------
    Alignment

    Raises
    ------
    InputError
        When features are missing, or two of them have one name without versions.
    """
    n = len(learned)
    if not named or source.feature_names == numbered("feature", source.n_features):
        if source.n_features != n:
            # scikit-learn's words, which its own checks look for.
            raise InputError(f"X has {source.n_features} features, but {who} is expecting {n} features as input")
        return Alignment(source, np.zeros(n, dtype=bool), [])
    if source.feature_names == list(learned):
        return Alignment(source, np.zeros(n, dtype=bool), _ignored(source, list(source.left_out)))
    wanted, there = list(learned), list(source.feature_names)
    if ignore_versions:
        wanted, there = [without_version(name) for name in wanted], [without_version(name) for name in there]
        _check_once(who, "the features that were learned", learned, wanted, set(there))
        _check_once(source.name, "the features", source.feature_names, there, set(wanted))
    place = {name: at for at, name in enumerate(there)}
    columns = np.array([place.get(name, ABSENT) for name in wanted], dtype=np.int64)
    absent = columns == ABSENT
    needed = np.flatnonzero(absent & used)
    if len(needed) and (not fill_missing or absent[used].all()):
        raise _missing(source, learned, needed, int(used.sum()), there, ignore_versions=ignore_versions)
    chosen = np.zeros(source.n_features, dtype=bool)
    chosen[columns[~absent]] = True
    known = set(learned)  # --drop may have left them out
    extra = [source.feature_names[at] for at in np.flatnonzero(~chosen)]
    extra += [name for name in source.left_out if name not in known]
    messages = _ignored(source, extra)
    if absent.any() and not len(needed):
        messages.append(
            f"{source.name}: {counted(int(absent.sum()), 'feature')} missing that had no value in training: no matter"
        )
    return Alignment(Selected(source, columns=columns, feature_names=list(learned)), absent, messages)


def _ignored(source: Source, extra: Sequence[str]) -> list[str]:
    if not extra:
        return []
    return [
        f"{source.name}: {counted(len(extra), 'feature')} that the model has not learned "
        f"{'is' if len(extra) == 1 else 'are'} ignored ({listed(extra)})"
    ]


def _check_once(who: str, what: str, names: Sequence[str], short: Sequence[str], matter: set[str]) -> None:
    """Raise InputError when features that matter have one name without their versions."""
    counts = Counter(short)
    twice = [name for name, other in zip(names, short, strict=True) if counts[other] > 1 and other in matter]
    if twice:
        raise InputError(
            f"{who}: {what} must differ without their versions for ignore_versions (--ignore-versions), got "
            f"{listed(twice)}"
        )


def _missing(
    source: Source,
    learned: Sequence[str],
    needed: NDArray[np.int64],
    n_used: int,
    there: Sequence[str],
    *,
    ignore_versions: bool,
) -> InputError:
    """Say what is missing, and what helps."""
    names = [learned[at] for at in needed.tolist()]
    text = (
        f"{source.name}: {len(names):,} of the {n_used:,} features that the model learned are missing ({listed(names)})"
    )
    all_missing = len(names) == n_used
    helps = [] if all_missing else ["fill_missing=True (--fill-missing) takes their training mean"]
    if not ignore_versions:
        short = {without_version(name) for name in there}
        found = sum(without_version(name) in short for name in names)
        if found:
            helps.insert(0, f"ignore_versions=True (--ignore-versions) finds {found:,} of them")
    lower = {name.lower(): name for name in there}
    alike = [name for name in names if name.lower() in lower]
    if alike:
        helps.append(f"{len(alike):,} are there in other letter case, such as {lower[alike[0].lower()]!r}")
    for column, values in source.feature_annotation.items():
        found = len(set(names) & set(map(str, values.tolist()))) if values.dtype.kind == "O" else 0
        if 2 * found > len(names):
            helps.append(f"{found:,} are in the annotation {column!r} of the data, not among its names")
    as_samples = len(set(names).intersection(source.sample_names))
    if 2 * as_samples > len(names):
        helps.append(
            f"{as_samples:,} are names of samples, so that rows are features: a text table is read so with "
            "transpose=True (--transpose)"
        )
    # Of 10x files features are left out unless asked for.
    prefix = f"{source.name}: "
    helps += [said.removeprefix(prefix) for said in source.messages if "(--feature-type) chooses" in said]
    if all_missing and not helps:
        helps.append(f"the data have {listed(source.feature_names)}")
    return InputError("; ".join([text, *helps]))
