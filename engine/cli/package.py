"""A function's code as a person has it: a folder, a zip, one source file, C#, or an executable that is a bootstrap."""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, cast

from msgspec import Struct

from engine.cli import csharp
from engine.cli.console import CommandError
from engine.cli.guess import CUSTOM, Guess, dotnet_runtime, guess
from engine.model.limits import MAX_UNZIPPED, MAX_ZIPPED

SKIPPED = {".git", ".hg", ".svn", ".lambent", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store"}
"""Never part of a package: a tool's own files."""

_OTHERS = {".py", ".js", ".mjs", ".cjs", ".rb", ".class", ".jar"}
"""What a folder has in its top if its function is in another language than C#."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""One date for every member, so that the same files make the same package."""


class Source(Struct, frozen=True, kw_only=True):
    """What PATH turned out to be.

    Attributes:
        path: as given, made absolute.
        kind: ``folder``; ``zip``; ``file``, one ``.py`` or ``.js`` of a folder; ``csharp``, a file or folder that is
            compiled; ``executable``, a bootstrap.
        folder: the code folder for ``folder`` and ``file``, else None.
    """

    path: Path
    kind: Literal["folder", "zip", "file", "csharp", "executable"]
    folder: Path | None = None

    @property
    def name(self) -> str:
        """A function's name, from the folder's, zip's or file's."""
        if self.kind == "executable" and self.path.name == "bootstrap":
            return function_name(self.path.parent.name)
        return function_name(self.path.name if self.path.is_dir() else self.path.stem)

    def guess(self, runtime: str | None, handler: str | None) -> Guess:
        """The runtime and handler, guessed where they are not given. Raises `CommandError`."""
        if self.kind == "executable":
            return Guess(runtime or CUSTOM, handler or "bootstrap", f"{self.path.name} is an executable")
        if self.kind == "csharp":
            found, why = csharp.handler(self.path, handler)
            return Guess(runtime or dotnet_runtime(), found, why)
        if self.kind == "zip":
            with zipfile.ZipFile(self.path) as archive:
                return guess(cast("Traversable", zipfile.Path(archive)), runtime, handler)
        assert self.folder is not None
        return guess(self.folder, runtime, handler, self.path.name if self.kind == "file" else None)

    def package(self) -> bytes:
        """The zip package. Blocking.

        Raises:
            CommandError: it is larger than Lambda takes, or a file cannot be read or compiled.
        """
        if self.kind == "zip":
            data = self.path.read_bytes()
        elif self.kind == "executable":
            data = _zip([("bootstrap", self.path)])
        elif self.kind == "csharp":
            name, assembly = csharp.compiled(self.path)
            data = _zip((one for one in _beside(self.path) if one[0] != name), {name: assembly})
        else:
            assert self.folder is not None
            data = _zip(_members(self.folder))
        if len(data) > MAX_ZIPPED:
            raise CommandError(
                f"the package of {self.path} has {len(data)} bytes; at most {MAX_ZIPPED} can be uploaded. "
                "Leave out what the function does not need, or deploy the folder itself with --watch."
            )
        return data


def function_name(stem: str) -> str:
    """A function name from a file's name: letters, digits, - and _, at most 64."""
    return re.sub(r"[^a-zA-Z0-9-_]+", "-", stem).strip("-")[:64] or "function"


def find(path: str) -> Source:
    """Look at PATH.

    Raises:
        CommandError: it is not there, or is nothing that can be a function.
    """
    where = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link that the person means to keep
    try:
        mode = where.stat().st_mode
    except OSError as error:
        raise CommandError(
            f"there is no function at {path}: {error.strerror}. Name a folder, a zip or an executable."
        ) from None
    if stat.S_ISDIR(mode):
        if _is_csharp(where):
            return Source(path=where, kind="csharp")
        return Source(path=where, kind="folder", folder=where)
    if not stat.S_ISREG(mode):
        raise CommandError(f"{path} is neither a folder nor a file. Name a folder, a zip or an executable.")
    if zipfile.is_zipfile(where) and where.suffix not in {".jar", ".whl"}:
        return Source(path=where, kind="zip")
    if where.suffix in {".py", ".js", ".mjs", ".cjs"}:
        return Source(path=where, kind="file", folder=where.parent)
    if where.suffix == ".cs":
        return Source(path=where, kind="csharp")
    if where.suffix == ".zip":
        raise CommandError(f"{path} is not a valid zip file. Make it again, with the handler's file at its top.")
    if not mode & 0o111:
        raise CommandError(f"{path} cannot be a bootstrap: it is not executable. 'chmod +x {path}' makes it so.")
    return Source(path=where, kind="executable")


def _is_csharp(folder: Path) -> bool:
    """Whether it has C# at its top, and nothing that could be a function without being compiled.

    Raises:
        CommandError: it is a project.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are all that is asked for
    except OSError as error:
        raise CommandError(f"{folder} cannot be read: {error.strerror}.") from None
    found = {Path(name).suffix for name in names}
    if ".cs" not in found or "bootstrap" in names or found & _OTHERS:
        return False
    if ".csproj" in found:
        raise CommandError(
            f"{folder} is a project, which its own tools build: 'dotnet publish -o out' there, then name that folder."
        )
    return True


def _beside(path: Path) -> Iterator[tuple[str, Path]]:
    """What is packed with the assembly of C# source: the assemblies next to a file, all but the sources of a folder."""
    if not path.is_dir():
        yield from ((file.name, file) for file in sorted(path.parent.glob("*.dll")))
        return
    for name, file in _members(path):
        if not name.endswith(".cs") and name.partition("/")[0] not in csharp.OUTPUT:
            yield name, file


def _members(root: Path) -> Iterator[tuple[str, Path]]:
    """(name in the package, file) below root, in order; links are followed, a loop is not walked twice."""
    seen = {os.path.realpath(root)}
    for folder, folders, files in os.walk(root, followlinks=True):
        kept = []
        for name in sorted(set(folders) - SKIPPED):
            real = os.path.realpath(f"{folder}/{name}")
            if real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        for name in sorted(set(files) - SKIPPED):
            path = Path(folder, name)
            yield path.relative_to(root).as_posix(), path


def _zip(members: Iterable[tuple[str, Path]], made: Mapping[str, bytes] | None = None) -> bytes:
    """Files, and what was made of them, in one zip."""
    out = io.BytesIO()
    total = 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in members:
            try:
                status = path.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise CommandError(
                        f"{path} cannot be packaged: it is not a regular file. Remove it from the folder."
                    )
                total += status.st_size
                if total > MAX_UNZIPPED:
                    raise CommandError(
                        f"the package has more than {MAX_UNZIPPED} bytes of files (reached at {path}). "
                        "Leave out what the function does not need."
                    )
                info = zipfile.ZipInfo(name, _EPOCH)
                info.external_attr = (0o100755 if status.st_mode & 0o111 else 0o100644) << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, path.read_bytes())
            except OSError as error:
                raise CommandError(
                    f"{path} cannot be packaged: {error.strerror}. Correct it, or remove it from the folder."
                ) from None
        for name, content in (made or {}).items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()
