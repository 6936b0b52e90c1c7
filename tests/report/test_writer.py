from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pixfold.errors import OutputError
from pixfold.report import check_writable, figures, write_results


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def fake_figures(monkeypatch):
    """Drawing is tested elsewhere and slow."""
    picture = {"svg": b"<svg></svg>", "png": b"\x89PNG" + bytes(30)}
    monkeypatch.setattr(figures, "render", lambda contents: {"top_features": picture})


def save_model(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "model.json").write_text("{}")


TABLES = ("findings", "history", "predictions")
ALWAYS = {"findings.json", "report.npz", "metrics.json", "config.json", "report.html"}


def of_tables(*tables: str) -> set[str]:
    return {f"{name}.{kind}" for name in tables for kind in ("csv", "parquet")}


def of_figures(*drawn: str) -> set[str]:
    return {f"figures/{name}.{kind}" for name in drawn for kind in ("svg", "png")}


def test_everything_is_written(make_results, tmp_path):
    out = tmp_path / "deep" / "out"
    results = make_results(n_runs=5)
    written = write_results(results, out, save_model=save_model)
    drawn = [name for name in figures.NAMES if name not in ("latent", "predicted_values")]
    model = {"model.safetensors", "model.json"}
    assert names(out) == ALWAYS | of_tables(*TABLES) | of_figures(*drawn) | model
    assert {str(path.relative_to(out)) for path in written} == names(out)
    assert not any(path.name.startswith(".") for path in out.iterdir())
    back = pd.read_csv(out / "findings.csv", float_precision="round_trip")
    assert back["feature"].tolist() == results.findings["feature"].tolist()
    np.testing.assert_array_equal(back["importance"], results.findings["importance"])  # no digit is lost
    assert json.loads((out / "metrics.json").read_text())["test_accuracy"] == results.metrics["test_accuracy"]
    assert len(pd.read_csv(out / "predictions.csv")) == 5 * 40
    assert len(pd.read_csv(out / "history.csv")) == 15
    for name, table in {
        "findings": results.findings,
        "history": results.history,
        "predictions": results.predictions,
    }.items():
        pd.testing.assert_frame_equal(pd.read_parquet(out / f"{name}.parquet"), table.reset_index(drop=True))


def test_self_supervised_into_the_same_folder_leaves_nothing_stale(make_results, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write_results(make_results(), tmp_path)
    write_results(make_results(n_classes=0), tmp_path)
    drawn = ("training_curves", "top_features", "attribution_image", "latent", "feature_values", "rank_frequency")
    assert names(tmp_path) == ALWAYS | of_tables("findings", "history", "latent") | of_figures(*drawn) | {"notes.txt"}
    latent = pd.read_csv(tmp_path / "latent.csv")
    assert list(latent.columns) == ["sample", "a", "b", "c", "d"]
    assert latent["sample"].tolist() == [f"s{i}" for i in range(20)]


def test_without_pyarrow_there_is_no_parquet_and_the_page_says_so(make_results, tmp_path, monkeypatch):
    fake_figures(monkeypatch)
    write_results(make_results(), tmp_path)
    monkeypatch.setattr("pixfold.report.table_files.find_spec", lambda name: None)
    write_results(make_results(), tmp_path)
    assert not any(name.endswith(".parquet") for name in names(tmp_path))
    assert "pyarrow was not installed: pip install &#34;pixfold[io]&#34;" in (tmp_path / "report.html").read_text()


def test_columns_of_several_kinds_are_text_in_parquet(make_results, tmp_path, monkeypatch):
    fake_figures(monkeypatch)
    results = make_results()
    mixed = np.array(["1", 2, None, 3.5] + ["x"] * 26, dtype=object)
    write_results(replace(results, findings=results.findings.assign(mixed=mixed)), tmp_path)
    assert pd.read_parquet(tmp_path / "findings.parquet")["mixed"].tolist()[:4] == ["1", "2", None, "3.5"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_interrupted_write_leaves_what_was_there(make_results, tmp_path, monkeypatch, error):
    fake_figures(monkeypatch)
    write_results(make_results(), tmp_path, save_model=save_model)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}

    def broken(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise error

    with pytest.raises(error):
        write_results(make_results(n_features=50), tmp_path, save_model=broken)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_full_disk_is_an_output_error(make_results, tmp_path, monkeypatch):
    fake_figures(monkeypatch)

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device", str(folder / "model.safetensors"))

    with pytest.raises(OutputError, match="No space left on device"):
        write_results(make_results(), tmp_path / "out", save_model=full)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("file", "out", "message"),
    [
        ("out", "out", "is a file, a folder is needed"),
        ("out", "out/below", "cannot be written to"),
        ("out/figures", "out", "figures is a file"),
    ],
)
def test_a_file_in_the_way(tmp_path, file, out, message):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine")
    with pytest.raises(OutputError, match=message):
        check_writable(tmp_path / out)
    assert (tmp_path / file).read_text() == "mine"


def test_no_permission(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, os.strerror(13), str(tmp_path))

    monkeypatch.setattr("pixfold.report.writer.tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        check_writable(tmp_path)


def test_check_leaves_nothing_behind(tmp_path):
    assert check_writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert names(tmp_path) == set()


def test_json_holds_no_nan_and_no_numpy(make_results, tmp_path, monkeypatch):
    fake_figures(monkeypatch)
    results = make_results(n_runs=1)
    assert np.isnan(results.metrics["test_accuracy_std"])
    results.config["seeds"] = np.arange(3)
    results.config[np.int64(4)] = {"path": Path("x"), "limit": np.float32(0.5), "none": None, "inf": float("inf")}
    write_results(results, tmp_path)

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    assert json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)["test_accuracy_std"] is None
    config = json.loads((tmp_path / "config.json").read_text(), parse_constant=refuse)
    assert config["seeds"] == [0, 1, 2]
    assert config["4"] == {"path": "x", "limit": 0.5, "none": None, "inf": None}


def test_ctrl_c_cannot_split_the_renames(make_results, tmp_path, monkeypatch):
    fake_figures(monkeypatch)
    write_results(make_results(), tmp_path)
    before, rename = signal.getsignal(signal.SIGINT), os.replace

    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("pixfold.report.writer.os.replace", interrupted)
    write_results(make_results(n_features=50), tmp_path)
    assert len(pd.read_csv(tmp_path / "findings.csv")) == 50
    assert "of 50 features" in (tmp_path / "report.html").read_text()
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread(make_results, tmp_path, monkeypatch):
    fake_figures(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write_results, make_results(), tmp_path).result()
    assert all(path.is_file() for path in written)
