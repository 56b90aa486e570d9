"""`lambent --help` and the command line's own errors."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from engine import __version__, settings
from engine.cli.main import COMMANDS, main
from tests.support.cli import lambent


def test_python_m_engine_is_the_command_and_says_its_version():
    done = lambent("--version")
    assert (done.returncode, done.stdout) == (0, f"lambent {__version__}\n")


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name, line in COMMANDS.items():
        assert name in listed
        assert line in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example_and_its_defaults(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: lambent {name}" in text
    assert f"Example:\n    lambent {name}" in text
    assert "[default: " in text


def test_the_list_says_what_each_command_says():
    for name in COMMANDS:
        assert import_module(f"engine.cli.{name}").command.name == name


def test_help_of_serve_shows_each_default_and_variable(capsys):
    main(["serve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in set(settings.NAMES) - {"endpoint_url"}:
        assert settings.flag(name) in text
        assert settings.variable(name) in text
    assert "[default: 9000; LAMBENT_PORT]" in text


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["run", "--help"], ["serve", "--help"], ["demo", "--help"]]
)
def test_help_loads_neither_the_engine_nor_a_heavy_library(args):
    program = (
        "import sys; from engine.cli.main import main; main(sys.argv[1:]); "
        "sys.exit(sorted({'asyncio', 'aiohttp', 'rich', 'uvloop', 'engine.engine', 'psutil', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=False)
    assert done.stderr.strip() in {"", "[]"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["srve"], ["no command 'srve'", "Did you mean 'serve'?"]),
        (["frobnicate"], ["no command 'frobnicate'", "run, serve"]),
        (["run"], ["Missing argument 'PATH'", "lambent run --help"]),
        (["run", ".", "--evnt", "1"], ["--evnt", "--event"]),
        (["run", ".", "--watch", "--event", "-"], ["standard input"]),
        (["serve", "--port", "many"], ["--port", "many"]),
        (["serve", "--port", "70000"], ["--port", "70000", "0 to 65535"]),
        (["serve", "--isolation", "none"], ["none", "sandbox"]),
        (["invoke", "f", "1", "--event", "2"], ["given twice"]),
        (["ps", "--endpoint-url", "localhost"], ["--endpoint-url", "http://127.0.0.1:9000"]),
        (["ps", "--config", "absent.toml"], ["absent.toml", "is not there"]),
        (["deploy", ".", "--env", "=x"], ["--env =x", "missing"]),
        (["run", ".", "--env", "SURELY_NOT_SET_HERE"], ["NAME=VALUE"]),
        (["bench", "--quick", "nothing"], ["nothing"]),
    ],
)
def test_a_wrong_command_line_exits_2_with_one_paragraph(args, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("def handler(e, c): return e")
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (paragraph,) = err.strip().splitlines()
    assert paragraph.startswith("lambent: ")
    for word in words:
        assert word in paragraph


def test_debug_shows_the_traceback_of_an_error(capsys):
    assert main(["run", "/nowhere/at/all", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("lambent: there is no function at /nowhere/at/all: No such file")


def test_a_setting_from_the_environment_counts(capsys, monkeypatch):
    monkeypatch.setenv("LAMBENT_ENDPOINT_URL", "http://127.0.0.1:1")
    assert main(["ps"]) == 1
    err = capsys.readouterr().err
    assert "no Lambent server answers at http://127.0.0.1:1 (Connection refused)" in err
    assert "lambent serve" in err
