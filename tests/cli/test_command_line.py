"""What all commands share: short help, exit codes, --json, --verbose, --debug, completion, NO_COLOR."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer.main
from typer.testing import CliRunner

from pixfold.cli.app import app

COMMANDS = typer.main.get_command(app).commands
# Lines of a terminal window of common height; 80 columns.
SCREEN = 40


def invoke(*arguments, **environment):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment, prog_name="pixfold")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_and_has_an_example(command):
    result = invoke(command, "--help", COLUMNS="80")
    assert result.exit_code == 0
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert len(lines) <= SCREEN
    assert max(map(len, (line for line in lines if not line.startswith(("Example", "Usage"))))) <= 80
    assert lines[0].startswith(f"Usage: pixfold {command} ")
    (example,) = [line for line in lines if line.startswith("Example: ")]
    assert example.startswith(f"Example: pixfold {command}")
    for option in ("--config", "--json", "--debug", "--help-all"):
        assert option in result.stdout


def test_short_help_of_run_says_how_to_go_on_and_to_watch():
    shown = invoke("run", "--help", COLUMNS="80").stdout
    assert "--resume" in shown
    assert "--log FILE" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_an_example_uses_options_that_there_are(command):
    (line,) = [line for line in invoke(command, "--help").stdout.splitlines() if line.startswith("Example: ")]
    known = {name for parameter in COMMANDS[command].params for name in parameter.opts}
    assert {word for word in line.split() if word.startswith("--")} <= known


@pytest.mark.parametrize("command", COMMANDS)
def test_help_all_has_every_option_and_help_marks_what_is_needed(command):
    full = invoke(command, "--help-all", COLUMNS="120").stdout
    usage = invoke(command, "--help").stdout.splitlines()[0]
    for parameter in COMMANDS[command].params:
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in full
            assert (parameter.opts[0] in usage) == parameter.required


def test_help_of_all_lists_the_commands_and_fits_a_screen():
    result = invoke("--help", COLUMNS="80")
    assert len(result.stdout.splitlines()) <= SCREEN
    assert "Example: pixfold run" in result.stdout
    for command in COMMANDS:
        assert f" {command} " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["run"], "INPUT...", "try: pixfold run --help"),
        (["run", "x.csv"], "--out", "try: pixfold run --help"),
        (["run", "x.csv", "--out", "y", "--runs", "many"], "--runs", "try: pixfold run --help"),
        (["run", "x.csv", "--out", "y", "--lable", "z"], "--label", "try: pixfold run --help"),
        (["fold", "x.csv", "y.zarr", "--arrangement", "random"], "--arrangement", "try: pixfold fold --help"),
        (["rum"], "Did you mean 'run'", "try: pixfold --help"),
    ],
)
def test_a_wrong_call_is_two_lines_and_status_2(arguments, message, hint):
    result = invoke(*arguments)
    first, second = result.stderr.splitlines()
    assert result.exit_code == 2
    assert first.startswith("error: ")
    assert message in first
    assert second == hint
    assert result.stdout == ""


def test_status_1_where_the_work_fails(tmp_path):
    result = invoke("nihs", tmp_path / "no" / "x.h5ad", "--samples", 4, "--features", 4)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


def test_debug_shows_where_an_error_was_raised(tmp_path):
    call = ["predict", tmp_path / "absent", tmp_path / "x.csv", "--out", tmp_path / "y.csv"]
    plain, debugged = invoke(*call), invoke(*call, "--debug")
    assert plain.exit_code == debugged.exit_code != 0
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debugged.stderr
    assert debugged.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]


def test_json_is_one_object_and_all_else_is_on_standard_error(tmp_path):
    file = tmp_path / "x.h5ad"
    result = invoke("nihs", file, "--samples", 6, "--features", 8, "--json")
    found = {"command": "nihs", "out": str(file), "n_samples": 6, "n_features": 8, "needles": 2, "label": "label"}
    assert json.loads(result.stdout) == found
    assert "6 samples x 8 features" in result.stderr
    folded = invoke("fold", file, tmp_path / "x.npy", "--label", "label", "--quiet", "--json")
    assert json.loads(folded.stdout)["shape"] == [6, 1, 3, 3]
    packed = invoke("pack", file, tmp_path / "x.zarr", "--json")
    assert json.loads(packed.stdout)["n_samples"] == 6
    whole = json.loads(invoke("pack", "--verify", tmp_path / "x.zarr", "--json").stdout)
    assert whole["verified"] is True
    assert json.loads(invoke("info", "--json").stdout)["versions"]["pixfold"]
    refused = invoke("nihs", file, "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--force" in refused.stderr


def test_verbose_says_every_step_and_quiet_none(tmp_path):
    file = tmp_path / "x.h5ad"
    invoke("nihs", file, "--samples", 6, "--features", 8)
    lines = {
        flag: invoke("fold", file, tmp_path / f"{i}.npy", *flag).stderr.splitlines()
        for i, flag in enumerate([(), ("--verbose",), ("--quiet",)])
    }
    done = {flag: [line for line in found if "done in" in line] for flag, found in lines.items()}
    assert len(done[()]) == len(done[("--quiet",)]) == 0  # steps of less than a second
    assert len(done[("--verbose",)]) >= 1


def test_the_shell_completes_options_and_choices():
    def completed(line: str) -> str:
        words = {"_PIXFOLD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        return invoke(**words).stdout

    assert "pair-screen" in completed("pixfold pai").split()
    assert "--latent-dim" in completed("pixfold run --latent").split()  # not in the short help
    assert completed("pixfold run --missing e").split() == ["error"]
    options = {name for parameter in typer.main.get_command(app).params for name in parameter.opts}
    assert {"--install-completion", "--show-completion"} <= options


@pytest.mark.skipif(os.name != "posix", reason="terminals as on POSIX systems")
@pytest.mark.parametrize(("colours", "unwanted"), [(True, {}), (False, {"NO_COLOR": "1"})])
def test_no_color_is_honoured_on_a_terminal(colours, unwanted):
    import pty

    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "80", **unwanted}
    job = subprocess.Popen(
        [sys.executable, "-m", "pixfold", "run", "--help"], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    found = b""
    try:
        while part := os.read(ours, 65536):
            found += part
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(ours)
    assert job.wait() == 0
    assert b"--label" in found
    assert (b"\x1b[36m" in found) == colours
