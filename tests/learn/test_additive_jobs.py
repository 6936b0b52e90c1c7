"""Whole jobs of additive networks: what is found, and what is not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.utils.estimator_checks import parametrize_with_checks

import pixfold as pf
from pixfold.errors import InputError
from pixfold.report import figures, write_results
from pixfold.sources import ArraySource, open_source
from pixfold.util.progress import SilentProgress

QUICK = {"n_runs": 8, "normalize": "zscore", "device": "cpu", "threads": 1, "random_state": 0}
LEVEL = 0.05


def classifier(**changes):
    return pf.DeepMapperClassifier(**{**QUICK, **changes})


def two_shifts(seed, f=200, n=80):
    """Two features that differ by three standard deviations between two classes, one up and one down."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.standard_normal((n, f)).astype(np.float32)
    up, down = rng.choice(f, 2, replace=False)
    X[:, up] += 3.0 * y
    X[:, down] -= 3.0 * y
    return X, np.array(["ctrl", "case"])[y], int(up), int(down)


@pytest.mark.parametrize("f", [200, 2000])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_features_are_found(f, seed):
    X, y, up, down = two_shifts(seed, f)
    clf = classifier(random_state=seed).fit(X, y)
    findings = clf.findings_
    assert set(findings.index[:2]) == {up, down}
    assert findings["rank"].iloc[:2].tolist() == [1.0, 2.0]
    assert findings["called"].iloc[:2].all()
    assert findings.loc[up, "direction"] == "case"
    assert findings.loc[down, "direction"] == "ctrl"
    assert (findings["selection_frequency"].iloc[:2] == 1).all()
    assert clf.metrics_["test_p"] <= LEVEL
    assert clf.metrics_["n_accepted"] == clf.metrics_["n_runs"] == 8
    assert clf.metrics_["p_values_from"] == "permuted labels"
    # Among 2,000 features two are too few to predict by, but not too few to be found.
    if f == 200:
        assert clf.metrics_["test_accuracy"] > 0.6
    # The rate of false discoveries is 0.1: more than a few of those called are real.
    assert clf.metrics_["n_called"] == findings["called"].sum() < 8


def test_findings_table():
    X, y, up, _ = two_shifts(0)
    clf = classifier().fit(X, y)
    findings = clf.findings_
    assert findings.columns.tolist() == [
        *("feature", "rank", "importance", "importance_se", "direction", "p", "q", "called"),
        *("selection_frequency", "mean_rank", "saliency", "stability", "dropped"),
        *("test_statistic", "test_p", "test_q", "rank_test", "rank_l2", "rank_l1"),
        *("mean_case", "mean_abs_case", "mean_ctrl", "mean_abs_ctrl"),
    ]
    ranked = findings["rank"].notna()
    assert (np.diff(findings.loc[ranked, "importance"]) <= 0).all()
    assert (findings.loc[~ranked, "importance"] <= 0).all()
    np.testing.assert_array_equal(findings["importance"].sort_index(), clf.feature_importances_)
    np.testing.assert_array_equal(findings["called"], findings["q"] <= 0.1)
    # Evidence is the sum over the classes; each run divides all by the same number.
    both = findings["mean_case"] + findings["mean_ctrl"]
    np.testing.assert_allclose(both, findings["importance"], rtol=0, atol=1e-5 * findings["importance"].max())
    for name in ("case", "ctrl"):
        assert (findings[f"mean_abs_{name}"] >= findings[f"mean_{name}"].abs() - 1e-12).all()
    assert (findings["saliency"] > 0).all()
    assert findings["saliency"].sum() == pytest.approx(1.0, abs=1e-6)
    assert findings["saliency"].idxmax() in (up, findings.index[0], findings.index[1])
    assert set(findings["direction"]) == {"case", "ctrl"}
    assert len(clf.history_) == 8


@pytest.mark.parametrize("normalize", ["zscore", "none", "minmax"])
def test_findings_do_not_hang_on_the_scale_of_features(normalize):
    """The pixels are standardised by the network itself."""
    X, y, up, down = two_shifts(3)
    X = X * np.geomspace(0.01, 100.0, X.shape[1]).astype(np.float32) + 5.0
    findings = classifier(normalize=normalize).fit(X, y).findings_
    assert set(findings.index[:2]) == {up, down}
    assert findings["called"].iloc[:2].all()
    assert findings.loc[up, "direction"] == "case"


