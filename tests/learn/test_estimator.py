from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.stats import mannwhitneyu
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import has_fit_parameter

import pixfold as pf
from pixfold.errors import InputError
from pixfold.examples.synthetic import nihs
from pixfold.learn import run as runs
from pixfold.learn.job import Job
from pixfold.sources import ArraySource
from pixfold.util.progress import SilentProgress

anndata = pytest.importorskip("anndata")

# One CPU thread, float32: the same on every machine, and no slower at this size.
QUICK = {"device": "cpu", "threads": 1, "precision": "32-true", "random_state": 0}
TINY = {**QUICK, "backbone": "patchnet", "n_runs": 1, "epochs": 2, "batch_size": 16}


def classifier(**changes) -> pf.DeepMapperClassifier:
    return pf.DeepMapperClassifier(**{**TINY, **changes})


def tiny(n=48, f=12, seed=0):
    """Random values in [0, 1), the third feature of class 1 shifted by 1; class names."""
    rng = np.random.default_rng(seed)
    X, y = rng.random((n, f)).astype(np.float32), np.array(["control", "case"])[np.arange(n) % 2]
    X[:, 2] += y == "case"
    return X, y


@pytest.fixture(scope="module")
def haystack():
    return nihs(600, 1024, seed=0)


@pytest.fixture(scope="module")
def small_haystack():
    return nihs(400, 400, seed=1)


@pytest.fixture(scope="module")
def fitted(haystack):
    clf = pf.DeepMapperClassifier(**{**QUICK, "backbone": "patchnet", "n_runs": 2})
    return clf.fit(haystack.X, haystack.y)


@pytest.fixture(scope="module")
def small():
    """A quickly fitted classifier and its data."""
    X, y = tiny()
    return classifier().fit(X, y), X, y


# The whole job


def assert_needles_first(clf, needles):
    assert set(clf.findings_.index[:2]) == set(needles)
    assert clf.findings_["rank"].iloc[:2].tolist() == [1.0, 2.0]


def test_needles_are_found(haystack, fitted):
    assert fitted.metrics_["test_accuracy"] > 0.9
    assert fitted.metrics_["n_accepted"] == fitted.metrics_["n_runs"] == 2
    assert_needles_first(fitted, haystack.needles)


def test_findings_table(haystack, fitted):
    findings = fitted.findings_
    assert findings.columns.tolist() == [
        *("feature", "rank", "importance", "importance_se", "direction", "p", "q", "called"),
        *("selection_frequency", "mean_rank", "saliency", "dropped"),
        *("test_statistic", "test_p", "test_q", "rank_test", "rank_l2", "rank_l1"),
        *("mean_0", "mean_abs_0", "mean_1", "mean_abs_1"),
    ]
    assert len(findings) == 1024
    assert sorted(findings["feature"]) == sorted(f"feature_{i}" for i in range(1024))
    ranked = findings["rank"].notna()
    assert (np.diff(findings.loc[ranked, "importance"]) <= 0).all()
    assert (findings.loc[ranked, "importance"] > 0).all()
    assert (findings.loc[~ranked, "importance"] <= 0).all()
    # The index is the feature's position, so this is feature order.
    np.testing.assert_array_equal(findings["importance"].sort_index(), fitted.feature_importances_)
    # Each run's absolute evidence has the sum 1; where the signs of runs differ, less is left.
    assert 0.2 < np.abs(fitted.feature_importances_).sum() <= 1.0 + 1e-12
    assert findings["p"].between(0, 1).all()
    assert (findings["q"] >= findings["p"]).all()
    np.testing.assert_array_equal(findings["called"], findings["q"] <= 0.1)
    assert (findings["mean_abs_0"] >= findings["mean_0"].abs()).all()


def test_needles_point_the_right_way(haystack, fitted):
    """A larger value of a needle speaks for class 1, and the needle for the truth in both classes."""
    for needle in haystack.needles:
        row = fitted.findings_.loc[needle]
        assert row["direction"] == "1"
        assert row["called"]
        assert row["mean_1"] > 0
        assert row["mean_0"] > 0


