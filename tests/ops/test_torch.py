"""fold, unfold and aggregate_ as ops of torch: registration, gradients, compiled graphs, plans, refusals."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pixfold.errors import BackendError, InputError
from pixfold.layout import Layout
from pixfold.normalize.normalizer import Normalizer
from pixfold.ops import AttributionAccumulator, fold, reference, unfold
from pixfold.ops.gradients import fold_gradient

torch = pytest.importorskip("torch")

from pixfold.ops import torch as torch_ops  # noqa: E402
from pixfold.ops.named_folds import fold_named, named_fold  # noqa: E402

N_FEATURES = 50
LAYOUTS = {
    "natural": Layout.natural(N_FEATURES),
    "shuffled": Layout.shuffled(N_FEATURES, seed=1),
    "channels": Layout.shuffled(N_FEATURES, seed=2, channels=3),
    "dropped": Layout.shuffled(N_FEATURES, keep=np.arange(N_FEATURES) % 3 > 0),
    "many": Layout.from_coordinates(np.arange(N_FEATURES) % 5, np.arange(N_FEATURES) % 3, (6, 3)),
}
PRESETS = ["log1p-minmax", "cp10k-log1p", "zscore"]
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
IMAGES = [torch.float32, torch.float16, torch.bfloat16]


def samples(n=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.gamma(0.7, 8.0, (n, N_FEATURES)).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = 0.0
    return x


def fitted(preset):
    return Normalizer(preset).fit(samples(9, seed=3))


def leaf(x, dtype=torch.float32):
    return torch.from_numpy(x).to(dtype).requires_grad_()


# What torch's check itself does with the samples that it traces.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
class TestOpcheck:
    """torch's own checks: schema, fake implementation, autograd and tracing agree with the kernels."""

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("dtype", FLOATS, ids=str)
    def test_fold(self, layout, dtype):
        named = named_fold(LAYOUTS[layout], fitted("cp10k-log1p"))
        torch.library.opcheck(torch_ops.fold_op, (leaf(samples(), dtype), named.name, torch.float32, 1))
        torch.library.opcheck(torch_ops.fold_op, (torch.from_numpy(samples()).to(dtype), named.name, torch.float32))

    @pytest.mark.parametrize("dtype", IMAGES, ids=str)
    @pytest.mark.parametrize("kind", [torch.float64, torch.int32, torch.uint8, torch.bool], ids=str)
    def test_fold_of_other_types(self, dtype, kind):
        named = named_fold(LAYOUTS["many"])
        torch.library.opcheck(torch_ops.fold_op, (torch.from_numpy(samples()).to(kind), named.name, dtype))

    def test_fold_of_strided_samples(self):
        named = named_fold(LAYOUTS["shuffled"], fitted("log1p-minmax"))
        x = torch.from_numpy(np.asfortranarray(samples())).requires_grad_()
        torch.library.opcheck(torch_ops.fold_op, (x, named.name, torch.float16))

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("dtype", FLOATS, ids=str)
    def test_fold_gradient(self, layout, dtype):
        named = named_fold(LAYOUTS[layout], fitted("log1p-minmax"))
        gradient = torch.ones(4, *LAYOUTS[layout].shape)
        torch.library.opcheck(torch_ops.fold_gradient_op, (gradient, torch.from_numpy(samples()).to(dtype), named.name))

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("dtype", FLOATS, ids=str)
    def test_unfold(self, layout, dtype):
        named = named_fold(LAYOUTS[layout])
        images = torch.ones(3, *LAYOUTS[layout].shape, dtype=dtype)
        torch.library.opcheck(torch_ops.unfold_op, (images.requires_grad_(), named.name))
        features = torch.ones(3, N_FEATURES, dtype=dtype)
        torch.library.opcheck(torch_ops.unfold_gradient_op, (features.requires_grad_(), named.name))

    @pytest.mark.parametrize("dtype", FLOATS, ids=str)
    @pytest.mark.parametrize("channels", [1, 3])
    def test_aggregate(self, dtype, channels):
        count, moments = torch.zeros(3, dtype=torch.int64), torch.zeros(3, 3, 20, dtype=torch.float64)
        attributions = torch.ones(4, channels, 4, 5, dtype=dtype)
        labels, keep = torch.tensor([0, 2, 2, 0]), torch.tensor([True, True, False, True])
        torch.library.opcheck(torch_ops.aggregate_op, (count, moments, attributions, labels))
        torch.library.opcheck(torch_ops.aggregate_op, (count, moments, attributions, labels, keep, 1))


