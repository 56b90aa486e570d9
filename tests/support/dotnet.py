"""Functions in C# for tests: compiled once, by whichever compiler the machine has."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import bootstraps
from bootstraps import _commands
from tests.support.require import unavailable

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "tests/conformance/dotnet"
RUNTIME = "dotnet8"


@cache
def dotnet() -> str:
    """The interpreter that functions get; skips when there is none, or no compiler."""
    if shutil.which("mcs") is None and shutil.which("dotnet") is None:
        unavailable("no C# compiler (Debian: apt-get install mono-mcs)")
    try:
        return bootstraps.interpreter(RUNTIME).executable
    except bootstraps.RuntimeNotFoundError as error:
        unavailable(str(error))


@cache
def core_runtime() -> list[str]:
    """The command line of our runtime on .NET Core 3.1, which comes as a wheel for this kind of machine; skips without.

    Functions of an engine cannot use that one: it lies in the tests' own environment.
    """
    dotnet()
    spec = find_spec("dotnetcore2")
    if spec is None or spec.origin is None:
        unavailable("dotnetcore2 is not installed (uv sync; for x86-64 only)")
    program = Path(spec.origin).parent / "bin/dotnet"
    folder = bootstraps.path("dotnet")
    bootstraps.build_dotnet(folder)
    return _commands._line("dotnet", bootstraps.Interpreter(str(program), (3, 1)), folder)


def compiled(source: str, name: str, *references: Path) -> Path:
    """The assembly of one source file; kept in .tools from one run of the tests to the next.

    Args:
        source: C#.
        name: its file's name, ``App.dll`` or ``App.exe``.
        references: assemblies that it needs.
    """
    dotnet()
    parts = [source.encode(), name.encode(), *(path.read_bytes() for path in references)]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    target = ROOT / ".tools/dotnet-functions" / key / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            file = Path(work) / "source.cs"
            file.write_text(source, encoding="utf-8")
            bootstraps.compile_dotnet([file], Path(work) / name, *(f"-r:{path}" for path in references))
            (Path(work) / name).replace(target)
    return target


def core() -> Path:
    """What the tests have of Amazon.Lambda.Core, as an assembly of that name."""
    return compiled((SOURCES / "Core.cs").read_text("utf-8"), "Amazon.Lambda.Core.dll")


def function(folder: Path) -> None:
    """Put the function of `App.cs` into `folder`, with the assembly that it needs."""
    for assembly in (compiled((SOURCES / "App.cs").read_text("utf-8"), "App.dll", core()), core()):
        shutil.copy(assembly, folder)
