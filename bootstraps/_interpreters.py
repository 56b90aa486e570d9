"""Which interpreter runs a managed runtime such as ``python3.12`` or ``java21``.

The exact version is taken when the machine has it, else the best there is, with a note that says so. Looking costs a
few directory listings and, for an interpreter whose name does not tell its version, one start of it; the answer is
kept for the life of the process. Nothing here is for the event loop: call it in a thread, or before serving.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ._languages import LANGUAGES, MONO, Language, parse


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


def interpreter(runtime: str, reachable: Callable[[str], str | None] | None = None) -> Interpreter:
    """The interpreter for a managed runtime: the exact version, else the best available, with a note.

    Args:
        runtime: Lambda's identifier, such as ``python3.12``, ``nodejs20.x`` or ``java21``.
        reachable: names what keeps functions from a path, None when nothing does. Default: an engine that is root
            runs functions as other users, who need permission on the file and on every folder above it.

    Raises:
        RuntimeNotFoundError: there is none.
        ValueError: not a managed runtime.
    """
    wanted = parse(runtime)
    if wanted is None:
        raise ValueError(f"{runtime!r} is not a managed runtime: python3.x and nodejsNN.x are, ruby, java and dotnet")
    key, version = wanted
    language = LANGUAGES[key]
    if reachable is None:
        reachable = _barrier if os.geteuid() == 0 else _no_barrier
    candidates = [i for i in _candidates(key) if i.version >= language.minimum]
    barriers = {i.executable: reachable(i.executable) for i in candidates}
    found = {i.version: i for i in reversed(candidates) if barriers[i.executable] is None}
    exact = [v for v in found if v[: len(version)] == version]
    if exact:
        return found[max(exact)]
    # The next later version is the likeliest to run the function's code; failing that, the latest.
    later = [v for v in found if v > version]
    asked = ".".join(str(n) for n in version)
    mono = _mono(reachable) if key == "dotnet" and not found else None
    if found:
        best = found[min(later) if later else max(found)]
        what = f"{language.name} {_shown(best.version, language)}"
    elif mono is not None:
        best = mono
        what = f"Mono {_shown(best.version, MONO)}"
    else:
        raise RuntimeNotFoundError(f"runtime {runtime}: {_nothing(language, barriers)}")
    barred = "".join(
        f"; functions cannot use {i.executable}: {barriers[i.executable]}"
        for i in candidates
        if i.version[: len(version)] == version
    )
    note = f"runtime {runtime}: no {language.name} {asked} here, {what} ({best.executable}) runs it instead{barred}"
    return Interpreter(best.executable, best.version, note)


def is_mono(executable: str) -> bool:
    """Whether this interpreter of .NET assemblies is Mono."""
    return MONO.programs.match(os.path.basename(executable)) is not None  # noqa: PTH119 - a name, not a file


def forget() -> None:
    """Look again at the next call: an interpreter was installed or removed."""
    _candidates.cache_clear()
    _versions.cache_clear()


def _mono(reachable: Callable[[str], str | None]) -> Interpreter | None:
    found = [i for i in _candidates("mono") if i.version >= MONO.minimum and reachable(i.executable) is None]
    return max(found, key=lambda i: i.version, default=None)


def _nothing(language: Language, barriers: dict[str, str | None]) -> str:
    places = ", ".join(("PATH", *language.places))
    least = ".".join(str(n) for n in language.minimum)
    barred = "".join(f"; functions cannot use {file}: {why}" for file, why in barriers.items())
    return f"no {language.name} {least} or later found in {places}{barred}; {language.install}"


def _shown(version: tuple[int, int], language: Language) -> str:
    return ".".join(str(n) for n in version[: language.digits])


@cache
def _candidates(key: str) -> tuple[Interpreter, ...]:
    """Every interpreter of a language, in the order of PATH and then of the common places."""
    return tuple(_look(key))


def _look(key: str) -> Iterator[Interpreter]:
    language = MONO if key == "mono" else LANGUAGES[key]
    seen: set[str] = set()
    for folder in _folders(language):
        try:
            names = sorted(entry.name for entry in os.scandir(folder) if language.programs.match(entry.name))
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
            for version in _versions(key, real):
                yield Interpreter(real, version)
    if key == "python" and sys.executable:
        yield Interpreter(str(Path(sys.executable).resolve()), sys.version_info[:2])


def _folders(language: Language) -> Iterator[Path]:
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        # A virtual environment's python is its base's with other packages: functions get the base.
        if entry and not os.path.exists(os.path.join(entry, os.pardir, "pyvenv.cfg")):  # noqa: PTH110, PTH118 - Path.exists raises for a folder that is closed to us
            yield Path(entry)
    for place in language.places:
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
def _versions(key: str, executable: str) -> tuple[tuple[int, int], ...]:
    """The versions that an executable runs: several for .NET, whose program is one for all that are installed."""
    file = Path(executable)
    if key == "dotnet":
        try:
            names = [entry.name for entry in (file.parent / "shared/Microsoft.NETCore.App").iterdir()]
        except OSError:
            return ()
        return tuple(sorted({number for name in names if (number := _numbers(name))}))
    told = None
    if named := re.search(r"(python|ruby)([0-9]+\.[0-9]+)\Z", executable):
        told = named[2]
    elif key == "java":
        told = _java_release(file) or _run([executable, "-version"])
    else:
        told = _run([executable, "--version"])
    version = _numbers(told or "")
    if key == "java" and version is not None and version[0] == 1:  # 1.8.0_412
        version = (version[1], 0)
    return () if version is None else (version,)


def _java_release(java: Path) -> str | None:
    """The version as a JDK's file `release` tells it: starting a virtual machine for it takes a tenth of a second."""
    try:
        text = (java.parents[1] / "release").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r'^JAVA_VERSION="([0-9._]+)"', text, re.MULTILINE)
    return None if found is None else found[1]


def _numbers(text: str) -> tuple[int, int] | None:
    found = re.search(r"([0-9]+)(?:\.([0-9]+))?", text)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def _run(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None