class TestGradients:
    @pytest.mark.parametrize("preset", [None, *PRESETS])
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("dtype", FLOATS, ids=str)
    def test_fold(self, preset, layout, dtype):
        """What backward leaves is the kernel's gradient, whose tests are in ops/test_fold_gradient.py."""
        normalizer = None if preset is None else fitted(preset)
        x = leaf(samples(), dtype)
        images = fold(x, LAYOUTS[layout], normalizer)
        assert torch.equal(images, fold(x.detach(), LAYOUTS[layout], normalizer))
        weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
        (images * weights).sum().backward()
        assert x.grad.dtype == dtype
        assert torch.equal(x.grad, fold_gradient(weights, x.detach(), LAYOUTS[layout], normalizer))
        assert bool(x.grad.any())

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_images_of_half_precision(self, dtype):
        normalizer = fitted("cp10k-log1p")
        x = leaf(samples())
        fold(x, LAYOUTS["many"], normalizer, dtype=dtype).sum().backward()  # the gradient of a sum has strides of 0
        ones = torch.ones(4, *LAYOUTS["many"].shape)
        assert torch.equal(x.grad, fold_gradient(ones, x.detach(), LAYOUTS["many"], normalizer))

    def test_channels_last(self):
        layout, x, y = LAYOUTS["channels"], leaf(samples()), leaf(samples())
        weights = torch.rand(4, *layout.shape)
        fold(x, layout).backward(weights.contiguous(memory_format=torch.channels_last))
        fold(y, layout).backward(weights)
        assert torch.equal(x.grad, y.grad)

    def test_transform(self):
        normalizer, x = fitted("zscore"), leaf(samples())
        normalizer.transform(x).sum().backward()
        ones = np.ones((4, 1, 1, N_FEATURES), np.float32)
        natural = Layout.natural(N_FEATURES, shape=(1, N_FEATURES))
        np.testing.assert_array_equal(x.grad.numpy(), fold_gradient(ones, samples(), natural, normalizer))

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_unfold(self, layout):
        """Linear, so that finite differences have no error but rounding; and differentiable again."""
        images = torch.rand(2, *LAYOUTS[layout].shape, dtype=torch.float64, requires_grad=True)
        assert torch.equal(unfold(images, LAYOUTS[layout]), unfold(images.detach(), LAYOUTS[layout]))
        assert torch.autograd.gradcheck(lambda t: unfold(t, LAYOUTS[layout]), (images,))
        assert torch.autograd.gradgradcheck(lambda t: unfold(t, LAYOUTS[layout]), (images,))

    def test_plain_tensors_do_not_meet_the_dispatcher(self, monkeypatch):
        def refuse(*arguments):
            raise AssertionError("went through torch_ops")

        monkeypatch.setattr(torch_ops, "fold_tensor", refuse)
        monkeypatch.setattr(torch_ops, "unfold_tensor", refuse)
        x = leaf(samples())
        images = fold(x.detach(), LAYOUTS["natural"])
        with torch.no_grad():
            assert torch.equal(fold(x, LAYOUTS["natural"]), images)
        unfold(images, LAYOUTS["natural"])
        with pytest.raises(AssertionError, match="torch_ops"):
            fold(x, LAYOUTS["natural"])

    def test_a_graph_outlives_its_layout_and_normalizer(self):
        x, y = leaf(samples()), leaf(samples())
        layout, normalizer = Layout.shuffled(N_FEATURES, seed=77), fitted("log1p-minmax")
        kept = Layout.shuffled(N_FEATURES, seed=77)
        images = fold(x, layout, normalizer)
        normalizer.fit(samples(5, seed=8) * 9.0)
        del layout, normalizer
        gc.collect()
        images.sum().backward()
        fold(y, kept, fitted("log1p-minmax")).sum().backward()
        assert torch.equal(x.grad, y.grad)

    def test_threads(self):
        x, y = leaf(samples(64)), leaf(samples(64))
        for t, threads in ((x, 1), (y, 2)):
            fold(t, LAYOUTS["many"], fitted("cp10k-log1p"), threads=threads).sum().backward()
        assert torch.equal(x.grad, y.grad)


