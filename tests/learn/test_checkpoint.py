"""fit(checkpoint=folder): the same call goes on after an interruption."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pixfold as pf
from pixfold.errors import InputError, OutputError
from pixfold.learn.checkpoint import Checkpoint, Slot

TINY: dict[str, Any] = {"n_runs": 2, "epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1}


def data() -> tuple[np.ndarray, np.ndarray]:
    X, y = np.random.default_rng(0).random((48, 9)), np.arange(48) % 2
    X[:, 2] += y
    return X, y


class Stopped(BaseException):
    pass


@pytest.fixture
def stop_after(monkeypatch):
    """Interrupt whatever comes after so many states."""

    def after(n: int) -> None:
        own, calls = Slot.write, []

        def write(self, *given):
            own(self, *given)
            calls.append(1)
            if len(calls) == n:
                monkeypatch.setattr(Slot, "write", own)
                raise Stopped

        monkeypatch.setattr(Slot, "write", write)

    return after


def conv(*, shape, n_outputs):
    layers = (nn.Conv2d(shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(4, n_outputs))


def same(found: Any, expected: Any) -> None:
    assert found.findings_.equals(expected.findings_)
    for name, value in expected.module_.state_dict().items():
        assert torch.equal(found.module_.state_dict()[name], value), name
    columns = [name for name in expected.history_ if name != "seconds"]
    assert found.history_[columns].equals(expected.history_[columns])


@pytest.mark.parametrize("states", [1, 3, 5])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_convolutions_dropout_and_scaled_gradients_go_on(tmp_path, stop_after, states, precision):
    """Channels last in memory, random numbers in the training, a constant rate, the scale of float16."""
    X, y = data()
    options = {**TINY, "precision": precision, "random_state": 0, "baselines": False}
    expected = pf.DeepMapperClassifier(conv, **options).fit(X, y)
    clf = pf.DeepMapperClassifier(conv, **options)
    stop_after(states)
    with pytest.raises(Stopped):
        clf.fit(X, y, checkpoint=tmp_path / "state")
    assert (tmp_path / "state" / "job.json").exists()
    same(clf.fit(X, y, checkpoint=tmp_path / "state"), expected)
    assert not (tmp_path / "state").exists()


def test_a_seed_that_was_drawn_is_kept(tmp_path, stop_after):
    X, _ = data()
    ae = pf.DeepMapperAutoencoder(3, **TINY)
    stop_after(2)
    with pytest.raises(Stopped):
        ae.fit(X, checkpoint=tmp_path / "state")
    seed = Checkpoint(tmp_path / "state").folder.joinpath("job.json").read_text()
    ae.fit(X, checkpoint=tmp_path / "state")
    assert f'"seed": {ae.results_.config["random_state"]},' in seed
    same(ae, pf.DeepMapperAutoencoder(3, **TINY, random_state=ae.results_.config["random_state"]).fit(X))


@pytest.mark.parametrize("states", [1, 2, 3])
def test_principal_components_go_on(tmp_path, stop_after, states):
    """The number of directions is known from the data alone, and the network from what was kept."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 200)) + 3 * rng.standard_normal((40, 2)) @ rng.standard_normal((2, 200))
    options = {"n_runs": 3, "normalize": "zscore", "device": "cpu", "threads": 1, "random_state": 0}
    expected = pf.DeepMapperAutoencoder(**options).fit(X)
    assert expected.module_.n_latent == 2
    ae = pf.DeepMapperAutoencoder(**options)
    stop_after(states)
    with pytest.raises(Stopped):
        ae.fit(X, checkpoint=tmp_path / "state")
    same(ae.fit(X, checkpoint=tmp_path / "state"), expected)
    assert not (tmp_path / "state").exists()


def test_what_differs_is_named(tmp_path, stop_after):
    X, y = data()
    stop_after(2)
    with pytest.raises(Stopped):
        pf.DeepMapperClassifier(conv, **TINY, random_state=0).fit(X, y, checkpoint=tmp_path)
    said = "^checkpoint: the job must be the one that .* keeps, got another: "
    for other, changed, words in (
        ({"batch_size": 8}, X, "batch_size was 16, is 8$"),
        ({"training": {"weight_decay": 0.5}}, X, r"training weight_decay was 0\.01, is 0\.5$"),
        ({"random_state": 1}, X, "random_state was 0, is 1$"),
        ({"backbone": "patchnet"}, X, "backbone was '.*conv', is 'patchnet'$"),
        ({}, X[::-1], "other values$"),
        ({}, X[:40], "number of samples was 48, is 40; other values; other names of samples; other labels$"),
    ):
        clf = pf.DeepMapperClassifier(**{"backbone": conv, **TINY, "random_state": 0, **other})
        with pytest.raises(InputError, match=said + words):
            clf.fit(changed, y[: len(changed)], checkpoint=tmp_path)
    with pytest.raises(InputError, match="names of classes"):
        pf.DeepMapperClassifier(conv, **TINY, random_state=0).fit(X, np.array(["a", "b"])[y], checkpoint=tmp_path)


def test_folders_of_something_else(tmp_path):
    X, y = data()
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"must hold nothing but a job's state, got 'thesis\.txt'"):
        pf.DeepMapperClassifier(**TINY).fit(X, y, checkpoint=tmp_path)
    with pytest.raises(InputError, match="folder must be a folder, got the file"):
        pf.DeepMapperClassifier(**TINY).fit(X, y, checkpoint=tmp_path / "thesis.txt")
    with Checkpoint(tmp_path / "state").held(), pytest.raises(OutputError, match="another process"):
        pf.DeepMapperClassifier(**TINY).fit(X, y, checkpoint=tmp_path / "state")


def test_a_damaged_state_is_refused(tmp_path, stop_after):
    X, y = data()
    clf = pf.DeepMapperClassifier(conv, **TINY, random_state=0)
    stop_after(2)
    with pytest.raises(Stopped):
        clf.fit(X, y, checkpoint=tmp_path)
    path = tmp_path / "run-1-epoch.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"run-1-epoch\.safetensors: must be a whole state that pixfold wrote \(remove"
    ):
        clf.fit(X, y, checkpoint=tmp_path)
