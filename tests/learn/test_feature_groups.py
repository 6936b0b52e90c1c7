"""Groups of features: GMT files, tables, columns, and what is none of these."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.learn.attribution.groups import feature_groups


def test_groups_from_files(tmp_path: Any) -> None:
    names = ["g1", "g2", "g3", "g4"]
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("P1\thttp://x\tg1\tg3\tg9\nP2\t\tg3\tg2\nP3\tnone\tg8\n")
    found = feature_groups(gmt, names, {})
    assert found.names == ["P1", "P2"]
    assert [members.tolist() for members in found.members] == [[0, 2], [1, 2]]
    assert [message.split(": ", 1)[1] for message in found.messages] == [
        "2 names of groups are no features: 'g8', 'g9'",
        "1 group left out, of which the data have no feature",
        "1 feature in no group: not ablated, without a rank",
    ]
    table = tmp_path / "sets.csv"
    table.write_text("group,feature\nchr1,g1\nchr2,g2\nchr1,g4\n,g3\n")
    found = feature_groups(str(table), names, {})
    assert dict(zip(found.names, [m.tolist() for m in found.members], strict=True)) == {"chr1": [0, 3], "chr2": [1]}
    found = feature_groups("chromosome", names, {"chromosome": np.array(["1", "X", "1", ""])})
    assert dict(zip(found.names, [m.tolist() for m in found.members], strict=True)) == {"1": [0, 2], "X": [1]}


@pytest.mark.parametrize(
    ("text", "ending", "message"),
    [
        ("P1\tonly\n", ".gmt", "line 1 must be a group, a description and features"),
        ("a,b\n1,2\n", ".csv", "must have the columns feature and group, got a, b"),
        ("feature,group\ng1\n", ".csv", "line 2 must have 2 fields, got 1"),
        ("", ".tsv", "got an empty file"),
        ("feature,group\nx,1\n", ".csv", "must name features of the data .'g1'., got 'x'"),
    ],
)
def test_groups_that_are_none(tmp_path: Any, text: str, ending: str, message: str) -> None:
    path = tmp_path / f"sets{ending}"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        feature_groups(path, ["g1"], {})
    with pytest.raises(InputError, match=r"must be a file or a column about features \(chromosome\), got 'chrom'"):
        feature_groups("chrom", ["g1"], {"chromosome": np.array(["1"])})
