"""C# source as a function: where its handler is, and the package that it compiles to.

The handler is looked for in the text: what namespaces, classes and public methods there are can be told without a
compiler. Whether the rest is C# is the compiler's to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from engine.cli.console import CommandError

#: Without them, an IDE's and a compiler's own.
OUTPUT = {"bin", "obj"}
#: Of several methods that would do: AWS's templates have the first.
NAMES = ("FunctionHandler", "FunctionHandlerAsync", "Handler", "Handle", "HandleAsync")

_MAX_SOURCE = 4_000_000
_UNREAD = re.compile(
    r"""
    //[^\n]* | /\*.*?\*/                        # comments
    | \$*"{3,}.*?"{3,} | \$?@\$?"(?:[^"]|"")*"   # raw strings, verbatim ones
    | \$?"(?:[^"\\\n]|\\.)*"                     # strings
    | '(?:[^'\\\n]|\\.)+'                        # characters
    | ^[ \t]*\#[^\n]*                            # directives
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_NAMESPACE = re.compile(r"\bnamespace\s+([\w.]+)\s*$")
_CLASS = re.compile(r"\b(?:class|record|struct)\s+(?:class\s+|struct\s+)?(\w+)(\s*<)?")
_METHOD = re.compile(r"\b(\w+)\s*\(([^()]*)\)\s*(?:=>.*|:.*)?$", re.DOTALL)
_MAIN = re.compile(r"\bstatic\b.*\bMain$", re.DOTALL)
_CONTEXT = re.compile(r"\bI?LambdaContext\b")


class Method(Struct, frozen=True):
    """A method that could be a handler.

    Attributes:
        type: its class as .NET names it: ``Namespace.Outer+Inner``.
        name: its own name; ``Main`` for a program's.
    """

    type: str
    name: str


class _Scope(Struct, frozen=True):
    """What a brace has opened: a namespace or class by its name, or anything else."""

    kind: str
    name: str = ""


def methods(source: str) -> Iterator[Method]:
    """The methods that Lambda could call in one file's text, and a program's ``Main``; in their order."""
    text = _UNREAD.sub(" ", source)
    scopes: list[_Scope] = []
    flat = ""  # `namespace X;`
    begun = 0
    for mark in re.finditer(r"[{};]", text):
        header = text[begun : mark.start()].strip()
        begun = mark.end()
        if mark[0] == "}":
            if scopes:
                scopes.pop()
            continue
        opened, found = _read(header, scopes)
        if found is not None:
            where = ".".join(one.name for one in scopes if one.kind == "namespace") or flat
            names = "+".join(one.name for one in scopes if one.kind == "class")
            yield Method(f"{where}.{names}" if where else names, found)
        if mark[0] == "{":
            scopes.append(opened)
        elif opened.kind == "namespace":
            flat = opened.name


def _read(header: str, scopes: Sequence[_Scope]) -> tuple[_Scope, str | None]:
    """What a brace after `header` opens, and the handler that it is the head of."""
    if named := _NAMESPACE.search(header):
        return _Scope("namespace", named[1]), None
    inside = scopes[-1].kind if scopes else ""
    if inside in {"", "namespace", "class"} and (named := _CLASS.search(header)):
        # One that cannot be made, or has no name without its arguments, is as any other block.
        usable = named[2] is None and not re.search(r"\babstract\b", header[: named.start()])
        return _Scope("class" if usable else "other", named[1]), None
    method = _METHOD.search(header) if inside == "class" else None
    if method is None:
        return _Scope("other"), None
    before = header[: method.start(1)].rpartition("]")[2].strip() or header[: method.start(1)]
    if _MAIN.search(f"{before} {method[1]}"):
        return _Scope("other"), "Main"
    return _Scope("other"), method[1] if _callable(before.split(), method[2]) else None


def _callable(before: Sequence[str], parameters: str) -> bool:
    """Whether a method with these words in front of its name, and these parameters, can be a handler."""
    words = set(before)
    if "public" not in words or words & {"abstract", "operator", "delegate", "extern", "=", "=>"}:
        return False
    if len(words - {"public", "static", "async", "virtual", "override", "sealed", "new", "unsafe"}) == 0:
        return False  # a constructor: no type in front of its name
    inner = parameters
    while (flat := re.sub(r"<[^<>]*>|\[[^\[\]]*\]", "", inner)) != inner:
        inner = flat
    given = [one for one in inner.split(",") if one.strip()]
    return len(given) < 2 or (len(given) == 2 and _CONTEXT.search(given[1]) is not None)


def sources(path: Path) -> list[Path]:
    """The C# files of a source file or folder, without those that compilers write."""
    if path.is_file():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in OUTPUT and not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if name.endswith(".cs")]
    return found


def assembly(path: Path) -> str:
    """The name of what it is compiled to: its own, or that of the only file in its top folder."""
    alone = list(path.glob("*.cs"))
    return alone[0].stem if len(alone) == 1 else path.stem


def handler(path: Path, given: str | None = None) -> tuple[str, str]:
    """The handler in C# source, and why.

    Raises:
        CommandError: there is none, or there are several that would do; or the given one is of another assembly.
    """
    name = assembly(path)
    if given is not None:
        if given.partition("::")[0] in {name, f"{name}.dll", f"{name}.exe"}:
            return given, "as given"
        raise CommandError(f"{path} is compiled to {name}.dll: its handler is {name}::CLASS::METHOD, and not {given}.")
    found: list[Method] = []
    for file in sources(path):
        found += methods(_text(file))
    if any(one.name == "Main" for one in found):
        return name, "it has a Main"
    choices = found
    for conventional in NAMES:
        if named := [one for one in found if one.name == conventional]:
            choices = named
            break
    if len(choices) == 1:
        best = choices[0]
        return f"{name}::{best.type}::{best.name}", f"{best.type} has the public method {best.name}"
    if not found:
        raise CommandError(
            f"cannot tell the handler of {path}: no class there has a public method that takes an event, a context or "
            f"both. Name it with --handler {name}::NAMESPACE.CLASS::METHOD."
        )
    shown = ", ".join(f"{name}::{one.type}::{one.name}" for one in choices[:8]) + (", …" if len(choices) > 8 else "")
    raise CommandError(f"cannot tell which handler of {path} to use: {shown} would all do. Name one with --handler.")


def compiled(path: Path) -> tuple[str, bytes]:
    """The assembly of C# source: its file's name and content. Blocking.

    It may refer to the assemblies in its folder, and to our runtime (`Lambent.LambdaContext`).

    Raises:
        CommandError: the compiler said no, in its words, or there is none.
    """
    import bootstraps

    files = sources(path)
    program = any(one.name == "Main" for file in files for one in methods(_text(file)))
    name = f"{assembly(path)}.{'exe' if program else 'dll'}"
    beside = sorted(file for file in _top(path).glob("*.dll") if file.name != name)
    with TemporaryDirectory(prefix="lambent-") as work:
        out = Path(work) / name
        try:
            ours = bootstraps.build_dotnet(bootstraps.here("dotnet"))
            bootstraps.compile_dotnet(files, out, *(f"-r:{file}" for file in (*beside, ours)))
        except bootstraps.BuildError as error:
            raise CommandError(f"{path} cannot be compiled: {error}") from None
        return name, out.read_bytes()


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_SOURCE).decode("utf-8-sig", "replace")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None


def _top(path: Path) -> Path:
    return path if path.is_dir() else path.parent
