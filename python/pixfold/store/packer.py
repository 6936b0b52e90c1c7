"""pack: any source into one sample-major Zarr store, in constant memory, resumed where it was interrupted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixfold.errors import InputError, OutputError, PixfoldError
from pixfold.sources import open_source
from pixfold.sources.base import Source
from pixfold.sources.packed.store import KEY, VERSION, PackedStore, files_of, zarr_settings
from pixfold.store.chunking import Chunking, chunking_for
from pixfold.store.resume import TEMPORARY, State, fingerprint
from pixfold.store.tables import tables_of
from pixfold.store.writers import write_tables, writer_for
from pixfold.util.checks import check_all, switch
from pixfold.util.outputs import PACKED, check_replaceable, claimed, path_of
from pixfold.util.progress import Progress, SilentProgress
from pixfold.util.sizes import bytes_of
from pixfold.util.text import counted


@dataclass(frozen=True)
class WrittenStore:
    """What :func:`pack` has written.

    Attributes
    ----------
    path : Path
        The store.
    kind : str
        "dense", "csr", "genotypes" or "dosages".
    shape : tuple of int
        Samples and features.
    dtype : str
        Of the stored values.
    nbytes : int
        Bytes of its files.
    messages : list of str
        What the user should be told.
    """

    path: Path
    kind: str
    shape: tuple[int, int]
    dtype: str
    nbytes: int
    messages: list[str] = field(default_factory=list)


def pack(
    data: Any,
    out: str | os.PathLike[str],
    *,
    memory: int | str = "1GB",
    force: bool = False,
    verify: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> WrittenStore:
    """Write any source as one Zarr v3 store that is read sample by sample.

    Values stand in sharded arrays, compressed by Zstandard, with checksums of values and of compressed bytes.
    Integers, and floats that are whole and not negative, become the smallest integer type that holds all of them
    exactly; other floats stay as they are. Sparse samples become CSR, genotypes stay at two bits each, dosages become a
    byte each, in steps of 1/127 (0, 1 and 2 are exact, others to 0.004). Dense and CSR stores are AnnData too; tables
    ``obs`` and ``var`` hold names, labels and what else the source says of samples and features.

    The store is written as ``<out>.part`` and renamed when it is whole. After an interruption the same call goes on
    after the last whole shard, if `data` names files that have not changed; otherwise it starts anew.

    Parameters
    ----------
    data : path, list of paths, or what :func:`pixfold.open_source` takes
        What is packed.
    out : path
        The folder to write, by custom ending in .zarr.
    memory : int or str
        About how much memory may be used for values: bytes, or text such as "500MB" or "2GiB".
    force : bool
        Replace `out` where it is a packed store. Nothing else is ever replaced.
    verify : bool
        Read everything again at the end, and compare all checksums.
    progress : Progress, optional
        Where progress is shown; silent without it.
    **options
        Of :func:`pixfold.open_source`: label, groups, covariates, layer, y, split, ...

    Returns
    -------
    WrittenStore

    Raises
    ------
    InputError
        When the data cannot be used, changes while it is read, or `memory` is too little for it.
    OutputError
        When `out` exists and `force` is not given; when something else than a packed store is there; when another
        process packs to `out`; or when it cannot be written: then what is whole is kept for the next call.
    MissingDependencyError
        When zarr, anndata or a package that reads `data` is not installed.
    """
    budget = bytes_of("pack", memory)
    check_all("pack", {"force": switch, "verify": switch}, {"force": force, "verify": verify})
    target, shown = path_of("pack", "out", out), progress or SilentProgress()
    with claimed(target, PACKED, force=force):
        return _packed(data, target, budget, shown, options, force=force, verify=verify)


def _packed(
    data: Any, target: Path, budget: int, shown: Progress, options: dict[str, Any], *, force: bool, verify: bool
) -> WrittenStore:
    source = open_source(data, memory=budget, **options)
    part = target.with_name(target.name + ".part")
    # An earlier call may have left a store there, which this one continues or removes; anything else is refused.
    check_replaceable(part, PACKED, force=True)
    of = fingerprint(data, source, options, budget)
    with _writing(part, keep=of is not None):
        state = _resumed(part, of, shown) or _started(part, of, chunking_for(source, budget, shown), source, budget)
        _fill(part, state, source, budget, shown)
        check_replaceable(target, PACKED, force=force)  # once more: packing may take hours
        about = _about(source, state.chunking)
        groups = options.get("groups") if isinstance(options.get("groups"), str) else None
        _finish(part, state, tables_of(source, options.get("label"), groups), about)
    if of is not None and of != fingerprint(data, source, options, budget):
        shutil.rmtree(part, ignore_errors=True)
        raise InputError(f"{source.name}: the data changed while it was packed; nothing is kept, pack it again")
    if verify:
        PackedStore(part).verify(shown)
    with _writing(part, keep=False):
        _rename(part, target)
    return WrittenStore(
        target, about["kind"], tuple(about["shape"]), about["dtype"], sum(state.files.values()), list(source.messages)
    )


def _resumed(part: Path, of: str | None, progress: Progress) -> State | None:
    state = State.load(part)
    if state is None or of is None:
        return None
    if state.of != of:
        progress.log(f"{part} is of other data or options: starting anew")
        return None
    progress.log(f"resuming after {counted(state.done, 'shard')}")
    return state


def _started(part: Path, of: str | None, chunking: Chunking, source: Source, memory: int) -> State:
    if part.exists():
        shutil.rmtree(part)
    with zarr_settings() as zarr:
        group = zarr.open_group(str(part), mode="w", zarr_format=3)
        group.attrs.update({KEY: {"version": VERSION, "complete": False}})
        writer_for(source, chunking, memory, part).create(group)
    state = State(of, chunking)
    state.save(part)
    return state


def _fill(part: Path, state: State, source: Source, memory: int, progress: Progress) -> None:
    """Write the shards that are not there yet."""
    writer = writer_for(source, state.chunking, memory, part)
    with zarr_settings() as zarr:
        group = _Opened(zarr.open_group(str(part), mode="r+"))
    with progress.task("packing", total=source.n_samples) as task:
        task.advance(state.share * source.n_samples)
        for shard in writer.shards(group, state.done):
            _note(part, state, shard.files)
            state.done, state.share = state.done + 1, state.share + shard.share
            state.save(part)
            task.advance(shard.share * source.n_samples)
    _note(part, state, writer.finish(group))


class _Opened:
    """A group whose arrays are opened under our settings, and keep them."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def __getitem__(self, key: str) -> Any:
        with zarr_settings():
            return self._group[key]


