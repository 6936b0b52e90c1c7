"""Files and folders written whole or not at all; small ones read back without pickle."""

from __future__ import annotations

import math
import os
import shutil
import signal
import stat
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pixfold.errors import InputError, OutputError
from pixfold.util.text import listed

# Times as large as the archive that an array in it may be.
_MOST_COMPRESSED = 1100


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


@contextmanager
def staged(*targets: Path) -> Iterator[list[Path]]:
    """Yield a temporary path for each target; rename all of them when the block ends well, else leave nothing.

    Parameters
    ----------
    *targets : Path
        Files or folders beside each other. Those that are there already stay as they are until the renames.

    Yields
    ------
    list of Path
        In a hidden folder beside the targets, which is gone at the end.

    Raises
    ------
    OutputError
        When the operating system refuses to write: a full disk, a folder that is not there or not writeable.
    """
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{targets[0].name}.", dir=targets[0].parent))
    except OSError as error:
        raise OutputError(f"cannot write {targets[0]}: {error.strerror or error}") from error
    try:
        made = [staging / target.name for target in targets]
        yield made
        with undisturbed():
            for number, (path, target) in enumerate(zip(made, targets, strict=True)):
                if target.is_dir():
                    os.replace(target, staging / f"before-{number}")
                os.replace(path, target)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {targets[0]}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C for the milliseconds of the renames, so that old and new files are not mixed."""
    with _interrupts_go_to(signal.SIG_IGN):
        yield


@contextmanager
def interrupted_after() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, for writers whose threads would go on writing."""
    came: list[int] = []
    with _interrupts_go_to(lambda number, frame: came.append(number)):
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def _interrupts_go_to(handler: Any) -> Iterator[None]:
    # Python may set handlers in the main thread alone, and cannot put one back that was not set from Python. SIGTERM is
    # an interruption where somebody has made it one.
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        before = {number: own for number, own in before.items() if callable(own) or number == signal.SIGINT}
    before = {number: own for number, own in before.items() if own is not None}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)


def save_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to an uncompressed .npz file at exactly `path`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # mypy takes the names for savez's own arguments


def load_arrays(path: str | Path, names: Sequence[str], op: str) -> dict[str, NDArray[Any]]:
    """Read the arrays `names` from an .npz file, refusing pickles and files that are something else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe is to wait for its other end
            raise ValueError("a folder, device or pipe")
        with open(path, "rb") as file:
            arrays = arrays_in(file)
        missing = [name for name in names if name not in arrays]
        if missing:
            raise InputError(f"{op}: {path} must hold {', '.join(names)}, got {listed(list(arrays))}")
        return {name: arrays[name] for name in names}
    except FileNotFoundError as error:
        raise InputError(f"{op}: {path} does not exist") from error
    except (ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{op}: {path} is not an .npz file that pixfold wrote ({error})") from error


def arrays_in(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz file that others may have made.

    Raises
    ------
    ValueError
        When it is something else, holds objects (which would be unpickled), or says of an array that it is larger than
        it is.
    """
    most = _MOST_COMPRESSED * file.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(file) as archive:
            return {info.filename.removesuffix(".npy"): _array(archive, info, most) for info in archive.infolist()}
    except (
        EOFError,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> NDArray[Any]:
    """Read an array whose header says the size that it has: a false one would have memory reserved for it."""
    with file.open(member) as opened:
        version = np.lib.format.read_magic(opened)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename} is of version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(opened)
        n_bytes = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or n_bytes > most:
            raise ValueError(f"{member.filename} has a header of {dtype} of shape {shape}")
        # One byte more than there should be shows those that are too many.
        content = opened.read(n_bytes + 1)
    if len(content) != n_bytes:
        raise ValueError(f"{member.filename} has {len(content):,} bytes, its header says {n_bytes:,}")
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C").copy()
