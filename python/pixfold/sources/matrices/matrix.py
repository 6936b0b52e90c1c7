"""Make a source of a matrix whose rows are features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.arrays.array_source import ArraySource
from pixfold.sources.base import Source
from pixfold.sources.disk.on_disk import StoredSource
from pixfold.sources.labels import check_columns, columns_of
from pixfold.sources.matrices.blocks import BlockReader, MoreTextError
from pixfold.sources.matrices.columns import MatrixColumns, annotation_values, columns_of_head
from pixfold.sources.matrices.geo import column_about
from pixfold.sources.matrices.head import Head, check_first_row
from pixfold.sources.matrices.names import is_summary, program_of_one_sample
from pixfold.sources.matrices.tiles import TileFiles, TileStore
from pixfold.sources.options import NoColumnError, ReadOptions
from pixfold.sources.tables.delimited import Cells
from pixfold.sources.tables.lines import UncommonTextError
from pixfold.util.text import counted, listed


class _InMemory(ArraySource):
    about: Mapping[str, NDArray[Any]] = {}

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        return {**self.about, **super().sample_columns()}


class _OnDisk(StoredSource):
    about: Mapping[str, NDArray[Any]] = {}

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        return {**self.about, **super().sample_columns()}


def read_matrix(
    path: Path,
    head: Head,
    options: ReadOptions,
    notes: Sequence[str] = (),
    cells: Callable[[], Iterator[Cells]] | None = None,
) -> Source:
    """Read a matrix below its head, and bring it to samples.

    Values are read once, and kept in temporary files where they are larger than
    :func:`pixfold.sources.disk.limits.held`; see :class:`TileStore`.

    Parameters
    ----------
    path : Path
        The file.
    head : Head
        Its header, and what it tells of the samples.
    options : ReadOptions
        ``label``, ``groups`` and ``covariates`` are columns of ``head.about``.
    notes : sequence of str
        What the user is told beside.
    cells : callable, optional
        Yields the cells of what is no text file.

    Raises
    ------
    InputError
        When the file is damaged, a value is no number, no column holds values, or columns bear one name.
    OutputError
        When there is no room for temporary files.
    """
    check_first_row(path, head)
    program = program_of_one_sample(head.columns)
    if program is not None:
        raise one_sample(path, program, head.columns)
    columns = columns_of_head(head)
    samples = _sample_names(path, head, columns)
    about = _about(path, head, options)
    uncommon = False
    while True:
        try:
            texts, values = _read(path, head, columns, uncommon, cells)
        except UncommonTextError:
            uncommon = True
        except MoreTextError as error:
            columns.describe(error.at)
            samples = _sample_names(path, head, columns)
        else:
            break
    names = [name or "unnamed" for name in texts.pop(columns.naming)]
    annotation = {head.columns[at]: annotation_values(head.columns[at], texts[at]) for at in columns.annotation}
    annotation.pop("", None)
    messages = list(notes)
    if head.decimal == "," and head.delimiter != ";" and options.decimal is None:
        messages.append(f"{path}: numbers are read with decimal commas (decimal says otherwise)")
    messages += _messages(path, head, options, list(annotation), texts.get(-1, []))
    given: dict[str, Any] = {
        "feature_names": names,
        "sample_names": samples,
        "labels": options.y if options.label is None else about[options.label],
        **columns_of(options, about.__getitem__),
        "messages": messages,
    }
    source: _InMemory | _OnDisk
    if isinstance(values, TileFiles):
        source = _OnDisk(values, values, **given)
    else:
        source = _InMemory(values, name=str(path), **given)
    source.feature_annotation = annotation
    source.about = about
    return source


def one_sample(path: Path, program: str, columns: list[str]) -> InputError:
    """Error of a file that one sample is in, its columns being quantities."""
    return InputError(
        f"{path}: the table holds one sample, as {program} writes it: its columns are quantities "
        f"({listed(columns, 10)}); merge the files of all samples first, one quantity of each (as nf-core/rnaseq and "
        "tximport do), and read that table"
    )


def _read(
    path: Path,
    head: Head,
    columns: MatrixColumns,
    uncommon: bool,
    cells: Callable[[], Iterator[Cells]] | None,
) -> tuple[dict[int, list[str]], NDArray[Any] | TileFiles]:
    """Read names, annotation and values; names of summary rows come as column -1."""
    reader = BlockReader(path, head, columns, cells)
    store = TileStore(str(path), len(columns.samples))
    texts: dict[int, list[str]] = {at: [] for at in columns.texts}
    summaries: list[str] = []
    n_rows = 0
    try:
        for block in reader.uncommon_blocks() if uncommon else reader.blocks():
            if block is None:
                continue
            names = block.texts[columns.naming]
            n_rows += len(names)
            kept = [row for row, name in enumerate(names) if not is_summary(name)]
            values = block.values
            if len(kept) < len(names):
                summaries += [name for name in names if is_summary(name)]
                values = values[:, kept]
            for at, column in block.texts.items():
                texts[at] += [column[row] for row in kept] if len(kept) < len(names) else column
            store.append(values)
        if head.n_features is not None and n_rows != head.n_features:
            raise InputError(
                f"{path}: the table must hold {counted(head.n_features, 'row')}, as line 2 says, got {n_rows:,}"
            )
        if not texts[columns.naming]:
            raise InputError(f"{path}: the table must hold rows of values after the header, got none")
        return {**texts, -1: summaries}, store.finish()
    except BaseException:
        store.discard()
        raise


def _sample_names(path: Path, head: Head, columns: MatrixColumns) -> list[str]:
    names = [head.columns[at] for at in columns.samples]
    if not names:
        raise InputError(
            f"{path}: the table must hold a column of numbers for each sample, got none beside "
            f"{listed(head.columns, 10)}"
        )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"{path}: columns must name samples, each once, got {listed(repeated)} more than once")
    return names


def _about(path: Path, head: Head, options: ReadOptions) -> dict[str, NDArray[Any]]:
    """Columns about the samples, as labels are; those that were asked for must be there."""
    asked = [*(() if options.label is None else (options.label,)), *options.columns]
    if asked and not head.about:
        raise NoColumnError(
            f"{path}: there is no column {asked[0]!r}: its rows are taken as features, so that labels, groups and "
            "covariates come from a table of their own (labels=, --labels); where rows are samples, read it with "
            "transpose=False (--no-transpose)",
            asked,
        )
    check_columns(str(path), options, list(head.about))
    return {name: column_about(values) for name, values in head.about.items()}


def _messages(path: Path, head: Head, options: ReadOptions, annotation: list[str], summaries: list[str]) -> list[str]:
    messages = []
    if annotation:
        messages.append(f"{path}: kept as annotation of the features: {listed(annotation, 6)}")
    if summaries:
        rows = counted(len(summaries), "row")
        messages.append(f"{path}: {rows} of reads that were not counted left out ({listed(summaries, 5)})")
    if head.about and options.label is None and options.y is None and options.samples is None:
        messages.append(f"{path}: columns about the samples, to choose as label: {listed(list(head.about), 12)}")
    return messages
