"""Which interpreter a managed runtime gets: the exact version, else the best there is, else a clear error."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import bootstraps
from bootstraps import _build, _commands, _interpreters
from engine.store import shapes
from tests.support.require import requires


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with the interpreters that a test puts there, and no others."""
    monkeypatch.setenv("PATH", str(tmp_path))
    nowhere = {key: replace(language, places=()) for key, language in bootstraps.LANGUAGES.items()}
    monkeypatch.setattr(_interpreters, "LANGUAGES", nowhere)
    monkeypatch.setattr(_interpreters, "MONO", replace(_interpreters.MONO, places=()))
    monkeypatch.setattr(sys, "executable", "")
    bootstraps.forget()

    def add(name: str, version: str | None = None, *, script: bool = False) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if script:
            file.write_text("#!/bin/sh\necho Python 3.12.0\n")
        else:
            file.write_bytes(b"\x7fELF " + name.encode())
        file.chmod(0o755)
        if version:
            versions[str(file)] = version
        return file

    versions: dict[str, str] = {}
    monkeypatch.setattr(_interpreters, "_run", lambda argv: versions.get(argv[0]))
    yield add
    bootstraps.forget()


def open_to_all(_path: str) -> None:
    return None


def test_the_folders_have_what_their_names_say():
    assert bootstraps.languages() == tuple(sorted(bootstraps.languages()))
    for language in bootstraps.languages():
        assert (bootstraps.path(language) / "README.md").is_file()
    for key, language in bootstraps.LANGUAGES.items():
        for name in language.files if key in bootstraps.languages() else ():
            assert name.startswith("target/") or (bootstraps.path(key) / name).exists()
    assert os.access(bootstraps.path("shell") / "bootstrap", os.X_OK)
    with pytest.raises(KeyError, match=r"no bootstrap for 'cobol'; there are .*java, "):
        bootstraps.path("cobol")


def test_every_identifier_that_create_function_takes_is_known_or_has_never_been_managed():
    unmanaged = {"nodejs", "nodejs4.3-edge", "custom", *bootstraps.PROVIDED}
    for runtime in set(shapes.RUNTIMES) - unmanaged:
        assert bootstraps.parse(runtime) is not None, runtime
    assert {*bootstraps.IDENTIFIERS, *bootstraps.PROVIDED} <= set(shapes.RUNTIMES)


@pytest.mark.parametrize(
    ("runtime", "wanted"),
    [
        ("python3.12", ("python", (3, 12))),
        ("nodejs20.x", ("nodejs", (20,))),
        ("ruby3.3", ("ruby", (3, 3))),
        ("java21", ("java", (21,))),
        ("java8.al2", ("java", (8,))),
        ("java17.al2023", ("java", (17,))),
        ("dotnet8", ("dotnet", (8,))),
        ("dotnetcore3.1", ("dotnet", (3, 1))),
    ],
)
def test_an_identifier_names_language_and_version(runtime, wanted):
    assert bootstraps.parse(runtime) == wanted


@pytest.mark.parametrize("runtime", ["provided", "provided.al2", "provided.al2023", "go1.x", "cobol85", ""])
def test_other_runtimes_have_no_command(runtime):
    assert bootstraps.command(runtime) is None


def test_the_exact_version_is_taken_without_a_note(machine):
    machine("python3.11")
    wanted = machine("python3.12")
    machine("python3.13")
    assert bootstraps.interpreter("python3.12", open_to_all) == bootstraps.Interpreter(str(wanted), (3, 12))


@pytest.mark.parametrize(
    ("asked", "given"), [("python3.10", "python3.11"), ("python3.12", "python3.13"), ("python3.14", "python3.13")]
)
def test_without_it_the_next_later_one_runs_else_the_latest_with_one_warning(machine, caplog, asked, given):
    machine("python3.11")
    machine("python3.13")
    with caplog.at_level(logging.WARNING, "lambent.bootstraps"):
        command = bootstraps.command(asked, reachable=open_to_all)
    assert command is not None
    assert Path(command[0]).name == given
    (record,) = caplog.records
    assert f"runtime {asked}: no Python {asked[6:]} here, Python {given[6:]} (" in record.message


def test_a_version_is_asked_for_where_the_name_does_not_tell_it(machine):
    node = machine("node", "v20.11.1\n")
    assert bootstraps.interpreter("nodejs20.x", open_to_all) == bootstraps.Interpreter(str(node), (20, 11))
    assert bootstraps.command("nodejs20.x", Path("/var/runtime"), open_to_all) == [
        str(node),
        "/var/runtime/nodejs/bootstrap.js",
    ]


def test_version_managers_shims_and_old_interpreters_are_passed_over(machine):
    machine("python3.12", script=True)
    machine("python3.8")
    with pytest.raises(bootstraps.RuntimeNotFoundError) as caught:
        bootstraps.command("python3.12", reachable=open_to_all)
    assert str(caught.value).startswith(
        "runtime python3.12: no Python 3.9 or later found in PATH; install it (Debian: "
    )


def test_a_jdk_tells_its_version_in_a_file_and_java_8_in_its_own_way(machine, tmp_path):
    old = machine("jdk8/bin/java", 'openjdk version "1.8.0_412"\n')
    new = machine("jdk21/bin/java")
    (tmp_path / "jdk21/release").write_text('IMPLEMENTOR="x"\nJAVA_VERSION="21.0.4"\n')
    assert _interpreters._versions("java", str(old)) == ((8, 0),)
    assert _interpreters._versions("java", str(new)) == ((21, 0),)


