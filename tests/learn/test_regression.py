"""DeepMapperRegressor: quantities."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import pixfold as pf
from pixfold.errors import InputError
from pixfold.learn.accept import correlation_p_value
from pixfold.learn.additive.pixels import Pixels
from pixfold.learn.additive.solver import Targets, network, solve
from pixfold.learn.attribute import attribute_quantity
from pixfold.learn.data_checks import far_out
from pixfold.learn.objectives import Quantity
from pixfold.learn.results import regression_metrics
from pixfold.learn.tables import values_table
from pixfold.learn.unit import Unit
from pixfold.report import write_results
from pixfold.sources import ArraySource
from pixfold.stream.labels import encode_quantity, is_quantity

QUICK = {"device": "cpu", "threads": 1, "precision": "32-true", "random_state": 0, "normalize": "zscore"}
EFFECTS = {3: 1.0, 50: -1.0, 300: 0.9, 411: -0.9}


def regressor(**changes) -> pf.DeepMapperRegressor:
    return pf.DeepMapperRegressor(**{**QUICK, "n_runs": 8, "baselines": False, **changes})


def planted(n=200, f=500, seed=0):
    """Normal values; a quantity in years that four of the features add to."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, f)).astype(np.float32)
    weights = np.zeros(f)
    for feature, effect in EFFECTS.items():
        weights[feature % f] += effect
    return X, 50.0 + 10.0 * (X @ weights + rng.normal(size=n))


@pytest.fixture(scope="module")
def data():
    return planted()


@pytest.fixture(scope="module")
def fitted(data):
    return regressor(baselines=True).fit(*data)


# The whole job


def test_planted_effects_are_found_and_called(fitted):
    assert set(fitted.findings_.index[:4]) == set(EFFECTS)
    called = fitted.findings_[fitted.findings_["called"]]
    assert set(EFFECTS) <= set(called.index)
    assert len(called) <= 6  # at a false discovery rate of 0.1
    assert fitted.metrics_["test_p"] <= 0.05
    assert fitted.metrics_["stability"]["threshold"] is not None
    assert (fitted.findings_["stability"].iloc[:4] > 0.8).all()


def test_direction_is_the_sign_of_the_effect(fitted):
    for feature, effect in EFFECTS.items():
        assert fitted.findings_.loc[feature, "direction"] == ("higher" if effect > 0 else "lower")
    assert not [column for column in fitted.findings_.columns if column.startswith("mean_abs")]


def test_feature_with_a_curved_effect_is_found():
    """The mean of a parabola over the samples is flat: only the squares see it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 40)).astype(np.float32)
    reg = regressor().fit(X, X[:, 7] ** 2 + 0.3 * rng.normal(size=300))
    assert reg.findings_["feature"].iloc[0] == "feature_7"
    assert reg.metrics_["test_r2"] > 0.8


def test_noise_gives_nothing():
    """The job's own test lets through one in twenty; the features of these are few."""
    called = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=60) if seed % 2 else rng.standard_t(2, size=60)  # the latter with far outliers
        reg = regressor(random_state=seed).fit(rng.normal(size=(60, 400)), y)
        called.append(int(reg.findings_["called"].sum()))
        if reg.metrics_["test_p"] > 0.05:
            assert reg.findings_["rank"].isna().all()
            assert "the quantity cannot be told from chance" in reg.metrics_["runs"][0]["reason"]
    assert sum(n > 0 for n in called) <= 1


def test_r2_is_about_that_of_a_ridge():
    """On data of few factors, which is what ridges are for, on the same held-out samples."""
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(150, 5))
    X = factors @ rng.normal(size=(5, 600)) + rng.normal(size=(150, 600))
    y = 2 * factors[:, 0] + factors[:, 1] + rng.normal(size=150)
    reg = regressor().fit(X, y)
    place = {name: i for i, name in enumerate(ArraySource(X).sample_names)}
    theirs = []
    for _, rows in reg.predictions_.groupby("run"):
        held = np.array([place[name] for name in rows["sample"]])
        train = np.setdiff1d(np.arange(150), held)
        ridge = RidgeCV(np.logspace(-1, 5, 13)).fit(X[train], y[train])
        theirs.append(r2_score(y[held], ridge.predict(X[held])))
    assert reg.metrics_["test_r2"] == pytest.approx(np.mean(theirs), abs=0.04)
    assert reg.metrics_["test_r2"] > 0.6