def test_everything_about_the_runs_is_kept(haystack, fitted):
    results = fitted.results_
    assert set(fitted.history_["run"]) == {1, 2}
    assert results.predictions["run"].value_counts().tolist() == [150, 150]  # a quarter of 600 each
    assert results.class_means.shape == (2, 1024)
    lower, higher = results.class_means[:, haystack.needles]
    assert (higher > lower).all()
    assert results.class_names == ["0", "1"]
    assert {run["seed"] for run in fitted.metrics_["runs"]} == {fitted.metrics_["runs"][i]["seed"] for i in (0, 1)}
    assert fitted.metrics_["runs"][0]["seed"] != fitted.metrics_["runs"][1]["seed"]
    assert results.config["random_state"] == 0
    losses = fitted.history_.groupby("run")["validation_loss"].min()
    assert fitted.metrics_["model_of"] == f"run {losses.idxmin()}"
    assert fitted.metrics_["test_p"] <= 0.05
    assert fitted.metrics_["n_called"] == fitted.findings_["called"].sum() >= 2
    assert fitted.metrics_["p_values_from"] == "held-out samples"


def test_what_the_report_shows_of_samples_and_runs_is_kept(haystack, fitted):
    results, metrics = fitted.results_, fitted.metrics_
    best = results.findings.index[:9]
    np.testing.assert_array_equal(results.top_values.features, best)
    # The same values, classes and order as the means of the classes are made of.
    means = [results.top_values.values[results.top_values.labels == code].mean(axis=0) for code in (0, 1)]
    np.testing.assert_allclose(means, results.class_means[:, best], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(results.class_evidence[1], results.findings["mean_1"].sort_index())
    assert 0.5 < metrics["auc"] <= 1.0
    assert set(metrics["class_auc"]) == {"0", "1"}
    assert sum(metrics["class_sizes"].values()) == metrics["n_samples"] == 600
    assert metrics["agreement_curve"][-1] == metrics["agreement"]
    assert metrics["hardware"]["cores"]


def test_runs_have_different_test_samples(fitted):
    one, two = (set(part["sample"]) for _, part in fitted.predictions_.groupby("run"))
    assert one != two


def test_same_random_state_gives_the_same_findings():
    X, y = tiny()
    one, two, other = (classifier(random_state=s, n_runs=2).fit(X, y) for s in (3, 3, 4))
    pd.testing.assert_frame_equal(one.findings_, two.findings_, check_exact=True)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert not np.array_equal(one.feature_importances_, other.feature_importances_)


def test_random_state_may_be_a_generator_or_none():
    X, y = tiny()
    one, two = (classifier(random_state=np.random.RandomState(5)).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.feature_importances_, two.feature_importances_)
    free = [classifier(random_state=None).fit(X, y).feature_importances_ for _ in range(2)]
    assert not np.array_equal(*free)


def test_global_generators_are_left_alone():
    X, y = tiny()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (the old generator is what is looked at)
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    classifier().fit(X, y)
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_digits_with_patchnet():
    X, y = load_digits(return_X_y=True)
    clf = pf.DeepMapperClassifier(**{**QUICK, "backbone": "patchnet", "n_runs": 1}).fit(X, y)
    assert clf.metrics_["test_accuracy"] > 0.9
    # Pixels that are black in nearly every digit cannot matter most.
    ink = (X > 0).mean(axis=0)
    assert ink[clf.findings_.index[:10]].min() > 0.1


def test_digits_with_resnet18():
    X, y = load_digits(n_class=3, return_X_y=True)
    settings = {**QUICK, "backbone": "resnet18", "n_runs": 1, "epochs": 3, "batch_size": 16}
    clf = pf.DeepMapperClassifier(**settings).fit(X, y)
    assert clf.metrics_["test_accuracy"] > 0.9


def test_runs_stop_when_the_ranking_has_converged():
    """One feature decides the classes, and the first rank is all that is compared."""
    rng = np.random.default_rng(0)
    X = rng.random((120, 64)).astype(np.float32)
    X[:, 20] += np.arange(120) % 2
    told = []

    class Listener(SilentProgress):
        def log(self, message):
            told.append(message)

    clf = classifier(n_runs=9, top_k=1, epochs=8).fit_source(
        ArraySource(X, labels=np.arange(120) % 2), progress=Listener()
    )
    assert clf.metrics_["n_runs"] == 2  # the fewest that may count as converged
    assert clf.metrics_["converged"]
    assert clf.metrics_["agreement"] == 1.0
    assert sum(message.startswith("run ") for message in told) == 2
    assert clf.findings_.index[0] == 20


def test_shuffled_runs(small_haystack):
    X, y, needles, _ = small_haystack
    settings = {**QUICK, "backbone": "patchnet", "n_runs": 3, "arrangement": "shuffled"}
    clf = pf.DeepMapperClassifier(**settings).fit(X, y)
    assert 2 <= clf.metrics_["n_runs"] <= 3  # fewer when two agree
    assert clf.metrics_["test_accuracy"] > 0.9
    assert_needles_first(clf, needles)
    assert not np.array_equal(clf.layout_.pixel_of_feature, np.arange(X.shape[1]))
    # Prediction goes through the layout of the run that is kept.
    assert (clf.predict(X) == y).mean() > 0.9


def test_each_run_has_its_own_arrangement(monkeypatch):
    layouts = []
    original = runs.classify

    def watched(job, run):
        outcome = original(job, run)
        layouts.append(outcome.layout.pixel_of_feature)
        return outcome

    monkeypatch.setattr(runs, "classify", watched)
    X, y = tiny()
    classifier(arrangement="shuffled", n_runs=2).fit(X, y)
    assert not np.array_equal(*layouts)
    classifier(n_runs=2).fit(X, y)
    np.testing.assert_array_equal(layouts[2], layouts[3])


@pytest.mark.parametrize("method", ["integrated_gradients", "input_x_gradient"])
def test_other_attribution_methods_find_the_needles(method, small_haystack):
    X, y, needles, _ = small_haystack
    settings = {**QUICK, "backbone": "patchnet", "n_runs": 1, "method": method}
    assert_needles_first(pf.DeepMapperClassifier(**settings).fit(X, y), needles)


def test_noise_is_not_accepted():
    rng = np.random.default_rng(1)
    clf = classifier(n_runs=1).fit(rng.random((60, 16)), np.arange(60) % 2)
    assert clf.metrics_["n_accepted"] == 0
    assert "chance" in clf.metrics_["runs"][0]["reason"]
    assert np.isfinite(clf.feature_importances_).all()  # there is evidence, but nothing that it could be of
    assert clf.findings_["rank"].isna().all()
    assert not clf.findings_["called"].any()
    assert clf.metrics_["test_p"] > 0.05
    assert clf.predict(rng.random((3, 16))).shape == (3,)  # a model there is all the same


@pytest.mark.parametrize(("limit", "accepted"), [(0.0, 1), (1.0, 0)])
def test_min_accuracy(limit, accepted):
    rng = np.random.default_rng(1)
    clf = classifier(min_accuracy=limit).fit(rng.random((60, 16)), np.arange(60) % 2)
    assert clf.metrics_["n_accepted"] == accepted


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"learning_rate": 1e30}, "loss is (nan|inf)"),
        ({"gate_penalty": 1e6}, "every gate closed"),
    ],
)
def test_a_run_that_goes_wrong_is_rejected_not_raised(training, reason, tmp_path):
    X, y = tiny()
    clf = classifier(training=training, epochs=4).fit(X, y)
    (run,) = clf.metrics_["runs"]
    assert run["accepted"] is False
    assert re.search(reason, run["reason"])
    assert clf.metrics_["n_accepted"] == 0
    settings = {name: value for name, value in TINY.items() if name != "backbone"}
    ae = pf.DeepMapperAutoencoder(4, **{**settings, "epochs": 4, "training": training}).fit(X)
    assert ae.metrics_["n_accepted"] == 0
    assert re.search(reason, ae.metrics_["runs"][0]["reason"])


