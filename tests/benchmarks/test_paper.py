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

from pixfold.errors import InputError

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
    assert mnist.main([*ONCE, *options, "--backbones", "additive", "--out", str(tmp_path / "r")]) == 0
    text, measured = written(tmp_path / "r", "mnist")
    assert max(kind["error"] for kind in measured["additive"][0].values()) < 0.2
    assert "60 images of" in text


def test_nihs_goes_on_from_its_journal(tmp_path, monkeypatch):
    options = ("--samples", "240", "--features", "60", "--backbone", "additive", "--out", str(tmp_path))
    journal = ("--journal", str(tmp_path / "units.jsonl"))
    assert nihs.main([*ONCE, *options, *journal]) == 0
    text, (row,) = written(tmp_path, "nihs")
    assert sorted(row["ranks"]) == [1, 2]
    assert row["accuracy"] > 0.9
    assert max(row["evidence"]) == 1 > row["best_other"] > 0
    assert "units.jsonl" not in text

    measure = nihs.one_seed
    monkeypatch.setattr(nihs, "one_seed", lambda given, seed: measure(given, seed) if seed == 1 else None)
    assert nihs.main(["--seeds", "2", *options, *journal]) == 0
    text, again = written(tmp_path, "nihs")
    assert again[0] == row
    assert [each["seed"] for each in again] == [0, 1]
    assert "for each of 2 seeds" in text
    with pytest.raises(SystemExit, match="measured with something else"):
        nihs.main([*ONCE, *options, *journal, "--backbone", "patchnet"])


def test_recovery(tmp_path):
    methods = ("--methods", "pixfold, pair screen", "F test")
    sizes = ("--samples", "200", "--features", "60", "--pair-features", "60", "--base", "60", "--effects", "1")
    options = (*sizes, "--needles", "2", *methods, "--out", str(tmp_path))
    assert recovery.main(["--seeds", "2", *options]) == 0
    text, measured = written(tmp_path, "recovery")
    share = {tuple(each["setting"]): {name: of[0] for name, of in each["found"].items()} for each in measured}
    assert share[60, 2, 0.0, True]["pixfold, pair screen"]["at_k"] == 1
    assert share[60, 2, 0.0, True]["F test"]["at_k"] == 0
    found = share[60, 10, 1.0, False]["F test"]
    assert found["precision_half"] == found["recall_5"] == 1
    assert found["at_k"] >= 0.8
    assert "60 features, 10 needles, effect 1: a simpler method wins" in text
    assert "60 features, a pure pair: ours is best" in text
    assert "± " in text


def test_recovery_says_what_is_left_out(tmp_path, monkeypatch):
    small = recovery.Method(recovery.METHODS["F test"].run, 60, 30)
    monkeypatch.setitem(recovery.METHODS, "F test", small)
    sizes = ("--samples", "40", "--features", "60", "80", "--pair-features", "60", "--effects", "1", "--needles", "2")
    options = ("--base", "60", "--methods", "F test", "L2 logistic regression", "--out", str(tmp_path))
    assert recovery.main([*ONCE, *sizes, *options]) == 0
    text, measured = written(tmp_path, "recovery")
    assert "F test is run on up to 60 features (30 for pairs)" in text
    run = {tuple(each["setting"])[::3] for each in measured if each["found"]["F test"]}
    assert run == {(60, False)}


