"""Jobs without labels that principal components describe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pixfold as pf
from pixfold.errors import InputError
from pixfold.learn.backbones.principal import PrincipalComponents
from pixfold.learn.principal.directions import principal_directions

N, P = 90, 600
PLANTED = np.arange(40, 100)
SETTINGS = {"n_runs": 2, "normalize": "zscore", "random_state": 0, "threads": 1, "device": "cpu"}


def table(seed: int = 0, size: float = 4.0) -> np.ndarray:
    """Normal values; three groups of samples have means of their own in 60 features."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, P)).astype(np.float32)
    X[:, PLANTED] += (size * rng.standard_normal((3, len(PLANTED))))[rng.integers(0, 3, N)].astype(np.float32)
    return X


@pytest.fixture(scope="module")
def fitted() -> pf.DeepMapperAutoencoder:
    return pf.DeepMapperAutoencoder(**SETTINGS).fit(table())


@pytest.mark.parametrize("p", [5, 600, 4097])
def test_directions_are_those_of_the_singular_values(p: int) -> None:
    rng = np.random.default_rng(p)
    X = rng.standard_normal((40, p)) + 5 * rng.standard_normal((40, 1)) * rng.standard_normal((1, p))
    X = (X - X.mean(axis=0)).astype(np.float32)
    found = principal_directions(torch.from_numpy(X), most=8, seed=0).numpy()
    expected = np.linalg.svd(X.astype(np.float64), full_matrices=False)[2][: len(found)]
    assert len(found) >= 1
    np.testing.assert_allclose(np.abs(np.sum(found * expected, axis=1)), 1, atol=1e-5)
    np.testing.assert_allclose(found @ found.T, np.eye(len(found)), atol=1e-5)


def test_as_many_directions_as_were_planted_and_no_more_than_asked_for() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((80, 1000)) + 3 * rng.standard_normal((80, 3)) @ rng.standard_normal((3, 1000))
    X = torch.from_numpy((X - X.mean(axis=0)).astype(np.float32))
    assert len(principal_directions(X, most=32, seed=0)) == 3
    assert len(principal_directions(X, most=2, seed=0)) == 2


@pytest.mark.parametrize(("n", "p", "spread"), [(24, 200, 0.0), (40, 200, 0.0), (30, 300, 1.0)])
def test_noise_of_any_spread_seldom_has_a_direction(n: int, p: int, spread: float) -> None:
    rng = np.random.default_rng(2)
    scale, found = np.exp(spread * rng.normal(size=p)), 0
    for seed in range(150):
        X = rng.standard_normal((n, p))
        X = (X - X.mean(axis=0)) / X.std(axis=0) * scale
        found += len(principal_directions(torch.from_numpy(X.astype(np.float32)), most=8, seed=seed)) > 0
    assert found <= 14  # of 150 at a level of 1 in 20: more with a probability of 0.01