def test_scores_are_those_of_the_predictions(data, fitted):
    table, metrics = fitted.predictions_, fitted.metrics_
    assert table.columns.tolist() == ["run", "sample", "target", "predicted"]
    for number, rows in table.groupby("run"):
        run = metrics["runs"][number - 1]
        assert run["r2"] == pytest.approx(r2_score(rows["target"], rows["predicted"]))
        assert {"spearman", "pearson"} <= set(run)
    assert metrics["test_r2"] == pytest.approx(np.mean([run["r2"] for run in metrics["runs"]]))
    assert table["target"].isin(data[1]).all()


def test_baselines_are_beside(fitted):
    assert {"test_p", "test_q", "rank_test", "rank_l1", "rank_l2"} <= set(fitted.findings_.columns)
    baselines = fitted.metrics_["baselines"]
    assert baselines["test"]["name"] == "t test of Pearson's correlation"
    assert {"r2", "spearman"} <= set(baselines["l2"])
    assert baselines["l1"]["r2"] > 0.5  # four of 500 features: what a lasso is for
    assert any("lasso (L1) has an R2 of" in message for message in fitted.results_.messages)


def test_predictions_are_in_the_unit_of_the_quantity(data, fitted):
    X, y = data
    predicted = fitted.predict(X)
    assert predicted.dtype == np.float64
    assert predicted.mean() == pytest.approx(y.mean(), abs=0.5)
    assert fitted.score(X, y) == pytest.approx(r2_score(y, predicted))
    assert fitted.score(X, y) > 0.5


def test_unit_does_not_matter(data, fitted):
    """A quantity of a billion and a little more, of which float32 knows nothing, gives the same list."""
    X, y = data
    other = regressor().fit(X, 1e9 + 1e-3 * y)
    np.testing.assert_allclose(other.feature_importances_, fitted.feature_importances_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(other.predict(X) - 1e9, 1e-3 * fitted.predict(X), atol=1e-4)


def test_same_seed_same_findings(data, fitted):
    again = regressor(baselines=True).fit(*data)
    np.testing.assert_array_equal(again.feature_importances_, fitted.feature_importances_)
    np.testing.assert_array_equal(again.predict(data[0]), fitted.predict(data[0]))


def test_groups_are_never_parted():
    X, y = planted(120, 60)
    groups = np.repeat(np.arange(40), 3)
    reg = regressor().fit(X, y, groups=groups)
    place = {name: i for i, name in enumerate(ArraySource(X).sample_names)}
    for _, rows in reg.predictions_.groupby("run"):
        held = {groups[place[name]] for name in rows["sample"]}
        assert len(rows) == 3 * len(held)
    assert "stability" not in reg.metrics_
    assert "rank" in reg.findings_


def test_save_and_load(data, fitted, tmp_path):
    fitted.save(tmp_path)
    again = pf.load(tmp_path)
    assert isinstance(again, pf.DeepMapperRegressor)
    np.testing.assert_array_equal(again.predict(data[0]), fitted.predict(data[0]))
    assert not hasattr(again, "classes_")
    assert again.metrics_["test_r2"] == fitted.metrics_["test_r2"]


def test_report(fitted, tmp_path):
    assert fitted.results_.task == "regression"
    write_results(fitted.results_, tmp_path / "out", save_model=fitted.save)
    page = (tmp_path / "out" / "report.html").read_text()
    for words in (
        "Features that go with a quantity",
        "Spearman correlation",
        "R\N{SUPERSCRIPT TWO}",
        ">higher<",
        ">lower<",
    ):
        assert words in page
    for words in ("accuracy", "own class", "classes apart"):
        assert words not in page
    figures = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"top_features", "attribution_image"} <= figures
    assert not {"confusion_matrix", "class_means"} & figures
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test_r2"] == fitted.metrics_["test_r2"]


# Networks that are trained


def patchnet(**changes) -> pf.DeepMapperRegressor:
    return regressor(**{"backbone": "patchnet", "n_runs": 2, **changes})


