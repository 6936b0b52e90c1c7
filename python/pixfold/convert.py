"""convert: samples of any source to images on disk, in constant memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold._files import staged
from pixfold._words import told
from pixfold.errors import InputError, OutputError
from pixfold.genotypes import PackedGenotypes
from pixfold.image_files import ImageSet, files_of, rows_at_once, write
from pixfold.layout import Layout
from pixfold.normalize import Normalizer
from pixfold.ops.census import census
from pixfold.ops.fold import dtype_name, fold_into_fresh
from pixfold.placing import layout_for
from pixfold.preparation import class_names_of, codes_of, labelled_rows, prepare
from pixfold.profile import choose_normalizer, profile
from pixfold.progress import Progress, SilentProgress, Task
from pixfold.sources import open_source
from pixfold.sources.base import Source

# The part of the memory budget that one block may take: there are its values, what looking at them makes, its images,
# and these compressed.
_SHARE = 6
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


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
        Of the layout; see :func:`pixfold.placing.layout_for`.
    dtype : {"float32", "float16"}
        Of the images.
    memory : int or str
        About how many bytes may be used for blocks: a number, or text such as "512MB" or "2GiB".
    threads : int, optional
        As for :func:`pixfold.fold`.
    force : bool
        Replace an output that exists.
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
        When the output exists or cannot be written: nothing is left of it then.
    """
    reporter = progress if progress is not None else SilentProgress()
    path = Path(out)
    targets = files_of(path)
    element = _stored_dtype(dtype)
    budget = memory_bytes(memory) // _SHARE
    check_free(path, force=force)
    opened = _Watched(source if isinstance(source, Source) else open_source(source), budget)
    if layout is None and normalizer is None:
        plan = _planned(
            opened,
            reporter,
            class_names,
            place={"arrangement": arrangement, "seed": seed, "shape": shape, "channels": channels},
            choose={"normalize": normalize, "negative": negative, "missing": missing},
        )
    elif layout is not None and normalizer is not None:
        plan = _given(opened, layout, normalizer, class_names)
    else:
        raise InputError("convert: expected layout and normalizer together, received one of them")
    images = ImageSet(
        shape=(len(plan.rows), *plan.layout.shape),
        dtype=element,
        layout=plan.layout,
        normalizer=plan.normalizer,
        sample_names=[opened.sample_names[row] for row in plan.rows],
        feature_names=list(opened.feature_names),
        labels=plan.labels,
        about=_about(opened, plan),
    )
    rows = rows_at_once(images, path, budget)
    with staged(*targets) as temporary, opened.counted(reporter, "folding", len(plan.rows)):
        write(temporary, images, _folded(opened, plan, images, rows, threads), rows)
    return Converted(path, images.shape, plan.layout, plan.normalizer, plan.class_names, plan.messages)


def check_free(path: Path, *, force: bool) -> None:
    """Raise OutputError when an output cannot be made, before the work begins.

    Raises
    ------
    OutputError
        When something of its name exists and is not to be replaced, or its folder does not exist.
    """
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: the folder {path.parent} does not exist")
    there = [target for target in files_of(path) if target.exists()]
    if there and not force:
        raise OutputError(f"cannot write {path}: {there[0]} exists (force=True, command line: --force, replaces it)")
    for target in there:
        if target.is_dir() != (target.suffix.lower() == ".zarr"):
            raise OutputError(f"cannot write {path}: {target} is {'a folder' if target.is_dir() else 'a file'}")
        # A folder is replaced only by its like: a wrong name must not cost a user's files.
        if target.is_dir() and any(target.iterdir()) and not (target / "zarr.json").exists():
            raise OutputError(f"cannot write {path}: the folder exists and is no Zarr v3 store")


def memory_bytes(memory: int | str) -> int:
    """Read a size such as 1000000, "512MB" or "2GiB".

    Raises
    ------
    InputError
        When it is no such size, or below 1 MB.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", str(memory).upper())
    if isinstance(memory, bool) or found is None or found[2] not in _UNITS:
        raise InputError(f"memory: expected a number of bytes such as 512MB or 2GiB, received {told(memory)}")
    size = int(float(found[1]) * _UNITS[found[2]])
    if size < 10**6:
        raise InputError(f"memory: expected at least 1MB, received {told(memory)}")
    return size


class _Watched:
    """A source whose reads are counted by a progress bar, in blocks that fit a part of the memory budget."""

    def __init__(self, source: Source, budget: int) -> None:
        self._source = source
        self._task: Task | None = None
        row = source.n_features * max(source.dtype.itemsize, 4)
        self.block_size = max(1, min(source.block_size, budget // row))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @contextmanager
    def counted(self, progress: Progress, what: str, total: int) -> Iterator[None]:
        with progress.task(what, total) as self._task:
            yield
        self._task = None

    def read(self, rows: slice | NDArray[np.int64]) -> Any:
        block = self._source.read(rows)
        if self._task is not None:
            self._task.advance(block.shape[0])
        return block


@dataclass(frozen=True)
class _Plan:
    """Which samples become images, and how."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    class_names: list[str] | None
    layout: Layout
    normalizer: Normalizer
    messages: list[str]
    dropped_samples: list[str]
    checked: bool


