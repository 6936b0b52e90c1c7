from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import pixfold
from pixfold.arrays import cuda_extension as _cuda_extension
from pixfold.errors import BackendError

ARCHS = ("sm_80", "sm_90", "compute_90")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What was found out about devices is kept; these tests say something else each time."""
    _cuda_extension._problem.cache_clear()
    yield
    _cuda_extension._problem.cache_clear()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A machine with the extension, a driver and cards as they are given."""

    def make(driver: str | None = "13.0", archs: tuple[str, ...] = ARCHS, *cards: Any) -> Any:
        cuda = SimpleNamespace(
            version="13.0",
            archs=list(archs),
            driver_version=lambda: driver,
            devices=lambda: [
                SimpleNamespace(name=name, capability=capability, memory=80 << 30) for name, capability in cards
            ],
        )
        monkeypatch.setattr(_cuda_extension, "is_built", lambda: True)
        monkeypatch.setattr(_cuda_extension, "load", lambda: cuda)
        return cuda

    return make


def problem() -> str:
    with pytest.raises(BackendError) as error:
        _cuda_extension.extension("fold", "X", 0)
    return str(error.value)


def test_not_built(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_cuda_extension, "is_built", lambda: False)
    said = problem()
    assert said.startswith(
        "fold: X is on cuda:0, and this build of pixfold has no CUDA kernels: install it from source"
    )
    assert said.endswith("; or pass X.cpu()")
    config = pixfold.build_config()
    assert (config["cuda"], config["cuda_driver"], config["cuda_devices"]) == (False, None, [])


@pytest.mark.parametrize(
    ("made_of", "message"),
    [
        ((None,), "this machine has no NVIDIA driver: install one"),
        (
            ("12.4", ARCHS, ("NVIDIA H100", (9, 0))),
            "whose driver supports CUDA 12.4, and pixfold was built with CUDA 13.0: update the driver",
        ),
        (("13.1",), "there are 0 CUDA devices here: look at CUDA_VISIBLE_DEVICES"),
        (
            ("13.0", ARCHS, ("Tesla T4", (7, 5))),
            "a Tesla T4 of compute capability 7.5, and the kernels need 8.0 or newer: use another card",
        ),
        (("13.0", ("sm_90",), ("NVIDIA A100", (8, 0))), "built for sm_90: build it with -DPIXFOLD_CUDA_ARCHS=80"),
    ],
)
def test_machines_that_run_no_kernels(machine: Callable[..., Any], made_of: tuple[Any, ...], message: str):
    machine(*made_of)
    assert message in problem()


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (("sm_80",), (8, 0), True),
        (("sm_80",), (8, 6), True),  # of the same generation
        (("sm_86",), (8, 0), False),
        (("sm_80",), (9, 0), False),
        (("sm_80", "compute_80"), (9, 0), True),  # compiled by the driver
        (("sm_90", "compute_90"), (12, 0), True),
        (("compute_120",), (10, 0), False),
        (("sm_90a",), (9, 0), True),
    ],
)
def test_which_cards_a_build_runs_on(
    machine: Callable[..., Any], archs: tuple[str, ...], capability: tuple[int, int], runs: bool
):
    cuda = machine("13.0", archs, ("a card", capability))
    if runs:
        assert _cuda_extension.extension("fold", "X", 0) is cuda
    else:
        assert "build it with" in problem()


def test_devices_are_listed_without_torch(machine: Callable[..., Any]):
    cuda = machine("13.0", ARCHS, ("NVIDIA H100", (9, 0)), ("NVIDIA A100", (8, 0)))
    config = pixfold.build_config()
    assert config["cuda_driver"] == "13.0"
    assert config["cuda_devices"] == [
        "NVIDIA H100 (compute capability 9.0, 80 GiB)",
        "NVIDIA A100 (compute capability 8.0, 80 GiB)",
    ]

    def broken() -> None:
        raise BackendError("out of memory")

    cuda.devices = broken
    assert pixfold.build_config()["cuda_devices"] == ["none that can be used: out of memory"]
