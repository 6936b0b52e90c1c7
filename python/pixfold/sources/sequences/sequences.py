"""DNA, RNA and protein sequences, one-hot in channels: FASTA and FASTQ files, and columns of tables."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError
from pixfold.sources.base import AnyRows, Source, normalize_rows
from pixfold.sources.disk import limits
from pixfold.sources.disk.compressed import opened, without_compression
from pixfold.sources.disk.scratch import ScratchArray
from pixfold.sources.labels import check_column, check_columns, columns_of
from pixfold.sources.options import ReadOptions
from pixfold.sources.sequences.alphabets import ALPHABETS, DNA, PROTEIN, Alphabet, detected
from pixfold.sources.tables.header import BLANKS, Header
from pixfold.util.optional import require
from pixfold.util.text import counted

# Letters are kept as they are, one byte each: in memory up to limits.held() of them, else in a temporary file.

_DESCRIPTION = "description"
_FIELD = re.compile(r"\[([\w.-]+)=([^\]]*)\]|([\w.-]+)=(\"[^\"]*\"|[^\s;|]+)")
_PROTEIN_SUFFIXES, _DNA_SUFFIXES = (".faa",), (".fna", ".fastq", ".fq")


class Record(NamedTuple):
    """One sequence as it came; a name of None is counted, a label of None is missing.

    ``beside`` are groups and covariates by their columns.
    """

    name: str | None
    letters: str
    label: Any = None
    beside: Mapping[str, Any] = {}


class SequenceSource(Source):
    """Sequences as a matrix: one feature for each position and letter, channel by channel.

    Feature ``"12:G"`` is 1 where position 12 (counted from 1) is a G. Letters that stand for several are each of them
    to equal parts, or nothing; so are positions after the end of a shorter sequence, and gaps. RNA's U is T, small
    letters are large ones.

    Parameters
    ----------
    records : iterable of Record
        Gone through once.
    name : str
        How messages call it.
    options : ReadOptions
        Its ``alphabet``, ``ambiguous``, ``length`` and ``y``.
    alphabet : Alphabet, optional
        Where the options name none; by default the letters tell.

    Attributes
    ----------
    channel_sizes : list of int
        The length of the sequences, for each letter.

    Raises
    ------
    InputError
        For a record without letters, or with one that is not of the alphabet: which, and where.
    """

    kind = "sequences"

    def __init__(
        self, records: Iterable[Record], name: str, options: ReadOptions, alphabet: Alphabet | None = None
    ) -> None:
        letters, lengths = _Letters(), list[int]()
        samples, labels, messages = list[str](), [], list[str]()
        beside: dict[str, list[Any]] = {column: [] for column in options.columns}
        for number, record in enumerate(records):
            called = f"sample_{number}" if record.name is None else record.name
            text = "".join(record.letters.split()).upper().encode("ascii", "replace")
            if not text:
                raise InputError(f"{name}: record {number + 1} ({called!r}) has no sequence")
            letters.append(text)
            lengths.append(len(text))
            samples.append(called)
            labels.append(record.label)
            for column, values in beside.items():
                values.append(record.beside.get(column))
        if not lengths:
            raise InputError(f"{name}: sequences must be at least one, got none")
        self._letters = letters.done()
        if isinstance(self._letters, ScratchArray):
            weakref.finalize(self, self._letters.close)
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        chosen = ALPHABETS[options.alphabet] if options.alphabet is not None else alphabet
        if chosen is None:
            chosen = detected(letters.counts)
            messages.append(f"{name}: the sequences are read as {chosen.name} (alphabet says otherwise)")
        self._check_letters(name, samples, chosen, letters.counts)
        longest = max(lengths)
        self._length = longest if options.length is None else options.length
        messages += self._length_messages(name, np.array(lengths))
        self._table = chosen.table(letters.counts, options.ambiguous)
        given = options.y if options.y is not None else labels if options.label is not None else None
        super().__init__(
            name,
            (len(samples), len(chosen.channels) * self._length),
            self._table.dtype,
            feature_names=[f"{place}:{letter}" for letter in chosen.channels for place in range(1, self._length + 1)],
            sample_names=samples,
            labels=None if given is None else np.array(given, dtype=object),
            **columns_of(options, lambda column: _objects(beside[column])),
            messages=messages,
        )
        self.channel_sizes = [self._length] * len(chosen.channels)

    def read(self, rows: AnyRows) -> Any:
        """Read some samples; see :meth:`pixfold.sources.base.Source.read`."""
        wanted = normalize_rows(rows, self.n_samples, self.name)
        if isinstance(wanted, slice):
            wanted = np.arange(wanted.start, wanted.stop)
        starts, lengths = self._starts[wanted], np.diff(self._starts)[wanted]
        codes = np.zeros((len(wanted), self._length), dtype=np.uint8)
        for row, (start, length) in enumerate(zip(starts, np.minimum(lengths, self._length), strict=True)):
            codes[row, :length] = self._letters[int(start) : int(start + length)]
        block = np.empty((len(wanted), len(self._table), self._length), dtype=self.dtype)
        for channel, values in enumerate(self._table):
            np.take(values, codes, out=block[:, channel])
        return block.reshape(len(wanted), self.n_features)

    def __getstate__(self) -> dict[str, Any]:
        """Take the letters along: a temporary file belongs to its process."""
        return {**self.__dict__, "_letters": self._letters[0 : int(self._starts[-1])]}

    def _check_letters(self, name: str, samples: list[str], alphabet: Alphabet, counts: NDArray[np.int64]) -> None:
        known = alphabet.known()
        if not counts[~known].any():
            return
        for number, (start, stop) in enumerate(zip(self._starts[:-1], self._starts[1:], strict=True)):
            letters = self._letters[int(start) : int(stop)]
            bad = np.flatnonzero(~known[letters])
            if bad.size:
                raise InputError(
                    f"{name}: record {number + 1} ({samples[number]!r}), position {bad[0] + 1} must be a letter of "
                    f"{alphabet.name} ({''.join(sorted(alphabet.parts))}) or a gap, got {chr(letters[bad[0]])!r}"
                )

    def _length_messages(self, name: str, lengths: NDArray[np.int64]) -> list[str]:
        messages = []
        cut = int(np.count_nonzero(lengths > self._length))
        short = int(np.count_nonzero(lengths < self._length))
        if cut:
            messages.append(f"{name}: {counted(cut, 'sequence')} cut to the first {self._length:,} letters")
        if short:
            shorter = counted(short, "sequence")
            messages.append(f"{name}: {shorter} shorter than {self._length:,} letters, padded with zeros")
        return messages


def _objects(values: list[Any]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


class _Letters:
    """Letters one after the other, counted, in memory or in a temporary file."""

    def __init__(self) -> None:
        self.counts = np.zeros(256, dtype=np.int64)
        self._waiting = bytearray()
        self._file: ScratchArray | None = None
        self._written = 0

    def append(self, text: bytes) -> None:
        self._waiting += text
        if len(self._waiting) >= limits.held():
            self._write()

    def done(self) -> Any:
        """Give what is read by slices: an array, or a file."""
        if self._file is None:
            letters = np.frombuffer(bytes(self._waiting), dtype=np.uint8)
            self.counts += np.bincount(letters, minlength=256)
            return letters
        self._write()
        return self._file

    def _write(self) -> None:
        if self._file is None:
            self._file = ScratchArray(2**62, np.uint8)
        letters = np.frombuffer(bytes(self._waiting), dtype=np.uint8)
        self.counts += np.bincount(letters, minlength=256)
        self._file[self._written : self._written + letters.size] = letters
        self._written += letters.size
        self._waiting.clear()


def open_sequences(path: Path, options: ReadOptions) -> Source:
    """Open a FASTA or FASTQ file: one sample per record, named by the first word of its header.

    Parameters
    ----------
    path : Path
        Compressed or not.
    options : ReadOptions
        See :class:`SequenceSource`. Its ``label`` is a field of the headers, ``>id label=x`` or ``[label=x]``, or
        "description", all that follows the first word; so are ``groups`` and ``covariates``.

    Raises
    ------
    InputError
        When the file is damaged or cut off, a record is not whole, or no header has the label.
    MissingDependencyError
        When dnaio is not installed.
    """
    name = without_compression(path)
    alphabet = PROTEIN if name.endswith(_PROTEIN_SUFFIXES) else DNA if name.endswith(_DNA_SUFFIXES) else None
    fields: set[str] = set()
    source = SequenceSource(_records(path, options, fields), str(path), options, alphabet)
    check_columns(str(path), options, sorted(fields))
    return source


def open_frame(frame: Any, options: ReadOptions, name: str = "DataFrame") -> Source:
    """Make a source of a column of sequences of a pandas DataFrame; its index names the samples."""
    columns = [str(column) for column in frame.columns]
    if options.sequence is not None:
        check_column(name, options.sequence, columns)
    check_columns(name, options, columns)
    letters = frame.iloc[:, columns.index(str(options.sequence))]
    texts = ["" if missing else str(text) for text, missing in zip(letters, letters.isna(), strict=True)]
    labels = [None] * len(frame) if options.label is None else list(frame.iloc[:, columns.index(options.label)])
    samples = map(str, frame.index)
    beside = [
        dict(zip(options.columns, row, strict=True))
        for row in zip(*(frame.iloc[:, columns.index(column)] for column in options.columns), strict=True)
    ] or [{}] * len(frame)
    records = (Record(*record) for record in zip(samples, texts, labels, beside, strict=True))
    return SequenceSource(records, name, options)


def open_table(path: Path, options: ReadOptions) -> Source:
    """Make a source of a column of sequences of a table; a column named id, name or sample names the samples."""
    pandas = require("pandas", "io", "reading tables of sequences")
    lower = path.name.lower()
    try:
        if lower.endswith(".parquet"):
            frame = pandas.read_parquet(path)
        elif lower.endswith((".feather", ".arrow")):
            frame = pandas.read_feather(path)
        else:
            # NA is a sequence, of N and A; of a label it says that there is none, and so beside it.
            named = (*(() if options.label is None else (options.label,)), *options.columns)
            header = Header(path)
            frame = pandas.read_csv(
                path,
                sep=r"\s+" if header.delimiter == BLANKS else header.delimiter,
                skiprows=header.n_comments,
                dtype=str,
                encoding="utf-8-sig",
                keep_default_na=False,
                na_values={column: ["", "NA", "NaN", "nan", "null", "None"] for column in named},
            )
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot read the table: {' '.join(str(error).split())}") from error
    used = (options.sequence, options.label, *options.columns)
    naming = next((c for c in frame.columns if str(c).lower() in _NAMES and str(c) not in used), None)
    return open_frame(frame if naming is None else frame.set_index(naming), options, str(path))


_NAMES = ("id", "iid", "name", "sample", "unnamed: 0", "")


@contextmanager
def _readable(path: Path) -> Iterator[Any]:
    """Yield what dnaio reads: the path, of whatever compression but ZIP, else the file in the archive."""
    if path.suffix.lower() != ".zip":
        yield str(path)
        return
    with opened(path) as (file, _):
        yield file


def _records(path: Path, options: ReadOptions, fields: set[str]) -> Iterator[Record]:
    """Yield the records of a file; what a decompressor raises differs with what is installed."""
    dnaio = require("dnaio", "io", "reading FASTA and FASTQ files")
    try:
        with _readable(path) as file, dnaio.open(file, open_threads=0) as reader:
            for record in reader:
                name, _, description = record.name.partition(" ")
                if options.label is None and not options.columns:
                    yield Record(name, record.sequence)
                    continue
                found = {a or c: b if a else d.strip('"') for a, b, c, d in _FIELD.findall(description)}
                found.setdefault(_DESCRIPTION, description.strip())
                fields.update(found)
                label = None if options.label is None else found.get(options.label) or None
                beside = {column: found.get(column) or None for column in options.columns}
                yield Record(name, record.sequence, label, beside)
    except InputError:
        raise
    except dnaio.FileFormatError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    except Exception as error:
        raise InputError(f"{path}: the file is damaged or cut off ({error})") from error
