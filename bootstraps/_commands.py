"""The command line of a managed runtime: which arguments its interpreter gets, and why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from ._build import prepare
from ._interpreters import Interpreter, interpreter, is_mono
from ._languages import parse

_log = logging.getLogger("lambent.bootstraps")

#: Imported, not run as a script: Python keeps the compiled form of what it imports, and compiles a script each time.
_LAUNCH: Final = "import sys;sys.path.insert(0,sys.argv[1]);import bootstrap;bootstrap.main()"

#: What a serverless function wants of a JVM, as AWS's own start it: no threads for a collector and an optimising
#: compiler that would come too late. Without the memory-mapped file of counters in /tmp, which nobody reads.
_JAVA: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")

#: As AWS's images start a runtime through a wrapper, in the same words and with the same statuses.
_WRAP: Final = (
    'if [ ! -f "$0" ]; then echo "$0: does not exist"; exit 127; fi; '
    'if [ ! -x "$0" ]; then echo "$0: is not an executable"; exit 126; fi; '
    'exec "$0" "$@"'
)


def command(
    runtime: str,
    folder: str | Path | None = None,
    reachable: Callable[[str], str | None] | None = None,
    own: Path | None = None,
) -> list[str] | None:
    """The command line of a managed runtime, ``argv[0]`` absolute; None for ``provided…`` and unknown runtimes.

    Says in one warning (logger ``lambent.bootstraps``) when another version than the one asked for has to do, and makes
    what the runtime needs and is not there yet (see `prepare`).

    Args:
        runtime: Lambda's identifier, such as ``python3.12`` or ``nodejs20.x``.
        folder: where the bootstraps' folders (``python``, ``nodejs``, …) lie for the process; default: this package.
        reachable: as for `interpreter`.
        own: where those folders lie for us, if that is somewhere else.

    Raises:
        RuntimeNotFoundError: this machine has no interpreter for it, or no compiler to make the runtime with.
    """
    wanted = parse(runtime)
    if wanted is None:
        return None
    language = wanted[0]
    found = interpreter(runtime, reachable)
    if found.note:
        _log.warning("%s", found.note)
    directory = here(language) if folder is None else Path(folder) / language
    prepare(language, found, directory if own is None else own / language)
    return _line(language, found, directory)


def _line(language: str, found: Interpreter, directory: Path) -> list[str]:
    program = found.executable
    if language == "python":
        return [program, "-S", "-u", "-X", "utf8", "-c", _LAUNCH, str(directory)]
    if language == "nodejs":
        return [program, str(directory / "bootstrap.js")]
    if language == "ruby":
        # RubyGems takes two thirds of Ruby's start; the bootstrap loads it when a function asks for a gem.
        return [program, "--disable-gems", str(directory / "bootstrap.rb")]
    if language == "java":
        return [program, *_JAVA, "-cp", str(directory / "target/bootstrap.jar"), "lambent.Bootstrap"]
    assembly = str(directory / "target/bootstrap.exe")
    if is_mono(program):
        return [program, assembly]
    settings = str(directory / "bootstrap.runtimeconfig.json")
    return [program, "exec", "--runtimeconfig", settings, "--fx-version", _framework(found), assembly]


def for_function(line: Sequence[str], memory_mb: int, wrapper: str | None = None) -> list[str]:
    """The command line for one function: what depends on its memory size, and its wrapper in front.

    Args:
        line: as `command` gave it.
        memory_mb: the function's MemorySize. A JVM takes the machine's memory for its own otherwise, and is killed
            where it should have collected garbage.
        wrapper: the function's AWS_LAMBDA_EXEC_WRAPPER, as a path that the process sees.
    """
    out = list(line)
    if "lambent.Bootstrap" in out:
        # AWS gives the heap 85 % of MemorySize: 445644 KB of 512 MB.
        out[1:1] = [f"-XX:MaxHeapSize={memory_mb * 1024 * 85 // 100}k"]
    if not wrapper:
        return out
    if "-c" in out and _LAUNCH in out:
        # Wrappers put options of the interpreter before the last argument, as AWS's example does: that is a script on
        # Lambda. And what they prepare (sitecustomize) needs the `site` module, which -S leaves out.
        out = [out[0], "-u", f"{out[-1]}/bootstrap.py"]
    return ["/bin/sh", "-c", _WRAP, wrapper, *out]


def here(language: str) -> Path:
    """The folder of a language's bootstrap in this package."""
    return Path(str(files("bootstraps"))) / language


def _framework(found: Interpreter) -> str:
    """The full version of the newest patch of what was chosen: ``dotnet exec`` takes no other."""
    wanted = ".".join(str(n) for n in found.version)
    shared = Path(found.executable).parent / "shared/Microsoft.NETCore.App"
    names = [entry.name for entry in shared.iterdir() if entry.name.startswith(f"{wanted}.")]
    return max(names, key=lambda name: [int(part) for part in name.split("-")[0].split(".")])
