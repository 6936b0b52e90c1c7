"""What users get wrong, through the real command line: a line or two, an exit code, nothing half-written."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pixfold.cli.app import app
from pixfold.examples.synthetic import write_nihs

N = 24


def table(path: Path, *, kind=None, cell=None, value=None, n=N) -> Path:
    """Write samples with the features a, b and c; `cell` = (sample, feature position) holds `value`."""
    rng = np.random.default_rng(0)
    lines = ["sample,kind,a,b,c"]
    for i in range(n):
        cells = [f"{x:.4f}" for x in rng.random(3)]
        if cell is not None and cell[0] == i:
            cells[cell[1]] = value
        lines.append(",".join([f"s{i}", kind or f"k{i % 2}", *cells]))
    path.write_text("\n".join(lines) + "\n")
    return path


def named(path: Path) -> Path:
    """Write samples with a class of its own each."""
    text = table(path).read_text()
    for i in range(N):
        text = text.replace(f"s{i},k{i % 2},", f"s{i},patient_{i},")
    path.write_text(text)
    return path


def zipped(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def negative(folder: Path) -> Path:
    return table(folder / "negative.csv", cell=(3, 1), value="-5")


def array(folder: Path, X) -> Path:
    np.save(folder / "x.npy", X)
    return folder / "x.npy"


def half_h5ad(folder: Path) -> Path:
    path = write_nihs(folder / "half.h5ad", 20, 50)
    path.write_bytes(path.read_bytes()[:3000])
    return path


SELF = "self-supervised"
# What is wrong: (input from a folder, further arguments, what the message must hold)
CASES = {
    "label column": (
        lambda d: table(d / "x.csv"),
        ["--label", "king"],
        ["no label column 'king'", "did you mean 'kind'", "'a', 'b', 'c'"],
    ),
    "one class": (lambda d: table(d / "x.csv", kind="k"), [], ["only one class ('k', 24 samples)"]),
    "label is a measurement": (
        lambda d: table(d / "x.csv"),
        ["--label", "a", "--task", "classification"],
        ["look like a measurement", "--task regression"],
    ),
    "missing values": (
        lambda d: table(d / "x.csv", cell=(4, 1), value="NA"),
        [],
        ["1 value missing (NaN) in 1 feature ('b')", "--missing mean"],
    ),
    "text among numbers": (
        lambda d: table(d / "x.csv", cell=(4, 1), value="high"),
        [],
        ["x.csv", "line 6, column 'b'", "'high'"],
    ),
    "network of labels": (
        lambda d: table(d / "x.csv"),
        [SELF, "--backbone", "patchnet"],
        ["--backbone must be one of auto, principal, convolutional, got 'patchnet'"],
    ),
    "infinite": (lambda d: table(d / "x.csv", cell=(4, 1), value="inf"), [], ["infinite", "'b'", "'s4'"]),
    "negative, not to be shifted": (
        negative,
        ["--negative", "error", "--normalize", "log1p-zscore"],
        ["negative", "'b'", "shift"],
    ),
    "empty file": (lambda d: zipped(d / "x.csv", b""), [], ["x.csv", "the file is empty"]),
    "header alone": (lambda d: zipped(d / "x.csv", b"kind,a,b\n"), [], ["one line per sample"]),
    "short line": (
        lambda d: zipped(d / "x.csv", b"kind,a,b\nx,1,2\ny,1\n"),
        [],
        ["line 3 must hold 3 fields", "got 2"],
    ),
    "text called h5ad": (
        lambda d: zipped(d / "x.h5ad", b"a,b\n1,2\n"),
        [],
        ["must be HDF5, as its name says, got text"],
    ),
    "gzip called csv": (
        lambda d: zipped(d / "x.csv", gzip.compress(b"a,b\n1,2\n", mtime=0)),
        [],
        ["must be text, as its name says, got gzip"],
    ),
    "text called gzip": (
        lambda d: zipped(d / "x.csv.gz", b"a,b\n1,2\n"),
        [],
        ["must be gzip, as its name says, got text"],
    ),
    "cut-off gzip": (
        lambda d: zipped(d / "x.csv.gz", gzip.compress(b"kind,a\n" + b"x,0.5\n" * 9, mtime=0)[:-12]),
        [],
        ["damaged or cut off"],
    ),
    "cut-off h5ad": (half_h5ad, ["--label", "label"], ["half.h5ad", "damaged or cut off"]),
    "missing file": (lambda d: d / "absent.h5ad", [], ["absent.h5ad: no such file"]),
    "folder": (lambda d: d, [], ["the input must be a file, or a folder with zarr.json", "got another folder"]),
    "unknown ending": (lambda d: zipped(d / "x.dat", b"PK"), [], ["the name must end in .h5ad"]),
    "no labels in an array": (lambda d: array(d, np.ones((9, 4))), [], ["no columns to take labels from"]),
    "all zero": (lambda d: array(d, np.zeros((9, 4))), [SELF], ["all values are zero or missing"]),
    "all constant": (
        lambda d: array(d, np.full((9, 4), 3.5)),
        [SELF],
        ["values must differ between samples", "4 features with one value each in all 9 samples"],
    ),
    "constant with labels": (
        lambda d: zipped(d / "x.csv", b"sample,kind,a\n" + b"".join(b"s%d,k%d,2\n" % (i, i % 2) for i in range(9))),
        [],
        ["values must differ between samples", "1 feature with one value each"],
    ),
    "two samples": (
        lambda d: table(d / "x.csv", n=2),
        ["--backbone", "auto"],
        ["samples must be enough to hold some out", "got 2"],
    ),
    "labels are names": (
        lambda d: named(d / "x.csv"),
        [],
        ["24 different labels in 24 samples", "look like an identifier"],
    ),
    "one sample": (lambda d: array(d, np.ones((1, 4))), [SELF], ["n_samples must be 3 or more", "got 1"]),
    "one dimension": (lambda d: array(d, np.ones(4)), [SELF], ["2-D matrix"]),
    "layer": (lambda d: table(d / "x.csv"), ["--layer", "raw"], ["layers are read from AnnData alone"]),
    "self-supervised method": (
        lambda d: array(d, np.random.default_rng(0).random((9, 4))),
        [SELF, "--method", "shap"],
        ["method", "saliency", "'shap'"],
    ),
}


def run(data: Path, out: Path, *arguments: str):
    # Of an option that is given twice, the last one counts.
    options = [] if SELF in arguments else ["--label", "kind", "--backbone", "patchnet"]
    options += [argument for argument in arguments if argument != SELF]
    options += ["--epochs", "1", "--runs", "1", "--threads", "1", "--device", "cpu"]
    return CliRunner().invoke(app, ["run", str(data), "--out", str(out), *options])


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, tmp_path):
    make, arguments, parts = CASES[case]
    (tmp_path / "in").mkdir()
    data = make(tmp_path / "in")
    before = listing(tmp_path)
    result = run(data, tmp_path / "new" / "out", *arguments)
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert len([line for line in lines if not line.startswith("warning: ")]) <= 2
    for part in parts:
        assert part in errors[0]
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert listing(tmp_path) == before


@pytest.mark.parametrize("place", ["file", "under a file", "figures is a file"])
def test_output_that_is_no_folder(place, tmp_path):
    data = table(tmp_path / "x.csv")
    (tmp_path / "there").write_text("mine")
    out = {"file": tmp_path / "there", "under a file": tmp_path / "there" / "out"}.get(place, tmp_path / "out")
    if place == "figures is a file":
        out.mkdir()
        (out / "figures").write_text("mine")
    before = listing(tmp_path)
    result = run(data, out)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: output folder")
    assert len(result.stderr.splitlines()) == 1
    assert listing(tmp_path) == before
    assert (tmp_path / "there").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_output_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    result = run(table(tmp_path / "x.csv"), tmp_path / "locked" / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: output folder")


def test_a_disk_that_fills_up_leaves_the_old_results(tmp_path, monkeypatch):
    from pixfold.report import html

    data, out = table(tmp_path / "x.csv"), tmp_path / "out"
    assert run(data, out).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert before

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(html, "render", full)
    result = run(data, out, "--seed", "5", "--force")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {path: content for path, content in after.items() if "checkpoint" not in path.parts} == before


def test_negative_values_are_shifted_with_a_warning(tmp_path):
    result = run(negative(tmp_path), tmp_path / "out", "--normalize", "log1p-zscore")
    assert result.exit_code == 0, result.output
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert sum("1 negative value in 1 feature ('b')" in line for line in warnings) == 1
    assert (tmp_path / "out" / "findings.csv").is_file()


def test_whole_numbers_that_no_two_samples_share_are_said_to_look_like_identifiers(tmp_path):
    path = table(tmp_path / "x.csv")
    lines = path.read_text().splitlines()
    numbered = [lines[0]] + [line.replace(f",k{i % 2},", f",{1000 + 7 * i},") for i, line in enumerate(lines[1:])]
    path.write_text("\n".join(numbered) + "\n")
    result = run(path, tmp_path / "out", "--backbone", "auto")
    assert result.exit_code == 0, result.output
    assert "kind has another whole number in each of 24 samples, as an identifier has" in result.stderr


def test_one_feature_is_enough_to_run(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("sample,kind,a\n" + "".join(f"s{i},k{i % 2},{i % 2 + i / 100}\n" for i in range(N)))
    result = run(path, tmp_path / "out", "--backbone", "auto")
    assert result.exit_code == 0, result.output
    assert "called at a false discovery rate of 0.1: 1 feature of 1" in result.stdout


def test_classes_too_small_for_the_split_are_named(tmp_path):
    path = table(tmp_path / "x.csv")
    path.write_text(path.read_text().replace("s1,k1", "s1,rare").replace("s3,k1", "s3,rare"))
    result = run(path, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "'rare' (2 samples)" in result.stderr
