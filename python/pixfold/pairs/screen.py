"""The screen of all pairs of features, from any source to the pairs that it finds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Executor
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pixfold.errors import InputError
from pixfold.pairs.engine import CUDA_TILE, Engine, has_fast_int8, workers
from pixfold.pairs.features import Features, columns_of, read_features, width_within
from pixfold.pairs.interaction import interaction_z
from pixfold.pairs.plink import fast_epistasis
from pixfold.pairs.result import PairScreen
from pixfold.pairs.target import LabelType, Target, pieces, target_of
from pixfold.pairs.top import TopPairs
from pixfold.pairs.transform import TRANSFORMS, Transform, normal_scores
from pixfold.sources import open_source
from pixfold.sources.base import AnyRows, Source, normalize_rows, relabelled
from pixfold.stream.budget import free_memory
from pixfold.stream.labels import labelled_rows
from pixfold.util.checks import Check, check_all, choice, number, whole_number
from pixfold.util.progress import Progress, SilentProgress
from pixfold.util.sizes import bytes_of
from pixfold.util.text import counted, must_be

OP = "pair_screen"
Precision = Literal["auto", "float32", "bfloat16", "int8"]

# With fewer samples, making z of int8's sums takes longer than float32's product.
_MANY = 256

_CHECKS: Mapping[str, Check] = {
    "top_k": whole_number(1),
    "alpha": number(most=1, above_zero=True),
    "threshold": choice(("bonferroni", "permutation")),
    "n_permutations": whole_number(1),
    "transform": choice(TRANSFORMS),
    "label_type": choice(("auto", "classes", "measurement")),
    "missing": choice(("error", "mean")),
    "precision": choice(("auto", "float32", "bfloat16", "int8")),
    "threads": whole_number(1, optional=True),
    "seed": whole_number(0),
}


def check_arguments(*, device: Any = "auto", memory: int | str | None = None, **given: Any) -> None:
    """Check arguments of :func:`pair_screen` that need no data."""
    check_all(OP, _CHECKS, given)
    if given.get("threshold") == "permutation":
        alpha, count = given.get("alpha", 0.05), given.get("n_permutations", 100)
        if math.ceil((1 - alpha) * (count + 1)) > count:
            raise InputError(
                f"{OP}: n_permutations must be at least {math.ceil(1 / alpha) - 1:,} for alpha {alpha:g}, got {count:,}"
            )
    device_of(device)
    if memory is not None:
        bytes_of(OP, memory)


def device_of(device: Any) -> torch.device:
    """Torch device of a name; "auto" is CUDA where there is one."""
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise InputError(must_be(OP, "device", "auto, cpu, cuda or cuda:N", device))
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= n_cuda:
        raise InputError(must_be(OP, "device", f"one of this machine's {n_cuda} CUDA devices", device))
    return found


def pair_screen(
    X: Any,
    y: ArrayLike | None = None,
    *,
    rows: AnyRows | None = None,
    top_k: int = 1000,
    alpha: float = 0.05,
    threshold: Literal["bonferroni", "permutation"] = "bonferroni",
    n_permutations: int = 100,
    transform: Transform = "auto",
    label_type: LabelType = "auto",
    covariates: ArrayLike | None = None,
    missing: Literal["error", "mean"] = "error",
    precision: Precision = "auto",
    device: Any = "auto",
    memory: int | str | None = None,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PairScreen:
    """Look at all pairs of features for those that tell classes apart together.

    For features a < b the statistic is z = sum_i(y_i a_i b_i) / sqrt(n), with the label y centred and of unit variance
    and a and b centred within each class. It compares the correlation of a and b in one class with that in the others;
    what a or b alone says of the class does not enter. Where a and b are independent within classes, z has mean 0 and
    variance 1 (sqrt(n) is corrected for the centring). The search goes through all p (p - 1) / 2 pairs as tiles of a
    matrix product, and never holds more of them than one tile per thread.

    Parameters
    ----------
    X : whatever :func:`pixfold.open_source` opens
        Samples x features.
    y : array-like (n_samples,), optional
        Labels. Default: those of the source. Samples whose label is missing are left out. Of more than two classes
        each is set against all others, and a pair stands for its strongest class. Numbers of many values are a
        measurement; see `label_type`.
    rows : slice, array of positions or mask, optional
        Samples that are used, such as those of training. No sample counts twice.
    top_k : int
        Pairs that are returned at most.
    alpha : float
        Family-wise error rate of the threshold.
    threshold : {"bonferroni", "permutation"}
        ``"bonferroni"``: the normal quantile at alpha over all pairs, and classes where there are more than two.
        ``"permutation"``: the quantile of the largest abs(z) under permuted labels (max-T: Westfall and Young,
        Resampling-based multiple testing, 1993), which allows for tails and for pairs that are not independent. Each
        permutation is a screen of its own, of samples that are read once. With covariates or a measurement labels are
        permuted on features that are free of them (Freedman and Lane, J Bus Econ Stat 1983), all on the same tiles.
    n_permutations : int
        Permutations for the threshold.
    transform : {"auto", "sign", "rank", "standard"}
        ``"sign"``: whether a value is above the median of its class. Neither location nor scale of a class moves it,
        and z has no heavier tails than a normal: the sum is hypergeometric (Serfling, Ann Stat 1974), with a variance
        of 1 - r^2 for features of correlation r. ``"rank"``: normal scores of ranks; it finds weaker differences of
        correlation, but z has a variance of about 1 + r^2, so choose ``threshold="permutation"`` for correlated
        features. ``"standard"``: the values themselves, of which outliers can make a pair. ``"auto"`` is
        ``"standard"`` for genotypes, ``"sign"`` for all else.
    label_type : {"auto", "classes", "measurement"}
        ``"auto"``: numbers of more than 20 values are a measurement, if some are not whole or samples do not share
        them.
    covariates : array-like (n_samples, q), optional
        Numbers, projected out of label and features.
    missing : {"error", "mean"}
        What to do with missing values: refuse them, or use the mean of the feature. Missing genotypes always become
        the mean.
    precision : {"auto", "float32", "bfloat16", "int8"}
        Of the products. ``"auto"``: bfloat16 on CUDA; on the CPU int8 for the signs of 256 samples and more where it
        has instructions for them (the sums are exact), else float32. The pairs that are returned are always computed
        again in float64.
    device : str or torch.device
        ``"auto"`` is CUDA where there is one, else the CPU.
    memory : int or str, optional
        Budget for values, such as "2GB". What does not fit goes through a temporary file (``TMPDIR``). Default: half
        of what is free.
    threads : int, optional
        CPU threads. Default: torch's.
    seed : int
        Of the permutations.
    progress : Progress, optional
        Where the work is counted; silent without it.

    Returns
    -------
    PairScreen
        Its `z_interaction` is the score statistic of a * b in a model of the label (logistic for a class against the
        others, linear for a measurement) by a, b and covariates: of normal scores of the values, or of the values
        themselves where `transform` is ``"standard"``. A pair whose z is large and whose `z_interaction` is small
        owes its z to something that a and b explain one by one.

    Raises
    ------
    InputError
        When an argument, the data or a label cannot be used: fewer than two features or four samples, one class,
        infinite values.
    """
    check_arguments(
        device=device,
        memory=memory,
        top_k=top_k,
        alpha=alpha,
        threshold=threshold,
        n_permutations=n_permutations,
        transform=transform,
        label_type=label_type,
        missing=missing,
        precision=precision,
        threads=threads,
        seed=seed,
    )
    where = device_of(device)
    source = relabelled(open_source(X), y)
    messages = list(source.messages)
    if source.labels is None:
        raise InputError(f"{OP}: y must be given where the data have no labels, got None")
    if source.n_features < 2:
        raise InputError(f"{OP}: X must have at least 2 features, got {source.n_features}")
    used, labels = labelled_rows(source, messages)
    assert labels is not None
    if rows is not None:
        used, labels = _chosen(used, labels, rows, source.n_samples)
    given = None if covariates is None else _covariates(covariates, source.n_samples)[used]
    target = target_of(OP, labels, given, label_type)
    messages.extend(target.messages)
    budget = bytes_of(OP, memory) if memory is not None else free_memory() // 2
    if transform == "auto":
        transform = "standard" if source.kind == "genotypes" else "sign"
    # Permuted samples are transformed anew, so that each permutation is treated as the data are. Covariates belong to
    # the samples: then labels are permuted on features that are free of them.
    anew = threshold == "permutation" and not target.adjusted
    shared = target.permuted(n_permutations, seed) if threshold == "permutation" and target.adjusted else None
    kind = _precision(precision, transform, target, where)
    p, n = source.n_features, target.n_samples

    device_width = _cuda_width(where, n) if where.type == "cuda" else None
    width, on_disk = width_within(OP, p, n, budget, device_width, keep=anew)
    features = Features(p, n, width, on_disk=on_disk)
    shown = progress or SilentProgress()
    signs = kind == "int8"
    try:
        with workers(threads or torch.get_num_threads()) as pool:
            gaps = read_features(source, used, target, features, memory=budget, missing=missing, progress=shown)
            if gaps:
                messages.append(f"{counted(gaps, 'value')} missing, replaced by the mean of the feature")
            features.transform(transform, target, pool, signs=signs, keep=anew, progress=shown)
            engine = Engine(features, target, where, _dtype(kind), shared)
            top = TopPairs(top_k, **engine.margins())
            engine.run(top, pool, shown)
            a, b, contrast, z = engine.recheck(top, top_k)
            largest = engine.largest
            if anew:
                largest, rng = np.empty(n_permutations), np.random.default_rng(seed)
                with shown.task("permutations", n_permutations) as counter:
                    for i in range(n_permutations):
                        places = rng.permutation(n)
                        features.transform(transform, target, pool, signs=signs, keep=True, places=places)
                        best = TopPairs(1, **engine.margins())
                        engine.run(best, pool)
                        largest[i] = abs(engine.recheck(best, 1)[3][0])
                        counter.advance(1)
    finally:
        features.close()
    n_tests = p * (p - 1) // 2 * len(target.y)
    if threshold == "permutation":
        limit = float(np.sort(largest)[math.ceil((1 - alpha) * (n_permutations + 1)) - 1])
    else:
        limit = bonferroni_threshold(alpha, n_tests)
    result = _result(
        *(a, b, contrast, z),
        target=target,
        n_features=p,
        threshold=limit,
        transform=transform,
        feature_names=source.feature_names,
        permuted=largest if threshold == "permutation" else None,
        messages=messages,
    )
    with workers(threads or torch.get_num_threads()) as pool:
        return _explained(result, source, used, target, contrast, given, budget, pool)


def screen_array(
    Z: Any,
    y: ArrayLike,
    *,
    k: int = 1000,
    alpha: float = 0.05,
    transform: Literal["sign", "rank", "standard"] = "sign",
    label_type: LabelType = "auto",
    device: Any = "cpu",
    threads: int | None = None,
) -> PairScreen:
    """Find the significant pairs of features that lie in memory, feature by feature.

    As :func:`pair_screen`, without sources, files, `z_interaction` and `plink_z`.

    Parameters
    ----------
    Z : array or tensor (p, n)
        Finite numbers; used as float32, unchanged.
    y : array-like (n,)
        Labels, none missing.
    k : int
        Pairs that are returned at most.
    alpha, transform, label_type, device, threads
        As for :func:`pair_screen`.

    Returns
    -------
    PairScreen
        The pairs above the Bonferroni threshold alone.

    Raises
    ------
    InputError
        As for :func:`pair_screen`.
    """
    op = "screen_array"
    check_all(op, {**_CHECKS, "k": whole_number(1)}, {"k": k, "alpha": alpha, "label_type": label_type})
    check_all(op, _CHECKS, {"threads": threads})
    choice(TRANSFORMS[1:])(op, "transform", transform)
    where = device_of(device)
    values = np.asarray(Z.detach().cpu() if isinstance(Z, torch.Tensor) else Z)
    labels = np.asarray(y)
    if values.ndim != 2 or values.dtype.kind not in "iufb" or len(values) < 2:
        raise InputError(f"{op}: Z must be numbers (2 features or more, n), got {values.dtype} of shape {values.shape}")
    if labels.shape != (values.shape[1],):
        raise InputError(f"{op}: y must have shape ({values.shape[1]},), one per sample, got {labels.shape}")
    values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise InputError(f"{op}: Z must be finite in float32, got {np.count_nonzero(~np.isfinite(values)):,} others")
    target = target_of(op, labels, None, label_type)
    kind = _precision("auto", transform, target, where)
    p, n = values.shape
    features = Features(p, n, _cuda_width(where, n)) if where.type == "cuda" else Features(p, n)
    n_tests = p * (p - 1) // 2 * len(target.y)
    limit = bonferroni_threshold(alpha, n_tests)
    with workers(threads or torch.get_num_threads()) as pool:
        for start, stop in pieces(p, features.width):
            features.put_features(start, values[start:stop, target.order])
        features.transform(transform, target, pool, signs=kind == "int8")
        engine = Engine(features, target, where, _dtype(kind))
        top = TopPairs(k, limit, **engine.margins())
        engine.run(top, pool)
    found = engine.recheck(top, k, limit)
    return _result(*found, target=target, n_features=p, threshold=limit, transform=transform)


def bonferroni_threshold(alpha: float, n_tests: int) -> float:
    """Return the abs(z) that one of `n_tests` standard normals passes with a probability of at most `alpha`."""
    return -NormalDist().inv_cdf(alpha / (2 * n_tests))


def _result(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    contrast: NDArray[np.int64],
    z: NDArray[np.float64],
    *,
    target: Target,
    n_features: int,
    **more: Any,
) -> PairScreen:
    n_pairs = n_features * (n_features - 1) // 2
    n_tests = n_pairs * len(target.y)
    p = torch.special.erfc(torch.from_numpy(np.abs(z) / math.sqrt(2))).numpy()
    return PairScreen(
        feature_a=a,
        feature_b=b,
        z=z,
        p=p,
        p_bonferroni=np.minimum(p * n_tests, 1),
        class_index=target.class_of[contrast],
        n_pairs=n_pairs,
        n_tests=n_tests,
        n_samples=target.n_samples,
        class_names=target.class_names,
        **more,
    )


def _explained(
    result: PairScreen,
    source: Source,
    used: NDArray[np.int64],
    target: Target,
    contrast: NDArray[np.int64],
    covariates: NDArray[np.float64] | None,
    memory: int,
    pool: Executor,
) -> PairScreen:
    """Add what takes the values of the pairs themselves: one more read of the source."""
    wanted, place = np.unique(np.concatenate([result.feature_a, result.feature_b]), return_inverse=True)
    values, genotypes = columns_of(source, used, wanted, memory)
    at_a, at_b = place[: len(result)], place[len(result) :]
    if target.class_names is None:
        label = np.empty(target.n_samples)
        label[target.order] = target.y[0]
        labels = np.broadcast_to(label, (len(target.y), len(label)))
    else:
        codes = np.empty(target.n_samples, dtype=np.int64)
        for number_, part in enumerate(target.classes):
            codes[target.order[part]] = number_
        labels = (codes == target.class_of[:, None]).astype(np.float64)
    gaps = np.isnan(values)
    count = np.maximum((~gaps).sum(axis=1, keepdims=True), 1)
    filled = np.where(gaps, np.where(gaps, 0, values).sum(axis=1, keepdims=True) / count, values)
    filled -= filled.mean(axis=1, keepdims=True)
    if result.transform != "standard":
        constant = np.ptp(filled, axis=1) == 0
        for first, last in pieces(len(filled), 64):
            filled[first:last] = normal_scores(filled[first:last].astype(np.float32))
        filled[constant] = 0
    spread = np.sqrt((filled**2).mean(axis=1, keepdims=True))
    filled /= np.where(spread > 0, spread, 1)
    found = np.empty(len(result))
    plink = np.empty(len(result)) if genotypes and target.class_names is not None else None
    step = max(1, memory // (64 * target.n_samples))
    for first, last in pieces(len(result), min(step, 256)):
        part = slice(first, last)
        label = labels[contrast[part]]
        found[part] = interaction_z(
            *(filled[at_a[part]], filled[at_b[part]], label, covariates),
            logistic=target.class_names is not None,
            pool=pool,
        )
        if plink is not None:
            plink[part] = fast_epistasis(values[at_a[part]], values[at_b[part]], label > 0)
    return _with(result, z_interaction=found, plink_z=plink)


def _with(result: PairScreen, **more: Any) -> PairScreen:
    return PairScreen(**{**result.__dict__, **more})


def _chosen(
    used: NDArray[np.int64], labels: NDArray[Any], rows: AnyRows, n_samples: int
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Labelled samples among those that were asked for."""
    wanted = normalize_rows(rows, n_samples, OP)
    index = np.arange(wanted.start, wanted.stop) if isinstance(wanted, slice) else np.sort(wanted)
    if len(index) > 1 and bool((np.diff(index) == 0).any()):
        twice = index[:-1][np.diff(index) == 0][0]
        raise InputError(f"{OP}: rows must name no sample twice, got {twice:,} more than once")
    inside = np.isin(used, index, assume_unique=True)
    return used[inside], labels[inside]


