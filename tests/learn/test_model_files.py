from __future__ import annotations

import json
import pickletools
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from torch import nn

import pixfold as pf
from pixfold.errors import InputError, OutputError

TINY = {"n_runs": 1, "epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1, "random_state": 0}


def data(n=40, f=11):
    rng = np.random.default_rng(0)
    X, y = rng.random((n, f)), np.array(["healthy", "ill"])[np.arange(n) % 2]
    X[:, 2] += y == "ill"
    X[:, 4] = 0  # left out: has no pixel
    return X, y


def frame():
    X, _ = data()
    table = pd.DataFrame(X, columns=[f"gene{i}" for i in range(X.shape[1])])
    table["sex"] = ["f", "m", "m", "f"] * 10
    return table


def linear(*, shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), n_outputs))


@pytest.fixture(scope="module")
def fitted():
    settings = {**TINY, "backbone": "patchnet", "arrangement": "shuffled", "fractions": (0.5, 0.2, 0.3)}
    return pf.DeepMapperClassifier(**settings).fit(frame(), data()[1])


@pytest.fixture
def folder(fitted, tmp_path):
    fitted.save(tmp_path / "new" / "model")
    return tmp_path / "new" / "model"


def test_loaded_predicts_the_same_bits(fitted, folder):
    loaded = pf.load(folder)
    np.testing.assert_array_equal(loaded.predict_proba(frame()), fitted.predict_proba(frame()))
    assert loaded.predict(frame()).tolist() == fitted.predict(frame()).tolist()
    np.testing.assert_array_equal(loaded.feature_importances_, fitted.feature_importances_)
    assert loaded.get_params() == fitted.get_params()
    assert loaded.n_features_in_ == 12
    assert loaded.feature_names_in_.tolist() == fitted.feature_names_in_.tolist()
    assert loaded.metrics_["test_accuracy"] == fitted.metrics_["test_accuracy"]


def test_loaded_still_checks_features(folder):
    loaded = pf.load(folder)
    with pytest.raises(InputError, match=r"1 of the \d+ features .* missing \('gene3'\)"):
        loaded.predict(frame().drop(columns="gene3"))
    with pytest.raises(InputError, match="known categories"):
        loaded.predict(frame().assign(sex="x"))


def test_loaded_can_be_saved_again(folder, tmp_path):
    pf.load(folder).save(tmp_path / "again")
    np.testing.assert_array_equal(
        pf.load(tmp_path / "again").predict_proba(frame()), pf.load(folder).predict_proba(frame())
    )


def test_loaded_can_be_fitted_again(fitted, folder):
    loaded = pf.load(folder)
    loaded.fit(frame(), data()[1])
    np.testing.assert_array_equal(loaded.feature_importances_, fitted.feature_importances_)


def test_folder_holds_two_files_and_no_pickle(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    json.loads((folder / "model.json").read_text())
    content = (folder / "model.safetensors").read_bytes()
    with safe_open(folder / "model.safetensors", framework="np") as file:
        assert "layout.pixel_of_feature" in file.keys()  # noqa: SIM118 (not a dict)
    with pytest.raises(ValueError, match=r"opcode|exhausted|newline"):
        for _ in pickletools.genops(content):
            pass


def test_loading_needs_no_training_data(fitted, tmp_path):
    path = tmp_path / "data.csv"
    frame().to_csv(path, index_label="")
    clf = pf.DeepMapperClassifier(**TINY, backbone="patchnet").fit(path, data()[1])
    expected = clf.predict_proba(frame())
    clf.save(tmp_path / "model")
    path.unlink()
    np.testing.assert_array_equal(pf.load(tmp_path / "model").predict_proba(frame()), expected)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 8]),
        np.array([True, False]),
        np.array([0.0, 1.5]),
        np.array(["a", "ö"]),
        np.array([-1, 1], np.int8),
    ],
    ids=["int", "bool", "float", "text", "int8"],
)
def test_classes_keep_their_type(labels, tmp_path):
    X, _ = data()
    clf = pf.DeepMapperClassifier(**TINY, backbone="patchnet").fit(X, labels[np.arange(40) % 2])
    clf.save(tmp_path)
    loaded = pf.load(tmp_path)
    assert loaded.classes_.dtype == clf.classes_.dtype
    assert loaded.classes_.tolist() == clf.classes_.tolist()
    assert not hasattr(loaded, "feature_names_in_")


def test_backbone_given_as_a_module_or_callable_is_needed_again(tmp_path):
    X, y = data()
    clf = pf.DeepMapperClassifier(**TINY, backbone=linear, normalize=pf.Normalizer("minmax")).fit(X, y)
    clf.save(tmp_path)
    with pytest.raises(InputError, match=r"backbone was a module or callable.*load\(path, backbone=...\)"):
        pf.load(tmp_path)
    loaded = pf.load(tmp_path, backbone=linear)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    module = linear(shape=clf.layout_.shape, n_outputs=2)
    again = pf.load(tmp_path, backbone=module)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    with pytest.raises(InputError, match="must be a whole model"):
        pf.load(tmp_path, backbone="patchnet")


