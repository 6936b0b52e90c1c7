"""pixfold bench: limits, checks and tables, at tiny size."""

from __future__ import annotations

import json
import signal
import sys

import numpy as np
import pytest

from pixfold.benchmark import conversions as module
from pixfold.benchmark.competitors import COMPETITORS, Result, data, sharing
from pixfold.benchmark.conversions import compare, samples_for
from pixfold.benchmark.report import markdown, seconds
from pixfold.errors import InputError

TINY = {"samples": 12, "features": 30}


def made(name, tmp_path):
    X = data(**TINY, seed=3)
    job = COMPETITORS[name].make(X, tmp_path)
    return X, job, job.run()


@pytest.mark.parametrize("name", ["pixfold", "NumPy"])
def test_a_wrong_image_is_refused(name, tmp_path):
    X, job, result = made(name, tmp_path)
    job.check(result)
    wrong = np.array(result.images)
    wrong.reshape(len(X), -1)[0, 1] += 0.01
    with pytest.raises(AssertionError):
        job.check(Result(wrong, result.pixel_of_feature))
    with pytest.raises(AssertionError):
        job.check(Result(result.images, result.pixel_of_feature[::-1]))
    with pytest.raises(AssertionError):
        job.check(Result(result.images[:-1], result.pixel_of_feature))


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("torch eager", "torch"),
        ("pydeepmapper", "pydeepmapper"),
        ("pixfold.compat, PCA", "sklearn"),
        ("pyDeepInsight, PCA", "pyDeepInsight"),
        ("TINTOlib, PCA", "TINTOlib"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_results_are_what_they_claim(name, package, tmp_path):
    pytest.importorskip(package, reason=f"{package} is what is compared with", exc_type=ImportError)
    _, job, result = made(name, tmp_path)
    job.check(result)


def test_features_that_share_a_pixel():
    assert sharing(np.array([0, 1, 1, 2, 3, 3, 3])) == 5
    assert sharing(np.arange(4)) == 0


def test_data_are_seeded():
    np.testing.assert_array_equal(data(3, 4, 1), data(3, 4, 1))
    assert not np.array_equal(data(3, 4, 1), data(3, 4, 2))


def test_numbers_of_samples():
    assert [samples_for(n) for n in (1_000, 100_000, 1_000_000)] == [1_000, 1_000, 100]
    assert samples_for(1_000, 20) == 20


def test_a_row_in_its_own_process():
    found = compare([30], ["pixfold", "NumPy"], samples=12)
    for row in found["rows"]:
        assert row["image"] == [6, 6]
        assert row["sharing"] == 0
        assert row["first_s"] > 0
        assert row["peak_bytes"] > 10e6 or sys.platform == "win32"
    text = markdown(found)
    assert "12 samples x 30 features" in text
    assert "| 1 x |" in text
    assert "numpy" in text


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer")
def test_limit_of_time():
    (row,) = compare([2_000], ["pixfold"], samples=400, limit=1e-6)["rows"]
    assert row["failed"] == "not within 1e-06 s"
    assert "not within 1e-06 s" in markdown(
        {"machine": module.machine(), "settings": {"limit_s": 1, "memory_gb": 1, "seed": 0}, "rows": [row]}
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is watched on Linux")
def test_limit_of_memory():
    (row,) = compare([30], ["pixfold"], samples=12, memory=0.005)["rows"]
    assert row["failed"] == "not within 0.005 GB"


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(module, "_installed", lambda package: False)
    (row,) = compare([30], ["pydeepmapper"], samples=12)["rows"]
    assert row["failed"] == "pydeepmapper is not installed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["nothing"]}, "bench: competitors must be among .*, got nothing"),
        ({"features": [3]}, "bench: features must be at least 4, got 3"),
        ({"samples": 1}, "bench: samples must be at least 10, got 1"),
        ({"limit": 0}, "bench: limit must be above 0, got 0"),
        ({"memory": float("nan")}, "bench: memory must be above 0, got nan"),
        ({"seed": -1}, "bench: seed must be at least 0, got -1"),
    ],
)
def test_bad_arguments(arguments, message):
    given = {"features": [30], "names": ["pixfold"]} | arguments
    with pytest.raises(InputError, match=message):
        compare(given.pop("features"), given.pop("names"), **given)


def test_units():
    assert (seconds(0.0123), seconds(12.3), seconds(None)) == ("12.3 ms", "12.3 s", "-")


def test_command(tmp_path):
    typer = pytest.importorskip("typer.testing")
    pytest.importorskip("matplotlib")
    from pixfold.cli.app import app

    arguments = ["bench", "--features", "30", "--samples", "12", "--only", "pixfold", "--out", str(tmp_path / "b")]
    result = typer.CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "12 samples x 30 features" in result.output
    (row,) = json.loads((tmp_path / "b" / "bench.json").read_text())["rows"]
    assert row["name"] == "pixfold"
    assert (tmp_path / "b" / "bench.svg").read_text().startswith("<?xml")
