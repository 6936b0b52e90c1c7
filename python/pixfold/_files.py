"""Small files written whole or not at all, and read back without pickle."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError, OutputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise."""
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result gets the mode any new file of the user gets.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def save_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to an uncompressed .npz file at exactly `path`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # mypy takes the names for savez's own arguments


def load_arrays(path: str | Path, names: Sequence[str], op: str) -> dict[str, NDArray[Any]]:
    """Read the arrays `names` from an .npz file, refusing pickles and files that are something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{op}: {path} must be an .npz file, got a single array")
            missing = [name for name in names if name not in file.files]
            if missing:
                raise InputError(f"{op}: {path} must hold {', '.join(names)}, got {', '.join(file.files)}")
            return {name: file[name] for name in names}
    except FileNotFoundError as error:
        raise InputError(f"{op}: {path} does not exist") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{op}: {path} is not an .npz file that pixfold wrote ({error})") from error