def _note(part: Path, state: State, files: tuple[str, ...]) -> None:
    """Record files as whole, once they are on the disk. A shard of zeros has no file."""
    for file in files:
        if not (part / file).exists():
            continue
        with (part / file).open("rb") as written:
            os.fsync(written.fileno())
            state.files[file] = os.fstat(written.fileno()).st_size


def _about(source: Source, chunking: Chunking) -> dict[str, Any]:
    return {
        "version": VERSION,
        "complete": True,
        "kind": "genotypes" if chunking.kind == "bands" else chunking.kind,
        "shape": [source.n_samples, source.n_features],
        "dtype": chunking.dtype,
        "count_first": chunking.count_first,
        "categories": source.categories,
        "channel_sizes": source.channel_sizes,
        "source_kind": source.kind,
        "messages": list(source.messages),
    }


def _finish(part: Path, state: State, tables: tuple[Any, Any], about: dict[str, Any]) -> None:
    """Write tables and what the store says of itself, and remove what was there for resuming."""
    with zarr_settings(numbers=False) as zarr:
        group = zarr.open_group(str(part), mode="r+")
        write_tables(group, *tables)
        for table in ("obs", "var"):
            for _, array in group[table].members(max_depth=None):
                if hasattr(array, "shape"):
                    _note(part, state, tuple(file for file, _ in files_of(array)))
        attributes: dict[str, Any] = {KEY: {**about, "files": state.files}}
        if about["kind"] not in ("genotypes", "dosages"):
            attributes |= {"encoding-type": "anndata", "encoding-version": "0.1.0"}
        group.attrs.update(attributes)
    # Zarr leaves *.partial behind when a write is cut short.
    for left in (*part.glob(f"{TEMPORARY}*"), *part.rglob("*.partial")):
        left.unlink()


def _rename(part: Path, target: Path) -> None:
    _sync(part)
    before = target.with_name(f".{target.name}.{os.getpid()}.before")
    if target.exists():
        target.rename(before)
    part.rename(target)
    _sync(target.absolute().parent)
    if before.exists():
        shutil.rmtree(before)


def _sync(folder: Path) -> None:
    """Flush names and metadata to the disk before what follows is written."""
    files = [folder, *folder.rglob("zarr.json")] if folder.suffix == ".part" else [folder]
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _writing(part: Path, *, keep: bool) -> Iterator[None]:
    """Turn an error of the system into an OutputError that names `part`; keep what the next call can continue."""
    try:
        yield
    except BaseException as error:
        state = State.load(part) if keep else None
        if state is None or not state.done:
            shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, PixfoldError) or not isinstance(error, OSError | RuntimeError):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        kept = "; what is whole is kept there, and the same call goes on with it" if part.exists() else ""
        raise OutputError(f"cannot write {part}: {reason}{kept}") from error
