from __future__ import annotations

import io
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from pixfold.sources import open_source
from pixfold.util import progress
from pixfold.util.progress import LogProgress, RichProgress, SilentProgress, shown_on, terminal_progress


def spend(reporter):
    with reporter.task("training", total=4) as task:
        for step in range(4):
            task.advance(1, epoch=f"{step}/4", loss=0.123456)
    reporter.log("warning: [b]as it is[/b]")


def test_silence(capsys):
    spend(SilentProgress())
    assert capsys.readouterr() == ("", "")


def test_lines_on_standard_error(capsys):
    spend(LogProgress())
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2  # no more than one in ten seconds, and the last
    assert lines[0].startswith("training: done in ")
    assert lines[0].endswith("epoch 3/4 loss 0.1235")
    assert lines[1] == "warning: [b]as it is[/b]"


def test_lines_while_it_lasts(capsys, monkeypatch):
    now = iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    spend(LogProgress(interval=10))
    lines = capsys.readouterr().err.splitlines()
    # Steps end at 6, 12, 18 and 24 s: 10 s have gone by at 12 s and at 24 s.
    assert lines[0] == "training: 2/4, 0.167/s, about 12 s left  epoch 1/4 loss 0.1235"
    assert lines[1] == "training: 4/4, 0.167/s, about 0 s left  epoch 3/4 loss 0.1235"
    assert lines[2].startswith("training: done in 30.0 s")


def test_what_took_no_time_and_has_nothing_to_show_gets_no_line(capsys, monkeypatch):
    with LogProgress().task("checking values", total=4) as task:
        task.advance(4)
    assert capsys.readouterr().err == ""
    now = iter([0.0, 1.0, 2.5])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with LogProgress().task("checking values", total=4) as task:
        task.advance(4)
    assert capsys.readouterr().err == "checking values: done in 2.5 s\n"


def test_a_failed_task_is_not_called_done(capsys):
    with pytest.raises(ZeroDivisionError), LogProgress().task("training", total=4):
        _ = 1 / 0
    assert "done" not in capsys.readouterr().err


def test_bars_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    reporter = terminal_progress()
    assert isinstance(reporter, RichProgress)
    spend(reporter)
    shown = screen.getvalue()
    assert "training" in shown
    assert "100%" in shown
    assert "loss 0.1235" in shown
    assert "[b]as it is[/b]" in shown


def test_lines_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(terminal_progress(), LogProgress)


class Recorder(SilentProgress):
    """Adds up the steps of every task."""

    def __init__(self):
        self.tasks = []

    @contextmanager
    def task(self, description, total):
        self.tasks.append([description, total, 0.0])
        yield self

    def advance(self, steps=1.0, **fields):
        self.tasks[-1][2] += steps


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "csv.zst", "parquet", "feather", "csc.h5ad", "mtx"])
def test_sources_show_how_far_they_are(tmp_path, monkeypatch, kind):
    pd, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("pixfold.sources.tables.lines.SHOWN_BYTES", 0)
    monkeypatch.setattr("pixfold.sources.tables.arrow.SHOWN_BYTES", 0)
    monkeypatch.setattr("pixfold.sources.disk.scratch._SHOWN_ENTRIES", 0)
    x = np.random.default_rng(0).poisson(1.0, (300, 40)).astype(np.float32)
    path = tmp_path / f"x.{kind}"
    frame = pd.DataFrame(x, columns=[f"f{j}" for j in range(40)])
    if kind.startswith("csv"):
        frame.to_csv(path, index=False, compression={"gz": "gzip", "zst": "zstd"}.get(kind[4:]))
    elif kind == "mtx":
        pytest.importorskip("scipy.io").mmwrite(path, sparse.coo_matrix(x.T.astype(np.int32)))
        (tmp_path / "xfeatures.tsv").write_text("".join(f"f{j}\tf{j}\n" for j in range(40)))
        (tmp_path / "xbarcodes.tsv").write_text("".join(f"s{i}\n" for i in range(300)))
    elif kind == "csc.h5ad":
        pytest.importorskip("anndata").AnnData(sparse.csc_matrix(x)).write_h5ad(path)
    else:
        getattr(frame, f"to_{kind}")(path)
    recorder = Recorder()
    with shown_on(recorder):
        block = open_source(path).read(slice(None))
    np.testing.assert_array_equal(block.toarray() if sparse.issparse(block) else block, x)
    assert recorder.tasks
    for description, total, done in recorder.tasks:
        assert description == ("bringing to rows" if kind in ("mtx", "csc.h5ad") else f"reading x.{kind}")
        assert done == pytest.approx(total)
    before = len(recorder.tasks)
    open_source(path).read(slice(None))
    assert len(recorder.tasks) == before
