"""Named tensors in one file, with a description in JSON in its header: written whole or not at all, never pickled."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixfold.errors import InputError, OutputError
from pixfold.util.files import replacing
from pixfold.util.json_values import parsed
from pixfold.util.optional import require
from pixfold.util.text import reason_in_short

_MOST_OF_HEADER = 100_000_000  # safetensors' own limit


def bytes_of(tensor: Tensor) -> NDArray[np.uint8]:
    """Return the bytes of a tensor, on the CPU."""
    # A copy: of a single value the stride may be 0, which view refuses.
    flat = tensor.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
    return np.asarray(flat.view(torch.uint8).numpy())


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts to a safetensors file, which is on the disk when this returns.

    Raises
    ------
    OutputError
        When the file cannot be written; what was there before stays as it was.
    """
    safetensors = require("safetensors", "train", "saving tensors")
    writer = require("safetensors.torch", "train", "saving tensors")
    own = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        with replacing(path) as temporary:
            writer.save_file(own, str(temporary), metadata=dict(metadata))
            # A rename may reach the disk before the data do: after a power cut the file would be empty.
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise OutputError(f"cannot write {path}: {_reason(error)}") from error


def _check_size(path: Path) -> None:
    """Refuse a header that does not fit the size of its file, before all of that is mapped into memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _MOST_OF_HEADER):
            raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
        header = parsed(file.read(length).decode())
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError(f"tensors of {max(ends, default=0):,} bytes in a file of {size:,}")


def _reason(error: Exception) -> str:
    """What the operating system said, of which safetensors gives the number."""
    code = re.search(r"(?:code: |os error )(\d+)", str(error))
    return os.strerror(int(code[1])) if code else str(error)


def check_regular(path: Path, what: str) -> None:
    """Refuse a link, a folder, a pipe or a device where a file is read that others may have made."""
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: must be {what}, got none ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
        raise InputError(f"{path}: must be {what}, got {kind}")


@contextmanager
def opened_tensors(path: Path, what: str) -> Iterator[Any]:
    """Open a safetensors file, whose tensors are read when they are asked for.

    Parameters
    ----------
    path : Path
        The file; a link is refused.
    what : str
        What it must be, for messages.

    Yields
    ------
    safetensors.safe_open
        Nothing of the size of a tensor has been read.

    Raises
    ------
    InputError
        When it is no whole file of that kind, here or while the block reads from it.
    """
    safetensors = require("safetensors", "train", "reading tensors")
    check_regular(path, what)
    try:
        _check_size(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: must be {what}, got something else ({reason_in_short(error)})") from error
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            yield file
    except (OSError, safetensors.SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: must be {what}, got something else ({reason_in_short(error)})") from error
