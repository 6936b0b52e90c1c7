"""The estimators and FoldTransformer in scikit-learn's own tools: pipelines, searches, names, routing, importance."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import pixfold as pf
from pixfold.errors import InputError
from pixfold.formula import PRESETS

QUICK = {"n_runs": 2, "random_state": 0, "baselines": False, "threads": 1, "device": "cpu"}
N, FEATURES = 48, 8


def classifier(**changes) -> pf.DeepMapperClassifier:
    return pf.DeepMapperClassifier(**{**QUICK, "pair_screen": False, **changes})


@pytest.fixture(scope="module")
def data() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Values in [0, 1), the third feature of class b shifted by 1; classes; 12 donors of 4 samples, 2 of each class."""
    rng = np.random.default_rng(0)
    X, y = rng.random((N, FEATURES)).astype(np.float32), np.array(["a", "b"])[np.arange(N) % 2]
    X[:, 2] += y == "b"
    return pd.DataFrame(X, columns=[f"g{i}" for i in range(FEATURES)]), y, np.arange(N) // 4


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        pf.FoldTransformer("zscore"),
        pf.FoldTransformer(negative="shift", arrangement="shuffled", random_state=0),
        pf.FoldTransformer("minmax", missing="mean", images=False),
    ]
)
def test_fold_transformer_passes_all_checks(estimator, check):
    check(estimator)


def test_fold_transformer_is_normaliser_and_fold(data):
    X = data[0]
    shuffled = pf.FoldTransformer("zscore", arrangement="shuffled", random_state=3, channels=2).fit(X)
    images = shuffled.transform(X)
    norm = pf.Normalizer("zscore").fit(X.to_numpy())
    np.testing.assert_array_equal(images, pf.fold(X.to_numpy(), shuffled.layout_, norm))
    assert images.shape == (N, 2, 2, 2)
    assert not np.array_equal(shuffled.layout_.pixel_of_feature, np.arange(FEATURES))
    np.testing.assert_allclose(shuffled.inverse_transform(images), X, atol=1e-6)
    scaled = pf.FoldTransformer("zscore", images=False).fit(X)
    np.testing.assert_array_equal(scaled.transform(X), norm.transform(X.to_numpy()))
    np.testing.assert_array_equal(scaled.transform(X), scaled.transform(X))
    rows = sparse.csr_matrix(X.to_numpy())
    np.testing.assert_array_equal(pf.FoldTransformer("zscore", images=False).fit_transform(rows), scaled.transform(X))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_fold_transformer_is_the_estimator_that_a_normalizer_is_not(preset):
    X = np.random.default_rng(0).integers(0, 3, (20, 6)).astype(np.float32)
    scaled = pf.FoldTransformer(preset, images=False).fit(X)
    np.testing.assert_array_equal(scaled.transform(X), pf.Normalizer(preset).fit(X).transform(X))


def test_fold_transformer_takes_a_normalizer_as_a_pattern(data):
    pattern = pf.Normalizer(library_size=100.0, log=True, scale="zscore")
    fitted = pf.FoldTransformer(pattern, images=False).fit(data[0])
    assert not pattern.is_fitted
    assert fitted.normalizer_.parts.library_size == 100.0
    assert clone(fitted).normalize.parts == pattern.parts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalize": "zscor"}, "FoldTransformer: normalize must be one of none, log1p"),
        ({"arrangement": "random"}, "FoldTransformer: arrangement must be one of natural, shuffled"),
        ({"images": 1}, "FoldTransformer: images must be True or False, got 1"),
        ({"missing": "drop"}, "missing must be"),
    ],
)
def test_fold_transformer_refuses(data, arguments, message):
    with pytest.raises(InputError, match=message):
        pf.FoldTransformer(**arguments).fit(data[0])


def test_values_that_cannot_be_normalised_name_the_feature(data):
    X = data[0].copy()
    X.iloc[3, 4] = np.nan
    with pytest.raises(InputError, match="'g4'"):
        pf.FoldTransformer("zscore").fit(X)