def test_trained_network_finds_planted_effects(tmp_path):
    X, y = planted(600, 256)
    reg = patchnet().fit(X, y)
    places = {feature % 256: "higher" if effect > 0 else "lower" for feature, effect in EFFECTS.items()}
    assert set(reg.findings_.index[:4]) == set(places)
    assert reg.findings_["direction"].loc[list(places)].to_dict() == places
    assert set(places) <= set(reg.findings_.index[reg.findings_["called"]])
    assert reg.metrics_["test_r2"] > 0.5
    assert reg.metrics_["p_values_from"] == "held-out samples"
    assert reg.score(X, y) > 0.6
    for _, rows in reg.predictions_.groupby("run"):
        assert rows["predicted"].mean() == pytest.approx(y.mean(), abs=3)
    assert {"train_loss", "validation_loss"} <= set(reg.history_.columns)
    assert "validation_accuracy" not in reg.history_
    write_results(reg.results_, tmp_path / "out", save_model=reg.save)
    np.testing.assert_array_equal(pf.load(tmp_path / "out").predict(X), reg.predict(X))


def test_trained_network_finds_nothing_in_noise():
    for seed in range(2):
        rng = np.random.default_rng(seed)
        reg = patchnet(random_state=seed, epochs=4).fit(rng.normal(size=(200, 100)), rng.normal(size=200))
        assert not reg.findings_["called"].any()


def test_trained_network_with_groups_and_few_samples():
    X, y = planted(60, 20)
    groups = np.repeat(np.arange(20), 3)
    reg = patchnet(epochs=1).fit(X, y, groups=groups)
    for _, rows in reg.predictions_.groupby("run"):
        held = {groups[int(name.removeprefix("sample_"))] for name in rows["sample"]}
        assert len(rows) == 3 * len(held)
    assert np.isfinite(patchnet(epochs=1).fit(X[:8], y[:8]).predict(X)).all()
    some = np.zeros(12)
    some[5] = 1.0  # in one part of the split alone
    assert np.isfinite(patchnet(epochs=1, n_runs=4).fit(X[:12], some).predict(X)).all()


def test_backbone_of_ones_own():
    def built(shape, n_outputs):
        assert n_outputs == 1
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), n_outputs))

    X, y = planted(40, 20)
    assert patchnet(backbone=built, epochs=1).fit(X, y).predict(X).shape == (40,)


def test_huber_looks_its_samples_up():
    loss = Quantity(torch.tensor([0.0, 1.0, 5.0]))
    total, weight = loss(torch.tensor([[1.5], [1.0]]), torch.zeros(2), torch.tensor([1, 2]))
    assert float(total) == pytest.approx(0.5 * 0.25 + 4 - 0.5)
    assert float(weight) == 2
    with pytest.raises(InputError, match="must have positions as labels"):
        loss(torch.zeros(2, 1), torch.zeros(2), None)


def test_correlation_p_value():
    values = np.arange(10.0)
    assert correlation_p_value(values, values**3) < 1e-4
    assert correlation_p_value(values, -values) > 0.99
    assert correlation_p_value(values, np.ones(10)) == 1.0


def test_pixel_times_gradient_times_quantity():
    """Of a linear network: the weight times the covariance of pixel and quantity."""
    rng = np.random.default_rng(0)
    images, values = rng.normal(size=(30, 1, 2, 2)).astype(np.float32), rng.normal(size=30).astype(np.float32)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1))
    weight = module[1].weight.detach().numpy()[0]
    layout = pf.Layout.natural(4, shape=(2, 2))
    found, slopes = pf.AttributionAccumulator(layout, 1), pf.AttributionAccumulator(layout, 1)
    data = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.arange(30), torch.arange(30))
    n = attribute_quantity(module, torch.utils.data.DataLoader(data, batch_size=7), found, slopes, values=values)
    assert n == 30
    expected = weight * (images.reshape(30, 4) * values[:, None]).mean(0)
    np.testing.assert_allclose(found.result().mean[0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(slopes.result().mean[0], weight, rtol=1e-5)


# What data may be like


def test_samples_without_a_number_are_left_out(data):
    X, y = data[0][:80], data[1][:80].copy()
    y[[3, 70]] = np.nan
    reg = regressor().fit(X, y)
    assert reg.metrics_["n_samples"] == 78
    assert any("2 samples without a label left out" in message for message in reg.results_.messages)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([4.0] * 12, "labels must be of two different numbers or more, got only one number (4, 12 samples)"),
        (["a", "b"] * 6, "labels must be numbers to be learned as a quantity, got 'a', 'b'"),
        ([np.inf, *range(11)], "labels must be finite numbers, got 1 infinite"),
        ([np.nan] * 12, "no sample has a label"),
    ],
)
def test_labels_that_are_no_quantity(y, words):
    with pytest.raises(InputError) as caught:
        regressor().fit(np.random.default_rng(0).random((12, 5)), y)
    assert words in str(caught.value)