class TestRefused:
    def test_out(self):
        from pixfold.image_pool import ImagePool

        for out in (torch.empty(4, 1, 8, 8), ImagePool()):
            with pytest.raises(InputError, match=r"fold: out must be None where X requires a gradient"):
                fold(leaf(samples()), LAYOUTS["natural"], out=out)

    def test_second_derivatives(self):
        x = leaf(samples())
        images = fold(x, LAYOUTS["natural"], fitted("log1p-minmax"))
        (first,) = torch.autograd.grad(images.square().sum(), x, create_graph=True)
        with pytest.raises(InputError, match=r"fold: its gradient must not be differentiated again"):
            first.sum().backward()

    def test_second_use_of_a_graph(self):
        total = fold(leaf(samples()), LAYOUTS["natural"]).sum()
        total.backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            total.backward()

    def test_samples_that_changed_before_backward(self):
        x = leaf(samples())
        total = fold(x, LAYOUTS["natural"], fitted("log1p")).sum()
        with torch.no_grad():
            x.mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            total.backward()

    @pytest.mark.parametrize(
        ("x", "words"),
        [
            (np.full((2, N_FEATURES), np.nan, np.float32), "fold: X must have no missing values, got 100 NaN"),
            (np.full((2, N_FEATURES), -0.5, np.float32), "fold: X must not be negative before a logarithm"),
            (np.ones((2, 3), np.float32), "fold: X must have the layout's 50 features, got 3"),
            (np.ones(N_FEATURES, np.float32), "fold: X must be two-dimensional"),
        ],
    )
    def test_what_fold_refuses(self, x, words):
        with pytest.raises(InputError, match=words):
            fold(leaf(x), LAYOUTS["natural"], fitted("log1p-zscore"))

    def test_arguments(self):
        x = leaf(samples())
        with pytest.raises(TypeError, match="fold: layout must be a Layout, got str"):
            fold(x, "layout")
        with pytest.raises(TypeError, match="fold: normalizer must be a Normalizer or None, got str"):
            fold(x, LAYOUTS["natural"], "log1p")
        with pytest.raises(InputError, match="fold: dtype must be one of"):
            fold(x, LAYOUTS["natural"], dtype="float64")
        with pytest.raises(InputError, match="fold: threads must be"):
            fold(x, LAYOUTS["natural"], threads=0)
        with pytest.raises(InputError, match="not fitted"):
            fold(x, LAYOUTS["natural"], Normalizer("minmax"))
        with pytest.raises(InputError, match="fitted on the layout's 50 features, got 3"):
            fold(x, LAYOUTS["natural"], Normalizer("minmax").fit(np.eye(3)))
        with pytest.raises(InputError, match="unfold: images must have shape"):
            unfold(x, LAYOUTS["natural"])
        with pytest.raises(TypeError, match="layout must be a Layout"):
            unfold(x, None)

    def test_other_devices(self):
        x = torch.ones(2, N_FEATURES, device="meta", requires_grad=True)
        with pytest.raises(BackendError, match=r"fold: X is on meta.*pass X\.cpu"):
            fold(x, LAYOUTS["natural"])

    @pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
    def test_sparse_tensors_have_no_gradient(self):
        x = torch.eye(2, N_FEATURES).to_sparse_csr().requires_grad_()
        with pytest.raises(InputError, match=r"fold: X requires a gradient.*detach"):
            fold(x, LAYOUTS["natural"])