def _covariates(covariates: ArrayLike, n_samples: int) -> NDArray[np.float64]:
    try:
        values = np.asarray(covariates, dtype=np.float64)
    except (ValueError, TypeError):
        raise InputError(must_be(OP, "covariates", "an array of numbers", covariates)) from None
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) != n_samples:
        raise InputError(f"{OP}: covariates must have shape ({n_samples}, q), got {values.shape}")
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise InputError(f"{OP}: covariates must be finite, got {counted(bad, 'value')} infinite or missing")
    return values


def _precision(precision: str, transform: str, target: Target, device: torch.device) -> str:
    able = transform == "sign" and not target.adjusted and device.type == "cpu"
    if precision == "int8" and not able:
        raise InputError(
            f"{OP}: precision must be float32 or bfloat16 but for signs of classes on the CPU without "
            f"covariates, got 'int8'"
        )
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16"
    return "int8" if able and target.n_samples >= _MANY and has_fast_int8() else "float32"


def _dtype(kind: str) -> torch.dtype:
    return torch.bfloat16 if kind == "bfloat16" else torch.float32


def _cuda_width(device: torch.device, n_samples: int) -> int:
    """Features of a block of which two, one weighted and a tile's products fit on the card."""
    free, _ = torch.cuda.mem_get_info(device)
    # Two blocks and a weighted one in bfloat16; products, their sizes and what is above, in 5 bytes each.
    width = CUDA_TILE
    while width > 512 and width * (8 * n_samples + 8 * width) > 0.8 * free:
        width //= 2
    return width
