"""The progress of a pack that is under way: its input, its options, and the shards that are done."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pixfold.sources.base import Source
from pixfold.store.chunking import Chunking
from pixfold.util.files import replacing

# Names of files that a store has only while it grows begin with this.
TEMPORARY = "part."
NAME = f"{TEMPORARY}progress.json"
# What may stand beside a file and belong to it.
_BESIDE = (".bim", ".fam", ".pvar", ".pvar.zst", ".psam", ".sample")
# A pack that another version began is not resumed.
_VERSION = 1


@dataclass
class State:
    """How far a pack is.

    Attributes
    ----------
    of : str or None
        What is packed, see :func:`fingerprint`; None where it cannot be told apart from something else.
    chunking : Chunking
        How it is stored.
    done : int
        Shards that are whole.
    share : float
        Their part of the work.
    files : dict of str to int
        Files that are whole, with their sizes.
    """

    of: str | None
    chunking: Chunking
    done: int = 0
    share: float = 0.0
    files: dict[str, int] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        with replacing(folder / NAME) as temporary:
            temporary.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> State | None:
        """Read the file; None where it is not there or files that it names are not whole."""
        try:
            said: dict[str, Any] = json.loads((folder / NAME).read_text())
            # JSON has no tuples.
            parts: Any = {
                key: tuple(part) if isinstance(part, list) else part for key, part in said["chunking"].items()
            }
            state = cls(**{**said, "chunking": Chunking(**parts)})
            whole = all((folder / file).stat().st_size == size for file, size in state.files.items())
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return state if whole else None


def fingerprint(data: Any, source: Source, options: Mapping[str, Any], memory: int) -> str | None:
    """Describe a pack, to tell it from others: the files of its input, their sizes and times of change, its options.

    None for data in memory, which may be anything the next time.
    """
    paths = data if isinstance(data, list | tuple) else [data]
    if not all(isinstance(path, str | os.PathLike) for path in paths):
        return None
    files = [_stamp(file) for path in paths for file in _files(Path(path))]
    said = {name: _said(value) for name, value in sorted(options.items()) if value is not None}
    what = (_VERSION, files, source.n_samples, source.n_features, str(source.dtype), said, memory)
    return json.dumps(what)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path, *(beside for suffix in _BESIDE if (beside := path.with_suffix(suffix)).is_file())]


def _stamp(file: Path) -> tuple[str, int, int]:
    found = file.stat()
    return str(file.resolve()), found.st_size, found.st_mtime_ns


def _said(value: Any) -> str:
    """An option as text: of a path also the time of change, of an array a checksum of its values."""
    if isinstance(value, str | os.PathLike) and Path(value).is_file():
        return repr(_stamp(Path(value)))
    if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        array = np.asarray(value)
        return f"{array.dtype} {array.shape} {zlib.crc32(repr(array.tolist()).encode())}"
    return repr(value)
