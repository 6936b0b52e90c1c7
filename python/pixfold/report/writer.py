"""The output folder: a file in it is whole, or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixfold._core import __version__
from pixfold.errors import OutputError
from pixfold.learn.results import Results
from pixfold.util.files import undisturbed
from pixfold.util.json_values import plain
from pixfold.util.outputs import MARK, check_run_folder

if TYPE_CHECKING:
    import pandas as pd

_FIGURES = "figures"
# Not every job has these: those of an earlier job must not stay beside the files of a new one.
_OPTIONAL_TABLES = ("predictions.csv", "latent.csv", "pairs.csv")
_FILES = tuple(
    ["findings.csv", "history.csv", "metrics.json", "config.json", "report.html", "model.json", "model.safetensors"]
)


def check_writable(out: str | Path) -> Path:
    """Make the output folder and its parents, and check that it can be written to; call it before the work begins.

    Parameters
    ----------
    out : str or Path
        The output folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        When ``out`` or one of its parents is a file; when a file that a run would replace is not of a run; or when the
        folder cannot be made or written to.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output folder {folder}: is a file, a folder is needed")
    with _errors_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    figures = folder / _FIGURES
    if figures.exists() and not figures.is_dir():
        raise OutputError(f"output folder {folder}: {figures} is a file, a folder of that name is needed")
    check_run_folder(folder, [*_FILES, *_OPTIONAL_TABLES, *_figures()])
    return folder


def write_results(
    results: Results, out: str | Path, *, save_model: Callable[[Path], object] | None = None
) -> list[Path]:
    """Write the output folder.

    All files are written to a hidden temporary folder inside ``out`` first, and renamed into place when the last one
    is complete. An exception or Ctrl-C before that removes the temporary folder, and ``out`` stays as it was.

    Parameters
    ----------
    results : Results
        What to write.
    out : str or Path
        The output folder; made when it does not exist. Files in it with the names below are replaced; figures
        and tables of an earlier job that this one does not have are removed; other files are left alone.
    save_model : callable, optional
        Called with a temporary folder; every file that it puts there is moved to ``out``.

    Returns
    -------
    list of Path
        What was written: ``findings.csv``, ``history.csv``, ``metrics.json``, ``config.json``,
        ``predictions.csv`` (where there are predictions), ``pairs.csv`` (where pairs were screened), ``latent.csv``
        (where there is a latent space), the
        model's files, ``figures/*.png`` and ``report.html``.

    Raises
    ------
    OutputError
        When the folder cannot be written to.
    """
    from pixfold.report import figures, html

    folder = check_writable(out)
    with _errors_of(folder), _staging(folder) as staging:
        _write_csv(results.findings, staging / "findings.csv")
        _write_csv(results.history, staging / "history.csv")
        _write_json(results.metrics, staging / "metrics.json")
        _write_json({MARK: __version__, **results.config}, staging / "config.json")
        if results.predictions is not None:
            _write_csv(results.predictions, staging / "predictions.csv")
        if results.pairs is not None:
            _write_csv(results.pairs, staging / "pairs.csv")
        if results.latent is not None:
            _write_csv(results.latent.rename_axis(index="sample"), staging / "latent.csv", index=True)
        if save_model is not None:
            save_model(staging)
        pictures = figures.render(results)
        (staging / _FIGURES).mkdir(exist_ok=True)
        for name, png in pictures.items():
            (staging / _FIGURES / f"{name}.png").write_bytes(png)
        (staging / "report.html").write_text(html.render(results, pictures), encoding="utf-8")
        written = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file()]
        with undisturbed():
            for path in written:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / path, folder / path)
            _remove_stale(folder, set(written))
    return [folder / name for name in written]


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Make a temporary folder inside `folder`, so that renames are atomic, and remove it in the end."""
    staging = Path(tempfile.mkdtemp(prefix=".pixfold-", dir=folder))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that names the output folder."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise OutputError(f"output folder {folder}: cannot be written to: {error.strerror or error}{where}") from error


def _remove_stale(folder: Path, written: set[Path]) -> None:
    for name in (*_figures(), *_OPTIONAL_TABLES):
        if Path(name) not in written:
            (folder / name).unlink(missing_ok=True)


def _figures() -> list[str]:
    from pixfold.report.figures import NAMES

    return [f"{_FIGURES}/{name}.png" for name in NAMES]


def _write_csv(table: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    # No float_format: the shortest digits that give the same number back.
    table.to_csv(path, index=index, lineterminator="\n", encoding="utf-8")


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
