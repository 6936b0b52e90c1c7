"""convert: samples of any source to images on disk, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.formula import PRESETS
from pixfold.images.files import ImageSet, check_output, files_of, rows_at_once, write
from pixfold.layout import Layout
from pixfold.normalize.choose import choose_normalizer
from pixfold.normalize.normalizer import Normalizer
from pixfold.normalize.recipe import MISSING, NEGATIVE
from pixfold.ops.arguments import check_features, dtype_name, formula_of, layout_argument
from pixfold.ops.fold_samples import fold_into_fresh
from pixfold.sources import open_source
from pixfold.sources.base import Source
from pixfold.stream.blocks import blocks
from pixfold.stream.finite import check_finite
from pixfold.stream.labels import class_names_of, codes_of, labelled_rows
from pixfold.stream.layout_for import layout_for
from pixfold.stream.prepare import prepare
from pixfold.util.checks import check_all, choice, is_whole, switch, whole_number
from pixfold.util.files import staged
from pixfold.util.outputs import IMAGES, claimed, path_of
from pixfold.util.progress import Progress, SilentProgress
from pixfold.util.sizes import bytes_of
from pixfold.util.text import must_be

# Shares of the memory budget: for blocks of samples, and for the images that are written together (which need as much
# again while they are compressed).
_BLOCKS_SHARE, _IMAGES_SHARE = 0.5, 0.2


def _memory(op: str, name: str, value: Any) -> None:
    bytes_of(op, value)


def _dtype(op: str, name: str, value: Any) -> None:
    # Neither .npy nor Zarr has bfloat16.
    choice(("float32", "float16"))(op, name, dtype_name(value))


def _shape(op: str, name: str, value: Any) -> None:
    if value is not None and not (
        isinstance(value, Sequence) and len(value) == 2 and all(is_whole(n, 1) for n in value)
    ):
        raise InputError(must_be(op, name, "height and width, two positive integers", value))


def _names(op: str, name: str, value: Any) -> None:
    several = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
    if value is not None and not (several and all(isinstance(label, str) for label in value)):
        raise InputError(must_be(op, name, "a list of names", value))


_CHECKS = {
    "class_names": _names,
    "normalize": choice(("auto", *PRESETS)),
    "negative": choice(("auto", *NEGATIVE)),
    "missing": choice(MISSING),
    "arrangement": choice(("natural", "shuffled")),
    "seed": whole_number(0),
    "shape": _shape,
    "channels": whole_number(1),
    "dtype": _dtype,
    "memory": _memory,
    "threads": whole_number(1, optional=True),
    "force": switch,
}


@dataclass(frozen=True)
class Converted:
    """What :func:`convert` wrote.

    Attributes
    ----------
    path : Path
        The images.
    shape : tuple of int
        ``(n_samples, channels, height, width)``.
    layout : Layout
    normalizer : Normalizer
    class_names : list of str, or None
        Names of the labels 0, 1, 2, ...
    messages : list of str
        What the user should be told.
    """

    path: Path
    shape: tuple[int, int, int, int]
    layout: Layout
    normalizer: Normalizer
    class_names: list[str] | None
    messages: list[str]


def convert(
    source: Any,
    out: str | Path,
    *,
    layout: Layout | None = None,
    normalizer: Normalizer | None = None,
    class_names: Sequence[str] | None = None,
    normalize: str = "auto",
    negative: str = "auto",
    missing: str = "error",
    arrangement: str = "natural",
    seed: int = 0,
    shape: Sequence[int] | None = None,
    channels: int = 1,
    dtype: Any = "float32",
    memory: int | str = "512MB",
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Write the images of all samples to a file; only a few blocks of them are in memory at any time.

    Samples without a label (where there are labels) and samples without values are left out; features without values
    are dropped through the layout. Both are named in the messages.

    Parameters
    ----------
    source : Source, or what :func:`pixfold.open_source` opens
        The samples.
    out : path
        ``OUT.zarr``: a Zarr v3 store with ``images`` (n, channels, height, width), sharded and compressed with
        Zstandard, ``sample_names``, ``labels``, ``feature_names``, and the groups ``layout`` and ``normalizer`` of
        arrays for :meth:`Layout.from_state` and :meth:`Normalizer.from_state`. ``OUT.npy``: the images alone, and
        beside them ``OUT.layout.npz``, ``OUT.normalizer.npz`` (see their ``load``) and ``OUT.json`` with names and
        labels. Nothing is there under these names before all is written.
    layout, normalizer : Layout and fitted Normalizer, optional
        Those of a model (``layout_``, ``normalizer_``): its images of new samples. Then no sample or feature is left
        out for being empty. Without them a normaliser is fitted on all samples.
    class_names : sequence of str, optional
        Classes that labels 0, 1, 2, ... stand for (``class_names_`` of a model). Default: those of the source, sorted.
    normalize : str
        A preset of :class:`Normalizer`, or "auto", which looks at the data.
    negative : {"auto", "error", "shift"}
        Negative values before a logarithm.
    missing : {"error", "zero", "mean"}
        Missing values.
    arrangement, seed, shape, channels
        Of the layout; see :func:`pixfold.stream.layout_for.layout_for`.
    dtype : {"float32", "float16"}
        Of the images.
    memory : int or str
        About how many bytes may be used for blocks: a number, or text such as "512MB" or "2GiB".
    threads : int, optional
        As for :func:`pixfold.fold`.
    force : bool
        Replace images that exist. Nothing else is ever replaced.
    progress : Progress, optional
        Where to report; silent without it.

    Returns
    -------
    Converted

    Raises
    ------
    InputError
        Unusable data or arguments.
    OutputError
        When the output exists and `force` is not given; when something else than images is there; when another process
        writes it; or when it cannot be written: nothing is left of it then.
    """
    place = {"arrangement": arrangement, "seed": seed, "shape": shape, "channels": channels}
    choose = {"normalize": normalize, "negative": negative, "missing": missing}
    machine = {"memory": memory, "threads": threads, "force": force}
    check_arguments(**place, **choose, **machine, dtype=dtype, class_names=class_names)
    if (layout is None) != (normalizer is None):
        raise InputError(f"convert: layout and normalizer must be given together, got {layout!r} and {normalizer!r}")
    if layout is not None:
        layout_argument("convert", layout)
        formula = formula_of("convert", normalizer)
        assert formula is not None
        check_features("convert", formula, layout)
    path = path_of("convert", "out", out)
    targets, budget = files_of(path), bytes_of("convert", memory)
    reporter = progress if progress is not None else SilentProgress()
    with claimed(path, IMAGES, force=force, beside=targets[1:]):
        opened = open_source(source, memory=budget)
        if layout is None or normalizer is None:
            work = _fitted(opened, budget, reporter, class_names, place, choose)
        else:
            work = _given(opened, layout, normalizer, class_names)
        images = ImageSet(
            shape=(len(work.rows), *work.layout.shape),
            dtype=dtype_name(dtype),
            layout=work.layout,
            normalizer=work.normalizer,
            sample_names=[opened.sample_names[row] for row in work.rows],
            feature_names=list(opened.feature_names),
            labels=work.labels,
            about=_about(opened, work),
        )
        rows = rows_at_once(images, path, int(_IMAGES_SHARE * budget))
        read = blocks(
            opened, work.rows, memory=int(_BLOCKS_SHARE * budget), op="convert", progress=reporter, task="folding"
        )
        with staged(*targets) as temporary:
            write(temporary, images, _folded(opened, work, images, rows, read, threads), rows)
            check_output(path, force=force)  # once more: folding may take hours
    return Converted(path, images.shape, work.layout, work.normalizer, work.class_names, work.messages)