@pytest.mark.parametrize("n", [4, 5, 7, 11])
def test_few_samples(n):
    rng = np.random.default_rng(0)
    reg = regressor(baselines=True).fit(rng.random((n, 20)), rng.random(n))
    assert not reg.findings_["called"].any()
    assert np.isfinite(reg.predict(rng.random((2, 20)))).all()


def test_too_few_samples():
    with pytest.raises(InputError, match="samples must be enough to hold some out, such as 10 or more"):
        regressor().fit(np.random.default_rng(0).random((3, 5)), [1.0, 2.0, 4.0])


def test_whole_numbers_booleans_and_text_of_numbers(data):
    X = data[0][:60]
    whole = np.round(data[1][:60]).astype(int)
    one, two = regressor().fit(X, whole), regressor().fit(X, whole.astype(str))
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    assert regressor().fit(X, whole > 50).predict(X).shape == (60,)


def test_quantity_of_few_values_where_some_runs_learn_nothing():
    y = np.zeros(30)
    y[7] = 1.0
    reg = regressor().fit(np.random.default_rng(0).random((30, 10)), y)
    assert not reg.findings_["called"].any()
    assert any(run["r2"] is None for run in reg.metrics_["runs"])
    assert np.isfinite(reg.predict(np.zeros((1, 10)))).all()


def test_far_out_samples_are_said():
    y = np.ones(100)
    y[:50] = 2.0
    y[3] = 1e4
    assert "1 sample is more than 5 standard deviations" in far_out(y)[0]
    assert "its logarithm may say more" in far_out(y)[0]
    assert far_out(np.random.default_rng(0).normal(size=100)) == []
    X = np.random.default_rng(0).random((100, 10))
    assert any("may decide what is found" in message for message in regressor().fit(X, y).results_.messages)


def test_too_large_a_job_for_the_additive_network(monkeypatch):
    monkeypatch.setattr("pixfold.learn.choice.serves", lambda *_: False)
    with pytest.raises(InputError, match="backbone must be another than 'additive'"):
        regressor(backbone="additive").fit(*planted(20, 5))
    assert patchnet(epochs=1, backbone="auto").fit(*planted(20, 5)).results_.config["backbone"] == "patchnet"


def test_no_labels():
    X, _ = planted(20, 5)
    with pytest.raises(InputError, match="requires y to be passed"):
        regressor().fit(X, None)
    with pytest.raises(InputError, match="a regressor needs labels"):
        regressor().fit_source(ArraySource(X))


def test_classifier_names_the_regressor():
    X, y = planted(60, 5)
    with pytest.raises(InputError, match=r"Unknown label type: continuous.*DeepMapperRegressor"):
        pf.DeepMapperClassifier().fit(X, y)


# Parts


def test_network_says_what_the_solution_says():
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(40, 12)).astype(np.float32))
    y = torch.from_numpy(rng.normal(size=40).astype(np.float32))
    train = torch.arange(30)
    pixels = Pixels.standardise(images.clone(), train)
    solution = solve(pixels, train, Targets(y[None, :, None], None), torch.arange(30) % 5)
    for one in (solution, solution.predicting):
        module = network(pixels, train, one, (1, 3, 4))
        said = module(images.reshape(40, 1, 3, 4)).detach()
        torch.testing.assert_close(said, one.outputs[0], rtol=0, atol=1e-4)
        assert float(one.outputs[0, train].mean()) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("signal", [0.0, 3.0])
