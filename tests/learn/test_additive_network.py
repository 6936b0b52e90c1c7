"""The additive network behind the estimator: what it predicts, is saved as, and is trained for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pixfold as pf
from pixfold.errors import InputError
from pixfold.learn.additive import size
from pixfold.learn.backbones import build
from pixfold.learn.backbones.additive import CLIP, AdditiveNetwork

QUICK = {"n_runs": 4, "normalize": "zscore", "device": "cpu", "threads": 1, "random_state": 0}


def data(n=50, f=37, n_classes=3):
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    X = rng.standard_normal((n, f))
    X[:, 5] += 3.0 * y
    X[:, 9] = 0.0  # left out
    X[:, 11] = 1.0  # constant
    return X, np.array(["low", "mid", "high"])[y]


@pytest.fixture(scope="module", params=["auto", "additive"])
def fitted(request):
    X, y = data()
    return pf.DeepMapperClassifier(request.param, **QUICK).fit(X, y), X, y


def test_scores_are_the_sum_that_the_class_says():
    rng = np.random.default_rng(1)
    module = AdditiveNetwork((2, 2, 3), 4)
    state = {name: rng.standard_normal(tuple(value.shape)) for name, value in module.state_dict().items()}
    module.load_state_dict({name: torch.from_numpy(value).float() for name, value in state.items()})
    images = 20 * rng.standard_normal((5, 2, 2, 3))
    z = np.clip((images.reshape(5, 12) - state["center"]) * state["scale"], -CLIP, CLIP)
    assert (np.abs(z) == CLIP).any()
    squares = (z**2 - state["square_center"]) * state["square_scale"]
    expected = z @ state["weight"].T + squares @ state["square"].T + state["bias"]
    with torch.no_grad():
        found = module(torch.from_numpy(images).float())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 4)])
def test_built_by_name_it_begins_with_zeros(shape):
    module = build("additive", shape=shape, n_outputs=3)
    assert isinstance(module, AdditiveNetwork)
    assert torch.equal(module(torch.ones(2, *shape)), torch.zeros(2, 3))


def test_the_network_is_additive(fitted):
    clf, _, _ = fitted
    assert isinstance(clf.module_, AdditiveNetwork)
    assert not clf.module_.training
    assert clf.results_.config["backbone"] == "additive"
    assert clf.metrics_["model_of"] == "all samples"


def test_probabilities(fitted):
    clf, X, y = fitted
    probabilities = clf.predict_proba(X)
    assert probabilities.shape == (50, 3)
    assert probabilities.dtype == np.float32
    # Three float32 terms below 1.
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=0, atol=3e-7)
    assert (clf.predict(X) == y).mean() > 0.9
    assert clf.predict(X).tolist() == clf.classes_[probabilities.argmax(axis=1)].tolist()
    held_out = clf.predictions_[[f"probability_{name}" for name in clf.class_names_]]
    np.testing.assert_allclose(held_out.sum(axis=1), 1.0, rtol=0, atol=3e-7)


def test_a_sample_alone_is_predicted_as_among_others(fitted):
    clf, X, _ = fitted
    together = clf.predict_proba(X)
    alone = np.concatenate([clf.predict_proba(X[[i]]) for i in range(len(X))])
    # Matrix products of other sizes add in another order.
    np.testing.assert_allclose(alone, together, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(alone.argmax(axis=1), together.argmax(axis=1))


def test_saved_and_loaded_it_predicts_the_same_bits(fitted, tmp_path):
    clf, X, _ = fitted
    clf.save(tmp_path)
    loaded = pf.load(tmp_path)
    assert isinstance(loaded.module_, AdditiveNetwork)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(loaded.feature_importances_, clf.feature_importances_)
    assert loaded.get_params() == clf.get_params()
    assert loaded.metrics_["test_p"] == clf.metrics_["test_p"]
    loaded.save(tmp_path / "again")
    np.testing.assert_array_equal(pf.load(tmp_path / "again").predict_proba(X), clf.predict_proba(X))


def test_features_that_were_constant_or_empty_say_nothing(fitted):
    clf, X, _ = fitted
    assert clf.feature_importances_[[9, 11]].tolist() == [0.0, 0.0]
    findings = clf.findings_.sort_index()
    assert findings.loc[[9, 11], "rank"].isna().all()
    assert not findings.loc[[9, 11], "called"].any()
    assert findings.loc[9, ["p", "q"]].tolist() == [1.0, 1.0]
    assert findings["dropped"].tolist() == [j == 9 for j in range(37)]
    changed = X.copy()
    changed[:, [9, 11]] = 50.0
    np.testing.assert_array_equal(clf.predict_proba(changed), clf.predict_proba(X))


def test_the_model_does_not_depend_on_the_runs(fitted):
    """It is fitted on all samples; the runs decide how sharp its probabilities are."""
    clf, X, y = fitted
    other = pf.DeepMapperClassifier(**{**QUICK, "random_state": 5}).fit(X, y)
    np.testing.assert_array_equal(clf.predict(X), other.predict(X))
    one, two = (m.module_.weight / m.module_.weight.abs().max() for m in (clf, other))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


def test_too_many_samples_are_refused_in_words(monkeypatch):
    monkeypatch.setattr("pixfold.learn.choice.MOST_SAMPLES", 40)
    monkeypatch.setattr(size, "MOST_SAMPLES", 40)
    X, y = data()
    with pytest.raises(InputError, match=r"backbone must be .*'additive'.* at most 40 samples .*, got 50 samples x 37"):
        pf.DeepMapperClassifier("additive", **QUICK).fit(X, y)


@pytest.mark.parametrize("memory", [None, "30kB"])
def test_a_job_that_is_too_large_trains_patchnet(monkeypatch, memory, tmp_path):
    X, y = data()
    if memory is None:
        monkeypatch.setattr("pixfold.learn.choice.serves", lambda job, memory: False)
    clf = pf.DeepMapperClassifier(**{**QUICK, "n_runs": 1}, epochs=2, memory=memory).fit(X, y)
    assert clf.results_.config["backbone"] == "patchnet"
    assert clf.results_.config["parameters"]["backbone"] == "auto"
    assert not isinstance(clf.module_, AdditiveNetwork)
    assert clf.metrics_["model_of"] == "run 1"
    # The name of the network that was trained is kept with the model.
    clf.save(tmp_path)
    monkeypatch.undo()
    loaded = pf.load(tmp_path)
    assert loaded.backbone == "auto"
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))


def test_a_job_of_too_little_memory_is_refused_in_words():
    X, y = data()
    with pytest.raises(InputError, match=r"backbone must be another than 'additive'.*, got 50 samples x 37 features"):
        pf.DeepMapperClassifier("additive", **QUICK, memory="30kB").fit(X, y)


def test_permutations_fit_the_memory():
    assert size.n_permutations(1_000, 2) == 99
    assert size.n_permutations(10**9, 2) == 19
    few = size.n_permutations(5_000_000, 2)
    assert 19 < few < 99
    assert size.n_permutations(2_500_000, 10) == 19
    # Both the samples among themselves and the labellings cost work.
    assert size.work_of_run(100, 1000, 2) > size.work_of_run(50, 1000, 2) * 2
    assert size.work_of_run(100, 1000, 3) > size.work_of_run(100, 1000, 2)