def check_arguments(**given: Any) -> None:
    """Check arguments of :func:`convert`, before anything is read.

    Raises
    ------
    InputError
        For one that cannot be used.
    """
    check_all("convert", _CHECKS, given)


@dataclass(frozen=True)
class _Work:
    """Which samples become images, and how."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    class_names: list[str] | None
    layout: Layout
    normalizer: Normalizer
    messages: list[str]
    dropped_samples: list[str]
    checked: bool


def _fitted(
    source: Source,
    budget: int,
    progress: Progress,
    class_names: Sequence[str] | None,
    place: dict[str, Any],
    choose: dict[str, Any],
) -> _Work:
    prepared = prepare(source, missing=choose["missing"], memory=budget, progress=progress)
    # A shape that is too small is refused before the normaliser is fitted.
    layout = layout_for(source, keep=prepared.keep, **place)
    messages = list(prepared.messages)
    if "auto" in (choose["normalize"], choose["negative"]):
        normalizer, chosen = choose_normalizer(prepared.facts, source, **choose)
        messages += chosen
    else:
        normalizer = Normalizer(choose["normalize"], negative=choose["negative"], missing=choose["missing"])
    read = blocks(
        source,
        prepared.rows,
        memory=budget,
        fixed=normalizer.fitting_bytes(source.n_features),
        op="convert",
        progress=progress,
        task="normaliser",
    )
    normalizer.fit_blocks(read, source.feature_names, keep=prepared.keep)
    labels, names = prepared.labels, prepared.class_names
    if labels is not None and names is not None and class_names is not None:
        labels, names = codes_of(source.name, np.array(names)[labels], class_names), list(class_names)
    return _Work(prepared.rows, labels, names, layout, normalizer, messages, prepared.dropped_samples, True)


def _given(source: Source, layout: Layout, normalizer: Normalizer, class_names: Sequence[str] | None) -> _Work:
    if layout.n_features != source.n_features:
        raise InputError(
            f"{source.name}: samples must have the layout's {layout.n_features:,} features, got {source.n_features:,}"
        )
    messages = list(source.messages)
    rows, labels = labelled_rows(source, messages)
    if labels is None:
        return _Work(rows, None, None, layout, normalizer, messages, [], False)
    if not len(rows):
        raise InputError(f"{source.name}: no sample has a label")
    names = class_names if class_names is not None else class_names_of(labels)
    return _Work(rows, codes_of(source.name, labels, names), list(names), layout, normalizer, messages, [], False)


def _folded(
    source: Source,
    work: _Work,
    images: ImageSet,
    at_once: int,
    read: Callable[[], Iterable[Any]],
    threads: int | None,
) -> Iterator[NDArray[Any]]:
    """Yield the images, `at_once` together, always in the same memory."""
    memory = np.empty((at_once, *images.shape[1:]), dtype=images.dtype)
    done = filled = 0
    for block in read():
        if not work.checked:
            check_finite(source, block, work.rows[done : done + block.shape[0]], threads)
        start = 0
        while start < block.shape[0]:
            n = min(block.shape[0] - start, at_once - filled)
            out = memory[filled : filled + n]
            part = block[start : start + n]
            fold_into_fresh(part, work.layout, work.normalizer, dtype=images.dtype, out=out, threads=threads)
            start, filled = start + n, filled + n
            if filled == at_once:
                yield memory
                filled = 0
        done += block.shape[0]
        del block, part  # frees their memory before the next block is read
    if filled:
        yield memory[:filled]


def _about(source: Source, work: _Work) -> dict[str, Any]:
    from pixfold._core import __version__

    return {
        "pixfold": __version__,
        "kind": "images",
        "input": source.name,
        "layout_shape": list(work.layout.shape),
        "normalizer": work.normalizer.settings(),
        "classes": work.class_names,
        "categories": source.categories,
        "dropped_features": [source.feature_names[j] for j in np.flatnonzero(work.layout.pixel_of_feature < 0)],
        "dropped_samples": work.dropped_samples,
        "messages": work.messages,
    }
