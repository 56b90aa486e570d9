"""What a runtime needs beside its source and is made on the machine: compiled forms, kept beside the source."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from ._interpreters import Interpreter, RuntimeNotFoundError, _candidates
from ._languages import LANGUAGES

_TIMEOUT_S = 120


class BuildError(RuntimeNotFoundError):
    """A bootstrap could not be compiled. The message says with what, and what it said."""


@cache
def prepare(language: str, found: Interpreter, directory: Path) -> None:
    """Make what is missing in `directory`, once per process; readable for all, as functions may not write there.

    Python's compiled form is no must: where it cannot be kept, each start compiles anew, ten milliseconds.

    Raises:
        BuildError: a bootstrap that has to be compiled is not, and cannot be.
    """
    if language == "python":
        _python(found.executable, directory)
    elif language == "java":
        build_java(directory, Path(found.executable).with_name("javac"))
    elif language == "dotnet":
        build_dotnet(directory)


def up_to_date(target: Path, directory: Path) -> bool:
    """Whether `target` was made from the sources in `directory` as they are now: a stamp beside it has their hash."""
    try:
        return target.exists() and _stamp(target).read_text() == _hash(directory)
    except OSError:
        return False


def build_java(directory: Path, preferred: Path | None = None) -> Path:
    """Compile the Java runtime to ``target/bootstrap.jar``, unless it is there.

    Args:
        directory: the folder with ``src``.
        preferred: the compiler to use if it exists; else the oldest one of this machine.

    Raises:
        BuildError: there is no Java compiler, or it failed.
    """
    jar = directory / "target/bootstrap.jar"
    if up_to_date(jar, directory):
        return jar
    compilers = [preferred] if preferred is not None and preferred.exists() else []
    jdks = sorted(_candidates("java"), key=lambda i: i.version)
    compilers += [
        file for i in jdks if i.version >= (11, 0) and (file := Path(i.executable).with_name("javac")).exists()
    ]
    if not compilers:
        raise BuildError(
            "the Java runtime is not compiled yet, and there is no Java compiler here to do it: "
            f"{LANGUAGES['java'].install}"
        )
    work = _work(directory)
    try:
        sources = [str(path) for path in _sources(directory)]
        classes = work / "classes"
        _check([str(compilers[0]), "--release", "11", "-Xlint:-options", "-nowarn", "-d", str(classes), *sources])
        # The declarations of AWS's interfaces were for the compiler only; what implements them is defined beside a
        # function's own, by a loader that looks for it in this folder.
        shutil.rmtree(classes / "com")
        (classes / "adapters/lambent").mkdir(parents=True)
        (classes / "lambent/adapters").replace(classes / "adapters/lambent/adapters")
        tool = compilers[0].with_name("jar")
        # Uncompressed: a JVM opens it at each start.
        _check([str(tool), "--create", "--no-compress", "--file", str(work / jar.name), "-C", str(classes), "."])
        _put(work / jar.name, jar, directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return jar


def build_dotnet(directory: Path) -> Path:
    """Compile the .NET runtime to ``target/bootstrap.exe``, which Mono and .NET run alike, unless it is there.

    For Mono also its native form beside it, which saves a quarter of a cold start.

    Raises:
        BuildError: there is no C# compiler, or it failed.
    """
    target = directory / "target/bootstrap.exe"
    if up_to_date(target, directory):
        return target
    work = _work(directory)
    out = work / target.name
    try:
        compile_dotnet(_sources(directory), out)
        if (native := _ahead_of_time(out)) is not None:
            native.chmod(0o644)
            native.replace(target.with_name(native.name))
        _put(out, target, directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def compile_dotnet(sources: Iterable[Path], out: Path, *options: str) -> None:
    """Compile C# to the assembly `out`: a program, or a library when its name ends so (``.dll``).

    Args:
        sources: the files.
        out: where it goes.
        options: more for the compiler, in the words that Mono's and .NET's have in common (``-r:…``).

    Raises:
        BuildError: there is no C# compiler, or it failed; the message has what it said.
    """
    kind = "library" if out.suffix == ".dll" else "exe"
    words = ["-nologo", "-optimize+", f"-target:{kind}", f"-out:{out}", *options, *map(str, sources)]
    if (compiler := shutil.which("mcs")) is not None:
        _check([compiler, *words])
    elif (roslyn := _roslyn()) is not None:
        _check([*roslyn, *words])
    else:
        raise BuildError(
            f"{out.name} is not compiled yet, and there is no C# compiler here to do it: install one "
            "(Debian: apt-get install mono-mcs), or the .NET SDK"
        )


def _ahead_of_time(assembly: Path) -> Path | None:
    """Mono's native form of an assembly, which it finds by its name; None where it cannot be made (no as and ld)."""
    mono = shutil.which("mono")
    if mono is None:
        return None
    native = assembly.with_name(f"{assembly.name}.so")
    with suppress(BuildError):
        _check([mono, f"--aot=outfile={native}", str(assembly)])
    return native if native.exists() else None


def _roslyn() -> list[str] | None:
    """The newest C# compiler of a .NET SDK, for the oldest framework here: what it makes runs on the later ones."""
    for found in sorted(_candidates("dotnet"), key=lambda i: i.version, reverse=True):
        root = Path(found.executable).parent
        compilers = _by_version(root, "sdk/*/Roslyn/bincore/csc.dll")
        frameworks = _by_version(root, "packs/Microsoft.NETCore.App.Ref/*/ref/net*")
        if compilers and frameworks:
            references = [f"-r:{path}" for path in sorted(frameworks[0].glob("*.dll"))]
            return [found.executable, "exec", str(compilers[-1]), "-noconfig", "-nostdlib+", *references]
    return None


def _by_version(root: Path, pattern: str) -> list[Path]:
    """What is below `root` in folders that are named by versions: the oldest first."""
    depth = len(root.parts) + pattern.split("/").index("*")
    return sorted(root.glob(pattern), key=lambda path: [int(part) for part in re.findall("[0-9]+", path.parts[depth])])


def _python(executable: str, directory: Path) -> None:
    line = "import sys,posix,py_compile as c;posix.umask(0o022);print(c.compile(sys.argv[1]))"
    try:
        subprocess.run(
            [executable, "-I", "-S", "-c", line, str(directory / "bootstrap.py")],
            capture_output=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return


def _stamp(target: Path) -> Path:
    return target.with_name(f"{target.name}.sources")


def _hash(directory: Path) -> str:
    out = hashlib.sha256()
    for source in _sources(directory):
        out.update(source.name.encode() + b"\0" + source.read_bytes())
    return out.hexdigest()


def _sources(directory: Path) -> list[Path]:
    found = [path for name in ("src", "stubs") for path in (directory / name).rglob("*.*")]
    return sorted(path for path in found if path.is_file())


def _work(directory: Path) -> Path:
    """An empty folder beside the target, so that this is put in place by one rename. Raises BuildError."""
    import tempfile

    try:
        (directory / "target").mkdir(exist_ok=True)
        (directory / "target").chmod(0o755)
        return Path(tempfile.mkdtemp(prefix="build-", dir=directory / "target"))
    except OSError as error:
        raise BuildError(f"nothing can be compiled in {directory}: {error}") from error


def _put(made: Path, target: Path, directory: Path) -> None:
    made.chmod(0o644)
    made.replace(target)
    _stamp(target).write_text(_hash(directory))


def _check(argv: list[str]) -> None:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{argv[0]} could not be run: {error}") from error
    if done.returncode:
        said = (done.stderr + done.stdout).strip()[:2000]
        raise BuildError(f"{argv[0]} failed: {said}")
