"""`lambent runtimes`: identifiers, what runs them, what is missing."""

from __future__ import annotations

import json
import sys

import pytest

import bootstraps
from bootstraps import _interpreters
from engine.cli.main import main
from engine.store import shapes


def listed(capsys, *args: str) -> list[dict[str, object]]:
    assert main(["runtimes", *args, "--json", "--isolation", "process"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_identifier_has_its_interpreter_and_version(capsys):
    found = {one["runtime"]: one for one in listed(capsys)}
    assert set(found) <= set(shapes.RUNTIMES)
    assert list(found) == [*bootstraps.IDENTIFIERS, *bootstraps.PROVIDED]
    ours = found[f"python{sys.version_info[0]}.{sys.version_info[1]}"]
    assert ours["exact"]
    assert str(ours["interpreter"]).startswith("/")
    assert found["provided.al2023"]["run_by"] == "the package's bootstrap"
    assert found["go1.x"]["run_by"] == "the handler's executable"


def test_a_language_narrows_the_list(capsys):
    assert [one["runtime"] for one in listed(capsys, "go")] == ["go1.x"]
    assert main(["runtimes", "cobol"]) == 2
    assert "there are python, nodejs, ruby, java, dotnet, go, provided" in capsys.readouterr().err


@pytest.mark.parametrize("isolation", ["process", "auto"])
def test_what_is_missing_is_said_once_with_what_to_install(capsys, monkeypatch, isolation):
    monkeypatch.setattr(_interpreters, "_candidates", lambda _key: ())
    assert main(["runtimes", "dotnet", "--isolation", isolation]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split() == ["dotnetcore3.1", "-", "-", "missing", "-"]
    (line,) = err.splitlines()
    assert line.startswith(".NET: no .NET 3.1 or later found in PATH, ")
    assert "apt-get install mono-runtime mono-mcs" in line
    (first, *_) = listed(capsys, "ruby")
    assert first["interpreter"] is None
    assert "apt-get install ruby" in str(first["missing"])


def test_another_version_is_shown_as_the_nearest(capsys, monkeypatch):
    monkeypatch.setattr(_interpreters, "_candidates", lambda key: (bootstraps.Interpreter(f"/usr/bin/{key}", (25, 0)),))
    monkeypatch.setattr(_interpreters, "_barrier", lambda _file: None)
    assert main(["runtimes", "java", "--isolation", "process"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["java21", "Java", "25", "nearest", "/usr/bin/java"] in rows
    assert ["java25", "Java", "25", "exact", "/usr/bin/java"] in rows
