"""A folder to a package: the same bytes for the same content, so that an unchanged folder is an unchanged package."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path
from typing import Final

from engine.errors import InvalidParameterValueException
from engine.model.limits import MAX_UNZIPPED
from engine.store.unzip import TOO_LARGE

LEFT_OUT: Final = frozenset({".git", "__pycache__"})
"""Folders that are never code: history, and byte code whose timestamps would make every package different."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def pack_folder(path: Path | str, *, limit: int = MAX_UNZIPPED) -> bytes:
    """Zip a folder. Blocking: run it in a thread.

    Deterministic: sorted names, no timestamps, modes reduced to 0755 (any execute bit) and 0644. Symbolic links are
    kept as links. ``.git`` and ``__pycache__`` are left out.

    Raises:
        InvalidParameterValueException: not a folder, nothing in it, an entry is a device, pipe or socket, or more than
            `limit` bytes.
    """
    root = Path(path)
    if not root.is_dir():
        raise InvalidParameterValueException(f"{root} is not a folder: give the folder that holds the function's code")
    total = 0
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for relative, full, info in _walk(root, ""):
            total += info.st_size
            if total > limit:
                raise InvalidParameterValueException(TOO_LARGE.format(limit=limit) + f" (folder {root})")
            _add(archive, relative, full, info)
        if not archive.namelist():
            raise InvalidParameterValueException(f"{root} has no files: there is no code to deploy")
    return out.getvalue()


def _walk(folder: Path, prefix: str) -> list[tuple[str, Path, os.stat_result]]:
    found: list[tuple[str, Path, os.stat_result]] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        info = entry.stat(follow_symlinks=False)
        relative = prefix + entry.name
        if stat.S_ISDIR(info.st_mode):
            if entry.name not in LEFT_OUT:
                found += _walk(Path(entry.path), relative + "/")
        elif stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
            found.append((relative, Path(entry.path), info))
        else:
            raise InvalidParameterValueException(f"{entry.path} is a device, pipe or socket and cannot be deployed")
    return found


def _add(archive: zipfile.ZipFile, relative: str, full: Path, info: os.stat_result) -> None:
    entry = zipfile.ZipInfo(relative, _EPOCH)
    entry.create_system = 3  # Unix: external_attr holds the mode
    entry.compress_type = zipfile.ZIP_DEFLATED
    if stat.S_ISLNK(info.st_mode):
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, os.fsencode(full.readlink()))
        return
    entry.external_attr = (stat.S_IFREG | (0o755 if info.st_mode & 0o111 else 0o644)) << 16
    entry.file_size = info.st_size
    with full.open("rb") as source, archive.open(entry, "w") as sink:
        while chunk := source.read(1 << 20):
            sink.write(chunk)