def test_a_difference_within_its_interval_is_a_tie():
    setting = recovery.Setting(60, 2, 1.0, xor=False)

    def said(ours, other):
        pair = (("pixfold, additive", ours, 2.0), ("F test", other, 0.5))
        found = {name: [{"at_k": share, "seconds": time} for share in of] for name, of, time in pair}
        return recovery.verdict({setting: found})

    assert "ours is best" in said([1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    assert "at least as good" not in said([1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    tie = said([1.0, 0.0, 1.0], [0.5, 0.5, 0.5])
    assert "a tie (pixfold, additive 0.67 in 2 s, F test 0.50 in 0.5 s)" in tie
    assert "In 1 of 1 settings a method without a network is at least as good as ours, and faster in 1" in tie
    assert "a simpler method wins" in said([0.0, 0.1, 0.0], [0.5, 0.5, 0.5])


def test_real_data(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = rng.exponential(size=(40, 30)) + 5 * y[:, None] * (np.arange(30) < 3)
    head = ",".join(["label", *(f"g{i}" for i in range(30))])
    rows = [",".join([f"c{label}", *map(str, row)]) for label, row in zip(y, X, strict=True)]
    (tmp_path / "small.csv").write_text("\n".join([head, *rows]))
    options = ("--data-folder", str(tmp_path), "--methods", "pixfold", "logistic, L2", "random forest")
    assert real_data.main(["--seeds", "2", *options, "--out", str(tmp_path / "r")]) == 0
    text, measured = written(tmp_path / "r", "real_data")
    assert len(measured["small"]) == 2
    assert min(split["logistic, L2"]["accuracy"] for split in measured["small"]) == 1
    assert {0, 1, 2} <= set(measured["small"][0]["pixfold"]["top"])
    assert "small (commonest class 0.500), 2 splits that all have" in text
    assert "pixfold less logistic, L2, split by split: 0.000 ± 0.000." in text
    assert real_data.main(["--data-folder", str(tmp_path / "none")]) == 2


def test_a_method_that_refuses_is_said(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise InputError("there is no signal")

    monkeypatch.setitem(real_data.METHODS, "random forest", refuse)
    (tmp_path / "a.csv").write_text("label,x,y\n" + "".join(f"{i % 2},{i % 2},{i}\n" for i in range(20)))
    options = ("--data-folder", str(tmp_path), "--methods", "logistic, L2", "random forest")
    assert real_data.main([*ONCE, *options, "--out", str(tmp_path / "r")]) == 0
    text, _ = written(tmp_path / "r", "real_data")
    assert "| random forest | there is no signal | 0 |" in text


def test_overlap():
    assert real_data.jaccard([{1, 2}, {2, 3}, set()]) == [1 / 3, 0, 0]


@pytest.mark.filterwarnings("ignore")
def test_table2(tmp_path):
    pytest.importorskip("pyDeepInsight", reason="pyDeepInsight is what is compared with", exc_type=ImportError)
    sizes = ("--samples", "40", "--features", "80", "--classes", "2", "--epochs", "1", "--train-on", "20", "--bfloat16")
    assert table2.main([*ONCE, *sizes, "--out", str(tmp_path)]) == 0
    text, measured = written(tmp_path, "table2")
    images = {name: of[0]["image"] for name, of in measured.items() if name != table2.LINEAR}
    assert images == {"DeepInsight (PCA)": [9, 9], "pixfold": [9, 9]}
    assert "on 20 samples, tested on 8" in text
    assert f"| {table2.LINEAR} | - | - |" in text
    difference = 100 * (measured["DeepInsight (PCA)"][0]["test"] - measured["pixfold"][0]["test"])
    assert f"split by split: {difference:.1f} points" in text


def test_generated_classes_are_as_hard_as_types_of_tumours():
    X, y = table2.generated(1500, 3000, 5, seed=1)
    assert X.dtype == np.float32
    assert X.min() == 0
    assert np.array_equal(X, np.floor(X))
    parts = (np.arange(1000), np.arange(1000, 1500))
    found = table2.linear(X, y, parts)
    # Two of 100 samples look more like the related class; the fifth class has none: 0.982, and 4 standard errors.
    assert 0.955 < found["test"] < 1
    sets = [X[y == label].mean(axis=0) + 1 for label in range(3)]
    related, others = (np.abs(np.log2(sets[0] / each)) > 0.5 for each in sets[1:])
    assert len(related) / 20 < related.sum() < others.sum()  # by half a doubling and more


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
    assert results.counted(1, 3) == "1 seed of 3 that were wanted"
    assert results.counted(3, 3, "split") == "3 splits"


@pytest.mark.parametrize(
    ("module", "words", "said"),
    [
        (mnist, ["--data-folder", "/nowhere"], "t10k-images-idx3-ubyte.gz: cannot read the file"),
        (nihs, ["--seeds", "0"], "argument --seeds: 0 is below 1"),
        (nihs, ["--journal", "/no/such/folder/x"], "--journal: there is no folder /no/such/folder"),
        (recovery, ["--features", "5"], "more features than needles, got 5 features and 50 needles"),
        (table2, ["--data", "x.csv"], "--data and --label go together"),
    ],
)
def test_wrong_input_is_one_line(module, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--out", str(tmp_path / "r"), *words])
    with pytest.raises(SystemExit) as end:
        results.run_command(module.main)
    assert end.value.code not in (0, None)
    assert said in capsys.readouterr().err + str(end.value.code)
    assert not (tmp_path / "r").exists()


def test_intervals():
    # 4.303: the 97.5 % point of Student's t with 2 degrees of freedom, as in printed tables.
    assert results.half_width([1.0, 2.0, 3.0]) == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert results.half_width([1.0, 2.0, 3.0], shared=0.5) == pytest.approx(4.3027 * (1 / 3 + 0.5) ** 0.5, rel=1e-4)
    assert np.isnan(results.half_width([1.0]))
    assert results.interval([0.5]) == "0.500"
    assert results.interval([1.0, 2.0, 3.0], 2) == "2.00 ± 2.48"
    assert results.interval([1.0, 1.0], 2) == "1.00 ± 0.00"


def test_intervals_cover_the_mean():
    draws = np.random.default_rng(0).normal(size=(2000, 4))
    inside = np.mean([abs(values.mean()) <= results.half_width(values) for values in draws])
    assert 0.93 < inside < 0.97  # 4 standard errors around 0.95


def test_places_of_this_machine_are_left_out_of_the_command(tmp_path):
    results.save(tmp_path, "x", "text", [], None, ["--journal", "/a/b", "--seeds", "2", "--out=/c"])
    assert "`python -m benchmarks.paper.x --seeds 2`" in (tmp_path / "x.md").read_text()
