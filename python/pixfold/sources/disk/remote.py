"""Data on other machines: Zarr stores are read where they are, files are downloaded first; through fsspec."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pixfold.errors import InputError, MissingDependencyError, OutputError, PixfoldError
from pixfold.sources.disk.scratch import folder as scratch_folder
from pixfold.sources.disk.zarr_files import ROOTS, Address
from pixfold.util.optional import require
from pixfold.util.progress import source_task
from pixfold.util.text import reason_of

# One / is left of two where an address went through a path.
_ADDRESS = re.compile(r"(https?|ftp|s3|gs|gcs|az|abfss?|hdfs|memory):/+", re.IGNORECASE)

# Files that stand beside one of such an ending: what takes the place of the ending, those that are there. Of .mtx files
# they are whole names.
_BESIDE = {
    ".bed": (".bim", ".fam"),
    ".pgen": (".pvar", ".pvar.zst", ".psam"),
    ".bgen": (".sample",),
}
_BESIDE_MTX = tuple(
    f"{name}.tsv{compressed}" for name in ("barcodes", "features", "genes") for compressed in ("", ".gz")
)
_MTX = ("matrix.mtx", "matrix.mtx.gz")
_NOT_FOUND = 404  # of HTTP
# Downloads that are larger show their progress.
_SHOWN_BYTES = 100_000_000


def is_address(text: str) -> bool:
    """Tell whether a text is an address of something on another machine, not a path."""
    return _ADDRESS.match(text) is not None


def here(data: Any) -> Any:
    """Make an address something that can be opened; give back everything else as it is.

    Parameters
    ----------
    data : object
        A text or path that is an address (``https://...``, ``s3://...``), or anything else.

    Returns
    -------
    Address, Path or object
        A Zarr store at its address; the path of what was downloaded, which is deleted when the process ends; or `data`.

    Raises
    ------
    InputError
        When there is nothing at the address, it cannot be read, or is neither a file, a 10x folder nor a Zarr store
        whose files can be listed.
    MissingDependencyError
        When fsspec, or its package for this kind of address, is not installed.
    OutputError
        When there is no room for the download.
    """
    if not isinstance(data, str | os.PathLike):
        return data
    text = os.fspath(data)
    if not isinstance(text, str) or not is_address(text) or os.path.exists(text):
        return data
    url = _ADDRESS.sub(lambda found: f"{found[1]}://", text, count=1)
    with _explained(url):
        files, root = _filesystem(url)
        if any(files.exists(f"{root.rstrip('/')}/{name}") for name in ROOTS):
            return _store(url, files, root)
        return _downloaded(url, files, root)


def _filesystem(url: str) -> tuple[Any, str]:
    fsspec = require("fsspec", "remote", "reading data at addresses")
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        if url.startswith("http"):
            require("aiohttp", "remote", "reading data at addresses")
        raise MissingDependencyError(f"{url}: {error}") from error
    except ValueError as error:
        raise InputError(f"{url}: must be an address that fsspec reads, got another ({error})") from error
    return files, str(root)


def _store(url: str, files: Any, root: str) -> Address:
    """List the files of a Zarr store: a chunk that is not there would read as zeros."""
    found = files.find(root, detail=True)
    start = root.rstrip("/") + "/"
    sizes = {name.removeprefix(start): int(about["size"] or 0) for name, about in found.items()}
    if not any(name in sizes for name in ROOTS):
        raise InputError(f"{url}: the server must list the files of a Zarr store, got no list; download the store")
    return Address(url, sizes)


def _downloaded(url: str, files: Any, root: str) -> Path:
    """Download a file with those beside it, or a 10x folder."""
    name = PurePosixPath(urlsplit(root).path).name  # without what a query adds
    if not name:
        raise InputError(f"{url}: the address must end in the name of a file or folder, got none")
    # A web server's folders look like files.
    if "." not in name or not files.isfile(root):
        in_folder = [f"{root.rstrip('/')}/{known}" for known in _MTX]
        matrix = next((file for file in in_folder if files.exists(file)), None)
        if matrix is not None:
            root, name = matrix, PurePosixPath(matrix).name
        elif files.info(root)["type"] != "file":  # says what is wrong where there is none
            raise InputError(f"{url}: the address must be a file, a 10x folder or a Zarr store, got another folder")
    names = {root: name}
    stem, ending = name.removesuffix(".gz").rpartition(".")[::2]
    place = root[: len(root) - len(root.rpartition("/")[2])]
    if f".{ending}" == ".mtx":
        beside = [name.removesuffix(".gz").removesuffix("matrix.mtx") + known for known in _BESIDE_MTX]
    else:
        beside = [stem + known for known in _BESIDE.get(f".{ending}", ())]
    names |= {place + known: known for known in beside if files.exists(place + known)}
    return _fetched(url, files, names)


def _fetched(url: str, files: Any, names: dict[str, str]) -> Path:
    """Download files into a folder of their own; give the path of the first."""
    sizes = {remote: files.size(remote) or 0 for remote in names}
    total = sum(sizes.values())
    within = scratch_folder()
    if total > (free := shutil.disk_usage(within).free):
        raise OutputError(
            f"{url}: cannot download {total:,} bytes to {within}: {free:,} are free; set TMPDIR to a folder with room"
        )
    folder = Path(tempfile.mkdtemp(prefix="pixfold-", dir=within))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with source_task(f"downloading {url}", total, _SHOWN_BYTES) as task:
        for remote, name in names.items():
            files.get_file(remote, str(folder / name))
            found = (folder / name).stat().st_size
            if sizes[remote] and found != sizes[remote]:
                raise InputError(f"{url}: {name} must be of {sizes[remote]:,} bytes, got {found:,}: try again")
            task.advance(sizes[remote])
    return folder / next(iter(names.values()))


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except (PixfoldError, MemoryError):
        raise
    except FileNotFoundError as error:
        # A server that does not answer is no file either, for fsspec.
        cause = error.__cause__
        if cause is None or getattr(cause, "status", None) == _NOT_FOUND:
            raise InputError(f"{url}: no such file") from error
        raise InputError(f"{url}: cannot read the address ({reason_of(cause)})") from error
    except Exception as error:  # clients of HTTP and of clouds raise whatever their libraries do
        raise InputError(f"{url}: cannot read the address ({reason_of(error)})") from error