def test_the_best_accepted_run_is_kept_when_others_fail(monkeypatch):
    original = runs.classify

    def first_fails(job, run):
        outcome = original(job, run)
        if run == 1:  # with the lowest loss of all
            outcome.metrics.update(accepted=False, reason="for the test")
            return dataclasses.replace(outcome, importance=None, score=-1.0)
        return outcome

    monkeypatch.setattr(runs, "classify", first_fails)
    X, y = tiny()
    clf = classifier(n_runs=2, min_accuracy=0.0).fit(X, y)
    assert clf.metrics_["model_of"] == "run 2"
    assert clf.metrics_["n_accepted"] == 1
    assert clf.consensus_.n_runs == 1
    # The evidence of the other run alone.
    assert np.abs(clf.feature_importances_).sum() == pytest.approx(1.0, abs=1e-12)


# Without labels


@pytest.fixture(scope="module")
def counts():
    """Sparse negative-binomial counts of two hidden groups: (CSR, group, marker features)."""
    rng = np.random.default_rng(0)
    n, f, n_markers = 500, 256, 24
    group = np.arange(n) % 2
    mean = np.tile(rng.gamma(0.5, 0.6, f), (n, 1))
    markers = rng.choice(f, n_markers, replace=False)
    for i, gene in enumerate(markers):
        mean[:, gene] = np.where(group == i % 2, 6.0, 0.3)
    mean *= rng.lognormal(0.0, 0.3, n)[:, None]  # sequencing depth
    dispersion = 2.0
    X = rng.negative_binomial(dispersion, dispersion / (dispersion + mean))
    return sparse.csr_matrix(X.astype(np.float32)), group, markers


