"""Backbones beyond our own: controls, transformers, sequences, timm, users' code, and pretrained weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import pixfold as pf
from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.learn.attribute import attribute
from pixfold.learn.backbones import build, is_code, take_weights
from pixfold.learn.backbones.code import imported
from pixfold.learn.train import train
from pixfold.learn.training_options import TrainingOptions
from pixfold.ops import AttributionAccumulator

SHAPES = [(1, 1, 1), (1, 8, 8), (4, 1, 30), (3, 7, 40), (2, 50, 50)]
OPTIONS = TrainingOptions(device="cpu", precision="32-true", epochs=12, learning_rate=3e-3, good_enough_loss=0.0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["linear", "mlp", "vit", "swin", "cnn1d", "cnn2d"])
def test_named_backbones_take_any_shape_and_learn(name: str, shape: tuple[int, int, int]) -> None:
    module = build(name, shape=shape, n_outputs=3, seed=0).train()
    output = module(torch.rand(2, *shape))
    assert output.shape == (2, 3)
    output.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("family", ["resnet18", "convnext_tiny", "mobilenet_v3_small", "regnet_y_400mf", "swin_t"])
def test_families_of_torchvision_take_any_side_and_channels(family: str) -> None:
    module = build(family, shape=(2, 9, 45), n_outputs=2, seed=0).eval()
    with torch.no_grad():
        assert module(torch.rand(1, 2, 9, 45)).shape == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["patchnet", "resnet18", "resnet18-plain", "mlp", "linear", "vit", "cnn1d"])
def test_images_of_a_million_pixels_train_a_step(name: str) -> None:
    module = build(name, shape=(1, 1000, 1000), n_outputs=2, seed=0).train()
    loss = nn.functional.cross_entropy(module(torch.rand(2, 1, 1000, 1000)), torch.tensor([0, 1]))
    loss.backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    assert all(bool(p.isfinite().all()) for p in module.parameters())


MOTIF = "TGACTCAGCAT"


def sequences(seed: int, n: int = 240, length: int = 60) -> tuple[Tensor, Tensor, np.ndarray]:
    """One-hot DNA; half of them hold the motif somewhere. Images, labels, and where the motif begins."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (n, length))
    labels, begins = np.arange(n) % 2, rng.integers(0, length - len(MOTIF), n)
    for i in np.flatnonzero(labels):
        codes[i, begins[i] : begins[i] + len(MOTIF)] = ["ACGT".index(letter) for letter in MOTIF]
    images = np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1).reshape(n, 4, 1, length)
    return torch.from_numpy(images), torch.from_numpy(labels), begins


