"""The runtimes that come with Lambent, one folder per language, and how the engine starts them.

`python` and `nodejs` are *managed* runtimes: the function names a runtime such as ``python3.12`` and a handler, and the
engine runs `command`. `shell` and `rust` are examples of *provided* runtimes: the function's package has an executable
``bootstrap`` of its own, and `command` answers None.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ._interpreters import Interpreter, RuntimeNotFoundError, command, forget, interpreter

__all__ = ["Interpreter", "RuntimeNotFoundError", "command", "forget", "interpreter", "languages", "path"]

_LANGUAGES = ("nodejs", "python", "rust", "shell")


def languages() -> tuple[str, ...]:
    """The languages that have a folder here, in alphabetical order."""
    return _LANGUAGES


def path(language: str) -> Path:
    """The folder of a language's bootstrap. Raises KeyError with the known ones for an unknown language."""
    if language not in _LANGUAGES:
        raise KeyError(f"no bootstrap for {language!r}; there are {', '.join(_LANGUAGES)}")
    return Path(str(files("bootstraps"))) / language