def _planned(
    source: _Watched,
    progress: Progress,
    class_names: Sequence[str] | None,
    *,
    place: dict[str, Any],
    choose: dict[str, Any],
) -> _Plan:
    with source.counted(progress, "looking", source.n_samples):
        prepared = prepare(source, missing=choose["missing"])
    # Before the normaliser is fitted: a shape without room is known now.
    layout = layout_for(source, keep=prepared.keep, **place)
    messages = list(prepared.messages)
    if "auto" not in (choose["normalize"], choose["negative"]):
        normalizer = Normalizer(choose["normalize"], negative=choose["negative"], missing=choose["missing"])
    else:
        with source.counted(progress, "choosing the normaliser", len(prepared.rows)):
            found = profile(source, prepared.rows)
        normalizer, chosen = choose_normalizer(found, source, **choose)
        messages += chosen
    with source.counted(progress, "fitting", len(prepared.rows)):
        normalizer.fit_blocks(lambda: _blocks(source, prepared.rows), source.feature_names)
    labels, names = prepared.labels, prepared.class_names
    if labels is not None and names is not None and class_names is not None:
        labels, names = codes_of(source.name, np.array(names)[labels], class_names), list(class_names)
    return _Plan(prepared.rows, labels, names, layout, normalizer, messages, prepared.dropped_samples, True)


def _given(source: _Watched, layout: Layout, normalizer: Normalizer, class_names: Sequence[str] | None) -> _Plan:
    if layout.n_features != source.n_features:
        raise InputError(
            f"{source.name}: expected the {layout.n_features:,} features of the layout, received {source.n_features:,}"
        )
    messages = list(source.messages)
    rows, labels = labelled_rows(source, messages)
    if labels is None:
        return _Plan(rows, None, None, layout, normalizer, messages, [], False)
    if not len(rows):
        raise InputError(f"{source.name}: no sample has a label")
    names = class_names if class_names is not None else class_names_of(labels)
    return _Plan(rows, codes_of(source.name, labels, names), list(names), layout, normalizer, messages, [], False)


def _blocks(source: Source, rows: NDArray[np.int64]) -> Iterator[Any]:
    for start in range(0, len(rows), source.block_size):
        yield source.read(rows[start : start + source.block_size])


def _folded(source: Source, plan: _Plan, images: ImageSet, at_once: int, threads: int | None) -> Iterator[NDArray[Any]]:
    """Yield the images, `at_once` together, always in the same memory."""
    memory = np.empty((at_once, *images.shape[1:]), dtype=images.dtype)
    for first in range(0, len(plan.rows), at_once):
        wanted = plan.rows[first : first + at_once]
        for start in range(0, len(wanted), source.block_size):
            rows = wanted[start : start + source.block_size]
            samples = source.read(rows)
            if not plan.checked:
                _refuse_infinite(source, samples, rows, threads)
            out = memory[start : start + len(rows)]
            fold_into_fresh(samples, plan.layout, plan.normalizer, dtype=images.dtype, out=out, threads=threads)
        yield memory[: len(wanted)]


def _refuse_infinite(source: Source, samples: Any, rows: NDArray[np.int64], threads: int | None) -> None:
    """Samples that no normaliser was fitted on were looked at by nobody."""
    if (
        isinstance(samples, PackedGenotypes)
        or samples.dtype.kind != "f"
        or not census(samples, threads=threads).infinite
    ):
        return
    dense = samples if isinstance(samples, np.ndarray) else samples.toarray()
    row, column = np.argwhere(np.isinf(dense))[0]
    raise InputError(
        f"{source.name}: the value of sample {source.sample_names[rows[row]]!r}, feature "
        f"{source.feature_names[column]!r} is infinite, expected finite numbers"
    )


def _about(source: _Watched, plan: _Plan) -> dict[str, Any]:
    from pixfold import __version__

    return {
        "pixfold": __version__,
        "kind": "images",
        "input": source.name,
        "layout_shape": list(plan.layout.shape),
        "normalizer": plan.normalizer.settings(),
        "classes": plan.class_names,
        "categories": source.categories,
        "dropped_features": [source.feature_names[j] for j in np.flatnonzero(plan.layout.pixel_of_feature < 0)],
        "dropped_samples": plan.dropped_samples,
        "messages": plan.messages,
    }


def _stored_dtype(dtype: Any) -> str:
    name = dtype_name(dtype)
    if name == "bfloat16":
        raise InputError("convert: neither .npy nor Zarr has bfloat16: expected dtype float32 or float16")
    return name
