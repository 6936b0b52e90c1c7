"""What may be replaced, by pack, fold and run; and one process at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pixfold
from pixfold.errors import InputError, OutputError
from pixfold.images.convert import convert
from pixfold.report import check_writable
from pixfold.util.outputs import locked

zarr = pytest.importorskip("zarr")
pytest.importorskip("anndata")
X = np.arange(12.0).reshape(4, 3)


def folder_with(path: Path, **files: str) -> None:
    path.mkdir()
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)


def packed(path: Path) -> None:
    pixfold.pack(X, path)


def images(path: Path) -> None:
    convert(X, path)


def both(first, then):
    def make(path: Path) -> None:
        first(path)
        then(path)

    return make


def link(path: Path) -> None:
    packed(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


# What stands at the target; and what `pack --force` and `fold --force` say, None where they replace it.
TARGETS = {
    "nothing": (lambda path: None, None, None),
    "an empty folder": (Path.mkdir, None, None),
    "an attempt that was killed as it began": (lambda path: folder_with(path, zarr__1__partial="{"), None, None),
    "a packed store": (packed, None, "must be images of pixfold's to be replaced, got a packed store"),
    "an unfinished packed store": (
        lambda path: zarr.open_group(path, mode="w", attributes={"pixfold": {"version": 1, "complete": False}}),
        None,
        "got a packed store",
    ),
    "images": (images, "must be a packed store of pixfold's to be replaced, got images", None),
    "a run": (lambda path: folder_with(path, config__json='{"pixfold": "1"}'), "got a run", "got a run"),
    "a run of an earlier version": (
        lambda path: folder_with(path, metrics__json='{"versions": {"pixfold": "0.1"}}'),
        "got a run",
        "got a run",
    ),
    "a user's folder": (lambda path: folder_with(path, thesis__txt="years"), "a folder of something else", "something"),
    "a user's store": (lambda path: zarr.open_group(path, mode="w"), "a folder of something else", "something"),
    "a user's JSON": (lambda path: folder_with(path, config__json="[1"), "a folder of something else", "something"),
    "a file": (lambda path: path.write_text("years"), "got a file that pixfold has not written", "got a file that"),
    "a link to a packed store": (link, "is a link; name the place that it leads to", "is a link"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "is a link", "is a link"),
    "a packed store with a user's file": (
        both(packed, lambda path: (path / "notes.txt").write_text("mine")),
        "must hold nothing but a packed store to be replaced, got .*notes.txt; move that away first",
        "got a packed store",
    ),
    "images with a user's folder": (
        both(images, lambda path: folder_with(path / "images" / "old", thesis__txt="years")),
        "got images",
        "must hold nothing but images to be replaced, got .*thesis.txt",
    ),
}


def content(folder: Path) -> dict[str, bytes | str | None]:
    """All that is in a folder: bytes of files, targets of links."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("write", [pixfold.pack, convert], ids=["pack", "fold"])
@pytest.mark.parametrize("target", TARGETS)
def test_only_its_like_is_replaced(tmp_path, target, write):
    make, *said = TARGETS[target]
    path = tmp_path / "thesis.zarr"
    make(path)
    before = content(tmp_path)
    message = said[0] if write is pixfold.pack else said[1]
    if target != "nothing":
        with pytest.raises(OutputError, match=r"thesis\.zarr exists; --force|is a link"):
            write(X[:2], path)
    if message is None:
        write(X[:2], path, force=True)
        assert zarr.open_group(path, mode="r")["X" if write is pixfold.pack else "images"].shape[0] == 2
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
    else:
        with pytest.raises(OutputError, match=f"^cannot write .*{message}"):
            write(X[:2], path, force=True)
        assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"x.npy": "years"}, r"must be images of pixfold's to be replaced, got a file that pixfold has not written"),
        ({"x.json": "{}"}, "got a file that pixfold has not written"),
        ({"x.npy": "years", "x.json": '{"pixfold": "1", "kind": "images"}'}, None),
        (
            {"x.npy/thesis.txt": "years", "x.json": '{"pixfold": "1", "kind": "images"}'},
            "got a folder of something else",
        ),
    ],
)
def test_files_of_images(tmp_path, names, message):
    for name, text in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = content(tmp_path)
    with pytest.raises(OutputError, match="exists; --force"):
        convert(X, tmp_path / "x.npy")
    if message is not None:
        with pytest.raises(OutputError, match=message):
            convert(X, tmp_path / "x.npy", force=True)
        assert content(tmp_path) == before
        return
    for rows in (2, 3):  # its own output after that
        convert(X[:rows], tmp_path / "x.npy", force=True)
        assert len(np.load(tmp_path / "x.npy")) == rows


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ({"notes.txt": "mine"}, None),
        ({"findings.csv": "mine"}, "findings.csv"),
        ({"figures/top_features.png": "mine"}, "figures/top_features.png"),
        ({"config.json": '{"name": "mine"}'}, "config.json"),
        ({"config.json": '{"pixfold": "1"}', "findings.csv": "", "notes.txt": "mine"}, None),
        ({"metrics.json": '{"versions": {"pixfold": "0.1"}}', "report.html": ""}, None),
        ({"model.json": '{"pixfold": "1"}'}, "model.json"),  # a model that somebody saved
    ],
)
def test_a_run_replaces_files_of_runs_alone(tmp_path, files, refused):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = content(tmp_path)
    if refused is None:
        check_writable(tmp_path)
    else:
        with pytest.raises(OutputError, match=f"its {refused} is not of a run of pixfold's; choose another folder"):
            check_writable(tmp_path)
    assert content(tmp_path) == before


