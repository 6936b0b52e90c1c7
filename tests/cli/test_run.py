from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import pixfold
from pixfold.cli.app import app
from pixfold.errors import InputError, OutputError
from pixfold.layout import Layout
from pixfold.learn.consensus import Consensus, RunImportance
from pixfold.learn.results import Results, summarise
from pixfold.learn.tables import findings_table, history_table
from pixfold.report import figures


class FakeEstimator:
    """Stands for both estimators: remembers what it was given, learns nothing."""

    made: list[FakeEstimator]
    raises: BaseException | None = None
    accepted = True
    source = None

    def __init__(self, **arguments) -> None:
        self.arguments = arguments
        FakeEstimator.made.append(self)

    def check_arguments(self):
        pass

    def fit_source(self, source, *, command, progress):
        self.source, self.command = source, command
        with progress.task("training", 2) as task:
            task.advance(1, loss=0.5)
        if self.raises is not None:
            raise self.raises
        progress.log("warning: told while it happened")
        warnings.warn("from the warnings module", UserWarning, stacklevel=1)
        consensus = Consensus(source.n_features)
        for _ in range(2):
            importance = (
                np.arange(source.n_features, dtype=np.float64) if self.accepted else np.zeros(source.n_features)
            )
            consensus.add(
                RunImportance(importance, np.empty((0, source.n_features)), np.empty((0, source.n_features)), 3)
            )
        supervised = self.arguments["supervised"]
        score = {"accuracy": 0.9, "chance_accuracy": 0.5} if supervised else {"explained_variance": 0.7}
        self.results_ = Results(
            task="classification" if supervised else "self-supervised",
            findings=findings_table(consensus.result(), source.feature_names),
            history=history_table([{"run": 1, "epoch": 1, "train_loss": 1.0}]),
            metrics=summarise([{"accepted": self.accepted, **score}, {"accepted": self.accepted, **score}]),
            config={"seed": self.arguments["random_state"]},
            layout=Layout.natural(source.n_features),
            class_names=["a", "b"] if supervised else [],
            messages=["told while it happened", "told at the end", "from the warnings module"],
        )
        return self

    def save(self, folder: Path) -> None:
        (folder / "model.json").write_text("{}")


@pytest.fixture
def invoke(monkeypatch):
    """The command line with the fake estimator in place of the real ones."""
    FakeEstimator.made = []
    monkeypatch.setattr(FakeEstimator, "raises", None)
    monkeypatch.setattr(FakeEstimator, "accepted", True)
    monkeypatch.setattr("pixfold.cli.run._estimator", FakeEstimator)
    monkeypatch.setattr(figures, "render", lambda results: {})  # slow, and tested elsewhere
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "data.csv"
    rows = "\n".join(f"s{i},{i % 2},{i},{i * 2},{i % 3},{i % 5}" for i in range(8))
    path.write_text(f"sample,kind,first,[bold]second[/bold],third,fourth\n{rows}\n")
    return path


def test_version_and_help(invoke):
    assert invoke("--version").stdout.strip() == f"pixfold {pixfold.__version__}"
    shown = invoke("run", "--help")
    assert shown.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout)
    for option in cli_options():
        assert option[:20] in plain


def cli_options() -> list[str]:
    return [
        *(
            "--label",
            "--labels",
            "--split",
            "--layer",
            "--categorical",
            "--stack",
            "--join",
            "--sequence",
            "--alphabet",
            "--ambiguous",
            "--length",
            "--out",
            "--normalize",
            "--negative",
            "--missing",
            "--arrangement",
            "--backbone",
        ),
        *("--runs", "--epochs", "--batch-size", "--method", "--min-accuracy", "--latent-dim", "--device"),
        *("--precision", "--seed", "--threads", "--memory", "--quiet"),
    ]


def test_no_arguments_shows_help(invoke):
    result = invoke()
    assert result.exit_code in (0, 2)  # click changed which
    assert "nihs" in result.output


def test_run_with_classes(invoke, table, tmp_path):
    out = tmp_path / "new" / "out"
    result = invoke("run", table, "--label", "kind", "--out", out)
    assert result.exit_code == 0, result.output
    assert "first" not in result.stderr
    lines = result.stdout.splitlines()
    order = [line.split()[1] for line in lines if re.match(r"\s+\d+ ", line)]
    assert order[:3] == ["fourth", "third", "[bold]second[/bold]"]
    assert any("test accuracy: 0.900 ± 0.000  (chance 0.500)" in line for line in lines)
    assert "accepted runs: 2 of 2" in lines
    assert f"output folder: {out}" in lines
    assert (out / "model.json").exists()
    assert json.loads((out / "config.json").read_text()) == {"seed": 0}


