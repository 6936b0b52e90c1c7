"""The commands that reproduce the paper, at tiny size."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.compare import __main__ as full
    from benchmarks.paper import mnist, nihs, real_data, recovery, results, table2
finally:
    sys.path.remove(str(ROOT))

ONCE = ("--seeds", "1")


def written(out, name):
    text = (out / f"{name}.md").read_text()
    assert f"python -m benchmarks.paper.{name}" in text
    assert str(out) not in text
    assert (out / f"{name}.png").exists() == (name != "table2")
    return text, json.loads((out / f"{name}.json").read_text())["measured"]


def test_mnist(tmp_path):
    rng = np.random.default_rng(0)
    y = (np.arange(60) % 3).astype(np.uint8)
    X = rng.integers(0, 60, (60, 8, 8), dtype=np.uint8)
    for digit in range(3):
        X[y == digit, digit] += 180
    for name, values in (("x", X), ("y", y)):
        head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
        (tmp_path / name).write_bytes(gzip.compress(head + values.tobytes()))
    options = ("--images", str(tmp_path / "x"), "--labels", str(tmp_path / "y"), "--epochs", "12")
    assert mnist.main([*ONCE, *options, "--backbone", "additive", "--out", str(tmp_path / "r")]) == 0
    text = (tmp_path / "r" / "mnist.md").read_text()
    measured = json.loads((tmp_path / "r" / "mnist.json").read_text())["measured"]
    assert max(measured["error"]["plain"] + measured["error"]["shuffled"]) < 0.2
    assert "60 images of" in text


def test_nihs(tmp_path):
    options = ("--samples", "240", "--features", "60", "--backbone", "additive")
    assert nihs.main([*ONCE, *options, "--out", str(tmp_path)]) == 0
    _, (row,) = written(tmp_path, "nihs")
    assert sorted(row["ranks"]) == [1, 2]
    assert row["accuracy"] > 0.9


def test_recovery(tmp_path):
    methods = ("--methods", "pixfold, pair screen", "F test")
    sizes = ("--samples", "200", "--features", "60", "--base", "60", "--effects", "1", "--needles", "2")
    assert recovery.main([*ONCE, *sizes, *methods, "--out", str(tmp_path)]) == 0
    text, measured = written(tmp_path, "recovery")
    share = {tuple(each["setting"]): {name: of[0][0] for name, of in each["found"].items()} for each in measured}
    assert share[60, 2, 0.0, True] == {"pixfold, pair screen": 1.0, "F test": 0.0}
    assert share[60, 10, 1.0, False]["F test"] >= 0.8
    assert "a simpler method wins" in text


def test_real_data(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = rng.exponential(size=(40, 30)) + 5 * y[:, None] * (np.arange(30) < 3)
    head = ",".join(["label", *(f"g{i}" for i in range(30))])
    rows = [",".join([f"c{label}", *map(str, row)]) for label, row in zip(y, X, strict=True)]
    (tmp_path / "small.csv").write_text("\n".join([head, *rows]))
    options = ("--data-folder", str(tmp_path), "--methods", "logistic, L2", "random forest")
    assert real_data.main(["--seeds", "2", *options, "--out", str(tmp_path / "r")]) == 0
    _, measured = written(tmp_path / "r", "real_data")
    assert len(measured["small"]) == 2
    assert min(split["logistic, L2"]["accuracy"] for split in measured["small"]) == 1
    assert real_data.main(["--data-folder", str(tmp_path / "none")]) == 2


def test_overlap():
    assert real_data.jaccard([{1, 2}, {2, 3}, set()]) == [1 / 3, 0, 0]


@pytest.mark.filterwarnings("ignore")
def test_table2(tmp_path):
    pytest.importorskip("pyDeepInsight", reason="pyDeepInsight is what is compared with", exc_type=ImportError)
    sizes = ("--samples", "40", "--features", "80", "--classes", "2", "--epochs", "1")
    assert table2.main([*sizes, "--out", str(tmp_path)]) == 0
    _, measured = written(tmp_path, "table2")
    assert {name: of["image"] for name, of in measured.items()} == {"DeepInsight (PCA)": [9, 9], "pixfold": [9, 9]}


def test_table2_takes_a_file(tmp_path):
    (tmp_path / "t.csv").write_text("s,kind,a,b\nx,u,1,2\ny,v,3,4\n")
    X, y = table2.from_file(tmp_path / "t.csv", "kind")
    np.testing.assert_array_equal(X, [[1, 2], [3, 4]])
    assert y.tolist() == [0, 1]


def test_full_comparison_keeps_the_sizes(tmp_path):
    options = ["--features", "50", "20", "--samples", "12", "--only", "NumPy", "--out", str(tmp_path)]
    assert full.main(options) == 0
    assert [row["features"] for row in json.loads((tmp_path / "compare.json").read_text())["rows"]] == [20, 50]
    assert full.main([*options, "--limit", "0"]) == 2


def test_time_ends_seeds():
    assert list(results.within(3, -1)) == [0]
    assert list(results.within(3, 100)) == [0, 1, 2]
