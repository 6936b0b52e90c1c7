"""Jobs over data sets and seeds as tasks of Dask, as the documentation has them: tables are those of the jobs alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pixfold as pf

PAGE = Path(__file__).parents[2] / "docs" / "streaming.md"


def test_the_jobs_of_the_documentation(tmp_path: Path) -> None:
    pytest.importorskip("dask")
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "@dask.delayed" in block
    ]
    paths = []
    for number in range(2):
        X, y = np.random.default_rng(number).random((40, 6)), np.arange(40) % 2
        X[:, number] += y
        table = pd.DataFrame(X, columns=[f"g{i}" for i in range(6)]).assign(label=np.where(y, "a", "b"))
        paths.append(str(tmp_path / f"{number}.csv"))
        table.to_csv(paths[-1], index=False)
    # One process after the other, without the seconds that new processes take to begin.
    code = code.replace('scheduler="processes"', 'scheduler="synchronous"').replace("range(5)", "range(2)")
    named: dict[str, Any] = {"pf": pf, "paths": paths}
    exec(compile(code, str(PAGE), "exec"), named)
    tables = named["tables"]
    assert [table.feature.iloc[0] for table in tables] == ["g0", "g0", "g1", "g1"]
    clf = pf.DeepMapperClassifier(random_state=1, threads=1)
    assert tables[3].equals(clf.fit_source(pf.open_source(paths[1], label="label")).findings_)
