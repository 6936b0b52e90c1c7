from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.backbones import Autoencoder, Gate, build, gates
from pixfold.learn.device import resolve_device, resolve_precision
from pixfold.learn.predict import encode, predict_proba
from pixfold.learn.train import train, train_autoencoder
from pixfold.learn.training_options import TrainingOptions

CPU: dict[str, Any] = {"device": "cpu", "precision": "32-true"}


class ArrayBatches:
    """Images in memory, shuffled anew for each epoch when asked to."""

    def __init__(self, images: Tensor, labels: Tensor | None, size: int, *, shuffle: bool = False) -> None:
        self.images, self.labels, self.size, self.shuffle = images, labels, size, shuffle
        self.n_samples, self.epoch = len(images), 0

    def __len__(self) -> int:
        return -(-self.n_samples // self.size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        order = torch.arange(self.n_samples)
        if self.shuffle:
            order = torch.randperm(self.n_samples, generator=torch.Generator().manual_seed(self.epoch))
        for begin in range(0, self.n_samples, self.size):
            rows = order[begin : begin + self.size]
            yield self.images[rows], None if self.labels is None else self.labels[rows], rows


def problem(n: int = 120, side: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise of unit variance with one pixel that tells two classes apart."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 1, side, side, generator=generator), torch.arange(n) % 2
    x[:, 0, 2, 3] += 4.0 * y - 2.0
    return x, y


def loaders(n: int = 120, size: int = 16) -> tuple[ArrayBatches, ArrayBatches]:
    (x, y), (vx, vy) = problem(n), problem(60, seed=1)
    return ArrayBatches(x, y, size, shuffle=True), ArrayBatches(vx, vy, 32)


def net(n_outputs: int = 2, side: int = 6) -> nn.Module:
    return build("patchnet", shape=(1, side, side), n_outputs=n_outputs, seed=0)


def test_learns_and_tells_its_history() -> None:
    result = train(net(), *loaders(), TrainingOptions(epochs=8, patience=8, **CPU), n_classes=2)
    assert result.rejected is None
    assert max(row["validation_accuracy"] for row in result.history) > 0.9
    assert [row["epoch"] for row in result.history] == list(range(1, len(result.history) + 1))
    assert list(result.history[0]) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "validation_balanced_accuracy",
        "learning_rate",
        "open_gates",
        "seconds",
    ]
    assert not result.module.training
    assert all(p.is_contiguous() for p in result.module.parameters())


def test_module_has_the_weights_of_the_best_epoch() -> None:
    training, validation = loaders()
    result = train(net(), training, validation, TrainingOptions(epochs=6, patience=6, **CPU), n_classes=2)
    losses = [row["validation_loss"] for row in result.history]
    x, y = validation.images, validation.labels
    with torch.no_grad():
        found = float(nn.functional.cross_entropy(result.module(x), y))
    # The same numbers summed in other batches: float32 rounding only.
    assert found == pytest.approx(losses[result.best_epoch - 1], rel=1e-5)
    assert losses[result.best_epoch - 1] <= min(losses) + TrainingOptions().min_delta


def test_early_stopping_fires_and_restores() -> None:
    """Labels of the validation samples are flipped: the better the training, the worse their loss."""
    training, validation = loaders()
    assert validation.labels is not None
    validation.labels = 1 - validation.labels
    options = TrainingOptions(epochs=50, patience=3, learning_rate=1e-2, schedule="constant", **CPU)
    result = train(net(), training, validation, options, n_classes=2)
    assert result.stopped == "early"
    assert len(result.history) == result.best_epoch + 3 < 50
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(result.module(validation.images), validation.labels))
    assert loss == pytest.approx(result.history[result.best_epoch - 1]["validation_loss"], rel=1e-5)


def test_stops_when_good_enough() -> None:
    options = TrainingOptions(epochs=50, good_enough_loss=0.3, **CPU)
    result = train(net(), *loaders(), options, n_classes=2)
    assert result.stopped == "good enough"
    assert result.history[-1]["validation_loss"] <= 0.3
    assert all(row["validation_loss"] > 0.3 for row in result.history[:-1])


def test_without_validation_all_epochs_are_done() -> None:
    training, _ = loaders()
    result = train(net(), training, None, TrainingOptions(epochs=2, **CPU), n_classes=2)
    assert (result.stopped, result.best_epoch, len(result.history)) == ("epochs", 2, 2)
    assert "validation_loss" not in result.history[0]