class TestPlans:
    def test_handles_are_made_of_contents(self):
        named = named_fold(Layout.natural(30), Normalizer("none").fit(np.ones((1, 30))))
        same = named_fold(Layout.natural(30), Normalizer("none").fit(np.ones((1, 30))))
        assert same is named
        others = [
            named_fold(Layout.natural(30)),
            named_fold(Layout.natural(30, shape=(5, 6)), Normalizer("none").fit(np.ones((1, 30)))),
            named_fold(Layout.natural(30), Normalizer("log1p").fit(np.ones((1, 30)))),
            named_fold(Layout.natural(30), Normalizer("none").fit(np.ones((1, 30)), [f"g{i}" for i in range(30)])),
        ]
        assert len({named.name, *(other.name for other in others)}) == 5

    def test_a_normalizer_that_is_fitted_again_is_another_plan(self):
        layout, normalizer = Layout.natural(N_FEATURES), fitted("minmax")
        named = named_fold(layout, normalizer)
        assert named_fold(layout, normalizer) is named
        before = fold(torch.from_numpy(samples()), layout, normalizer)
        normalizer.fit(samples() * 3.0)
        assert named_fold(layout, normalizer) is not named
        assert torch.equal(torch_ops.fold_op(torch.from_numpy(samples()), named.name, torch.float32), before)

    def test_a_stale_handle(self):
        layout = Layout.shuffled(N_FEATURES, seed=123)
        handle = named_fold(layout).name
        assert fold_named("fold", handle).layout == layout
        del layout  # the last that refers to the fold, which is gone with it
        x = torch.from_numpy(samples())
        calls = {
            "fold": lambda: torch.ops.pixfold.fold(x, handle, torch.float32),
            "fold_gradient": lambda: torch.ops.pixfold.fold_gradient(x, x, handle),
            "unfold": lambda: torch.ops.pixfold.unfold(x, handle),
            "unfold_gradient": lambda: torch.ops.pixfold.unfold_gradient(x, handle),
        }
        for op, call in calls.items():
            with pytest.raises(InputError, match=rf"{op}: name must be .* alive in this process, got '{handle}'"):
                call()

    def test_ops_check_what_they_get(self):
        handle = named_fold(LAYOUTS["natural"]).name
        with pytest.raises(InputError, match="fold: X must have the layout's 50 features"):
            torch.ops.pixfold.fold(torch.ones(2, 3), handle, torch.float32)
        with pytest.raises(InputError, match="fold: dtype must be one of"):
            torch.ops.pixfold.fold(torch.ones(2, 50), handle, torch.float64)
        with pytest.raises(InputError, match="fold_gradient: gradient must have shape"):
            torch.ops.pixfold.fold_gradient(torch.ones(2, 1, 3, 3), torch.ones(2, 50), handle)
        with pytest.raises(InputError, match="unfold: images must have shape"):
            torch.ops.pixfold.unfold(torch.ones(2, 1, 3, 3), handle)

    def test_kernels_of_the_ops_are_never_ops_again(self, monkeypatch):
        """A compiler may run an op on real values while it compiles, to fold constants."""
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        x, named = torch.from_numpy(samples()), named_fold(LAYOUTS["many"])
        images = torch_ops.fold_op(x, named.name, torch.float32)
        features = torch_ops.unfold_op(images, named.name)
        gradient = torch_ops.unfold_gradient_op(features, named.name)
        assert torch_ops.fold_gradient_op(gradient, x, named.name).shape == x.shape

    def test_a_copy_of_a_layout_keeps_no_plans(self):
        import copy
        import pickle

        layout = Layout.natural(N_FEATURES)
        named = named_fold(layout, fitted("minmax"))
        for other in (copy.deepcopy(layout), pickle.loads(pickle.dumps(layout))):
            assert other == layout
            assert named_fold(other, fitted("minmax")) is named


WEIGHTS = torch.tensor([1.0, -2.0, 3.0, -1.0])


class Model(torch.nn.Module):
    def __init__(self, layout, normalizer):
        super().__init__()
        torch.manual_seed(0)
        self.layout, self.normalizer = layout, normalizer
        self.convolution = torch.nn.Conv2d(layout.channels, 4, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.convolution(fold(x, self.layout, self.normalizer))).sum((2, 3))


