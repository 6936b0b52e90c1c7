"""Fold as a layer: what it keeps, and attribution back to raw feature values through it."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import fold

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr")

from pixfold.learn.fold_layer import Fold  # noqa: E402

N_FEATURES = 60


def samples(n=6, seed=0):
    return np.random.default_rng(seed).gamma(0.7, 8.0, (n, N_FEATURES)).astype(np.float32)


def model(layout=None, normalizer=None):
    torch.manual_seed(0)
    layout = Layout.shuffled(N_FEATURES, seed=4) if layout is None else layout
    normalizer = Normalizer("log1p-minmax").fit(samples(20, seed=1)) if normalizer is None else normalizer
    return torch.nn.Sequential(Fold(layout, normalizer), torch.nn.Flatten(), torch.nn.Linear(layout.n_pixels, 2))


def other_model():
    """The same network on another arrangement and normaliser: its scores differ."""
    return model(Layout.shuffled(N_FEATURES, seed=5), Normalizer("zscore").fit(samples(20, seed=2)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", torch.bfloat16])
def test_it_is_fold(dtype):
    layout, normalizer = Layout.shuffled(N_FEATURES, channels=2), Normalizer("cp10k-log1p").fit(samples())
    layer, x = Fold(layout, normalizer, dtype=dtype, threads=1), torch.from_numpy(samples())
    images = layer(x)
    assert torch.equal(images, fold(x, layout, normalizer, dtype=dtype))
    assert str(images.dtype).endswith(str(dtype).removeprefix("torch."))
    assert torch.equal(Fold(layout)(x), fold(x, layout))
    assert list(layer.parameters()) == []


def test_it_keeps_the_normalizer_as_it_was():
    layout, normalizer = Layout.natural(N_FEATURES), Normalizer("minmax").fit(samples())
    layer, x = Fold(layout, normalizer), torch.from_numpy(samples())
    before = layer(x)
    normalizer.fit(samples() * 3.0)
    assert torch.equal(layer(x), before)
    assert not torch.equal(fold(x, layout, normalizer), before)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "to": lambda m: m.to("cpu"),
    "double and float": lambda m: m.double().float(),
}


@pytest.mark.parametrize("way", COPIES)
def test_copies_give_the_same(way):
    original, x = model(), torch.from_numpy(samples())
    expected = original(x)
    assert torch.equal(COPIES[way](original)(x), expected)


def through_torch(state):
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def through_safetensors(state):
    safetensors = pytest.importorskip("safetensors.torch")
    return safetensors.load(safetensors.save(state))


@pytest.mark.parametrize("through", [dict, through_torch, through_safetensors])
def test_state_dict_brings_layout_and_normalizer(through):
    original, x = model(), torch.from_numpy(samples())
    loaded = other_model()
    assert not torch.equal(loaded(x), original(x))
    loaded.load_state_dict(through(original.state_dict()))
    assert torch.equal(loaded(x), original(x))
    assert loaded[0].layout == original[0].layout
    plain = torch.nn.Sequential(Fold(Layout.natural(N_FEATURES)))
    loaded = torch.nn.Sequential(other_model()[0])
    loaded.load_state_dict(through(plain.state_dict()))
    assert loaded[0].normalizer is None
    assert torch.equal(loaded(x), plain(x))


@pytest.mark.parametrize("state", [torch.zeros(3, dtype=torch.uint8), torch.ones(4), "layout", None])
def test_a_state_that_is_something_else(state):
    layer = Fold(Layout.natural(N_FEATURES))
    with pytest.raises(InputError, match=r"Fold\.load_state_dict: the state must be one that Fold\.state_dict gave"):
        layer.load_state_dict({"_extra_state": state})
    assert layer.layout == Layout.natural(N_FEATURES)


def test_a_damaged_state():
    state = Fold(Layout.natural(N_FEATURES)).state_dict()["_extra_state"]
    state[len(state) // 2 :] = 0
    layer = Fold(Layout.shuffled(N_FEATURES))
    with pytest.raises(InputError, match=r"Fold\.load_state_dict"):
        layer.load_state_dict({"_extra_state": state})
    assert layer.layout == Layout.shuffled(N_FEATURES)


def test_what_it_refuses():
    layout = Layout.natural(N_FEATURES)
    with pytest.raises(InputError, match="not fitted"):
        Fold(layout, Normalizer("minmax"))
    with pytest.raises(InputError, match="fitted on the layout's 60 features, got 3"):
        Fold(layout, Normalizer("minmax").fit(np.eye(3)))
    with pytest.raises(InputError, match="dtype must be one of"):
        Fold(layout, dtype="float64")
    with pytest.raises(InputError, match="threads must be"):
        Fold(layout, threads=0)
    with pytest.raises(TypeError, match="layout must be a Layout"):
        Fold("layout")
    with pytest.raises(TypeError, match="normalizer must be a Normalizer"):
        Fold(layout, "log1p")


def test_compiled():
    original = model()
    torch._dynamo.reset()
    compiled = torch.compile(original, fullgraph=True, backend="aot_eager")
    x, y = (torch.from_numpy(samples()).requires_grad_() for _ in range(2))
    compiled(x).square().sum().backward()
    original(y).square().sum().backward()
    assert torch.equal(x.grad, y.grad)
    original.load_state_dict(other_model().state_dict())
    assert torch.equal(compiled(x), original(x))
    torch._dynamo.reset()


def test_integrated_gradients_of_raw_values_find_the_planted_features():
    captum = pytest.importorskip("captum.attr")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 240)
    raw = rng.gamma(2.0, 5.0, (240, N_FEATURES)).astype(np.float32)
    raw[:, 7] *= np.where(labels == 1, 3.0, 1.0)
    raw[:, 41] *= np.where(labels == 1, 1.0, 2.5)
    network = model(normalizer=Normalizer("log1p-zscore").fit(raw[:160]))
    x, y = torch.from_numpy(raw), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05, weight_decay=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x[:160]), y[:160]).backward()
        optimizer.step()
    held_out = x[160:]
    baseline = x[:160].mean(0, keepdim=True)
    method = captum.IntegratedGradients(network)
    found, delta = method.attribute(
        held_out, baselines=baseline, target=y[160:], n_steps=32, return_convergence_delta=True
    )
    assert set(found.abs().mean(0).argsort(descending=True)[:2].tolist()) == {7, 41}
    # Completeness: attributions add up to the difference of the scores. log1p and a linear layer are smooth, so the
    # error is the rounding of float32: of fewer than 32 operations on each of the terms, and of adding 64 pixels.
    sizes = found.abs().sum(1) + network(held_out).abs().sum(1) + network(baseline).abs().sum()
    weights = network[2].weight.abs().amax(0)
    for images in (network[0](held_out), network[0](baseline)):
        sizes = sizes + (images.flatten(1).abs() * weights).sum(1)
    assert bool((delta.abs() <= (32 + 64) * 2.0**-24 * sizes).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_model_of_another_dtype_gets_images_of_it(dtype):
    net, x = model().to(dtype), torch.from_numpy(samples())
    images = net[0](x)
    assert images.dtype == dtype
    computed = torch.float32 if dtype == torch.float64 else dtype
    assert torch.equal(images, fold(x, net[0].layout, net[0].normalizer, dtype=computed).to(dtype))
    assert net(x).dtype == dtype
    assert net(x.to(dtype)).dtype == dtype
    assert copy.deepcopy(net)[0](x).dtype == dtype
    assert list(net.state_dict()) == list(model().state_dict())
    given = Fold(net[0].layout, dtype="bfloat16").to(dtype)
    assert given(x).dtype == torch.bfloat16


class OfImages(torch.nn.Module):
    """A network of layers that LRP has rules for; it has none for Flatten."""

    def __init__(self, layout):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(1, 3, 3, padding=1)
        self.bends = torch.nn.ReLU()
        self.linear = torch.nn.Linear(3 * layout.n_pixels, 2)

    def forward(self, images):
        return self.linear(self.bends(self.convolution(images)).flatten(1))


@pytest.mark.parametrize("shared", [False, True])
def test_lrp_gives_each_feature_the_relevance_of_its_pixel(shared):
    pixel = np.arange(N_FEATURES) // 2
    layout = (
        Layout.from_coordinates(pixel // 6, pixel % 6, (1, 5, 6)) if shared else Layout.shuffled(N_FEATURES, seed=4)
    )
    of_images, x = OfImages(layout), torch.from_numpy(samples()).requires_grad_()
    net = torch.nn.Sequential(Fold(layout, Normalizer("zscore").fit(samples(20, seed=1))), of_images)
    target = torch.tensor([0, 1] * 3)
    for _ in range(2):  # LRP takes the rules off the layers at its end
        found, delta = captum.LRP(net).attribute(x, target=target, return_convergence_delta=True)
        pixels = captum.LRP(of_images).attribute(net[0](x).detach().requires_grad_(), target=target).detach()
        if shared:
            torch.testing.assert_close(found[:, ::2], found[:, 1::2])
        else:
            pixel = layout.slot_pixel[np.argsort(layout.slot_feature)]
            torch.testing.assert_close(found, pixels.flatten(1)[:, pixel])
        torch.testing.assert_close(found.sum(1), pixels.flatten(1).sum(1), rtol=1e-4, atol=1e-5)
        assert delta.shape == (6,)
    assert found.abs().sum() > 0
    pickle.loads(pickle.dumps(net))


def test_noise_tunnel_needs_a_normalizer_that_takes_negative_values():
    x, tunnel = torch.from_numpy(samples()).requires_grad_(), captum.NoiseTunnel(captum.Saliency(model()))
    with pytest.raises(InputError, match="negative='shift' handles them"):
        tunnel.attribute(x, target=0, nt_samples=3, stdevs=5.0)
    shifted = Normalizer("log1p-minmax", negative="shift").fit(samples(20, seed=1))
    found = captum.NoiseTunnel(captum.Saliency(model(normalizer=shifted))).attribute(
        x, target=0, nt_samples=3, stdevs=5.0
    )
    assert torch.isfinite(found).all()