def test_same_seed_same_weights_and_history_and_global_state_untouched() -> None:
    def once(seed: int) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
        module = nn.Sequential(Gate((1, 6, 6), dropout=0.3), net())
        result = train(module, *loaders(48), TrainingOptions(epochs=2, seed=seed, **CPU), n_classes=2)
        return module.state_dict(), [{k: v for k, v in r.items() if k != "seconds"} for r in result.history]

    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    (weights, history), again, other = once(1), once(1), once(2)
    assert history == again[1] != other[1]
    assert all(torch.equal(weights[k], again[0][k]) for k in weights)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_threads_are_put_back_even_when_interrupted() -> None:
    class Interrupting(ArrayBatches):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
            assert torch.get_num_threads() == 3
            raise KeyboardInterrupt

    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    x, y = problem()
    with pytest.raises(KeyboardInterrupt):
        train(net(), Interrupting(x, y, 16), None, TrainingOptions(threads=3, **CPU), n_classes=2)
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_all_gates_closed_is_rejected() -> None:
    options = TrainingOptions(epochs=5, gate_learning_rate=0.5, gate_penalty=1e3, **CPU)
    result = train(net(), *loaders(), options, n_classes=2)
    assert result.stopped == "rejected"
    assert result.rejected is not None
    assert "every gate closed" in result.rejected


def test_gate_is_thresholded_by_its_rate_times_penalty() -> None:
    """A gate whose pixel is always zero has no gradient: only the threshold moves it."""
    x, y = problem()
    x[:, :, 0, 0] = 0.0
    options = TrainingOptions(epochs=1, gate_learning_rate=0.01, gate_penalty=0.5, schedule="constant", **CPU)
    module = net()
    train(module, ArrayBatches(x, y, 16), None, options, n_classes=2)
    # 8 steps of 0.005 each, rounded once per step to float32 near 1.
    assert gates(module)[0].g[0, 0, 0].item() == pytest.approx(1 - 8 * 0.005, abs=8 * 2**-24)


def test_loss_that_is_not_finite_is_rejected() -> None:
    x, y = problem()
    x[3, 0, 0, 0] = float("nan")
    result = train(net(), ArrayBatches(x, y, 16), None, TrainingOptions(epochs=3, **CPU), n_classes=2)
    assert result.stopped == "rejected"
    assert result.rejected is not None
    assert "training loss is nan in epoch 1" in result.rejected


@pytest.mark.parametrize("n", [17, 33])
def test_last_batch_of_one_sample_is_passed_over(n: int) -> None:
    module = build("resnet18", shape=(1, 1, 1), n_outputs=2, seed=0)  # batch normalisation over 1 x 1 pixel
    x, y = torch.randn(n, 1, 1, 1), torch.arange(n) % 2
    result = train(module, ArrayBatches(x, y, 16), None, TrainingOptions(epochs=1, **CPU), n_classes=2)
    assert result.rejected is None
    with pytest.raises(InputError, match="batch_size must be 2 or more"):
        train(module, ArrayBatches(x, y, 1), None, TrainingOptions(epochs=1, **CPU), n_classes=2)


def test_class_weights_are_those_of_the_formula() -> None:
    x, y = problem(20)
    y[:] = 0
    y[:5] = 1

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Parameter(torch.tensor([1.0, 0.0]))

        def forward(self, images: Tensor) -> Tensor:
            return self.scores.expand(len(images), 2)

    options = TrainingOptions(epochs=1, learning_rate=1e-12, **CPU)
    batches = ArrayBatches(x, y, 8)
    rows = {
        counts: train(Fixed(), batches, batches, options, n_classes=2, class_counts=counts).history[0]
        for counts in ((15, 5), None)
    }
    loss = [np.log1p(np.exp(-1.0)), np.log1p(np.exp(1.0))]
    assert rows[15, 5]["validation_loss"] == pytest.approx(sum(loss) / 2, rel=1e-5)
    assert rows[None]["validation_loss"] == pytest.approx((15 * loss[0] + 5 * loss[1]) / 20, rel=1e-5)
    assert rows[None]["validation_accuracy"] == 0.75
    assert rows[None]["validation_balanced_accuracy"] == 0.5