def forward_and_backward(call, n=4):
    x = leaf(samples(n, seed=6))
    scores = call(x)
    scores.square().sum().backward()
    return scores.detach(), x.grad


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
class TestCompile:
    @pytest.mark.parametrize("layout", ["shuffled", "channels", "many"])
    @pytest.mark.parametrize("preset", [None, "cp10k-log1p"])
    def test_a_model_that_begins_with_fold(self, layout, preset):
        model = Model(LAYOUTS[layout], None if preset is None else fitted(preset))
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        for n in (4, 7, 9):  # the second size makes the graph one of any size
            found, expected = forward_and_backward(compiled, n), forward_and_backward(model, n)
            assert torch.equal(found[0], expected[0])
            assert torch.equal(found[1], expected[1])
        with torch.no_grad():
            x = torch.from_numpy(samples())
            assert torch.equal(compiled(x), model(x))

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
    def test_inductor(self):
        """On numbers whose sums float32 holds, so that they are the same in any order: all bits must be."""
        layout = LAYOUTS["channels"]
        normalizer = Normalizer("minmax").fit(np.outer([0.0, 64.0], np.ones(N_FEATURES)))
        model = Model(layout, normalizer)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_((parameter * 10.0).round())
        # Scores are up to 2^12 and multiples of 1/64.
        whole = torch.randint(0, 65, (5, N_FEATURES), generator=torch.Generator().manual_seed(1)).float()
        compiled = torch.compile(lambda x: (model(x) * WEIGHTS).sum(1), fullgraph=True)
        x, y = whole.clone().requires_grad_(), whole.clone().requires_grad_()
        found = compiled(x)
        found.sum().backward()
        expected = (model(y) * WEIGHTS).sum(1)
        expected.sum().backward()
        assert torch.equal(found, expected)
        assert torch.equal(x.grad, y.grad)
        assert bool(x.grad.any())

    def test_another_layout_or_fit_is_compiled_again(self):
        x, normalizer = torch.from_numpy(samples()), fitted("minmax")
        compiled = torch.compile(lambda x, layout: fold(x, layout, normalizer), fullgraph=True, backend="aot_eager")
        for layout in (LAYOUTS["natural"], LAYOUTS["shuffled"], LAYOUTS["natural"]):
            assert torch.equal(compiled(x, layout), fold(x, layout, normalizer))
        before = compiled(x, LAYOUTS["natural"])
        normalizer.fit(samples() * 3.0)
        assert not torch.equal(compiled(x, LAYOUTS["natural"]), before)
        assert torch.equal(compiled(x, LAYOUTS["natural"]), fold(x, LAYOUTS["natural"], normalizer))
        normalizer.partial_fit(samples() * 7.0)
        assert torch.equal(compiled(x, LAYOUTS["natural"]), fold(x, LAYOUTS["natural"], normalizer))

    def test_unfold(self):
        layout = LAYOUTS["many"]
        compiled = torch.compile(lambda t: unfold(t * 2.0, layout), fullgraph=True, backend="aot_eager")
        images = torch.rand(3, *layout.shape, requires_grad=True)
        compiled(images).sum().backward()
        assert torch.equal(compiled(images.detach()), unfold(images.detach() * 2.0, layout))
        np.testing.assert_array_equal(
            images.grad.numpy(), reference.unfold_gradient(np.full((3, N_FEATURES), 2.0), layout)
        )

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
    def test_export(self):
        model = Model(LAYOUTS["shuffled"], fitted("log1p-minmax"))
        x = torch.from_numpy(samples())
        exported = torch.export.export(model, (x,))
        assert any(node.target is torch.ops.pixfold.fold.default for node in exported.graph.nodes)
        assert torch.equal(exported.module()(x), model(x))

    def test_a_wrong_number_of_features(self):
        compiled = torch.compile(lambda x: fold(x, LAYOUTS["natural"]), fullgraph=True, backend="aot_eager")
        with pytest.raises(
            Exception, match=r"fold: X must have shape \(n_samples, 50\), got float32 of shape \(2, 3\)"
        ):
            compiled(torch.ones(2, 3))


