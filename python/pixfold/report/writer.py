"""The output folder: a file in it is whole, or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pixfold._core import __version__
from pixfold.errors import InputError, OutputError
from pixfold.learn.results import Results
from pixfold.report.contents import Contents
from pixfold.report.stored import ARRAYS, FINDINGS, load, save
from pixfold.report.table_files import has_parquet, write_table
from pixfold.util.files import undisturbed
from pixfold.util.json_values import plain
from pixfold.util.outputs import MARK, check_run_folder
from pixfold.util.text import reason_of

_FIGURES = "figures"
_KINDS = ("svg", "png")
# Not every job has these, nor every installation Parquet: those of an earlier job must not stay beside a new one's.
_TABLES = ("findings", "history", "predictions", "pairs", "latent", "groups", "clusters")
_OPTIONAL = (*(f"{name}.csv" for name in _TABLES[2:]), *(f"{name}.parquet" for name in _TABLES))
_FILES = (
    *("findings.csv", "history.csv", "metrics.json", "config.json", "report.html", FINDINGS, ARRAYS),
    *("model.json", "model.safetensors"),
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
    check_run_folder(folder, [*_FILES, *_OPTIONAL, *_figures()])
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
        What was written: ``findings.csv``, ``history.csv``, ``predictions.csv`` (where there are predictions),
        ``pairs.csv`` (where pairs were screened), ``groups.csv`` (where groups of features were ablated),
        ``latent.csv`` (where there is a latent space), ``clusters.csv`` (where clusters were asked for), each also as
        ``.parquet`` where pyarrow is installed; ``findings.json``, ``report.npz``, ``metrics.json``, ``config.json``,
        the model's files, ``figures/*.svg``, ``figures/*.png`` and ``report.html``.

    Raises
    ------
    OutputError
        When the folder cannot be written to.
    """
    folder = check_writable(out)
    with _errors_of(folder), _staging(folder) as staging:
        tables = {"findings": results.findings, "history": results.history}
        if results.predictions is not None:
            tables["predictions"] = results.predictions
        if results.pairs is not None:
            tables["pairs"] = results.pairs
        if results.groups is not None:
            tables["groups"] = results.groups
        for name, of_samples in (("latent", results.latent), ("clusters", results.clusters)):
            if of_samples is not None:
                tables[name] = of_samples.rename_axis(index="sample").reset_index()
        for name, table in tables.items():
            write_table(table, staging, name)
        save(Contents.of(results), staging, tables=list(tables), parquet=has_parquet())
        _write_json(results.metrics, staging / "metrics.json")
        _write_json({MARK: __version__, **results.config}, staging / "config.json")
        if save_model is not None:
            save_model(staging)
        _draw(load(staging), staging)
        written = _move(staging, folder, (*_figures(), *_OPTIONAL))
    return [folder / name for name in written]


def write_report(folder: str | Path) -> list[Path]:
    """Make the report and the figures again from what a run left in its output folder.

    The page is the same, byte by byte, as long as pixfold and Matplotlib are.

    Parameters
    ----------
    folder : str or Path
        The output folder of a run.

    Returns
    -------
    list of Path
        What was written: ``figures/*.svg``, ``figures/*.png`` and ``report.html``.

    Raises
    ------
    InputError
        When the folder is not of a run, or of one that a newer version made, or a file that is needed is damaged.
    OutputError
        When the folder cannot be written to.
    """
    there = Path(folder)
    contents = load(there)
    check_writable(there)
    with _errors_of(there), _staging(there) as staging:
        try:
            _draw(contents, staging)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"report: {there / FINDINGS} must be as a run wrote it, got a damaged file ({reason_of(error)})"
            ) from error
        written = _move(staging, there, _figures())
    return [there / name for name in written]


def _draw(contents: Contents, staging: Path) -> None:
    """Write figures and page: of what was stored alone, so that they can be made again."""
    from pixfold.report import figures, html

    pictures = figures.render(contents)
    (staging / _FIGURES).mkdir(exist_ok=True)
    for name, files in pictures.items():
        for kind, content in files.items():
            (staging / _FIGURES / f"{name}.{kind}").write_bytes(content)
    page = html.render(contents, {name: files["svg"] for name, files in pictures.items()})
    (staging / "report.html").write_text(page, encoding="utf-8", newline="\n")


def _move(staging: Path, folder: Path, stale: Iterable[str]) -> list[Path]:
    """Rename all files into place, and remove those of the names in `stale` that were not written."""
    written = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file()]
    with undisturbed():
        for path in written:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / path, folder / path)
        for name in stale:
            if Path(name) not in written:
                (folder / name).unlink(missing_ok=True)
    return written


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


def _figures() -> list[str]:
    from pixfold.report.figures import NAMES

    return [f"{_FIGURES}/{name}.{kind}" for name in NAMES for kind in _KINDS]


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