def test_one_cycle_rises_and_falls_and_weight_decay_spares_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[float, float]]] = []
    step = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        seen.append([(group["lr"], group["weight_decay"]) for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    options = TrainingOptions(epochs=5, learning_rate=1e-3, gate_learning_rate=0.02, **CPU)
    train(net(), loaders()[0], None, options, n_classes=2)
    rates = [network[0] for network, _ in seen]
    peak = int(np.argmax(rates))
    assert len(rates) == 40
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[peak] == pytest.approx(1e-3, rel=0.01)
    assert rates[-1] < 0.05e-3
    assert {(network[1], gate[1]) for network, gate in seen} == {(0.01, 0.0)}
    assert all(gate[0] == pytest.approx(20 * network[0]) for network, gate in seen)


def test_progress_counts_every_batch_and_shows_the_loss() -> None:
    class Recorder:
        total, done, fields = 0.0, 0.0, set()  # type: ignore[var-annotated]

        @contextmanager
        def task(self, description: str, total: float) -> Iterator[Recorder]:
            self.total = total
            yield self

        def advance(self, steps: float = 1.0, **fields: object) -> None:
            self.done += steps
            self.fields |= set(fields)

        def log(self, message: str) -> None:
            raise AssertionError(message)

    recorder = Recorder()
    train(net(), *loaders(), TrainingOptions(epochs=3, **CPU), n_classes=2, progress=recorder)
    assert recorder.total == recorder.done == 3 * 8
    assert {"loss", "epoch", "val_accuracy"} <= recorder.fields


class Told:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Any]:
        yield self

    def advance(self, steps: float = 1.0, **fields: object) -> None:
        pass

    def log(self, message: str) -> None:
        self.lines.append(message)


class Small(nn.Module):
    """A network without batch statistics, in whose memory a number of images fits at once."""

    def __init__(self, room: int = 10**9) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 2))
        self.room, self.seen = room, []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return self.inner(images)


def trained(room: int = 10**9, **further: Any) -> tuple[dict[str, Tensor], list[dict[str, float]], Small, list[str]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Small(room)
    told = Told()
    options = TrainingOptions(epochs=3, **CPU, **further)
    # Classes of different weights: parts of a batch then weigh differently.
    result = train(module, *loaders(), options, n_classes=2, class_counts=(30, 90), progress=told)
    return module.state_dict(), result.history, module, told.lines


def close(found: Any, expected: Any) -> None:
    for name, value in expected[0].items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-4, atol=1e-6)
    assert [row["train_loss"] for row in found[1]] == pytest.approx(
        [row["train_loss"] for row in expected[1]], rel=1e-5
    )


def test_parts_of_a_batch_make_the_step_of_the_whole() -> None:
    whole, parts = trained(), trained(micro_batch=5)
    assert max(whole[2].seen) == 32
    assert max(parts[2].seen) == 5
    close(parts, whole)
    assert not parts[3]


def test_out_of_memory_halves_what_is_in_the_network_at_once() -> None:
    whole, short = trained(), trained(room=6)
    close(short, whole)
    assert max(short[2].seen[3:]) <= 6
    assert short[3] == [
        f"warning: out of memory with {n} samples in the network at once: {n // 2} at a time from now on; a step of "
        "the training is of as many samples as before"
        for n in (16, 8)
    ]
    with pytest.raises(MemoryError, match="network and 1 of its images do not fit into memory"):
        trained(room=0)


def test_predictions_of_a_network_that_is_short_of_memory() -> None:
    batches, _ = loaders()
    small = Small(5)
    small.load_state_dict(trained()[0])
    plenty = Small()
    plenty.load_state_dict(small.state_dict())
    expected, _ = predict_proba(plenty, batches, TrainingOptions(**CPU))
    found, _ = predict_proba(small, batches, TrainingOptions(**CPU))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_batch_statistics_need_two_samples_of_a_part() -> None:
    result = train(net(), *loaders(size=15), TrainingOptions(epochs=1, micro_batch=1, **CPU), n_classes=2)
    assert result.rejected is None
    assert result.micro_batch == 1