def test_names_of_columns(data):
    X = data[0]
    scaled = pf.FoldTransformer("zscore", images=False).set_output(transform="pandas").fit(X)
    assert scaled.transform(X).columns.tolist() == X.columns.tolist()
    with pytest.raises(InputError, match="images have no columns"):
        pf.FoldTransformer("zscore").fit(X).get_feature_names_out()
    ae = pf.DeepMapperAutoencoder(2, n_runs=1, epochs=1, batch_size=16, threads=1, device="cpu", random_state=0)
    latent = ae.set_output(transform="pandas").fit_transform(X)
    assert latent.columns.tolist() == ["deepmapperautoencoder0", "deepmapperautoencoder1"]
    assert latent.index.tolist() == X.index.tolist()


def test_an_autoencoder_that_was_loaded_has_names(data, tmp_path):
    ae = pf.DeepMapperAutoencoder(3, n_runs=1, epochs=1, batch_size=16, threads=1, device="cpu", random_state=0)
    ae.fit(data[0]).save(tmp_path)
    assert len(pf.load(tmp_path).get_feature_names_out()) == 3


def test_pipeline_and_search(data):
    X, y, _ = data
    pipeline = make_pipeline(pf.FoldTransformer(images=False), classifier(normalize="none"))
    pipeline.set_output(transform="pandas")
    grid = {"foldtransformer__normalize": ["zscore", "minmax"], "deepmapperclassifier__fdr": [0.2]}
    found = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert found.best_score_ > 0.7
    best = found.best_estimator_[-1]
    assert best.fdr == 0.2
    # Names go through the pipeline to the findings.
    assert best.findings_["feature"].iloc[0] == "g2"


def test_permutation_importance_finds_what_was_planted(data):
    X, y, _ = data
    found = permutation_importance(classifier().fit(X, y), X, y, n_repeats=2, random_state=0)
    assert found.importances_mean.argmax() == 2


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_groups_are_routed_to_splits_and_to_fit(data, routing, monkeypatch):
    X, y, donors = data
    seen = []
    fit = pf.DeepMapperClassifier.fit

    def watched(self, X, y=None, *, groups=None):
        seen.append(groups)
        return fit(self, X, y, groups=groups)

    monkeypatch.setattr(pf.DeepMapperClassifier, "fit", watched)
    pipeline = make_pipeline(
        pf.FoldTransformer("zscore", images=False), classifier(normalize="none").set_fit_request(groups=True)
    )
    found = cross_validate(pipeline, X, y, params={"groups": donors}, cv=GroupKFold(2), error_score="raise")
    assert len(found["test_score"]) == 2
    assert [len(set(groups)) for groups in seen] == [6, 6]
    assert set(seen[0]) | set(seen[1]) == set(donors)
    assert not set(seen[0]) & set(seen[1])


def test_an_autoencoder_refuses_weights_of_samples_by_name(data, routing):
    with pytest.raises(TypeError, match="sample_weight"):
        pf.DeepMapperAutoencoder().fit(data[0], sample_weight=np.ones(N))
    with pytest.raises(TypeError, match="sample_weight"):
        pf.DeepMapperAutoencoder().set_fit_request(sample_weight=True)


# An environment without torch: whoever asks for it finds that it is not installed.
NO_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
"""


@pytest.mark.parametrize("name", ["DeepMapperClassifier", "DeepMapperRegressor", "DeepMapperAutoencoder"])
def test_without_torch_the_error_is_the_line_that_installs_it(name):
    code = f"import pixfold\npixfold.{name}"
    done = subprocess.run([sys.executable, "-c", NO_TORCH + code], capture_output=True, text=True, check=False)
    assert 'needs torch, which is not installed: pip install "pixfold[train]"' in done.stderr.splitlines()[-1]
    assert "learn/" not in done.stderr  # no traceback from inside


def test_a_command_without_torch_says_the_line_that_installs_it(tmp_path):
    code = "import runpy\nrunpy.run_module('pixfold', run_name='__main__')"
    arguments = ["run", str(tmp_path / "x.csv"), "--label", "y", "--out", str(tmp_path / "out")]
    (tmp_path / "x.csv").write_text("g0,g1,y\n1,2,a\n3,1,b\n")
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH + code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines() == ['error: this needs torch, which is not installed: pip install "pixfold[train]"']
    assert done.returncode == 1


def test_fold_transformer_needs_no_torch():
    code = (
        "import numpy as np, pixfold as pf\n"
        "print(pf.FoldTransformer('zscore').fit_transform(np.arange(8.0).reshape(2, 4)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", NO_TORCH + code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("(2, 1, 2, 2)", "")