def test_features_that_groups_differ_in_come_first(fitted: pf.DeepMapperAutoencoder) -> None:
    # Means of the groups are drawn: in some of the planted features they hardly differ.
    best = np.argsort(-fitted.feature_importances_)[: len(PLANTED) // 2]
    assert np.isin(best, PLANTED).all()
    assert all(run["accepted"] and run["n_directions"] == 2 for run in fitted.metrics_["runs"])
    assert isinstance(fitted.module_, PrincipalComponents)
    assert fitted.results_.config["backbone"] == "principal"
    assert fitted.metrics_["model_of"] == "all samples"
    assert fitted.metrics_["explained_variance"] > 0


def test_latent_values_are_places_along_the_directions(fitted: pf.DeepMapperAutoencoder) -> None:
    X = table()
    latent = fitted.transform(X)
    images = pf.fold(X, fitted.layout_, fitted.normalizer_).reshape(N, -1)
    directions = fitted.module_.encoder[1].weight.numpy(force=True)
    mean = fitted.module_.decoder[0].bias.numpy(force=True)
    np.testing.assert_allclose(latent, (images - mean) @ directions.T, atol=1e-4)
    np.testing.assert_array_equal(latent, fitted.results_.latent.to_numpy())
    # What is left over is at right angles to the directions.
    with torch.no_grad():
        rest = images - fitted.module_(torch.from_numpy(images.reshape(N, *fitted.layout_.shape))).flatten(1).numpy()
    np.testing.assert_allclose(rest @ directions.T, 0, atol=1e-3)


def test_importance_is_the_variance_of_test_samples_that_the_directions_give(fitted: pf.DeepMapperAutoencoder) -> None:
    # Of a table without a split's luck: what the mean over two runs says goes with the communality of all samples.
    X = table()
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    _, values, directions = np.linalg.svd(Z, full_matrices=False)
    communality = (values[:2, None] ** 2 * directions[:2] ** 2).sum(axis=0)
    assert np.corrcoef(communality, fitted.feature_importances_)[0, 1] > 0.9


@pytest.mark.parametrize("p", [1, 300])
def test_noise_ranks_nothing_and_says_why(p: int) -> None:
    X = np.random.default_rng(5).standard_normal((40, p)).astype(np.float32)
    ae = pf.DeepMapperAutoencoder(clusters=2, **SETTINGS).fit(X)
    assert ae.findings_["rank"].isna().all()
    assert all("no direction" in run["reason"] for run in ae.metrics_["runs"])
    assert "there is no direction: all latent values are 0" in ae.results_.messages
    assert not ae.transform(X).any()
    assert ae.metrics_["clustering"]["n_clusters"] == 1


def test_a_direction_in_one_run_of_three_is_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def only_first(samples: torch.Tensor, **options: int) -> torch.Tensor:
        calls.append(1)
        found = principal_directions(samples, **options)
        return found if len(calls) == 1 else found[:0]

    monkeypatch.setattr("pixfold.learn.principal.run.principal_directions", only_first)
    ae = pf.DeepMapperAutoencoder(**{**SETTINGS, "n_runs": 3}).fit(table())
    assert ae.findings_["rank"].isna().all()
    assert [run["n_directions"] for run in ae.metrics_["runs"]] == [2, 0, 0]
    assert ae.metrics_["runs"][0]["reason"].startswith("most runs find no direction")
    assert not ae.transform(table()).any()  # what one run found is not kept


def test_one_test_sample_says_nothing() -> None:
    ae = pf.DeepMapperAutoencoder(**SETTINGS).fit(table()[:5])
    assert ae.findings_["rank"].isna().all()
    assert all("one test sample" in run["reason"] for run in ae.metrics_["runs"])


def test_saved_and_loaded(fitted: pf.DeepMapperAutoencoder, tmp_path: object) -> None:
    fitted.save(tmp_path)
    loaded = pf.load(tmp_path)
    np.testing.assert_array_equal(loaded.transform(table()), fitted.transform(table()))
    assert loaded.module_.n_latent == fitted.module_.n_latent == 2


def test_other_order_of_features_same_list(fitted: pf.DeepMapperAutoencoder) -> None:
    shuffled = pf.DeepMapperAutoencoder(**SETTINGS, arrangement="shuffled").fit(table())
    best = [set(np.argsort(-ae.feature_importances_)[:10]) for ae in (fitted, shuffled)]
    assert len(best[0] & best[1]) >= 9


@pytest.mark.parametrize("given", [{"epochs": 1}, {"method": "saliency"}, {"latent_layer": "encoder.4"}])
def test_options_of_a_training_take_a_network(given: dict[str, object]) -> None:
    X = table()[:, :80]
    few = {**SETTINGS, "n_runs": 1, "epochs": 1}
    assert pf.DeepMapperAutoencoder(4, **{**few, **given}).fit(X).results_.config["backbone"] == "convolutional"
    with pytest.raises(InputError, match=f"{next(iter(given))} must be left out with the backbone 'principal'"):
        pf.DeepMapperAutoencoder(4, backbone="principal", **{**SETTINGS, **given}).fit(X)


def test_too_many_values_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"backbone must be 'convolutional' for so many values.* got 90 samples"):
        pf.DeepMapperAutoencoder(backbone="principal", memory="200KB", **SETTINGS).fit(table())
    with pytest.raises(InputError, match="backbone must be"):
        pf.DeepMapperAutoencoder(backbone="resnet18").fit(table())


def test_groups_of_samples_are_found() -> None:
    X = table(3)
    ae = pf.DeepMapperAutoencoder(clusters=3, **SETTINGS).fit(X)
    assert len(np.unique(ae.clusters_)) == 3


@pytest.mark.parametrize(
    ("clusters", "words"), [(200, "2 to the number of samples, 90, got 200"), ("kmeans", "a number")]
)
def test_clusters_that_cannot_be_are_said_before_the_runs(
    clusters: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixfold.learn.estimators.autoencoder.fit_autoencoders", None)
    with pytest.raises(InputError, match=f"clusters must be {words}"):
        pf.DeepMapperAutoencoder(clusters=clusters, **SETTINGS).fit(table())
