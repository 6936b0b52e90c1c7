"""The contents of the report in the output folder: ``findings.json`` and ``report.npz``, written and read."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixfold._core import __version__
from pixfold.errors import InputError
from pixfold.report.contents import FORMAT, Contents
from pixfold.report.schema import fault_of, schema
from pixfold.util.json_values import plain
from pixfold.util.outputs import RUN, kind_of
from pixfold.util.text import reason_of

FINDINGS, ARRAYS = "findings.json", "report.npz"


def save(contents: Contents, folder: Path, *, tables: list[str], parquet: bool) -> None:
    """Write both files.

    Parameters
    ----------
    contents : Contents
        What to write.
    folder : Path
        It exists.
    tables : list of str
        Names of the tables in the folder, without ending.
    parquet : bool
        Whether they are there as Parquet, too.
    """
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **contents.arrays)
    (folder / ARRAYS).write_bytes(packed.getvalue())
    about = {"tables": tables, "parquet": parquet, "arrays": hashlib.sha256(packed.getvalue()).hexdigest()}
    document = {**contents.document, "files": about}
    text = json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / FINDINGS).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Contents:
    """Read both files.

    Parameters
    ----------
    folder : Path
        The output folder of a run.

    Returns
    -------
    Contents

    Raises
    ------
    InputError
        For a folder that is not of a run, or of a run of a newer version or of one before there was such a file, and
        for a file that is missing, damaged, or of another run.
    """
    if not folder.is_dir():
        raise InputError(f"report: DIR must be the output folder of a run, got {folder}, which is no folder")
    if not (folder / FINDINGS).exists():
        if kind_of(folder) != RUN:
            raise InputError(
                f"report: DIR must be the output folder of a run of pixfold's, got {folder}, which has no {FINDINGS}"
            )
        raise InputError(
            f"report: {folder} must be of a version that writes {FINDINGS}, got a run of an earlier one; repeat the run"
        )
    document = _document(folder / FINDINGS)
    return Contents(document, _arrays(folder / ARRAYS, document["files"]["arrays"]))


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"report: {path} must be a whole JSON file, got a damaged one ({reason_of(error)})") from error
    if isinstance(document, dict) and _is_newer(document):
        raise InputError(
            f"report: {path} must be of pixfold {__version__} or older, got one of {document.get('pixfold')}; "
            "pip install --upgrade pixfold"
        )
    fault = fault_of(document, schema())
    if fault is not None:
        raise InputError(f"report: {path} must be as a run wrote it, got a damaged file: {fault}")
    found: dict[str, Any] = document
    return found


def _is_newer(document: dict[str, Any]) -> bool:
    # A newer version of the same format may say more than this one shows, which is no reason to refuse.
    written = document.get("format")
    return isinstance(written, int) and written > FORMAT


def _arrays(path: Path, digest: str) -> dict[str, NDArray[Any]]:
    try:
        packed = path.read_bytes()
        if hashlib.sha256(packed).hexdigest() != digest:
            raise ValueError(f"its checksum is not the one in {FINDINGS}")
        with np.load(io.BytesIO(packed), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        why = "there is none" if isinstance(error, FileNotFoundError) else reason_of(error)
        raise InputError(f"report: {path} must be the file that belongs to {FINDINGS}, got another ({why})") from error
