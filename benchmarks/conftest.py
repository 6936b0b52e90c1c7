"""What the suites share: the data, and the way in which an op is held to something else."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

# Before anything loads OpenMP: threads of pixfold that wait must not take a core from a rival's threads, nor the other
# way round.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest

import pixfold as pf
from pixfold import _core

N_SAMPLES, N_FEATURES = 6_216, 19_319  # the paper's comparison with DeepInsight


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tsne", action="store_true", help="also run pyDeepInsight with its t-SNE, once: some 3 minutes")


@pytest.fixture(scope="session")
def samples() -> np.ndarray:
    """Uniform numbers; the first sample is all 0, so that every feature's minimum is 0 as it is in expression data."""
    x = np.random.default_rng(0).random((N_SAMPLES, N_FEATURES), dtype=np.float32)
    x[0] = 0
    return x


@pytest.fixture(scope="session")
def normalizer(samples: np.ndarray) -> pf.Normalizer:
    return pf.Normalizer("log1p-minmax").fit(samples)


def seconds_of(run: Callable[[], object]) -> float:
    """How long a call takes by the clock."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


CALLS_AHEAD = 8


def kernel_seconds(run: Callable[[], object]) -> float:
    """How long the current CUDA device works on a call of those that were queued before it began with the first.

    A kernel that only sleeps holds the device back while the host queues. Whether the host was done in time is looked
    at, and if not, the device sleeps longer: host time never counts.
    """
    import torch

    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for cycles in (4_000_000, 40_000_000, 400_000_000):  # 2 to 200 milliseconds
        torch.cuda.synchronize()
        torch.cuda._sleep(cycles)
        first.record()
        for _ in range(CALLS_AHEAD):
            run()
        last.record()
        ahead = not first.query()
        last.synchronize()
        if ahead:
            return float(first.elapsed_time(last)) / 1e3 / CALLS_AHEAD
    pytest.skip("a call waits for the device, so its kernels cannot be timed without the host")


def call_seconds(run: Callable[[], object]) -> float:
    """How long a call takes on an idle device, from its first line to the end of its last kernel."""
    import torch

    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started


@pytest.fixture(params=["kernel", "call"])
def held(request: pytest.FixtureRequest, versus: Callable[..., None]) -> Callable[..., None]:
    """`versus` on a GPU, the limits by the same clock; every test runs twice, for its kernels and for its whole call.

    `wanted` is of the kernels, `wanted_call` of the call. `queued` is the same work without waiting for the device, for
    the kernels of an op that waits. PIXFOLD_DRY_RUN=1 runs on the CPU, once.
    """
    kernel = request.param == "kernel"
    dry = os.environ.get("PIXFOLD_DRY_RUN") == "1"

    def run(
        op: Callable[[], object],
        others: dict[str, Callable[[], object]],
        *,
        work: str,
        wanted: float | None = None,
        wanted_call: float | None = None,
        queued: Callable[[], object] | None = None,
        **options: Any,
    ) -> None:
        import torch

        versus(
            queued if kernel and queued is not None else op,
            others,
            work=f"{work}: {request.param}",
            wanted=wanted if kernel else wanted_call,
            stopwatch=seconds_of if dry else kernel_seconds if kernel else call_seconds,
            device="dry run" if dry else torch.cuda.get_device_name(),
            **options,
        )

    return run


@pytest.fixture
def versus(benchmark: Any) -> Callable[..., None]:
    """Time an op in turns with others, and record the ratio to the first of them.

    ``versus(op, {"memcpy": run}, work="...", wanted=1.15)``. Each round runs the others and then the op, so that all
    meet the same machine; `ratio` is the median of the rounds' own ratios, `spread` the smallest and the largest.
    `stopwatch` says how long a call takes, `more` what else is worth recording (threads and instruction set where
    nothing is given). Results are to be checked before.
    """

    def run(
        op: Callable[[], object],
        others: dict[str, Callable[[], object]],
        *,
        work: str,
        wanted: float | None = None,
        rounds: int = 9,
        threads: int | None = None,
        warm_up: bool = True,
        stopwatch: Callable[[Callable[[], object]], float] = seconds_of,
        **more: object,
    ) -> None:
        times: dict[str, list[float]] = {name: [] for name in others}
        own: list[float] = []

        def others_first() -> None:
            for name, other in others.items():
                times[name].append(stopwatch(other))

        if warm_up:
            op()
            for other in others.values():
                other()
        benchmark.pedantic(lambda: own.append(stopwatch(op)), setup=others_first, rounds=rounds, iterations=1)
        if benchmark.stats is None:  # --benchmark-disable
            return
        ratios = {name: [a / b for a, b in zip(own, times[name], strict=True)] for name in others}
        first, *rest = others
        benchmark.extra_info.update(
            work=work,
            limit=first,
            wanted=wanted,
            ratio=statistics.median(ratios[first]),
            spread=[min(ratios[first]), max(ratios[first])],
            op_ms=statistics.median(own) * 1e3,
            limit_ms=statistics.median(times[first]) * 1e3,
            also={name: statistics.median(ratios[name]) for name in rest},
            **(more or {"threads": threads or _core.default_threads(), "isa": _core.isa()}),
        )

    return run
