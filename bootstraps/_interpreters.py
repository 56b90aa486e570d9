"""Which interpreter runs a managed runtime such as ``python3.12`` or ``nodejs20.x``, and with which arguments.

The exact version is taken when the machine has it, else the best there is, with a note that says so. Looking costs a
few directory listings and, for an interpreter whose name does not tell its version, one start of it; the answer is
kept for the life of the process. Nothing here is for the event loop: call it in a thread, or before serving.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

_log = logging.getLogger("lambent.bootstraps")

_RUNTIME: Final = re.compile(r"(?P<language>python|nodejs)(?P<version>[0-9]+(?:\.[0-9]+)?)(?:\.x)?\Z")
_MINIMUM: Final = {"python": (3, 9), "nodejs": (16, 0)}
_HINT: Final = {
    "python": "install it (Debian: apt-get install python3; other versions: pyenv or uv python install)",
    "nodejs": "install it (Debian: apt-get install nodejs; other versions: nodesource.com or nvm)",
}
#: Beside PATH: where distributions, pyenv, uv, nvm, volta and AWS's own images put interpreters.
_PLACES: Final = {
    "python": ("/usr/local/bin", "/usr/bin", "/opt/python*/bin", "/var/lang/bin", "~/.pyenv/versions/*/bin",
               "~/.local/share/uv/python/*/bin"),
    "nodejs": ("/usr/local/bin", "/usr/bin", "/opt/node*/bin", "/var/lang/bin", "~/.nvm/versions/node/*/bin",
               "~/.volta/tools/image/node/*/bin"),
}  # fmt: skip

#: Imported, not run as a script: Python keeps the compiled form of what it imports, and compiles a script each time.
_LAUNCH: Final = "import sys;sys.path.insert(0,sys.argv[1]);import bootstrap;bootstrap.main()"


class RuntimeNotFoundError(LookupError):
    """No interpreter for a managed runtime on this machine. The message says what to install."""


@dataclass(frozen=True)
class Interpreter:
    """An interpreter of this machine.

    Attributes:
        executable: its absolute path, symbolic links and version managers' shims resolved.
        version: major and minor.
        note: a sentence when it is not what the runtime asked for, else None.
    """

    executable: str
    version: tuple[int, int]
    note: str | None = None


class _Wanted(NamedTuple):
    language: str
    version: tuple[int, ...]


def command(
    runtime: str, folder: str | Path | None = None, reachable: Callable[[str], str | None] | None = None
) -> list[str] | None:
    """The command line of a managed runtime, ``argv[0]`` absolute; None for ``provided…`` and unknown runtimes.

    Says in one warning (logger ``lambent.bootstraps``) when another version than the one asked for has to do.

    Args:
        runtime: Lambda's identifier, such as ``python3.12`` or ``nodejs20.x``.
        folder: where the bootstraps' folders (``python``, ``nodejs``) lie for the process; default: this package.
        reachable: names what keeps functions from a path, None when nothing does. Default: an engine that is root
            runs functions as other users, who need permission on the file and on every folder above it.

    Raises:
        RuntimeNotFoundError: this machine has no interpreter for it.
    """
    wanted = _parse(runtime)
    if wanted is None:
        return None
    found = interpreter(runtime, reachable)
    if found.note:
        _log.warning("%s", found.note)
    directory = Path(folder) / wanted.language if folder is not None else _here(wanted.language)
    if wanted.language == "python":
        _compile(found.executable, directory)
        return [found.executable, "-S", "-u", "-X", "utf8", "-c", _LAUNCH, str(directory)]
    return [found.executable, str(directory / "bootstrap.js")]


def interpreter(runtime: str, reachable: Callable[[str], str | None] | None = None) -> Interpreter:
    """The interpreter for a managed runtime: the exact version, else the best available, with a note.

    Raises:
        RuntimeNotFoundError: there is none.
        ValueError: not a managed runtime.
    """
    wanted = _parse(runtime)
    if wanted is None:
        raise ValueError(f"{runtime!r} is not a managed runtime: python3.x and nodejsNN.x are")
    if reachable is None:
        reachable = _barrier if os.geteuid() == 0 else _no_barrier
    name = "Python" if wanted.language == "python" else "Node.js"
    least = ".".join(str(n) for n in _MINIMUM[wanted.language])
    candidates = [i for i in _candidates(wanted.language) if i.version >= _MINIMUM[wanted.language]]
    barriers = {i.executable: reachable(i.executable) for i in candidates}
    found = {i.version: i for i in reversed(candidates) if barriers[i.executable] is None}
    if not found:
        places = ", ".join(("PATH", *_PLACES[wanted.language]))
        barred = "".join(f"; functions cannot use {file}: {why}" for file, why in barriers.items())
        raise RuntimeNotFoundError(
            f"runtime {runtime}: no {name} {least} or later found in {places}{barred}; {_HINT[wanted.language]}"
        )
    exact = [v for v in found if v[: len(wanted.version)] == wanted.version]
    if exact:
        return found[max(exact)]
    # The next later version is the likeliest to run the function's code; failing that, the latest.
    later = [v for v in found if v > wanted.version]
    best = found[min(later) if later else max(found)]
    have = ".".join(str(n) for n in best.version)
    asked = ".".join(str(n) for n in wanted.version)
    barred = "".join(
        f"; functions cannot use {i.executable}: {barriers[i.executable]}"
        for i in candidates
        if i.version[: len(wanted.version)] == wanted.version
    )
    note = f"runtime {runtime}: no {name} {asked} here, {name} {have} ({best.executable}) runs it instead{barred}"
    return Interpreter(best.executable, best.version, note)


def forget() -> None:
    """Look again at the next call: an interpreter was installed or removed."""
    _candidates.cache_clear()
    _version.cache_clear()
    _compile.cache_clear()


def _parse(runtime: str) -> _Wanted | None:
    match = _RUNTIME.match(runtime)
    if match is None:
        return None
    return _Wanted(match["language"], tuple(int(n) for n in match["version"].split(".")))


@cache
def _candidates(language: str) -> tuple[Interpreter, ...]:
    """Every interpreter of `language`, in the order of PATH and then of the common places."""
    return tuple(_look(language))


def _look(language: str) -> Iterator[Interpreter]:
    seen: set[str] = set()
    pattern = r"python3(\.[0-9]+)?\Z" if language == "python" else r"node(js)?([0-9]+)?\Z"
    for folder in _folders(language):
        try:
            names = sorted(entry.name for entry in os.scandir(folder) if re.match(pattern, entry.name))
        except OSError:
            continue
        for name in names:
            file = folder / name
            try:
                real = str(file.resolve(strict=True))
            except OSError:
                continue
            if real in seen or not os.access(real, os.X_OK) or _is_script(real):
                continue
            seen.add(real)
            version = _version(real)
            if version is not None:
                yield Interpreter(real, version)
    if language == "python" and sys.executable:
        yield Interpreter(str(Path(sys.executable).resolve()), sys.version_info[:2])


def _folders(language: str) -> Iterator[Path]:
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        # A virtual environment's python is its base's with other packages: functions get the base.
        if entry and not os.path.exists(os.path.join(entry, os.pardir, "pyvenv.cfg")):  # noqa: PTH110, PTH118 - Path.exists raises for a folder that is closed to us
            yield Path(entry)
    for place in _PLACES[language]:
        anchor = Path(place).expanduser()
        yield from sorted(Path(anchor.anchor).glob(str(anchor.relative_to(anchor.anchor))), reverse=True)


def _barrier(file: str) -> str | None:
    """What keeps other users from executing `file`: it, or a folder above it."""
    path = Path(file)
    try:
        for part in (*reversed(path.parents), path):
            if not part.stat().st_mode & 0o001:
                return f"{part} does not let other users pass"
    except OSError as error:
        return str(error)
    return None


def _no_barrier(_file: str) -> None:
    return None


def _is_script(file: str) -> bool:
    """A version manager's shim: slow, and not what it stands for."""
    try:
        with Path(file).open("rb") as head:
            return head.read(2) == b"#!"
    except OSError:
        return True


@cache
def _version(executable: str) -> tuple[int, int] | None:
    named = re.search(r"python3\.([0-9]+)\Z", executable)
    if named:
        return (3, int(named[1]))
    line = _run([executable, "--version"]) or ""
    numbers = re.search(r"([0-9]+)\.([0-9]+)", line)
    return (int(numbers[1]), int(numbers[2])) if numbers else None


@cache
def _compile(executable: str, directory: Path) -> None:
    """Leave the compiled form of the bootstrap beside it, readable for all, once: functions may not write there.

    Where the folder cannot be written, each start compiles it anew: about ten milliseconds.
    """
    file = directory / "bootstrap.py"
    if not file.exists():
        return
    line = "import sys,posix,py_compile as c;posix.umask(0o022);print(c.compile(sys.argv[1]))"
    _run([executable, "-I", "-S", "-c", line, str(file)])


def _here(language: str) -> Path:
    return Path(str(files("bootstraps"))) / language


def _run(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None