class TestAggregate:
    def state(self, n_pixels=20, n_classes=3):
        return torch.zeros(n_classes, dtype=torch.int64), torch.zeros(n_classes, 3, n_pixels, dtype=torch.float64)

    def batches(self, channels=1):
        rng = np.random.default_rng(4)
        for n in (5, 1, 8):
            attributions = rng.normal(size=(n, channels, 4, 5)).astype(np.float32)
            yield attributions, rng.integers(0, 3, n), rng.random(n) < 0.8

    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_bits_of_the_accumulator(self, channels):
        layout = Layout.natural(20, shape=(4, 5))
        accumulator = AttributionAccumulator(layout, 3)
        count, moments = self.state()
        for attributions, labels, keep in self.batches(channels):
            accumulator.update(attributions, labels, keep)
            version = moments._version
            found = torch_ops.aggregate_op(
                count, moments, torch.from_numpy(attributions), torch.from_numpy(labels), torch.from_numpy(keep)
            )
            assert found is None
            assert moments._version > version  # autograd knows that it changed
        result = accumulator.result()
        np.testing.assert_array_equal(count.numpy(), result.count)
        for k, expected in enumerate((result.mean, result.m2)):
            np.testing.assert_array_equal(moments[:, k].numpy(), expected)
        # The result's is never below the size of the mean.
        np.testing.assert_array_equal(np.maximum(moments[:, 2].numpy(), np.abs(moments[:, 0].numpy())), result.mean_abs)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_batch_that_is_refused_changes_nothing(self, value):
        count, moments = self.state()
        attributions, labels = torch.rand(4, 1, 4, 5), torch.tensor([0, 1, 1, 2])
        torch_ops.aggregate_op(count, moments, attributions, labels)
        before = count.clone(), moments.clone()
        bad = attributions.clone()
        bad[3, 0, 2, 2] = value
        for call in (
            lambda: torch_ops.aggregate_op(count, moments, bad, labels),
            lambda: torch_ops.aggregate_op(count, moments, attributions, labels + 1),
            lambda: torch_ops.aggregate_op(count, moments, attributions, labels[:3]),
            lambda: torch_ops.aggregate_op(count, moments, attributions, labels, labels),
        ):
            with pytest.raises(InputError, match="aggregate"):
                call()
            assert torch.equal(count, before[0])
            assert torch.equal(moments, before[1])
        # One that does not count is not looked at.
        torch_ops.aggregate_op(count, moments, bad, labels, torch.tensor([True, True, True, False]))
        assert count.tolist() == [2, 4, 1]

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"count": torch.zeros(3)}, "count must be int64 of shape"),
            ({"moments": torch.zeros(3, 3, 20)}, r"moments must be float64 of shape \(3, 3, n_pixels\), got float32"),
            ({"moments": torch.zeros(2, 3, 20, dtype=torch.float64)}, r"moments must be .*\(2, 3, 20\)"),
            ({"moments": torch.zeros(3, 20, 3, dtype=torch.float64).mT}, "moments must be contiguous"),
            ({"attributions": torch.ones(4, 20)}, "attributions must have shape"),
            ({"attributions": torch.ones(4, 1, 4, 4)}, "attributions must have the moments' 20 pixels"),
        ],
    )
    def test_refused(self, changed, words):
        count, moments = self.state()
        arguments = {
            "count": count, "moments": moments, "attributions": torch.ones(4, 1, 4, 5), "labels": torch.tensor([0] * 4)
        }  # fmt: skip
        with pytest.raises(InputError, match="aggregate_: " + words):
            torch_ops.aggregate_op(**{**arguments, **changed})

    def test_integers_are_no_attributions(self):
        with pytest.raises(TypeError, match="attributions must be of dtype"):
            torch_ops.aggregate_op(*self.state(), torch.ones(4, 1, 4, 5, dtype=torch.int32), torch.tensor([0] * 4))


def test_ops_are_registered_on_first_use():
    """Neither pixfold nor its fold imports torch, and only a tensor that needs the ops registers them."""
    code = """
import sys, numpy as np, pixfold as pf
layout = pf.Layout.natural(4)
pf.fold(np.ones((2, 4)), layout)
assert "torch" not in sys.modules
import torch
pf.fold(torch.ones(2, 4), layout)
assert "pixfold.ops.torch" not in sys.modules
pf.fold(torch.ones(2, 4, requires_grad=True), layout)
assert "pixfold.ops.torch" in sys.modules
print(torch.ops.pixfold.fold.default._schema)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pixfold::fold(Tensor x, str name, ScalarType dtype, SymInt threads=0) -> Tensor")
