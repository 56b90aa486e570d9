"""Which runtime and handler a package wants, when nobody says: looked up in the files at its root.

Pure but for reading those files; `root` is a folder or the inside of a zip, which read alike.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.resources.abc import Traversable

from msgspec import Struct

from engine.cli.console import CommandError

PYTHON_FILES = ("lambda_function", "app", "main", "handler", "index")
PYTHON_NAMES = ("lambda_handler", "handler")
NODE_FILES = ("index", "app", "main", "handler", "lambda_function")
NODE_NAMES = ("handler", "lambdaHandler", "lambda_handler")
NODE_SUFFIXES = (".mjs", ".js", ".cjs")
RUBY_FILES = ("lambda_function", "app", "main", "handler", "index")
RUBY_NAMES = ("lambda_handler", "handler")
CUSTOM = "provided.al2023"
_MAX_SOURCE = 4_000_000


class Guess(Struct, frozen=True):
    """A runtime, a handler, and why."""

    runtime: str
    handler: str
    why: str


def guess(root: Traversable, runtime: str | None = None, handler: str | None = None, only: str | None = None) -> Guess:
    """The runtime and handler for a package, keeping what is given.

    Args:
        root: the package's top folder.
        runtime: as given by the person, or None.
        handler: as given by the person, or None.
        only: look at this one file of the root only (``app.py``).

    Raises:
        CommandError: nothing fits, or several things do; it lists what was looked for and what is there.
    """
    if runtime is not None and handler is not None:
        return Guess(runtime, handler, "as given")
    names = sorted(entry.name for entry in root.iterdir() if entry.is_file()) if only is None else [only]
    if runtime is None and handler is not None:
        return Guess(*_runtime_of(handler, names, root), "by the handler's file")
    if runtime is not None and runtime.startswith(("java", "dotnet")):
        raise CommandError(f"the handler for {runtime} cannot be found in compiled code: name it with --handler.")
    if runtime is not None and not runtime.startswith(("python", "nodejs", "ruby")):
        return Guess(runtime, "bootstrap", "as given")
    if "bootstrap" in names and runtime is None:
        return Guess(CUSTOM, "bootstrap", "bootstrap is there")

    found: list[Guess] = []
    if runtime is None or runtime.startswith("python"):
        found += _python(root, names, runtime)
    if runtime is None or runtime.startswith("nodejs"):
        found += _node(root, names, runtime)
    if runtime is None or runtime.startswith("ruby"):
        found += _ruby(root, names, runtime)
    if found and (len(found) == 1 or _conventional(found[0])):
        return found[0]
    given = f" for {runtime}" if runtime else ""
    if found:
        choices = ", ".join(one.handler for one in found)
        raise CommandError(f"cannot tell which handler{given} to use: {choices} would all do. Name one with --handler.")
    there = ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "nothing"
    raise CommandError(
        f"cannot tell how to run {root}{given}: looked for an executable 'bootstrap', for lambda_handler or handler in "
        f"{', '.join(f'{name}.py' for name in PYTHON_FILES)} (or .rb), and for an exported handler in "
        f"{', '.join(f'{name}.js' for name in NODE_FILES[:3])}; its top folder has {there}. "
        "Say it with --runtime and --handler, such as --runtime python3.12 --handler app.my_function."
    )


def python_runtime() -> str:
    """The runtime identifier of the Python that functions get here. Raises `CommandError` when there is none."""
    return f"python{_version(f'python{sys.version_info.major}.{sys.version_info.minor}')}"


def node_runtime() -> str:
    """The runtime identifier of this machine's node; AWS numbers even majors only. Raises `CommandError`."""
    major = int(_version("nodejs22.x").partition(".")[0])
    return f"nodejs{major - major % 2}.x"


def ruby_runtime() -> str:
    """The runtime identifier for this machine's ruby: its own, else the next later one. Raises `CommandError`."""
    return _nearest("ruby", _version("ruby3.4"))


def java_runtime() -> str:
    """The runtime identifier for this machine's newest Java, else the next later one. Raises `CommandError`."""
    return _nearest("java", _version("java25").partition(".")[0])


def dotnet_runtime() -> str:
    """The runtime identifier for this machine's newest .NET; the latest where Mono runs it. Raises `CommandError`."""
    from bootstraps import RuntimeNotFoundError, interpreter, is_mono

    newest = "dotnet10"
    try:
        found = interpreter(newest)
    except RuntimeNotFoundError as error:
        raise CommandError(f"{error}.") from None
    return newest if is_mono(found.executable) else _nearest("dotnet", str(found.version[0]))


def _nearest(language: str, version: str) -> str:
    from bootstraps import IDENTIFIERS, parse

    mine = tuple(int(number) for number in version.split("."))
    parsed = ((identifier, parse(identifier)) for identifier in IDENTIFIERS)
    known = [(pair[1], identifier) for identifier, pair in parsed if pair is not None and pair[0] == language]
    return next((identifier for number, identifier in known if number >= mine), known[-1][1])


