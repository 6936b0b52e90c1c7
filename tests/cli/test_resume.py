"""A job that is killed anywhere goes on with --resume, and ends with the bits of an undisturbed one."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from .jobs import Done, Jobs

COMMON = ("--no-baselines", "--device", "cpu", "--threads", "1", "--precision", "32-true")
TRAINED = ("--label", "label", "--backbone", "patchnet", "--runs", "2", "--epochs", "3", "--batch-size", "16", *COMMON)
KINDS = {
    "classes": TRAINED,
    "additive": ("--label", "label", "--runs", "4", *COMMON),
    "quantity": (
        "--label",
        "age",
        "--drop",
        "label",
        "--runs",
        "2",
        "--epochs",
        "2",
        "--backbone",
        "patchnet",
        *COMMON,
    ),
    "additive quantity": ("--label", "age", "--drop", "label", "--runs", "3", *COMMON),
    "self-supervised": ("--drop", "label", "--runs", "2", "--epochs", "2", *COMMON[1:]),
}
TIMES = {"seconds", "training_seconds", "normalise_seconds", "finished"}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    folder = tmp_path_factory.mktemp("jobs")
    rng = np.random.default_rng(0)
    X, y = rng.random((64, 20)), np.arange(64) % 2
    X[:, 3] += y
    table = pd.DataFrame(X, columns=[f"g{i}" for i in range(20)])
    table["age"] = 40 + 10 * X[:, 5] + rng.random(64)
    table["label"] = np.where(y, "a", "b")
    table.to_csv(folder / "x.csv", index=False)
    table.assign(g7=table.g7[::-1].to_numpy()).to_csv(folder / "other.csv", index=False)
    with Jobs(folder) as found:
        yield found


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def content(out: Path) -> dict[str, Any]:
    """All that a job found, without its times."""
    found: dict[str, Any] = {}
    for name in ("findings.csv", "predictions.csv", "latent.csv", "pairs.csv"):
        if (out / name).exists():
            found[name] = (out / name).read_bytes()
    history = pd.read_csv(out / "history.csv", float_precision="round_trip")
    found["history"] = history.drop(columns="seconds", errors="ignore").to_csv()
    found["metrics"] = without_times(json.loads((out / "metrics.json").read_text()))
    model = json.loads((out / "model.json").read_text())
    found["model"] = without_times({name: value for name, value in model.items() if name != "model"})
    # Its header has a number of its own.
    tensors = (out / "model.safetensors").read_bytes()
    header = int.from_bytes(tensors[:8], "little")
    found["tensors"] = tensors[8 + header :]
    return found


@pytest.fixture(scope="module")
def undisturbed(jobs: Jobs) -> Any:
    """What each kind of job ends with when nothing happens, and how many steps it takes."""
    made: dict[str, tuple[dict[str, Any], int]] = {}

    def of(kind: str) -> tuple[dict[str, Any], int]:
        if kind not in made:
            out = jobs.folder / f"undisturbed {kind}"
            done = ended_well(jobs.run("run", "x.csv", "--out", out, *KINDS[kind]))
            assert not (out / "checkpoint").exists()
            made[kind] = (content(out), done.steps)
        return made[kind]

    return of


def ended_well(done: Done) -> Done:
    assert done.code == 0, done.stderr
    return done


def killed_and_resumed(jobs: Jobs, kind: str, out: Path, steps: list[int]) -> None:
    for step in steps:
        done = jobs.run("run", "x.csv", "--out", out, "--resume", *KINDS[kind], die_at=step)
        assert done.code in (0, -signal.SIGKILL), done.stderr
        if done.code == 0:
            return
    ended_well(jobs.run("run", "x.csv", "--out", out, "--resume", *KINDS[kind]))


@pytest.mark.parametrize("kind", ["classes", "additive"])
def test_killed_jobs_end_with_the_same_bits(jobs: Jobs, undisturbed: Any, kind: str) -> None:
    expected, steps = undisturbed(kind)
    out = jobs.folder / f"killed {kind}"
    # Within the first files, in the middle, and in the last ones.
    killed_and_resumed(jobs, kind, out, [5, steps // 2, 14])
    assert content(out) == expected
    assert not (out / "checkpoint").exists()
    assert not [path.name for path in out.iterdir() if path.name.startswith(".run") or path.name == "checkpoint"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_jobs_killed_at_random_steps(jobs: Jobs, undisturbed: Any, kind: str, seed: int) -> None:
    expected, steps = undisturbed(kind)
    draw = random.Random(seed)
    out = jobs.folder / f"random {kind} {seed}"
    killed_and_resumed(jobs, kind, out, [draw.randrange(1, steps) for _ in range(6)])
    assert content(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_jobs_killed_at_every_step(jobs: Jobs, undisturbed: Any, kind: str) -> None:
    """Each process gets one step further than the one before; nearly all of them die."""
    expected, steps = undisturbed(kind)
    for step in range(1, steps + 1, 3):
        out = jobs.folder / f"every {kind} {step}"
        killed_and_resumed(jobs, kind, out, [step])
        assert content(out) == expected, step


@pytest.mark.slow
def test_jobs_killed_at_random_times(jobs: Jobs, undisturbed: Any) -> None:
    expected, _ = undisturbed("classes")
    draw = random.Random(0)
    out = jobs.folder / "times"
    for number in range(12):
        done = jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED, signal_after=draw.random() * 3)
        assert done.code in (0, -signal.SIGKILL), (number, done.stderr)
    ended_well(jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED))
    assert content(out) == expected


def test_a_job_that_has_ended_is_not_done_again(jobs: Jobs, undisturbed: Any) -> None:
    """Also after the process died while it removed the state, when all results were there."""
    expected, _ = undisturbed("classes")
    out = jobs.folder / "undisturbed classes"
    before = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}
    (out / "checkpoint").mkdir()
    (out / "checkpoint" / "run-1.safetensors").touch()
    done = ended_well(jobs.run("run", "x.csv", "--out", out, "--resume", "--json", *TRAINED))
    assert f"{out} holds the results of this job already" in done.stderr
    found = json.loads(done.stdout)
    findings = pd.read_csv(out / "findings.csv")
    assert [item["feature"] for item in found["top_features"]] == findings.feature[findings["rank"].notna()].tolist()
    assert found["metrics"]["n_runs"] == 2
    assert not (out / "checkpoint").exists()
    assert {path: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()} == before
    for further, differs in (
        (("--epochs", "4"), "training epochs was 3, is 4"),
        (("--drop", "g1"), "number of features was 21, is 20"),
    ):
        done = jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED, *further)
        assert done.code == 2
        assert f"got another: {differs}" in done.stderr
        assert "--force replaces them" in done.stderr
    assert content(out) == expected
    done = ended_well(jobs.run("run", "x.csv", "--out", out, "--resume", "--force", *TRAINED))
    assert "no interrupted job in" in done.stderr
    assert content(out) == expected
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "identity": {"format": 99}}))
    done = jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED)
    assert "must hold a run that says which job it is of, got format 99" in done.stderr
    # Of a version that did not say it.
    (out / "config.json").write_text(json.dumps({name: value for name, value in config.items() if name != "identity"}))
    done = jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED)
    assert done.code == 1
    assert "it holds a run; --force replaces it" in done.stderr
    (out / "config.json").write_text(json.dumps(config))


def interrupted(jobs: Jobs, out: Path, *further: Any, step: int = 20) -> None:
    done = jobs.run("run", "x.csv", "--out", out, *TRAINED, *further, die_at=step)
    assert done.code == -signal.SIGKILL
    assert (out / "checkpoint" / "job.json").exists()


def test_other_settings_and_other_data_are_refused(jobs: Jobs) -> None:
    out = jobs.folder / "others"
    interrupted(jobs, out)
    done = jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED, "--epochs", "4", "--seed", "1")
    assert done.code == 2
    assert "got another: training epochs was 3, is 4; random_state was 0, is 1\n" in done.stderr
    done = jobs.run("run", "other.csv", "--out", out, "--resume", *TRAINED)
    assert done.code == 2
    assert done.stderr.rstrip().endswith("got another: other values")
    done = jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED, "--drop", "g1")
    assert "number of features was 21, is 20; " in done.stderr
    # It is still there.
    ended_well(jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED))


def test_without_resume_a_job_begins_anew_and_says_so(jobs: Jobs, undisturbed: Any) -> None:
    out = jobs.folder / "anew"
    interrupted(jobs, out, "--seed", "3")
    done = ended_well(jobs.run("run", "x.csv", "--out", out, *TRAINED))
    assert f"warning: {out} keeps an interrupted job (" in done.stderr
    assert content(out) == undisturbed("classes")[0]
    done = jobs.run("run", "x.csv", "--out", jobs.folder / "first", "--resume", *TRAINED)
    assert "no interrupted job in" in done.stderr


# The second validation of a job waits for the signal.
WAITS = """
from pixfold.learn.train import _Training
own, calls = _Training.validate, []
def waiting(self):
    calls.append(1)
    if len(calls) == 2:
        Path("waits").touch()
        time.sleep(60)
    return own(self)