def test_a_feature_that_spreads_one_class_is_found():
    """Its mean is the same in both classes: the square alone sees it."""
    rng = np.random.default_rng(4)
    y = np.arange(200) % 2
    X = rng.standard_normal((200, 300)).astype(np.float32)
    X[:, 17] *= np.where(y == 1, 4.0, 0.25)
    findings = classifier().fit(X, y).findings_
    assert findings.index[0] == 17
    assert findings.loc[17, "called"]


def test_noise_is_neither_ranked_nor_called():
    """The test of the job errs with probability 0.05: of 20 jobs 5 or fewer, 99.97 times in 100."""
    found = called = 0
    for seed in range(20):
        rng = np.random.default_rng([7, seed])
        clf = classifier(random_state=seed).fit(rng.standard_normal((60, 500)), np.arange(60) % 2)
        ranked = clf.findings_["rank"].notna().any()
        assert ranked == (clf.metrics_["test_p"] <= LEVEL) == (clf.metrics_["n_accepted"] > 0)
        if not ranked:
            assert not clf.findings_["called"].any()
            assert all("chance" in run["reason"] for run in clf.metrics_["runs"])
            assert np.isfinite(clf.feature_importances_).all()
        found += ranked
        called += clf.findings_["called"].any()
    assert called <= found <= binom.isf(1e-3, 20, LEVEL)


def test_three_classes():
    rng = np.random.default_rng(5)
    y = np.arange(90) % 3
    X = rng.standard_normal((90, 400)).astype(np.float32)
    for k, feature in enumerate((11, 200, 399)):
        X[:, feature] += 3.0 * (y == k)
    clf = classifier().fit(X, y)
    assert set(clf.findings_.index[:3]) == {11, 200, 399}
    assert clf.findings_["called"].iloc[:3].all()
    assert [clf.findings_.loc[feature, "direction"] for feature in (11, 200, 399)] == ["0", "1", "2"]
    # Each class speaks of its own feature most.
    assert [clf.findings_[f"mean_{k}"].idxmax() for k in range(3)] == [11, 200, 399]
    assert clf.predict_proba(X).shape == (90, 3)


@pytest.fixture(scope="module")
def one_in_twenty():
    """Ten samples of one class, 200 of the other, and two features that are 4 standard deviations apart."""
    rng = np.random.default_rng(6)
    y = (np.arange(210) % 21 == 0).astype(int)
    assert y.sum() == 10
    X = rng.standard_normal((210, 300)).astype(np.float32)
    X[:, [30, 31]] += 4.0 * y[:, None]
    return classifier().fit(X, y)


def test_one_sample_in_twenty_is_enough_for_a_class(one_in_twenty):
    clf = one_in_twenty
    assert set(clf.findings_.index[:2]) == {30, 31}
    assert clf.findings_["called"].iloc[:2].all()
    assert (clf.findings_.loc[[30, 31], "direction"] == "1").all()
    assert clf.metrics_["test_p"] <= LEVEL


def test_the_rare_class_is_predicted_too(one_in_twenty):
    """Each class counts alike, so that naming the larger one always is right one time in two."""
    assert one_in_twenty.metrics_["balanced_accuracy"] > 0.8


def test_rare_class_of_two_samples():
    rng = np.random.default_rng(8)
    y = np.array([0] * 30 + [1] * 30 + [2] * 2)
    X = rng.standard_normal((62, 100)).astype(np.float32)
    X[:, 3] += 4.0 * (y == 1)
    clf = classifier().fit(X, y)
    assert clf.findings_.index[0] == 3
    assert np.isfinite(clf.feature_importances_).all()
    assert np.isfinite(clf.predict_proba(X)).all()


def test_same_random_state_gives_the_same_bits():
    X, y, *_ = two_shifts(1)
    one, two, other = (classifier(random_state=s).fit(X, y) for s in (3, 3, 4))
    pd.testing.assert_frame_equal(one.findings_, two.findings_, check_exact=True)
    pd.testing.assert_frame_equal(one.predictions_, two.predictions_, check_exact=True)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert one.metrics_["test_p"] == two.metrics_["test_p"]
    assert not np.array_equal(one.feature_importances_, other.feature_importances_)


def test_no_sample_is_judged_by_a_network_that_learned_from_it():
    """Every run holds some samples out, others than the run before; each is predicted there alone."""
    X, y, *_ = two_shifts(2)
    clf = classifier().fit(X, y)
    per_run = [set(part["sample"]) for _, part in clf.predictions_.groupby("run")]
    assert len(per_run) == 8
    assert all(0.3 * 80 <= len(held) <= 0.5 * 80 for held in per_run)
    assert len({frozenset(held) for held in per_run}) > 4
    assert len(set.union(*per_run)) > 70


