"""Zip packages, good and bad."""

from __future__ import annotations

import io
import stat
import zipfile

HANDLER = "def handler(event, context):\n    return event\n"


def package(files: dict[str, str | bytes] | None = None, *, executable: tuple[str, ...] = ()) -> bytes:
    """A zip of these files, with fixed dates, so that equal files make equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (files or {"app.py": HANDLER}).items():
            mode = 0o755 if name in executable else 0o644
            archive.writestr(entry(name, stat.S_IFREG | mode), content)
    return out.getvalue()


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    """A zip entry with a Unix mode and a fixed date."""
    info = zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6))
    info.create_system = 3
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def packed(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    """A zip of exactly these entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return out.getvalue()