def _version(wanted: str) -> str:
    from bootstraps import interpreter  # what the engine itself would choose, so that it need not choose otherwise

    try:
        return ".".join(str(part) for part in interpreter(wanted).version)
    except LookupError as error:
        raise CommandError(f"{error}.") from None


def _conventional(one: Guess) -> bool:
    return one.handler.partition(".")[0] in {*PYTHON_FILES, *NODE_FILES, *RUBY_FILES}


def _runtime_of(handler: str, names: list[str], root: Traversable) -> tuple[str, str]:
    module = handler.rpartition(".")[0] or handler
    top = module.replace(".", "/").split("/")[0]
    if f"{top}.py" in names or _is_file(root, f"{module.replace('.', '/')}.py"):
        return python_runtime(), handler
    if any(_is_file(root, f"{module}{suffix}") for suffix in NODE_SUFFIXES):
        return node_runtime(), handler
    if _is_file(root, f"{top}.rb") or _is_file(root, f"{module}.rb"):
        return ruby_runtime(), handler
    if "bootstrap" in names:
        return CUSTOM, handler
    if _is_java(handler, root):
        return java_runtime(), handler
    if _is_dotnet(handler, names):
        return dotnet_runtime(), handler
    raise CommandError(
        f"cannot tell the runtime of the handler {handler}: {root} has neither {module}.py nor {module}.rb nor "
        f"{module}.js, .mjs or .cjs, nor a class or jar for it, nor its assembly (.dll), nor a 'bootstrap'. "
        "Correct --handler, or name the runtime with --runtime."
    )


def _is_dotnet(handler: str, names: list[str]) -> bool:
    assembly = handler.partition("::")[0]
    return f"{assembly}.dll" in names or f"{assembly}.exe" in names


def _is_java(handler: str, root: Traversable) -> bool:
    name, colons, _method = handler.partition("::")
    if _is_file(root, f"{name.replace('.', '/')}.class"):
        return True
    return (
        bool(colons) and (root / "lib").is_dir() and any(one.name.endswith(".jar") for one in (root / "lib").iterdir())
    )


def _is_file(root: Traversable, name: str) -> bool:
    where = root
    for part in name.split("/"):
        if part in {"", ".", ".."}:
            return False
        where = where / part
    return where.is_file()


def _source(root: Traversable, name: str) -> str:
    with (root / name).open("rb") as file:
        return file.read(_MAX_SOURCE).decode("utf-8", "replace")


def _ordered(names: list[str], suffixes: tuple[str, ...], first: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(stem, file name): the conventional names in their order, then the rest."""
    pairs = [(name[: -len(suffix)], name) for suffix in suffixes for name in names if name.endswith(suffix)]
    yield from sorted(pairs, key=lambda pair: first.index(pair[0]) if pair[0] in first else len(first))


def _python(root: Traversable, names: list[str], runtime: str | None) -> Iterator[Guess]:
    for stem, name in _ordered(names, (".py",), PYTHON_FILES):
        defined = _defined(_source(root, name))
        for wanted in PYTHON_NAMES:
            if wanted in defined:
                yield Guess(runtime or python_runtime(), f"{stem}.{wanted}", f"{name} defines {wanted}")
                break
        else:
            # A file that cannot be parsed is still the function: its error is shown when it runs.
            if defined is _UNPARSED and stem in PYTHON_FILES[:2]:
                yield Guess(runtime or python_runtime(), f"{stem}.lambda_handler", f"{name} is there")


_UNPARSED: frozenset[str] = frozenset({""})


def _defined(source: str) -> frozenset[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return _UNPARSED
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return frozenset(names)


def _node(root: Traversable, names: list[str], runtime: str | None) -> Iterator[Guess]:
    for stem, name in _ordered(names, NODE_SUFFIXES, NODE_FILES):
        source = _source(root, name)
        for wanted in NODE_NAMES:
            if _exports(source, wanted):
                yield Guess(runtime or node_runtime(), f"{stem}.{wanted}", f"{name} exports {wanted}")
                break


def _exports(source: str, name: str) -> bool:
    return bool(
        re.search(rf"\bexports\.{name}\s*=", source)
        or re.search(rf"\bexport\s+(?:const|let|var|function|async\s+function)\s+{name}\b", source)
        or re.search(rf"\bexport\s*\{{[^}}]*\b{name}\b", source)
        or re.search(rf"\bmodule\.exports\s*=\s*\{{[^}}]*\b{name}\b", source)
    )


def _ruby(root: Traversable, names: list[str], runtime: str | None) -> Iterator[Guess]:
    for stem, name in _ordered(names, (".rb",), RUBY_FILES):
        source = _source(root, name)
        for wanted in RUBY_NAMES:
            if re.search(rf"^def {wanted}\b", source, re.MULTILINE):
                yield Guess(runtime or ruby_runtime(), f"{stem}.{wanted}", f"{name} defines {wanted}")
                break
