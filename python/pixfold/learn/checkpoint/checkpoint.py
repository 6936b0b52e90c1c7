"""Checkpoint: the folder that holds the state of a job, and which job it is of."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pixfold.errors import InputError, OutputError
from pixfold.learn.checkpoint.identity import Identity
from pixfold.learn.tensor_files import bytes_of, check_regular, opened_tensors, save_tensors
from pixfold.util.files import replacing
from pixfold.util.json_values import parsed, written
from pixfold.util.outputs import locked, path_of
from pixfold.util.text import reason_in_short

_JOB, _LOCK = "job.json", ".lock"
# What `replacing` leaves behind when the process is killed has another dot in front.
_OWN = re.compile(r"\.?(job\.json|run-\d+(-epoch|-network)?\.safetensors|runs\.safetensors)(\..*)?|\.lock")
NOTHING = "nothing yet"
_A_STATE = "a whole state that pixfold wrote (remove the folder to begin anew)"
# Seconds below which writing a state costs nothing, and how many times as long as it the work before it must take.
_CHEAP, _SHARE = 0.1, 9.0
_MOST_BYTES = 64 << 20  # of job.json


class JobFinished(Exception):  # noqa: N818 (nothing failed)
    """The job that is to go on has ended, and its results are there."""


@dataclass(frozen=True)
class State:
    """Tensors by name, and plain values: what JSON can hold, NaN included."""

    tensors: dict[str, Tensor]
    values: Any


class Checkpoint:
    """The folder in which a job keeps its state: after each epoch and each run, each file whole or not at all.

    Where writing takes more than 0.1 s, epochs and runs are passed over so that it takes a tenth of the time at most;
    what is lost then is done again.

    Parameters
    ----------
    folder : path
        Made when it does not exist. It must hold nothing else.
    resume : bool
        Whether to go on with the job that is kept there. Without it that job is replaced when there is something new
        to keep.
    finished : mapping, optional
        :meth:`Identity.values` of the job whose results are there already. With `resume`, and where no job was
        interrupted, only that job may begin, and :meth:`begin` says that there is nothing left to do.

    Raises
    ------
    InputError
        When the folder is a file, or holds something else.
    """

    def __init__(self, folder: str | Path, *, resume: bool = True, finished: Mapping[str, Any] | None = None) -> None:
        self._finished = finished
        self.folder = path_of("checkpoint", "folder", folder)
        self._resume, self._goes_on, self._begun = resume, False, False
        self._identity: Identity | None = None
        self.costs: dict[str, tuple[float, float]] = {}  # of each state: seconds that writing took, when it ended
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"checkpoint: folder must be a folder, got the file {self.folder}")
        if self.folder.is_dir():
            foreign = [path.name for path in self.folder.iterdir() if not _OWN.fullmatch(path.name)]
            if foreign:
                raise InputError(f"checkpoint: {self.folder} must hold nothing but a job's state, got {foreign[0]!r}")

    @property
    def holds_a_job(self) -> bool:
        """Whether an interrupted job is kept."""
        return (self.folder / _JOB).exists()

    @property
    def resumes(self) -> bool:
        """Whether a job that is kept here is to go on."""
        return self._resume and self.holds_a_job

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out while the block runs.

        Raises
        ------
        OutputError
            When another process uses the folder, or it cannot be made.
        """
        new = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from error
        try:
            with locked(self.folder, self.folder / _LOCK):
                yield
        finally:
            if new or not self.holds_a_job:
                self._remove_empty()

    def begin(self, identity: Identity) -> int:
        """Say which job this is; give the seed to use: that of the job that goes on, or its own.

        Raises
        ------
        InputError
            When the folder keeps another job: the message says what differs.
        JobFinished
            When this job has ended before.
        """
        self._identity = identity
        if not self.resumes:
            if self._resume and self._finished is not None:
                self._check_finished(identity, self._finished)
                self.finish()  # a process that was killed may have left a part of the state
                raise JobFinished
            return identity.seed
        path = self.folder / _JOB
        check_regular(path, _A_STATE)
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: must be {_A_STATE}, got a file that is too large")
        try:
            kept = Identity.of_values(parsed(path.read_text(encoding="utf-8"), finite=False))
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: must be {_A_STATE}, got something else ({reason_in_short(error)})") from error
        if differences := identity.differences(kept):
            raise InputError(
                f"checkpoint: the job must be the one that {self.folder} keeps, got another: {'; '.join(differences)}"
            )
        self._identity = kept
        # A process that was killed has left these before it renamed them.
        for path in self.folder.glob(".*"):
            if path.name != _LOCK and _OWN.fullmatch(path.name):
                path.unlink(missing_ok=True)
        self._goes_on = self._begun = True
        return kept.seed

    def _check_finished(self, identity: Identity, finished: Mapping[str, Any]) -> None:
        where = self.folder.parent
        try:
            differences = identity.differences(Identity.of_values(finished))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"checkpoint: {where} must hold a run that says which job it is of, got {reason_in_short(error)}; "
                "--force replaces it"
            ) from error
        if differences:
            raise InputError(
                f"checkpoint: the job must be the one that {where} holds the results of, got another: "
                f"{'; '.join(differences)}; --force replaces them, or choose another folder"
            )

    @property
    def identity(self) -> Identity | None:
        """Which job this is; None before :meth:`begin`."""
        return self._identity

    @property
    def goes_on(self) -> bool:
        """Whether a job that was kept goes on."""
        return self._goes_on

    @property
    def begun(self) -> bool:
        """Whether the job that runs has its state here, and not an earlier one."""
        return self._begun

    def other_machine(self, identity: Identity) -> list[str]:
        """Say what is not as it was and may change the last digits: the machine, versions of packages."""
        assert self._identity is not None  # begin comes first
        return identity.other_machine(self._identity)

    def slot(self, name: str) -> Slot:
        """Give the place of one state: ``run-1``, ``run-1-epoch``, ``run-1-network`` or ``runs``."""
        return Slot(self, self.folder / f"{name}.safetensors")

    def finish(self) -> None:
        """Remove what is no longer needed: the job has ended."""
        # Without the first one the rest means nothing: a process that is killed in between leaves no half of a job.
        self._clear()
        self._remove_empty()

    def described(self) -> str:
        """Say what is kept, in a few words."""
        runs = sum(1 for path in self.folder.glob("run-*.safetensors") if path.stem.count("-") == 1)
        parts = [f"{runs} runs" if runs != 1 else "1 run"] if runs else []
        if (self.folder / "runs.safetensors").exists():
            parts.append("the runs that are done")
        if any(self.folder.glob("run-*-epoch.safetensors")):
            parts.append("the epochs of a run")
        return " and ".join(parts) or NOTHING

    def _clear(self) -> None:
        if self.folder.is_dir():
            (self.folder / _JOB).unlink(missing_ok=True)
            for path in self.folder.iterdir():
                if _OWN.fullmatch(path.name) and path.name != _LOCK:
                    with suppress(OSError):  # a folder in its place, say
                        path.unlink()

    def _remove_empty(self) -> None:
        with suppress(OSError):  # not there, or something is in it
            self.folder.rmdir()

    def make_ready(self) -> None:
        """Before the first state of a new job: replace the one that is there."""
        if self._begun:
            return
        assert self._identity is not None  # begin comes first
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clear()
            with replacing(self.folder / _JOB) as temporary:
                temporary.write_text(written(self._identity.values()), encoding="utf-8")
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from error
        self._begun = True


