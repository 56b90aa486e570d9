"""The runtimes that come with Lambent, one folder per language, and how the engine starts them.

`python`, `nodejs`, `ruby`, `java` and `dotnet` are *managed* runtimes: the function names a runtime such as
``python3.12`` and a handler, and the engine runs `command`. `go`, `rust`, `shell` and `tcl` are for
*provided* runtimes: the function's package has an executable ``bootstrap`` of its own, and `command` answers None.
"""

from __future__ import annotations

from pathlib import Path

from ._build import BuildError, build_dotnet, build_java, compile_dotnet, prepare
from ._commands import command, for_function, here
from ._interpreters import Interpreter, RuntimeNotFoundError, interpreter, is_mono
from ._interpreters import forget as _forget
from ._languages import IDENTIFIERS, LANGUAGES, PROVIDED, parse

__all__ = [
    "IDENTIFIERS",
    "LANGUAGES",
    "PROVIDED",
    "BuildError",
    "Interpreter",
    "RuntimeNotFoundError",
    "build_dotnet",
    "build_java",
    "command",
    "compile_dotnet",
    "for_function",
    "forget",
    "here",
    "interpreter",
    "is_mono",
    "languages",
    "parse",
    "path",
    "prepare",
]

_FOLDERS = ("dotnet", "go", "java", "nodejs", "python", "ruby", "rust", "shell", "tcl")


def languages() -> tuple[str, ...]:
    """The languages that have a folder here, in alphabetical order."""
    return _FOLDERS


def path(language: str) -> Path:
    """The folder of a language's bootstrap. Raises KeyError with the known ones for an unknown language."""
    if language not in _FOLDERS:
        raise KeyError(f"no bootstrap for {language!r}; there are {', '.join(_FOLDERS)}")
    return here(language)


def forget() -> None:
    """Look again at the next call: an interpreter was installed or removed."""
    _forget()
    prepare.cache_clear()