@pytest.fixture(scope="module")
def autoencoder(counts):
    settings = {**QUICK, "normalize": "auto", "n_runs": 1, "backbone": "convolutional"}
    return pf.DeepMapperAutoencoder(16, **settings).fit(counts[0])


def test_autoencoder_ranks_the_markers_above_the_others(counts, autoencoder):
    _, _, markers = counts
    importance = autoencoder.feature_importances_
    assert importance.sum() == pytest.approx(1.0, abs=1e-12)
    others = np.setdiff1d(np.arange(256), markers)
    # Chance would mix them: one time in a thousand it would rank the markers this high or higher.
    assert mannwhitneyu(importance[markers], importance[others], alternative="greater").pvalue < 1e-3


def test_autoencoder_explains_variance(autoencoder):
    assert autoencoder.metrics_["explained_variance"] > 0
    assert autoencoder.metrics_["runs"][0]["accepted"]
    assert any("counts" in message for message in autoencoder.results_.messages)
    assert any("without labels the list" in message for message in autoencoder.results_.messages)


def test_latent_space_separates_the_groups(counts, autoencoder):
    X, group, _ = counts
    latent = autoencoder.transform(X)
    assert latent.shape == (500, 16)
    assert latent.dtype == np.float32
    np.testing.assert_array_equal(latent, autoencoder.results_.latent.to_numpy())
    from sklearn.linear_model import LogisticRegression

    half = LogisticRegression(max_iter=1000).fit(latent[:250], group[:250])
    assert half.score(latent[250:], group[250:]) > 0.9


def test_autoencoder_does_not_look_at_labels(counts):
    X = counts[0][:80].toarray()
    settings = {name: value for name, value in TINY.items() if name != "backbone"}
    with_labels = pf.DeepMapperAutoencoder(4, **settings).fit_source(ArraySource(X, labels=np.zeros(80)))
    without = pf.DeepMapperAutoencoder(4, **settings).fit(X, y=np.arange(80))
    np.testing.assert_array_equal(with_labels.transform(X), without.transform(X))


def test_autoencoder_without_a_bottleneck(counts):
    X = counts[0][:80]
    settings = {name: value for name, value in TINY.items() if name != "backbone"}
    ae = pf.DeepMapperAutoencoder(None, **settings).fit(X)
    assert ae.transform(X).shape == (80, ae.module_.n_latent)


