from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from pixfold.errors import InputError
from pixfold.sources.disk.changes import Unchanged


def test_files_that_change_after_they_were_noted(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("1")
    with pytest.raises(InputError, match="here: b is not there any more"):
        Unchanged("here", first, second)
    second.write_text("2")
    noted = Unchanged("here", first)
    noted.add(second)
    noted.check()
    pickle.loads(pickle.dumps(noted)).check()
    os.utime(second, ns=(0, 0))  # of the same size
    with pytest.raises(InputError, match="here: b changed while it was read; open it again"):
        noted.check()
    first.unlink()
    with pytest.raises(InputError, match="here: a is not there any more"):
        noted.check()
