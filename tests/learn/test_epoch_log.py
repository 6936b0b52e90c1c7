from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

import pixfold as pf
from pixfold.errors import MissingDependencyError, OutputError
from pixfold.learn.epoch_log import EpochLog

ROW = {"epoch": 1, "train_loss": 0.5, "seconds": 0.1}


def test_a_table_has_a_line_per_epoch_and_each_once(tmp_path):
    path = tmp_path / "new" / "log.csv"
    path.parent.mkdir()
    log = EpochLog(path)
    log.add(1, ROW)
    log.add(1, {**ROW, "epoch": 2})
    with path.open("a") as file:
        file.write("2,1,0.")  # a process that was killed while it wrote
    again = EpochLog(path, resume=True)
    again.add(1, {**ROW, "epoch": 2, "seconds": 9.0})
    again.add(2, ROW)
    assert path.read_text() == "run,epoch,train_loss,seconds\n1,1,0.5,0.1\n1,2,0.5,0.1\n2,1,0.5,0.1\n"
    EpochLog(path)
    assert not path.exists()


def test_a_foreign_file_stays(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("mine\n")
    for resume in (False, True):
        with pytest.raises(OutputError, match="it stays"):
            EpochLog(path, resume=resume)
    assert path.read_text() == "mine\n"


def test_a_log_that_cannot_be_written_is_one_error(tmp_path):
    log = EpochLog(tmp_path / "log.csv")
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(OutputError, match=r"cannot write the log .*log\.csv: Is a directory"):
        log.add(1, ROW)


def test_the_log_of_a_fit_is_its_history(tmp_path):
    X, y = np.random.default_rng(0).random((40, 9)), np.arange(40) % 2
    clf = pf.DeepMapperClassifier("patchnet", n_runs=2, epochs=2, device="cpu", random_state=0, baselines=False)
    clf.fit_source(pf.open_source(X, y=y), log=tmp_path / "log.csv")
    found = pd.read_csv(tmp_path / "log.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(found, clf.history_, check_dtype=False)


def test_without_tensorboard_the_error_is_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pixfold\[tensorboard\]"'):
        EpochLog(tmp_path / "events")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_for_tensorboard(tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first in (1, 2):  # the second epoch is done again
        log = EpochLog(tmp_path, resume=first > 1)
        for epoch in range(first, 3):
            log.add(1, {**ROW, "epoch": epoch, "train_loss": 1.0 / epoch})
        log.close()
    events = reading.EventAccumulator(str(tmp_path / "run-1")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [(1, 1.0), (2, 0.5)]