def test_ridge_is_the_one_of_the_least_loss_on_left_out_folds(signal):
    """Every ridge is fitted anew without each fold, which the closed form stands for."""
    from pixfold.learn.additive import solver

    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.normal(size=(24, 15)))
    y = signal * X[:, :1] + torch.from_numpy(rng.normal(size=(24, 1)))
    folds = torch.arange(24) % 4
    centred = X - X.mean(0)
    kernel = centred @ centred.T
    values, vectors = torch.linalg.eigh(kernel)
    values = values.clamp(min=0)
    chosen = float(solver._ridge(vectors, values, values.mean(), y - y.mean(), folds, None))

    def loss(ridge: float) -> float:
        total = 0.0
        for fold in range(4):
            kept, left = folds != fold, folds == fold
            center, mean = X[kept].mean(0), y[kept].mean()
            A = X[kept] - center
            dual = torch.linalg.solve(A @ A.T + ridge * torch.eye(int(kept.sum()), dtype=A.dtype), y[kept] - mean)
            total += float((y[left] - mean - (X[left] - center) @ A.T @ dual).square().sum())
        return total

    candidates = [share * float(values.mean()) for share in solver._RIDGES]
    assert chosen == pytest.approx(min(candidates, key=loss))


def test_unit():
    values = np.array([1e200, 3e200, 2e200])
    unit = Unit.of(values)
    known = unit.of_values(values)
    assert known.mean() == pytest.approx(0)
    assert known.std() == pytest.approx(1)
    np.testing.assert_allclose(unit.back(known, values), values)


def test_regression_metrics():
    found = regression_metrics([1.0, 2.0, 4.0], [1.0, 2.5, 3.0])
    assert found["r2"] == pytest.approx(r2_score([1.0, 2.0, 4.0], [1.0, 2.5, 3.0]))
    assert found["spearman"] == pytest.approx(1.0)
    assert regression_metrics([1.0, 2.0], [3.0, 3.0])["pearson"] == 0.0
    assert regression_metrics([1.0], [3.0])["r2"] is None
    assert regression_metrics([1.0, 1.0], [3.0, 2.0])["spearman"] is None
    assert regression_metrics([1e200, -1e200], [1e200, -1e200])["r2"] == 1.0


def test_values_table():
    with pytest.raises(InputError, match="targets and predicted must be of shape"):
        values_table(run=1, samples=["a"], targets=[1.0, 2.0], predicted=[1.0])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.arange(40) / 7, True),
        (np.repeat(np.arange(30, 49), 4), True),  # ages of 19 values
        (np.repeat(np.arange(10), 4), False),
        (np.repeat(np.arange(20), 5), False),  # codes of classes
        (np.repeat(np.arange(1, 21), 5), False),
        (np.arange(40), True),
        (np.repeat([0.5, 1.5, 3.0], 9), False),
        (np.array([1.5, 2.5, 3.5, 4.5, 5.5, 6.5]), True),
        (np.array([f"type {i}" for i in range(40)]), False),
        (np.array([str(i) for i in range(40)]), False),  # text stays text
        (np.arange(40) % 2 == 0, False),
    ],
)
def test_what_looks_like_a_quantity(labels, expected):
    assert is_quantity(labels) == expected


def test_encode_quantity():
    np.testing.assert_array_equal(encode_quantity("x", np.array(["1", "2.5"])), [1.0, 2.5])


# scikit-learn


def test_clone_and_cross_validation(data):
    reg = regressor(backbone="additive", top_k=7)
    assert clone(reg).get_params() == reg.get_params()
    scores = cross_val_score(regressor(n_runs=1), data[0], data[1], cv=2, error_score="raise")
    assert np.isfinite(scores).all()


# As for the classifier: a TypeError there; here an error that names row and column.
EXPECTED = {
    "check_dtype_object": "the source says it in its own words, naming the array and what was expected",
    **dict.fromkeys(
        ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"),
        "runs hold samples out: a sample of weight 2 is on one side of a split, two copies of it may be on both",
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        pf.DeepMapperRegressor(**{**QUICK, "n_runs": 2, "baselines": False, "negative": "shift"}),
        pf.DeepMapperRegressor(
            "patchnet", epochs=10, **{**QUICK, "n_runs": 1, "baselines": False, "negative": "shift"}
        ),
    ],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
