"""What every option is called on the command line."""

from __future__ import annotations

import pytest
import typer.main

from pixfold.cli.app import app

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("command", COMMANDS)
def test_a_switch_has_one_name_and_one_that_negates_it(command):
    for option in COMMANDS[command].params:
        if option.secondary_opts:
            assert option.secondary_opts == [f"--no-{option.opts[0].removeprefix('--')}"]


def test_switches_of_run_can_be_turned_off():
    negated = {name for option in COMMANDS["run"].params for name in option.secondary_opts}
    assert {"--no-baselines", "--no-pair-screen", "--no-transpose"} <= negated
