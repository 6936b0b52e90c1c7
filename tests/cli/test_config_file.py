"""--config: options from a file, a run that is repeated from its own config.json, and files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pixfold.cli.app import app
from pixfold.cli.command import Command
from pixfold.cli.config_file import Known, read_options
from pixfold.errors import InputError
from pixfold.examples.synthetic import write_nihs


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_run_is_repeated_from_its_own_config(tmp_path, monkeypatch):
    data = write_nihs(tmp_path / "x.h5ad", 40, 30)
    genes = tmp_path / "names.txt"
    genes.write_text("\n".join(f"variable_{i}" for i in range(1, 26)))
    monkeypatch.chdir(tmp_path)
    options = ["--label", "label", "--runs", 2, "--seed", 5, "--normalize", "minmax", "--features", "@names.txt"]
    first = invoke("run", "x.h5ad", *options, "--no-pair-screen", "--out", "first", "--quiet")
    assert first.exit_code == 0, first.output
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    second = invoke("run", "--config", "../first/config.json", "--out", "second", "--quiet")
    assert second.exit_code == 0, second.output
    found = (tmp_path / "first" / "findings.csv").read_bytes()
    assert found == (Path("second") / "findings.csv").read_bytes()
    assert b"variable_30" not in found
    assert json.loads(Path("second/config.json").read_text())["options"]["input"] == [str(data)]
    # What stands on the line wins: another seed gives another list, and the folder is kept unless it is asked for.
    third = invoke("run", "--config", "../first/config.json", "--out", "second", "--seed", 6, "--quiet")
    assert third.exit_code == 1
    assert "--force" in third.stderr
    third = invoke("run", "--config", "../first/config.json", "--out", "second", "--seed", 6, "--quiet", "--force")
    assert third.exit_code == 0, third.output
    assert found != (Path("second") / "findings.csv").read_bytes()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "input: [x.h5ad]\nout: x.npy\nlabel: label\nshape: 3,3\nforce: false\ndrop: [variable_1]\n"),
        ("c.toml", 'input = ["x.h5ad"]\nout = "x.npy"\nlabel = "label"\nshape = "3,3"\ndrop = "variable_1"\n'),
        ("c.json", '{"input": "x.h5ad", "out": "x.npy", "label": "label", "shape": "3,3", "drop": ["variable_1"]}'),
    ],
)
def test_three_formats_say_the_same(tmp_path, monkeypatch, name, text):
    monkeypatch.chdir(tmp_path)
    write_nihs(tmp_path / "x.h5ad", 6, 8)
    (tmp_path / name).write_text(text)
    result = invoke("fold", "--config", name, "--quiet", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["out"], found["shape"], found["class_names"]) == ("x.npy", [6, 1, 3, 3], ["class_0", "class_1"])
    # The line wins.
    wider = invoke("fold", "--config", name, "--shape", "2,4", "--force", "--quiet", "--json")
    assert json.loads(wider.stdout)["shape"] == [6, 1, 2, 4]


KNOWN = {
    "runs": Known("n_runs", int | None),
    "fdr": Known("fdr", float | None),
    "label": Known("label", str | None),
    "labels": Known("labels", Path | None),
    "drop": Known("drop", list[str] | None),
    "quiet": Known("quiet", bool),
    "pair-screen": Known("pair_screen", bool | None),
}


def test_values_become_what_the_line_would_give(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("runs: 3\nfdr: 1\nlabel: 7\npair_screen: no\ndrop: A,B\nlabels: ~\n")
    found = read_options(file, "run", KNOWN)
    assert found == {"n_runs": 3, "fdr": 1.0, "label": "7", "pair_screen": False, "drop": ["A,B"]}
    file.write_text("")
    with pytest.raises(InputError, match="must be options and their values, got None"):
        read_options(file, "run", KNOWN)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "fdr: 0.1\nrun: 3\n", "c.yaml, line 2: 'run' is no option of run; did you mean 'runs'?"),
        ("c.toml", 'nonsense = "x"\n', "c.toml, line 1: 'nonsense' is no option of run"),
        ("c.yaml", "fdr: 0.1\nruns: many\n", "c.yaml, line 2: runs must be a whole number, got 'many'"),
        ("c.yaml", "runs: true\n", "line 1: runs must be a whole number, got True"),
        ("c.json", '{\n "fdr": "low"}', "c.json, line 2: fdr must be a number, got 'low'"),
        ("c.yaml", "label: no\n", "line 1: label must be text in quotes, got False"),
        ("c.yaml", "label: 1.10\n", "line 1: label must be text in quotes, got 1.1"),
        ("c.toml", "[label]\na = 1\n", "label must be text, got {'a': 1}"),
        ("c.yaml", "quiet: 1\n", "line 1: quiet must be true or false, got 1"),
        ("c.yaml", "drop: [1, 2]\n", "line 1: drop must be text, or a list of it, got [1, 2]"),
        ("c.yaml", "runs: 1\nruns: 2\n", "line 2: 'runs' is given twice"),
        ("c.json", '{"runs": 1, "runs": 2}', "'runs' is given twice"),
        ("c.yaml", "pair-screen: true\npair_screen: true\n", "'pair-screen' must be given once"),
        ("c.yaml", "a: [1\nb: 2\n", "c.yaml must be YAML, got a mistake: line 2, column 2"),
        ("c.toml", "a = \n", "c.toml must be TOML, got a mistake: "),
        ("c.json", "{", "c.json must be JSON, got a mistake: "),
        ("c.json", "[1]", "must be options and their values, got [1]"),
        ("c.json", '{"pixfold": "0.1"}', "must hold the key 'options' to repeat a run"),
        (
            "c.json",
            '{"pixfold": "0.1", "options": {"command": "fold"}}',
            "must be of pixfold run, got options of 'fold'",
        ),
        ("c.txt", "runs: 1\n", "must end in .yaml, .yml, .toml, .json"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_place(tmp_path, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_options(file, "run", KNOWN)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    result = invoke("run", "x.csv", "--out", tmp_path / "out", "--config", file)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    assert str(file) in result.stderr.splitlines()[0]
    assert not (tmp_path / "out").exists()


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_options(tmp_path / "absent.yaml", "run", KNOWN)
    (tmp_path / "c.yaml").write_bytes(b"label: \xff\n")
    with pytest.raises(InputError, match="UTF-8 text, got byte 0xff"):
        read_options(tmp_path / "c.yaml", "run", KNOWN)


def test_every_option_of_every_command_can_stand_in_a_file():
    import typer.main

    for command in typer.main.get_command(app).commands.values():
        assert isinstance(command, Command)
        given = {known.parameter for known in command.known_options.values()}
        assert {param.name for param in command.params} - given == {"config", "help_all", "debug", "help"} & {
            param.name for param in command.params
        }