def test_run_with_several_inputs(invoke, table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("sample,fifth\n" + "".join(f"s{i},{i}\n" for i in range(7)))
    result = invoke("run", table, other, "--label", "kind", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "1 sample not in every input ('s7')" in result.stderr
    result = invoke("run", table, other, "--label", "kind", "--join", "inner", "--stack", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    source = FakeEstimator.made[-1].source
    assert source.feature_names == ["first", "[bold]second[/bold]", "third", "fourth", "fifth"]
    assert source.channel_sizes == [4, 1]
    assert source.n_samples == 7


def test_each_warning_is_shown_once_on_stderr(invoke, table, tmp_path):
    result = invoke("run", table, "--label", "kind", "--out", tmp_path / "out")
    for message in ("told while it happened", "told at the end", "from the warnings module"):
        assert result.stderr.count(message) == 1
        assert message not in result.stdout
    assert "warning: told at the end\n" in result.stderr


def test_defaults_given_to_the_estimator(invoke, table, tmp_path):
    invoke("run", table, "--label", "kind", "--out", tmp_path / "out")
    assert FakeEstimator.made[0].arguments == {
        "supervised": True,
        "n_runs": 5,
        "normalize": "auto",
        "negative": "auto",
        "missing": "error",
        "arrangement": "natural",
        "device": "auto",
        "precision": "auto",
        "random_state": 0,
    }


def test_every_option_reaches_the_estimator(invoke, table, tmp_path):
    options = {
        "normalize": "zscore",
        "negative": "shift",
        "missing": "mean",
        "arrangement": "shuffled",
        "backbone": "patchnet",
        "epochs": 3,
        "batch_size": 16,
        "method": "integrated_gradients",
        "min_accuracy": 0.8,
        "device": "cpu",
        "precision": "32-true",
        "threads": 1,
    }
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    result = invoke(
        *("run", table, "--label", "kind", "--out", tmp_path / "out", "--runs", 2, "--seed", 7, "--quiet", *flags)
    )
    assert result.exit_code == 0, result.output
    arguments = FakeEstimator.made[0].arguments
    assert {name: arguments[name] for name in options} == options
    assert (arguments["n_runs"], arguments["random_state"]) == (2, 7)
    assert FakeEstimator.made[0].command.startswith("pixfold")
    assert "training" not in result.stderr


def test_run_without_classes_is_self_supervised(invoke, table, tmp_path):
    result = invoke("run", table, "--out", tmp_path / "out", "--latent-dim", 4)
    assert result.exit_code == 0, result.output
    assert FakeEstimator.made[0].arguments["supervised"] is False
    assert FakeEstimator.made[0].arguments["latent_dim"] == 4
    assert "method" not in FakeEstimator.made[0].arguments  # the auto-encoder has its own default
    assert "explained variance: 0.700" in result.stdout


@pytest.mark.parametrize(
    "flags",
    [("--label", "kind", "--latent-dim", 4), ("--min-accuracy", 0.5), ("--negative", "perhaps"), ("--nonsense",)],
)
def test_usage_errors(invoke, table, tmp_path, flags):
    result = invoke("run", table, "--out", tmp_path / "out", *flags)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()
    assert FakeEstimator.made == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("one class only"), 2, "error: one class only\n"),
        (OutputError("disk is gone"), 1, "error: disk is gone\n"),
        (MemoryError(), 1, "error: out of memory\n"),
        (KeyboardInterrupt(), 130, "interrupted: nothing written\n"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(invoke, table, tmp_path, monkeypatch, error, code, line):
    monkeypatch.setattr(FakeEstimator, "raises", error)
    result = invoke("run", table, "--label", "kind", "--out", tmp_path / "new" / "out", "--quiet")
    assert result.exit_code == code
    assert result.stderr == line
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_unwritable_output_is_told_before_the_work(invoke, table):
    result = invoke("run", table, "--label", "kind", "--out", table)
    assert result.exit_code == 1
    assert "is a file, a folder is needed" in result.stderr
    assert [made.source for made in FakeEstimator.made] == [None]


def test_missing_input_makes_no_folder(invoke, tmp_path):
    result = invoke("run", tmp_path / "absent.csv", "--label", "kind", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "absent.csv" in result.stderr
    assert not (tmp_path / "out").exists()


def test_folder_with_files_stays_after_an_error(invoke, table, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(FakeEstimator, "raises", InputError("no"))
    invoke("run", table, "--label", "kind", "--out", tmp_path / "out")
    assert (tmp_path / "out").is_dir()


def test_no_accepted_run_is_said(invoke, table, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeEstimator, "accepted", False)
    result = invoke("run", table, "--label", "kind", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "No feature has a rank." in result.stdout
    assert "accepted runs: 0 of 2" in result.stdout
    assert "warning: no run was accepted" in result.stderr


def test_a_mistake_of_ours_is_not_hidden(invoke, table, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeEstimator, "raises", ZeroDivisionError("bug"))
    result = invoke("run", table, "--label", "kind", "--out", tmp_path / "out")
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--backbone", "patchnet"), "--backbone: needs --label"),
        (("--min-accuracy", "0.8"), "--min-accuracy: needs --label"),
        (("--label", "kind", "--latent-dim", "8"), "--latent-dim: is for self-supervised jobs"),
    ],
)
def test_options_of_the_other_task_are_refused(invoke, table, tmp_path, options, message):
    result = invoke("run", table, *options, "--out", tmp_path / "new" / "out")
    assert result.exit_code == 2
    assert message in re.sub(r"\x1b\[[0-9;]*m|\s*[│\n]\s*", " ", result.stderr)
    assert FakeEstimator.made == []
    assert not (tmp_path / "new").exists()


def test_nihs(invoke, tmp_path):
    path = tmp_path / "small.h5ad"
    result = invoke("nihs", path, "--samples", 20, "--features", 50, "--needles", 2, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert "20 samples x 50 features, 2 needles" in result.stdout
    source = pixfold.open_source(path, label="label")
    assert (source.n_samples, source.n_features) == (20, 50)


def test_nihs_refuses_another_format(invoke, tmp_path):
    result = invoke("nihs", tmp_path / "small.csv")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_info(invoke):
    result = invoke("info")
    assert result.exit_code == 0, result.output
    rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in result.stdout.splitlines() if line.strip())
    config = pixfold.build_config()
    assert rows["pixfold"] == config["version"]
    assert rows["numpy"] == np.__version__
    assert rows["instruction set"].startswith(config["isa"])
    assert rows["CUDA extension"].startswith("built" if config["cuda"] else "not built")
    assert rows["devices of torch"].startswith("cpu")


def test_importing_the_command_line_is_light():
    heavy = ("torch", "pandas", "matplotlib", "sklearn", "anndata", "scipy")
    code = f"import sys, pixfold.cli.app; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
