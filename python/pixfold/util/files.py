"""Files and folders written whole or not at all; small ones read back without pickle."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
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
    before = signal.getsignal(signal.SIGINT)
    # Python may set handlers in the main thread alone, and cannot put one back that was not set from Python.
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