_Training.validate = waiting
"""


@pytest.mark.parametrize(
    ("sent", "code", "said"), [(signal.SIGTERM, 75, "interrupted: by SIGTERM: "), (signal.SIGINT, 130, "interrupted: ")]
)
def test_a_signal_keeps_what_there_is(jobs: Jobs, undisturbed: Any, sent: int, code: int, said: str) -> None:
    out = jobs.folder / f"signal {code}"
    expected = undisturbed("classes")[0]
    (jobs.folder / "waits").unlink(missing_ok=True)
    done = jobs.run(
        "run", "x.csv", "--out", out, *TRAINED, signal_after=0, signal_when="waits", signal=sent, before=WAITS
    )
    assert done.code == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{said}{out}/checkpoint keeps "), done.stderr
    assert last.endswith("the same command with --resume goes on")
    assert "Traceback" not in done.stderr
    done = ended_well(jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED))
    assert "going on with" in done.stderr
    assert content(out) == expected


NO_ROOM = """
import pandas
def no_room(*_, **__):
    raise OSError(28, "No space left on device")
pandas.DataFrame.to_csv = no_room
"""


def test_a_full_disk_is_one_line_and_loses_nothing(jobs: Jobs, undisturbed: Any) -> None:
    expected = undisturbed("classes")[0]
    out = jobs.folder / "full"
    interrupted(jobs, out)
    before = {path.name: path.read_bytes() for path in (out / "checkpoint").iterdir() if path.name[0] != "."}
    done = jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED, file_bytes=20_000)
    assert done.code == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: cannot write ")
    assert "File too large; what was kept before (" in last
    assert "Traceback" not in done.stderr
    # What the killed process left half-written is gone.
    assert {path.name: path.read_bytes() for path in (out / "checkpoint").iterdir()} == before
    # Enough for the states, not for the results: none is written, and the job is not lost.
    done = jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED, before=NO_ROOM)
    assert done.code == 1, done.stderr
    assert "cannot be written to: No space left on device" in done.stderr.splitlines()[-1]
    assert not (out / "findings.csv").exists()
    assert (out / "checkpoint" / "job.json").exists()
    ended_well(jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED))
    assert content(out) == expected


def test_logs(jobs: Jobs) -> None:
    out = jobs.folder / "logs"
    interrupted(jobs, out, "--log", "csv")
    ended_well(jobs.run("run", "x.csv", "--out", out, "--resume", *TRAINED, "--log", "csv"))
    log, history = pd.read_csv(out / "log.csv"), pd.read_csv(out / "history.csv")
    pd.testing.assert_frame_equal(log.drop(columns="seconds"), history.drop(columns="seconds"))