# Normalisation chosen from the data


def genotypes(rng):
    return rng.binomial(2, 0.3, (48, 12))


@pytest.mark.parametrize(
    ("make", "preset", "library_size"),
    [
        (lambda rng: rng.poisson(3.0, (48, 12)), None, 1e4),
        (genotypes, "genotype", None),
        (lambda rng: rng.exponential(size=(48, 12)), "log1p-zscore", None),
        (lambda rng: rng.standard_normal((48, 12)), "zscore", None),
    ],
    ids=["counts", "genotypes", "values", "normal values"],
)
def test_normalize_auto(make, preset, library_size):
    X = make(np.random.default_rng(0))
    clf = classifier(normalize="auto").fit(X, np.arange(48) % 2)
    assert clf.normalizer_.preset == preset
    assert clf.normalizer_.parts.library_size == library_size


def test_negative_values():
    X, y = tiny()
    X[:, 5] -= 0.5
    with pytest.raises(InputError, match=r"negative.*feature_5.*negative='shift'"):
        classifier(normalize="log1p-zscore", negative="error").fit(X, y)
    clf = classifier(normalize="log1p-zscore").fit(X, y)
    assert clf.normalizer_.negative == "shift"
    assert any("shifted" in message and "feature_5" in message for message in clf.results_.messages)
    assert classifier(normalize="log1p-zscore", negative="shift").fit(X, y).normalizer_.negative == "shift"


def test_a_normalizer_is_a_pattern(small):
    _, X, y = small
    pattern = pf.Normalizer("minmax")
    clf = classifier(normalize=pattern).fit(X, y)
    assert not pattern.is_fitted
    assert clf.normalizer_.preset == "minmax"
    assert clf.normalizer_.is_fitted


def test_normaliser_learns_from_training_samples_alone():
    X, y = tiny()
    clf = classifier(normalize="minmax", n_runs=1).fit(X, y)
    test = {name.removeprefix("sample_") for name in clf.predictions_["sample"]}
    # An outlier among the test samples does not move the limits.
    changed = X.copy()
    changed[int(min(test, key=int)), 7] = 50.0
    again = classifier(normalize="minmax", n_runs=1).fit(changed, y)
    for name, value in clf.normalizer_.state().items():
        np.testing.assert_array_equal(again.normalizer_.state()[name], value)


# What can be given


