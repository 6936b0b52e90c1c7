r"""Text files as bytes and lines: decompressed, in UTF-8, and with \n alone at the ends of lines."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pixfold.sources.disk.compressed import opened
from pixfold.util.progress import source_task

# Text that is parsed at once. One line may be longer.
BLOCK_BYTES = 4 * 2**20
# No line is: text without an end of line for so long, in most cases after a quote that nothing closes.
LONGEST_LINE = 2**30
# Smaller files are read in a second or two: nobody asks how far that is.
SHOWN_BYTES = 64 * 2**20

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_QUOTE, _NEWLINE = ord('"'), ord("\n")


class UncommonTextError(Exception):
    """A quote where none opens or closes a field, or a control byte: the fast reader cannot tell fields apart."""


@contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Open a text file, compressed or not, in UTF-8 or in UTF-16 with its mark; ends of lines stay as they are."""
    csv.field_size_limit(LONGEST_LINE)
    with open_bytes(path) as (raw, _), io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        yield file


def line_of_other_bytes(path: Path) -> int:
    """Find the first line that is not UTF-8."""
    line, rest = 1, b""
    for chunk in _chunks(path):
        *whole, rest = (rest + chunk).split(b"\n")
        for text in whole:
            try:
                text.decode()
            except UnicodeDecodeError:
                return line
            line += 1
    return line


def whole_lines(path: Path, n_skipped: int) -> Iterator[bytes]:
    """Yield pieces of the text that end where a line ends (not within quotes), after the first lines.

    Raises
    ------
    UncommonTextError
        When a quote is open at the end.
    """
    parts: list[bytes] = []
    size = 0
    quoted = False
    for number, chunk in enumerate(_chunks(path)):
        chunk = chunk if number else chunk.removeprefix(codecs.BOM_UTF8)
        while n_skipped and (end := chunk.find(b"\n")) >= 0:
            chunk, n_skipped = chunk[end + 1 :], n_skipped - 1
        if n_skipped:
            continue
        cut = _last_line_end(chunk, quoted)
        quoted ^= bool(chunk.count(b'"') % 2)
        if cut:
            yield b"".join([*parts, chunk[:cut]])
            parts, size = [], 0
        parts.append(chunk[cut:])
        size += len(chunk) - cut
        if size > LONGEST_LINE:
            raise UncommonTextError
    if quoted:
        raise UncommonTextError
    if rest := b"".join(parts):
        yield rest + b"\n"


def _last_line_end(chunk: bytes, quoted: bool) -> int:
    """Position after the last line end that is not within quotes, or 0."""
    if not quoted and b'"' not in chunk:
        return chunk.rfind(b"\n") + 1
    text = np.frombuffer(chunk, dtype=np.uint8)
    inside = np.bitwise_xor.accumulate(text == _QUOTE) ^ quoted
    ends = np.flatnonzero((text == _NEWLINE) & ~inside)
    return int(ends[-1]) + 1 if len(ends) else 0


def _chunks(path: Path) -> Iterator[bytes]:
    r"""Read a file in chunks whose lines all end in \n."""
    size = path.stat().st_size
    with open_bytes(path) as (file, position), source_task(f"reading {path.name}", size, SHOWN_BYTES) as task:
        held, done = b"", 0
        while chunk := file.read(BLOCK_BYTES):
            task.advance(position() - done)
            done = position()
            chunk, held = held + chunk, b""
            if chunk.endswith(b"\r"):
                chunk, held = chunk[:-1], b"\r"  # the \n may come
            if b"\r" in chunk:
                chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            yield chunk
        if held:
            yield b"\n"


@contextmanager
def open_bytes(path: Path) -> Iterator[tuple[Any, Callable[[], int]]]:
    """Open a file for reading its text in UTF-8; beside it, a function that says how far in the file it is."""
    with opened(path) as (file, _):
        is_utf_16 = file.read(2) in _UTF_16
    with ExitStack() as stack:
        file, position = stack.enter_context(opened(path))
        if is_utf_16:
            file = stack.enter_context(io.BufferedReader(_FromUtf16(file), BLOCK_BYTES))
        yield file, position


class _FromUtf16(io.RawIOBase):
    """The bytes in UTF-8 of a text in UTF-16."""

    def __init__(self, file: Any) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-16", newline="")
        self._rest = b""

    def readable(self) -> bool:
        """Tell that this is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as much as there is, up to the size of a buffer."""
        if not self._rest:
            self._rest = self._text.read(max(1, len(buffer) // 4)).encode()
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