def test_parameters_of_numpy_types_are_kept(tmp_path):
    X, y = data()
    settings = {**TINY, "batch_size": np.int64(8), "training": {"gate_penalty": np.float64(0.25)}}
    pf.DeepMapperClassifier(**settings, backbone="patchnet").fit(X, y).save(tmp_path)
    loaded = pf.load(tmp_path)
    assert (loaded.batch_size, loaded.training) == (8, {"gate_penalty": 0.25})


@pytest.mark.parametrize("latent_dim", [3, None])
def test_autoencoder(latent_dim, tmp_path):
    X, _ = data()
    ae = pf.DeepMapperAutoencoder(latent_dim, **TINY).fit(X)
    ae.save(tmp_path)
    loaded = pf.load(tmp_path)
    assert type(loaded) is pf.DeepMapperAutoencoder
    np.testing.assert_array_equal(loaded.transform(X), ae.transform(X))
    assert loaded.latent_dim == latent_dim


def test_saving_over_a_model_replaces_it(folder):
    X, y = data()
    other = pf.DeepMapperClassifier(**TINY, backbone="patchnet").fit(X, y)
    other.save(folder)
    np.testing.assert_array_equal(pf.load(folder).predict_proba(X), other.predict_proba(X))


def truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def edit(folder, change):
    about = json.loads((folder / "model.json").read_text())
    change(about)
    (folder / "model.json").write_text(json.dumps(about))


def without_name(about, backbone):
    del about["backbone"]
    about["parameters"].update(backbone=backbone)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: shutil.rmtree(f), "got one without model.safetensors"),
        (lambda f: (f / "model.safetensors").unlink(), "got one without model.safetensors"),
        (lambda f: (f / "model.json").unlink(), "got one without model.json"),
        (lambda f: truncate(f / "model.safetensors", 5), "must be a whole model"),
        (lambda f: truncate(f / "model.safetensors", 2000), "must be a whole model"),
        (lambda f: truncate(f / "model.json", 100), "must be a whole model"),
        (lambda f: truncate(f / "model.json", 0), "must be a whole model"),
        (lambda f: (f / "model.json").write_bytes(b"\xff\xfe{}"), "must be a whole model"),
        (lambda f: (f / "model.json").write_text("[]"), "got format None"),
        (
            lambda f: edit(f, lambda a: a.update(format=99)),
            "must be a model of format 1, got format 99; it is of a newer pixfold: pip install --upgrade pixfold",
        ),
        (lambda f: edit(f, lambda a: a.pop("features")), "must be a whole model"),
        (lambda f: edit(f, lambda a: a.pop("classes")), "must be a whole model"),
        (lambda f: edit(f, lambda a: a.update(estimator="Forest")), "of this version's estimators, got another"),
        (lambda f: edit(f, lambda a: a["features"].pop()), "must be a whole model"),
        (lambda f: edit(f, lambda a: a.update(backbone="resnet18")), "must be a whole model"),
        (lambda f: edit(f, lambda a: a.update(backbone="additive")), "must be a whole model"),
        (lambda f: edit(f, lambda a: a.update(backbone="nonsense")), "nonsense"),
        (lambda f: edit(f, lambda a: a.update(backbone="auto")), "auto"),
        (lambda f: edit(f, lambda a: a.update(backbone=3)), "must be"),
        (lambda f: edit(f, lambda a: a.update(backbone=["patchnet"])), "must be"),
        # Without the name of the network, that of the parameters counts, as in older models.
        (lambda f: edit(f, lambda a: without_name(a, "resnet18")), "must be a whole model"),
        (lambda f: edit(f, lambda a: without_name(a, "nonsense")), "nonsense"),
        (lambda f: edit(f, lambda a: without_name(a, "auto")), "auto"),
        (lambda f: edit(f, lambda a: a["parameters"].update(colour="red")), "of this version's .*colour"),
    ],
)
def test_spoiled_folder(folder, spoil, said):
    spoil(folder)
    with pytest.raises(InputError, match=said) as caught:
        pf.load(folder)
    assert str(folder) in str(caught.value)


def test_spoiled_parameter_is_refused_before_it_is_used(folder):
    """The network that was trained has its own entry: the parameter counts when the model is used or fitted again."""
    edit(folder, lambda about: about["parameters"].update(backbone="nonsense"))
    with pytest.raises(InputError, match="nonsense"):
        pf.load(folder).predict(frame())


def test_models_of_before_the_network_was_written(folder, fitted):
    edit(folder, lambda about: about.pop("backbone"))
    np.testing.assert_array_equal(pf.load(folder).predict_proba(frame()), fitted.predict_proba(frame()))


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_files_of_two_models_are_refused(fitted, folder, tmp_path, name):
    fitted.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / name, folder / name)
    with pytest.raises(InputError, match="of two different models"):
        pf.load(folder)


def test_a_folder_that_cannot_be_made(fitted, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the model"):
        fitted.save(tmp_path / "file" / "model")
    with pytest.raises(OutputError, match="cannot write the model"):
        fitted.save(tmp_path / "file")


def test_interrupted_save_leaves_the_old_model(fitted, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
