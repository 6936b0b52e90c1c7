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
