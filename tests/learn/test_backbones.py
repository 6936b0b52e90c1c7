from __future__ import annotations

import pytest
import torch
from torch import nn

from pixfold.errors import InputError
from pixfold.learn.backbones import Autoencoder, Gate, build, gates, names, register
from pixfold.learn.backbones.geometry import PadTo, SpaceToDepth, patch_grid

OURS = ["patchnet", "resnet18", "resnet18-plain"]
SHAPES = [(1, 1, 1), (1, 8, 8), (3, 7, 40), (1, 1, 500), (2, 135, 135)]


def images(shape: tuple[int, int, int], n: int = 2) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(3))


def test_gate_starts_as_identity_and_has_one_factor_per_pixel() -> None:
    gate = Gate((2, 3, 4))
    x = images((2, 3, 4))
    assert torch.equal(gate(x), x)
    assert gate.g.shape == gate.b.shape == (2, 3, 4)
    with torch.no_grad():
        gate.g[1, 2, 3], gate.b[1, 2, 3] = 2.0, 5.0
    assert torch.equal(gate(x)[:, 1, 2, 3], x[:, 1, 2, 3] * 2 + 5)


def test_gate_soft_threshold() -> None:
    gate = Gate((1, 1, 4))
    with torch.no_grad():
        gate.g.copy_(torch.tensor([[[2.0, -2.0, 0.25, -0.25]]]))
    gate.shrink(0.5)
    assert gate.g.flatten().tolist() == [1.5, -1.5, 0.0, 0.0]
    assert gate.n_open == 2


def test_gate_drops_pixels_in_training_only() -> None:
    gate = Gate((1, 20, 20), dropout=0.5)
    x = torch.ones(1, 1, 20, 20)
    assert 0 < int((gate.train()(x) == 0).sum()) < 400
    assert torch.equal(gate.eval()(x), x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OURS)
def test_own_backbones_take_any_shape_and_learn(name: str, shape: tuple[int, int, int]) -> None:
    module = build(name, shape=shape, n_outputs=3, seed=0).train()
    output = module(images(shape))
    assert output.shape == (2, 3)
    output.square().sum().backward()
    assert all(gate.g.grad is not None for gate in gates(module))
    assert len(gates(module)) == (0 if name == "resnet18-plain" else 1)


@pytest.mark.parametrize("name", ["patchnet", "resnet18"])
def test_position_matters(name: str) -> None:
    """Two images that hold the same bright pixel at different places must not look the same."""
    module = build(name, shape=(1, 16, 16), n_outputs=2, seed=0).eval()
    for part in module.modules():  # as after the first steps: residual branches begin at zero
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
    x = torch.zeros(2, 1, 16, 16)
    x[0, 0, 5, 5] = x[1, 0, 10, 10] = 1.0
    a, b = module(x)
    assert not torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_resnet18_plain_differs_from_torchvision_in_the_first_convolution_alone() -> None:
    from torchvision.models import resnet18

    ours = {k: v.shape for k, v in build("resnet18-plain", shape=(5, 32, 32), n_outputs=7).state_dict().items()}
    theirs = {k: v.shape for k, v in resnet18(num_classes=7).state_dict().items()}
    assert ours.pop("conv1.weight") == (64, 5, 7, 7)
    theirs.pop("conv1.weight")
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "shape"),
    [("squeezenet1_0", (1, 5, 9)), ("mobilenet_v3_small", (2, 40, 33)), ("shufflenet_v2_x0_5", (4, 9, 9))],
)
def test_torchvision_by_name(name: str, shape: tuple[int, int, int]) -> None:
    module = build(name, shape=shape, n_outputs=4, seed=0).eval()
    assert module(images(shape)).shape == (2, 4)


def test_vision_transformer_gets_a_square_of_whole_patches() -> None:
    module = build("vit_b_32", shape=(1, 20, 45), n_outputs=2, seed=0)
    assert module[-1].image_size == 64
    assert module.eval()(images((1, 20, 45), 1)).shape == (1, 2)


def test_names_hold_own_and_torchvision() -> None:
    found = names()
    assert set(OURS) < set(found)
    assert "resnet50" in found
    assert len(found) == len(set(found))


def test_unknown_name_suggests() -> None:
    with pytest.raises(InputError, match=r"must be one of .*resnet18-plain.*, got 'pachnet'; did you mean patchnet"):
        build("pachnet", shape=(1, 8, 8), n_outputs=2)


def test_module_is_copied_and_callable_is_called() -> None:
    given = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    first, second = (build(given, shape=(1, 2, 3), n_outputs=2) for _ in range(2))
    with torch.no_grad():
        first[1].weight.zero_()
    assert torch.equal(second[1].weight, given[1].weight)
    assert given[1].weight.abs().sum() > 0

    def make(*, shape: tuple[int, int, int], n_outputs: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], n_outputs))

    assert build(make, shape=(1, 2, 3), n_outputs=5)[1].out_features == 5


def test_misfits_are_named() -> None:
    with pytest.raises(InputError, match=r"Linear must turn 2 images .*\(2, 2\), got \(2, 1, 4, 9\)"):
        build(nn.Linear(4, 9), shape=(1, 4, 4), n_outputs=2)
    with pytest.raises(InputError, match="does not accept images of shape"):
        build(nn.Linear(3, 2), shape=(1, 4, 4), n_outputs=2)
    with pytest.raises(InputError, match=r"must be a name.*, got 3"):
        build(3, shape=(1, 4, 4), n_outputs=2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must be a torch module, got 3"):
        build(lambda shape, n_outputs: 3, shape=(1, 4, 4), n_outputs=2)  # type: ignore[arg-type,return-value]


def test_seed_repeats_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    a, b, c = (build("patchnet", shape=(1, 8, 8), n_outputs=2, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_register_refuses_a_taken_name() -> None:
    with pytest.raises(InputError, match="one that no other builder has, got 'patchnet'"):
        register("patchnet")(lambda shape, n_outputs: nn.Identity())


def test_geometry() -> None:
    assert patch_grid(135, 135) == ((9, 9), (15, 15))
    assert patch_grid(1, 2000) == ((1, 134), (1, 15))
    x = images((2, 6, 6))
    assert torch.equal(SpaceToDepth(3, 3)(x), nn.PixelUnshuffle(3)(x))
    padded = PadTo(8, 7)(x)
    assert torch.equal(padded[..., :6, :6], x)
    assert padded.sum() == pytest.approx(x.sum().item(), rel=1e-5)


@pytest.mark.parametrize("latent_dim", [None, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_autoencoder_shapes(shape: tuple[int, int, int], latent_dim: int | None) -> None:
    module = Autoencoder(shape, latent_dim)
    x = images(shape)
    z = module.encode(x)
    assert z.shape == (2, module.n_latent)
    assert latent_dim is None or module.n_latent == latent_dim
    assert module(x).shape == x.shape
    assert torch.equal(module(x), module.decode(z))
    assert len(gates(module)) == 1
    assert not gates(Autoencoder(shape, latent_dim, gate=False))


def test_autoencoder_refuses_nonsense() -> None:
    with pytest.raises(InputError, match=r"got \(1, 4, 4\) and 0"):
        Autoencoder((1, 4, 4), 0)


def test_every_pixel_of_resnet18_is_heard_from_the_first_step() -> None:
    module = build("resnet18", shape=(1, 20, 20), n_outputs=2, seed=0)
    module(images((1, 20, 20), 8)).square().sum().backward()
    gradient = gates(module)[0].b.grad
    assert gradient is not None
    assert int((gradient == 0).sum()) == 0