def frame_of(X):
    frame = pd.DataFrame(X, columns=[f"gene{i}" for i in range(X.shape[1])])
    frame["sex"] = pd.Categorical(["f", "m", "m"] * (len(X) // 3))
    return frame


def csv_of(X, tmp_path):
    frame_of(X).to_csv(tmp_path / "x.csv", index_label="")
    return tmp_path / "x.csv"


def h5ad_of(X, tmp_path):
    anndata_of(X, tmp_path).write_h5ad(tmp_path / "x.h5ad")
    return str(tmp_path / "x.h5ad")


def anndata_of(X, _):
    adata = anndata.AnnData(sparse.csr_matrix(X))
    adata.var_names = [f"gene{i}" for i in range(X.shape[1])]
    adata.obs_names = [f"cell{i}" for i in range(X.shape[0])]
    return adata


KINDS = {
    "numpy": lambda X, _: X,
    "float64": lambda X, _: X.astype(np.float64),
    "csr": lambda X, _: sparse.csr_matrix(X),
    "frame": lambda X, _: frame_of(X),
    "csv": csv_of,
    "anndata": anndata_of,
    "h5ad": h5ad_of,
}


@pytest.mark.parametrize("kind", KINDS)
def test_input_kinds(kind, tmp_path):
    X, y = tiny()
    data = KINDS[kind](X, tmp_path)
    clf = classifier().fit(data, y)
    probabilities = clf.predict_proba(data)
    assert probabilities.shape == (48, 2)
    # Softmax in float32: a sum of two is right to 2 ulp.
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=2.5e-7)
    predicted = clf.predict(data)
    assert clf.classes_.tolist() == ["case", "control"]
    assert set(predicted) <= set(clf.classes_)
    np.testing.assert_array_equal(predicted, clf.classes_[probabilities.argmax(axis=1)])
    assert clf.score(data, y) == (predicted == y).mean()
    assert clf.n_features_in_ == 12 + (kind in ("frame", "csv"))
    if kind in ("frame", "csv"):
        assert clf.categories_ == {"sex": ["f", "m"]}
    assert hasattr(clf, "feature_names_in_") == (kind not in ("numpy", "float64", "csr"))


def test_one_hot_columns(tmp_path):
    X, y = tiny()
    clf = classifier().fit(pf.open_source(csv_of(X, tmp_path), categorical="onehot"), y)
    assert clf.categories_ == {"sex=": ["f", "m"]}
    assert clf.n_features_in_ == 14
    clf.save(tmp_path / "model")
    expected = clf.predict_proba(csv_of(X, tmp_path))
    np.testing.assert_array_equal(pf.load(tmp_path / "model").predict_proba(csv_of(X, tmp_path)), expected)
    assert clf.predict_proba(frame_of(X)).shape == expected.shape
    with pytest.raises(InputError, match="'x' is none of the known categories"):
        clf.predict(frame_of(X).assign(sex="x"))


def test_predictions_are_in_sample_order(small):
    clf, X, _ = small
    order = np.random.default_rng(2).permutation(len(X))
    assert len(set(clf.predict_proba(X)[:, 0].tolist())) > len(X) // 2
    np.testing.assert_array_equal(clf.predict(X[order]), clf.predict(X)[order])


def test_one_sample_is_predicted_as_among_others(small):
    clf, X, _ = small
    # Batches of another size may be summed in another order: 1e-5 is about 100 ulp of a probability near 1.
    np.testing.assert_allclose(clf.predict_proba(X[3:4]), clf.predict_proba(X)[3:4], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array(["b", "a"])[np.arange(48) % 2], ["a", "b"]),
        (np.array([7, 3])[np.arange(48) % 2], [3, 7]),
        (np.arange(48) % 2 == 0, [False, True]),
        (pd.Categorical(["high" if i % 2 else "low" for i in range(48)]), ["high", "low"]),
        (pd.Series([["x", "y"][i % 2] for i in range(48)], dtype=object), ["x", "y"]),
        ([1.0 if i % 2 else 2.0 for i in range(48)], [1.0, 2.0]),
    ],
    ids=["text", "int", "bool", "categorical", "series", "list of floats"],
)
def test_label_kinds(labels, classes):
    X, _ = tiny()
    clf = classifier().fit(X, labels)
    assert clf.classes_.tolist() == classes
    assert set(clf.predict(X).tolist()) <= set(classes)
    assert type(clf.predict(X).tolist()[0]) is type(classes[0])


@pytest.mark.parametrize("hole", [None, np.nan, ""])
def test_samples_without_a_label_are_left_out(hole):
    X, y = tiny()
    labels = y.astype(object)
    labels[[4, 9]] = hole
    clf = classifier().fit(X, labels)
    assert clf.metrics_["n_samples"] == 46
    assert clf.classes_.tolist() == ["case", "control"]
    assert not {"sample_4", "sample_9"} & set(clf.predictions_["sample"])
    assert any("without a label" in message for message in clf.results_.messages)


def test_empty_features_and_samples():
    X, y = tiny()
    X[:, [0, 7]] = 0
    X[5] = 0
    clf = classifier().fit(X, y)
    assert clf.results_.dropped == {"features": ["feature_0", "feature_7"], "samples": ["sample_5"]}
    assert (clf.metrics_["n_features"], clf.metrics_["n_features_used"]) == (12, 10)
    assert clf.n_features_in_ == 12
    assert (clf.layout_.pixel_of_feature[[0, 7]] == -1).all()
    assert (clf.feature_importances_[[0, 7]] == 0).all() or np.isnan(clf.feature_importances_).all()
    expected = clf.predict_proba(X)
    X[:, 0] = 9.0  # has no pixel, so it says nothing
    np.testing.assert_array_equal(clf.predict_proba(X), expected)


