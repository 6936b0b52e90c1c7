"""The course of every training, written as it goes: a table of CSV, or events for TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixfold.errors import MissingDependencyError, OutputError
from pixfold.util.outputs import check_table, path_of

_BEGINNING = "run,epoch,"


class EpochLog:
    """Writes a row per epoch: of every run to the same table, or to a folder of its own for TensorBoard.

    Parameters
    ----------
    path : path
        A name that ends in ``.csv`` is a table with a column for the run, the epoch and each value; any other is a
        folder of events, in which each run is a folder ``run-1``, ``run-2``, ...
    resume : bool
        Whether to go on in a table that is there. Without it a new one begins.

    Raises
    ------
    MissingDependencyError
        When TensorBoard is not installed.
    OutputError
        When the table cannot be written.

    Notes
    -----
    An epoch that is done again after an interruption is not written twice to a table; TensorBoard shows the later one.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = path_of("log", "path", path)
        self._is_table = self.path.suffix.lower() == ".csv"
        self._writers: dict[int, Any] = {}
        self._columns: list[str] = []
        self._seen: set[tuple[str, str]] = set()
        if not self._is_table:
            self._writer_class = _summary_writer()
        elif self.path.exists():
            check_table(self.path, _BEGINNING, force=True)
            if resume:
                self._read()
            else:
                self._guarded(self.path.unlink)

    def add(self, run: int, row: Mapping[str, float]) -> None:
        """Write what an epoch gave; ``row["epoch"]`` is its number."""
        if not self._is_table:
            self._guarded(lambda: self._add_events(run, row))
        elif (str(run), str(row["epoch"])) not in self._seen:
            self._seen.add((str(run), str(row["epoch"])))
            self._guarded(lambda: self._add_line({"run": run, **row}))

    def close(self) -> None:
        """End the files of TensorBoard."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _add_line(self, row: dict[str, float]) -> None:
        new = not self._columns
        if new:
            self._columns = list(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            lines = csv.DictWriter(file, self._columns, extrasaction="ignore", lineterminator="\n")
            if new:
                lines.writeheader()
            lines.writerow(row)

    def _add_events(self, run: int, row: Mapping[str, float]) -> None:
        epoch = int(row["epoch"])
        if run not in self._writers:
            self._writers[run] = self._writer_class(str(self.path / f"run-{run}"), purge_step=epoch)
        for name, value in row.items():
            if name not in ("run", "epoch") and value is not None:
                self._writers[run].add_scalar(name, value, epoch)
        self._writers[run].flush()

    def _read(self) -> None:
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                text = file.read()
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot write {self.path}: it cannot be read ({error})") from error
        # A process that was killed may have left half a line.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._guarded(lambda: self.path.write_text(whole, encoding="utf-8", newline=""))
        rows = csv.reader(whole.splitlines())
        self._columns = next(rows, [])
        self._seen = {(row[0], row[1]) for row in rows if len(row) > 1}

    def _guarded(self, write: Any) -> None:
        try:
            write()
        except OSError as error:
            raise OutputError(f"cannot write the log {self.path}: {error.strerror or error}") from error


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            'a log for TensorBoard needs tensorboard, which is not installed: pip install "pixfold[tensorboard]"'
        ) from error
    return SummaryWriter