def test_one_dotnet_runs_all_the_frameworks_beside_it(machine, tmp_path):
    dotnet = machine("dotnet")
    for version in ("6.0.36", "8.0.11", "8.0.4"):
        (tmp_path / "shared/Microsoft.NETCore.App" / version).mkdir(parents=True)
    assert bootstraps.interpreter("dotnet8", open_to_all) == bootstraps.Interpreter(str(dotnet), (8, 0))
    assert bootstraps.interpreter("dotnet6", open_to_all).version == (6, 0)
    ten = bootstraps.interpreter("dotnet10", open_to_all)
    assert ten.note == f"runtime dotnet10: no .NET 10 here, .NET 8 ({dotnet}) runs it instead"
    assert "8.0.11" in _commands._line("dotnet", ten, Path("/r"))


def test_the_newest_compiler_of_dotnet_makes_what_the_oldest_framework_runs(machine, tmp_path):
    dotnet = machine("dotnet")
    assert _build._roslyn() is None
    for version, framework in (("10.0.1", "net10.0"), ("8.0.11", "net8.0")):
        machine(f"shared/Microsoft.NETCore.App/{version}/System.Runtime.dll")
        machine(f"packs/Microsoft.NETCore.App.Ref/{version}/ref/{framework}/System.Runtime.dll")
    for sdk in ("8.0.404", "10.0.100"):
        compiler = machine(f"sdk/{sdk}/Roslyn/bincore/csc.dll")
    reference = tmp_path / "packs/Microsoft.NETCore.App.Ref/8.0.11/ref/net8.0/System.Runtime.dll"
    bootstraps.forget()
    line = _build._roslyn()
    assert line == [str(dotnet), "exec", str(compiler), "-noconfig", "-nostdlib+", f"-r:{reference}"]


def test_mono_runs_what_was_made_for_dotnet_where_there_is_none(machine):
    mono = machine("mono-sgen", "Mono JIT compiler version 6.8.0.105 (Debian)\n")
    found = bootstraps.interpreter("dotnet8", open_to_all)
    assert (found.executable, found.version) == (str(mono), (6, 8))
    assert found.note == f"runtime dotnet8: no .NET 8 here, Mono 6.8 ({mono}) runs it instead"
    # Without options: what was compiled ahead of time is for the default ones.
    assert _commands._line("dotnet", found, Path("/r")) == [str(mono), "/r/target/bootstrap.exe"]


def test_a_jvm_gets_a_heap_that_fits_the_functions_memory():
    line = ["/usr/bin/java", "-cp", "x.jar", "lambent.Bootstrap"]
    assert bootstraps.for_function(line, 512)[:2] == ["/usr/bin/java", "-XX:MaxHeapSize=445644k"]
    assert bootstraps.for_function(["/usr/bin/node", "bootstrap.js"], 512) == ["/usr/bin/node", "bootstrap.js"]


def test_an_interpreter_that_functions_cannot_reach_is_not_chosen_and_the_error_says_why(machine):
    machine("python3.12")
    open_one = machine("python3.11")

    def reachable(path: str) -> str | None:
        return "/root does not let other users pass" if path.endswith("3.12") else None

    found = bootstraps.interpreter("python3.12", reachable)
    assert found.executable == str(open_one)
    assert found.note is not None
    assert "3.12: /root does not let other users pass" in found.note
    with pytest.raises(bootstraps.RuntimeNotFoundError, match=r"functions cannot use .*3\.12: closed"):
        bootstraps.interpreter("python3.12", lambda _: "closed")


def test_a_virtual_environment_on_path_is_passed_over(machine, monkeypatch, tmp_path):
    outer = machine("python3.12")
    inner = tmp_path / "venv/bin"
    inner.mkdir(parents=True)
    (tmp_path / "venv/pyvenv.cfg").touch()
    (inner / "python3.12").write_bytes(b"\x7fELF")
    (inner / "python3.12").chmod(0o755)
    monkeypatch.setenv("PATH", f"{inner}{os.pathsep}{tmp_path}")
    assert bootstraps.interpreter("python3.12", open_to_all).executable == str(outer)


def test_the_compiled_form_is_left_beside_the_bootstrap_for_all_to_read(tmp_path):
    folder = tmp_path / "python"
    folder.mkdir()
    (folder / "bootstrap.py").write_bytes((bootstraps.path("python") / "bootstrap.py").read_bytes())
    before = os.umask(0o077)
    try:
        command = bootstraps.command(f"python3.{sys.version_info[1]}", tmp_path)
    finally:
        os.umask(before)
    assert command is not None
    assert command[-1] == str(folder)
    (compiled,) = (folder / "__pycache__").iterdir()
    assert compiled.stat().st_mode & 0o004
    assert (folder / "__pycache__").stat().st_mode & 0o005 == 0o005


def test_the_build_script_says_what_is_missing_and_succeeds(tmp_path):
    requires("sh")
    script = Path(__file__).parents[2] / "scripts/build-bootstraps.sh"
    for name in ("sh", "dirname", "sed", "tr"):
        (tmp_path / name).symlink_to(Path("/bin") / name if (Path("/bin") / name).exists() else Path("/usr/bin") / name)
    done = subprocess.run([script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "cargo is not on PATH: the Rust bootstraps are not built" in done.stderr
    (tmp_path / "cargo").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "rustc").write_text("#!/bin/sh\necho 'rustc 1.63.0 (x)'\n")
    for name in ("cargo", "rustc"):
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [script, "official"], env={"PATH": f"{tmp_path}"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "official needs rustc 1.84 or later, this is rustc 1.63.0" in done.stderr