# Features that are not those that were learned


@pytest.fixture(scope="module")
def named():
    X, y = tiny()
    frame = frame_of(X)
    return classifier().fit(frame, y), frame


def test_missing_and_extra_features_are_named(named):
    clf, frame = named
    with pytest.raises(InputError, match=r"1 of the 13 features .* missing \('gene4'\); fill_missing=True"):
        clf.predict(frame.drop(columns="gene4"))
    expected = clf.predict_proba(frame)
    for extra in (frame.assign(other=1.0), frame.assign(kind=["a", "b"] * 24)):
        with pytest.warns(UserWarning, match="1 feature that the model has not learned is ignored"):
            np.testing.assert_array_equal(clf.predict_proba(extra), expected)
    with pytest.raises(InputError, match=r"4 of the 13 .*\('gene0', 'gene1', 'gene2' and 1 more\)"):
        clf.predict(frame.drop(columns=[f"gene{i}" for i in range(4)]).assign(new=0.0))


def test_order_of_features(named):
    clf, frame = named
    np.testing.assert_array_equal(clf.predict_proba(frame[frame.columns[::-1]]), clf.predict_proba(frame))


def test_number_of_features(small, named):
    clf, X, _ = small
    with pytest.raises(InputError, match="X has 11 features, but DeepMapperClassifier is expecting 12"):
        clf.predict(X[:, :11])
    with pytest.raises(InputError, match="X has 12 features, but DeepMapperClassifier is expecting 13"):
        named[0].predict(X)


def test_unknown_category(named):
    clf, frame = named
    with pytest.raises(InputError, match=r"'sex'.*'x' is none of the known categories"):
        clf.predict(frame.assign(sex=["x"] * 48))


def test_text_where_numbers_were_learned():
    X, y = tiny()
    frame = pd.DataFrame(X, columns=[f"gene{i}" for i in range(12)])
    clf = classifier().fit(frame, y)
    with pytest.raises(InputError, match=r"'gene3' must hold numbers as in training, got text"):
        clf.predict(frame.assign(gene3=["a", "b"] * 24))


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "missing.*feature_4.*missing='mean'"), (np.inf, "infinite.*feature_4")]
)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_values_that_cannot_be_predicted_from(small, value, said, make):
    clf, X, _ = small
    X = X.copy()
    X[6, 4] = value
    with pytest.raises(InputError, match=said):
        clf.predict(make(X))


def test_labels_are_needed(small):
    _, X, _ = small
    with pytest.raises(InputError, match="requires y to be passed"):
        classifier().fit(X, None)
    with pytest.raises(InputError, match="needs labels"):
        classifier().fit_source(ArraySource(X))


def test_column_of_labels(small):
    clf, X, y = small
    with pytest.warns(DataConversionWarning, match="column-vector"):
        again = classifier().fit(X, y[:, None])
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_not_fitted(tmp_path):
    X, _ = tiny()
    for call in (lambda c: c.predict(X), lambda c: c.predict_proba(X), lambda c: c.save(tmp_path)):
        with pytest.raises(NotFittedError):
            call(classifier())
    with pytest.raises(NotFittedError):
        pf.DeepMapperAutoencoder().transform(X)


def test_fitting_again_forgets(named):
    """A model that was fitted on named features and then on an array has no names left."""
    X, y = tiny()
    clf = classifier().fit(*[frame_of(X), y])
    clf.fit(X, y)
    assert not hasattr(clf, "feature_names_in_")
    assert clf.categories_ == {}
    assert clf.predict(X).shape == (48,)


# scikit-learn


def test_clone_and_parameters():
    clf = classifier(training={"gate_penalty": 0.1})
    assert clone(clf).get_params() == clf.get_params()
    assert clf.set_params(n_runs=3, arrangement="shuffled") is clf
    assert (clf.n_runs, clf.arrangement) == (3, "shuffled")
    ae = pf.DeepMapperAutoencoder(7)
    assert clone(ae).latent_dim == 7


