from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

import pixfold
from pixfold.cli.app import app
from pixfold.cli.options import READING
from pixfold.errors import InputError, OutputError
from pixfold.formula import PRESETS
from pixfold.layout import Layout
from pixfold.learn import attribution, backbones
from pixfold.learn.backbones import torchvision_models
from pixfold.learn.consensus import Consensus, RunImportance
from pixfold.learn.results import Results, summarise
from pixfold.learn.tables import findings_table, history_table
from pixfold.report import figures


class FakeEstimator:
    """Stands for both estimators: remembers what it was given, learns nothing."""

    made: list[FakeEstimator]
    raises: BaseException | None = None
    accepted = True
    tested: ClassVar[dict[str, object]] = {}
    source = None

    def __init__(self, **arguments) -> None:
        self.arguments = arguments
        FakeEstimator.made.append(self)

    def check_arguments(self):
        pass

    def fit_source(self, source, *, command, progress, checkpoint, log):
        self.source, self.command = source, command
        with progress.task("training", 2) as task:
            task.advance(1, loss=0.5)
        if self.raises is not None:
            raise self.raises
        progress.log("warning: said while it happened")
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
        of_classes = {"accuracy": 0.9, "balanced_accuracy": 0.7, "chance_accuracy": 0.85}
        score = of_classes if supervised else {"explained_variance": 0.7}
        one = {"accepted": self.accepted, "reason": None if self.accepted else "chance is as good", **score}
        self.results_ = Results(
            task="classification" if supervised else "self-supervised",
            findings=findings_table(consensus.result(), source.feature_names),
            history=history_table([{"run": 1, "epoch": 1, "train_loss": 1.0}]),
            metrics={**summarise([one, one]), **self.tested},
            config={"seed": self.arguments["random_state"], **({"fdr": 0.1} if self.tested else {})},
            layout=Layout.natural(source.n_features),
            class_names=["a", "b"] if supervised else [],
            messages=["said while it happened", "said at the end", "from the warnings module"],
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
    monkeypatch.setattr(FakeEstimator, "tested", {})
    monkeypatch.setattr("pixfold.cli.run._estimator", FakeEstimator)
    monkeypatch.setattr(figures, "render", lambda results: {})  # slow, and tested elsewhere
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "data.csv"
    rows = "\n".join(f"s{i},{i % 2},{i},{i * 2},{i % 3},{i % 5}" for i in range(8))
    path.write_text(f"sample,kind,first,[bold]second[/bold],third,fourth\n{rows}\n")
    return path


@pytest.fixture
def job(table, tmp_path) -> tuple:
    return ("run", table, "--label", "kind", "--out", tmp_path / "new" / "out")


def shown_text(text: str) -> str:
    """What stands in a panel, without its frame and colours."""
    return re.sub(r"\x1b\[[0-9;]*m|\s*[│\n]\s*", " ", text)


def test_version_and_help(invoke):
    assert invoke("--version").stdout.strip() == f"pixfold {pixfold.__version__}"
    result = invoke()
    assert result.exit_code in (0, 2)  # click changed which
    assert "nihs" in result.output


def test_help_of_run_names_all_choices_of_the_owners(invoke):
    result = invoke("run", "--help-all")
    assert result.exit_code == 0
    text = shown_text(result.stdout)
    ours = [
        name for name in backbones.names() if name == "resnet18" or name not in torchvision_models.classifier_names()
    ]
    for name in (*PRESETS, *attribution.METHODS, *ours, *(flag.replace("_", "-") for flag in READING), "latent-dim"):
        assert name in text


def test_run_with_classes(invoke, job, tmp_path):
    result = invoke(*job)
    assert result.exit_code == 0, result.output
    assert "first" not in result.stderr
    lines = result.stdout.splitlines()
    order = [line.split()[1] for line in lines if re.match(r"\s+\d+ ", line)]
    assert order[:3] == ["fourth", "third", "[bold]second[/bold]"]
    at = lines.index("balanced accuracy: 0.700 ± 0.000  (chance 0.500)")
    assert lines[at + 1] == "test accuracy: 0.900 ± 0.000  (chance 0.850)"
    # The fake job tested nothing, so nothing is said of it.
    assert "runs: 2" in lines
    assert not any("called" in line or "learned" in line for line in lines)
    assert f"output folder: {job[-1]}" in lines
    assert (job[-1] / "model.json").exists()
    config = json.loads((job[-1] / "config.json").read_text())
    assert config.pop("options")["input"] == [str(job[1])]
    assert config == {"pixfold": pixfold.__version__, "seed": 0}
    for message in ("said while it happened", "said at the end", "from the warnings module"):
        assert result.stderr.count(message) == 1
        assert message not in result.stdout
    assert "warning: said at the end\n" in result.stderr
    defaults = {"normalize": "auto", "negative": "auto", "missing": "error", "arrangement": "natural"}
    machine = {"device": "auto", "precision": "auto", "random_state": 0}
    assert FakeEstimator.made[0].arguments == {"supervised": True, **defaults, **machine}


def test_summary_says_what_is_called_and_how_sure_that_is(invoke, job, monkeypatch):
    tested = {"test_p": 0.012, "n_called": 1, "n_features_used": 1234, "p_values_from": "permuted labels"}
    monkeypatch.setattr(FakeEstimator, "tested", {**tested, "agreement_in_words": "both halves agree"})
    result = invoke(*job)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "called at a false discovery rate of 0.1: 1 feature of 1,234" in lines
    assert "can the labels be learned at all: p = 0.012 (permuted labels)" in lines
    assert "runs: 2; both halves agree" in lines


def test_summary_warns_of_runs_that_disagree(invoke, job, monkeypatch):
    tested = {"test_p": 0.012, "n_called": 1, "n_features_used": 1234, "p_values_from": "permuted labels"}
    monkeypatch.setattr(FakeEstimator, "tested", {**tested, "agreement": 0.04, "agreement_in_words": "no"})
    result = invoke(*job)
    assert result.stderr.count("warning: The runs disagree: two halves of them have an agreement of 0.04") == 1


def test_run_with_several_inputs(invoke, job, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("sample,fifth\n" + "".join(f"s{i},{i}\n" for i in range(7)))
    result = invoke(*job[:2], other, *job[2:])
    assert result.exit_code == 2
    assert "1 sample not in every input ('s7')" in result.stderr
    result = invoke(*job[:2], other, "--join", "inner", "--stack", *job[2:])
    assert result.exit_code == 0, result.output
    source = FakeEstimator.made[-1].source
    assert source.feature_names == ["first", "[bold]second[/bold]", "third", "fourth", "fifth"]
    assert source.channel_sizes == [4, 1]
    assert source.n_samples == 7


def test_every_option_reaches_the_estimator(invoke, job):
    options = {
        **{"normalize": "zscore", "negative": "shift", "missing": "mean", "arrangement": "shuffled"},
        **{"backbone": "patchnet", "epochs": 3, "batch_size": 16, "method": "integrated_gradients"},
        **{"time": "10m", "fdr": 0.2},
        **{"min_accuracy": 0.8, "device": "cpu", "precision": "32-true", "threads": 1, "memory": "1GB"},
    }
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    result = invoke(*job, "--runs", 2, "--seed", 7, "--quiet", *flags)
    assert result.exit_code == 0, result.output
    assert FakeEstimator.made[0].arguments == {"supervised": True, "n_runs": 2, "random_state": 7, **options}
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
    ("flags", "message"),
    [
        (("--label", "kind", "--latent-dim", 8), "--latent-dim: is for self-supervised jobs"),
        (("--min-accuracy", 0.5), "--min-accuracy: needs --label"),
        (("--fdr", 0.2), "--fdr: needs --label"),
        (("--negative", "perhaps"), "--negative"),
        (("--nonsense",), "No such option"),
    ],
)
def test_usage_errors(invoke, table, tmp_path, flags, message):
    result = invoke("run", table, "--out", tmp_path / "new" / "out", *flags)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in shown_text(result.stderr)
    assert not (tmp_path / "new").exists()
    assert FakeEstimator.made == []


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("one class only"), 2, "error: one class only\n"),
        (InputError("DeepMapperClassifier: n_runs must be 1, got 2"), 2, "error: --runs must be 1, got 2\n"),
        (OutputError("disk is gone"), 1, "error: disk is gone\n"),
        (MemoryError(), 1, "error: out of memory; --memory bounds what is held\n"),
        (KeyboardInterrupt(), 130, "interrupted: nothing written\n"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(invoke, job, tmp_path, monkeypatch, error, code, line, existed):
    monkeypatch.setattr(FakeEstimator, "raises", error)
    if existed:
        job[-1].mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    result = invoke(*job, "--quiet")
    assert (result.exit_code, result.stderr, result.stdout) == (code, line, "")
    assert sorted(tmp_path.rglob("*")) == before


def test_unwritable_output_is_refused_before_the_work(invoke, table):
    result = invoke("run", table, "--label", "kind", "--out", table)
    assert result.exit_code == 1
    assert "is a file, a folder is needed" in result.stderr
    assert [made.source for made in FakeEstimator.made] == [None]


def test_no_accepted_run_is_said(invoke, job, monkeypatch):
    monkeypatch.setattr(FakeEstimator, "accepted", False)
    result = invoke(*job)
    assert result.exit_code == 0, result.output
    assert "No feature has a rank." in result.stdout
    assert "runs: 2" in result.stdout.splitlines()
    assert "warning: no feature has a rank: chance is as good\n" in result.stderr


def test_a_mistake_of_ours_is_two_lines_and_a_traceback_on_demand(invoke, job, monkeypatch):
    monkeypatch.setattr(FakeEstimator, "raises", ZeroDivisionError("bug"))
    result = invoke(*job, "--quiet")
    first, second = result.stderr.splitlines()
    assert (result.exit_code, first) == (1, "error: ZeroDivisionError: bug")
    assert "mistake in pixfold" in second
    assert "--debug" in second
    shown = invoke(*job, "--quiet", "--debug")
    assert shown.exit_code == 1
    assert "Traceback" in shown.stderr
    assert "raise self.raises" in shown.stderr


def test_nihs(invoke, tmp_path):
    path = tmp_path / "small.h5ad"
    result = invoke("nihs", path, "--samples", 20, "--features", 50, "--needles", 2, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert "20 samples x 50 features, 2 needles" in result.stdout
    source = pixfold.open_source(path, label="label")
    assert (source.n_samples, source.n_features) == (20, 50)
    result = invoke("nihs", tmp_path / "small.csv")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == [path]


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
