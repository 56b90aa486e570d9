"""``--extension`` of ``lambent run``: executables become a layer that has them in ``extensions``."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

from engine.errors import ConfigurationError


def layer_of(paths: tuple[str, ...]) -> bytes:
    """A zipped layer with these in ``/opt/extensions``: files, and all the files of folders. Blocking.

    Raises:
        ConfigurationError: one cannot be read or executed, two have the same name, or a folder is empty.
    """
    programs: dict[str, Path] = {}
    for path in map(Path, paths):
        found = sorted(one for one in path.iterdir() if not one.is_dir()) if path.is_dir() else [path]
        if not found:
            raise ConfigurationError(f"the folder {path} has no files: name one with extensions in it, or an extension")
        for one in found:
            if one.name in programs:
                raise ConfigurationError(
                    f"{programs[one.name]} and {one} would both be the extension {one.name}: rename one of them"
                )
            programs[one.name] = one
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, program in programs.items():
            entry = zipfile.ZipInfo(f"extensions/{name}")
            entry.external_attr = (stat.S_IFREG | 0o755) << 16
            archive.writestr(entry, _read(program), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _read(program: Path) -> bytes:
    try:
        data = program.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the extension {program} cannot be read: {error.strerror}; name an executable, or a folder of them"
        ) from error
    if not os.access(program, os.X_OK):
        raise ConfigurationError(f"the extension {program} cannot be executed: chmod +x {program}")
    return data