def test_order_of_samples_and_features_does_not_decide():
    X, y, up, down = two_shifts(5)
    rng = np.random.default_rng(0)
    features = rng.permutation(X.shape[1])
    clf = classifier().fit(X[:, features], y)
    plain = classifier().fit(X, y)
    assert set(features[clf.findings_.index[:2]]) == {up, down}
    # The same splits of the same samples: sums in another order.
    np.testing.assert_allclose(clf.feature_importances_, plain.feature_importances_[features], rtol=0, atol=1e-6)


def test_shuffled_arrangement_changes_no_additive_finding():
    X, y, *_ = two_shifts(5)
    natural, shuffled = (classifier(arrangement=name).fit(X, y) for name in ("natural", "shuffled"))
    np.testing.assert_allclose(natural.feature_importances_, shuffled.feature_importances_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(natural.predict_proba(X), shuffled.predict_proba(X), rtol=0, atol=1e-4)


def test_channels():
    """Two inputs side by side are two channels; a feature of the second is found under its own name."""
    rng = np.random.default_rng(9)
    y = np.arange(80) % 2
    one, two = rng.standard_normal((80, 50)), rng.standard_normal((80, 70))
    two[:, 33] += 3.0 * y
    names = [[f"a{i}" for i in range(50)], [f"b{i}" for i in range(70)]]
    parts = [pd.DataFrame(values, columns=columns) for values, columns in zip((one, two), names, strict=True)]
    source = open_source(parts, y=y, stack=True)
    assert source.channel_sizes == [50, 70]
    clf = classifier().fit_source(source)
    assert clf.layout_.channels == 2
    assert clf.findings_["feature"].iloc[0] == "b33"
    assert clf.findings_["called"].iloc[0]
    assert len(clf.findings_) == 120


def test_time_stops_early():
    X, y, *_ = two_shifts(0)
    clf = classifier(n_runs=40, time=1e-6).fit(X, y)
    assert clf.metrics_["n_runs"] == 1
    assert clf.findings_["rank"].notna().any()
    assert np.isnan(clf.metrics_["agreement"])
    assert "too few runs" in clf.metrics_["agreement_in_words"]
    assert classifier(n_runs=3, time="1h").fit(X, y).metrics_["n_runs"] == 3
    patchnet = classifier(backbone="patchnet", n_runs=5, epochs=1, time="0.000001s").fit(X, y)
    assert patchnet.metrics_["n_runs"] == 1


def test_runs_are_added_until_the_list_has_converged():
    """Half of the features tell the classes apart, each a little less than the one before."""
    rng = np.random.default_rng(10)
    y = np.arange(200) % 2
    X = rng.standard_normal((200, 40)).astype(np.float32)
    X += np.outer(y - 0.5, np.linspace(4.0, 0.0, 40)).astype(np.float32)
    told = []

    class Listener(SilentProgress):
        def task(self, description, total):
            told.append((description, total))
            return super().task(description, total)

    clf = classifier(n_runs=None).fit_source(ArraySource(X, labels=y), progress=Listener())
    assert 8 <= clf.metrics_["n_runs"] <= 60
    assert clf.metrics_["converged"] == (clf.metrics_["agreement"] >= 0.9)
    assert clf.metrics_["n_runs"] < 60 or not clf.metrics_["converged"]
    assert clf.metrics_["agreement"] > 0.5
    assert [total for name, total in told if name == "runs"] == [60]


@pytest.mark.parametrize(("limit", "accepted"), [(0.0, 8), (1.0, 0)])
def test_min_accuracy_takes_the_place_of_the_test(limit, accepted):
    rng = np.random.default_rng(1)
    clf = classifier(min_accuracy=limit).fit(rng.random((60, 16)), np.arange(60) % 2)
    assert clf.metrics_["n_accepted"] == accepted
    assert clf.findings_["rank"].notna().any() == (accepted > 0)
    if not accepted:
        assert "is below 1" in clf.metrics_["runs"][0]["reason"]
        assert not clf.findings_["called"].any()


def test_fdr_decides_what_is_called():
    rng = np.random.default_rng(11)
    y = np.arange(60) % 2
    X = rng.standard_normal((60, 300)).astype(np.float32)
    X[:, :30] += np.outer(y, np.linspace(2.0, 0.2, 30)).astype(np.float32)
    counts = [classifier(fdr=fdr).fit(X, y).metrics_["n_called"] for fdr in (0.01, 0.1, 0.5)]
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_sparse_and_dense_are_the_same():
    from scipy import sparse

    rng = np.random.default_rng(12)
    y = np.arange(60) % 2
    X = rng.poisson(0.4, (60, 150)).astype(np.float32)
    X[:, 8] += rng.poisson(4.0, 60) * y
    dense, csr = (classifier(normalize="log1p-zscore").fit(make(X), y) for make in (np.asarray, sparse.csr_matrix))
    pd.testing.assert_frame_equal(dense.findings_, csr.findings_, check_exact=False, rtol=1e-5, atol=1e-8)
    assert dense.findings_.index[0] == 8


def test_an_attribution_that_was_asked_for_is_made():
    """The additive network has no other attribution than its evidence: a method needs a network that is trained."""
    X, y, *_ = two_shifts(0)
    clf = classifier(method="saliency", n_runs=1, epochs=2, min_accuracy=0.0).fit(X, y)
    assert clf.results_.config["backbone"] == "patchnet"
    assert not clf.findings_["called"].any()
    assert (clf.feature_importances_ >= 0).all()
    with pytest.raises(InputError, match="method"):
        classifier(backbone="additive", method="saliency").fit(X, y)


@pytest.mark.parametrize("shift", [3.0, 0.0])
def test_report_of_a_job(shift, tmp_path, monkeypatch):
    if not shift:
        monkeypatch.setattr(figures, "render", lambda results: {})  # once is enough: drawing is slow
    rng = np.random.default_rng(15)
    y = np.arange(60) % 2
    X = rng.standard_normal((60, 80)).astype(np.float32)
    X[:, 44] += shift * y
    clf = classifier().fit(X, y)
    write_results(clf.results_, tmp_path, save_model=clf.save)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"findings.csv", "metrics.json", "report.html", "model.safetensors"} <= names
    assert not shift or {"top_features.png", "confusion_matrix.png"} <= names
    back = pd.read_csv(tmp_path / "findings.csv", float_precision="round_trip", keep_default_na=True)
    np.testing.assert_array_equal(back["q"], clf.findings_["q"])
    np.testing.assert_array_equal(back["called"], clf.findings_["called"])
    page = (tmp_path / "report.html").read_text()
    assert ("No feature has a rank" in page) == (shift == 0)
    assert ("feature_44" in page) == (shift > 0)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["test_p"] == clf.metrics_["test_p"]
    assert metrics["n_permutations"] == 99
    np.testing.assert_array_equal(pf.load(tmp_path).predict_proba(X), clf.predict_proba(X))


