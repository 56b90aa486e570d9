"""docs/cli.md has every command, every option and every setting with its default."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
import pytest

from engine import settings
from engine.cli.main import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_has_every_option_of_a_command(name):
    command: click.Command = import_module(f"engine.cli.{name}").command
    (row,) = [line for line in PAGE.splitlines() if line.startswith((f"| `{name}`", f"| `{name} "))]
    shared = {settings.flag(one) for one in settings.NAMES} | {"--config", "--debug"}
    for parameter in command.params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            if option.startswith("--"):
                assert option in (PAGE if option in shared else row)


@pytest.mark.parametrize("name", settings.NAMES)
def test_the_page_has_every_setting_with_its_variable_and_default(name):
    value = settings.default(name)
    shown = (
        "a share of the machine's memory" if value is None else f"`{value:g}`" if type(value) is float else f"`{value}`"
    )
    assert f"| `{settings.flag(name)}` | `{settings.variable(name)}` | {shown} |" in PAGE