class Batches:
    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels, self.n_samples = images, labels, len(images)
        self.order = torch.arange(self.n_samples)

    def __len__(self) -> int:
        return -(-self.n_samples // 32)

    def set_epoch(self, epoch: int) -> None:
        self.order = torch.randperm(self.n_samples, generator=torch.Generator().manual_seed(epoch))

    def __iter__(self) -> Any:
        for rows in self.order.split(32):
            yield self.images[rows], self.labels[rows], rows


@pytest.mark.parametrize("name", ["cnn1d", "cnn2d"])
def test_cnns_for_sequences_find_a_planted_motif(name: str) -> None:
    """They tell unseen sequences apart, and what they look at lies where the motif is, wherever that is."""
    images, labels, _ = sequences(0)
    module = train(
        build(name, shape=(4, 1, 60), n_outputs=2, seed=0), Batches(images, labels), None, OPTIONS, n_classes=2
    ).module
    images, labels, begins = sequences(1)
    with torch.no_grad():
        assert float((module(images).argmax(1) == labels).float().mean()) > 0.9
    hits = []
    for i in np.flatnonzero(labels.numpy())[:20]:
        accumulator = AttributionAccumulator(Layout.natural(240, shape=(1, 60), channels=4), 2)
        one = Batches(images[i : i + 1], labels[i : i + 1])
        attribute(module, one, accumulator, method="input_x_gradient", target="true", options=OPTIONS)
        values = accumulator.result().mean[1].reshape(4, 60).sum(0)
        hits.append(begins[i] <= values.argmax() < begins[i] + len(MOTIF))
    assert np.mean(hits) > 0.8  # of 60 places 11 are the motif's: chance is 0.18


def test_sequences_are_read_in_the_order_of_the_rows() -> None:
    module = build("cnn1d", shape=(4, 6, 10), n_outputs=2, seed=0).eval()
    flat = build("cnn1d", shape=(4, 1, 60), n_outputs=2, seed=0).eval()
    x = torch.rand(3, 4, 6, 10)
    with torch.no_grad():
        assert torch.equal(module(x), flat(x.reshape(3, 4, 1, 60)))


@pytest.mark.parametrize(("name", "shape"), [("resnet10t", (2, 9, 40)), ("vit_tiny_patch16_224", (1, 20, 45))])
def test_models_of_timm(name: str, shape: tuple[int, int, int]) -> None:
    pytest.importorskip("timm")
    module = build(f"timm:{name}", shape=shape, n_outputs=3, seed=0).eval()
    with torch.no_grad():
        assert module(torch.rand(2, *shape)).shape == (2, 3)


def test_rollout_of_a_vision_transformer_of_timm() -> None:
    pytest.importorskip("timm")
    module = build("timm:vit_tiny_patch16_224", shape=(1, 48, 48), n_outputs=2, seed=0).eval()
    accumulator = AttributionAccumulator(Layout.natural(48 * 48), 2)
    batches = Batches(torch.rand(4, 1, 48, 48), torch.tensor([0, 1, 0, 1]))
    attribute(module, batches, accumulator, method="attention_rollout", target="true", options=OPTIONS)
    found = accumulator.result().importance
    assert (found > 0).all()
    assert len(np.unique(np.round(found, 8))) > 4


def test_names_that_timm_does_not_have() -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=r"must be a model of the installed timm \(did you mean timm:resnet18"):
        build("timm:resnet18x", shape=(1, 8, 8), n_outputs=2)
    with pytest.raises(InputError, match="must be a model of the installed timm"):  # never a download
        build("timm:hf-hub:someone/model", shape=(1, 8, 8), n_outputs=2)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of a user's, which says when it is imported."""
    (tmp_path / "mine_of_tests.py").write_text(
        "from pathlib import Path\n"
        "from torch import nn\n"
        "Path(__file__).with_suffix('.imported').touch()\n"
        "def net(*, shape, n_outputs):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], n_outputs))\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "mine_of_tests:net"
    sys.modules.pop("mine_of_tests", None)


def test_code_by_name(package: str) -> None:
    assert is_code(package)
    assert not is_code("timm:resnet18")
    assert not is_code("resnet18")
    assert isinstance(build(package, shape=(1, 2, 3), n_outputs=5)[1], nn.Linear)
    for name, words in [("mine_of_tests:nothing", "has no attribute 'nothing'"), ("no_such_module:net", "No module")]:
        with pytest.raises(InputError, match=f"must be package.module:callable that can be imported, .*{words}"):
            imported(name)
    with pytest.raises(InputError, match="must be a torch module or a callable, got 3"):
        imported("mine_of_tests:number")


def test_a_saved_model_never_imports_code(package: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 9)), np.arange(40) % 2
    clf = pf.DeepMapperClassifier(package, n_runs=1, epochs=2, device="cpu", random_state=0).fit(X, y)
    clf.save(tmp_path / "model")
    sys.modules.pop("mine_of_tests")
    mark = tmp_path / "mine_of_tests.imported"
    mark.unlink()
    with pytest.raises(InputError, match=r"imported only when it is named: load\(path, backbone='mine_of_tests:net'\)"):
        pf.load(tmp_path / "model")
    assert not mark.exists()
    loaded = pf.load(tmp_path / "model", backbone=package)
    assert mark.exists()
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: torch.full_like(value, 0.5) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_weights_from_a_file(ending: str, tmp_path: Path) -> None:
    """Behind padding and repetition the trunk's names match; three channels become one; the head is another."""
    from torchvision.models import mobilenet_v3_small

    given = weights_of(mobilenet_v3_small(num_classes=10))
    path = tmp_path / f"weights{ending}"
    if ending == ".pt":
        torch.save({"state_dict": {f"module.{name}": value for name, value in given.items()}, "epoch": 3}, path)
    else:
        save_file(given, path)
    module = build("mobilenet_v3_small", shape=(1, 8, 8), n_outputs=2, seed=0)
    said = take_weights(module, path)
    own = module.state_dict()
    assert (own["1.features.0.0.weight"] == 1.5).all()  # 3 channels of 0.5 in one
    assert (own["1.features.1.block.0.0.weight"] == 0.5).all()
    assert (own["1.classifier.3.bias"] != 0.5).all()
    assert f"{len(given) - 2:,} of {len(given):,} tensors" in said
    assert "the first convolution's as the mean over its channels" in said
    for unfit in ("classifier.3.bias (10, here 2)", "classifier.3.weight (10 x 1024, here 2 x 1024)"):
        assert repr(unfit) in said.partition("they do not fit: ")[2]


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


def test_weights_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = build("linear", shape=(1, 2, 2), n_outputs=2)
    torch.save(Evil(), "evil.pt")
    Path("text.pt").write_text("no weights")
    torch.save({"epoch": 3}, "empty.pt")
    save_file({"other.weight": torch.zeros(3)}, "other.safetensors")
    for name, words in [
        ("none.pt", "weights: must be a file, got 'none.pt'"),
        ("evil.pt", "must be weights as safetensors or as torch.save writes a state_dict"),
        ("text.pt", "must be weights as safetensors or as torch.save writes a state_dict"),
        ("empty.pt", "must hold tensors by name, got none"),
        ("other.safetensors", "must have weights that fit the backbone .*, got 'other.weight'"),
    ]:
        with pytest.raises(InputError, match=words):
            take_weights(module, name)
    assert not Path("evil").exists()


def test_runs_begin_with_the_weights_of_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 9)), np.arange(60) % 2
    weight = torch.zeros(2, 9)
    weight[1, 4] = 3.0
    save_file({"1.weight": weight, "1.bias": torch.zeros(2)}, tmp_path / "w.safetensors")
    settings = {"n_runs": 1, "epochs": 1, "device": "cpu", "random_state": 0, "normalize": "zscore", "baselines": False}
    slow = {"learning_rate": 1e-9}
    clf = pf.DeepMapperClassifier("linear", weights=tmp_path / "w.safetensors", training=slow, **settings).fit(X, y)
    np.testing.assert_allclose(clf.module_[1].weight.detach().numpy(), weight.numpy(), atol=1e-6)
    assert any("weights: 2 of 2 tensors" in message for message in clf.results_.messages)
    with pytest.raises(InputError, match="weights must be a file, got"):
        pf.DeepMapperClassifier("linear", weights=tmp_path / "none.pt", **settings).fit(X, y)
    with pytest.raises(InputError, match="weights must be None with the backbone 'additive'"):
        pf.DeepMapperClassifier("additive", weights=tmp_path / "w.safetensors", **settings).fit(X, y)