@dataclass(frozen=True)
class Slot:
    """The place of one state in a checkpoint."""

    checkpoint: Checkpoint
    path: Path

    def write(self, tensors: Mapping[str, Tensor], values: Any) -> None:
        """Replace the state.

        Raises
        ------
        OutputError
            When it cannot be written; the one that was there stays.
        """
        self.checkpoint.make_ready()
        started = time.perf_counter()
        try:
            text = written(values)
            save_tensors(self.path, tensors, {"values": text, "sum": _sum(tensors, text)})
            ended = time.perf_counter()
            self.checkpoint.costs[self.path.name] = (ended - started, ended)
        except OutputError as error:
            kept = self.checkpoint.described()
            stays = "nothing was kept before" if kept == NOTHING else f"what was kept before ({kept}) stays"
            raise OutputError(f"{error}; {stays}: make room, and resume") from error

    def read(self) -> State | None:
        """Give the state, or None where there is none or the job begins anew.

        Raises
        ------
        InputError
            When the file is not whole.
        """
        if not self.checkpoint.goes_on or not self.path.exists():
            return None
        with opened_tensors(self.path, _A_STATE) as file:
            with self.refusing_others():
                about = file.metadata()
                values = parsed(about["values"], finite=False)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
                if about["sum"] != _sum(tensors, about["values"]):
                    raise ValueError("its sum is another one")
            return State(tensors, values)

    @property
    def is_due(self) -> bool:
        """Whether writing now leaves nine tenths of the time to the work: what takes no 0.1 s always does."""
        took, ended = self.checkpoint.costs.get(self.path.name, (0.0, 0.0))
        return took < _CHEAP or time.perf_counter() - ended > _SHARE * took

    @contextmanager
    def refusing_others(self) -> Iterator[None]:
        """Turn what goes wrong with a state that is not the job's into one error."""
        try:
            yield
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(
                f"{self.path}: must be {_A_STATE}, got something else ({reason_in_short(error)})"
            ) from error

    def remove(self) -> None:
        """Remove the state, if there is one."""
        with suppress(OSError):  # it means nothing from here on
            self.path.unlink()


def _sum(tensors: Mapping[str, Tensor], text: str) -> str:
    """Sum (CRC-32) of a state, which tells one that is damaged."""
    total = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        total = zlib.crc32(bytes_of(tensor).data, total)
    return f"{total:08x}"