def test_an_attempt_that_is_somebody_elses_stays(tmp_path):
    folder_with(tmp_path / "o.zarr.part", thesis__txt="years")
    with pytest.raises(OutputError, match=r"o\.zarr\.part: it must be a packed store of pixfold's to be replaced"):
        pixfold.pack(X, tmp_path / "o.zarr")
    assert [file.name for file in tmp_path.rglob("*.txt")] == ["thesis.txt"]


@pytest.mark.parametrize("out", ["", b"o.zarr", 3, None])
def test_no_path(out):
    with pytest.raises(InputError, match=r"^pack: out must be a path, got"):
        pixfold.pack(X, out)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a target until it is told to go on."""
    code = """
    import sys
    from pathlib import Path
    from pixfold.util.outputs import locked
    with locked(Path(sys.argv[1]), *map(Path, sys.argv[2:])):
        print("locked", flush=True)
        sys.stdin.readline()
    """
    started = []

    def start(*paths: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, paths)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", ["ends", "is killed"])
@pytest.mark.parametrize("write", [pixfold.pack, convert], ids=["pack", "fold"])
def test_two_at_once(tmp_path, holder, write, how):
    path = tmp_path / "o.zarr"
    other = holder(path)
    with pytest.raises(OutputError, match=r"^cannot write .*o\.zarr: another process of pixfold is writing it$"):
        write(X, path)
    assert [file.name for file in tmp_path.iterdir()] == [".o.zarr.lock"]
    if how == "ends":
        other.communicate("\n")
    else:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert (tmp_path / ".o.zarr.lock").exists()
    write(X, path)
    assert [file.name for file in tmp_path.iterdir()] == ["o.zarr"]


def test_two_runs_at_once_into_one_folder(tmp_path, holder):
    out = tmp_path / "out"
    out.mkdir()
    holder(out, out / ".pixfold.lock")
    (tmp_path / "x.csv").write_text("a,b,kind\n" + "1,2,x\n2,1,y\n" * 20)
    command = [sys.executable, "-m", "pixfold", "run", "x.csv", "--label", "kind", "--out", "out"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.strip() == "error: cannot write out: another process of pixfold is writing it"


@pytest.mark.parametrize("held", [False, True])
def test_locks_of_windows(tmp_path, monkeypatch, held):
    def locking(handle: int, mode: str, n_bytes: int) -> None:
        assert (mode, n_bytes) == ("at once", 1)
        if held:
            raise PermissionError

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK="at once"))
    monkeypatch.setattr(sys, "platform", "win32")
    refused = pytest.raises(OutputError, match="another process of pixfold is writing it")
    with refused if held else nullcontext(), locked(tmp_path / "o.zarr"):
        assert (tmp_path / ".o.zarr.lock").exists()


def test_packs_that_race(tmp_path):
    """Of processes that begin together one writes the store, and each other one says in a line why it does not."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(300, 2000)))
    command = [sys.executable, "-m", "pixfold", "pack", "x.npy", "o.zarr", "--quiet"]
    processes = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=240)[1].strip() for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    assert sorted(said)[0] == ""
    assert sorted(said)[1] in (
        "error: cannot write o.zarr: another process of pixfold is writing it",
        "error: cannot write o.zarr: o.zarr exists; --force (force=True) replaces it",
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["o.zarr", "x.npy"]
    pixfold.open_source(tmp_path / "o.zarr", verify=True)


def test_one_thread_at_a_time(tmp_path):
    """Threads that wait for each other's lock by trying again never hold it together."""
    held, most, done = [], [], []

    def work(number: int) -> None:
        while len(done) < 200:
            try:
                with locked(tmp_path / "o"):
                    held.append(number)
                    most.append(len(held))
                    held.remove(number)
                    done.append(number)
            except OutputError:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["a file", "no permission"])
def test_a_lock_that_cannot_be_made(tmp_path, monkeypatch, kind):
    if kind == "a file":
        (tmp_path / ".o.lock").mkdir()
    else:
        monkeypatch.setattr("pixfold.util.outputs.os.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "No")))
    with pytest.raises(OutputError, match=r"^cannot write .*o: "), locked(tmp_path / "o"):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    pixfold.pack(X, tmp_path / "o.zarr")
    assert json.loads((tmp_path / "o.zarr" / "zarr.json").read_text())["attributes"]["pixfold"]["complete"]