WORDING = "the source says it in its own words, naming the array and what was expected"
# What weights mean to the solver, exactly, is tested in test_sample_weights.py.
SPLITS = "runs hold samples out: a sample of weight 2 is on one side of a split, two copies of it may be on both"
EXPECTED = {
    "check_dtype_object": WORDING,
    "check_sample_weight_equivalence_on_dense_data": SPLITS,
    "check_sample_weight_equivalence_on_sparse_data": SPLITS,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [pf.DeepMapperClassifier(**{**QUICK, "n_runs": 4, "normalize": "log1p-zscore"}, negative="shift")],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def called_any(X, y, seed):
    return bool(classifier(random_state=seed).fit(X, y).findings_["called"].any())


def assert_level(n_found, n_jobs):
    """Within what the level allows, but for one time in a thousand; below it is no fault, calling asks for more."""
    assert n_found <= binom.isf(1e-3, n_jobs, LEVEL)


@pytest.mark.slow
def test_rate_of_jobs_of_noise_with_anything_called():
    found = 0
    for seed in range(50):
        rng = np.random.default_rng([13, seed])
        found += called_any(rng.standard_normal((60, 1000)), np.arange(60) % 2, seed)
    assert_level(found, 50)


@pytest.mark.slow
def test_rate_of_jobs_of_permuted_labels_with_anything_called(shared_data):
    """Real expression data, features that go together, classes of 47 and 25."""
    table = pd.read_csv(shared_data / "golub.csv.gz", index_col=0)
    y, X = table.pop("label").to_numpy(), table.to_numpy(np.float32)
    found = 0
    for seed in range(50):
        found += called_any(X, np.random.default_rng([14, seed]).permutation(y), seed)
    assert_level(found, 50)
    assert called_any(X, y, 0)
