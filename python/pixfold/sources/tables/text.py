"""Tables in text files: .csv, .tsv and .txt, compressed or not, read in blocks."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pixfold.sources.base import Source
from pixfold.sources.choice import unwanted_columns
from pixfold.sources.disk.changes import unchanged
from pixfold.sources.labels import check_columns
from pixfold.sources.options import ReadOptions
from pixfold.sources.tables.builder import Columns, TableBuilder
from pixfold.sources.tables.categories import known_categories
from pixfold.sources.tables.delimited import Cells, read_cells, readable
from pixfold.sources.tables.header import Header
from pixfold.sources.tables.lines import UncommonTextError
from pixfold.sources.tables.notation import is_number
from pixfold.sources.tables.numbers import Numbers
from pixfold.sources.tables.plink_columns import are_plinks, set_apart, with_plinks_names

# Says where a cell is, of its line and column.
_Where = Callable[[int, str], str]


def open_text(path: Path, options: ReadOptions) -> Source:
    """Read a delimited text file: one header line of names, then one line per sample.

    The first column names the samples when its header is empty, or when it is text that differs in every line
    and is not the label. A header one field shorter than the lines (as R writes it) leaves out that column.
    Lines that begin with # or ! above the header are skipped. The delimiter is that of the suffix, or another of comma,
    tab, semicolon and runs of blanks when the header holds only that. Missing values are empty cells, NA, NaN, null,
    None, and in columns of numbers also a point, a hyphen, or an error of Excel. Numbers with decimal commas are read
    where the whole table has them and its columns are parted by something else; other notations are errors. Of PLINK's
    .raw files, IID names the samples, and the other columns before the variants are no features.

    The file is read once, in blocks, and once more when a column of texts shows only after the first block. A
    table whose numbers are larger than :func:`pixfold.sources.disk.limits.held` is kept in a temporary
    file, row by row, in the smallest type that holds them.

    Parameters
    ----------
    path : Path
        A name that ends in one of ``TEXT_ENDINGS`` of :mod:`pixfold.sources.formats`, compressed or not.
    options : ReadOptions
        Its ``label``, ``groups``, ``covariates``, ``y``, ``categories``, ``categorical``, ``decimal`` and ``no_header``
        are those of :func:`pixfold.open_source`.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        When there is no such label column, or a column is no feature: text among numbers, an identifier; the
        message names line and column of the cell. Also when lines differ in length, the file is cut off or no
        text, or it changes while it is read.
    OutputError
        When there is no room for the temporary file.
    MissingDependencyError
        When pyarrow is not installed.
    """
    with unchanged(path), readable(path):
        header = Header(path, decimal=options.decimal, is_there=not options.no_header)
        uncommon = False
        while True:
            cells = functools.partial(read_cells, path, header, uncommon=uncommon)
            try:
                return read_table(str(path), header, cells, options)
            except UncommonTextError:
                uncommon = True


def read_table(
    name: str,
    header: Header,
    cells: Callable[[], Iterator[Cells]],
    options: ReadOptions,
    *,
    notes: Sequence[str] = (),
    line: str = "line",
) -> Source:
    """Make a source of the header of a table and of its cells as texts, which are read again where need be.

    Parameters
    ----------
    name : str
        The source, for messages.
    header : Header
        What the columns are called, and the decimal point.
    cells : callable
        Yields all cells below the header, in blocks of lines.
    options : ReadOptions
        As of :func:`open_text`.
    notes : sequence of str
        What the user should be told.
    line : str
        What messages call a line.
    """
    notes = list(notes)
    if is_plink := are_plinks(header.columns):
        options = with_plinks_names(options)
    first = int(header.names_samples)
    check_columns(name, options, header.columns[first:], header.text_columns)
    columns = Columns(
        header.columns,
        label=None if options.label is None else header.columns.index(options.label, first),
        others={column: header.columns.index(column, first) for column in options.columns},
        naming=(0,) if header.names_samples else (),
        unwanted=unwanted_columns(options, header.columns),
    )
    if is_plink:
        set_apart(columns, notes)
    columns.text = {
        at
        for at in (columns.features if options.categories else ())
        if known_categories(header.columns[at], options.categories) is not None
    }
    settled = False
    while True:
        source = _read(name, header, cells(), columns, options, notes, line, settled)
        if source is not None:
            return source
        settled = True


def _read(
    name: str,
    header: Header,
    blocks: Iterator[Cells],
    columns: Columns,
    options: ReadOptions,
    notes: list[str],
    line: str,
    settled: bool,
) -> Source | None:
    """Read all lines; return None when they show that columns are to be read as something else."""

    def where(number: int, column: str) -> str:
        return f"{line} {number}, column {column!r}"

    first = list(itertools.islice(blocks, 1))
    if not settled and first:
        _guess(first[0], columns, header, options, notes, where)
    builder = TableBuilder(name, columns, options, where, decimal=header.decimal, notes=notes)
    numbers = Numbers(columns, header)
    others = columns.beside
    try:
        for cells in itertools.chain(first, blocks):
            block = numbers.read(cells)
            if not numbers.n_wrong.any():
                builder.add(block, {at: cells.column(at) for at in others}, cells.lines)
        if numbers.n_wrong.any():
            if not _reads_decimal_commas(numbers, header, notes, where):
                numbers.settle(name, where)
            builder.discard()
            return None
        return builder.finish()
    except BaseException:
        builder.discard()
        raise


def _guess(
    cells: Cells, columns: Columns, header: Header, options: ReadOptions, notes: list[str], where: _Where
) -> None:
    """Find the decimal point, the columns of texts, and whether the first one names the samples, by the first block."""
    numbers = Numbers(columns, header)
    numbers.read(cells)
    if _reads_decimal_commas(numbers, header, notes, where):
        numbers = Numbers(columns, header)
        numbers.read(cells)
    columns.text |= set(numbers.texts())
    if (0 in columns.text or 0 in columns.unwanted) and columns.could_name(options):
        first = cells.column(0)
        present = first.drop_null().to_pylist()
        only_text = not any(map(is_number, present))
        columns.may_name = bool(only_text and first.null_count <= 1 and len(first.unique()) == len(first))


def _reads_decimal_commas(numbers: Numbers, header: Header, notes: list[str], where: _Where) -> bool:
    """Have numbers read with decimal commas if that is what they have, and note so; tell whether they are now."""
    example = numbers.decimal_commas(where)
    if example is None:
        return False
    header.decimal = ","
    notes.append(f"numbers are read with decimal commas, such as {example} (decimal says otherwise)")
    return True