def test_fit_changes_no_parameter(small):
    clf = classifier()
    before = dict(clf.get_params())
    clf.fit(*small[1:])
    assert clf.get_params() == before


def test_pipeline_and_cross_validation():
    X, y = tiny(60)
    pipeline = make_pipeline(StandardScaler(), classifier(normalize="none", epochs=8))
    assert pipeline.fit(X, y).predict(X).shape == (60,)
    scores = cross_val_score(pipeline, X, y, cv=2, error_score="raise")
    assert scores.shape == (2,)
    assert (scores > 0.5).all()


WORDING = "the source says it in its own words, naming the array and what was expected"
EXPECTED = {"check_dtype_object": WORDING}  # a TypeError there; here an error that names row and column
# What the weights themselves mean is tested in test_sample_weights.py.
SPLITS = (
    "runs hold samples out: a sample of weight 2 is on one side of a split, two copies of it may be on both; and only "
    "ratios of weights count"
)
WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": SPLITS,
    "check_sample_weight_equivalence_on_sparse_data": SPLITS,
}


def checked():
    few = {**QUICK, "n_runs": 1, "negative": "shift"}
    return [
        pf.DeepMapperClassifier("patchnet", epochs=10, **few),
        pf.DeepMapperAutoencoder(4, epochs=2, **few),
    ]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    checked(),
    expected_failed_checks=lambda made: EXPECTED | (WEIGHTS if has_fit_parameter(made, "sample_weight") else {}),
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_a_budget_streams_what_does_not_fit_into_half_of_it(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.random((120, 400), dtype=np.float32)
    y = np.arange(120) % 2
    X[:, 7] = 0
    np.save(tmp_path / "x.npy", X)
    settings = {**QUICK, "backbone": "patchnet", "n_runs": 1, "epochs": 1, "batch_size": 8, "min_accuracy": 0.0}
    sources = []

    class Watched(SilentProgress):
        def task(self, description, total):
            sources.append((description, total))
            return super().task(description, total)

    def fitted(memory):
        sources.clear()
        clf = pf.DeepMapperClassifier(**settings, memory=memory)
        source = pf.open_source(tmp_path / "x.npy", y=y)
        return clf.fit_source(source, progress=Watched()), [name for name, _ in sources]

    held, tasks = fitted("100MB")
    assert tasks[:4] == ["checking values", "reading into memory", "looking for leaks", "normaliser"]
    streamed, tasks = fitted("380kB")
    assert tasks[:3] == ["checking values", "looking for leaks", "normaliser"]
    assert "reading into memory" not in tasks
    assert {"training", "predicting", "class means"} <= set(tasks)
    for clf in (held, streamed):
        dropped = clf.findings_.loc[clf.findings_["dropped"]]
        assert dropped["feature"].tolist() == ["feature_7"]
        assert len(clf.predict(tmp_path / "x.npy")) == 120
    np.testing.assert_array_equal(
        held.normalizer_.parameters().shift != 0, streamed.normalizer_.parameters().shift != 0
    )
    with pytest.raises(InputError, match="memory must be a size such as"):
        fitted("plenty")
    with pytest.raises(InputError, match=r"scan: memory must be at least .* bytes for .*x\.npy, .*, got 1,000 bytes"):
        fitted(1000)


@pytest.mark.parametrize(("trained_on", "folded_on"), [("cpu", "cpu"), ("mps", "cpu"), ("cuda:1", "cuda:1")])
def test_samples_are_folded_where_a_gpu_trains_on_them(monkeypatch, trained_on, folded_on):
    made = []
    monkeypatch.setattr("pixfold.learn.job.FoldLoader", lambda *_, device, **__: made.append(str(device)))
    monkeypatch.setattr("pixfold.learn.job.resolve_device", lambda _: torch.device(trained_on))
    X, y = tiny()
    options = classifier().check_arguments()
    job = Job.start(ArraySource(X, labels=y), options, supervised=True, progress=SilentProgress())
    job.loader(None, None)
    job.loader(None, None, on_cpu=True)
    assert made == [folded_on, "cpu"]
