"""The harness that measures the bars of the list, on tiny data with an estimator that a test can make good or bad."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixfold.errors import InputError

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("scipy")
pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.list_bars import __main__ as command
    from benchmarks.list_bars import machine, planted, replication, results, speed
    from benchmarks.list_bars.data import background, log_values, normal_scores, real_sets
    from benchmarks.list_bars.methods import Ours, benjamini_hochberg, f_test, ranks_of, top
    from benchmarks.list_bars.numbers import interval
    from benchmarks.list_bars.settings import Settings, parse
finally:
    sys.path.remove(str(ROOT))

SMALL = (
    *("--planted-seeds", "2", "--nulls", "3", "--null-features", "30", "--pair-seeds", "2", "--repeats", "2"),
    *("--seeds", "1", "--curve-seeds", "1", "--factors", "1", "0.05", "--splits", "1"),
    *("--haystack-samples", "40", "--haystack-features", "30"),
)


class FTest:
    """Ranks as the F test does, and predicts the class whose mean is nearest."""

    def __init__(self, backbone: str = "auto", random_state: int | None = None, fdr: float = 0.1) -> None:
        self.backbone, self.random_state, self.fdr = backbone, random_state, fdr

    def fit(self, X: Any, y: Any, groups: Any = None) -> FTest:
        scores, p = f_test(X, y)
        called = benjamini_hochberg(p, self.fdr)
        real = bool((p < 0.05 / len(p)).any()) and groups is None
        self.learn(scores if real else np.full(len(p), np.nan), called & real)
        self.classes = np.unique(y)
        self.means = np.stack([X[y == label].mean(axis=0) for label in self.classes])
        self.metrics_ = {"test_accuracy": float((self.predict(X) == y).mean())}
        return self

    def learn(self, importance: Any, called: Any) -> None:
        order = np.argsort(-importance, kind="stable")
        self.feature_importances_ = importance
        self.findings_ = pd.DataFrame({"importance": importance, "called": called}).iloc[order]

    def predict(self, X: Any) -> Any:
        return self.classes[((X[:, None] - self.means) ** 2).sum(axis=2).argmin(axis=1)]


class Backwards(FTest):
    """The worst features first, all of them called, and the wrong class."""

    def learn(self, importance: Any, called: Any) -> None:
        super().learn(-np.nan_to_num(importance), np.ones(len(called), dtype=bool))

    def predict(self, X: Any) -> Any:
        return self.classes[((X[:, None] - self.means) ** 2).sum(axis=2).argmax(axis=1)]


class Bare(FTest):
    """As an estimator without calls and groups."""

    def fit(self, X: Any, y: Any) -> FTest:  # type: ignore[override]
        super().fit(X, y)
        del self.findings_["called"]
        return self


class Refuses(FTest):
    def fit(self, X: Any, y: Any, groups: Any = None) -> FTest:
        raise InputError("too few samples")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One set with 30 features, of which 8 differ, with negative values; and a table without labels."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.standard_normal((60, 30))
    X[:, :8] += 2 * y[:, None]
    table = pd.DataFrame(X, columns=[f"g{j}" for j in range(30)])
    table.to_csv(folder / "unlabelled.csv", index=False)
    table.insert(0, "label", np.where(y == 1, "ill", "well"))
    table.to_csv(folder / "tiny.csv.gz", index=False)
    return folder


def measured(estimator: Any, data: Path, out: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    status = command.main([*words, *SMALL, "--data", str(data), "--out", str(out)], estimator)
    return status, json.loads((out / "results.json").read_text()), (out / "RESULTS.md").read_text()


FAST = ("replication", "planted", "nulls", "two-features", "accuracy", "haystack")


@pytest.fixture(autouse=True)
def small_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "random_forest", lambda X, y, seed: f_test(X, y)[0])
    monkeypatch.setattr(planted, "SCENARIOS", planted.SCENARIOS[6:7] + planted.SCENARIOS[-2:])


def test_every_row_is_in_the_table(data: Path, tmp_path: Path) -> None:
    _, known, text = measured(FTest, data, tmp_path, *FAST)
    assert list(known) == list(FAST)
    lines = text.splitlines()
    for bar, of in known.items():
        assert f"## {bar}" in lines
        for row in (results.Row(**values) for values in of["rows"]):
            cells = (row.what, row.measured, row.wanted, row.verdict)
            assert "| " + " | ".join(map(results.cell, cells)) + " |" in lines
        assert of["machine"] in text
        assert of["product"] in text
        assert "planted-seeds 2" in of["settings"]
    assert "## time\n\nNot measured yet." in text
    assert not any(row["passed"] is None and row["wanted"] for of in known.values() for row in of["rows"])


def verdicts(known: dict[str, Any], bar: str) -> dict[str, bool | None]:
    return {row["what"]: row["passed"] for row in known[bar]["rows"] if row["wanted"]}


def test_what_is_as_good_as_the_f_test_passes_where_that_is_enough(data: Path, tmp_path: Path) -> None:
    status, known, _ = measured(FTest, data, tmp_path, "replication", "two-features", "nulls", "planted")
    assert status == 1  # not above the F test on average, nor where a test of single features cannot see it
    replicated = verdicts(known, "replication")
    assert replicated.pop("mean share over 1 sets") is False
    assert set(replicated.values()) == {True}
    assert set(verdicts(known, "two-features").values()) == {True}
    assert set(verdicts(known, "nulls").values()) == {True}
    found = verdicts(known, "planted")
    assert found["2 sd in 1 feature: precision at k"] is True
    assert found["2 pairs, no main effect: precision at k"] is False


@pytest.mark.parametrize("bar", FAST)
def test_a_bad_list_fails_every_bar(data: Path, tmp_path: Path, bar: str) -> None:
    status, known, text = measured(Backwards, data, tmp_path, bar)
    assert status == 1
    failed = [what for what, passed in verdicts(known, bar).items() if passed is False]
    assert failed
    for what in failed:
        assert any(line.startswith(f"| {what} |") and line.endswith("| **fail** |") for line in text.splitlines())
    assert f"{len(failed)} fail" in text


def test_data_that_are_refused_are_no_success(data: Path, tmp_path: Path) -> None:
    status, known, text = measured(Refuses, data, tmp_path, *FAST)
    assert status == 1
    assert set(verdicts(known, "nulls").values()) == {None}
    assert not any(verdicts(known, "replication").values())
    assert not any(verdicts(known, "two-features").values())
    assert not any(verdicts(known, "haystack").values())
    assert "10 of 10 folds refused" in text


def test_what_an_estimator_lacks_is_said_and_not_measured(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, known, text = measured(Bare, data, tmp_path, "planted", "nulls")
    said = capsys.readouterr().err
    assert "has no option negative" in said
    assert said.count("no column `called`") == 1
    nulls = verdicts(known, "nulls")
    assert sum(passed is None for passed in nulls.values()) == 4
    assert "not measured: fit takes no groups" in text
    assert verdicts(known, "planted")["2 sd in 1 feature: power at FDR 0.1"] is None


def test_without_real_sets_the_reason_stands_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    status, _, text = measured(FTest, tmp_path / "empty", tmp_path, "replication", "accuracy", "planted")
    assert status == 0
    assert text.count("not measured: the folder has no .h5ad or .csv with a label") == 3
    sets, reason = real_sets(Settings(data=tmp_path / "nowhere"))
    assert not sets
    assert "--data" in reason


def test_a_bar_measured_again_replaces_its_rows_alone(data: Path, tmp_path: Path) -> None:
    measured(FTest, data, tmp_path, "replication", "two-features")
    _, known, _ = measured(Backwards, data, tmp_path, "two-features")
    assert set(verdicts(known, "two-features").values()) == {False}
    assert any(verdicts(known, "replication").values())


def test_a_journal_is_gone_on_with_and_refused_after_a_change(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = ("--journal", str(tmp_path / "units.jsonl"))
    _, first, _ = measured(FTest, data, tmp_path, "two-features", *journal)
    with (tmp_path / "units.jsonl").open("a") as file:
        file.write('[["two-fe')  # ended while it wrote
    monkeypatch.setattr(FTest, "fit", None)
    with pytest.raises(TypeError):
        measured(FTest, data, tmp_path, "two-features")
    monkeypatch.setattr(command.Ours, "__init__", lambda self, estimator, options: setattr(self, "name", name))
    name = f"{FTest.__module__}.FTest"
    _, again, _ = measured(FTest, data, tmp_path, "two-features", *journal)
    assert again == first
    name = "another"
    with pytest.raises(SystemExit, match="measured with something else"):
        measured(FTest, data, tmp_path, "two-features", *journal)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["speed"], "no bar is called 'speed'"),
        (["--nulls", "0"], "0 is below 1"),
        (["--repeats", "many"], "not a whole number"),
        (["--factors", "1.5"], "not a number above 0 and up to 1"),
        (["--factors", "nan"], "not a number above 0 and up to 1"),
        (["--option", "patchnet"], "not NAME=VALUE"),
        (["--option", "no_such=1"], "none of the estimator's"),
        (["--option", "random_state=1"], "none of the estimator's"),
        (["--data", "/no/such/folder"], "not a folder"),
        (["--journal", "/no/such/folder/units.jsonl"], "there is no folder"),
        (["--command-options", "'"], "No closing quotation"),
        (["--null", "3"], "unrecognized arguments"),
    ],
)
def test_wrong_options_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(words, list(command.BARS))
    assert said in capsys.readouterr().err


def test_options_are_read() -> None:
    words = ["time", "replication", "--option", "backbone=patchnet", "--option", "n_runs=1"]
    bars, settings = parse(words, list(command.BARS))
    assert bars == ["replication", "time"]
    assert settings.options == {"backbone": "patchnet", "n_runs": 1}
    assert settings.given == "backbone=patchnet, n_runs=1"
    assert parse([], list(command.BARS))[0] == list(command.BARS)


def test_a_planted_pair_has_no_main_effect(data: Path) -> None:
    (real,), _ = real_sets(Settings(data=data))
    X, y = background(real, 0, np.random.default_rng(0))
    before = X.copy()
    first, second = planted.plant(X, y, planted.Scenario("pairs", 0, 1), np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(X, axis=0), np.sort(before, axis=0))
    middle = np.median(X, axis=0)
    high = middle < X
    for feature in (first, second):
        assert abs(high[y == 1, feature].mean() - high[y == 0, feature].mean()) <= 0.1
    agrees = (high[:, first] == high[:, second]) == (y == 1)
    assert 0.85 <= agrees.mean() <= 0.95


def test_normal_scores_have_no_outliers_and_keep_the_order() -> None:
    X = np.exp(3 * np.random.default_rng(0).standard_normal((50, 4)))
    X[:20, 0] = 0  # a floor
    scores = normal_scores(X, np.random.default_rng(1))
    assert all(len(np.unique(column)) == 50 for column in scores.T)
    assert np.abs(scores).max() < 2.6
    np.testing.assert_array_equal(np.argsort(scores[:, 1:], axis=0), np.argsort(X[:, 1:], axis=0))
    assert scores[:20, 0].max() < scores[20:, 0].min()


def test_main_and_subgroup_effects_are_as_large_as_they_say(data: Path) -> None:
    (real,), _ = real_sets(Settings(data=data))
    rng = np.random.default_rng(0)
    X, y = background(real, 20, rng)
    assert X.shape == (60, 20)
    for scenario, rows in ((planted.Scenario("main", 2, 3), 30), (planted.Scenario("subgroup", 3, 10), 10)):
        changed = X.copy()
        chosen = planted.plant(changed, y, scenario, rng)
        moved = np.abs(changed - X)
        assert (moved > 0).any(axis=0).nonzero()[0].tolist() == sorted(chosen)
        has = (moved > 0).any(axis=1)
        assert has.sum() == rows
        assert (y[has] == 1).all()
        np.testing.assert_allclose(moved[np.ix_(has, chosen)], scenario.size, rtol=1e-5)


def test_lists_leave_out_what_has_no_rank() -> None:
    importance = np.array([0.1, np.nan, 0.3, np.nan, -0.2])
    assert top(importance, 4).tolist() == [2, 0, 4]
    assert ranks_of(importance, np.array([2, 0, 1])) == [1.0, 2.0, 4.5]
    assert replication.jaccard(top(importance, 2), top(importance, 3)) == pytest.approx(2 / 3)
    assert replication.jaccard(np.array([], dtype=np.intp), np.array([], dtype=np.intp)) == 0


def test_benjamini_hochberg_calls_up_to_the_last_that_is_within() -> None:
    assert benjamini_hochberg(np.array([0.9, 0.01, 0.045, 0.03]), 0.06).tolist() == [False, True, True, True]
    assert not benjamini_hochberg(np.array([0.5, 0.9]), 0.1).any()


def test_intervals_of_rates() -> None:
    assert interval(0, 100) == pytest.approx((0, 0.0362), abs=1e-4)
    assert interval(5, 100) == pytest.approx((0.0164, 0.1128), abs=1e-4)
    assert interval(100, 100)[1] == 1


def test_log_values_use_nothing_of_held_out_samples() -> None:
    learned, held = np.array([[-1.0, 2.0]]), np.array([[-5.0, 3.0]])
    np.testing.assert_allclose(log_values(held, like=learned), np.log1p([[0, 3]]))


def test_time_of_imports_and_of_jobs_that_fail(tmp_path: Path) -> None:
    said = "import time: self [us] | cumulative | imported package\nimport time:       500 |        700 | a\nwarning\n"
    assert speed.imported(said + "import time:   1500000 |    1500000 |   b\n") == pytest.approx(1.5005)
    with pytest.raises(speed.JobError, match=r"no\.csv"):
        speed.run(tmp_path / "no.csv", tmp_path / "out", ())


def test_tables_that_are_timed_can_be_read(tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    for ending in (".csv", ".h5ad"):
        speed.write_table(tmp_path / f"made{ending}", 12, 60)
    sets, _ = real_sets(Settings(data=tmp_path))
    assert [each.X.shape for each in sets] == [(12, 60)] * 2
    np.testing.assert_allclose(sets[0].X, sets[1].X, rtol=1e-5)
    assert sorted(set(sets[0].y)) == ["case", "control"]


def test_the_machine_is_named_without_its_name() -> None:
    import platform

    text = machine.machine()
    assert "cores of" in text
    assert "torch" in text
    assert platform.node() not in text.split()


def test_what_is_called_beside_knockoffs(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.list_bars import reference

    def truth_and_one_more(X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        apart = np.abs(X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0))
        called: np.ndarray = apart >= np.sort(apart)[-reference.PLANTED - 1]
        return called

    monkeypatch.setattr(reference, "knockoffs", truth_and_one_more)
    found = reference.measure(Ours(None, {"n_runs": 4, "baselines": False}), 100, 4.0, 0)
    assert found["ours_power"] == found["f_power"] == found["knockoffs_power"] == 1
    assert found["knockoffs_fdp"] == pytest.approx(1 / 11)
    assert found["ours_fdp"] <= 0.25


def test_hidden_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.list_bars import structure

    X, planted = structure.data(None, np.random.default_rng(0))
    assert X.shape == (structure.SAMPLES, structure.FEATURES)
    assert len(set(planted)) == structure.PLANTED
    share = np.isin(np.argsort(-structure.loadings(X))[: structure.PLANTED], planted).mean()
    assert share > 0.7  # the groups are there to be found
    assert np.isin(np.argsort(-X.var(axis=0))[: structure.PLANTED], planted).mean() < 0.3
    listed = np.where(np.isin(np.arange(X.shape[1]), planted), 1.0, 0.1)
    monkeypatch.setattr(structure, "ours", lambda X, seed: (listed, True))
    monkeypatch.setattr(structure, "data", lambda real, rng: (X, planted))
    found = structure.measure(None, 0)
    assert found["ours"] == found["jaccard"] == 1
    assert not found["empty"]
    assert found["said"]