def test_clipped_gradients_are_no_longer_than_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    step = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    trained()
    free, limit = norms.copy(), float(np.median(norms))
    norms.clear()
    trained(clip_norm=limit)
    assert max(norms) <= limit * (1 + 1e-5) < max(free)
    assert norms[0] == pytest.approx(min(free[0], limit), rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("further", [{}, {"clip_norm": 0.5, "micro_batch": 6}])
def test_half_precision_learns_as_float32_does(precision: str, further: dict[str, Any]) -> None:
    """It finds the pixel as well. (Losses differ by more than roundings: float16 leaves out steps at its beginning.)"""
    options = {"epochs": 8, "patience": 8, "device": "cpu", **further}
    whole, half = (
        train(net(), *loaders(), TrainingOptions(precision=name, **options), n_classes=2).history
        for name in ("32-true", precision)
    )
    for history in (whole, half):
        assert max(row["validation_accuracy"] for row in history) > 0.95
        assert history[-1]["validation_loss"] < 0.5 * history[0]["validation_loss"]
    assert half[0]["train_loss"] != whole[0]["train_loss"]
    # Gradients overflow float16 at the scale that it begins with: those steps are left out, and the rates wait.
    assert (half[0]["learning_rate"] < whole[0]["learning_rate"]) == (precision == "16-mixed")


def test_half_precision_says_nothing(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    options = TrainingOptions(epochs=1, device="cpu", precision="bf16-mixed")
    result = train(net(), *loaders(), options, n_classes=2)
    assert result.precision == "bf16-mixed"
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


def test_predictions_follow_the_indices_and_are_float32() -> None:
    module, (batches, _) = net(), loaders()
    probabilities, indices = predict_proba(module, batches, TrainingOptions(**CPU))
    assert (probabilities.dtype, indices.dtype) == (np.float32, np.int64)
    assert sorted(indices.tolist()) == list(range(120))
    expected = torch.softmax(module.eval()(batches.images), 1).detach().numpy()[indices]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="1 sample or more, got none"):
        predict_proba(module, ArrayBatches(torch.zeros(0, 1, 6, 6), None, 4))


def test_autoencoder_learns_and_ignores_padding() -> None:
    """Samples lie on a plane; pixels outside the mask hold rubbish that must not enter the loss."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(96, 2, generator=generator) @ torch.randn(2, 36, generator=generator)).view(96, 1, 6, 6)
    mask = torch.ones(1, 6, 6, dtype=torch.bool)
    mask[0, 5] = False
    rubbish = torch.where(mask, x, 1e3)
    module = Autoencoder((1, 6, 6), 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Autoencoder((1, 6, 6), 4)
    options = TrainingOptions(epochs=1, learning_rate=1e-9, gate_learning_rate=1e-9, **CPU)
    row = train_autoencoder(module, ArrayBatches(rubbish, None, 32), None, options, mask=mask).history[0]
    with torch.no_grad():
        expected = (module(rubbish) - rubbish).square()[mask.expand_as(x)].mean()
    assert row["train_loss"] == pytest.approx(float(expected), rel=1e-3)

    batches = ArrayBatches(x, None, 16, shuffle=True)
    result = train_autoencoder(module, batches, batches, TrainingOptions(epochs=40, **CPU), mask=mask)
    assert set(result.history[0]) == {
        "epoch", "train_loss", "validation_loss", "learning_rate", "open_gates", "seconds"
    }  # fmt: skip
    variance = float(x[mask.expand_as(x)].var())
    assert result.history[result.best_epoch - 1]["validation_loss"] < 0.5 * variance
    latent, indices = encode(module, batches)
    assert latent.shape == (96, 4)
    assert sorted(indices.tolist()) == list(range(96))


def test_bad_input_is_named() -> None:
    x, y = problem()
    options = TrainingOptions(epochs=1, **CPU)
    with pytest.raises(InputError, match="must have labels, got none"):
        train(net(), ArrayBatches(x, None, 16), None, options, n_classes=2)
    with pytest.raises(InputError, match="labels must lie in 0 to 1, got 2"):
        train(net(), ArrayBatches(x, y + 1, 16), None, options, n_classes=2)
    with pytest.raises(InputError, match="2 samples or more, got 1"):
        train(net(), ArrayBatches(x[:1], y[:1], 16), None, options, n_classes=2)
    with pytest.raises(InputError, match="must have 2 values, got 3"):
        train(net(), ArrayBatches(x, y, 16), None, options, n_classes=2, class_counts=[1, 2, 3])
    with pytest.raises(InputError, match="mask must leave a pixel"):
        train_autoencoder(Autoencoder((1, 6, 6)), ArrayBatches(x, y, 16), None, options, mask=np.zeros((1, 6, 6), bool))


def test_automatic_choices() -> None:
    options = TrainingOptions()
    assert options.resolve_epochs(1) == options.min_steps
    assert TrainingOptions(min_steps=999).resolve_epochs(1) == 200
    assert options.resolve_epochs(1000) == 10
    assert options.resolve_epochs(6) * 6 >= options.min_steps
    assert TrainingOptions(epochs=3).resolve_epochs(1) == 3
    assert all(options.resolve_patience(epochs) < epochs for epochs in range(10, 201))
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_precision("16-mixed", torch.device("cpu")) == "16-mixed"
    assert resolve_precision("auto", torch.device("cpu")) in ("bf16-mixed", "32-true")


def test_autoencoder_defaults_can_be_replaced() -> None:
    options = TrainingOptions.for_autoencoder(learning_rate=1e-4, seed=3)
    assert (options.learning_rate, options.seed, options.gate_penalty) == (1e-4, 3, 0.0)


def test_gate_type_is_found_inside_modules() -> None:
    assert isinstance(gates(net())[0], Gate)
